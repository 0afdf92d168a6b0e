"""A whole network in one process: virtual time, virtual network and disks, the real engines.

`World(scenario).run()` is a pure function of the scenario: the same seed gives the same digest, whatever the
machine and PYTHONHASHSEED. Every random draw comes from a stream of its own, named after what it is for, so
that a change in one part moves no other.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from random import Random
from typing import Final

from consensus.agreement.config import Parameters
from consensus.agreement.epochs import EpochSetup
from consensus.agreement.events import (
    Append,
    Certified,
    Effect,
    EpochEnding,
    Finalized,
    Peer,
    PeerMisbehaved,
)
from consensus.agreement.evidence import Evidence, verify_evidence
from consensus.agreement.journal_records import CertificateRecord
from consensus.agreement.messages import Kind, Message, Vote, genesis_header
from consensus.agreement.signing_rules import SigningGate
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH, Epoch, Milliseconds
from consensus.simulation.byzantine import BEHAVIOURS, Behaviour, Seat
from consensus.simulation.checkers import Checkers
from consensus.simulation.disk import DiskPlan, Journal
from consensus.simulation.disturbances import Disturbances
from consensus.simulation.membership import Membership
from consensus.simulation.node import EPOCH_MS, MakeGate, Node, Rules
from consensus.simulation.report import Report
from consensus.simulation.scenario import LIVENESS_US, Loss, Moment, Scenario
from consensus.simulation.scheduler import Scheduler
from consensus.simulation.sessions import Sessions
from consensus.simulation.signatures import SignatureOracle
from consensus.simulation.trace import Trace

FIRST_EPOCH: Final = Epoch(1)
MAX_STEPS: Final = 600_000  # of one run; more is a livelock
BLOCKS_AFTER_STABLE: Final = 3  # that everybody must finalise beyond what was final when things calmed down
EPOCHS_FOR_RELAPSES: Final = 2  # beyond the target, after which a series that can not go on is given up
NO_DISK: Final = DiskPlan(sync_least_us=0, sync_most_us=0)  # an observer writes no journal


class World:
    """One scenario, played out. `make_gate` and `node_class` let tests plant faults."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        make_gate: MakeGate = SigningGate,
        node_class: type[Node] = Node,
        keep_trace: bool = False,
    ) -> None:
        self.scenario = scenario
        self.scheduler = Scheduler()
        self.oracle = SignatureOracle()
        self.trace = Trace(keep=keep_trace)
        self.counters: dict[str, int] = {}
        self.membership = Membership(
            scenario.sets,
            chain_id_hash=hash_tagged(b"TALLY/genesis/1", b"simulation"),
            mode=scenario.mode,
            oracle=self.oracle,
        )
        genesis = genesis_header(
            chain_id_hash=self.membership.chain_id_hash,
            epoch=FIRST_EPOCH,
            time_ms=Milliseconds(EPOCH_MS - 1_000),
            validators_hash=self.membership.validators(FIRST_EPOCH, ZERO_HASH).validators_hash,
        )
        rules = Rules(
            membership=self.membership,
            genesis=genesis,
            parameters=Parameters(
                idle_interval_ms=scenario.idle_interval_ms, epoch_blocks=scenario.epoch_blocks
            ),
            timers=scenario.timers,
            verify=self.oracle.verify,
            amnesia=scenario.amnesia,
            application=scenario.application,
            rewrite_groups=scenario.rewrite_groups,
        )
        self._everybody = range(scenario.validators + scenario.observers)
        self._byzantine = dict(scenario.byzantine)
        self.honest = frozenset(node for node in self._everybody if node not in self._byzantine)
        journals = {
            node: Journal(
                scenario.disks[node] if node < scenario.validators else NO_DISK,
                self._stream("disk", node),
                self.scheduler,
            )
            for node in self._everybody
        }
        self.checkers = Checkers(
            membership=self.membership,
            verify=self.oracle.verify,
            genesis=genesis,
            epoch_blocks=scenario.epoch_blocks,
            honest=frozenset(node for node in self.honest if node < scenario.validators),
            journals=journals,
            now_us=lambda: self.scheduler.now_us,
        )
        self.behaviours: dict[int, Behaviour] = {}
        self._seats: dict[int, Seat] = {}
        self.nodes: list[Node] = []
        self.sessions = Sessions(
            scenario.network,
            self.nodes,
            self._stream("network"),
            self._stream("links"),
            self.scheduler,
            self.count,
            self._arrived,
        )
        for node in self._everybody:
            carry: Callable[[int, Message], None] = partial(self.sessions.carry, node)
            if node in self._byzantine:
                self.count(f"byzantine_{self._byzantine[node]}")
                carry = partial(self._misbehave, node)
            self.nodes.append(
                node_class(
                    index=node,
                    peers=self._everybody,
                    rules=rules,
                    has_keys=node < scenario.validators,
                    make_gate=make_gate,
                    journal=journals[node],
                    skew_ms=scenario.skews_ms[node],
                    random=self._stream("node", node),
                    scheduler=self.scheduler,
                    observer=self if node in self.honest else _Nobody(),
                    carry=carry,
                    begins=partial(self._began, node),
                )
            )
        self._highest_epoch = FIRST_EPOCH
        self.disturbances = Disturbances(scenario, self.nodes, self, self.scheduler, self._calm)
        self._must = self.honest - scenario.faulty
        self._waiting = set(self._must)
        self._target = scenario.target
        self._calm_us = scenario.stable_us
        self._calm_height = 0  # of the lowest of those who must, when the last disturbance ended

    def run(self) -> Report:
        """Play the scenario until all that must reach the target have, or time is up."""
        scheduler = self.scheduler
        self.count("partitions", len(self.scenario.network.partitions))
        self.disturbances.begin()
        why = "nothing left to do"
        while not self._is_over():
            limit_us = self._patience_us()
            if scheduler.now_us > self._calm_us + limit_us:
                why = f"{limit_us // 1_000_000} s after everything was stable"
                break
            if scheduler.steps >= MAX_STEPS:
                why = f"after {MAX_STEPS} steps"
                break
            if not scheduler.step():
                break
        must = sorted(self._must)
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
        height = block.header.height
        self.trace.note(self.scheduler.now_us, f"{node} final {height} {block.block_hash.hex()}")
        self.checkers.finalized(node, block)
        if height >= self._target:
            self._waiting.discard(node)
        if (height + 1) % self.scenario.epoch_blocks == 0:
            self.disturbances.reached(node, block.header.epoch, Moment.NEARING)
        self.disturbances.look_for_relapse()

    def ending(self, node: int, ending: EpochEnding) -> None:
        """An honest node has a boundary block final."""
        self.count("boundaries_by_tails" if ending.proof.path else "boundaries_directly")
        self.disturbances.reached(node, ending.boundary.epoch, Moment.ENDING)

    def restarted(self, node: int, final_height: int) -> None:
        """An honest node's process started."""
        self.checkers.restarted(node, final_height)
        if node in self._must and final_height < self._target:
            self._waiting.add(node)

    def evidence(self, node: int, evidence: Evidence) -> None:
        """An honest engine convicts a validator: it must be a Byzantine one, and the proof must hold."""
        self.count("evidence")
        rules = self.checkers.rules_of(evidence.epoch)
        accused = self.checkers.node_at(evidence.epoch, evidence.signer)
        if rules is None or accused is None:
            self.checkers.accused(node, -1, f"in epoch {evidence.epoch}, which has no such validator")
        elif (
            verify_evidence(evidence, rules.validators, self.membership.chain_id_hash, self.oracle.verify)
            is None
        ):
            self.checkers.accused(node, accused, "by evidence that proves nothing")
        elif accused in self.honest:
            self.checkers.accused(node, accused, "though it is honest")

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

    # --- processes

    def start(self, node: int) -> None:
        """Start a process, unless one runs."""
        if self.nodes[node].engine is None:
            self.trace.note(self.scheduler.now_us, f"{node} starts")
            self.nodes[node].start()
            self.sessions.dial_all(self.nodes[node])

    def kill(self, index: int, loss: Loss) -> bool:
        """Kill a process with what `loss` says; False if none runs."""
        node = self.nodes[index]
        if node.engine is None:
            return False
        self.trace.note(self.scheduler.now_us, f"{index} crashes, loses {loss.name.lower()}")
        self.count("crashes" if not loss.of_memory else "amnesias")
        if loss is Loss.STORE:
            self.count("stores_lost")
        if loss.of_memory:
            node.fresh_from = self.membership.newest_key(index, self._highest_epoch) + 1
        node.crash(lose_journal=loss.of_memory, lose_store=loss.of_store)
        self.sessions.break_all(node)
        return True

    def _began(self, node: int, setup: EpochSetup) -> None:
        """A node is in an epoch, by a new process or by the end of the one before."""
        self.trace.note(self.scheduler.now_us, f"{node} in epoch {setup.epoch}")
        if setup.epoch > FIRST_EPOCH:
            self.count("epochs_begun")
        self._highest_epoch = max(self._highest_epoch, setup.epoch)
        if node in self._byzantine:
            self._seat(node, setup)
        self.disturbances.began(node, setup.epoch)
        if setup.epoch > FIRST_EPOCH:
            self.disturbances.reached(node, setup.epoch - 1, Moment.BEGUN)

    def _calm(self) -> None:
        """Network and processes are stable from now on; progress from here is promised."""
        self._calm_us = max(self._calm_us, self.scheduler.now_us)
        highest = max(self.nodes[node].final_height for node in self._must)
        self._target = max(self._target, highest + BLOCKS_AFTER_STABLE)
        self._calm_height = min(self.nodes[node].final_height for node in self._must)
        self._waiting = {node for node in self._must if self.nodes[node].final_height < self._target}

    def _patience_us(self) -> int:
        """I7: how long after the last disturbance all must have reached the target."""
        promised = self._waiting and self.disturbances.quiet
        patience_us = self.scenario.patience_us(self._calm_us, self._target - self._calm_height)
        return min(LIVENESS_US, patience_us) if promised else LIVENESS_US

    def _is_over(self) -> bool:
        if self._waiting or not self.disturbances.quiet:
            return False
        spare = EPOCHS_FOR_RELAPSES * self.scenario.epoch_blocks
        return not self.disturbances.relapses or len(self.checkers.chain) > self._target + spare

    # --- messages

    def _arrived(self, source: int, destination: int, message: Message) -> None:
        self.trace.delivery(self.scheduler.now_us, source, destination, message)
        behaviour = self.behaviours.get(destination)
        if behaviour is None or behaviour.incoming(source, message):
            self.nodes[destination].receive(Peer(source), message)

    def _misbehave(self, node: int, destination: int, message: Message) -> None:
        behaviour = self.behaviours.get(node)
        if behaviour is None:
            self.sessions.carry(node, destination, message)
        else:
            behaviour.outgoing(destination, message)

    def _seat(self, node: int, setup: EpochSetup) -> None:
        """Give a Byzantine node its place in a new epoch; without one, only some behaviours go on."""
        index = self.membership.index_of(node, setup.epoch)
        former = self._seats.get(node)
        kind = BEHAVIOURS[self._byzantine[node]]
        self.behaviours.pop(node, None)
        if index is None and not (kind.seatless and former is not None):
            return
        if index is None and former is not None:
            index, sign = former.index, former.sign
        else:
            assert index is not None
            sign = self.membership.signer(self.membership.members(setup.epoch)[index])
        seat = Seat(
            node=node,
            everybody=self._everybody,
            index=index,
            validators=setup.validators,
            chain_id_hash=self.membership.chain_id_hash,
            epoch=setup.epoch,
            random=self._stream("byzantine", node, setup.epoch),
            sign=sign,
            send=partial(self.sessions.carry, node),
            after=self.scheduler.after,
            bound_us=self.scenario.network.bound_us,
            former=former,
        )
        self._seats[node] = seat
        self.behaviours[node] = kind(seat)

    # --- making

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
        for name, value in asdict(self.sessions.network.counters).items():
            self.count(f"messages_{name}", value)
        honest = [self.nodes[node] for node in sorted(self.honest)]
        finalized_min = min(self.nodes[node].final_height for node in must)
        return Report(
            seed=self.scenario.seed,
            digest=self.trace.digest(),
            violations=tuple(self.checkers.violations),
            finalized_min=finalized_min,
            finalized=len(self.checkers.chain) - 1,
            finalizations=sum(node.counters.finalized for node in honest),
            one_round=sum(node.counters.one_round for node in honest),
            epochs_min=finalized_min // self.scenario.epoch_blocks,
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

    def ending(self, node: int, ending: EpochEnding) -> None:
        """Nothing to check."""

    def restarted(self, node: int, final_height: int) -> None:
        """Nothing to check."""

    def evidence(self, node: int, evidence: Evidence) -> None:
        """Nothing to check."""

    def misbehaved(self, node: int, accusation: PeerMisbehaved) -> None:
        """Nothing to check."""

    def raised(self, node: int, error: Exception) -> None:
        """Nothing to check."""
