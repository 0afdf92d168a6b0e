"""A whole network in one process: virtual time, virtual network and disks, the real engines.

`World(scenario).run()` is a pure function of the scenario: the same seed gives the same digest, whatever the
machine and PYTHONHASHSEED. Every random draw comes from a stream of its own, named after what it is for, so
that a change in one part moves no other.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Final

from consensus.agreement.config import EngineConfig, Parameters
from consensus.agreement.events import Append, Certified, Effect, Finalized, Peer, PeerMisbehaved
from consensus.agreement.evidence import Evidence, verify_evidence
from consensus.agreement.journal_records import CertificateRecord
from consensus.agreement.messages import Kind, Message, Vote, genesis_header
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.validators import Validator, ValidatorSet
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import Epoch, Milliseconds, PublicKey, Stake, ValidatorIndex
from consensus.simulation.byzantine import BEHAVIOURS, Behaviour, Seat
from consensus.simulation.checkers import Checkers, Violation
from consensus.simulation.disk import DiskPlan, Journal
from consensus.simulation.network import Network
from consensus.simulation.node import EPOCH_MS, MakeGate, Node
from consensus.simulation.reference import Rulebook
from consensus.simulation.scenario import LIVENESS_US, Crash, Loss, Scenario
from consensus.simulation.scheduler import Scheduler
from consensus.simulation.signatures import SignatureOracle
from consensus.simulation.trace import Trace, describe

EPOCH: Final = Epoch(1)
MAX_STEPS: Final = 600_000  # of one run; more is a livelock
BLOCKS_AFTER_STABLE: Final = 3  # that everybody must finalise beyond what was final when things calmed down
DIAL_BOUNDS: Final = 4  # a session stands within so many bounds on delay after both ends run

NO_DISK: Final = DiskPlan(sync_least_us=0, sync_most_us=0)  # an observer writes no journal

GateFactory = Callable[..., SigningGate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run showed."""

    seed: int
    digest: str
    violations: tuple[Violation, ...]
    finalized_min: int  # over the honest nodes that were alive at the end
    finalized: int  # heights that are final anywhere
    finalizations: int  # Finalized effects over all honest nodes
    one_round: int  # of these, by FAST_FINAL of the block itself
    virtual_us: int
    steps: int
    counters: dict[str, int] = field(default_factory=dict)
    trace: tuple[str, ...] = ()


