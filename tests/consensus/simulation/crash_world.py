"""The simulator with a hand on the power switch: one node's process dies at an exactly chosen point.

A point is what a process does to the world: it is about to write a group of records or has written it and
not synced, a sync has just ended and nothing has left yet, a message to one peer is about to leave or has
left, the journal is about to be rewritten or has been. A run that is not touched counts its points; the run
with a kill at point k is the same run up to there, so going through all k goes through all of them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from consensus.agreement.journal_records import SignedRecord
from consensus.agreement.messages import Kind
from consensus.agreement.thresholds import Mode
from consensus.simulation.disk import Journal
from consensus.simulation.epoch_scenario import draw_epochs
from consensus.simulation.node import Node
from consensus.simulation.scenario import Loss, Scenario, draw
from consensus.simulation.world import Report, World

BLOCKS_AFTER_KILL: Final = 2  # that everybody must finalise beyond the highest final block of that moment


class Killed(Exception):
    """The process of `node` is gone: nothing that would have followed happens."""

    def __init__(self, node: int) -> None:
        super().__init__(node)
        self.node = node


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
        if self._dies_here(self.points[-1]):
            raise Killed(self.node)

    def _dies_here(self, point: Point) -> bool:
        return self._at == len(self.points) - 1


class LooseSwitch(PowerSwitch):
    """Kills its node again and again: often where a label names one of `rules`, now and then elsewhere."""

    def __init__(self, node: int, random: Random, rules: Collection[str], *, deaths: int) -> None:
        super().__init__(node, None)
        self.killed_at: list[Point] = []
        self._random = random
        self._rules = rules
        self._deaths = deaths

    def _dies_here(self, point: Point) -> bool:
        inside = any(kind in self._rules for kind in point.label.split())
        if len(self.killed_at) >= self._deaths or self._random.randrange(1_000) >= (250 if inside else 4):
            return False
        self.killed_at.append(point)
        return True


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


def node_class_with(switches: Mapping[int, PowerSwitch]) -> type[Node]:
    """Nodes of which some are wired to a switch each."""

    class Switched(Node):
        def __init__(self, **arguments) -> None:
            switch = switches.get(arguments["index"])
            if switch is not None:
                carry = arguments["carry"]

                def watched_carry(destination: int, message: object) -> None:
                    label = type(message).__name__
                    switch.passes("before send", label)
                    carry(destination, message)
                    switch.passes("sent", label)

                arguments["carry"] = watched_carry
            super().__init__(**arguments)
            if switch is not None:
                wire(self, switch)

    return Switched


class CrashWorld(World):
    """A world in which switched nodes come back `away_us` after each of their deaths.

    `keeps` says what the disk makes of groups that were written and not synced: none of them, or all.
    """

    def __init__(
        self,
        scenario: Scenario,
        switches: Sequence[PowerSwitch],
        *,
        away_us: Callable[[], int],
        keeps: bool,
        loss: Loss = Loss.NOTHING,
    ) -> None:
        super().__init__(scenario, node_class=node_class_with({each.node: each for each in switches}))
        self.deaths = 0
        self._away_us = away_us
        self._loss = loss
        for each in switches:
            decide_what_survives(self.nodes[each.node].journal, keeps)
        step = self.scheduler.step

        def guarded_step() -> bool:
            try:
                return step()
            except Killed as killed:
                self._die(killed.node)
                return True

        self.scheduler.step = guarded_step

    def _die(self, node: int) -> None:
        self.deaths += 1
        self.kill(node, self._loss)
        self.scheduler.after(self._away_us(), lambda: self.start(node))
        self._calm_us = max(self._calm_us, self.scheduler.now_us)
        # whatever was reached before: from here on everybody must get on, the killed one included
        highest = max(self.nodes[each].final_height for each in self._must)
        self._target = max(self._target, highest + BLOCKS_AFTER_KILL)
        self._waiting = {each for each in self._must if self.nodes[each].final_height < self._target}


class _Decided:
    """The disk's randomness at a crash: all or nothing of what was written and not synced survives."""

    def __init__(self, keeps: bool) -> None:
        self._keeps = keeps

    def randint(self, low: int, high: int) -> int:
        """How many groups survive."""
        return high if self._keeps else low

    def randrange(self, count: int) -> int:
        """Whether the next one is torn, which is the same as absent."""
        return count - 1


def decide_what_survives(journal: Journal, keeps: bool) -> None:
    """Have each crash of a journal keep all unsynced groups, or none; all else stays as it was drawn."""
    drawn, crash = journal._random, journal.crash

    def decided(*, lose_file: bool) -> None:
        journal._random = _Decided(keeps)
        crash(lose_file=lose_file)
        journal._random = drawn

    journal.crash = decided


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
    world = CrashWorld(
        scenario, [switch], away_us=lambda: 3 * scenario.network.bound_us, keeps=keeps, loss=loss
    )
    report = world.run()
    assert world.deaths == (at is not None)
    return report, switch.points
