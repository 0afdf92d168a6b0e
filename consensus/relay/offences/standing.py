"""What a conviction does to the validator itself, in the block that convicts: its seat, not its stake."""

from dataclasses import replace

from consensus.primitives.ids import Epoch
from consensus.relay.offences.records import ConvictRecord, OffenceRecord, convict_key
from consensus.relay.offences.table import Row
from consensus.relay.run import Run
from consensus.relay.stake.records import Standing


def punish(run: Run, before: OffenceRecord, after: OffenceRecord, row: Row) -> None:
    """Jail or tombstone the validator; its seat in the running set stays until the epoch ends. A jail goes on
    beneath a tombstone, which a veto may lift."""
    count_tombstones(run, before, after)
    record = run.stakes.existing(after.account)
    if row.standing is Standing.TOMBSTONED:
        run.stakes.put(replace(record, standing=int(Standing.TOMBSTONED)))
        return
    standing = max(record.standing, int(Standing.JAILED))
    until = Epoch(run.context.epoch + run.parameters.jail_epochs)  # one that sits already sits longer
    run.stakes.put(replace(record, standing=standing, jailed_until=until))


def count_tombstones(run: Run, before: OffenceRecord, after: OffenceRecord) -> None:
    """A record changed. If nothing tombstones the validator any more, it may ask to come back, at once if it
    was not jailed besides."""
    if before.tombstones == after.tombstones:
        return
    key = convict_key(after.account)
    held = run.ledger.record(ConvictRecord, key) or ConvictRecord(tombstones=0)
    count = held.tombstones + (1 if after.tombstones else -1)
    if count:
        run.ledger.put(key, ConvictRecord(tombstones=count))
        return
    run.ledger.write(key, None)
    record = run.stakes.existing(after.account)
    until = max(record.jailed_until, run.context.epoch)
    run.stakes.put(replace(record, standing=int(Standing.JAILED), jailed_until=until))
