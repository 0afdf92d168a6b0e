"""Which version of the protocol an epoch runs (DESIGN.md section 4).

A switch takes effect with an epoch's first block, so that no block's rules depend on where in an epoch it
is. A node that does not know the version of an epoch can not tell what its blocks mean: it stops before it
votes in it, or executes any of it (`node.epochs`).
"""

from consensus.primitives.codec import decode
from consensus.primitives.ids import Epoch
from consensus.relay.epochs import Reads
from consensus.relay.governance.records import PROTOCOL_KEY, ProtocolRecord
from consensus.relay.run import Run


def protocol(state: Reads) -> ProtocolRecord:
    """The version and the switch that is decided, as the state has them."""
    raw = state.read(PROTOCOL_KEY)
    return ProtocolRecord() if raw is None else decode(ProtocolRecord, raw, limit=64)


def version_of(state: Reads, epoch: Epoch) -> int:
    """The version that `epoch` runs, as decided in a state of it, or of the last block before it."""
    record = protocol(state)
    return record.next_version if 0 < record.next_epoch <= epoch else record.version


def switch_refusal(run: Run, version: int) -> str | None:
    """Why there can be no switch to a version; None if there can."""
    epoch = run.context.epoch
    running, record = version_of(run.ledger, epoch), protocol(run.ledger)
    waits = record.next_epoch > epoch
    if version < running or (version == running and not waits):
        return f"version {running} runs: a switch is to a later one, or back to it while another waits"
    if waits and version != running:
        return (
            f"a switch to version {record.next_version} waits: call that off first, by switching to {running}"
        )
    return None


def switch(run: Run, version: int, epoch: Epoch) -> None:
    """Run another version from an epoch on, at least the next; the running one calls a waiting switch off."""
    now = run.context.epoch
    running = version_of(run.ledger, now)
    if version == running:
        record = ProtocolRecord(version=running)
    else:
        record = ProtocolRecord(version=running, next_version=version, next_epoch=max(epoch, Epoch(now + 1)))
    run.ledger.put(PROTOCOL_KEY, record)
