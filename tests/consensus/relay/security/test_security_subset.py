"""A `subset` chain in the transition: who decides, from when on, and what a lie costs."""

from dataclasses import replace

import pytest
from candidate_fakes import Collator
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_fakes import ALL_ACCOUNTS, OPERATORS, USERS, Network, total_supply
from security_world import CHAIN, STAKE, allocate, opted_in, subset_network
from staking_world import accounts, code, do, to_epoch

from consensus.agreement.statements import Verdict
from consensus.primitives.guest import Policy
from consensus.primitives.ids import Amount, ChainId
from consensus.relay.elections.records import exposure
from consensus.relay.genesis import issuance
from consensus.relay.governance.executing import pace_of
from consensus.relay.governance.records import Pace
from consensus.relay.governance.transactions import SetTerms
from consensus.relay.ledger import Ledger
from consensus.relay.offences.transactions import ReportStatement
from consensus.relay.offences.veto import record_of
from consensus.relay.parameters import ChainTerms
from consensus.relay.receipts import Code
from consensus.relay.registry import Registry
from consensus.relay.rewards.attesting import attesting
from consensus.relay.security.allocations import allocations
from consensus.relay.security.attesters import attesters_record
from consensus.relay.security.rails import is_held
from consensus.relay.security.records import MAX_TOP_CHAINS, TOP_CHAINS_KEY, TopChainsRecord
from consensus.relay.security.terms import SubsetTerms
from consensus.relay.security.transactions import Allocate
from consensus.relay.stake.records import Standing
from consensus.relay.transactions import RegisterChain


def test_those_who_opted_in_decide_and_nobody_else() -> None:
    network = opted_in(subset_network(), {0: 100, 1: 100, 2: 100})
    header = Collator(network).offer([b"x"])

    def outcome(who) -> str:
        result = network.execute(inclusions=[network.attest(header, who=who)])
        return result.void.get(header.hash, "enacted")

    assert "2/3" in outcome((0, 1))
    assert "not asked to attest" in outcome((0, 3))
    assert "not asked to attest" in outcome((1, 3))
    assert outcome((0, 1, 2)) == "enacted"
    assert outcome((0, 1, 3)) == "enacted"  # more than 2/3 of all stake: all validators may judge
    assert network.block(inclusions=[network.attest(header, who=(0, 1, 2))]).enacted == (header.hash,)


def test_one_alone_is_enough_where_its_weight_is() -> None:
    """Weight is allocated stake, not voting power: 700 of 1,000 is more than 2/3."""
    network = opted_in(subset_network(), {1: 700, 2: 200, 3: 100})
    header = Collator(network).offer([b"x"])
    assert "2/3" in network.execute(inclusions=[network.attest(header, who=(2, 3))]).void[header.hash]
    assert network.block(inclusions=[network.attest(header, who=(1,))]).enacted == (header.hash,)


def test_nobody_decides_before_anybody_opted_in_or_with_too_few() -> None:
    network = subset_network(SubsetTerms(min_members=2))
    network.block()
    collator = Collator(network)
    header = collator.offer([b"x"])
    reason = "nobody attests its chain"
    assert reason in network.execute(inclusions=[network.attest(header, who=(0, 1))]).void[header.hash]
    opted_in(network, {0: 10})
    header = Collator(network).offer([b"y"])
    assert reason in network.execute(inclusions=[network.attest(header, who=(0,))]).void[header.hash]


def test_an_allocation_counts_later_and_less_of_it_later_still() -> None:
    network = subset_network(opt_in_epochs=1, opt_out_epochs=2)
    assert allocate(network, 0, 300) is Code.OK
    assert allocate(network, 1, 400) is Code.OK
    to_epoch(network, 2)
    assert attesters_record(network.view, CHAIN, 1) is None
    record = attesters_record(network.view, CHAIN, 2)
    assert [(each.index, each.allocated) for each in record.members] == [(0, 300), (1, 400)]
    assert allocate(network, 0, 0) is Code.OK
    to_epoch(network, 5)

    def members(epoch: int) -> list[int]:
        return [each.index for each in attesters_record(network.view, CHAIN, epoch).members]

    assert (members(3), members(4)) == ([0, 1], [1])
    assert allocations(network.view, OPERATORS[0].public).of(CHAIN).at(4) == 0


