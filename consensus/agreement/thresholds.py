"""The quorums of CONSENSUS.md section 1, in integer stake.

Write N for the total stake. `quorum` is strictly more than 2/3; a block that `fast` stake notarises is final
after one vote round; `fallback` and `fallback_equivocated` say when a validator may also vote for the other
side of a split view. All follow from the epoch's stakes and the view's leader, so every node computes them.
"""

import enum
from dataclasses import dataclass


class Mode(enum.IntEnum):
    """How one epoch finalises (CONSENSUS.md section 18). The rules of one epoch are uniform."""

    STRICT = 0  # the fast path runs beside the slow one; the default
    OFF = 1  # plain stake-weighted Simplex: two vote rounds; oracle and emergency switch


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeThresholds:
    """What the total stake alone decides."""

    total: int  # N
    faulty: int  # F: the largest faulty stake that is tolerated, below N/3
    quorum: int  # Q: strictly more than 2N/3
    rounding: int  # s: 0 or 1 unit of rounding slack


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewThresholds:
    """What the stake of a view's leader adds."""

    leader_stake: int  # wL
    missing: int  # P: the stake whose votes the fast path may miss
    fast: int  # FAST = N - P, at least Q; above N, hence out of reach, in mode OFF
    fallback: int  # T: stake that justifies a fallback vote
    fallback_equivocated: int  # TE: the same, leader proven to equivocate and not counted


def stake_thresholds(total: int) -> StakeThresholds:
    """F, Q and s of a total stake N >= 1."""
    if total < 1:
        raise ValueError("the total stake must be at least 1")
    faulty = (total - 1) // 3
    return StakeThresholds(
        total=total, faulty=faulty, quorum=2 * total // 3 + 1, rounding=(total - 3 * faulty - 1) // 2
    )


def view_thresholds(stake: StakeThresholds, leader_stake: int, mode: Mode) -> ViewThresholds:
    """P, FAST, T and TE of a view whose leader holds `leader_stake`.

    In mode OFF the fast quorum is out of reach; T and TE keep their strict values, which nothing reads.
    """
    missing = min(leader_stake + stake.rounding, stake.total - stake.quorum)
    fallback = stake.faulty + missing + 1
    return ViewThresholds(
        leader_stake=leader_stake,
        missing=missing,
        fast=stake.total - missing if mode is Mode.STRICT else stake.total + 1,
        fallback=fallback,
        fallback_equivocated=max(1, fallback - leader_stake),
    )
