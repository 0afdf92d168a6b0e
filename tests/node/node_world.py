"""Four nodes' cores in one trio loop: drivers, engines, executors, journals and stores are real; the links
between them are a loop that encodes and decodes every message, and the guests are scripted."""

import sys
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay"))

from relay_fakes import USERS, VALIDATORS, ScriptedGuests, make_genesis

from consensus.agreement.config import Restored, TimerSettings
from consensus.agreement.epochs import Agreement, EpochSetup
from consensus.agreement.events import Peer, PeerUp, Persisted, Received, ServeChain, Start
from consensus.agreement.journal_records import SignedRecord, decode_record
from consensus.agreement.messages import (
    Kind,
    Message,
    Proposal,
    Vote,
    block_hash,
    decode_message,
    encode_message,
)
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.validators import ValidatorSet
from consensus.primitives import crypto
from consensus.primitives.ids import ZERO_HASH, Amount, Hash, Nonce, ValidatorIndex
from consensus.relay.blocks import limits_of
from consensus.relay.genesis import Genesis, genesis_state
from consensus.relay.transactions import (
    Action,
    TransactionBody,
    Transfer,
    check_transaction,
    sign_transaction,
    transaction_hash,
)
from node.builder import PayloadBuilder
from node.driver import Driver
from node.executor import Executor
from node.final_chain import FinalChain, FinalNotice
from node.journal import Journal, create_journal, open_journal
from node.mempool import Mempool
from node.opening import agreement_parameters, epoch_start, start
from node.store import Store
from node.trace import TraceRing
from node.validator_set import FIRST_EPOCH, genesis_validators

IDLE_MS = 30
TIMERS = TimerSettings(start_us=300_000)
Signed = tuple[int, int, Hash, Hash]  # kind, view, block, aux


class SpyJournal:
    """A real journal that remembers which signatures are durable."""

    def __init__(self, journal: Journal, durable: set[Signed]) -> None:
        self.inner = journal
        self.durable = durable

    @property
    def commits(self) -> int:
        return self.inner.commits

    @property
    def size_bytes(self) -> int:
        return self.inner.size_bytes

    async def commit(self, records: Sequence[bytes]) -> None:
        await self.inner.commit(records)
        self.note(records)

    async def rewrite(self, records: Sequence[bytes]) -> None:
        await self.inner.rewrite(records)

    def note(self, records: Sequence[bytes]) -> None:
        for raw in records:
            record = decode_record(raw)
            if isinstance(record, SignedRecord):
                self.durable.add((record.kind, record.view, record.block, record.aux))


class Links:
    """One node's way out. It asserts that what leaves under the own key was durable before."""

    def __init__(self, world: "World", index: int, durable: set[Signed]) -> None:
        self.world, self.index, self.durable = world, index, durable
        self.checked = 0

    def send(self, peer: Peer, message: Message) -> None:
        self._check(message)
        self.world.deliver(self.index, int(peer), encode_message(message))

    def broadcast(self, *messages: Message) -> None:
        for message in messages:
            self._check(message)
            frame = encode_message(message)
            for other in range(len(VALIDATORS)):
                if other != self.index:
                    self.world.deliver(self.index, other, frame)

    def serve_chain(self, request: ServeChain) -> None:
        node = self.world.nodes[self.index]
        assert node is not None
        self.send(request.peer, node.store.chain(request.first, request.last))

    def misbehaved(self, peer: Peer, reason: str) -> None:
        self.world.blamed.append((self.index, int(peer), reason))

    def _check(self, message: Message) -> None:
        vote = message if isinstance(message, Vote) else None
        if isinstance(message, Proposal):
            header, vote = message.header, message.vote
            if header.proposer == self.index:
                self._assert_durable((int(Kind.PROPOSE), header.view, block_hash(header), ZERO_HASH))
        if vote is not None and vote.signer == self.index:
            self._assert_durable((vote.kind, vote.view, vote.block, vote.aux))

    def _assert_durable(self, signed: Signed) -> None:
        assert signed in self.durable, f"node {self.index} let {signed} out before it was durable"
        self.checked += 1


