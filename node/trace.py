"""When blocks passed this node: a bounded ring of latency records (CLOCK_MONOTONIC nanoseconds).

Python's `time.monotonic_ns` reads the same clock in every process of a host, so the traces of several nodes
on one machine can be joined by block hash.
"""

import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from consensus.agreement.messages import Header
from consensus.primitives.ids import Hash, Height
from consensus.relay.transition import Counters
from node.api import BlockTrace, TracePage

RING_BLOCKS: Final = 4_096
IN_FLIGHT: Final = 512


@dataclass(slots=True)
class _Times:
    proposed_ns: int | None = None
    received_ns: int | None = None
    notarised_ns: int | None = None
    finalized_ns: int = 0
    one_round: bool = False


class TraceRing:
    """Marks of blocks in flight, and the records of the latest final ones."""

    def __init__(self) -> None:
        self._marks: dict[Hash, _Times] = {}
        self._ring: deque[BlockTrace] = deque(maxlen=RING_BLOCKS)

    def proposed(self, block: Hash) -> None:
        """This node signed the block."""
        self._mark(block).proposed_ns = time.monotonic_ns()

    def received(self, block: Hash) -> None:
        """The block came with a proposal and is being checked."""
        times = self._mark(block)
        if times.proposed_ns is None and times.received_ns is None:
            times.received_ns = time.monotonic_ns()

    def notarised(self, block: Hash) -> None:
        """A certificate for the block is here."""
        self._mark(block).notarised_ns = time.monotonic_ns()

    def finalized(self, block: Hash, *, one_round: bool) -> None:
        """The block is final."""
        times = self._mark(block)
        times.finalized_ns = time.monotonic_ns()
        times.one_round = one_round

    def executed(self, block: Hash, header: Header, candidates: int, counters: Counters) -> BlockTrace:
        """A final block was executed: its record is complete."""
        times = self._marks.pop(block, None) or _Times(finalized_ns=time.monotonic_ns())
        record = BlockTrace(
            height=header.height,
            epoch=header.epoch,
            view=header.view,
            hash=block,
            proposer=header.proposer,
            proposed_ns=times.proposed_ns,
            received_ns=times.received_ns,
            notarised_ns=times.notarised_ns,
            finalized_ns=times.finalized_ns,
            one_round=times.one_round,
            transactions=counters.transactions,
            candidates=candidates,
            enclave_calls=counters.enclave_calls,
            messages=counters.messages,
            time_ms=header.time_ms,
        )
        self._ring.append(record)
        return record

    def page(self, after: Height, limit: int) -> TracePage:
        """At most `limit` records above `after`, oldest first."""
        if not self._ring or self._ring[-1].height <= after:
            return TracePage(next=after, blocks=())
        skip = max(0, after + 1 - self._ring[0].height)
        blocks = tuple(self._ring[index] for index in range(skip, min(skip + limit, len(self._ring))))
        return TracePage(next=blocks[-1].height if blocks else after, blocks=blocks)

    def _mark(self, block: Hash) -> _Times:
        times = self._marks.get(block)
        if times is None:
            while len(self._marks) >= IN_FLIGHT:
                del self._marks[next(iter(self._marks))]
            times = self._marks[block] = _Times()
        return times
