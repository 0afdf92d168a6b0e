"""When to dial a peer: back-off with jitter, knocks, and being told that the peer is up.

Pure but for the random jitter: the transport asks how long to wait and reports what came of it.
"""

import random
from typing import Final

from net.errors import RefusalReason
from net.limits import Limits

# After these the peer has said that it will not have us now; hammering on would be a nuisance.
_PATIENT: Final = frozenset({RefusalReason.UNKNOWN_PEER, RefusalReason.BANNED, RefusalReason.SELF})


class Backoff:
    """How long to wait before the next attempt at one peer, in seconds."""

    __slots__ = ("_limits", "_next_s", "_random")

    def __init__(self, limits: Limits, choose: random.Random) -> None:
        self._limits = limits
        self._random = choose
        self._next_s = limits.dial_backoff_min_s

    def succeeded(self) -> None:
        """The peer was reached; the next failure starts from the smallest wait again."""
        self._next_s = self._limits.dial_backoff_min_s

    def failed(self, reason: RefusalReason) -> float:
        """The wait after a failure: doubling from the minimum to the maximum, jittered to [½, 1] of it.

        A knock that was heard (`dial_order`) waits `knock_interval_s`; a clear no waits the maximum.
        """
        if reason is RefusalReason.DIAL_ORDER:
            self._next_s = self._limits.dial_backoff_min_s
            base = self._limits.knock_interval_s
        elif reason in _PATIENT:
            base = self._limits.dial_backoff_max_s
        else:
            base = self._next_s
            self._next_s = min(2 * base, self._limits.dial_backoff_max_s)
        return base * self._random.uniform(0.5, 1.0)