@dataclass
class RecordingLog:
    """Takes what a node logs."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **fields: self.events.append((event, fields))

    def count(self, event: str) -> int:
        return sum(name == event for name, _ in self.events)


class Core:
    """One node without its network, on its directory; made again after each kill."""

    def __init__(self, world: "World", index: int) -> None:
        self.world, self.index = world, index
        directory = world.path / f"node-{index}"
        directory.mkdir(exist_ok=True)
        if not (directory / "journal").exists():
            create_journal(directory / "journal")
        genesis, genesis_hash, validators = world.genesis, world.hash, world.validators
        self.store = Store(directory / "store", sync=False)
        root, nodes = genesis_state(genesis)
        self.store.initialise(genesis_hash, root, nodes)
        journal, replay = open_journal(directory / "journal", sync=False)
        durable: set[Signed] = set()
        self.journal = SpyJournal(journal, durable)
        self.journal.note(replay.records)
        self.log = RecordingLog()
        self.links = Links(world, index, durable)
        first = start(genesis, genesis_hash, self.store)
        self.first_height = first.header.height
        limits = limits_of(genesis.parameters, genesis_hash)
        self.mempool = Mempool(genesis_hash, genesis.parameters)
        self.executor = Executor(
            chain_id_hash=genesis_hash,
            limits=limits,
            epoch=FIRST_EPOCH,
            epoch_blocks=genesis.parameters.epoch_blocks,
            validators=validators,
            store=self.store,
            guests=ScriptedGuests(),
            known=self.mempool.cache.get,
            remember=self.mempool.cache.add,
            start=first,
        )
        self.final_chain = FinalChain(self.executor, self.store)
        self.final_chain.listeners.append(self._final)
        agreement = Agreement(
            EpochSetup(
                epoch=FIRST_EPOCH,
                validators=validators,
                members=tuple(map(Peer, range(len(validators)))),
                gate=SigningGate(
                    index=ValidatorIndex(index),
                    chain_id_hash=genesis_hash,
                    epoch=FIRST_EPOCH,
                    sign=VALIDATORS[index].sign,
                ),
                start=epoch_start(genesis, genesis_hash, self.store, first.header),
            ),
            Restored(
                final=first.header,
                proof=self.store.proof(first.header.height) if first.header.height else None,
                records=tuple(map(decode_record, replay.records)),
            ),
            chain_id_hash=genesis_hash,
            verify=crypto.verify,
            parameters=agreement_parameters(genesis),
            timers=TIMERS,
        )
        self.when_certified: Callable[[Hash], None] = lambda block: None
        self.driver = Driver(
            agreement=agreement,
            journal=self.journal,  # type: ignore[arg-type]
            links=self.links,
            executor=self.executor,
            final_chain=self.final_chain,
            trace=TraceRing(),
            on_certified=self._certified,
            on_statement=lambda answer: None,
            on_evidence=lambda evidence: None,
            on_ending=lambda ending: None,
            on_epoch=lambda setup: None,
            log=self.log,  # type: ignore[arg-type]
        )
        self.driver.builder = PayloadBuilder(
            executor=self.executor,
            mempool=self.mempool,
            limits=limits,
            idle_interval_us=IDLE_MS * 1_000,
            includable=lambda view, limit: (),
            evidence=tuple,
            answer=self.driver.post,
        )
        self.scope = trio.CancelScope()
        self.gone = trio.Event()
        self.to_read, self.frames = trio.open_memory_channel[tuple[int, bytes]](10_000)

    async def run(self) -> None:
        """Until killed: nothing is flushed then."""
        try:
            with self.scope:
                self.driver.post(Start(Hash(bytes(32))))
                for other in self.world.nodes:
                    if other is not None and other is not self:
                        self.driver.post(PeerUp(Peer(other.index)))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.executor.run)
                    nursery.start_soon(
                        self.final_chain.run, lambda height: self.driver.post(Persisted(height))
                    )
                    nursery.start_soon(self.driver.run)
                    nursery.start_soon(self._read)
        finally:
            self.journal.inner.close()
            self.store.close()
            self.gone.set()

    async def _read(self) -> None:
        async for sender, frame in self.frames:
            await self.driver.offer(Received(Peer(sender), decode_message(frame)), len(frame))

    def _certified(self, block: Hash) -> None:
        self.when_certified(block)

    def _final(self, notice: FinalNotice) -> None:
        self.mempool.advance(notice.checked.transactions, notice.view.account)

    def submit(self, raws: Sequence[bytes]) -> None:
        for raw in raws:
            self.mempool.admit(check_transaction(raw, self.world.hash), self.final_chain.view.account)
        self.driver.poke()

    @property
    def height(self) -> int:
        return self.final_chain.executed_height

    def hash_at(self, height: int) -> Hash:
        block = self.final_chain.block(height)
        assert block is not None
        return block_hash(block.header)


class World:
    """The four; `nodes[index]` is None while that one is down."""

    def __init__(self, path: Path, *, alive: Sequence[int] = (0, 1, 2, 3)) -> None:
        self.path = path
        self.genesis: Genesis = make_genesis(idle_interval_ms=IDLE_MS)
        self.hash = self.genesis.hash
        self.validators: ValidatorSet = genesis_validators(self.genesis)
        self.nodes: list[Core | None] = [None] * len(VALIDATORS)
        self.alive = alive
        self.blamed: list[tuple[int, int, str]] = []
        self.nonces = [0] * len(USERS)
        self._nursery: trio.Nursery

    @asynccontextmanager
    async def running(self, seconds: float = 30.0):
        """Every node of `alive`, until the block ends. A node that fails fails the test."""
        with trio.fail_after(seconds):
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for index in self.alive:
                    self.begin(index)
                yield self
                nursery.cancel_scope.cancel()

    def begin(self, index: int) -> Core:
        """Start a node from what its directory holds."""
        node = self.nodes[index] = Core(self, index)
        self._nursery.start_soon(node.run)
        for other in self.nodes:
            if other is not None and other is not node:
                other.driver.post(PeerUp(Peer(index)))
        return node

    async def kill(self, index: int) -> None:
        """Stop a node in the middle of what it does."""
        node = self.node(index)
        self.nodes[index] = None
        node.scope.cancel()
        await node.gone.wait()

    def node(self, index: int) -> Core:
        node = self.nodes[index]
        assert node is not None
        return node

    def deliver(self, sender: int, receiver: int, frame: bytes) -> None:
        node = self.nodes[receiver]
        if node is not None and self.nodes[sender] is not None:
            with suppress(trio.WouldBlock):
                node.to_read.send_nowait((sender, frame))

    async def reach(self, height: int, *indices: int) -> None:
        """Wait until these nodes, or all that are up, have executed a final block of that height."""
        for index, node in enumerate(self.nodes):
            if node is not None and (not indices or index in indices):
                while node.height < height:  # noqa: ASYNC110  the driver brings it about
                    await trio.sleep(0.005)

    async def final(self, raws: Sequence[bytes], *indices: int) -> None:
        """Wait until these nodes, or all that are up, have every transaction in a final block."""
        names = [transaction_hash(raw) for raw in raws]
        for index, node in enumerate(self.nodes):
            if node is not None and (not indices or index in indices):
                while any(node.final_chain.place(name) is None for name in names):  # noqa: ASYNC110
                    await trio.sleep(0.005)

    def transfers(self, count: int, user: int = 0) -> list[bytes]:
        """Signed transfers of one user under its next nonces."""
        return [
            self.raw(user, Transfer(to=USERS[(user + 1) % len(USERS)].public, amount=Amount(1)))
            for _ in range(count)
        ]

    def raw(self, user: int, action: Action) -> bytes:
        nonce = self.nonces[user]
        self.nonces[user] += 1
        body = TransactionBody(
            chain_id_hash=self.hash,
            sender=USERS[user].public,
            nonce=Nonce(nonce),
            max_fee=Amount(10**6),
            action=action,
        )
        return sign_transaction(USERS[user], body)

    def check_agreement(self) -> int:
        """Assert that all nodes have one chain and one state; the height up to which that was compared."""
        nodes = [node for node in self.nodes if node is not None]
        common = min(node.height for node in nodes)
        for height in range(1, common + 1):
            assert len({node.hash_at(height) for node in nodes}) == 1, f"fork at height {height}"
            assert len({node.final_chain.block(height).post_root for node in nodes}) == 1  # type: ignore[union-attr]
        return common
