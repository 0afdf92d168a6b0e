"""The slash meter: how much of what was cut may be burnt by when (pure).

Its like is the slash meter of interchain security (Cosmos, "jail throttling"), which bounds the stake that
slash packets may take out of the set within an hour. Here the stake is out of the next election at once, and
what is bounded is how fast it becomes irrevocable: within any hour at most `slash_meter_ppb` of `base`, the
most stake there was since the queue was last empty.

A bucket that holds half of that and fills by the other half in an hour: in any span of an hour at most both.
"""

from dataclasses import dataclass, replace
from typing import Final

from consensus.primitives.codec import U64, U128
from consensus.primitives.ids import Milliseconds
from consensus.relay.parameters import BILLION

HOUR_MS: Final = 60 * 60 * 1_000
_PARTS: Final = 2 * BILLION * HOUR_MS  # what `rest` is a numerator over


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterRecord:
    """The bucket. `rest` is the part of a unit that filled it, so that nothing is lost between blocks."""

    level: U128  # units that may be released now
    rest: U64
    base: U128  # units of stake that the rate is a share of
    time_ms: Milliseconds  # up to when it was filled


def full(base: int, rate_ppb: int, now_ms: int) -> MeterRecord:
    """The bucket of an empty queue."""
    return MeterRecord(level=capacity(base, rate_ppb), rest=0, base=base, time_ms=Milliseconds(now_ms))


def capacity(base: int, rate_ppb: int) -> int:
    """What the bucket holds: half of an hour's share, at least one unit."""
    return max(1, base * rate_ppb // (2 * BILLION))


def fill(meter: MeterRecord, *, base: int, rate_ppb: int, now_ms: int) -> MeterRecord:
    """The bucket at a later time, with `base` units of stake there now."""
    base = max(base, meter.base)
    elapsed = max(0, now_ms - meter.time_ms)
    units, rest = divmod(meter.rest + base * rate_ppb * elapsed, _PARTS)
    most = capacity(base, rate_ppb)
    level = meter.level + units
    if level > most:
        level, rest = most, 0
    return MeterRecord(level=level, rest=rest, base=base, time_ms=Milliseconds(max(now_ms, meter.time_ms)))


def draw(meter: MeterRecord, amount: int) -> tuple[MeterRecord, int]:
    """Release what the bucket has of `amount` units: the bucket after it, and how much."""
    released = min(meter.level, amount)
    return replace(meter, level=meter.level - released), released
