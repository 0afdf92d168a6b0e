"""How many units an epoch issues: a curve over the staking ratio (DESIGN.md section 8).

The curve is that of nominated proof of stake (Web3 Foundation, "Token Economics", section "Inflation model";
polkadot-sdk, `pallet-staking-reward-fn`). With x the part of all units that is staked, a year issues I(x) of
all units:

    I(x) = start + (ideal - start) * x / target                    up to the target: more stake, more reward
    I(x) = start + (ideal - start) * 2 ** -((x - target) / decay)  beyond it: too much stake is paid less

So the yield of one staked unit, I(x) / x, falls in x everywhere, and the network as a whole pays the most
where it wants to be. The rate of an epoch is that of its end.

A year is 365.25 days. An epoch issues for the time that its blocks say it took, and never for more than
`issuance_max_ms`: a network that was halted, or validators who push their clocks, issue no windfall
(polkadot-sdk caps an era in the same way: `MaxEraDuration`). Everything rounds down.
"""

import math
from dataclasses import dataclass
from typing import Final

from consensus.relay.parameters import BILLION, Parameters

MAX_ISSUED: Final = (1 << 127) - 1  # units ever: a sum of any two holdings fits into 128 bits
YEAR_MS: Final = 365_250 * 24 * 60 * 60
_BITS: Final = 32  # of an exponent's fraction
_ONE: Final = 1 << 64


def _roots() -> tuple[int, ...]:
    """2 ** -(1/2), 2 ** -(1/4), … in units of 2 ** -64: each the rounded-down root of the one before."""
    roots, root = [], _ONE >> 1
    for _ in range(_BITS):
        root = math.isqrt(root << 64)
        roots.append(root)
    return tuple(roots)


_ROOTS: Final = _roots()


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The curve's four numbers, in parts per billion. Raises ValueError on what is not a curve."""

    start_ppb: int  # issued in a year with nothing staked
    ideal_ppb: int  # with the target staked
    target_ppb: int  # of all units
    decay_ppb: int  # by how much more is staked beyond the target when the rate above `start` has halved

    def __post_init__(self) -> None:
        if self.start_ppb > self.ideal_ppb:
            raise ValueError("issuance at the target must not be below issuance with nothing staked")
        if self.ideal_ppb > BILLION:
            raise ValueError("a year issues at most as much as there is: 1000000000 parts per billion")
        if not 0 < self.target_ppb < BILLION:
            raise ValueError("the target of the staking ratio is above 0 and below 1000000000")
        if not 0 < self.decay_ppb <= BILLION:
            raise ValueError("the decay of issuance is above 0 and at most 1000000000")


def curve_of(parameters: Parameters) -> Curve:
    """The curve that a network's parameters draw."""
    return Curve(
        start_ppb=parameters.issuance_start_ppb,
        ideal_ppb=parameters.issuance_ideal_ppb,
        target_ppb=parameters.staking_target_ppb,
        decay_ppb=parameters.issuance_decay_ppb,
    )


def staking_ratio_ppb(staked: int, circulating: int) -> int:
    """Which part of all units that are not burnt is staked; 0 where there are none."""
    return min(BILLION, staked * BILLION // circulating) if circulating else 0


def yearly_rate_ppb(curve: Curve, ratio_ppb: int) -> int:
    """What a year issues, in parts per billion of all units."""
    above = curve.ideal_ppb - curve.start_ppb
    if ratio_ppb <= curve.target_ppb:
        return curve.start_ppb + above * ratio_ppb // curve.target_ppb
    exponent = (ratio_ppb - curve.target_ppb << _BITS) // curve.decay_ppb
    return curve.start_ppb + (above * _half_to_the(exponent) >> 64)


def issued_in(curve: Curve, *, staked: int, circulating: int, elapsed_ms: int, max_ms: int) -> int:
    """Units that an epoch of `elapsed_ms` issues, counted for `max_ms` at most."""
    rate = yearly_rate_ppb(curve, staking_ratio_ppb(staked, circulating))
    return circulating * rate * min(elapsed_ms, max_ms) // (BILLION * YEAR_MS)


def _half_to_the(exponent: int) -> int:
    """2 ** -(exponent / 2**32) in units of 2 ** -64; below the exact value by less than 128 of these.

    Before the whole part of the exponent halves them, neighbours are some 2**30 units apart: it never grows.
    """
    value = _ONE
    for place, root in enumerate(_ROOTS, start=1):
        if exponent >> (_BITS - place) & 1:
            value = value * root >> 64
    return value >> (exponent >> _BITS)
