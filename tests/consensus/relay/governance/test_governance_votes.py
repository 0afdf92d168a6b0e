"""Who may vote with what: nothing that moves, leaves, or comes back under another account counts twice."""

from collections.abc import Callable
from typing import Any

import pytest
from governing_world import PROPOSER, governed, ledger_of, proposal, propose, supply_is_whole, until, vote
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_fakes import OPERATORS, USERS, Network
from staking_world import CONTRADICTION, DOUBLE, accounts, bond, code, do, evidence, to_epoch

from consensus.primitives.crypto import SigningKey
from consensus.primitives.ids import Amount, Epoch, Hash
from consensus.relay.elections.records import exposure
from consensus.relay.governance.records import (
    OwnVotesRecord,
    ProposalStage,
    own_votes_key,
    proposal_key,
    voter_key,
)
from consensus.relay.governance.transactions import Choice, Spend, VoteAsMember, VoteStake
from consensus.relay.governance.votes import sums_of
from consensus.relay.ledger import COUNTS_KEY, PARAMETERS_KEY, Pot, account_key, pot_key
from consensus.relay.receipts import Code
from consensus.relay.stake.records import leaving_pool, main_pool, moving_pool, nomination_name
from consensus.relay.stake.stakes import Stakes
from consensus.relay.stake.transactions import BondMore, Delegate, Redelegate, Unbond, Undelegate, Withdraw

NAMES = tuple(each.public for each in OPERATORS)
ASK = Spend(to=USERS[0].public, amount=Amount(1))
PAIR = (NAMES[0], NAMES[1])


def behind(*names: bytes) -> Hash:
    return main_pool(nomination_name(names))


def cast(
    network: Network, user: SigningKey, number: int, pool: Hash, choice: Choice = Choice.NO
) -> tuple[Code, int]:
    receipt = do(network, user, VoteStake(proposal=number, pool=pool, choice=int(choice)))
    return Code(receipt.code), int.from_bytes(receipt.output, "big")


def delegated(amount: int = 1_000) -> Network:
    """Epoch 3 of a network in which a user has stood behind the first validator since epoch 1."""
    network = governed(gov_vote_ms=200)
    assert code(network, USERS[0], Delegate(validators=NAMES[:1], amount=Amount(amount))) == Code.OK
    to_epoch(network, 3)
    return network


def test_a_member_speaks_for_all_behind_it_and_a_delegator_for_itself() -> None:
    network = delegated()
    number = propose(network, ASK)
    assert code(network, OPERATORS[0], VoteAsMember(proposal=number, choice=1)) == Code.OK
    assert cast(network, USERS[0], number, behind(NAMES[0])) == (Code.OK, 1_000)
    vote(network, number, Choice.ABSTAIN, who=(1,))
    until(network, number, ProposalStage.REJECTED)
    count = proposal(network, number).tally
    assert count is not None
    assert (count.total, count.yes, count.no, count.abstain, count.veto) == (1_400, 100, 1_000, 100, 0)


def test_the_latest_vote_counts_and_only_once() -> None:
    network = delegated()
    number = propose(network, ASK)
    for choice in (Choice.NO, Choice.VETO, Choice.YES):
        assert cast(network, USERS[0], number, behind(NAMES[0]), choice) == (Code.OK, 1_000)
    vote(network, number, Choice.NO, who=(0,))
    vote(network, number, Choice.ABSTAIN, who=(0,))
    until(network, number, ProposalStage.WAITING)
    count = proposal(network, number).tally
    assert count is not None
    assert (count.yes, count.no, count.abstain, count.veto) == (1_000, 0, 100, 0)


def test_what_grew_since_the_epoch_began_has_no_vote() -> None:
    network = delegated()
    number = propose(network, ASK)
    assert code(network, USERS[1], Delegate(validators=NAMES[:1], amount=Amount(50))) == Code.OK
    assert cast(network, USERS[1], number, behind(NAMES[0])) == (Code.NO_VOTE, 0)
    assert code(network, USERS[0], Delegate(validators=NAMES[:1], amount=Amount(1))) == Code.OK
    assert cast(network, USERS[0], number, behind(NAMES[0])) == (Code.NO_VOTE, 0)


