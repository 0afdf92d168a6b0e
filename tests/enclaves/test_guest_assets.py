"""The assets enclave: what each origin may do, and supply conserved under random histories."""

import random

import pytest
from guest_tools import Instance, to_chain
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.primitives.errors import DecodeError
from consensus.primitives.guest import GuestOutcome, InstanceEndpoint, InstanceOrigin, RelayOrigin, Status
from enclaves.guests import assets
from enclaves.guests.assets import Code, Create, Issue, Mint, Redeem, Send, Transfer

ALICE, BOB, EVE = (bytes([index]) * 32 for index in (1, 2, 3))
GOLD = assets.user_asset_id(0, ALICE, 5)


def refused(outcome: GuestOutcome, code: Code) -> None:
    assert (outcome.status, outcome.reason) == (Status.FAILED, f"returned {int(code)}")
    assert not outcome.writes


@pytest.fixture
def shared() -> Instance:
    instance = Instance(0)
    made = instance.by_user(
        ALICE, Create(salt=5, symbol="GOLD", decimals=2), Mint(asset=GOLD, to=ALICE, amount=1000)
    )
    assert made.status is Status.OK, made.reason
    return instance


def test_create_and_mint(shared: Instance) -> None:
    record = assets.decode_asset(shared.state[assets.asset_key(GOLD)])
    assert record == assets.AssetRecord(
        issuer_kind=1, issuer=ALICE, issuer_chain=0, decimals=2, symbol="GOLD", supply=1000
    )
    assert shared.balance(GOLD, ALICE) == shared.total(GOLD) == 1000


def test_transfer_moves_and_a_batch_is_atomic(shared: Instance) -> None:
    shared.by_user(ALICE, Transfer(asset=GOLD, to=BOB, amount=300), Transfer(asset=GOLD, to=ALICE, amount=5))
    assert (shared.balance(GOLD, ALICE), shared.balance(GOLD, BOB)) == (700, 300)
    before = dict(shared.state)
    refused(
        shared.by_user(
            BOB, Transfer(asset=GOLD, to=ALICE, amount=300), Transfer(asset=GOLD, to=ALICE, amount=1)
        ),
        Code.NO_FUNDS,
    )
    assert shared.state == before


def test_refusals(shared: Instance) -> None:
    for caller, operation, code in [
        (EVE, Mint(asset=GOLD, to=EVE, amount=1), Code.NOT_ISSUER),
        (ALICE, Mint(asset=BOB, to=EVE, amount=1), Code.UNKNOWN_ASSET),
        (ALICE, Mint(asset=GOLD, to=EVE, amount=2**128 - 1), Code.OVERFLOW),
        (ALICE, Create(salt=5, symbol="X", decimals=0), Code.EXISTS),
        (EVE, Transfer(asset=GOLD, to=ALICE, amount=1), Code.NO_FUNDS),
        (ALICE, Transfer(asset=GOLD, to=BOB, amount=0), Code.ZERO_AMOUNT),
        (ALICE, Send(asset=GOLD, to=BOB, amount=1, chain=0), Code.SAME_CHAIN),
        (ALICE, Redeem(asset=GOLD, beneficiary=BOB, amount=1), Code.UNKNOWN_ASSET),
    ]:
        refused(shared.by_user(caller, operation), code)
    batches = [b"", b"\x01", b"\x01\0\0\0", b"\x01\0\0\0\x09", assets.encode_operations() + b"x"]
    for data in batches:
        refused(shared.call(assets.UserOrigin(account=ALICE), data), Code.MALFORMED)
    refused(shared.call(RelayOrigin(), assets.encode_operations()), Code.NOT_SERVED)


def test_only_this_module_can_credit(shared: Instance) -> None:
    sent = shared.by_user(ALICE, Send(asset=GOLD, to=BOB, amount=10, chain=3))
    (message,) = sent.outgoing
    assert message.destination == InstanceEndpoint(module=assets.module_id(), chain=3)
    there = Instance(3)
    forged = InstanceOrigin(module=b"\x66" * 32, chain=0)
    refused(there.call(forged, message.payload), Code.NOT_SERVED)
    refused(there.call(assets.UserOrigin(account=EVE), message.payload), Code.TOO_MANY)
    assert there.by_instance(0, message.payload).status is Status.OK
    assert there.balance(GOLD, BOB) == there.total(GOLD) == 10
    assert (shared.total(GOLD), shared.supply(GOLD)) == (990, 1000)
    refused(there.by_user(ALICE, Mint(asset=GOLD, to=EVE, amount=1)), Code.UNKNOWN_ASSET)


