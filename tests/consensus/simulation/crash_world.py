"""The simulator with a hand on the power switch: one node's process dies at an exactly chosen point.

A point is what a process does to the world: it is about to write a group of records or has written it and
not synced, a sync has just ended and nothing has left yet, a message to one peer is about to leave or has
left, the journal is about to be rewritten or has been. A run that is not touched counts its points; the run
with a kill at point k is the same run up to there, so going through all k goes through all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from consensus.agreement.journal_records import SignedRecord
from consensus.agreement.messages import Kind
from consensus.agreement.thresholds import Mode
from consensus.simulation.epoch_scenario import draw_epochs
from consensus.simulation.node import Node
from consensus.simulation.scenario import Loss, Scenario, draw
from consensus.simulation.world import Report, World

BLOCKS_AFTER_KILL: Final = 2  # that everybody must finalise beyond the highest final block of that moment


class Killed(Exception):
    """The process is gone: nothing that would have followed happens."""


@dataclass(frozen=True, slots=True)
class Point:
    """One place where a process can die: what was being done, with what."""

    what: str  # "before write", "written", "synced", "before send", "sent", "before rewrite", "rewritten"
    label: str


class PowerSwitch:
    """Counts the points that `node` passes, and kills it at number `at`, once."""

    def __init__(self, node: int, at: int | None) -> None:
        self.node = node
        self.points: list[Point] = []
        self._at = at

    def passes(self, what: str, label: str) -> None:
        """The node is here. Raises Killed if it is not to go on."""
        self.points.append(Point(what, label))
        if self._at == len(self.points) - 1:
            raise Killed


def label_of(record: object) -> str:
    """What a record is about; votes by their kind, NFALL also by whether it declares a NOTARIZE."""
    if isinstance(record, SignedRecord):
        declares = "(X)" if record.kind == Kind.NFALL and any(record.aux) else ""
        return Kind(record.kind).name + declares
    return type(record).__name__


def wire(node: Node, switch: PowerSwitch) -> None:
    """Put the switch between a node, its journal and the network."""
    journal, append, rewrite = node.journal, node.journal.append, node.journal.rewrite

    def watched_append(records: Sequence[object], then: Callable[[], None]) -> None:
        label = " ".join(sorted({label_of(each) for each in records}))

        def durable() -> None:
            switch.passes("synced", label)
            then()

        switch.passes("before write", label)
        append(records, durable)
        switch.passes("written", label)

    def watched_rewrite(records: Sequence[object]) -> bool:
        switch.passes("before rewrite", "")
        done = rewrite(records)
        switch.passes("rewritten", "")
        return done

    journal.append, journal.rewrite = watched_append, watched_rewrite


def node_class_with(switch: PowerSwitch) -> type[Node]:
    """Nodes of which one is wired to the switch."""

    class Switched(Node):
        def __init__(self, **arguments) -> None:
            if arguments["index"] == switch.node:
                carry = arguments["carry"]

                def watched_carry(destination: int, message: object) -> None:
                    label = type(message).__name__
                    switch.passes("before send", label)
                    carry(destination, message)
                    switch.passes("sent", label)

                arguments["carry"] = watched_carry
            super().__init__(**arguments)
            if self.index == switch.node:
                wire(self, switch)

    return Switched


class CrashWorld(World):
    """A world in which the switched node comes back `away_us` after its kill.

    `keeps` says what the disk makes of groups that were written and not synced: none of them, or all.
    """

    def __init__(
        self, scenario: Scenario, switch: PowerSwitch, *, away_us: int, keeps: bool, loss: Loss = Loss.NOTHING
    ) -> None:
        super().__init__(scenario, node_class=node_class_with(switch))
        self._switch = switch
        self._away_us = away_us
        self._loss = loss
        self.nodes[switch.node].journal._random = _Keeps(self.nodes[switch.node].journal._random, keeps)
        step = self.scheduler.step
        self.killed = False

        def guarded_step() -> bool:
            try:
                return step()
            except Killed:
                self._die()
                return True

        self.scheduler.step = guarded_step

    def _die(self) -> None:
        self.killed = True
        node = self._switch.node
        self.kill(node, self._loss)
        self.scheduler.after(self._away_us, lambda: self.start(node))
        # whatever was reached before: from here on everybody must get on, the killed one included
        highest = max(self.nodes[each].final_height for each in self._must)
        self._target = max(self._target, highest + BLOCKS_AFTER_KILL)
        self._waiting = {each for each in self._must if self.nodes[each].final_height < self._target}


class _Keeps:
    """The disk's randomness, but for what a crash leaves of groups that were not synced."""

    def __init__(self, random: Random, keeps: bool) -> None:
        self._random = random
        self._keeps = keeps

    def randint(self, low: int, high: int) -> int:
        """A sync's duration, or (from 0) how many unsynced groups survive."""
        if low == 0:
            return high if self._keeps else 0
        return self._random.randint(low, high)

    def randrange(self, *bounds: int) -> int:
        """As Random."""
        return self._random.randrange(*bounds)


def scenario_of(
    seed: int, *, validators: int = 4, behaviours: tuple[str, ...] = ("equivocator",), target: int = 4
) -> Scenario:
    """A drawn scenario whose crashes are taken out: the only ones are the test's. Byzantine nodes stay."""
    drawn = draw(seed, validators=validators, target=target, mode=Mode.STRICT, behaviours=behaviours)
    return replace(drawn, crashes=(), observers=0)


def epochs_of(seed: int, *, faults: tuple[str, ...] = ("network", "byzantine")) -> Scenario:
    """A drawn scenario over a boundary and more, with changing sets; the only crashes are the test's."""
    drawn = draw_epochs(
        seed, validators=4, epochs=2, mode=Mode.STRICT, behaviours=("equivocator",), faults=faults
    )
    return replace(
        drawn, epoch_blocks=2, target=5, crashes=(), episodes=(), relapses=(), late=(), observers=0
    )


def play(
    scenario: Scenario, node: int, at: int | None, *, keeps: bool = True, loss: Loss = Loss.NOTHING
) -> tuple[Report, list[Point]]:
    """Run `scenario` with `node` killed at point `at` (None: never): what it showed, the points passed."""
    switch = PowerSwitch(node, at)
    away_us = 3 * scenario.network.bound_us
    world = CrashWorld(scenario, switch, away_us=away_us, keeps=keeps, loss=loss)
    report = world.run()
    assert world.killed == (at is not None)
    return report, switch.points