def test_what_is_at_risk_is_at_most_what_stands_behind_a_validator() -> None:
    network = opted_in(subset_network(), {0: 10**12, 1: 1})
    record = attesters_record(network.view, CHAIN, network.epoch)
    assert [each.allocated for each in record.members] == [STAKE, 1]


def test_who_may_not_is_refused() -> None:
    deny = SubsetTerms(deny=(OPERATORS[1].public,), min_allocation=Amount(5))
    network = subset_network(deny)
    assert allocate(network, 1, 100) is Code.NOT_ADMITTED_BY_CHAIN
    assert allocate(network, 0, 4) is Code.BELOW_MINIMUM
    assert allocate(network, 0, 0) is Code.NOT_ALLOCATED
    assert allocate(network, 0, 5, chain=7) is Code.NO_SUCH_CHAIN
    assert code(network, USERS[0], Allocate(chain=CHAIN, amount=Amount(5))) is Code.NO_SUCH_VALIDATOR
    other = RegisterChain(name="r", code=b"\0asm-chain", entries=(), terms=ChainTerms(), balance=Amount(0))
    number = int.from_bytes(do(network, USERS[0], other).output, "big")
    assert allocate(network, 0, 5, chain=number) is Code.NOT_SUBSET
    forced = replace(
        other,
        terms=ChainTerms(
            policy=int(Policy.SUBSET), subset=SubsetTerms(top_ppb=10**9, top_allocation_ppb=10**9)
        ),
    )
    assert code(network, USERS[0], forced) is Code.NEEDS_VOTE


def test_an_epoch_that_nobody_answers_for_leaves_nothing() -> None:
    network = opted_in(subset_network(), {0: 10})
    assert attesters_record(network.view, CHAIN, 2) is not None
    network.halted_ms += 10**6
    to_epoch(network, 9)
    assert attesters_record(network.view, CHAIN, 2) is None
    assert attesters_record(network.view, CHAIN, 8) is not None


def test_the_top_attests_from_the_first_block_on_where_the_genesis_says_so() -> None:
    terms = SubsetTerms(top_ppb=600_000_000, top_allocation_ppb=500_000_000)
    network = subset_network(terms)
    network.block()
    record = attesters_record(network.view, CHAIN, 1)
    assert [(each.index, each.allocated) for each in record.members] == [(0, 500), (1, 500), (2, 500)]
    header = Collator(network).offer([b"x"])
    assert network.block(inclusions=[network.attest(header, who=(0, 1, 2))]).enacted == (header.hash,)


@pytest.mark.parametrize("verdict", [Verdict.VALID, Verdict.INVALID])
def test_who_signed_against_a_verdict_of_all_pays_from_its_allocation_and_keeps_its_seat(verdict) -> None:
    network = opted_in(subset_network(), {0: 200, 1: 200, 2: 200})
    header = Collator(network).offer([b"!x"])
    lie = network.statement(header, 0, Verdict(1 - verdict))
    stranger = network.statement(header, 3, Verdict(1 - verdict))
    epoch, account = network.epoch, accounts(network)[0]
    network.block(inclusions=[network.attest(header, who=(1, 2, 3), verdict=verdict)])
    before = exposure(network.view, epoch, account).total
    receipt = do(network, USERS[1], ReportStatement(statement=lie))
    share = 10**9 if verdict is Verdict.INVALID else network.view.parameters.slash_accusation_ppb
    assert receipt.code == Code.OK
    assert int.from_bytes(receipt.output, "big") == 200 * share // 10**9
    assert network.view.self_stake(account) == before - 200 * share // 10**9
    assert network.view.validator(account).standing == Standing.ACTIVE
    assert is_held(network.view, CHAIN, network.view.time_ms) == (verdict is Verdict.INVALID)
    assert code(network, USERS[2], ReportStatement(statement=lie)) is Code.WITHOUT_EFFECT
    assert code(network, USERS[2], ReportStatement(statement=stranger)) is Code.WITHOUT_EFFECT
    assert allocate(network, 0, 100) is Code.NOT_YET
    to_epoch(network, network.epoch + 2)
    members = attesters_record(network.view, CHAIN, network.epoch).members
    assert [each.index for each in members] == [1, 2]
    assert total_supply(network.view, ALL_ACCOUNTS) == network.view.supply().issued
    assert network.view.supply().issued >= issuance(network.genesis)


