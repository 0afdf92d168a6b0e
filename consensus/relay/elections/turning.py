"""The epoch's turn: an election in the last block but one, the new epoch's beginning in the last
(CONSENSUS.md section 14).

The boundary header names the set that its parent's state has, so that block itself changes nothing about it:
it stamps what only it knows. With it goes what nobody answers for any more, sets and their exposures; but
nothing while a conviction is being cut, or is to be, by one of those exposures.
"""

from dataclasses import replace
from typing import Final

from consensus.primitives.ids import Epoch
from consensus.relay.elections.electing import elect
from consensus.relay.elections.records import exposure_key
from consensus.relay.epochs import (
    OLDEST_EPOCH_KEY,
    OldestEpoch,
    epoch_members,
    epoch_set_key,
    is_answerable,
    is_boundary,
    oldest_epoch,
)
from consensus.relay.run import Run
from consensus.relay.security import attesters
from consensus.relay.stake.leaving import is_owing

MAX_LAPSES: Final = 4  # sets that one boundary block removes: usually one, more after a halt


def turn_epoch(run: Run) -> None:
    """After everything else in a block: elect if the next block is a boundary, turn if this one is."""
    height, epoch_blocks = run.context.height, run.parameters.epoch_blocks
    if is_boundary(height + 1, epoch_blocks):
        coming = Epoch(run.context.epoch + 1)
        run.election = elect(run.stakes, coming)
        attesters.freeze(run.ledger, coming)
    if is_boundary(height, epoch_blocks):
        _end_epoch(run)


def _end_epoch(run: Run) -> None:
    """The boundary block: what only it knows about the epoch that it begins, and what lapses with the old."""
    context, ledger = run.context, run.ledger
    coming = Epoch(context.epoch + 1)
    record = epoch_members(ledger, coming)
    began = replace(record, leader_seed=context.parent_hash, began_ms=context.time_ms)
    ledger.put(epoch_set_key(coming), began)
    oldest = oldest_epoch(ledger)
    if is_owing(ledger):
        return
    for lapsed in map(Epoch, range(oldest, oldest + MAX_LAPSES)):
        if is_answerable(ledger, lapsed, now=coming, now_ms=context.time_ms):
            break
        for member in epoch_members(ledger, lapsed).members:
            ledger.write(exposure_key(lapsed, member.account), None)
        attesters.forget(ledger, lapsed)
        ledger.write(epoch_set_key(lapsed), None)
        ledger.put(OLDEST_EPOCH_KEY, OldestEpoch(epoch=Epoch(lapsed + 1)))
