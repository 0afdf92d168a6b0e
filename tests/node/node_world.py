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

from relay_fakes import OPERATORS, USERS, VALIDATORS, ScriptedGuests, make_genesis

from consensus.agreement.config import Restored, TimerSettings
from consensus.agreement.epochs import Agreement
from consensus.agreement.events import Peer, PeerUp, Persisted, Received, ServeChain, Start
from consensus.agreement.evidence import Evidence
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
from consensus.agreement.validators import ValidatorSet
from consensus.primitives import crypto
from consensus.primitives.crypto import SigningKey, hash_tagged
from consensus.primitives.ids import (
    ZERO_HASH,
    Amount,
    Epoch,
    Hash,
    Height,
    Nonce,
    SecretSeed,
    ValidatorIndex,
)
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
from consensus.relay.views import StateView
from net.identity import PeerId
from node.builder import PayloadBuilder
from node.config import NetworkConfig
from node.driver import Driver
from node.epoch_turn import EpochTurn
from node.epochs import Epochs
from node.executor import Executor
from node.final_chain import FinalChain, FinalNotice
from node.journal import Journal, create_journal, open_journal
from node.keys import KeyHeader, NodeKeys, StoredKey
from node.mempool import Mempool
from node.opening import agreement_parameters, epoch_start, start
from node.store import Store
from node.trace import TraceRing
from node.validator_set import genesis_validators

IDLE_MS = 30
OPERATOR = len(USERS)  # of the first validator, as a sender
TIMERS = TimerSettings(start_us=300_000)
Signed = tuple[int, int, int, Hash, Hash]  # epoch, kind, view, block, aux


def stored_key(name: str, purpose: str) -> StoredKey:
    """A keystore file's content without the file."""
    seed = SecretSeed(hash_tagged(b"test-key", name.encode()))
    header = KeyHeader(
        path=Path(name), name=name, purpose=purpose, public=SigningKey(seed).public, encrypted=False
    )
    return StoredKey(header=header, seed=seed)


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
                self.durable.add((record.epoch, record.kind, record.view, record.block, record.aux))


