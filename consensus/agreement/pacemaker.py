"""How long to wait, and whom not to wait for (CONSENSUS.md section 11). Local: never affects safety.

Integer microseconds throughout, so that a run replays exactly.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from consensus.agreement.config import TimerSettings
from consensus.primitives.crypto import hash_tagged

QUIET_VIEWS: Final = 8  # R: views with a quorum in which a silent validator becomes suspected
MAX_BACKOFF_STEPS: Final = 20


@dataclass(slots=True)
class Pacemaker:
    """Estimates: proposal delay, round trips, who was last heard in which view.

    The delay estimate keeps a mean and a mean deviation, both exponentially weighted by 1/16 and 1/8 as
    TCP's retransmission timer does: about the last 64 proposed views weigh in.
    """

    settings: TimerSettings
    count: int
    delay_us: int | None = None
    deviation_us: int = 0
    last_seen: list[int] = field(default_factory=list)
    quorum_views: tuple[int, ...] = ()
    rtt_p90_us: int = 0

    def __post_init__(self) -> None:
        if not self.last_seen:
            self.last_seen = [0] * self.count
        self.rtt_p90_us = self.rtt_p90_us or self.settings.rtt_us

    def copy(self) -> "Pacemaker":
        """An independent copy."""
        return replace(self, last_seen=list(self.last_seen))

    # --- observations

    def observe_proposal(self, delay_us: int) -> None:
        """A proposal came `delay_us` after its view was entered, not counting what a leader may idle."""
        if self.delay_us is None:
            self.delay_us, self.deviation_us = delay_us, delay_us // 2
            return
        error = delay_us - self.delay_us
        self.delay_us = max(0, self.delay_us + error // 16)
        self.deviation_us += (abs(error) - self.deviation_us) // 8

    def observe_round_trips(self, samples_us: list[int]) -> None:
        """The newest round trip of every peer that was measured."""
        ordered = sorted(samples_us)
        self.rtt_p90_us = ordered[(len(ordered) * 9) // 10] if ordered else self.settings.rtt_us

    def heard(self, validator: int, view: int) -> None:
        """A vote of `validator` in `view` came, on its own link or in a certificate."""
        self.last_seen[validator] = max(self.last_seen[validator], view)

    def quorum_seen(self, view: int) -> None:
        """A quorum of votes was seen in `view`."""
        if not self.quorum_views or view > self.quorum_views[-1]:
            self.quorum_views = (*self.quorum_views, view)[-QUIET_VIEWS:]

    def is_quiet(self, validator: int) -> bool:
        """Section 11.3 (b): silent in all of the last R views that had a quorum."""
        seen = self.quorum_views
        return len(seen) == QUIET_VIEWS and self.last_seen[validator] < seen[0]

    # --- section 11.1

    @property
    def base_us(self) -> int:
        """t_base."""
        timers = self.settings
        if self.delay_us is None:
            return timers.start_us
        estimate = self.delay_us + 4 * self.deviation_us
        return min(max(2 * estimate, timers.min_us), timers.cap_us)

    def skip_us(self, view: int, final_view: int, idle_us: int) -> int:
        """t_skip(view), with the leader's `idle_interval` on top."""
        steps = min(max(view - final_view - self.settings.grace, 0), MAX_BACKOFF_STEPS)
        grown = self.base_us * int(3**steps) // (1 << steps)
        return min(grown, self.settings.max_us) + idle_us

    @property
    def fallback_us(self) -> int:
        """t_nf: from the own SKIP until R-NF1 may fire."""
        return max(self.settings.fallback_min_us, 2 * self.rtt_p90_us)

    @property
    def suspect_us(self) -> int:
        """t_susp: how long a leader's session is down before it is suspected."""
        return max(2 * self.rtt_p90_us, self.settings.suspect_min_us)

    @property
    def floor_us(self) -> int:
        """t_floor: how long a suspected leader is waited for."""
        return min(self.base_us, max(self.rtt_p90_us, self.settings.floor_min_us))

    @property
    def patience_us(self) -> int:
        """How long a block may be on its way behind a vote for it before it is asked for."""
        return max(2 * self.rtt_p90_us, self.settings.fallback_min_us)

    def resend_us(self, skip_us: int, salt: bytes) -> int:
        """t_resend, spread by ±10 % through `salt`, which differs by node and by attempt."""
        base = max(skip_us // 2, 3 * self.rtt_p90_us, self.settings.resend_min_us)
        return base * (900 + hash_tagged(b"TALLY/jitter/1", salt)[0] * 200 // 255) // 1000