def test_what_moves_or_leaves_after_it_voted_has_no_second_vote() -> None:
    network = delegated()
    number, own = propose(network, ASK), Stakes.own(NAMES[0])
    assert cast(network, USERS[0], number, behind(NAMES[0])) == (Code.OK, 1_000)
    moved = Redelegate(nomination=own, validators=NAMES[1:2], amount=Amount(400))
    assert code(network, USERS[0], moved) == Code.OK
    assert code(network, USERS[0], Undelegate(nomination=own, amount=Amount(300))) == Code.OK
    to = Stakes.own(NAMES[1])
    pools = [moving_pool(own, to, Epoch(each)) for each in range(1, 9)]
    pools += [leaving_pool(own, Epoch(each)) for each in range(1, 9)]
    pools.append(main_pool(to))
    found = [cast(network, USERS[0], number, pool)[0] for pool in pools if ledger_of(network).read(pool)]
    assert len(found) == 3
    assert set(found) <= {Code.NO_VOTE, Code.NO_SUCH_POSITION}
    assert cast(network, USERS[0], number, behind(NAMES[0]), Choice.YES) == (Code.OK, 300)


def test_what_moved_before_the_epoch_votes_where_it_stands_now() -> None:
    network = delegated()
    own, to = Stakes.own(NAMES[0]), Stakes.own(NAMES[1])
    moved = Redelegate(nomination=own, validators=NAMES[1:2], amount=Amount(400))
    assert code(network, USERS[0], moved) == Code.OK
    to_epoch(network, 5)
    number = propose(network, ASK)
    assert cast(network, USERS[0], number, moving_pool(own, to, Epoch(3))) == (Code.OK, 400)
    ledger = ledger_of(network)
    assert ledger.existing(OwnVotesRecord, own_votes_key(number, to)).no == 400
    assert ledger.read(own_votes_key(number, own)) is None


def test_what_stands_behind_nobody_in_the_set_is_not_counted_nor_kept() -> None:
    """Else whoever bonds many small validators makes the block that counts read a leaf for each of them."""
    network = governed(gov_vote_ms=200, max_validators=4)
    assert code(network, USERS[1], bond(network, USERS[1], "small", amount=10)) == Code.OK
    to_epoch(network, 3)
    assert USERS[1].public not in accounts(network)
    number = propose(network, ASK)
    assert cast(network, USERS[1], number, behind(USERS[1].public)) == (Code.NO_VOTE, 0)
    assert proposal(network, number).voters == 0


@pytest.mark.parametrize(
    "leaf", [PARAMETERS_KEY, COUNTS_KEY, account_key(USERS[0].public), pot_key(Pot.FEES)]
)
def test_a_leaf_that_is_no_pool_has_no_vote(leaf: Hash) -> None:
    """A pool is called by its tree key: whoever votes may name any leaf of the state as one."""
    network = delegated()
    number = propose(network, ASK)
    assert ledger_of(network).read(leaf) is not None
    assert cast(network, USERS[0], number, leaf) == (Code.NO_SUCH_POSITION, 0)


def test_who_is_nobody_has_no_vote_and_nothing_changes() -> None:
    network = delegated()
    number = propose(network, ASK)
    assert code(network, USERS[1], VoteAsMember(proposal=number, choice=1)) == Code.NO_VOTE
    assert cast(network, USERS[1], number, behind(NAMES[0])) == (Code.NO_SUCH_POSITION, 0)
    assert cast(network, USERS[0], number, Hash(bytes(32))) == (Code.NO_SUCH_POSITION, 0)
    assert cast(network, USERS[0], number + 1, behind(NAMES[0])) == (Code.NO_SUCH_PROPOSAL, 0)
    for choice in (0, 5, 255):
        assert (
            code(network, OPERATORS[0], VoteAsMember(proposal=number, choice=choice)) == Code.NO_SUCH_CHOICE
        )
        action = VoteStake(proposal=number, pool=behind(NAMES[0]), choice=choice)
        assert code(network, USERS[0], action) == Code.NO_SUCH_CHOICE
    until(network, number, ProposalStage.NO_QUORUM)
    assert code(network, OPERATORS[0], VoteAsMember(proposal=number, choice=1)) == Code.NO_SUCH_PROPOSAL


def test_who_is_tombstoned_speaks_for_nobody_but_those_behind_it_do_for_themselves() -> None:
    network = delegated()
    number = propose(network, ASK)
    vote(network, number, Choice.YES, who=(0,))
    assert cast(network, USERS[0], number, behind(NAMES[0]), Choice.YES)[1] == 1_000
    network.block(evidence=[evidence(network, 0, epoch=int(network.epoch), votes=DOUBLE)])
    until(network, number, ProposalStage.WAITING)
    count = proposal(network, number).tally
    assert count is not None
    assert (count.yes, count.turnout) == (1_000, 1_000)


