"""Connections that did not come to be: counted all, logged so that nobody can fill the disk with them."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from structlog.typing import FilteringBoundLogger

from net.errors import HandshakeRefused, RefusalReason

QUIET_S: Final = 10.0
REMEMBERED: Final = 256


class Refusals:
    """The first refusal of a (where, reason) is logged at once, repeats once in `QUIET_S` seconds."""

    __slots__ = ("_counts", "_log", "_now", "_quiet")

    def __init__(self, log: FilteringBoundLogger, now: Callable[[], float]) -> None:
        self._log = log
        self._now = now
        self._counts: Counter[RefusalReason] = Counter()
        self._quiet: dict[tuple[str, RefusalReason], tuple[float, int]] = {}  # until when, how many since

    def note(self, refusal: HandshakeRefused, *, where: str, inbound: bool, peer: str | None) -> None:
        """Count a refusal and log it as `peer.refused`, or keep quiet about a repetition.

        where: the far end, without its ephemeral port when inbound. peer: the identity, proven or dialled.
        """
        self._counts[refusal.reason] += 1
        key = (where, refusal.reason)
        until, repeated = self._quiet.pop(key, (0.0, 0))
        now = self._now()
        if now < until:
            self._quiet[key] = (until, repeated + 1)
            return
        if len(self._quiet) >= REMEMBERED:
            del self._quiet[next(iter(self._quiet))]
        self._quiet[key] = (now + QUIET_S, 0)
        self._log.info(
            "peer.refused",
            reason=str(refusal.reason),
            detail=refusal.detail,
            refused_by="peer" if refusal.by_remote else "us",
            inbound=inbound,
            where=where,
            peer=peer,
            repeated=repeated,
        )

    def snapshot(self) -> Mapping[RefusalReason, int]:
        """How many of each reason, since the start."""
        return dict(self._counts)
