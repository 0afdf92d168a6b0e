"""Which heights this node serves the state of, and how long those states outlive their retention.

The first block of each period of block time is a snapshot: every node finds the same heights, so that a peer
can fetch one state from several of them, at a pace that does not depend on how fast blocks come. The newest
two are kept, and one that somebody fetches stays for as long as it is asked for, within a bound.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from consensus.agreement.messages import FLAG_BOUNDARY, FLAG_TAIL, Header
from consensus.primitives.ids import Height

KEPT: Final = 2  # newest snapshots, fetched or not: what was just offered is not gone when it is asked for
LEASE_S: Final = 30.0  # how long a request keeps a snapshot
LONGEST_LEASE_S: Final = 3_600.0  # whoever has not fetched it by then takes a younger one


class Offering:
    """The snapshots of one store. `note` is called where blocks are written, the rest in any thread."""

    def __init__(self, period_ms: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`period_ms` of block time between snapshots; 0: there are none."""
        self._period_ms = period_ms
        self._clock = clock
        self._lock = threading.Lock()
        self._period: int | None = None  # of the newest block
        self._newest: list[Height] = []
        self._leases: dict[Height, tuple[float, float]] = {}  # → (until, at most until)

    def restore(self, heights: Iterable[Height], newest: Header | None) -> None:
        """Go on where the store ends: its snapshots and its newest block."""
        if self._period_ms:
            self._newest = list(heights)[-KEPT:]
            self._period = None if newest is None else newest.time_ms // self._period_ms

    def note(self, header: Header) -> bool:
        """Whether this block, the next one written, is a snapshot.

        A boundary block is none: the header that proves the state after it is of another epoch, or a tail.
        """
        if not self._period_ms:
            return False
        period, self._period = self._period, header.time_ms // self._period_ms
        if period in (None, self._period) or header.flags & (FLAG_BOUNDARY | FLAG_TAIL):
            return False
        with self._lock:
            self._newest = [*self._newest, header.height][-KEPT:]
        return True

    def newest(self) -> list[Height]:
        """The heights that are kept though nobody asks for them, ascending."""
        return list(self._newest)

    def lease(self, height: Height) -> bool:
        """Somebody fetches this state: keep it. False if it is not one of the snapshots any more."""
        now = self._clock()
        with self._lock:
            held = self._leases.get(height)
            if held is None and height not in self._newest:
                return False
            most = now + LONGEST_LEASE_S if held is None else held[1]
            self._leases[height] = (min(now + LEASE_S, most), most)
            return True

    def heights(self) -> list[Height]:
        """All snapshots, ascending; leases that ran out are forgotten."""
        now = self._clock()
        with self._lock:
            for height in [each for each, (until, _) in self._leases.items() if until <= now]:
                del self._leases[height]
            return sorted({*self._newest, *self._leases})