def test_deposits_come_back_or_are_burnt_by_the_stated_rule() -> None:
    for choice, who, ends, returned in (
        (Choice.YES, (0, 1, 2), ProposalStage.WAITING, True),
        (Choice.NO, (0, 1, 2), ProposalStage.REJECTED, True),
        (Choice.VETO, (0, 1, 2), ProposalStage.VETOED, False),
        (Choice.YES, (0,), ProposalStage.NO_QUORUM, False),
    ):
        network = governed()
        number = propose(network, ASK)
        held, burnt = network.view.account(PROPOSER.public).balance, network.view.supply().burnt
        vote(network, number, choice, who)
        burnt = network.view.supply().burnt
        until(network, number, ends)
        assert network.view.account(PROPOSER.public).balance == held + 5_000 * returned
        assert network.view.supply().burnt >= burnt + 5_000 * (not returned)
        assert supply_is_whole(network)


def test_when_a_vote_is_over_nothing_of_it_is_left_but_what_came_of_it() -> None:
    network = delegated()
    number = propose(network, ASK)
    cast(network, USERS[0], number, behind(NAMES[0]))
    vote(network, number)
    until(network, number, ProposalStage.REJECTED)
    network.block()
    ledger = ledger_of(network)
    assert ledger.read(own_votes_key(number, Stakes.own(NAMES[0]))) is None
    assert ledger.read(voter_key(number, 0)) is None
    assert ledger.read(proposal_key(number)) is not None


# --- histories

OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "delegate": lambda draw: (
        draw(st.sampled_from(USERS)),
        Delegate(
            validators=draw(st.sampled_from([NAMES[:1], NAMES[1:2], PAIR, NAMES])),
            amount=Amount(draw(st.integers(20, 500))),
        ),
    ),
    "undelegate": lambda draw: (
        draw(st.sampled_from(USERS)),
        Undelegate(nomination=draw(nominations), amount=Amount(draw(st.integers(1, 300)))),
    ),
    "redelegate": lambda draw: (
        draw(st.sampled_from(USERS)),
        Redelegate(
            nomination=draw(nominations),
            validators=draw(st.sampled_from([NAMES[:1], NAMES[2:3], PAIR])),
            amount=Amount(draw(st.integers(20, 300))),
        ),
    ),
    "withdraw": lambda draw: (draw(st.sampled_from(USERS + OPERATORS)), Withdraw()),
    "bond more": lambda draw: (
        draw(st.sampled_from(OPERATORS)),
        BondMore(amount=Amount(draw(st.integers(1, 99)))),
    ),
    "unbond": lambda draw: (
        draw(st.sampled_from(OPERATORS)),
        Unbond(amount=Amount(draw(st.integers(1, 60)))),
    ),
}
nominations = st.sampled_from(
    [nomination_name(each) for each in (NAMES[:1], NAMES[1:2], NAMES[2:3], PAIR, NAMES)]
)


def snapshot(network: Network, epoch: int) -> dict[Hash, int]:
    """What each nomination had behind members of an epoch."""
    found: dict[Hash, int] = {}
    for account in NAMES:
        record = exposure(network.view, Epoch(epoch), account)
        for each in () if record is None else record.edges:
            found[each.nomination] = found.get(each.nomination, 0) + each.amount
    return found


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_in_no_history_do_own_votes_exceed_what_stood_there_when_the_epoch_began(data: st.DataObject) -> None:
    network = governed(
        epoch_blocks=2, evidence_epochs=2, unbonding_epochs=2, gov_vote_ms=400, unbonding_ms=401
    )
    number, opened, rounding = 0, 0, 0
    for step in range(data.draw(st.integers(8, 30))):
        if step == 6:
            number, opened = propose(network, ASK), int(network.epoch)
            opened = proposal(network, number).epoch
        raws = []
        for _ in range(data.draw(st.integers(0, 4))):
            sender, action = OPERATIONS[data.draw(st.sampled_from(sorted(OPERATIONS)))](data.draw)
            raws.append(network.raw(sender, action))
        pieces = []
        if data.draw(st.integers(0, 9)) == 0 and step > 2:
            kind = data.draw(st.sampled_from([CONTRADICTION, DOUBLE]))
            pieces = [evidence(network, 0, epoch=int(network.epoch), votes=kind)]
        network.block(raws, evidence=pieces)
        rounding += len(raws)
        if not number:
            continue
        votes = []
        for user in USERS + OPERATORS:
            for held in network.view.stakes.held_by(user.public):
                choice = data.draw(st.integers(0, 4))
                if choice:
                    action = VoteStake(proposal=number, pool=held.pool, choice=choice)
                    votes.append(network.raw(user, action))
        network.block(votes)
        ledger = ledger_of(network)
        for name, there in snapshot(network, opened).items():
            record = ledger.record(OwnVotesRecord, own_votes_key(number, name))
            if record is not None:
                assert sum(sums_of(record)) <= there + rounding
        assert supply_is_whole(network)
