"""The collator: builds a consumer chain's candidates and sees them enacted (DESIGN.md sections 3 and 6).

    chain_submit ─► mempool ─► plan ─► guest worker (recording) ─► replica (durable) ─► offer to validators
                       ▲                                                                      │
                       └── lost: rejected, timed out ◄── final relay state ◄── enacted ◄──────┘

It is trusted with nothing and signs nothing. Up to MAX_PIPELINE_DEPTH candidates are in flight, each built on
the one before. One task does everything in order; guest, tree and disk work leave the loop. What is in flight
is durable before anybody hears of it, so a restart goes on where it was; what only waits is not: a client
sends it again (DESIGN.md section 10).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from consensus.agreement.events import Peer
from consensus.agreement.statements import Verdict
from consensus.candidates.collation import (
    CollationPlan,
    Pipeline,
    RelayParent,
    plan_candidate,
)
from consensus.candidates.lifecycle import ChainView
from consensus.candidates.receipts import (
    Attestation,
    CandidateHeader,
    CandidateInclusion,
    CandidateMessage,
    CandidateOffer,
    PovRequest,
    decode_pov,
)
from consensus.light.leaves import guest_key
from consensus.primitives.errors import InvalidBlock, InvalidTransaction, LocalFault
from consensus.primitives.guest import MAX_INPUT_BYTES
from consensus.primitives.ids import ChainId, Fuel, Hash, Height
from consensus.primitives.tree import NodeStore
from consensus.primitives.tree import get as tree_get
from consensus.relay.views import StateView
from node.adoption import Adoption, Foreign
from node.api import ChainStage, ChainTransactionReport, SubmitResult
from node.batch_size import BatchSize
from node.chain_mempool import (
    CandidateProgress,
    ChainMempool,
    ChainProgress,
    ChainTransaction,
    chain_transaction,
    refused_among,
)
from node.chain_replica import Beginning, ChainReplica, StoredCandidate
from node.collation_work import RecordingWorkers, run_foreign, run_plan
from node.final_chain import FinalNotice
from node.flights import Flight, Flights, SendMessage

MAX_BATCH: Final = 1_500  # transactions of one candidate
RETRY_S: Final = 1.0  # between attempts after a local fault
SUBMIT_SLICE: Final = 512  # transactions admitted before others get their turn


class Collator:
    """Collates one chain. All methods but `run` and `submit` are called in the loop and never block long."""

    def __init__(
        self,
        *,
        chain: ChainId,
        beginning: Beginning | None,
        validators: Callable[[], Sequence[Peer]],
        workers: RecordingWorkers,
        path: Path,
        send: SendMessage,
        view: StateView,
        log: FilteringBoundLogger | None = None,
    ) -> None:
        """`beginning` may be None where the replica in `path` was begun before; `validators` are those of the
        epoch, by index, `view` is the newest executed final state. Raises UserError, LocalFault."""
        self.problem = ""  # why nothing is collated, one sentence
        self.building = (
            False  # a candidate is being built: its transactions wait no more, nor are they in flight
        )
        self.built = 0
        self.enacted = 0
        self.lost = 0
        self.adopted = 0  # enacted candidates that others built
        self._chain = chain
        self._validators = validators
        self._workers = workers
        self._send = send
        self._view = view
        self._log: FilteringBoundLogger = (log if log is not None else structlog.get_logger("node")).bind(
            chain=chain
        )
        self._replica = ChainReplica(path, beginning)
        self._mempool = ChainMempool()
        self._progress = ChainProgress()
        self._pipeline = Pipeline(chain)
        self._flights = Flights(send, validators)
        self._unproved: list[tuple[Height, CandidateProgress]] = []  # enacted; the height when that was seen
        self._adoption = Adoption()
        self._size = BatchSize(MAX_BATCH)
        self._stuck_height: Height | None = None  # of the relay state whose messages the guest can not take
        self._wake = trio.Event()
        self._limiter = trio.CapacityLimiter(1)
        self._restore()

    def close(self) -> None:
        """Close the replica, once `run` has ended."""
        self._replica.close()

    # --- inputs

    def receive(self, peer: Peer, message: CandidateMessage) -> None:
        """A decoded message from the network."""
        match message:
            case PovRequest(candidate=candidate):
                self._serve(peer, candidate)
            case Attestation(verdict=Verdict.INVALID):
                self._denied(peer, message.candidate)
            case CandidateOffer() if message.pov and self._adoption.offered(message):
                self._wake.set()
            case _:
                pass  # attestations and offers of others: the relay chain says what comes of them

    def _denied(self, peer: Peer, candidate: Hash) -> None:
        """Tell the operator once, whoever says it how often of what."""
        flight = self._flights.find(candidate)
        if flight is not None and peer not in flight.denied_by:
            flight.denied_by.add(peer)
            self._log.warning("candidate.called_invalid", candidate=candidate.hex(), peer=peer)

    def peer_up(self, peer: Peer) -> None:
        """A peer (re)connected."""
        self._flights.peer_up(peer)

    def on_final(self, notice: FinalNotice) -> None:
        """A final block was executed; listener of `FinalChain`."""
        enacted = set(notice.result.enacted)
        self.advance(notice.view, [each for each in notice.candidates if each.header.hash in enacted])

    def advance(self, view: StateView, enacted: Sequence[CandidateInclusion] = ()) -> None:
        """The newest executed final state is `view`; its block enacted `enacted`, of any chain."""
        for each in enacted:
            if each.header.chain == self._chain and self._replica.candidate_named(each.header.hash) is None:
                self._adoption.enacted(each, self._view, self._validators())
        self._view = view
        self._wake.set()

    # --- for people

    async def submit(self, raws: Sequence[bytes]) -> list[SubmitResult]:
        """Take transactions into the mempool; each stands alone. What waits here already is accepted."""
        results: list[SubmitResult] = []
        for start in range(0, len(raws), SUBMIT_SLICE):
            new: list[ChainTransaction] = []
            for transaction in map(chain_transaction, raws[start : start + SUBMIT_SLICE]):
                try:
                    if self._mempool.add(transaction):
                        new.append(transaction)
                except InvalidTransaction as error:
                    results.append(SubmitResult(hash=transaction.name, accepted=False, error=str(error)))
                else:
                    results.append(SubmitResult(hash=transaction.name, accepted=True))
            self._progress.accepted(new)
            self._wake.set()
            await trio.lowlevel.checkpoint()
        return results

    def receipts(self, hashes: Sequence[Hash]) -> list[ChainTransactionReport]:
        """Where transactions stand; unknown once they are far back."""
        return [self._progress.report(each) for each in hashes]

    def state(self, key: bytes) -> tuple[bytes | None, Height, Hash]:
        """(value of a raw key, chain height, state root) at the newest enacted head."""
        base = self._replica.base
        return tree_get(self._replica, base.root, guest_key(key)), base.height, base.root

    @property
    def nodes(self) -> NodeStore:
        """The chain's tree, whole under the state roots of its latest enacted heads."""
        return self._replica

    def statistics(self) -> dict[str, int]:
        """Counters, for metrics."""
        return {
            "chain_transactions_waiting": len(self._mempool),
            "candidates_building": int(self.building),
            "candidates_in_flight": len(self._flights),
            "candidates_built": self.built,
            "candidates_enacted": self.enacted,
            "candidates_lost": self.lost,
            "candidates_adopted": self.adopted,
        }

    # --- the task

    async def run(self) -> None:
        """Collate until cancelled. Raises LocalFault if the replica's disk fails."""
        while True:
            self._wake = trio.Event()
            await self._step()
            self._flights.offer_overdue()
            with trio.move_on_after(RETRY_S):
                await self._wake.wait()

    async def _step(self) -> None:
        """Follow the relay chain, then build as long as there is something to build and room in flight."""
        while True:
            view = self._view
            chain = view.chain(self._chain)
            if chain is None or not await self._follow(view, chain):
                return
            if self._view is not view:
                continue  # a newer state came meanwhile; this one may be pruned soon
            if self._pipeline.full or not await self._build(view, chain):
                return

    # --- following

    async def _follow(self, view: StateView, chain: ChainView) -> bool:
        """Take over what the relay state decided; whether the replica stands on its head then."""
        self._prove(view.height)
        base, tip = self._replica.base, chain.tip
        if tip.height < base.height:
            return False  # after a restart: the relay state is behind what an earlier process saw
        version = self._replica.version(tip.height)
        known = version is not None and version.head == tip.head
        if known:
            progress = self._pipeline.advance(chain, view.height, view.parameters.relay_parent_window)
            if progress.enacted:
                await self._settle(view.height, progress.enacted, tip.height)
            if progress.lost:
                await self._drop(progress.lost)
        else:
            known = await self._adopt(view, chain)
        if known:
            self.problem = ""
            self._adoption.forget(self._replica.base.height)
        return known

    async def _adopt(self, view: StateView, chain: ChainView) -> bool:
        """Take over what others built, up to the enacted head; whether that is reached."""
        await self._leave_own(view.height)
        try:
            for each in list(self._adoption.after(self._replica.base.height, self._replica.base.head)):
                if each.pov is None or each.header.height > chain.tip.height:
                    break
                await self._take_over(each, view.code(each.header.code_hash), chain.fuel_limit)
        except LocalFault as fault:
            self._note_problem(str(fault))
            return False
        base = self._replica.base
        if base.head == chain.tip.head:
            return True
        if not self._adoption.ask(base.height, base.head, trio.current_time(), self._request):
            self._note_problem(
                f"the enacted head {chain.tip.head.hex()} at height {chain.tip.height} was not built here:"
                f" restore this collator's data directory, which is at height {base.height}"
            )
        return False

    async def _leave_own(self, height: Height) -> None:
        """Where others' candidates lead on from: own ones below were enacted, those above are lost."""
        names = self._flights.names
        heads = [self._replica.base, *filter(None, map(self._replica.named, names))]
        ends = [
            index
            for index, each in enumerate(heads)
            if next(self._adoption.after(each.height, each.head), None) is not None
        ]
        if not names or not ends:
            return
        self._pipeline = Pipeline(self._chain)
        if ends[-1]:
            await self._settle(height, names[: ends[-1]], heads[ends[-1]].height)
        if names[ends[-1] :]:
            await self._drop(names[ends[-1] :])

    async def _take_over(self, foreign: Foreign, code: bytes, fuel_limit: Fuel) -> None:
        taken = await trio.to_thread.run_sync(
            run_foreign, self._replica, self._workers, foreign, code, fuel_limit, limiter=self._limiter
        )
        self._mempool.remove(taken.transactions)
        progress = CandidateProgress(
            foreign.candidate,
            foreign.header.height,
            refused_among(taken.transactions, taken.codes),
            ChainStage.ENACTED,
        )
        self._progress.collated(taken.transactions, progress)
        self._unproved.append((self._view.height, progress))
        self.adopted += 1
        self._log.info("candidate.adopted", candidate=foreign.candidate.hex(), height=foreign.header.height)

    def _request(self, peer: Peer, candidate: Hash) -> bool:
        return self._send(peer, PovRequest(candidate=candidate))

    async def _settle(self, seen: Height, enacted: Sequence[Hash], height: Height) -> None:
        """Own candidates up to chain height `height` were enacted, by the relay state at `seen`."""
        await trio.to_thread.run_sync(self._replica.settle, height, limiter=self._limiter)
        for candidate in enacted:
            flight = self._flights.enacted()
            self._mempool.done(flight.transactions)
            flight.progress.stage = ChainStage.ENACTED
            self._unproved.append((seen, flight.progress))
            self.enacted += 1
            self._log.info(
                "candidate.enacted",
                candidate=candidate.hex(),
                height=flight.header.height,
                transactions=len(flight.transactions),
            )

    async def _drop(self, lost: Sequence[Hash]) -> None:
        """Lost candidates' transactions wait again, in front and in their order."""
        await trio.to_thread.run_sync(self._replica.drop, limiter=self._limiter)
        for candidate in reversed(lost):
            flight = self._flights.lost()
            self._mempool.give_back(flight.transactions)
            self._progress.accepted(flight.transactions)
            self.lost += 1
            self._log.warning("candidate.lost", candidate=candidate.hex(), height=flight.header.height)

    def _prove(self, height: Height) -> None:
        """Heads seen enacted below `height` are under the root that its header carries."""
        while self._unproved and self._unproved[0][0] < height:
            self._unproved.pop(0)[1].stage = ChainStage.FINAL

    def _note_problem(self, problem: str) -> None:
        if problem != self.problem:
            self._log.error("collation.stopped", reason=problem)
        self.problem = problem

    # --- building

    async def _build(self, view: StateView, chain: ChainView) -> bool:
        """Build and offer one candidate; whether to go on building."""
        if self._stuck_height == view.height:
            return False
        taken = self._mempool.take(self._size.count(chain), MAX_INPUT_BYTES)
        parent = RelayParent(height=view.height, hash=view.block, time_ms=view.time_ms)
        tip = self._pipeline.tip(chain)
        plan = plan_candidate(view, chain, tip, parent, [each.raw for each in taken])
        chosen, rest = taken[: len(plan.transactions)], taken[len(plan.transactions) :]
        self._mempool.give_back(rest)
        if not chosen and not plan.inbox:
            return False
        self.building = True
        try:
            done = await trio.to_thread.run_sync(
                run_plan, self._replica, self._workers, plan, limiter=self._limiter
            )
        except InvalidBlock as error:
            self._failed(plan, chosen, view.height, str(error))
            return True
        except LocalFault as fault:  # of a worker, or the disk is full: try again later
            self._mempool.give_back(chosen)
            self._log.error("collation.failed", reason=str(fault))
            return False
        finally:
            self.building = False
        self._size.succeeded(len(chosen), done.header.fuel_used, len(done.pov))
        flight = self._enter_flight(done.header, done.pov, chosen, done.codes)
        self.built += 1
        self._log.debug(
            "candidate.collated",
            candidate=flight.progress.candidate.hex(),
            height=done.header.height,
            transactions=len(chosen),
            fuel=done.header.fuel_used,
            pov_bytes=len(done.pov),
        )
        self._flights.offer(flight)
        return True

    def _failed(
        self, plan: CollationPlan, chosen: list[ChainTransaction], height: Height, reason: str
    ) -> None:
        """No validator would attest such a block: narrow down what makes it fail."""
        self._log.info("collation.refused", transactions=len(chosen), reason=reason)
        if len(chosen) == 1 and not plan.inbox:
            self._mempool.done(chosen)
            self._progress.refused(chosen[0], reason)
            self._size.failed(1)
            return
        self._mempool.give_back(chosen)
        if len(chosen) > 1:
            self._size.failed(len(chosen))
        elif chosen:
            self._size.shrink_to_messages()
        else:
            self._stuck_height = height
            self._log.error("collation.stuck", messages=len(plan.inbox), reason=reason)

    def _enter_flight(
        self,
        header: CandidateHeader,
        pov: bytes,
        transactions: list[ChainTransaction],
        codes: bytes | None,
    ) -> Flight:
        self._pipeline.add(header)
        progress = CandidateProgress(header.hash, header.height, refused_among(transactions, codes))
        self._progress.collated(transactions, progress)
        flight = Flight(header, pov, transactions, progress)
        self._flights.add(flight)
        return flight

    def _serve(self, peer: Peer, candidate: Hash) -> None:
        flight = self._flights.find(candidate)
        held = self._replica.candidate_named(candidate) if flight is None else None
        if flight is not None:
            self._send(peer, flight.offer)
        elif held is not None:
            self._send(peer, CandidateOffer(header=held.header, pov=held.pov))

    # --- restart

    def _restore(self) -> None:
        """Go on with what an earlier process left: its candidates in flight, and what it saw enacted."""
        base = self._replica.base.height
        for held in self._replica.held():
            transactions = _transactions_of(held)
            if held.header.height > base:
                self._mempool.restore(transactions)
                self._enter_flight(held.header, held.pov, transactions, held.codes)
            else:
                refused = refused_among(transactions, held.codes)
                settled = CandidateProgress(held.header.hash, held.header.height, refused, ChainStage.FINAL)
                self._progress.collated(transactions, settled)


def _transactions_of(held: StoredCandidate) -> list[ChainTransaction]:
    pov = decode_pov(held.pov, len(held.pov))
    return [chain_transaction(raw) for raw in pov.transactions]
