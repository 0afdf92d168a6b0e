"""Keeps a network busy and knows what became of every transaction that it sent.

A `Load` takes wire bytes from an iterator, submits them in batches, resends what was not taken, and asks for
receipts until each is final: then the transaction is *acknowledged*, and losing it would be a broken promise.
A node that does not answer is passed over; the bytes go to the next, as a client would do it.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import trio

from consensus.primitives.ids import Hash, Height
from consensus.relay.transactions import transaction_hash
from node.api import Stage, SubmitResult
from node.client import RpcClient, RpcError, RpcUnreachable

POLL_S: Final = 0.05
RETRY_S: Final = 0.02
RESEND_AFTER_NS: Final = 1_000_000_000
RECEIPTS_PER_REQUEST: Final = 2_000


@dataclass(slots=True)
class LoadReport:
    """What a load has seen so far."""

    submitted: int = 0
    refused: dict[Hash, str] = field(default_factory=dict)  # newest reason; gone once accepted
    acknowledged: dict[Hash, Height] = field(default_factory=dict)  # with the height of the final block
    latency_ns: list[int] = field(default_factory=list)  # submit to final receipt, as the client saw it


class Load:
    """One source of relay transactions against several nodes.

    At most `window` transactions are unacknowledged at a time; `batch` go in one request. Receipts are asked
    for every POLL_S: asking costs the nodes time that they share with what is measured. `pause_s` between
    two batches makes a light load of it.
    """

    def __init__(
        self,
        clients: Sequence[RpcClient],
        source: Iterator[bytes],
        *,
        batch: int,
        window: int,
        pause_s: float = 0.0,
    ) -> None:
        self.report: Final = LoadReport()
        self._clients = list(clients)
        self._source = source
        self._batch = batch
        self._window = window
        self._pending: dict[Hash, tuple[bytes, int]] = {}  # hash → bytes, submitted at
        self._turn = 0
        self._pause_s = pause_s
        self._asked = 0.0
        self._stopping = False
        self.drained: Final = trio.Event()  # set once it was stopped and everything sent is final

    def stop(self) -> None:
        """Submit nothing more; `run` returns once everything sent is acknowledged or refused."""
        self._stopping = True

    @property
    def outstanding(self) -> int:
        """Transactions sent and not yet acknowledged."""
        return len(self._pending)

    async def run(self) -> None:
        """Submit until stopped, then drain. Cancel it to give up on what is outstanding."""
        while not self._stopping or self._pending:
            if not self._stopping and len(self._pending) < self._window:
                await self._submit(list(islice(self._source, self._batch)))
            else:
                await trio.sleep(max(0.0, self._asked + POLL_S - trio.current_time()))
            if trio.current_time() >= self._asked + POLL_S:
                await self._acknowledge()
                self._asked = trio.current_time()
        self.drained.set()

    async def _submit(self, batch: list[bytes]) -> None:
        if not batch:
            self._stopping = True
            return
        now = time.monotonic_ns()
        for raw in batch:
            self._pending[transaction_hash(raw)] = (raw, now)
        self.report.submitted += len(batch)
        await self._send(batch)
        if self._pause_s:
            await trio.sleep(self._pause_s)

    async def _send(self, batch: Sequence[bytes]) -> None:
        """Hand a batch to the next node that answers; what it can not take yet is offered again later."""
        waiting = deque([list(batch)])
        attempts = 0
        while waiting and attempts < 2 * len(self._clients):
            client = self._clients[self._turn % len(self._clients)]
            self._turn += 1
            attempts += 1
            raws = waiting.popleft()
            try:
                answers = await client.submit(raws)
            except (RpcError, RpcUnreachable):
                waiting.append(raws)  # that node is down or restarting: the next one may take it
                await trio.sleep(RETRY_S)
                continue
            refused = [raw for raw, answer in zip(raws, answers, strict=True) if not answer.accepted]
            self._note_refusals(answers)
            if refused and attempts < len(self._clients):
                waiting.append(refused)

    def _note_refusals(self, answers: Sequence[SubmitResult]) -> None:
        for answer in answers:
            if answer.accepted:
                self.report.refused.pop(answer.hash, None)
            else:
                self.report.refused[answer.hash] = answer.error

    async def _acknowledge(self) -> None:
        if not self._pending:
            return
        hashes = list(islice(self._pending, RECEIPTS_PER_REQUEST))
        client = self._clients[self._turn % len(self._clients)]
        self._turn += 1
        try:
            reports = await client.receipts(hashes)
        except (RpcError, RpcUnreachable):
            await trio.sleep(RETRY_S)
            return
        now = time.monotonic_ns()
        stale = []
        for report in reports:
            raw, submitted_ns = self._pending[report.hash]
            if report.stage.rank >= Stage.FINAL.rank and report.height is not None:
                del self._pending[report.hash]
                self.report.acknowledged[report.hash] = report.height
                self.report.latency_ns.append(now - submitted_ns)
                self.report.refused.pop(report.hash, None)
            elif report.stage is Stage.UNKNOWN and now - submitted_ns > RESEND_AFTER_NS:
                stale.append(raw)
        if stale:
            await self._send(stale)  # the node that held it died with its mempool: resend the same bytes
