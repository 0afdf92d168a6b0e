"""A chain pays those who attest it in its own asset: held by nobody, released by anybody; real guests."""

import math
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relay_fakes import ALL_ACCOUNTS, OPERATORS, USERS, Network, key, make_genesis, total_supply
from test_candidates_real_guests import RealCollator

from consensus.primitives.guest import InstanceEndpoint, Policy
from consensus.primitives.ids import ChainId, Epoch, Nonce
from consensus.relay import epochs
from consensus.relay.genesis import GenesisChain
from consensus.relay.ledger import Ledger
from consensus.relay.parameters import ChainTerms, Entry
from consensus.relay.receipts import Code
from consensus.relay.registry import Registry
from consensus.relay.rewards.attesting import chain_attesting
from consensus.relay.rewards.holding import (
    PRECISION,
    holding_account,
    release_parts,
    round_of,
    transfers_input,
)
from consensus.relay.rewards.records import ChainAttestingRecord, chain_attesting_key
from consensus.relay.rewards.transactions import ReleasePayment
from consensus.relay.run import Run
from consensus.relay.security.records import AttesterEntry, AttestersRecord, attesters_key
from consensus.relay.security.terms import SubsetTerms
from consensus.relay.stake.stakes import Stakes
from consensus.relay.transactions import CallEnclave
from enclaves.guests import agora, assets
from enclaves.pool import WorkerPool

DOMAIN = agora.domain("market")
OWN = InstanceEndpoint(module=assets.module_id(), chain=1)
ASSET = assets.chain_asset_id(1, agora.NATIVE_SALT)
HOLDING = holding_account(ChainId(1), Epoch(1))
PAID = 701


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(1)
    yield pool
    pool.close()


def paid(pool: WorkerPool) -> Network:
    """A chain that exported PAID of its units to its holding account of epoch 1, which is over. Its three
    candidates were attested by validators 0, 1 and 2, the last of them by all."""
    pairs = agora.genesis_pairs(DOMAIN, {user.public: 1_000 for user in USERS}, assets.module_id())
    chain = GenesisChain(
        name="market",
        owner=USERS[0].public,
        code=agora.wasm(),
        entries=tuple(Entry(key=name, value=value) for name, value in pairs),
        balance=10**9,
        opt_in=(assets.module_id(),),
    )
    genesis = replace(make_genesis(epoch_blocks=8), enclaves=(assets.wasm(),), chains=(chain,))
    network = Network(genesis)
    network.guests = pool  # type: ignore[assignment]
    network.block()
    collator = RealCollator(network, pool)
    export = agora.Export(holder=HOLDING, amount=PAID)
    collator.enact([agora.sign_transaction(USERS[1], DOMAIN, Nonce(0), export)])
    collator.enact([])
    header, _ = collator.offer([])
    assert network.block(inclusions=[network.attest(header, who=range(4))]).enacted
    while network.epoch == 1:
        network.block()
    return network


def held(network: Network, holder: bytes) -> int:
    return assets.decode_amount(network.view.instance_state(OWN, assets.balance_key(ASSET, holder)))


def release(amount: int, epoch: int = 1, chain: int = 1) -> ReleasePayment:
    return ReleasePayment(
        chain=ChainId(chain),
        epoch=Epoch(epoch),
        instance=OWN,
        asset=ASSET,
        amount=amount,
        fuel_limit=5_000_000,
    )


def receive(network: Network, action: ReleasePayment):
    (receipt,) = network.block([network.raw(USERS[5], action)]).receipts
    return receipt


def test_attesters_are_paid_by_what_they_attested_in_any_number_of_releases(pool: WorkerPool) -> None:
    network = paid(pool)
    assert held(network, HOLDING) == PAID
    assert chain_attesting(network.view, 1, Epoch(1)) == (3, 3, 3, 1)
    one = receive(network, release(PAID))
    assert one.code == Code.OK
    got = [held(network, each.public) for each in OPERATORS]
    assert got == [210, 210, 210, 70]
    assert held(network, HOLDING) == 1  # less than a round of 3 + 3 + 3 + 1
    assert total_supply(network.view, ALL_ACCOUNTS) == network.view.supply().issued
    again = paid(pool)
    for amount in (250, 19, 10, 400, 30):
        assert receive(again, release(amount)).code == Code.OK
    assert [held(again, each.public) for each in OPERATORS] == got
    assert receive(again, release(9)).code == Code.NOTHING_TO_RELEASE


