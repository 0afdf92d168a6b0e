"""Who validates the next epoch: decided by the last block but one of each (CONSENSUS.md section 14).

The seats go to the most stake (`staking.rank`). Who stays keeps its place among those who stay, newcomers
follow in rank: so that an index means the same validator for as long as it can. If nobody is eligible, the
set stays as it is: a network without validators could never elect any again.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from consensus.primitives.ids import ZERO_HASH, Epoch, Milliseconds, PublicKey, Stake
from consensus.relay.epochs import (
    OLDEST_EPOCH_KEY,
    EpochMember,
    EpochSetRecord,
    OldestEpoch,
    epoch_members,
    epoch_set_key,
    is_answerable,
    is_boundary,
    oldest_epoch,
)
from consensus.relay.run import Run
from consensus.relay.stake.stakes import Stakes

MAX_LAPSES: Final = 4  # sets that one boundary block removes: usually one, more after a halt


def turn_epoch(run: Run) -> None:
    """After everything else in a block: elect if the next block is a boundary, turn if this one is."""
    height, epoch_blocks = run.context.height, run.parameters.epoch_blocks
    coming = Epoch(run.context.epoch + 1)
    if is_boundary(height + 1, epoch_blocks):
        members = elect(run.stakes, epoch_members(run.ledger, run.context.epoch).members, coming)
        record = EpochSetRecord(members=members, leader_seed=ZERO_HASH, began_ms=Milliseconds(0))
        run.ledger.put(epoch_set_key(coming), record)
    if is_boundary(height, epoch_blocks):
        _end_epoch(run)


def elect(stakes: Stakes, previous: tuple[EpochMember, ...], epoch: Epoch) -> tuple[EpochMember, ...]:
    """The members of `epoch`, in the order of their indices; `previous` are those of the one before."""
    candidates = stakes.candidates(epoch)
    if not candidates:
        return _kept(stakes, previous, epoch)
    support = _support(stakes, epoch, [each.account for each in candidates])
    seats = stakes.ledger.parameters.max_validators
    chosen = sorted((each.account for each in candidates), key=lambda account: -support[account])[:seats]
    places = {each.account: index for index, each in enumerate(previous)}
    chosen.sort(key=lambda account: places.get(account, len(places)))  # stable: newcomers stay in rank
    members = []
    for account in chosen:
        record = stakes.existing(account)
        members.append(
            EpochMember(
                name=record.name,
                account=record.account,
                consensus_key=record.consensus_key,
                identity_key=record.identity_key,
                address=record.address,
                stake=Stake(support[account]),
            )
        )
    return tuple(members)


def _support(stakes: Stakes, epoch: Epoch, eligible: Iterable[PublicKey]) -> dict[PublicKey, int]:
    """The stake behind each of `eligible`: a nomination's is all behind its first one that is."""
    found = dict.fromkeys(eligible, 0)
    own = [stakes.own(account) for account in found]
    shared = ((name, record.validators) for name, record in stakes.nominations() if record.number)
    for name, validators in (*((name, (each,)) for name, each in zip(own, found, strict=True)), *shared):
        first = next((each for each in validators if each in found), None)
        if first is not None:
            found[first] += stakes.electoral_stake(name, epoch)
    return found


def _kept(stakes: Stakes, previous: tuple[EpochMember, ...], epoch: Epoch) -> tuple[EpochMember, ...]:
    """The set stays: those of it who still have stake that answers, and with that; all, if none has any."""
    support = _support(stakes, epoch, [each.account for each in previous])
    kept = [replace(each, stake=Stake(support[each.account])) for each in previous if support[each.account]]
    return tuple(kept) or previous


def _end_epoch(run: Run) -> None:
    """The boundary block: what only it knows about the epoch that it begins, and what lapses with the old."""
    context, ledger = run.context, run.ledger
    coming = Epoch(context.epoch + 1)
    record = epoch_members(ledger, coming)
    began = replace(record, leader_seed=context.parent_hash, began_ms=context.time_ms)
    ledger.put(epoch_set_key(coming), began)
    oldest = oldest_epoch(ledger)
    for lapsed in range(oldest, oldest + MAX_LAPSES):
        if is_answerable(ledger, Epoch(lapsed), now=coming, now_ms=context.time_ms):
            break
        ledger.write(epoch_set_key(Epoch(lapsed)), None)
        ledger.put(OLDEST_EPOCH_KEY, OldestEpoch(epoch=Epoch(lapsed + 1)))
