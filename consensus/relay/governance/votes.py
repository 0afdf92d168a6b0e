"""Casting votes, and what is read to count them (DESIGN.md section 8; `tally` has the arithmetic).

Who counts for how much was settled when the proposal's epoch began. A member of that epoch's set votes for
all that its exposure says; a delegator may vote with a position instead. Every unit of stake is in exactly
one position, and a position that anything came into is marked with the first epoch in which all of it
stands (`PositionRecord.since`). So only positions marked with the proposal's epoch or an earlier one may
vote: what moved, left, or was paid out and staked anew since then is in one that is marked later, whoever
holds it, and no unit is counted twice.

Nothing here depends on how many delegators there are: their votes are added up for each nomination.
"""

from dataclasses import replace

from consensus.primitives.ids import Epoch, Hash, PublicKey
from consensus.relay.elections.records import exposure
from consensus.relay.epochs import find_epoch_members
from consensus.relay.governance.records import (
    AGENDA_KEY,
    AgendaRecord,
    MembersRecord,
    OwnVote,
    OwnVoteRecord,
    OwnVotesRecord,
    ProposalRecord,
    ProposalStage,
    members_key,
    own_vote_key,
    own_votes_key,
    proposal_key,
    voter_key,
)
from consensus.relay.governance.tally import CHOICES, MemberVote, Sums, VoteCount, tally
from consensus.relay.governance.transactions import Choice, VoteAsMember, VoteStake
from consensus.relay.ledger import Ledger
from consensus.relay.receipts import Code
from consensus.relay.run import Run
from consensus.relay.stake.records import PoolKind, PoolRecord, Standing
from consensus.relay.stake.stakes import Stakes


def vote(run: Run, sender: PublicKey, action: VoteAsMember) -> Code:
    """Note what a member says."""
    record = _open_proposal(run, action.proposal)
    if record is None or action.choice not in CHOICES:
        return Code.NO_SUCH_PROPOSAL if record is None else Code.NO_SUCH_CHOICE
    members = find_epoch_members(run.ledger, record.epoch)
    accounts = [] if members is None else [each.account for each in members.members]
    if sender not in accounts:
        return Code.NO_VOTE
    said = run.ledger.record(MembersRecord, members_key(record.number))
    choices = bytearray(len(accounts) if said is None else said.choices)
    choices[accounts.index(sender)] = action.choice
    run.ledger.put(members_key(record.number), MembersRecord(choices=bytes(choices)))
    return Code.OK


def vote_stake(run: Run, sender: PublicKey, action: VoteStake) -> tuple[Code, bytes]:
    """Count a position for itself; answers with the units."""
    record = _open_proposal(run, action.proposal)
    if record is None or action.choice not in CHOICES:
        return (Code.NO_SUCH_PROPOSAL if record is None else Code.NO_SUCH_CHOICE), b""
    position = run.stakes.position(action.pool, sender)
    if position is None:
        return Code.NO_SUCH_POSITION, b""
    pool = run.stakes.pool(action.pool)  # not before: without a position it may be any leaf of the state
    if pool is None:
        raise AssertionError("a position in a pool that is not there")
    nomination, amount = nomination_in(pool, record.epoch), run.stakes.value(action.pool, sender)
    if nomination is None or position.since > record.epoch or not amount:
        return Code.NO_VOTE, b""
    if not _may_count(run, nomination, record.epoch):
        return Code.NO_VOTE, b""
    cast = OwnVote(proposal=record.number, choice=action.choice, amount=amount)
    before = _replace_vote(run.ledger, action.pool, sender, cast)
    _add_up(run.ledger, record, nomination, before, cast)
    return Code.OK, amount.to_bytes(16, "big")


def nomination_in(pool: PoolRecord, epoch: Epoch) -> Hash | None:
    """The nomination that a pool stood behind in an epoch; None if none."""
    match PoolKind(pool.kind):
        case PoolKind.MAIN:
            return pool.nomination
        case PoolKind.LEAVING:
            return pool.nomination if epoch <= pool.epoch else None
        case PoolKind.MOVING:
            return pool.nomination if epoch <= pool.epoch else pool.to


def _may_count(run: Run, nomination: Hash, epoch: Epoch) -> bool:
    """Whether stake behind a nomination can be of weight in an epoch. A validator's own is behind nobody but
    itself; there is no limit to how many bond, and the block that counts reads a leaf for each nomination."""
    named, members = run.stakes.nomination(nomination), find_epoch_members(run.ledger, epoch)
    if named is None or members is None:
        return False
    return bool(named.number) or any(each.account == named.validators[0] for each in members.members)


