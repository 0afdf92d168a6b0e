"""The agreement engine: one method is the protocol."""

from consensus.agreement.config import EngineConfig, Restored
from consensus.agreement.events import Effect, Event, Instant
from consensus.agreement.journal_records import JournalRecord
from consensus.agreement.signing_rules import SigningGate
from consensus.primitives.ids import Hash


class Engine:
    """One node's part in the agreement protocol of one epoch; sans I/O, deterministic.

    `gate` None makes an observer, which follows finality and signs nothing.
    """

    def __init__(self, config: EngineConfig, gate: SigningGate | None, restored: Restored) -> None: ...

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """One turn. Total: whatever a peer sends, it never raises."""
        raise NotImplementedError

    @property
    def deadline_us(self) -> int | None:
        """When (monotonic) the driver must next call `handle(Tick(), …)`; None: never."""
        raise NotImplementedError

    def fork(self) -> "Engine":
        """An independent copy."""
        raise NotImplementedError

    def state_digest(self) -> Hash:
        """A hash of everything that decides how this engine behaves from here on."""
        raise NotImplementedError

    def journal_snapshot(self) -> list[JournalRecord]:
        """Every record that is still needed, for a rewritten journal."""
        raise NotImplementedError
