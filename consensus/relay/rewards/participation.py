"""Who took part in an epoch: votes by samples, proposals by counting (DESIGN.md section 8).

An epoch is cut into rounds of `participation_interval` blocks. The first block of a round draws one block of
the round before, by its own parent's hash, which nobody knew who voted then: so voting now and then does not
pay. From a block of the new round on, which the epoch's seed decides and nobody can choose, each leader may
include votes for the drawn block, those first that hold more than 2/3 of all stake, later ones only of who is
still missing.

What a Byzantine leader can withhold: votes, in its own blocks. They stay good for at least half a round, and
the next leader earns the reward of including them (the idea is Ethereum's: a proposer is paid for each new
attestation that it includes). So a vote is lost only if all leaders of what is left of a round withhold it,
and what it would have earned is then nobody's (`points`): withholding costs its author and brings it nothing.
The last leader of a round can choose its block's hash among several, and so, at most, which of a round's
blocks is drawn. (In rounds of two, the shortest, it is always the first.)

Votes of another view than the block's own can not be passed off: those first included hold more than 2/3 of
the stake, hence are in part honest and of the view that the block has; it is then kept.

A view between a block's own and its parent's is one that its leader let pass, as far as the chain can tell.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from consensus.candidates.receipts import bitmap_members
from consensus.primitives.codec import decode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import Epoch, Height, ValidatorIndex, View
from consensus.relay.epochs import Reads, boundary_height
from consensus.relay.ledger import RECORD_LIMIT, RecentBlock, recent_key
from consensus.relay.parameters import BILLION, Parameters
from consensus.relay.rewards.records import (
    PARTICIPATION_BYTES,
    ParticipationRecord,
    Sample,
    participation_key,
)
from consensus.relay.rewards.votes import VoteInclusion, vote_bytes, votes_hash
from consensus.relay.run import Run

MAX_MISSED: Final = 1_024  # views between two blocks that are held against their leaders
_MEMBER: Final = struct.Struct(">IIIQ")
_FULL: Final = ((1 << 32) - 1, (1 << 32) - 1, (1 << 32) - 1, (1 << 64) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberParticipation:
    """What one member of an epoch did, so far if it is the running one."""

    expected: int  # samples: blocks whose votes were counted
    seen: int  # of these, how many with its vote
    proposed: int  # its blocks in the chain
    missed_proposals: int  # views that it led and that brought no block of the chain
    included: int  # votes that its blocks brought in: parts per billion of all stake, summed up


def participation(state: Reads, epoch: Epoch) -> tuple[MemberParticipation, ...] | None:
    """What the members of an epoch did, by validator index; None where the state does not tell (any more)."""
    raw = state.read(participation_key(epoch))
    if raw is None:
        return None
    record = decode(ParticipationRecord, raw, limit=RECORD_LIMIT)
    return tuple(
        MemberParticipation(
            expected=record.samples, seen=seen, proposed=proposed, missed_proposals=missed, included=included
        )
        for seen, proposed, missed, included in _MEMBER.iter_unpack(record.members)
    )


def open_sample(state: Reads, epoch: Epoch, height: Height) -> Sample | None:
    """The sample for which the block of `height`, the next one of `epoch` on this state, may carry votes."""
    raw = state.read(participation_key(epoch))
    sample = None if raw is None else decode(ParticipationRecord, raw, limit=RECORD_LIMIT).open
    return sample if sample is not None and sample.opens <= height <= sample.closes else None


def interval_of(parameters: Parameters) -> int:
    """Blocks of a round: the interval, or half an epoch if that is less, and at least 2."""
    return max(2, min(parameters.participation_interval, parameters.epoch_blocks // 2))


def note_participation(run: Run, votes: VoteInclusion | None) -> None:
    """Count what this block tells: its proposer, the views that were let pass, the votes that it carries.

    After the parent has been entered into the ring of recent blocks.
    """
    key = participation_key(run.context.epoch)
    record = run.ledger.record(ParticipationRecord, key) or ParticipationRecord(
        samples=0, open=None, members=bytes(PARTICIPATION_BYTES * len(run.context.validators))
    )
    members = bytearray(record.members)
    _count_proposals(run, members)
    record = _draw(run, record)
    if votes is not None:
        found = _judge(run, record.open, votes)
        if isinstance(found, str):
            run.void[votes_hash(votes)] = found
        else:
            record = _count_votes(run, record, found, votes, members)
    run.ledger.put(key, replace(record, members=bytes(members)))


def _add(
    members: bytearray, index: int, *, seen: int = 0, proposed: int = 0, missed: int = 0, included: int = 0
) -> None:
    """Count what a member did; a counter that is full stays so: epochs may be of any length."""
    offset = PARTICIPATION_BYTES * index
    had = _MEMBER.unpack_from(members, offset)
    more = (seen, proposed, missed, included)
    sums = (min(each + plus, full) for each, plus, full in zip(had, more, _FULL, strict=True))
    _MEMBER.pack_into(members, offset, *sums)


def _count_proposals(run: Run, members: bytearray) -> None:
    context = run.context
    _add(members, context.proposer, proposed=1)
    first = max(context.parent_view + 1, context.view - MAX_MISSED)
    for view in range(first, context.view):
        _add(members, context.validators.leader(View(view)), missed=1)


def _draw(run: Run, record: ParticipationRecord) -> ParticipationRecord:
    """At the first block of a round: a block of the round before, if a whole round of the epoch is left."""
    context, interval = run.context, interval_of(run.parameters)
    start = boundary_height(context.epoch - 1, run.parameters.epoch_blocks)
    end = boundary_height(context.epoch, run.parameters.epoch_blocks)
    behind = context.height - start - 1  # blocks of the epoch before this one
    if not behind or behind % interval:
        return record
    closes = Height(context.height + interval - 1)
    if closes > end:
        return replace(record, open=None)
    height = context.height - interval + int.from_bytes(context.parent_hash, "big") % (interval - 1)
    found = run.ledger.record(RecentBlock, recent_key(height % run.parameters.relay_parent_window))
    if found is None or found.height != height:  # after a change of the ring's size
        return replace(record, open=None)
    opens = Height(context.height + 1 + _delay(run, behind // interval) % (interval // 2))
    sample = Sample(height=found.height, block=found.hash, view=View(0), opens=opens, closes=closes, seen=b"")
    return replace(record, open=sample)


def _delay(run: Run, number: int) -> int:
    """How far into the round its votes open: so that no leader's turn is always the first."""
    seed = run.context.validators.record.leader_seed
    parts = seed, run.context.epoch.to_bytes(8, "big"), number.to_bytes(8, "big")
    return int.from_bytes(hash_tagged(b"PHALANX/participation/1", run.context.chain_id_hash, *parts), "big")