def _open_proposal(run: Run, number: int) -> ProposalRecord | None:
    record = run.ledger.record(ProposalRecord, proposal_key(number))
    if record is None or record.stage != ProposalStage.VOTING or run.context.time_ms >= record.closes_ms:
        return None
    return record


def _replace_vote(ledger: Ledger, pool: Hash, holder: PublicKey, cast: OwnVote) -> OwnVote | None:
    """Write what a position is cast for; what it was cast for before. Votes that are over are forgotten."""
    key = own_vote_key(pool, holder)
    held = ledger.record(OwnVoteRecord, key) or OwnVoteRecord(votes=())
    waiting = ledger.record(AgendaRecord, AGENDA_KEY) or AgendaRecord()
    is_open = {each.number for each in waiting.entries}
    before = next((each for each in held.votes if each.proposal == cast.proposal), None)
    kept = [each for each in held.votes if each.proposal in is_open and each is not before]
    ledger.put(key, OwnVoteRecord(votes=(*kept, cast)))
    return before


def _add_up(
    ledger: Ledger, proposal: ProposalRecord, nomination: Hash, before: OwnVote | None, cast: OwnVote
) -> None:
    key = own_votes_key(proposal.number, nomination)
    held = ledger.record(OwnVotesRecord, key)
    if held is None:
        ledger.write(voter_key(proposal.number, proposal.voters), nomination)
        ledger.put(proposal_key(proposal.number), replace(proposal, voters=proposal.voters + 1))
    sums = dict(zip(CHOICES, sums_of(held or OwnVotesRecord()), strict=True))
    if before is not None:
        sums[Choice(before.choice)] -= before.amount
    sums[Choice(cast.choice)] += cast.amount
    yes, no, abstain, veto = (sums[each] for each in CHOICES)
    ledger.put(key, OwnVotesRecord(yes=yes, no=no, abstain=abstain, veto=veto))


def sums_of(record: OwnVotesRecord) -> Sums:
    """The units, in the order of the choices."""
    return record.yes, record.no, record.abstain, record.veto


# --- counting


def count(stakes: Stakes, proposal: ProposalRecord) -> VoteCount | None:
    """Count a vote; None if the state has forgotten who was in its epoch. Who is tombstoned by now speaks for
    nobody: the stake behind it says what it says itself, or nothing."""
    ledger = stakes.ledger
    members = find_epoch_members(ledger, proposal.epoch)
    if members is None:
        return None
    said = ledger.record(MembersRecord, members_key(proposal.number))
    choices = bytes(len(members.members)) if said is None else said.choices
    ballots = []
    for member, choice in zip(members.members, choices, strict=True):
        exposed = exposure(ledger, proposal.epoch, member.account)
        edges = () if exposed is None else exposed.edges
        speaks = choice and stakes.existing(member.account).standing != Standing.TOMBSTONED
        ballots.append(
            MemberVote([(each.nomination, each.amount) for each in edges], Choice(choice) if speaks else None)
        )
    own_votes = {}
    for index in range(proposal.voters):
        nomination = _voter(ledger, proposal.number, index)
        own_votes[nomination] = sums_of(
            ledger.existing(OwnVotesRecord, own_votes_key(proposal.number, nomination))
        )
    return tally(ballots, own_votes)


def sweep(ledger: Ledger, number: int, limit: int) -> int:
    """Forget at most `limit` of what a vote that is over kept for each nomination, the last first; how many
    were looked at. None are left where that is fewer than `limit`."""
    record = ledger.existing(ProposalRecord, proposal_key(number))
    looked_at = min(limit, record.voters)
    for index in range(record.voters - looked_at, record.voters):
        ledger.write(own_votes_key(number, _voter(ledger, number, index)), None)
        ledger.write(voter_key(number, index), None)
    if looked_at:
        ledger.put(proposal_key(number), replace(record, voters=record.voters - looked_at))
    ledger.write(members_key(number), None)
    return looked_at


def _voter(ledger: Ledger, number: int, index: int) -> Hash:
    raw = ledger.read(voter_key(number, index))
    if raw is None:
        raise AssertionError("governance: a vote has lost one of its voters")
    return Hash(raw)