def test_a_convicted_attester_has_no_say_from_the_next_candidate_on() -> None:
    network = opted_in(subset_network(), {0: 700, 1: 200, 2: 100})
    collator = Collator(network)
    header = collator.offer([b"x"])
    accusation = network.statement(header, 0, Verdict.INVALID)
    network.block(inclusions=[network.attest(header, who=(1, 2, 3))])
    collator.advance()
    following = collator.offer([b"y"])
    alone = network.attest(following, who=(0,))
    assert network.execute(inclusions=[alone]).enacted == (following.hash,)
    assert network.execute(inclusions=[alone], statements=[accusation]).void  # statements come first
    network.block(statements=[accusation])
    assert "not asked" in network.execute(inclusions=[alone]).void[following.hash]
    assert "2/3" in network.execute(inclusions=[network.attest(following, who=(1,))]).void[following.hash]
    assert network.block(inclusions=[network.attest(following, who=(1, 2))]).enacted == (following.hash,)
    record = attesters_record(network.view, CHAIN, network.epoch)
    assert [(each.allocated, each.weight) for each in record.members] == [(700, 0), (200, 200), (100, 100)]


def test_a_verdict_of_a_subset_convicts_nobody() -> None:
    """Two of three who opted in, with more than 2/3 of the weight, outvote the third: it loses nothing."""
    network = opted_in(subset_network(), {0: 400, 1: 400, 2: 100})
    header = Collator(network).offer([b"x"])
    honest = network.statement(header, 2, Verdict.INVALID)
    network.block(inclusions=[network.attest(header, who=(0, 1))])
    assert code(network, USERS[1], ReportStatement(statement=honest)) is Code.WITHOUT_EFFECT
    assert record_of(network.view, accounts(network)[2], network.epoch) is None