def test_a_chain_issues_is_answered_and_is_paid_back() -> None:
    instance = Instance(4)
    native = assets.chain_asset_id(4, 0)
    issue = Issue(salt=0, symbol="AGORA", decimals=0, to=BOB, amount=50)
    for correlation in (7, 8):
        outcome = instance.by_chain(assets.chain_request(correlation, issue))
        (notice,) = to_chain(outcome.outgoing, 4)
        assert assets.decode_notice(notice) == assets.Reply(correlation=correlation, code=Code.OK)
    assert instance.balance(native, BOB) == instance.supply(native) == 100
    outcome = instance.by_user(BOB, Redeem(asset=native, beneficiary=EVE, amount=30))
    (notice,) = to_chain(outcome.outgoing, 4)
    assert assets.decode_notice(notice) == assets.Credit(asset=native, beneficiary=EVE, amount=30)
    assert instance.balance(native, BOB) == instance.supply(native) == instance.total(native) == 70


def test_a_chains_bad_request_is_answered_and_changes_nothing() -> None:
    instance = Instance(4)
    outcome = instance.by_chain(
        assets.chain_request(
            9,
            Issue(salt=0, symbol="A", decimals=0, to=BOB, amount=1),
            Transfer(asset=GOLD, to=BOB, amount=1),
        )
    )
    assert outcome.status is Status.OK
    assert not outcome.writes
    (notice,) = to_chain(outcome.outgoing, 4)
    assert assets.decode_notice(notice) == assets.Reply(correlation=9, code=Code.NO_FUNDS)
    foreign = assets.ChainOrigin(chain=5, policy=1)
    refused(instance.call(foreign, assets.chain_request(1)), Code.NOT_SERVED)


def test_a_chain_is_a_holder_of_its_own() -> None:
    instance = Instance(4)
    native, own = assets.chain_asset_id(4, 0), assets.chain_holder(4)
    issue = Issue(salt=0, symbol="A", decimals=0, to=own, amount=9)
    instance.by_chain(assets.chain_request(1, issue, Transfer(asset=native, to=EVE, amount=4)))
    assert (instance.balance(native, own), instance.balance(native, EVE)) == (5, 4)


def test_encoders_refuse_what_does_not_fit() -> None:
    for operation in [
        Transfer(asset=b"", to=BOB, amount=1),
        Transfer(asset=GOLD, to=BOB, amount=-1),
        Transfer(asset=GOLD, to=BOB, amount=2**128),
        Create(salt=0, symbol="x" * 17, decimals=0),
    ]:
        with pytest.raises(ValueError, match=r"."):
            assets.encode_operations(operation)
    with pytest.raises(DecodeError):
        assets.decode_notice(b"\x01")


@given(seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_supply_is_conserved_under_random_histories(seed: int) -> None:
    """Balances + in flight = issuance, whatever the interleaving of the lanes."""
    rng = random.Random(seed)
    instances = {chain: Instance(chain) for chain in (0, 1, 2)}
    users = [bytes([index]) * 32 for index in range(1, 5)]
    coins = [assets.user_asset_id(chain, users[chain], 1) for chain in instances]
    for chain, instance in instances.items():
        instance.by_user(users[chain], Create(salt=1, symbol="C", decimals=0))
    minted = dict.fromkeys(coins, 0)
    lanes: dict[tuple[int, int], list[bytes]] = {}
    for _ in range(60):
        chain = rng.choice(sorted(instances))
        ready = [lane for lane in sorted(lanes) if lanes[lane]]
        if ready and rng.random() < 0.3:
            source, target = rng.choice(ready)
            delivered = instances[target].by_instance(source, lanes[source, target].pop(0))
            assert delivered.status is Status.OK
            continue
        operations: list[assets.Operation] = []
        for _ in range(rng.randrange(1, 4)):
            asset, to, amount = rng.choice(coins), rng.choice(users), rng.randrange(200)
            operations.append(
                rng.choice(
                    [
                        Mint(asset=asset, to=to, amount=amount),
                        Transfer(asset=asset, to=to, amount=amount),
                        Send(asset=asset, to=to, amount=amount, chain=rng.randrange(3)),
                    ]
                )
            )
        outcome = instances[chain].by_user(rng.choice(users), *operations)
        if outcome.status is Status.OK:
            for operation in operations:
                minted[operation.asset] += operation.amount if isinstance(operation, Mint) else 0
            for message in outcome.outgoing:
                assert isinstance(message.destination, InstanceEndpoint)
                lanes.setdefault((chain, message.destination.chain), []).append(message.payload)
    for home, coin in enumerate(coins):
        in_flight = sum(
            int.from_bytes(payload[65:], "little")
            for lane in lanes.values()
            for payload in lane
            if payload[1:33] == coin
        )
        assert sum(each.balances_sum(coin) for each in instances.values()) + in_flight == minted[coin]
        assert instances[home].supply(coin) == minted[coin]
        assert all(each.balances_sum(coin) == each.total(coin) for each in instances.values())
