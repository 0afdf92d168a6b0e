"""A validator's side of candidates: the backing machine, driven (DESIGN.md section 6, `replicated`).

    network ─► Validation ─► candidates.backing ─► worker process ─► store ─► driver ─► network

`Backing` decides; this carries out. A candidate is re-executed in a guest worker from a thread of its own,
its PoV is durable before the verdict is signed (an attestation promises to serve it), and the signature is
asked of the driver, whose turn journals it first. When this machine can not tell (worker lost, disk full,
too much waiting) it abstains: that accuses nobody.

All methods but `run` are called in the trio loop and never block.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from consensus.agreement.events import Peer, SignStatement, StatementRefused, StatementSigned
from consensus.agreement.statements import Verdict
from consensus.agreement.validators import ValidatorSet
from consensus.candidates.backing import Backing, VerifySignature
from consensus.candidates.backing_events import (
    BackingEffect,
    BroadcastAttestation,
    CandidateMisbehaviour,
    CandidateReceived,
    CandidateStage,
    EpochBegan,
    ExecuteCandidate,
    Executed,
    PeerConnected,
    RelayAdvanced,
    SendCandidateMessage,
)
from consensus.candidates.execution import CandidateTask, judge, prepare
from consensus.candidates.lifecycle import TRANSITIONS, Stage
from consensus.candidates.receipts import (
    Attestation,
    CandidateInclusion,
    CandidateMessage,
    CandidateOffer,
    PovRequest,
    decode_candidate_message,
    encode_candidate_message,
)
from consensus.candidates.view import RelayView
from consensus.primitives.errors import InvalidBlock, LocalFault
from consensus.primitives.guest import GuestCall, Status
from consensus.primitives.ids import Epoch, Hash, Height, ValidatorIndex
from enclaves.pool import StatelessOutcome
from node.final_chain import FinalNotice

MAX_QUEUED: Final = 64  # candidates waiting for a worker; beyond, this machine abstains
MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024  # of their PoVs
MAX_REQUESTS: Final = 64  # requests for stored PoVs waiting; beyond, they are dropped and asked again
REQUESTS_PER_PEER: Final = 8  # of these from one peer, which must not keep the others' out


class StatelessWorkers(Protocol):
    """What re-executes; `enclaves.pool.WorkerPool`."""

    def execute_stateless(self, call: GuestCall, pre_root: Hash, witness: bytes) -> StatelessOutcome:
        """Run a call over a witness. Blocks. Raises LocalFault."""
        ...


class PovStore(Protocol):
    """Where attested candidates stay, as encoded `CandidateOffer`s; `node.store.Store`."""

    async def put_povs(self, povs: Sequence[tuple[Hash, bytes, Height]]) -> None:
        """Make them durable. Raises LocalFault."""
        ...

    def pov(self, candidate: Hash) -> bytes | None:
        """One of them."""
        ...


class Validation:
    """Validates candidates and collects what a leader may include."""

    def __init__(
        self,
        *,
        own: ValidatorIndex | None,
        chain_id_hash: Hash,
        epoch: Epoch,
        validators: ValidatorSet,
        verify: VerifySignature,
        workers: StatelessWorkers,
        store: PovStore,
        post: Callable[[SignStatement], None],
        send: Callable[[Peer, CandidateMessage], bool],
        broadcast: Callable[[CandidateMessage], None],
        misbehaved: Callable[[Peer, str], None],
        view: RelayView,
        parallel: int = 1,
        log: FilteringBoundLogger | None = None,
    ) -> None:
        """`view` is the newest executed final state; `parallel` candidates are re-executed at a time."""
        self.on_change: Callable[[], None] = lambda: None  # something more may be included
        self.executed = 0
        self.found_invalid = 0
        self.abstained = 0
        self._machine = Backing(
            own=own, chain_id_hash=chain_id_hash, epoch=epoch, validators=validators, verify=verify
        )
        self._workers = workers
        self._store = store
        self._post = post
        self._send = send
        self._broadcast = broadcast
        self._misbehaved = misbehaved
        self._parallel = parallel
        self._log: FilteringBoundLogger = log if log is not None else structlog.get_logger("node")
        self._height = view.height
        self._queue: OrderedDict[Hash, CandidateTask] = OrderedDict()
        self._queued_bytes = 0
        self._work = trio.Event()
        self._to_serve, self._requests = trio.open_memory_channel[tuple[Peer, Hash]](MAX_REQUESTS)
        self._asking: Counter[Peer] = Counter()  # requests of each that wait there
        self._perform(self._machine.handle(RelayAdvanced(view=view)))

    # --- inputs

    def receive(self, peer: Peer, message: CandidateMessage) -> None:
        """A decoded message from the network."""
        effects = self._machine.handle(CandidateReceived(sender=peer, message=message))
        self._perform(effects)
        if isinstance(message, PovRequest) and not effects:
            self._queue_request(peer, message.candidate)
        elif isinstance(message, Attestation):
            self.on_change()

    def peer_up(self, peer: Peer) -> None:
        """A peer (re)connected."""
        self._perform(self._machine.handle(PeerConnected(sender=peer)))

    def on_statement(self, answer: StatementSigned | StatementRefused) -> None:
        """The driver's answer to a SignStatement; a signature is durable by now."""
        if isinstance(answer, StatementRefused):
            self._log.warning(
                "statement.refused", candidate=answer.statement.candidate.hex(), reason=answer.reason
            )
        self._perform(self._machine.handle(answer))
        self.on_change()

    def begin_epoch(self, epoch: Epoch, own: ValidatorIndex | None, validators: ValidatorSet) -> None:
        """Another set attests from now on; called once agreement signs in that epoch. `own`: None in none."""
        self._perform(self._machine.handle(EpochBegan(epoch=epoch, own=own, validators=validators)))
        self.on_change()

    def on_final(self, notice: FinalNotice) -> None:
        """A final block was executed; listener of `FinalChain`."""
        self.advance(notice.view)

    def advance(self, view: RelayView) -> None:
        """The newest executed final state is `view`."""
        self._height = view.height
        self._perform(self._machine.handle(RelayAdvanced(view=view)))

    # --- questions

    def includable(self, view: RelayView, limit: int) -> list[CandidateInclusion]:
        """At most `limit` inclusions for a block that builds on the state of `view`."""
        return self._machine.includable(view, limit) if len(self._machine) else []

    def contrary(self) -> tuple[Attestation, ...]:
        """What validators signed against a verdict that a final block carries."""
        return self._machine.contrary()

    def statistics(self) -> dict[str, int]:
        """Counters, for metrics."""
        return {
            "candidates_in_flight": len(self._machine),
            "candidates_queued": len(self._queue),
            "candidates_executed": self.executed,
            "candidates_invalid": self.found_invalid,
            "candidates_abstained": self.abstained,
        }

    # --- tasks

    async def run(self) -> None:
        """Re-execute and serve until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(self._parallel):
                nursery.start_soon(self._run_worker)
            nursery.start_soon(self._run_server)

    async def _run_worker(self) -> None:
        limiter = trio.CapacityLimiter(1)
        while True:
            while not self._queue:
                self._work = trio.Event()
                await self._work.wait()
            candidate, task = self._queue.popitem(last=False)
            self._queued_bytes -= len(task.pov)
            try:
                verdict, reason = await trio.to_thread.run_sync(
                    self._execute, task, limiter=limiter, abandon_on_cancel=True
                )
                if verdict is Verdict.VALID:
                    await self._keep(candidate, task, limiter)
            except LocalFault as fault:
                self._abstain(candidate, str(fault))
                continue
            self.executed += 1
            if verdict is Verdict.INVALID:
                self.found_invalid += 1
                self._log.warning(
                    "candidate.invalid", candidate=candidate.hex(), chain=task.header.chain, reason=reason
                )
            self._perform(self._machine.handle(Executed(candidate=candidate, verdict=verdict, reason=reason)))

    def _execute(self, task: CandidateTask) -> tuple[Verdict, str]:
        """In a thread: the verdict of a worker process. Raises LocalFault: no verdict."""
        try:
            prepared = prepare(task)
        except InvalidBlock as error:
            return Verdict.INVALID, str(error)
        ran = self._workers.execute_stateless(prepared.call, prepared.pre_root, prepared.witness)
        if ran.outcome is not None and ran.outcome.status is Status.ENGINE_FAULT:
            raise LocalFault(ran.outcome.reason)  # it may be this machine's memory that ends its workers
        return judge(task.header, ran.outcome, ran.post_root, ran.refusal)

    async def _keep(self, candidate: Hash, task: CandidateTask, limiter: trio.CapacityLimiter) -> None:
        """Make what will be attested durable: who restarts still serves it."""

        def encoded() -> bytes | None:
            if self._store.pov(candidate) is not None:
                return None  # attested before a restart
            return encode_candidate_message(CandidateOffer(header=task.header, pov=task.pov))

        raw = await trio.to_thread.run_sync(encoded, limiter=limiter)
        if raw is not None:
            await self._store.put_povs([(candidate, raw, self._height)])

    async def _run_server(self) -> None:
        """Answer requests for candidates that only the store still has, one after the other."""
        limiter = trio.CapacityLimiter(1)

        def read(candidate: Hash) -> CandidateMessage | None:
            raw = self._store.pov(candidate)
            return None if raw is None else decode_candidate_message(raw)

        async for peer, candidate in self._requests:
            self._asking[peer] -= 1
            if not self._asking[peer]:
                del self._asking[peer]
            offer = await trio.to_thread.run_sync(read, candidate, limiter=limiter)
            if offer is not None:
                self._send(peer, offer)

    # --- effects

    def _perform(self, effects: Iterable[BackingEffect]) -> None:
        for effect in effects:
            match effect:
                case SendCandidateMessage(receiver=receiver, message=message):
                    self._send(Peer(receiver), message)
                case BroadcastAttestation(attestation=attestation):
                    self._broadcast(attestation)
                case ExecuteCandidate(candidate=candidate, task=task):
                    self._enqueue(candidate, task)
                case SignStatement():
                    self._post(effect)
                case CandidateMisbehaviour(sender=sender, reason=reason):
                    self._misbehaved(Peer(sender), reason)
                case CandidateStage():
                    self._note_stage(effect)

    def _enqueue(self, candidate: Hash, task: CandidateTask) -> None:
        if len(self._queue) >= MAX_QUEUED or self._queued_bytes + len(task.pov) > MAX_QUEUED_BYTES:
            self._abstain(candidate, "too many candidates wait for a worker")
            return
        self._queue[candidate] = task
        self._queued_bytes += len(task.pov)
        self._work.set()

    def _abstain(self, candidate: Hash, reason: str) -> None:
        self.abstained += 1
        self._log.error("candidate.abstained", candidate=candidate.hex(), reason=reason)
        self._perform(self._machine.handle(Executed(candidate=candidate, verdict=None, reason=reason)))

    def _queue_request(self, peer: Peer, candidate: Hash) -> None:
        if self._asking[peer] >= REQUESTS_PER_PEER or self._asking.total() >= MAX_REQUESTS:
            self._log.debug("pov.not_served", peer=peer, candidate=candidate.hex())
            return
        self._asking[peer] += 1
        self._to_serve.send_nowait((peer, candidate))

    def _note_stage(self, effect: CandidateStage) -> None:
        if not TRANSITIONS[effect.stage]:  # settled: to re-execute it now would be in vain
            task = self._queue.pop(effect.candidate, None)
            self._queued_bytes -= 0 if task is None else len(task.pov)
        fields: dict[str, Any] = {"reason": effect.reason} if effect.reason else {}
        log = self._log.warning if effect.stage in {Stage.REJECTED, Stage.TIMED_OUT} else self._log.debug
        log(
            f"candidate.{effect.stage.value.replace(' ', '_')}",
            candidate=effect.candidate.hex(),
            chain=effect.header.chain,
            height=effect.header.height,
            **fields,
        )