def test_an_opt_out_does_not_help_against_what_was_signed_before_it() -> None:
    network = opted_in(subset_network(verdict_epochs=2, opt_out_epochs=1), {0: 200, 1: 200, 2: 200})
    header = Collator(network).offer([b"x"])
    lie = network.statement(header, 0, Verdict.VALID)
    network.block(inclusions=[network.attest(header, who=(1, 2, 3), verdict=Verdict.INVALID)])
    assert allocate(network, 0, 0) is Code.OK
    to_epoch(network, network.epoch + 2)
    assert allocations(network.view, accounts(network)[0]).of(CHAIN).at(network.epoch) == 0
    receipt = do(network, USERS[1], ReportStatement(statement=lie))
    assert int.from_bytes(receipt.output, "big") == 200


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_history_slashes_more_than_an_allocation_or_than_the_stake(data) -> None:
    """Two chains share the stake of one validator that lies on both in one epoch."""
    network = subset_network(verdict_epochs=2)
    terms = ChainTerms(policy=int(Policy.SUBSET), subset=SubsetTerms())
    second = RegisterChain(name="two", code=b"\0asm-chain", entries=(), terms=terms, balance=Amount(10**6))
    assert code(network, USERS[0], second) is Code.OK
    risks = [data.draw(st.integers(1, 2 * STAKE)) for _ in range(2)]
    for chain, risk in enumerate(risks, start=1):
        assert allocate(network, 0, risk, chain=chain) is Code.OK
        assert allocate(network, 1, 10, chain=chain) is Code.OK
    to_epoch(network, 3)
    account = accounts(network)[0]
    frozen = [attesters_record(network.view, chain, 3).members[0].allocated for chain in (1, 2)]
    assert frozen == [min(each, STAKE) for each in risks]
    whole, taken = network.view.self_stake(account), []
    for chain in data.draw(st.permutations((1, 2))):
        header = replace(Collator(network).build([b"x"]), chain=chain)
        if chain == 2:
            head = network.view.head(2)
            header = replace(header, parent_head=head.head, pre_root=head.state_root)
        lie = network.statement(header, 0, Verdict.VALID)
        inclusion = network.attest(header, who=(1, 2, 3), verdict=Verdict.INVALID)
        assert network.block(inclusions=[inclusion]).rejected == (header.hash,)
        before = network.view.self_stake(account)
        network.block(statements=[lie])
        taken.append((chain, before - network.view.self_stake(account)))
    assert all(cut <= frozen[chain - 1] for chain, cut in taken)
    assert sum(cut for _, cut in taken) == min(whole, sum(frozen))
    assert total_supply(network.view, ALL_ACCOUNTS) == network.view.supply().issued


def test_attesters_share_a_fee_by_what_they_allocated_and_strangers_were_not_asked() -> None:
    network = subset_network()
    chain = network.genesis.chains[0]
    terms = replace(chain.terms, fee_share_ppb=10**9)
    network = Network(replace(network.genesis, chains=(replace(chain, terms=terms),)))
    opted_in(network, {1: 750, 2: 250})
    header = Collator(network).offer([b"x"])
    fee = network.block(inclusions=[network.attest(header, who=(1, 2))]).receipts[0].fee
    shared = fee - fee * network.view.parameters.burn_share_ppb // 10**9
    found = attesting(network.view, network.epoch)
    assert [each.asked for each in found] == [0, 1, 1, 0]
    assert found[1].earned + found[2].earned == shared
    assert abs(found[1].earned * 250 - found[2].earned * 750) <= 1_000
    assert total_supply(network.view, ALL_ACCOUNTS) == network.view.supply().issued


def test_to_ask_for_stake_that_nobody_allocated_takes_a_slow_vote() -> None:
    open_to_all = ChainTerms(policy=int(Policy.SUBSET), subset=SubsetTerms())
    top = replace(open_to_all, subset=SubsetTerms(top_ppb=10**8, top_allocation_ppb=10**8))
    assert pace_of(SetTerms(chain=CHAIN, terms=open_to_all)) is Pace.ORDINARY
    assert pace_of(SetTerms(chain=CHAIN, terms=top)) is Pace.SECURITY


def test_only_so_many_chains_ask_the_top_and_each_of_them_may_have_other_terms() -> None:
    network = subset_network(SubsetTerms(top_ppb=10**8, top_allocation_ppb=10**8))
    terms = network.view.chain_record(CHAIN).terms
    ledger = Ledger(network.store, network.root)
    registry = Registry(ledger)
    assert registry.has_room_at_top(terms)
    chains = tuple(ChainId(each) for each in range(1, MAX_TOP_CHAINS + 1))
    ledger.put(TOP_CHAINS_KEY, TopChainsRecord(chains=chains))
    assert not registry.has_room_at_top(terms)
    assert not registry.has_room_at_top(terms, ChainId(MAX_TOP_CHAINS + 1))
    assert registry.has_room_at_top(terms, CHAIN)
    assert registry.has_room_at_top(ChainTerms())
    registry.set_terms(registry.existing_chain(CHAIN), terms)
    assert ledger.existing(TopChainsRecord, TOP_CHAINS_KEY).chains == chains
