"""Members that took no part: jailed, by default at no cost in stake (DESIGN.md section 8).

A validator that was in the sets of `downtime_epochs` epochs in a row and in each of them voted for less than
`downtime_ppb` of the blocks whose votes were counted (`rewards.participation`) is jailed at the beginning of
the next. No more than F of the stake in one epoch, whoever voted least first: if more than that is away, the
fault is rather the network's, and a set without them would only be weaker. Nor more than the block has room
for: who stays away is judged again when the next epoch has ended.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from consensus.agreement.thresholds import stake_thresholds
from consensus.primitives.ids import Epoch, PublicKey
from consensus.relay.epochs import EpochMember, find_epoch_members, is_boundary
from consensus.relay.ledger import Ledger
from consensus.relay.offences.collecting import has_room
from consensus.relay.offences.convicting import convict, stands_against
from consensus.relay.offences.table import OffenceKind
from consensus.relay.offences.veto import record_of
from consensus.relay.parameters import BILLION
from consensus.relay.rewards.participation import MemberParticipation, participation
from consensus.relay.run import Run
from consensus.relay.stake.records import Standing

MIN_SAMPLES: Final = 4  # counted blocks below which an epoch tells nothing

Turnout = Mapping[PublicKey, MemberParticipation]


def jail_absent(run: Run) -> None:
    """In the first block of an epoch: judge who took part in those before it."""
    if not is_boundary(run.context.height - 1, run.parameters.epoch_blocks):
        return
    ended = Epoch(run.context.epoch - 1)
    turnouts = [
        turnout(run.ledger, Epoch(epoch))
        for epoch in range(ended - run.parameters.downtime_epochs + 1, ended + 1)
        if epoch > 0
    ]
    record = find_epoch_members(run.ledger, ended)
    if record is None or len(turnouts) < run.parameters.downtime_epochs:
        return
    room = stake_thresholds(sum(each.stake for each in record.members)).faulty
    for member in absent(record.members, turnouts, run.parameters.downtime_ppb):
        if member.stake > room:
            return
        if not has_room(run):
            return
        if _may_be_jailed(run, member.account, ended):
            room -= member.stake
            convict(run, member.account, ended, OffenceKind.DOWNTIME)


def _may_be_jailed(run: Run, account: PublicKey, epoch: Epoch) -> bool:
    return (
        run.stakes.existing(account).standing == Standing.ACTIVE
        and not run.stakes.would_strand(account)
        and not stands_against(record_of(run.ledger, account, epoch), OffenceKind.DOWNTIME)
    )


def turnout(ledger: Ledger, epoch: Epoch) -> Turnout:
    """Who took part in an epoch, by account; empty where the state does not tell."""
    record, counted = find_epoch_members(ledger, epoch), participation(ledger, epoch)
    if record is None or counted is None:
        return {}
    return {each.account: part for each, part in zip(record.members, counted, strict=True)}


def absent(members: Sequence[EpochMember], turnouts: Sequence[Turnout], least_ppb: int) -> list[EpochMember]:
    """Who of `members` took too little part in every epoch of `turnouts`, whoever voted least in the last
    one first."""
    found = [
        each
        for each in members
        if all(_is_absent(turnout.get(each.account), least_ppb) for turnout in turnouts)
    ]
    return sorted(found, key=lambda each: turnouts[-1][each.account].seen)


def _is_absent(part: MemberParticipation | None, least_ppb: int) -> bool:
    return (
        part is not None and part.expected >= MIN_SAMPLES and part.seen * BILLION < least_ppb * part.expected
    )
