"""One virtual node: the real engine and gate, a virtual journal, a tiny application, and a driver between.

The driver is what `node` does with effects, in miniature: all records of a turn are one group; sends and
final blocks that follow an `Append`, of this turn or a later one, wait until the group is durable; they leave
in order. A node outlives its processes: `start` makes an engine from what the disk holds, `crash` drops it.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from consensus.agreement.config import AmnesiaPolicy, Parameters, Restored, TimerSettings
from consensus.agreement.epochs import Agreement, EpochBegins, EpochSetup
from consensus.agreement.events import (
    Append,
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
    PeerDown,
    PeerMisbehaved,
    PeerUp,
    Received,
    RoundTrip,
    Send,
    ServeChain,
    Start,
    StatementRefused,
    StatementSigned,
    Tick,
    ValidateBlock,
)
from consensus.agreement.evidence import Evidence
from consensus.agreement.messages import Header, Message
from consensus.agreement.signing_rules import SigningGate
from consensus.primitives.ids import Hash, PublicKey, Signature
from consensus.simulation.application import Application, ApplicationPlan, Store
from consensus.simulation.disk import Journal
from consensus.simulation.membership import Membership, epoch_on
from consensus.simulation.scheduler import Scheduler

EPOCH_MS: Final = 1_700_000_000_000  # wall clock at virtual time 0
HOUR_US: Final = 3_600_000_000

MakeGate = Callable[..., SigningGate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What all nodes of a run have in common."""

    membership: Membership
    genesis: Header
    parameters: Parameters
    timers: TimerSettings
    verify: Callable[[PublicKey, bytes, Signature], bool]
    amnesia: AmnesiaPolicy
    application: ApplicationPlan
    rewrite_groups: int  # a journal of so many groups is rewritten from the engine's snapshot


class Observer(Protocol):
    """Who watches a node: the world's checkers and counters, or nobody for a Byzantine node."""

    def sent(self, node: int, message: Message) -> None:
        """A message leaves the node."""

    def held(self, node: int, effects: Iterable[Effect]) -> None:
        """The engine's effects of one turn, once its records are durable."""

    def finalized(self, node: int, block: Finalized) -> None:
        """A block is final at the node."""

    def ending(self, node: int, ending: EpochEnding) -> None:
        """The epoch's boundary block is final at the node."""

    def restarted(self, node: int, final_height: int) -> None:
        """A process starts over a store of that height."""

    def evidence(self, node: int, evidence: Evidence) -> None:
        """The engine convicts somebody."""

    def misbehaved(self, node: int, accusation: PeerMisbehaved) -> None:
        """The engine wants a peer disconnected."""

    def raised(self, node: int, error: Exception) -> None:
        """The engine raised, and its process is gone."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A turn's effects, to be shown to the observer once what they rest on is durable: a certificate that
    holds an own vote of this very turn is worth nothing if the process dies before."""

    effects: list[Effect]


@dataclass(slots=True)
class NodeCounters:
    """What one node lived through, over all its processes."""

    turns: int = 0
    crashes: int = 0
    finalized: int = 0
    one_round: int = 0


