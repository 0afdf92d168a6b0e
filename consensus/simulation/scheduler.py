"""Virtual time: a heap keyed `(time, sequence)`, so that a run is a function of its seed alone.

Times are whole microseconds since the start of the simulation.
"""

import heapq
from collections.abc import Callable
from typing import Final

MILLISECOND_US: Final = 1_000
SECOND_US: Final = 1_000_000


class Scheduler:
    """Runs actions in order of their time, and in order of their scheduling where times are equal."""

    def __init__(self) -> None:
        self.now_us = 0
        self.steps = 0
        self._sequence = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []

    def at(self, time_us: int, action: Callable[[], None]) -> None:
        """Run `action` at `time_us`, or at once if that has passed."""
        self._sequence += 1
        heapq.heappush(self._heap, (max(time_us, self.now_us), self._sequence, action))

    def after(self, delay_us: int, action: Callable[[], None]) -> None:
        """Run `action` when `delay_us` have gone by."""
        self.at(self.now_us + delay_us, action)

    def step(self) -> bool:
        """Run the next action; False when none is left."""
        if not self._heap:
            return False
        self.now_us, _, action = heapq.heappop(self._heap)
        self.steps += 1
        action()
        return True
