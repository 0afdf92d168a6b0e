"""Who attested a candidate: counted in the block that decides it, paid by chains that share their fees."""

from dataclasses import replace

import pytest
from candidate_fakes import Collator
from relay_fakes import ALL_ACCOUNTS, OPERATORS, Network, make_genesis, total_supply

from consensus.agreement.statements import Verdict
from consensus.primitives.ids import Epoch
from consensus.primitives.tree import MemoryStore
from consensus.relay.ledger import Ledger, Pot
from consensus.relay.parameters import ChainTerms
from consensus.relay.receipts import CandidateReceipt
from consensus.relay.rewards.attesting import attesting, chain_attesting
from consensus.relay.rewards.records import (
    KEPT_EPOCHS,
    AttestingRecord,
    ChainAttestingRecord,
    EpochRewards,
    attesting_key,
    chain_attesting_key,
    epoch_rewards_key,
)
from consensus.relay.stake.records import main_pool
from consensus.relay.stake.stakes import Stakes

SHARE = 300_000_000


def sharing(**parameters: object) -> Network:
    """A network whose one chain gives 30 % of its candidates' fees to those who attest them."""
    genesis = make_genesis(stake=100, epoch_blocks=6, **parameters)
    chain = replace(genesis.chains[0], terms=ChainTerms(fee_share_ppb=SHARE))
    network = Network(replace(genesis, chains=(chain,)))
    network.block()
    return network


def conserved(network: Network) -> bool:
    return total_supply(network.view, ALL_ACCOUNTS) == network.view.supply().issued


def counted(network: Network, epoch: int = 1) -> list[tuple[int, int, int]]:
    found = attesting(network.view, Epoch(epoch))
    assert found is not None
    return [(each.asked, each.attested, each.earned) for each in found]


def test_attesters_share_what_their_chain_gives_after_the_burn() -> None:
    network = sharing()
    collator = Collator(network)
    before = network.view.supply().burnt
    result = network.block(inclusions=[network.attest(collator.offer([b"hello"]), who=(0, 1, 3))])
    (receipt,) = result.receipts
    assert isinstance(receipt, CandidateReceipt)
    shared = receipt.fee * SHARE // 10**9
    theirs = shared - shared // 2
    assert network.view.stakes.ledger.pot(Pot.REWARDS) == theirs
    each = theirs // 3
    assert [row[:2] for row in counted(network)] == [(1, 1), (1, 1), (1, 0), (1, 1)]
    assert sorted(row[2] for row in counted(network)) == sorted([0, each, each, theirs - 2 * each])
    assert counted(network)[2][2] == 0
    others = receipt.fee - shared
    assert network.view.supply().burnt - before == shared // 2 + others // 2
    assert conserved(network)


def test_they_have_it_when_the_epoch_ends() -> None:
    network = sharing(issuance_start_ppb=0, issuance_ideal_ppb=0)
    collator = Collator(network)
    network.block(inclusions=[network.attest(collator.offer([b"hello"]), who=(0, 1, 3))])
    due = [row[2] for row in counted(network)]
    while network.epoch == 1:
        network.block()
    report = network.view.stakes.ledger.record(EpochRewards, epoch_rewards_key(Epoch(1)))
    assert report is not None
    assert report.attesters == sum(due)
    assert report.fees + report.attesters == report.treasury + report.validators + report.burnt
    rewards = [network.view.stakes.pool(main_pool(Stakes.own(each.public))).rewards for each in OPERATORS]
    assert all(units >= least for units, least in zip(rewards, due, strict=True))
    assert rewards[2] < min(rewards[0], rewards[1], rewards[3])  # neither its part of the fee nor its points
    assert network.view.stakes.ledger.pot(Pot.REWARDS) == 0
    assert attesting(network.view, Epoch(2)) is None
    assert conserved(network)


def test_a_rejected_candidate_counts_and_pays_nobody() -> None:
    network = sharing()
    header = Collator(network).offer([b"hello"])
    network.block(inclusions=[network.attest(header, who=(1, 2, 3), verdict=Verdict.INVALID)])
    assert counted(network) == [(1, 0, 0), (1, 1, 0), (1, 1, 0), (1, 1, 0)]
    assert network.view.stakes.ledger.pot(Pot.REWARDS) == 0


def test_a_void_inclusion_is_not_counted() -> None:
    network = sharing()
    network.block(inclusions=[network.attest(Collator(network).offer([b"hello"]), who=(0, 1))])
    assert attesting(network.view, Epoch(1)) is None


def test_a_chain_prepays_and_shares_nothing_unless_its_terms_say_so() -> None:
    network = Network(make_genesis(stake=100))
    network.block()
    network.block(inclusions=[network.attest(Collator(network).offer([b"hello"]))])
    assert counted(network) == [(1, 1, 0), (1, 1, 0), (1, 1, 0), (1, 0, 0)]
    with pytest.raises(ValueError, match="fraction"):
        ChainTerms(fee_share_ppb=10**9 + 1)


def test_what_a_chains_candidates_were_attested_is_kept_until_a_later_epoch_takes_the_slot() -> None:
    network = sharing()
    collator = Collator(network)
    network.block(inclusions=[network.attest(collator.offer([b"one"]))])
    collator.advance()
    while network.epoch <= KEPT_EPOCHS:
        network.block()
    assert chain_attesting(network.view, 1, Epoch(1)) == (1, 1, 1, 0)
    network.block(inclusions=[network.attest(collator.offer([b"two"]), who=(1, 2, 3))])
    assert chain_attesting(network.view, 1, Epoch(1)) is None
    assert chain_attesting(network.view, 1, Epoch(1 + KEPT_EPOCHS)) == (0, 1, 1, 1)


def test_a_counter_that_is_full_stays_so() -> None:
    """An epoch may be of any length, and no validator could execute the block that counted on."""
    network = sharing()
    collator = Collator(network)
    ledger = Ledger(network.store, network.root)
    full, most = b"\xff" * 4, 2**32 - 1
    ledger.put(attesting_key(1), AttestingRecord(members=(2 * full + bytes(16)) * 4))
    ledger.put(chain_attesting_key(1, 1), ChainAttestingRecord(epoch=Epoch(1), members=4 * full))
    network.root = ledger.commit()
    network.store.apply(ledger.added)
    header = collator.offer([b"hello"])
    result = network.execute(inclusions=[network.attest(header)])
    assert result.enacted == (header.hash,)
    after = Ledger(MemoryStore({**network.store.nodes, **result.new_nodes}), result.post_root)
    found = attesting(after, Epoch(1))
    assert found is not None
    assert {(each.asked, each.attested) for each in found} == {(most, most)}
    assert chain_attesting(after, 1, Epoch(1)) == (most,) * 4
