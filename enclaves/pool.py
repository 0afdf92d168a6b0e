"""Guest workers seen from the node: blocking, thread-safe, restarted when they die (DESIGN.md section 4).

A call whose worker dies is tried again in a fresh one; the third death is the guest's, and the call ends as
ENGINE_FAULT with its whole fuel charged. A slow call is never killed for being slow: only a worker that is
silent for `WATCHDOG_S`, which no fuel limit in use explains, is given up, and that is a local fault.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from consensus.primitives.errors import LocalFault
from consensus.primitives.guest import GuestCall, GuestOutcome, ReadState, Status
from consensus.primitives.ids import Hash
from consensus.primitives.tree import NodeStore, Recorder, Update, get_many, tree_key, update, witness_from
from enclaves import protocol
from enclaves.execute import outcome_without_running
from enclaves.limits import DEFAULT_LIMITS
from enclaves.link import WorkerDied, WorkerLink
from enclaves.protocol import (
    GUEST_NAMESPACE,
    Admission,
    Admit,
    BadWitness,
    Code,
    Done,
    FromNode,
    FromWorker,
    NeedCode,
    Prepare,
    ReadReply,
    ReadRequest,
    Run,
    RunStateless,
    Unable,
)

DEATHS_TO_FAULT: Final = 3
WATCHDOG_S: Final = 300.0


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

    Every method blocks and may be called from any thread; calls beyond `size` wait for a free worker. The
    most recently used worker is taken first: it has the code compiled. Raises LocalFault when this machine
    can not run the call; never for what a guest does.
    """

    def __init__(
        self, size: int = 1, *, log: Callable[[str], None] | None = None, watchdog_s: float = WATCHDOG_S
    ) -> None:
        """Starts `size` workers at once; they warm up while the caller goes on."""
        self._log = log
        self._watchdog_s = watchdog_s
        self._idle_changed = threading.Condition()
        self._closed = False
        self.deaths = 0  # workers that ended under a call, for the metrics
        self._all: set[WorkerLink] = set()
        self._idle = [self._start() for _ in range(size)]

    def call(self, call: GuestCall, read: ReadState) -> GuestOutcome:
        """Run one call; `read` is called in this thread, with batches of keys; what it raises passes on."""
        if (refusal := outcome_without_running(call)) is not None:
            return refusal
        answer = self._until_answered(Run(call=protocol.strip_code(call)), call.code, read)
        return protocol.outcome_of(answer) if isinstance(answer, Done) else _engine_fault(call)

    def execute_stateless(self, call: GuestCall, pre_root: Hash, witness: bytes) -> StatelessOutcome:
        """Run one call wholly in a worker, over the partial tree in `witness`."""
        if len(witness) > protocol.WITNESS_LIMIT:
            return StatelessOutcome(outcome=None, post_root=None, refusal="the witness is too long")
        if (refusal := outcome_without_running(call)) is not None:
            return StatelessOutcome(outcome=refusal, post_root=pre_root)
        request = RunStateless(call=protocol.strip_code(call), pre_root=pre_root, witness=witness)
        answer = self._until_answered(request, call.code, _read_nothing)
        if isinstance(answer, BadWitness):
            return StatelessOutcome(outcome=None, post_root=None, refusal=answer.reason)
        if isinstance(answer, Done):
            return StatelessOutcome(outcome=protocol.outcome_of(answer), post_root=answer.post_root)
        return StatelessOutcome(outcome=_engine_fault(call), post_root=pre_root)

    def execute_recording(self, call: GuestCall, root: Hash, nodes: NodeStore) -> RecordedOutcome:
        """Run one call against a full tree and make the witness of every key it read or wrote."""
        recorder = Recorder(nodes)

        def read(keys: Sequence[bytes]) -> Sequence[bytes | None]:
            return get_many(recorder, root, [tree_key(GUEST_NAMESPACE, key) for key in keys])

        outcome = self.call(call, read)
        changes = {tree_key(GUEST_NAMESPACE, key): value for key, value in outcome.writes}
        changed = update(recorder, root, changes)
        return RecordedOutcome(outcome=outcome, update=changed, witness=witness_from(root, recorder))

    def prepare(self, call: GuestCall) -> None:
        """Compile `call.code` in one worker, so that its first real call does not wait for it."""
        self._until_answered(Prepare(call=protocol.strip_code(call)), call.code, _read_nothing)

    def admit(self, wasm: bytes) -> str | None:
        """Why `wasm` is refused as a guest, or None. In a worker: scanning a large module takes 0.1 s."""
        if len(wasm) > DEFAULT_LIMITS.module_bytes:
            return f"the module has {len(wasm)} bytes, the limit is {DEFAULT_LIMITS.module_bytes}"
        answer = self._until_answered(Admit(code=wasm), wasm, _read_nothing)
        if isinstance(answer, Admission):
            return answer.refusal
        return f"the module killed the worker that looked at it {DEATHS_TO_FAULT} times"

    def pids(self) -> list[int]:
        """Process ids of the living workers."""
        with self._idle_changed:
            return sorted(link.pid for link in self._all)

    def close(self) -> None:
        """Ends the workers; a call under way raises LocalFault."""
        with self._idle_changed:
            self._closed = True
            busy = self._all.difference(self._idle)
            self._idle_changed.notify_all()
        for link in busy:
            link.kill()  # its user sees the pipes end
        for link in self._idle:
            link.close()

    def _start(self) -> WorkerLink:
        link = WorkerLink(self._watchdog_s)
        with self._idle_changed:
            if not self._closed:
                self._all.add(link)
                return link
        link.close()
        raise LocalFault("the guest workers are closed")

    def _until_answered(self, request: FromNode, code: bytes, read: ReadState) -> FromWorker | None:
        """The worker's last word, or None when the call killed `DEATHS_TO_FAULT` of them."""
        link = self._acquire()
        deaths = 0
        try:
            while True:
                try:
                    return _converse(link, request, code, read)
                except WorkerDied as death:
                    self._forget(link)
                    deaths += 1
                    self.deaths += 1
                    if self._log is not None:
                        self._log(f"guest worker {link.pid} died ({death}), {deaths} of {DEATHS_TO_FAULT}")
                    link = self._start()
                    if deaths == DEATHS_TO_FAULT:
                        return None
                except BaseException:  # it waits for a reply that will not come: a fresh one is needed
                    self._forget(link)
                    link = self._start()
                    raise
        finally:
            self._release(link)

    def _acquire(self) -> WorkerLink:
        with self._idle_changed:
            self._idle_changed.wait_for(lambda: self._idle or self._closed)
            if self._closed:
                raise LocalFault("the guest workers are closed")
            return self._idle.pop()

    def _release(self, link: WorkerLink) -> None:
        with self._idle_changed:
            if not self._closed:
                self._idle.append(link)
                self._idle_changed.notify()
                return
        link.close()

    def _forget(self, link: WorkerLink) -> None:
        link.close()
        with self._idle_changed:
            self._all.discard(link)