class Links:
    """One node's way out. It asserts that what leaves under the own key was durable before."""

    def __init__(self, world: "World", index: int, durable: set[Signed]) -> None:
        self.world, self.index, self.durable = world, index, durable
        self.places: dict[Epoch, ValidatorIndex | None] = {}  # the node's own, in each epoch
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
        if node is not None:  # else it is being killed
            self.send(request.peer, node.store.chain(request.first, request.last))

    def misbehaved(self, peer: Peer, reason: str) -> None:
        self.world.blamed.append((self.index, int(peer), reason))

    def _check(self, message: Message) -> None:
        vote = message if isinstance(message, Vote) else None
        if isinstance(message, Proposal):
            header, vote = message.header, message.vote
            if header.proposer == self.places.get(header.epoch):
                self._assert_durable(
                    (header.epoch, int(Kind.PROPOSE), header.view, block_hash(header), ZERO_HASH)
                )
        if vote is not None and vote.signer == self.places.get(vote.epoch):
            self._assert_durable((vote.epoch, vote.kind, vote.view, vote.block, vote.aux))

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
        genesis, genesis_hash = world.genesis, world.hash
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
        self.epochs = Epochs(
            network=NetworkConfig(),
            keys=world.keys(index),
            chain_id_hash=genesis_hash,
            start=first.header,
            state=StateView(
                nodes=self.store,
                root=first.post_root,
                height=first.header.height,
                block=first.hash,
                time_ms=first.header.time_ms,
            ),
        )
        term = self.epochs.current
        self.links.places[term.epoch] = term.own
        limits = limits_of(genesis.parameters, genesis_hash)
        self.mempool = Mempool(genesis_hash, genesis.parameters)
        self.executor = Executor(
            chain_id_hash=genesis_hash,
            limits=limits,
            epoch=term.epoch,
            epoch_blocks=genesis.parameters.epoch_blocks,
            validators=term.validators,
            store=self.store,
            guests=ScriptedGuests(),
            known=self.mempool.cache.get,
            remember=self.mempool.cache.add,
            start=first,
        )
        self.final_chain = FinalChain(self.executor, self.store)
        self.final_chain.listeners.append(self._final)
        self.epochs.follow(lambda: self.final_chain.view)
        self.turn = EpochTurn(
            epochs=self.epochs,
            executor=self.executor,
            final_chain=self.final_chain,
            number=world.number,
            post=self._post,
            log=self.log,  # type: ignore[arg-type]
        )
        agreement = Agreement(
            self.epochs.setup(
                term, epoch_start(genesis, genesis_hash, self.store, first.header), world.number
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
            before=self.epochs.validators(Epoch(term.epoch - 1)),
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
            on_evidence=world.evidence.append,
            on_ending=self.turn.ends,
            on_epoch=self.turn.began,
            log=self.log,  # type: ignore[arg-type]
        )
        self.driver.builder = PayloadBuilder(
            executor=self.executor,
            mempool=self.mempool,
            limits=limits,
            idle_interval_us=IDLE_MS * 1_000,
            includable=lambda view, limit: (),
            evidence=lambda: world.accusations,
            statements=tuple,
            votes=self.driver.votes,
            answer=self.driver.post,
        )
        self.turn.listeners.append(lambda term: self.links.places.update({term.epoch: term.own}))
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
                    nursery.start_soon(self.final_chain.run, self._persisted)
                    nursery.start_soon(self.driver.run)
                    nursery.start_soon(self._read)
        finally:
            self.journal.inner.close()
            self.store.close()
            self.gone.set()

    async def _read(self) -> None:
        async for sender, frame in self.frames:
            await self.driver.offer(Received(Peer(sender), decode_message(frame)), len(frame))

    def _post(self, event: Any) -> None:
        self.driver.post(event)

    def _persisted(self, height: Height) -> None:
        self.driver.post(Persisted(height))
        self.turn.persisted()

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

    def __init__(self, path: Path, *, alive: Sequence[int] = (0, 1, 2, 3), **parameters: int) -> None:
        """`parameters` are those of the genesis."""
        self.path = path
        self.genesis: Genesis = make_genesis(idle_interval_ms=IDLE_MS, stake=100, **parameters)
        self.identities = [PeerId(each.identity_key) for each in self.genesis.validators]
        self.fresh_keys: dict[int, list[StoredKey]] = {}  # of a node, beside the key of the genesis
        self.hash = self.genesis.hash
        self.validators: ValidatorSet = genesis_validators(self.genesis)
        self.nodes: list[Core | None] = [None] * len(VALIDATORS)
        self.alive = alive
        self.blamed: list[tuple[int, int, str]] = []
        self.evidence: list[Evidence] = []  # that engines found
        self.accusations: list[Evidence] = []  # that every leader has to include, good or bad
        self.nonces = [0] * len(USERS + OPERATORS)
        self._nursery: trio.Nursery

    def number(self, identity: PeerId) -> Peer:
        """A node's own number of a peer; here everybody's."""
        return Peer(self.identities.index(identity))

    def keys(self, index: int) -> NodeKeys:
        """What a node finds in its keystore."""
        first = stored_key(f"validator {index}", "consensus")
        return NodeKeys(
            identity=stored_key(f"identity {index}", "identity"),
            consensus=(first, *self.fresh_keys.get(index, ())),
        )

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
        node = self.nodes[receiver] if receiver < len(self.nodes) else None
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
        """A signed action of a user; from `OPERATOR` on, of a validator's account."""
        sender = (USERS + OPERATORS)[user]
        nonce = self.nonces[user]
        self.nonces[user] += 1
        body = TransactionBody(
            chain_id_hash=self.hash,
            sender=sender.public,
            nonce=Nonce(nonce),
            max_fee=Amount(10**6),
            action=action,
        )
        return sign_transaction(sender, body)

    def check_agreement(self) -> int:
        """Assert that all nodes have one chain and one state; the height up to which that was compared."""
        nodes = [node for node in self.nodes if node is not None]
        common = min(node.height for node in nodes)
        for height in range(1, common + 1):
            assert len({node.hash_at(height) for node in nodes}) == 1, f"fork at height {height}"
            assert len({node.final_chain.block(height).post_root for node in nodes}) == 1  # type: ignore[union-attr]
        return common