class World:
    """One scenario, played out. `make_gate` and `node_class` let tests plant faults."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        make_gate: GateFactory = SigningGate,
        node_class: type[Node] = Node,
        keep_trace: bool = False,
    ) -> None:
        self.scenario = scenario
        self.scheduler = Scheduler()
        self.oracle = SignatureOracle()
        self.trace = Trace(keep=keep_trace)
        self.counters: dict[str, int] = {}
        self.chain_id_hash = hash_tagged(b"TALLY/genesis/1", b"simulation")
        keys = [
            PublicKey(hash_tagged(b"PHALANX/simulation/key", bytes([index])))
            for index in range(scenario.validators)
        ]
        self.validators = ValidatorSet(
            [
                Validator(key=key, stake=Stake(stake))
                for key, stake in zip(keys, scenario.stakes, strict=True)
            ],
            chain_id_hash=self.chain_id_hash,
            epoch=EPOCH,
            mode=scenario.mode,
        )
        genesis = genesis_header(
            chain_id_hash=self.chain_id_hash,
            epoch=EPOCH,
            time_ms=Milliseconds(EPOCH_MS - 1_000),
            validators_hash=self.validators.validators_hash,
        )
        config = EngineConfig(
            chain_id_hash=self.chain_id_hash,
            epoch=EPOCH,
            validators=self.validators,
            verify=self.oracle.verify,
            parameters=Parameters(idle_interval_ms=scenario.idle_interval_ms),
            timers=scenario.timers,
        )
        self.network = Network[tuple[int, int, Message]](
            scenario.network, self._stream("network"), self.scheduler, self._arrived
        )
        everybody = range(scenario.validators + scenario.observers)
        byzantine = dict(scenario.byzantine)
        self.honest = frozenset(node for node in everybody if node not in byzantine)
        journals = {
            node: Journal(
                scenario.disks[node]
                if node < scenario.validators
                else DiskPlan(sync_least_us=0, sync_most_us=0),
                self._stream("disk", node),
                self.scheduler,
            )
            for node in everybody
        }
        self.checkers = Checkers(
            rules=Rulebook(self.validators, self.chain_id_hash, EPOCH, self.oracle.verify),
            genesis=genesis,
            honest=frozenset(node for node in self.honest if node < scenario.validators),
            journals=journals,
            now_us=lambda: self.scheduler.now_us,
        )
        self.behaviours: dict[int, Behaviour] = {}
        self.nodes: list[Node] = []
        for node in everybody:
            carry: Callable[[int, Message], None] = self._carrier(node)
            if node in byzantine:
                carry = self._behave(node, byzantine[node], carry).outgoing
            self.nodes.append(
                node_class(
                    index=node,
                    peers=everybody,
                    config=config,
                    genesis=genesis,
                    make_gate=self._gate_maker(node, make_gate),
                    journal=journals[node],
                    application=scenario.application,
                    skew_ms=scenario.skews_ms[node],
                    random=self._stream("node", node),
                    scheduler=self.scheduler,
                    observer=self if node in self.honest else _Nobody(),
                    carry=carry,
                )
            )
        self._sessions: set[tuple[int, int]] = set()
        self._links = self._stream("links")
        self._waiting = set(self.honest - scenario.faulty)
        self._target = scenario.target
        self._stable = False

    def run(self) -> Report:
        """Play the scenario until all that must reach the target have, or time is up."""
        scenario, scheduler = self.scenario, self.scheduler
        for node in self.nodes:
            scheduler.at(0, lambda node=node: self._start(node))  # type: ignore[misc]
        for crash in scenario.crashes:
            scheduler.at(crash.at_us, lambda crash=crash: self._crash(crash))  # type: ignore[misc]
        self.count("partitions", len(scenario.network.partitions))
        scheduler.at(scenario.stable_us, self._calm)
        deadline_us = scenario.stable_us + LIVENESS_US
        why = "nothing left to do"
        while not (self._stable and not self._waiting):
            if scheduler.now_us > deadline_us:
                why = f"{LIVENESS_US // 1_000_000} s after everything was stable"
                break
            if scheduler.steps >= MAX_STEPS:
                why = f"after {MAX_STEPS} steps"
                break
            if not scheduler.step():
                break
        must = sorted(self.honest - scenario.faulty)
        self.checkers.liveness([(node, self.nodes[node].final_height) for node in must], self._target, why)
        return self._report(must)

    # --- what nodes tell their observer

    def sent(self, node: int, message: Message) -> None:
        """An honest node's message leaves it."""
        if isinstance(message, Vote):
            self.count(f"votes_{Kind(message.kind).name.lower()}")
        self.checkers.sent(node, message)

    def held(self, node: int, effects: Iterable[Effect]) -> None:
        """Certificates that an honest node writes down or announces."""
        for effect in effects:
            if isinstance(effect, Append):
                for record in effect.records:
                    if isinstance(record, CertificateRecord):
                        self.checkers.held(node, record.certificate)
            elif isinstance(effect, Certified):
                self.checkers.held(node, effect.certificate)

    def finalized(self, node: int, block: Finalized) -> None:
        """An honest node finalised a block."""
        self.trace.note(self.scheduler.now_us, f"{node} final {block.header.height} {block.block_hash.hex()}")
        self.checkers.finalized(node, block)
        if block.header.height >= self._target:
            self._waiting.discard(node)

    def restarted(self, node: int, final_height: int) -> None:
        """An honest node's process started."""
        self.checkers.restarted(node, final_height)
        if node not in self.scenario.faulty and final_height < self._target:
            self._waiting.add(node)

    def evidence(self, node: int, evidence: Evidence) -> None:
        """An honest engine convicts a validator: it must be a Byzantine one, and the proof must hold."""
        self.count("evidence")
        if verify_evidence(evidence, self.validators, self.chain_id_hash, self.oracle.verify) is None:
            self.checkers.accused(node, evidence.signer, "by evidence that proves nothing")
        elif evidence.signer in self.honest:
            self.checkers.accused(node, evidence.signer, "though it is honest")

    def misbehaved(self, node: int, accusation: PeerMisbehaved) -> None:
        """An honest engine wants a peer disconnected: it must be a Byzantine one."""
        self.count("accusations")
        if accusation.peer in self.honest:
            self.checkers.accused(node, accusation.peer, f"of {accusation.reason!r}, though it is honest")

    def raised(self, node: int, error: Exception) -> None:
        """An honest engine raised: no input may make it."""
        self.checkers.raised(node, f"{type(error).__name__}: {error}")

    def count(self, what: str, by: int = 1) -> None:
        """Count something that happened."""
        self.counters[what] = self.counters.get(what, 0) + by

    # --- processes and sessions

    def _start(self, node: Node) -> None:
        self.trace.note(self.scheduler.now_us, f"{node.index} starts")
        node.start()
        for other in self.nodes:
            if other is not node and other.engine is not None:
                self._dial(node, other)

    def _dial(self, a: Node, b: Node) -> None:
        """A session comes to stand some time after both processes run, unless one of them dies first."""
        incarnations = (a.incarnation, b.incarnation)

        def stands() -> None:
            if (a.incarnation, b.incarnation) == incarnations:
                self._sessions |= {(a.index, b.index), (b.index, a.index)}
                rtt_us = self.scenario.network.bound_us + self.scenario.network.least_us
                a.peer_up(b.index, rtt_us)
                b.peer_up(a.index, rtt_us)

        most_us = DIAL_BOUNDS * self.scenario.network.bound_us
        self.scheduler.after(self._links.randrange(1, most_us + 1), stands)

    def _crash(self, crash: Crash) -> None:
        node = self.nodes[crash.node]
        if node.engine is None:
            return
        self.trace.note(self.scheduler.now_us, f"{node.index} crashes, loses {crash.loss.name.lower()}")
        self.count("crashes" if crash.loss is Loss.NOTHING else "amnesias")
        node.crash(lose_journal=crash.loss is not Loss.NOTHING, lose_store=crash.loss is Loss.EVERYTHING)
        for other in self.nodes:
            if (node.index, other.index) in self._sessions:
                self._sessions -= {(node.index, other.index), (other.index, node.index)}
                self._hang_up(other, node.index)
        if crash.back_us is not None:
            self.scheduler.at(crash.back_us, lambda: self._start(node))

    def _hang_up(self, node: Node, gone: int) -> None:
        """The other end notices a dead session, unless a new one stands by then."""
        incarnation = node.incarnation

        def notice() -> None:
            if node.incarnation == incarnation and (node.index, gone) not in self._sessions:
                node.peer_down(gone)

        self.scheduler.after(self._links.randrange(1, 2 * self.scenario.network.bound_us + 1), notice)

    def _calm(self) -> None:
        """Network and processes are stable from now on; progress from here is promised."""
        self._stable = True
        must = self.honest - self.scenario.faulty
        highest = max(self.nodes[node].final_height for node in must)
        self._target = max(self._target, highest + BLOCKS_AFTER_STABLE)
        self._waiting = {node for node in must if self.nodes[node].final_height < self._target}

    # --- messages

    def _carrier(self, source: int) -> Callable[[int, Message], None]:
        def carry(destination: int, message: Message) -> None:
            if (source, destination) in self._sessions:
                incarnation = self.nodes[destination].incarnation
                self.network.send(source, destination, (incarnation, source, message))
            else:
                self.count("without_session")

        return carry

    def _arrived(self, source: int, destination: int, parcel: tuple[int, int, Message]) -> None:
        incarnation, _, message = parcel
        node = self.nodes[destination]
        if node.incarnation != incarnation:  # it was for a process that is gone
            self.count("to_the_dead")
            return
        self.trace.note(self.scheduler.now_us, f"{source} > {destination} {describe(message)}")
        behaviour = self.behaviours.get(destination)
        if behaviour is None or behaviour.incoming(source, message):
            node.receive(Peer(source), message)

    def _behave(self, node: int, name: str, carry: Callable[[int, Message], None]) -> Behaviour:
        self.count(f"byzantine_{name}")
        behaviour = BEHAVIOURS[name](
            Seat(
                index=ValidatorIndex(node),
                validators=self.validators,
                observers=self.scenario.observers,
                chain_id_hash=self.chain_id_hash,
                epoch=EPOCH,
                random=self._stream("byzantine", node),
                sign=self.oracle.signer(self.validators.keys[node]),
                send=carry,
                after=self.scheduler.after,
                bound_us=self.scenario.network.bound_us,
            )
        )
        self.behaviours[node] = behaviour
        return behaviour

    # --- making

    def _gate_maker(self, node: int, make_gate: GateFactory) -> MakeGate:
        if node >= self.scenario.validators:
            return lambda: None
        sign = self.oracle.signer(self.validators.keys[node])
        return lambda: make_gate(
            index=ValidatorIndex(node), chain_id_hash=self.chain_id_hash, epoch=EPOCH, sign=sign
        )

    def _stream(self, *name: object) -> Random:
        return Random(f"{self.scenario.seed}:{':'.join(map(str, name))}")

    def _report(self, must: list[int]) -> Report:
        for node in self.nodes:
            if node.engine is not None:
                self.trace.note(self.scheduler.now_us, f"{node.index} {node.engine.state_digest().hex()}")
            self.count("turns", node.counters.turns)
            self.count("syncs", node.journal.counters.syncs)
            self.count("stalls", node.journal.counters.stalls)
            self.count("groups_lost", node.journal.counters.groups_lost)
            self.count("groups_torn", node.journal.counters.groups_torn)
            self.count("journal_rewrites", node.journal.counters.rewrites)
        for name, value in asdict(self.network.counters).items():
            self.count(f"messages_{name}", value)
        honest = [self.nodes[node] for node in sorted(self.honest)]
        return Report(
            seed=self.scenario.seed,
            digest=self.trace.digest(),
            violations=tuple(self.checkers.violations),
            finalized_min=min(self.nodes[node].final_height for node in must),
            finalized=len(self.checkers.chain) - 1,
            finalizations=sum(node.counters.finalized for node in honest),
            one_round=sum(node.counters.one_round for node in honest),
            virtual_us=self.scheduler.now_us,
            steps=self.scheduler.steps,
            counters=dict(sorted(self.counters.items())),
            trace=tuple(self.trace.lines),
        )


class _Nobody:
    """Watches a Byzantine node: nothing is promised about it."""

    def sent(self, node: int, message: Message) -> None:
        """Nothing to check."""

    def held(self, node: int, effects: Iterable[Effect]) -> None:
        """Nothing to check."""

    def finalized(self, node: int, block: Finalized) -> None:
        """Nothing to check."""

    def restarted(self, node: int, final_height: int) -> None:
        """Nothing to check."""

    def evidence(self, node: int, evidence: Evidence) -> None:
        """Nothing to check."""

    def misbehaved(self, node: int, accusation: PeerMisbehaved) -> None:
        """Nothing to check."""

    def raised(self, node: int, error: Exception) -> None:
        """Nothing to check."""
