"""The loop around agreement: inputs in, one journal commit, messages out.

A turn drains what has come in, runs the engine on it, and answers what the engine asks the application for
if that needs no waiting, until nothing moves any more. Then the records of the whole turn become durable as
one group, and only then do its messages leave, in order; then blocks that were voted for are executed. A
commit runs in a thread, so what arrives meanwhile is waiting, together, for the next turn.

Finality certificates wait a moment for company: whoever got the votes needs none, so that alone they would
wake every peer for nothing, and the next vote is mostly near.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from consensus.agreement.epochs import Agreement, EpochBegins, EpochSetup
from consensus.agreement.events import (
    Append,
    BlockValidated,
    Broadcast,
    BuildPayload,
    Certified,
    Effect,
    EpochEnding,
    Event,
    EvidenceFound,
    Finalized,
    Instant,
    Peer,
    PeerMisbehaved,
    Received,
    Send,
    ServeChain,
    StatementRefused,
    StatementSigned,
    Tick,
    ValidateBlock,
)
from consensus.agreement.evidence import Evidence
from consensus.agreement.journal_records import CertificateRecord, JournalRecord, encode_record
from consensus.agreement.messages import Certificate, Message, Proposal, block_hash
from consensus.agreement.replica import is_finality
from consensus.primitives.ids import Hash
from node.builder import PayloadBuilder
from node.executor import Executor
from node.final_chain import FinalChain
from node.journal import Journal
from node.trace import TraceRing
from node.vote_book import VoteBook

INBOX_EVENTS: Final = 8_192  # above it, peers are not read until the loop has caught up
INBOX_PEER_BYTES: Final = 8 * 1024 * 1024  # of one peer's frames: a flood of bodies delays its sender alone
TURN_EVENTS: Final = 256  # so that a flood of input can not hold back the votes of a turn
EXECUTE_AT_ONCE: Final = 4  # light blocks between two turns: some 2 ms
COMPANY_US: Final = 10_000  # what a finality certificate waits for something that leaves with it
REWRITE_BYTES: Final = 16 * 1024 * 1024  # journal size above which it is rewritten from a snapshot


class Links(Protocol):
    """Where messages go. Nothing here blocks; what a full queue drops, the engine says again."""

    def send(self, peer: Peer, message: Message) -> None:
        """To one peer."""
        ...

    def broadcast(self, *messages: Message) -> None:
        """To all validators and observers, in this order, but for certificates that they have; what is said
        together costs each of them once."""
        ...

    def serve_chain(self, request: ServeChain) -> None:
        """Answer from the store, in its own time."""
        ...

    def misbehaved(self, peer: Peer, reason: str) -> None:
        """Disconnect and ban."""
        ...


StatementAnswer = StatementSigned | StatementRefused


class Driver:
    """Owns agreement. `post` and `offer` bring inputs; `run` is the loop."""

    def __init__(
        self,
        *,
        agreement: Agreement,
        journal: Journal | None,
        links: Links,
        executor: Executor,
        final_chain: FinalChain,
        trace: TraceRing,
        on_certified: Callable[[Hash], None],
        on_statement: Callable[[StatementAnswer], None],
        on_evidence: Callable[[Evidence], None],
        on_ending: Callable[[EpochEnding], None],
        on_epoch: Callable[[EpochSetup], None],
        log: FilteringBoundLogger | None = None,
    ) -> None:
        """`journal` is None for an observer, which signs nothing.

        `on_ending` is answered by posting EpochBegins; `on_epoch` is called when that has been handled, after
        whatever was signed in the epoch before.
        """
        self.agreement: Final = agreement
        self.turns = 0
        self.events = 0
        self.builder: PayloadBuilder | None = None  # set for validators, before `run`
        self.votes: Final = VoteBook()  # as they came in, and the own
        self._journal = journal
        self._links = links
        self._executor = executor
        self._final_chain = final_chain
        self._trace = trace
        self._on_certified = on_certified
        self._on_statement = on_statement
        self._on_evidence = on_evidence
        self._on_ending = on_ending
        self._on_epoch = on_epoch
        self._log: FilteringBoundLogger = log if log is not None else structlog.get_logger("node")
        self._inbox: deque[tuple[Received, int]] = deque()
        self._inbox_bytes: dict[Peer, int] = {}  # of each peer that has something in the inbox
        # the application's own, handled before anything else
        self._answers: deque[Event | EpochBegins] = deque()
        self._wake = trio.Event()
        self._room = trio.Event()
        self._rewrite_above = REWRITE_BYTES
        self._waiting: list[Message] = []  # finality certificates; they leave by `_waiting_until_us` at last
        self._waiting_until_us = 0

    # --- inputs

    def post(self, event: Event | EpochBegins) -> None:
        """An input from this node itself: few, and never refused."""
        self._answers.append(event)
        self._wake.set()

    async def offer(self, event: Received, size: int) -> None:
        """An input from a peer, which came in a frame of `size` bytes; waits while the loop is behind."""
        peer = event.peer
        while len(self._inbox) >= INBOX_EVENTS or self._inbox_bytes.get(peer, 0) > INBOX_PEER_BYTES:
            self._room = trio.Event()
            await self._room.wait()
        self._inbox.append((event, size))
        self._inbox_bytes[peer] = self._inbox_bytes.get(peer, 0) + size
        self._wake.set()

    def _take_from_inbox(self) -> Received:
        event, size = self._inbox.popleft()
        left = self._inbox_bytes[event.peer] - size
        if left:
            self._inbox_bytes[event.peer] = left
        else:
            del self._inbox_bytes[event.peer]
        return event

    def poke(self) -> None:
        """Something that a leader could say has come in."""
        if self.builder is not None and self.builder.due_us is not None:
            self._wake.set()

    # --- the loop

    async def run(self) -> None:
        """Drive until cancelled. Raises LocalFault if the journal can not be written; then nothing left."""
        while True:
            more = self._executor.work(EXECUTE_AT_ONCE)
            if more or self._wake.is_set():
                await trio.lowlevel.checkpoint()
            else:
                with trio.move_on_after(self._patience_s()):
                    await self._wake.wait()
            await self.turn()

    async def turn(self) -> None:
        """Take in what there is, make it durable, let it out."""
        if self._wake.is_set():
            self._wake = trio.Event()
        self.turns += 1
        records, outgoing = self._take_in()
        if records:
            if self._journal is None:
                raise RuntimeError("an observer has nothing to sign")
            commits = self._journal.commits
            await self._journal.commit([encode_record(each) for each in records])
            if self._journal.commits != commits + 1:
                raise RuntimeError("messages would leave before their records are durable")
        self._let_out(outgoing)
        if self._journal is not None and self._journal.size_bytes > self._rewrite_above:
            await self._rewrite(self._journal)

    def _take_in(self) -> tuple[list[JournalRecord], list[Effect | EpochBegins]]:
        records: list[JournalRecord] = []
        outgoing: list[Effect | EpochBegins] = []
        for _ in range(TURN_EVENTS):
            if self._answers:
                self._handle(self._answers.popleft(), records, outgoing)
            elif self._inbox:
                self._handle(self._take_from_inbox(), records, outgoing)
            else:
                break
        else:
            self._wake.set()
        self._room.set()
        now = _now()
        if self.builder is not None:
            self.builder.poll(now.mono_us)
        deadline_us = self.agreement.deadline_us
        if deadline_us is not None and deadline_us <= now.mono_us:
            self._handle(Tick(), records, outgoing)
        while self._answers:
            self._handle(self._answers.popleft(), records, outgoing)
        return records, outgoing

    def _handle(
        self,
        event: Event | EpochBegins,
        records: list[JournalRecord],
        outgoing: list[Effect | EpochBegins],
    ) -> None:
        self.events += 1
        now = _now()
        if isinstance(event, Received):
            self.votes.note(event.peer, event.message)
        if isinstance(event, EpochBegins):
            outgoing.append(event)  # in its place among what is signed
        for effect in self.agreement.handle(event, now):
            if isinstance(effect, Append):
                records.extend(effect.records)
                for record in effect.records:
                    if isinstance(record, CertificateRecord):
                        self._final_chain.archive(record.certificate)
            elif isinstance(effect, ValidateBlock):
                self._validate(effect)
            elif isinstance(effect, BuildPayload):
                self._build(effect, now)
            elif isinstance(effect, Certified):
                self._trace.notarised(effect.block_hash)
                self._on_certified(effect.block_hash)
            else:
                outgoing.append(effect)
                if isinstance(effect, Broadcast) and isinstance(effect.message, Proposal):
                    self._proposed(effect.message)

    def _let_out(self, outgoing: Sequence[Effect | EpochBegins]) -> None:
        """In order, but messages go before blocks that became final between them: others wait for those."""
        together: list[Message] = []
        final: list[Finalized] = []
        for effect in outgoing:
            if isinstance(effect, Broadcast):
                self.votes.note(None, effect.message)
                together.append(effect.message)
                continue
            if isinstance(effect, Finalized):  # told only here: it may rest on an own vote of this very turn
                final.append(effect)
                continue
            self._broadcast(together)
            if isinstance(effect, Send):
                self._links.send(effect.peer, effect.message)
                continue
            self._finalize(final)
            self._tell(effect)
        self._broadcast(together)
        if self._waiting and self._waiting_until_us <= _now().mono_us:
            self._send_off(())
        self._finalize(final)

    def _broadcast(self, together: list[Message]) -> None:
        if not all(isinstance(each, Certificate) and is_finality(each) for each in together):
            self._send_off(together)
        elif together:
            if not self._waiting:
                self._waiting_until_us = _now().mono_us + COMPANY_US
            self._waiting += together
        together.clear()

    def _send_off(self, together: Sequence[Message]) -> None:
        """These, and before them the certificates that waited."""
        self._links.broadcast(*self._waiting, *together)
        self._waiting.clear()

    def _finalize(self, final: list[Finalized]) -> None:
        for each in final:
            self._trace.finalized(each.block_hash, one_round=each.one_round)
            self._final_chain.finalized(each)
        final.clear()

    def _tell(self, effect: Effect | EpochBegins) -> None:
        match effect:
            case EpochEnding():
                self._on_ending(effect)
            case EpochBegins(setup):
                self._on_epoch(setup)
            case ServeChain():
                self._links.serve_chain(effect)
            case PeerMisbehaved(peer, reason):
                self._links.misbehaved(peer, reason)
            case EvidenceFound(evidence):
                self._on_evidence(evidence)
            case StatementSigned() | StatementRefused():
                self._on_statement(effect)
            case _:
                raise RuntimeError(f"{type(effect).__name__} is not for the world outside")

    # --- the application

    def _validate(self, request: ValidateBlock) -> None:
        self._trace.received(request.block_hash)

        def answer(valid: bool, reason: str) -> None:
            if not valid:
                self._log.warning("block.invalid", block=request.block_hash.hex(), reason=reason)
            self.post(BlockValidated(request.block_hash, valid, reason))

        self._executor.validate(request.block_hash, request.header, request.payload, answer)

    def _build(self, request: BuildPayload, now: Instant) -> None:
        if self.builder is None:
            raise RuntimeError("a node that builds no payload was asked for one")
        self.builder.request(request, now.mono_us)

    def _proposed(self, proposal: Proposal) -> None:
        """Execute an own block too: its children are validated on its state."""
        if proposal.payload is not None:
            name = block_hash(proposal.header)
            self._trace.proposed(name)
            self._executor.validate(name, proposal.header, proposal.payload, _ignore)

    # --- housekeeping

    def _patience_s(self) -> float:
        due = [
            self.agreement.deadline_us,
            None if self.builder is None else self.builder.due_us,
            self._waiting_until_us if self._waiting else None,
        ]
        known = [each for each in due if each is not None]
        if not known:
            return 3_600.0
        return max(0.0, (min(known) - _now().mono_us) / 1e6)

    async def _rewrite(self, journal: Journal) -> None:
        """Keep only what is still needed; if that is most of it, let the file grow before the next try."""
        snapshot = [encode_record(each) for each in self.agreement.journal_snapshot()]
        before = journal.size_bytes
        await journal.rewrite(snapshot)
        self._rewrite_above = max(REWRITE_BYTES, 2 * journal.size_bytes)
        self._log.info("journal.rewritten", bytes_before=before, bytes=journal.size_bytes)


def _ignore(valid: bool, reason: str) -> None:
    if not valid:
        raise RuntimeError(f"this node proposed an invalid block: {reason}")


def _now() -> Instant:
    return Instant(mono_us=time.monotonic_ns() // 1000, unix_ms=time.time_ns() // 1_000_000)
