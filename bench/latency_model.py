"""How long finality takes if only distance counts: order statistics of delays, no protocol code at all.

The check on the simulator, and it on this: both must say the same of a network without faults. A block
proposed by leader L at 0 reaches i at d(L, i); i votes at once; j has a certificate when the vote that
completes its quorum arrives. With the quorums of CONSENSUS.md section 1. The protocol may be quicker: a
certificate that a neighbour made can come before the votes themselves.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from bench.regions import Matrix
from consensus.agreement.thresholds import Mode, stake_thresholds, view_thresholds


@dataclass(frozen=True, slots=True)
class Expected:
    """Microseconds from a proposal to finality, for every leader and every live validator; sorted."""

    one_round_us: tuple[int, ...]  # empty if too few are alive for the fast quorum
    two_rounds_us: tuple[int, ...]
    either_us: tuple[int, ...]  # whichever comes first: what mode STRICT gives


def expect(delays: Matrix, dead: Collection[int] = ()) -> Expected:
    """The latencies over all live leaders, of one stake unit each. Raises ValueError without a quorum."""
    count = len(delays)
    stake = stake_thresholds(count)
    live = [each for each in range(count) if each not in dead]
    if len(live) < stake.quorum:
        raise ValueError(f"{len(live)} of {count} validators are no quorum")
    fast = view_thresholds(stake, 1, Mode.STRICT).fast
    one: list[int] = []
    two: list[int] = []
    either: list[int] = []
    for leader in live:
        votes = {i: delays[leader][i] for i in live}
        finalize = {i: _nth((votes[k] + delays[k][i] for k in live), stake.quorum) for i in live}
        for j in live:
            slow = _nth((finalize[i] + delays[i][j] for i in live), stake.quorum)
            two.append(slow)
            if len(live) >= fast:
                quick = _nth((votes[i] + delays[i][j] for i in live), fast)
                one.append(quick)
                slow = min(slow, quick)
            either.append(slow)
    return Expected(tuple(sorted(one)), tuple(sorted(two)), tuple(sorted(either)))


def _nth(values: Iterable[int], n: int) -> int:
    return sorted(values)[n - 1]