def test_what_can_not_be_released_moves_nothing_and_pays(pool: WorkerPool) -> None:
    network = paid(pool)
    too_much = receive(network, release(PAID + 10))
    assert too_much.code == Code.GUEST_FAILED
    assert too_much.fuel_used > 0
    assert receive(network, release(100, chain=2)).code == Code.NO_SUCH_CHAIN
    assert receive(network, release(100, epoch=2)).code == Code.NOT_YET
    assert receive(network, replace(release(100), fuel_limit=10**9)).code == Code.OVER_LIMIT
    nowhere = InstanceEndpoint(module=assets.module_id(), chain=7)
    assert receive(network, replace(release(100), instance=nowhere)).code == Code.NO_SUCH_INSTANCE
    assert receive(network, release(0)).code == Code.NOTHING_TO_RELEASE
    assert held(network, HOLDING) == PAID


def test_what_was_paid_for_an_epoch_without_attesters_is_the_owners(pool: WorkerPool) -> None:
    network = paid(pool)
    asset = assets.user_asset_id(1, USERS[3].public, 1)
    idle = holding_account(ChainId(1), Epoch(2))
    data = assets.encode_operations(
        assets.Create(salt=1, symbol="COIN", decimals=2), assets.Mint(asset=asset, to=idle, amount=33)
    )
    network.block([network.raw(USERS[3], CallEnclave(instance=OWN, input=data, fuel_limit=5_000_000))])
    while network.epoch == 2:
        network.block()
    assert receive(network, replace(release(33, epoch=2), asset=asset)).code == Code.OK
    owner = assets.balance_key(asset, USERS[0].public)
    assert assets.decode_amount(network.view.instance_state(OWN, owner)) == 33


def after_an_epoch() -> Run:
    """The run of a block in whose first epoch nothing happened."""
    network = Network(make_genesis(epoch_blocks=8))
    while network.epoch == 1:
        network.block()
    ledger = Ledger(network.store, network.root)
    return Run(
        context=network.context(),
        ledger=ledger,
        registry=Registry(ledger),
        stakes=Stakes(ledger),
        parameters=ledger.parameters,
        guests=network.guests,
    )


def test_a_subset_chain_pays_by_what_its_attesters_allocated() -> None:
    """And nothing to those who signed in a dispute, which was none of their business."""
    run = after_an_epoch()
    terms = ChainTerms(policy=int(Policy.SUBSET), subset=SubsetTerms())
    run.registry.put_chain(replace(run.registry.existing_chain(1), terms=terms))
    entries = [
        AttesterEntry(index=index, allocated=weight, weight=weight) for index, weight in ((1, 50), (3, 25))
    ]
    run.ledger.put(attesters_key(1, 1), AttestersRecord(members=tuple(entries)))
    counts = struct.pack(">4I", 9, 1, 0, 2)
    run.ledger.put(chain_attesting_key(1, 1), ChainAttestingRecord(epoch=Epoch(1), members=counts))
    assert release_parts(run, release(7)) == [(OPERATORS[1].public, 3), (OPERATORS[3].public, 3)]


def test_a_set_is_not_made_anew_where_nobody_attested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may name any epoch, and many in one block; a full set's table of leaders takes tens of
    milliseconds."""
    run = after_an_epoch()
    epochs._validator_set.cache_clear()
    monkeypatch.setattr("consensus.agreement.validators.leader_table", None)
    assert release_parts(run, release(7)) == [(USERS[0].public, 7)]


def test_the_input_is_what_the_enclave_takes() -> None:
    parts = [(key("a").public, 5), (key("b").public, 1 << 100)]
    operations = [assets.Transfer(asset=ASSET, to=to, amount=units) for to, units in parts]
    assert transfers_input(ASSET, parts) == assets.encode_operations(*operations)


@given(st.lists(st.integers(0, 1 << 80), min_size=1, max_size=200).filter(any))
def test_a_round_is_in_proportion_and_small(weights: list[int]) -> None:
    parts = round_of(weights)
    assert 1 <= sum(parts) <= PRECISION
    assert math.gcd(*parts) == 1
    total = sum(weights)
    for weight, part in zip(weights, parts, strict=True):
        assert abs(part / sum(parts) - weight / total) <= len(weights) / PRECISION
