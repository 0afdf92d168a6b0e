"""A node that answers from a dictionary, and a real RPC server in front of it."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import trio

from consensus.primitives.crypto import hash_tagged
from consensus.primitives.errors import LocalFault, UserError
from node.api import (
    AccountReport,
    BlockTrace,
    EvidenceReport,
    NodeStatus,
    PeerStatus,
    Role,
    Stage,
    SubmitResult,
    TracePage,
    TransactionReport,
    ValidatorReport,
)
from node.config import Address, RpcConfig
from node.rpc.server import RpcServer


def status_of(**changed):
    values = {
        "network": "test", "genesis_hash": bytes(32), "version": "0", "role": Role.VALIDATOR, "name": "alice",
        "validator_index": 0, "epoch": 1, "view": 12, "final_height": 10, "final_hash": b"\x01" * 32,
        "notarised_height": 11, "executed_height": 10, "persisted_height": 9, "syncing": False,
        "amnesic": False, "validators": 4, "mempool": 3, "uptime_s": 1.5,
        "peers": (PeerStatus(identity=b"\x02" * 32, name="bob", connected=True, rtt_ms=0.5),),
    }  # fmt: skip
    return NodeStatus(**(values | changed))


def trace_of(height):
    return BlockTrace(
        height=height, epoch=1, view=height, hash=b"\x03" * 32, proposer=0, proposed_ns=None,
        received_ns=1_000_000, notarised_ns=2_000_000, finalized_ns=4_000_000, one_round=True,
        transactions=2, candidates=1, enclave_calls=1, messages=0, time_ms=5,
    )  # fmt: skip


def evidence_of(signer, height):
    return EvidenceReport(
        epoch=2, view=5, signer=signer, offence="double_finalize", evidence=bytes([signer]), height=height
    )


class FakeNode:
    """The parts of NodeApi that the tests ask for. `stages` moves by hand; waiters wake by event."""

    def __init__(self, *, feed_bound=16):
        self.status_report = status_of()
        self.submitted = []
        self.stages = {}
        self._changed = trio.Event()
        self._feeds = []
        self._feed_bound = feed_bound

    def status(self):
        return self.status_report

    def statistics(self):
        return {"journal_sync_seconds": 0.0002, "journal_commits_total": 7}

    async def submit(self, transactions):
        self.submitted.extend(transactions)
        results = []
        for raw in transactions:
            name = hash_tagged(b"test", raw)
            self.stages.setdefault(name, Stage.ACCEPTED)
            refused = raw.startswith(b"bad")
            results.append(
                SubmitResult(hash=name, accepted=not refused, error="bad signature" if refused else "")
            )
        return results

    def reach(self, name, stage):
        self.stages[name] = stage
        self._changed.set()
        self._changed = trio.Event()

    async def receipt(self, tx_hash, *, wait, timeout_s):
        with trio.move_on_after(timeout_s):
            while wait is not None and self.stages.get(tx_hash, Stage.UNKNOWN).rank < wait.rank:
                await self._changed.wait()
        return self.receipts([tx_hash])[0]

    def receipts(self, hashes):
        return [TransactionReport(hash=name, stage=self.stages.get(name, Stage.UNKNOWN)) for name in hashes]

    def account(self, account):
        if account == b"\xff" * 32:
            raise RuntimeError("a bug")
        if account == b"\xfe" * 32:
            raise LocalFault("the disk is full")
        if account == b"\xfd" * 32:
            raise UserError("no state yet: the node is syncing; wait")
        return AccountReport(account=account, balance=1 << 100, nonce=7, pending_nonce=9, height=10)

    def validators(self, epoch=None):
        if epoch == 99:
            raise UserError("this node knows no validators of epoch 99: it is not decided yet")
        return [
            ValidatorReport(
                index=0,
                name=f"of {epoch}",
                account=b"\x03" * 32,
                consensus_key=b"\x01" * 32,
                identity_key=b"\x02" * 32,
                stake=7,
            )
        ]

    def evidence(self):
        return [evidence_of(3, None), evidence_of(4, 17)]

    def submit_evidence(self, evidence):
        if evidence == b"nothing":
            raise UserError("this is no evidence (not msgpack): give the bytes that `evidence` shows")
        return evidence_of(evidence[0], None)

    def trace(self, after, limit):
        blocks = tuple(trace_of(height) for height in range(after + 1, after + 1 + limit))
        return TracePage(next=after + limit, blocks=blocks)

    def publish(self, block):
        for feed in list(self._feeds):
            try:
                feed.send_nowait(block)
            except trio.WouldBlock:
                feed.close()
                self._feeds.remove(feed)

    @property
    def subscribers(self):
        return len(self._feeds)

    @asynccontextmanager
    async def finality(self):
        send, receive = trio.open_memory_channel(self._feed_bound)
        self._feeds.append(send)
        try:
            async with receive:
                yield receive
        finally:
            if send in self._feeds:
                self._feeds.remove(send)


@asynccontextmanager
async def serving(node, **settings) -> AsyncIterator[str]:
    log = structlog.wrap_logger(structlog.PrintLogger(sys.__stderr__))  # stdout is a command's, in some tests
    server = RpcServer.bind(RpcConfig(listen=Address("127.0.0.1", 0), **settings), log)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, node)
        yield server.url
        nursery.cancel_scope.cancel()
