"""Follows every node of a cluster and keeps what they report of each final block."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from bench.cluster import Cluster
from bench.latency import FinalityLatency
from consensus.primitives.ids import Height
from node.api import BlockTrace
from node.client import RpcError, RpcUnreachable

POLL_S: Final = 0.2
PAGE: Final = 1_000


@dataclass(slots=True)
class Watch:
    """The final blocks of a cluster, as all of its validators saw them."""

    cluster: Cluster
    latency: FinalityLatency = field(default_factory=FinalityLatency)
    blocks: dict[Height, BlockTrace] = field(default_factory=dict)  # as first reported by anybody
    _after: dict[int, Height] = field(default_factory=dict)

    async def run(self, on_block: Callable[[BlockTrace], None] | None = None) -> None:
        """Poll until cancelled; `on_block` is told of each height once."""
        while True:
            await self.poll(on_block)
            await trio.sleep(POLL_S)

    async def poll(self, on_block: Callable[[BlockTrace], None] | None = None) -> None:
        """Take in what every validator that answers has reported since the last time."""
        for index in self.cluster.validators:
            while True:
                try:
                    page = await self.cluster.clients[index].trace(self._after.get(index, Height(0)), PAGE)
                except (RpcError, RpcUnreachable):
                    break  # down or restarting: the others tell, and it will tell later
                self._after[index] = page.next
                self.latency.add(index, page.blocks)
                for block in page.blocks:
                    if block.height not in self.blocks:
                        self.blocks[block.height] = block
                        if on_block is not None:
                            on_block(block)
                if len(page.blocks) < PAGE:
                    break

    def forks(self) -> int:
        """Heights at which two validators finalised different blocks."""
        return len(self.latency.forked_heights)

    def total(self, count: str, *, start_ns: int = 0, end_ns: int | None = None) -> int:
        """The sum of one of a trace's counters over blocks that became final in `start_ns..end_ns`."""
        return sum(
            getattr(block, count)
            for block in self.blocks.values()
            if start_ns <= block.finalized_ns and (end_ns is None or block.finalized_ns < end_ns)
        )

    def finalized_ns(self, *, without: frozenset[int] = frozenset()) -> list[int]:
        """When blocks became final, at any validator not in `without`."""
        return [
            at
            for by_node in self.latency.finalized_ns.values()
            for node, at in by_node.items()
            if node not in without
        ]
