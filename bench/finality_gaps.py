"""How long finality paused: the longest span without a final block around a moment, at the survivors."""

from collections.abc import Iterable
from itertools import pairwise


def longest_gap_ns(finalized_ns: Iterable[int], start_ns: int, end_ns: int) -> int:
    """The longest span between two consecutive final blocks that overlaps `start_ns..end_ns`.

    With no block after `start_ns` the gap reaches to `end_ns`: a network that never came back shows as such.
    """
    moments = sorted(set(finalized_ns))
    before = [at for at in moments if at <= start_ns]
    inside = [at for at in moments if start_ns < at < end_ns]
    after = [at for at in moments if at >= end_ns]
    edges = [before[-1] if before else start_ns, *inside, after[0] if after else end_ns]
    return max(late - early for early, late in pairwise(edges))
