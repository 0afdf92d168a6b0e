"""Plays a scenario's crashes: at set times, at the ends of epochs, and one loss of memory after another.

The run is quiet when nothing of this is under way or to come and the network is stable: from then on progress
is promised.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from consensus.agreement.journal_records import BarRecord
from consensus.simulation.node import Node
from consensus.simulation.scenario import Crash, Episode, Loss, Moment, Relapse, Scenario
from consensus.simulation.scheduler import Scheduler


class Processes(Protocol):
    """Starts and kills the processes of nodes."""

    def start(self, node: int) -> None:
        """Start a process, unless one runs."""

    def kill(self, node: int, loss: Loss) -> bool:
        """Kill the process with what `loss` says; False if none runs."""


class Disturbances:
    """What is still to happen to processes; `calm` is called each time that nothing is."""

    def __init__(
        self,
        scenario: Scenario,
        nodes: Sequence[Node],
        processes: Processes,
        scheduler: Scheduler,
        calm: Callable[[], None],
    ) -> None:
        self._scenario = scenario
        self._nodes = nodes
        self._processes = processes
        self._scheduler = scheduler
        self._calm = calm
        self._pending = 0  # things begun or certain to come that have not ended
        self._episodes: list[Episode] = list(scenario.episodes)
        self._until: dict[int, list[tuple[int, int]]] = {}  # epoch -> (node, delay) that wait for it
        self._relapses: list[Relapse] = list(scenario.relapses)
        self._relapsing: int | None = None  # the node of the step that was begun last
        self._down_again = False  # whether that step is still to come or under way

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way or to come, but relapses that no recovery allows."""
        return not self._pending and not self._episodes and not self._until

    @property
    def relapses(self) -> int:
        """Steps of the series that are still to come."""
        return len(self._relapses)

    def begin(self) -> None:
        """Schedule what has a time, and the starts of those who come late."""
        late = dict(self._scenario.late)
        for node in self._nodes:
            if node.index in late:
                self._until.setdefault(late[node.index], []).append((node.index, 0))
            else:
                self._scheduler.at(0, partial(self._processes.start, node.index))
        for crash in self._scenario.crashes:
            self._pending += 1
            self._scheduler.at(crash.at_us, partial(self._crash, crash))
        self._pending += 1
        self._scheduler.at(self._scenario.network.gst_us, self._ended)

    # --- what the world sees

    def reached(self, node: int, epoch: int, moment: Moment) -> None:
        """A node is where episodes may wait for it."""
        for episode in self._episodes:
            if (episode.node, episode.epoch, episode.moment) == (node, epoch, moment):
                self._episodes.remove(episode)
                self._pending += 1
                self._scheduler.after(episode.delay_us, partial(self._play, episode))
                return

    def began(self, node: int, epoch: int) -> None:
        """A node is in an epoch: what waits for it happens; what was meant for earlier never will."""
        for index, delay_us in self._until.pop(epoch, ()):
            self._pending += 1
            self._back(index, delay_us)
        before = len(self._episodes)
        self._episodes = [
            each
            for each in self._episodes
            if each.node != node or each.epoch + (each.moment is Moment.BEGUN) >= epoch
        ]
        if len(self._episodes) != before and self.quiet:
            self._calm()

    def look_for_relapse(self) -> None:
        """Begin the next step of the series, if the memory of the step before is whole again."""
        if not self._relapses or self._down_again or self._pending:
            return
        if self._relapsing is not None and not self._is_whole(self._nodes[self._relapsing]):
            return
        step = self._relapses.pop(0)
        self._relapsing, self._down_again = step.node, True
        self._pending += 1
        self._scheduler.after(step.delay_us, partial(self._relapse, step))

    # --- playing

    def _crash(self, crash: Crash) -> None:
        if self._processes.kill(crash.node, crash.loss) and crash.back_us is not None:
            self._back(crash.node, crash.back_us - crash.at_us)
        else:
            self._ended()

    def _play(self, episode: Episode) -> None:
        if not self._processes.kill(episode.node, episode.loss):
            self._ended()
        elif episode.until_epoch is None or self._somebody_is_in(episode.until_epoch):
            self._back(episode.node, episode.down_us)
        else:
            self._until.setdefault(episode.until_epoch, []).append((episode.node, episode.down_us))
            self._ended()

    def _relapse(self, step: Relapse) -> None:
        if self._processes.kill(step.node, step.loss):
            self._back(step.node, step.down_us)
        else:
            self._ended()
        self._down_again = False

    def _back(self, node: int, delay_us: int) -> None:
        def start() -> None:
            self._processes.start(node)
            self._ended()

        self._scheduler.after(delay_us, start)

    def _ended(self) -> None:
        self._pending -= 1
        if self.quiet:
            self._calm()

    def _somebody_is_in(self, epoch: int) -> bool:
        return any(node.engine is not None and node.engine.epoch >= epoch for node in self._nodes)

    @staticmethod
    def _is_whole(node: Node) -> bool:
        """Whether a node signs again, finality passed its bar, and no later epoch will silence it."""
        engine, gate = node.engine, node.gate
        if engine is None or gate is None or engine.amnesic:
            return False
        last = gate.marks[-1] if gate.marks else None
        return engine.final_view >= gate.bar and (
            last is None or (isinstance(last, BarRecord) and not last.beyond)
        )
