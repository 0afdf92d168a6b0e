"""A virtual network: loss, delay, reordering, duplication and partitions until GST, bounded delay after it.

Delivery between two validators follows CONSENSUS.md section 1: before the global stabilisation time (GST)
anything may happen to a message; from GST on every message arrives within `bound_us`. A message that was
under way at GST may still arrive late. Independent delays reorder by themselves. A message is handed over as
the same immutable object: no test depends on bytes, except where the world sends them through the codec.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Generic, TypeVar

from consensus.simulation.scheduler import Scheduler

M = TypeVar("M")

ONE_IN = 1_000  # probabilities are given in parts per thousand: integers, so that no platform rounds them


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """From `start_us` until `end_us` only nodes of one group hear each other; an isolated node is alone."""

    start_us: int
    end_us: int
    groups: tuple[frozenset[int], ...]

    def separates(self, now_us: int, source: int, destination: int) -> bool:
        """Whether a message sent now would have to cross this partition."""
        if not self.start_us <= now_us < self.end_us:
            return False
        return not any(source in group and destination in group for group in self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    """How the network treats messages. Times in microseconds, probabilities in parts per thousand."""

    gst_us: int
    bound_us: int  # after GST: the largest delay
    least_us: int  # always: the smallest delay
    wild_us: int  # before GST: the largest delay of a delayed message
    loss: int  # before GST
    delayed: int  # before GST: share of messages whose delay is drawn up to `wild_us`
    duplicated: int  # always
    bad_links: frozenset[tuple[int, int]] = frozenset()  # (source, destination): deliver nothing before GST
    partitions: tuple[Partition, ...] = ()


@dataclass(slots=True)
class NetworkCounters:
    """What the network did to messages, so that one sees that the schedule did something."""

    sent: int = 0
    lost: int = 0
    delayed: int = 0
    duplicated: int = 0
    partitioned: int = 0


class Network(Generic[M]):
    """Carries messages between numbered nodes; calls `deliver(source, destination, message)` on arrival."""

    def __init__(
        self, plan: NetworkPlan, random: Random, scheduler: Scheduler, deliver: Callable[[int, int, M], None]
    ) -> None:
        self.plan = plan
        self.counters = NetworkCounters()
        self._random = random
        self._scheduler = scheduler
        self._deliver = deliver

    def is_cut(self, source: int, destination: int) -> bool:
        """Whether nothing sent now from `source` reaches `destination`."""
        now = self._scheduler.now_us
        if now >= self.plan.gst_us:
            return False
        if (source, destination) in self.plan.bad_links:
            return True
        return any(each.separates(now, source, destination) for each in self.plan.partitions)

    def send(self, source: int, destination: int, message: M) -> None:
        """Give a message to the network, which may deliver it never, once or twice."""
        self.counters.sent += 1
        stable = self._scheduler.now_us >= self.plan.gst_us
        if not stable:
            if self.is_cut(source, destination):
                self.counters.partitioned += 1
                return
            if self._random.randrange(ONE_IN) < self.plan.loss:
                self.counters.lost += 1
                return
        self._carry(source, destination, message, stable)
        if self.plan.duplicated and self._random.randrange(ONE_IN) < self.plan.duplicated:
            self.counters.duplicated += 1
            self._carry(source, destination, message, stable)

    def _carry(self, source: int, destination: int, message: M, stable: bool) -> None:
        highest = self.plan.bound_us
        if not stable and self._random.randrange(ONE_IN) < self.plan.delayed:
            self.counters.delayed += 1
            highest = self.plan.wild_us
        least = self.plan.least_us
        delay_us = least + int(self._random.random() * (highest - least))
        self._scheduler.after(delay_us, partial(self._deliver, source, destination, message))