def _converse(link: WorkerLink, request: FromNode, code: bytes, read: ReadState) -> FromWorker:
    link.send(request)
    while True:
        message = link.receive()
        match message:
            case NeedCode():
                link.send(Code(code=code))
            case ReadRequest(keys=keys):
                link.send(ReadReply(values=tuple(read(keys))))
            case Unable(reason=reason):
                raise LocalFault(f"a guest worker could not run a call: {reason}")
            case Done() | BadWitness() | Admission():
                if not isinstance(message, _ANSWERS[type(request)]):
                    raise WorkerDied(f"it sent {type(message).__name__} out of turn")
                return message
            case _:
                raise WorkerDied(f"it sent {type(message).__name__} out of turn")


_ANSWERS: Final[dict[type, tuple[type, ...]]] = {
    Run: (Done,),
    RunStateless: (Done, BadWitness),
    Prepare: (Done,),
    Admit: (Admission,),
}


def _read_nothing(keys: Sequence[bytes]) -> Sequence[bytes | None]:
    raise RuntimeError(f"a stateless guest worker asked for {len(keys)} keys")


def _engine_fault(call: GuestCall) -> GuestOutcome:
    return GuestOutcome(
        status=Status.ENGINE_FAULT,
        fuel_used=call.fuel_limit,
        reason=f"the call killed its worker {DEATHS_TO_FAULT} times",
    )
