"""Keeps a consumer chain busy through its collator and counts what was enacted with effect."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import trio

from consensus.primitives.ids import ChainId, Hash
from node.api import ChainStage
from node.client import RpcClient, RpcError, RpcUnreachable

POLL_S: Final = 0.1
RETRY_S: Final = 0.1
RECEIPTS_PER_REQUEST: Final = 2_000
DONE: Final = (ChainStage.ENACTED, ChainStage.FINAL)


@dataclass(slots=True)
class ChainLoad:
    """One source of a consumer chain's transactions, offered to its collator in batches.

    At most `window` are not yet enacted at a time; `pause_s` between two batches makes a light load of it.
    """

    client: RpcClient
    chain: ChainId
    source: Iterator[bytes]
    batch: int
    window: int
    pause_s: float = 0.0
    submitted: int = 0
    done: list[tuple[int, int]] = field(default_factory=list)  # (seen enacted at ns, how many)
    refused: dict[Hash, str] = field(default_factory=dict)
    _pending: dict[Hash, None] = field(default_factory=dict)

    @property
    def enacted(self) -> int:
        """Transactions seen enacted so far."""
        return sum(count for _, count in self.done)

    def enacted_between(self, start_ns: int, end_ns: int) -> int:
        """Transactions seen enacted in a span of `CLOCK_MONOTONIC`."""
        return sum(count for at, count in self.done if start_ns <= at < end_ns)

    async def run(self) -> None:
        """Submit and count until cancelled."""
        while True:
            room = self.window - len(self._pending)
            batch = list(islice(self.source, self.batch)) if room >= self.batch else []
            if batch:
                await self._submit(batch)
                await trio.sleep(self.pause_s)
            else:
                await trio.sleep(POLL_S)
            await self._count()

    async def _submit(self, batch: list[bytes]) -> None:
        waiting = batch
        while waiting:
            try:
                answers = await self.client.chain_submit(self.chain, waiting)
            except (RpcError, RpcUnreachable):
                await trio.sleep(RETRY_S)  # the collator restarts: the same bytes again
                continue
            again = []
            for raw, answer in zip(waiting, answers, strict=True):
                if answer.accepted:
                    self._pending[answer.hash] = None
                    self.submitted += 1
                else:
                    self.refused[answer.hash] = answer.error
                    again.append(raw)
            waiting = again
            if waiting:
                await trio.sleep(RETRY_S)

    async def _count(self) -> None:
        hashes = list(self._pending)[:RECEIPTS_PER_REQUEST]
        if not hashes:
            return
        try:
            reports = await self.client.chain_receipts(self.chain, hashes)
        except (RpcError, RpcUnreachable):
            return
        enacted = [report for report in reports if report.stage in DONE]
        for each in enacted:
            del self._pending[each.hash]
            if each.code:
                self.refused[each.hash] = f"the chain carries it without effect (its code {each.code})"
        if enacted:
            self.done.append((time.monotonic_ns(), sum(not each.code for each in enacted)))
