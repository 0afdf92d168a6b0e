"""What a running node tells of blocks as they become final: to who asks, and to who subscribes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from consensus.primitives.ids import Height
from node.api import BlockTrace, TracePage
from node.trace import TraceRing

FEED_BLOCKS: Final = 1_024  # blocks a subscriber may fall behind


class FinalityFeed:
    """The part of `node.api.NodeApi` for who watches finality."""

    def __init__(self, *, trace: TraceRing) -> None:
        self._trace = trace
        self._feeds: list[trio.MemorySendChannel[BlockTrace]] = []

    def trace(self, after: Height, limit: int) -> TracePage:
        """Latency records of final blocks above `after`."""
        return self._trace.page(after, limit)

    @asynccontextmanager
    async def finality(self) -> AsyncIterator[trio.MemoryReceiveChannel[BlockTrace]]:
        """A bounded feed of blocks as they become final; it ends when the subscriber falls behind."""
        send, receive = trio.open_memory_channel[BlockTrace](FEED_BLOCKS)
        self._feeds.append(send)
        try:
            yield receive
        finally:
            if send in self._feeds:
                self._feeds.remove(send)
            send.close()
            receive.close()

    def publish(self, block: BlockTrace) -> None:
        """Tell every subscriber of a final block."""
        for feed in list(self._feeds):
            try:
                feed.send_nowait(block)
            except (trio.WouldBlock, trio.BrokenResourceError):  # too slow, or gone: its feed ends
                self._feeds.remove(feed)
                feed.close()