class Node:
    """A validator or observer. `carry(destination, message)` gives a message to the network."""

    def __init__(
        self,
        *,
        index: int,
        peers: range,
        rules: Rules,
        has_keys: bool,
        make_gate: MakeGate,
        journal: Journal,
        skew_ms: int,
        random: Random,
        scheduler: Scheduler,
        observer: Observer,
        carry: Callable[[int, Message], None],
        begins: Callable[[EpochSetup], None],
    ) -> None:
        self.index = index
        self.peers = peers
        self.journal = journal
        self.store = Store(rules.genesis)
        self.counters = NodeCounters()
        self.engine: Agreement | None = None  # None while no process runs
        self.incarnation = 0
        self.gate: SigningGate | None = None
        self.fresh_from: int | None = None  # after a lost journal: keys of this version on are newer than it
        self._rules = rules
        self._has_keys = has_keys
        self._make_gate = make_gate
        self._begins = begins
        self._skew_ms = skew_ms
        self._random = random
        self._scheduler = scheduler
        self._observer = observer
        self._carry_message = carry
        self._application: Application | None = None
        self._outbox: deque[Effect | _Held | int] = deque()  # sends in order; a number waits for that group
        self._groups_written = 0
        self._groups_durable = 0
        self._clock_offset_us = 0
        self._wake_us: int | None = None

    @property
    def final_height(self) -> int:
        """The height of the highest final block in the store."""
        return len(self.store.blocks)

    # --- processes

    def start(self) -> None:
        """A process starts: replay the journal, load the store, begin."""
        self.incarnation += 1
        self._outbox.clear()
        self._groups_written = self._groups_durable = 0
        self._clock_offset_us = self._random.randrange(HOUR_US)  # a monotonic clock starts anywhere
        self._wake_us = None
        rules = self._rules
        final, proof = self.store.tip()
        epoch = epoch_on(final)
        setup = self._setup(self._start_of(epoch))
        records = self.journal.read() if self._has_keys else ()
        self.engine = Agreement(
            setup,
            Restored(final=final, proof=proof, records=records),
            chain_id_hash=rules.membership.chain_id_hash,
            verify=rules.verify,
            parameters=rules.parameters,
            timers=rules.timers,
            amnesia=rules.amnesia,
            before=None if epoch == 1 else rules.membership.validators_on(self._start_of(epoch - 1)),
        )
        self._application = Application(
            plan=rules.application,
            random=self._random,
            scheduler=self._scheduler,
            store=self.store,
            membership=rules.membership,
            name=self.index,
            post=self._if_alive(self.handle),
            begin=self._if_alive(self._begin),
        )
        self._observer.restarted(self.index, self.final_height)
        self.handle(Start(Hash(self._random.randbytes(32))))

    def _start_of(self, epoch: int) -> Header:
        """The block on which an epoch began."""
        return self.store.header_at((epoch - 1) * self._rules.parameters.epoch_blocks)

    def crash(self, *, lose_journal: bool, lose_store: bool) -> None:
        """The process dies; what was not durable is lost, and more if the disk is said to be."""
        self.counters.crashes += 1
        self.incarnation += 1
        self.engine = None
        self._application = None
        self.journal.crash(lose_file=lose_journal)
        self.store.crash(wipe=lose_store)

    def _setup(self, start: Header) -> EpochSetup:
        """The epoch on `start`, with this node's key in it if it has a place."""
        membership = self._rules.membership
        epoch = epoch_on(start)
        index = membership.index_of(self.index, epoch)
        members = membership.members(epoch)
        self.gate = None
        if index is not None:
            self.gate = self._make_gate(
                index=index,
                chain_id_hash=membership.chain_id_hash,
                epoch=epoch,
                sign=membership.signer(members[index]),
                fresh=self.fresh_from is not None and members[index].key >= self.fresh_from,
            )
        setup = EpochSetup(
            epoch=epoch,
            validators=membership.validators_on(start),
            members=tuple(Peer(member.node) for member in members),
            gate=self.gate,
            start=start,
        )
        self._begins(setup)
        return setup

    def _begin(self, boundary: Header) -> None:
        """The application has the boundary block on its disk, and read the next set."""
        self.handle(EpochBegins(self._setup(boundary)))

    # --- inputs

    def receive(self, source: int, message: Message) -> None:
        """A message arrives; a dead process hears nothing."""
        self.handle(Received(Peer(source), message))

    def peer_up(self, peer: int, rtt_us: int) -> None:
        """A session stands, and its round trip was measured."""
        self.handle(PeerUp(Peer(peer)))
        self.handle(RoundTrip(Peer(peer), rtt_us))

    def peer_down(self, peer: int) -> None:
        """A session broke."""
        self.handle(PeerDown(Peer(peer)))

    def handle(self, event: Event | EpochBegins) -> None:
        """One turn of the engine, its effects, and the next wake-up."""
        engine = self.engine
        if engine is None:
            return
        self.counters.turns += 1
        try:
            effects = engine.handle(event, self._now())
        except Exception as error:  # the engine is total: whatever it raises is a finding, not a failed run
            self.engine = self._application = None
            self.incarnation += 1
            self._observer.raised(self.index, error)
            return
        if effects:
            self._carry_out(effects)
        self._arm(engine)

    # --- effects

    def _carry_out(self, effects: list[Effect]) -> None:
        records = [record for effect in effects if isinstance(effect, Append) for record in effect.records]
        written = False
        if not any(isinstance(effect, Append) for effect in effects):
            self._outbox.append(_Held(effects))
        for effect in effects:
            if isinstance(effect, Append):
                if not written:
                    written = True
                    self._groups_written += 1
                    self._outbox.append(self._groups_written)
                    self._outbox.append(_Held(effects))
            elif isinstance(effect, Send | Broadcast | ServeChain | Finalized | EpochEnding):
                self._outbox.append(effect)
            else:
                self._carry_out_here(effect)
        if written:
            self.journal.append(records, self._if_alive(self._durable))
        self._flush()

    def _carry_out_here(self, effect: Effect) -> None:
        application = self._application
        assert application is not None
        if isinstance(effect, ValidateBlock):
            application.validate(effect)
        elif isinstance(effect, BuildPayload):
            application.build(effect)
        elif isinstance(effect, PeerMisbehaved):
            self._observer.misbehaved(self.index, effect)
        elif isinstance(effect, EvidenceFound):
            self._observer.evidence(self.index, effect.evidence)
        else:
            assert isinstance(effect, Certified | StatementSigned | StatementRefused)

    def _durable(self) -> None:
        self._groups_durable += 1
        self._flush()
        engine = self.engine
        grown = self.journal.group_count >= self._rules.rewrite_groups
        if engine is not None and grown and not self._outbox:
            self.journal.rewrite(engine.journal_snapshot())

    def _flush(self) -> None:
        """Let out what waits for nothing any more."""
        outbox = self._outbox
        while outbox:
            first = outbox[0]
            if isinstance(first, int):
                if first > self._groups_durable:
                    return
                outbox.popleft()
                continue
            outbox.popleft()
            if isinstance(first, Send):
                self._send(first.message, (first.peer,))
            elif isinstance(first, Broadcast):
                self._send(first.message, self.peers)
            elif isinstance(first, ServeChain):
                self._send(self.store.serve(first.first, first.last), (first.peer,))
            elif isinstance(first, _Held):
                self._observer.held(self.index, first.effects)
            elif isinstance(first, Finalized):
                self._finalize(first)
            elif isinstance(first, EpochEnding):
                self._end_epoch(first)

    def _finalize(self, block: Finalized) -> None:
        application = self._application
        assert application is not None
        self.counters.finalized += 1
        self.counters.one_round += block.one_round
        self._observer.finalized(self.index, block)
        application.finalize(block)

    def _end_epoch(self, ending: EpochEnding) -> None:
        application = self._application
        assert application is not None
        self._observer.ending(self.index, ending)
        application.end_epoch(ending)

    def _send(self, message: Message, destinations: Iterable[int]) -> None:
        self._observer.sent(self.index, message)
        for destination in destinations:
            if destination != self.index:
                self._carry_message(destination, message)

    # --- time

    def _now(self) -> Instant:
        now_us = self._scheduler.now_us
        return Instant(
            mono_us=now_us + self._clock_offset_us, unix_ms=EPOCH_MS + now_us // 1_000 + self._skew_ms
        )

    def _arm(self, engine: Agreement) -> None:
        """Have the engine called at its deadline; a wake-up that is already set for then serves."""
        deadline_us = engine.deadline_us
        if deadline_us is None:
            self._wake_us = None
            return
        wake_us = max(deadline_us - self._clock_offset_us, self._scheduler.now_us)
        if self._wake_us is not None and self._scheduler.now_us <= self._wake_us <= wake_us:
            return  # an earlier wake-up comes first and arms anew
        self._wake_us = wake_us
        self._scheduler.at(wake_us, self._if_alive(lambda: self._wake(wake_us)))

    def _wake(self, wake_us: int) -> None:
        if self._wake_us != wake_us:
            return  # replaced by an earlier one
        self._wake_us = None
        engine = self.engine
        assert engine is not None
        deadline_us = engine.deadline_us
        if deadline_us is not None and deadline_us - self._clock_offset_us <= self._scheduler.now_us:
            self.handle(Tick())
        else:
            self._arm(engine)

    def _if_alive(self, action: Callable[..., None]) -> Callable[..., None]:
        """`action`, unless the process that asked for it is gone by then."""
        incarnation = self.incarnation

        def guarded(*arguments: object) -> None:
            if self.incarnation == incarnation:
                action(*arguments)

        return guarded
