"""Joins the latency rings of several nodes: from a leader's proposal to finality at every validator.

All processes run on one host, so their `CLOCK_MONOTONIC` readings are comparable.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.statistics import milliseconds, percentile
from consensus.primitives.ids import Hash, Height
from node.api import BlockTrace


@dataclass(slots=True)
class FinalityLatency:
    """What the nodes of one cluster reported, block by block.

    A restarted node reports a block again that it finalised while catching up; the first report counts. What
    a node caught up with has no latency: it was not there when the block was proposed.
    """

    proposed_ns: dict[Hash, int] = field(default_factory=dict)
    finalized_ns: dict[Hash, dict[int, int]] = field(default_factory=dict)  # by node, catch-up included
    present: dict[Hash, set[int]] = field(default_factory=dict)  # the nodes that got the block's proposal
    one_round: dict[Hash, bool] = field(default_factory=dict)
    heights: dict[Height, set[Hash]] = field(default_factory=dict)

    def add(self, node: int, blocks: Iterable[BlockTrace]) -> None:
        """Take in a page of node `node`'s trace."""
        for block in blocks:
            self.heights.setdefault(block.height, set()).add(block.hash)
            if block.proposed_ns is not None:
                self.proposed_ns.setdefault(block.hash, block.proposed_ns)
            self.finalized_ns.setdefault(block.hash, {}).setdefault(node, block.finalized_ns)
            if block.proposed_ns is not None or block.received_ns is not None:
                self.present.setdefault(block.hash, set()).add(node)
            self.one_round[block.hash] = self.one_round.get(block.hash, False) or block.one_round

    @property
    def forked_heights(self) -> list[Height]:
        """Heights at which two nodes finalised different blocks. Must be empty."""
        return sorted(height for height, hashes in self.heights.items() if len(hashes) > 1)

    def latencies_ns(self, from_height: int = 0, to_height: int | None = None) -> list[int]:
        """One latency per (block, node) with heights in `from_height..to_height` (end excluded)."""
        return [
            at - self.proposed_ns[block_hash]
            for height, hashes in sorted(self.heights.items())
            if from_height <= height and (to_height is None or height < to_height)
            for block_hash in sorted(hashes)
            if block_hash in self.proposed_ns
            for node, at in self.finalized_ns.get(block_hash, {}).items()
            if node in self.present.get(block_hash, ())
        ]

    def one_round_share(self, from_height: int = 0) -> float:
        """Share of blocks that at least one node saw final after one vote round."""
        seen = [
            self.one_round[block_hash]
            for height, hashes in self.heights.items()
            if height >= from_height
            for block_hash in hashes
            if block_hash in self.one_round
        ]
        return round(sum(seen) / len(seen), 4) if seen else 0.0


def summary_ms(latencies_ns: list[int], prefix: str = "") -> dict[str, float]:
    """`p50_ms`, `p90_ms` and `p99_ms` of latencies, for a report."""
    return {
        f"{prefix}p{rank}_ms": milliseconds(percentile(latencies_ns, rank / 100)) for rank in (50, 90, 99)
    }
