"""Peers that misbehaved and are shut out for a while (CONSENSUS.md section 21: ban 60 s)."""

from collections.abc import Callable, Mapping

from net.identity import PeerId


class Bans:
    """Who is banned until when. Bounded by the number of authorised peers: nobody else gets far enough."""

    __slots__ = ("_now", "_seconds", "_until")

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = now
        self._until: dict[PeerId, float] = {}

    def add(self, peer: PeerId) -> None:
        """Ban for the full time from now."""
        self._until[peer] = self._now() + self._seconds

    def left_s(self, peer: PeerId) -> float:
        """Seconds until the peer may come back; 0 if it is not banned."""
        left = self._until.get(peer, 0.0) - self._now()
        if left <= 0:
            self._until.pop(peer, None)
            return 0.0
        return left

    def snapshot(self) -> Mapping[PeerId, float]:
        """All bans in force, with the seconds left."""
        return {peer: left for peer in list(self._until) if (left := self.left_s(peer)) > 0}
