"""Voting power from support: nobody's is above F (CONSENSUS.md section 1: `w_i <= F` for n >= 4).

Whoever held more than F could stop the network alone, and be forgiven by no quorum. So power is
min(support, c), with the largest c such that the largest power is at most F = floor((N - 1) / 3) of what
remains, N. Support above c answers for offences and earns as any other; it only has no vote.

With the members in order, s1 >= s2 >= …, where N(c) = sum of min(s_i, c), a cap that binds has to keep
3c + 1 <= N(c). Once three are capped and a fourth is there, it does; so the largest c caps two at most:

    one:  c + R1 >= 3c + 1,  c = floor((R1 - 1) / 2)      R1 = all but s1
    two:  2c + R2 >= 3c + 1, c = R2 - 1                   R2 = all but s1 and s2

Networks of one to three have F below any member's share and go uncapped.
"""

from collections.abc import Sequence
from typing import Final

from consensus.agreement.thresholds import stake_thresholds

MIN_TOLERANT: Final = 4  # members; fewer tolerate no fault
MAX_POWER: Final = (1 << 64) - 1  # what the validator set encodes


def voting_powers(supports: Sequence[int]) -> tuple[int, ...]:
    """The power of each member, at least 1; `supports` are at least 0, in units.

    A member that nothing supports, which only an election that keeps the previous set has, gets 1.
    """
    raised = [max(1, each) for each in supports]
    cap = power_cap(raised)
    return tuple(min(each, cap) for each in raised)


def power_cap(supports: Sequence[int]) -> int:
    """The largest c of the rule, for supports of at least 1; if it binds nobody, MAX_POWER."""
    if len(supports) < MIN_TOLERANT:
        return MAX_POWER
    first, second = sorted(supports, reverse=True)[:2]
    total = sum(supports)
    if first <= stake_thresholds(total).faulty:
        return MAX_POWER
    cap = (total - first - 1) // 2
    return min(cap if cap >= second else total - first - second - 1, MAX_POWER)
