"""How far the transactions that this node has seen have come, and who waits for them."""

import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import trio

from consensus.primitives.ids import Hash, Height
from node.api import Stage

TRACKED: Final = 50_000
_RANK: Final = {stage: stage.rank for stage in Stage}


@dataclass(slots=True)
class _Track:
    stage: Stage = Stage.UNKNOWN
    height: Height | None = None
    block: Hash | None = None
    times_ms: list[tuple[Stage, float]] = field(default_factory=list)


class Progress:
    """Stages of transactions with the time of each, the latest `TRACKED` of them; and waiting for a stage."""

    def __init__(self) -> None:
        self._tracks: OrderedDict[Hash, _Track] = OrderedDict()
        self._waiters: dict[Hash, list[trio.Event]] = {}
        self._unproved: list[Hash] = []

    def accepted(self, name: Hash) -> None:
        """The mempool took the transaction."""
        self._reach((name,), Stage.ACCEPTED, None, None)

    def notarised(self, names: Iterable[Hash], height: Height, block: Hash) -> None:
        """A notarised block carries these."""
        self._reach(names, Stage.NOTARISED, height, block)

    def final(self, names: Iterable[Hash], height: Height, block: Hash) -> None:
        """The final block at `height` carries these; those of the block before it are now proved."""
        proved, self._unproved = self._unproved, []
        self._reach(proved, Stage.PROVED, None, None)
        self._unproved = list(names)
        self._reach(self._unproved, Stage.FINAL, height, block)

    def track(self, name: Hash) -> tuple[Stage, Hash | None, Height | None, tuple[tuple[Stage, float], ...]]:
        """(stage, block, height, time of each stage that was seen) of a transaction."""
        found = self._tracks.get(name)
        if found is None:
            return Stage.UNKNOWN, None, None, ()
        return found.stage, found.block, found.height, tuple(found.times_ms)

    async def changed(self, name: Hash) -> None:
        """Return when the transaction reaches its next stage."""
        event = trio.Event()
        self._waiters.setdefault(name, []).append(event)
        try:
            await event.wait()
        finally:
            waiting = self._waiters.get(name)
            if waiting is not None and event in waiting:
                waiting.remove(event)
                if not waiting:
                    del self._waiters[name]

    def _reach(self, names: Iterable[Hash], stage: Stage, height: Height | None, block: Hash | None) -> None:
        now_ms = time.time() * 1000
        for name in names:
            track = self._tracks.get(name)
            if track is None:
                if len(self._tracks) >= TRACKED:
                    self._tracks.popitem(last=False)
                track = self._tracks[name] = _Track()
            if _RANK[track.stage] >= _RANK[stage]:
                continue
            track.stage = stage
            track.times_ms.append((stage, now_ms))
            if height is not None:
                track.height, track.block = height, block
            for event in self._waiters.pop(name, ()):
                event.set()
