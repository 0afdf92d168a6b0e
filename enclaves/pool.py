"""Guest workers seen from the node: blocking, thread-safe, restarted when they die (DESIGN.md section 4).

Interface; see `WorkerPool`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from consensus.primitives.guest import GuestCall, GuestOutcome, ReadState
from consensus.primitives.ids import Hash
from consensus.primitives.tree import NodeStore, Update


@dataclass(frozen=True, slots=True, kw_only=True)
class StatelessOutcome:
    """A call run against a witness. Both are None when the witness is bad; then `refusal` says why."""

    outcome: GuestOutcome | None
    post_root: Hash | None  # the pre-root unless outcome.status is OK
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOutcome:
    """A call run by a collator: what it did, what it changed, and the witness that lets others repeat it."""

    outcome: GuestOutcome
    update: Update  # root unchanged and nothing added unless outcome.status is OK
    witness: bytes


class WorkerPool:
    """A fixed number of worker processes. Implements consensus.primitives.guest.GuestExecutor.

    Every method blocks and may be called from any thread; calls beyond `size` wait for a free worker.
    Raises LocalFault when this machine can not run the call; never for what a guest does.
    """

    def __init__(self, size: int = 1, *, log: Callable[[str], None] | None = None) -> None:
        """Starts `size` workers at once and warms them in the background."""
        raise NotImplementedError

    def call(self, call: GuestCall, read: ReadState) -> GuestOutcome:
        """Run one call; `read` is called in this thread, with batches of keys."""
        raise NotImplementedError

    def execute_stateless(self, call: GuestCall, pre_root: Hash, witness: bytes) -> StatelessOutcome:
        """Run one call wholly in a worker, over the partial tree in `witness`."""
        raise NotImplementedError

    def execute_recording(self, call: GuestCall, root: Hash, nodes: NodeStore) -> RecordedOutcome:
        """Run one call against a full tree and make the witness of every key it read or wrote."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends the workers; a call under way raises LocalFault."""
        raise NotImplementedError