def _judge(run: Run, sample: Sample | None, votes: VoteInclusion) -> Sample | str:
    """The sample that these votes are for, or why they are void. Cheap checks first."""
    context = run.context
    validators = context.validators
    if sample is None or votes.block != sample.block:
        return "votes for this block are not asked for"
    if not sample.opens <= context.height <= sample.closes:
        return "it is too early or too late for these votes"
    if sample.view not in (0, votes.view):
        return "the votes are of another view than those already counted"
    signed = list(votes.signed())
    if signed[-1][0] >= len(validators):
        return "a voter is not in the validator set"
    if not set(bitmap_members(sample.seen)).isdisjoint(index for index, _ in signed):
        return "a voter is counted already"
    if not sample.view and validators.weight(index for index, _ in signed) < validators.stake.quorum:
        return "the first votes hold no more than 2/3 of the stake"
    message = vote_bytes(context.chain_id_hash, context.epoch, votes.view, votes.block)
    if not all(context.verify(validators.keys[index], message, each) for index, each in signed):
        return "a vote's signature is bad"
    return sample


def _count_votes(
    run: Run, record: ParticipationRecord, sample: Sample, votes: VoteInclusion, members: bytearray
) -> ParticipationRecord:
    validators = run.context.validators
    new: Sequence[ValidatorIndex] = list(bitmap_members(votes.signers))
    for index in new:
        _add(members, index, seen=1)
    part = validators.weight(new) * BILLION // validators.stake.total
    _add(members, run.context.proposer, included=part)
    seen = int.from_bytes(sample.seen, "little") | int.from_bytes(votes.signers, "little")
    return replace(
        record,
        samples=record.samples + (0 if sample.view else 1),
        open=replace(sample, view=votes.view, seen=seen.to_bytes((seen.bit_length() + 7) // 8, "little")),
    )
