"""A tiny deterministic network of engines for tests: virtual time, perfect links unless a test cuts them.

Each node has an application that accepts every payload and a journal of encoded records. The order of effects
is asserted: no vote leaves before its record is appended.
"""

import heapq
import itertools
from collections.abc import Callable

from consensus.agreement.config import EngineConfig, Parameters, Restored, TimerSettings
from consensus.agreement.engine import Engine
from consensus.agreement.events import (
    Append,
    BlockValidated,
    Broadcast,
    BuildPayload,
    EvidenceFound,
    Finalized,
    Instant,
    PayloadBuilt,
    Peer,
    PeerDown,
    PeerMisbehaved,
    PeerUp,
    Persisted,
    Received,
    Send,
    ServeChain,
    Start,
    Tick,
    ValidateBlock,
)
from consensus.agreement.journal_records import SignedRecord, decode_record, encode_record
from consensus.agreement.messages import (
    Chain,
    ChainBlock,
    Proposal,
    Vote,
    decode_message,
    encode_message,
    genesis_header,
)
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import Validator, ValidatorSet
from consensus.primitives.crypto import hash_tagged

CHAIN = hash_tagged(b"test/chain", b"agreement")
GENESIS_MS = 1_700_000_000_000


def key_of(index):
    return hash_tagged(b"test/key", index.to_bytes(2, "big"))


def fake_sign(index):
    """A keyed hash stands in for Ed25519: only tests that hold `index` make it."""
    return lambda message: hash_tagged(b"test/sig", key_of(index), message) * 2


def fake_verify(key, message, sig):
    return hash_tagged(b"test/sig", key, message) * 2 == sig


def make_validators(stakes, mode=Mode.STRICT):
    return ValidatorSet(
        [Validator(key=key_of(i), stake=stake) for i, stake in enumerate(stakes)],
        chain_id_hash=CHAIN,
        epoch=1,
        mode=mode,
    )


def make_config(stakes, mode=Mode.STRICT, **parameters):
    return EngineConfig(
        chain_id_hash=CHAIN,
        epoch=1,
        validators=make_validators(stakes, mode),
        verify=fake_verify,
        parameters=Parameters(**parameters),
        timers=TimerSettings(start_us=200_000),
    )


def make_genesis(config):
    return genesis_header(
        chain_id_hash=CHAIN, epoch=1, time_ms=GENESIS_MS, validators_hash=config.validators.validators_hash
    )


class Node:
    """One engine with its application, store and journal."""

    def __init__(self, net, index):
        self.net, self.index = net, index
        self.journal = []
        self.recorded = set()  # signatures in the journal
        self.chain = []  # Finalized effects by height, "in the store"
        self.evidence = []
        self.faults = []
        self.up = False
        self.engine = None

    def boot(self, *, journal=True):
        config = self.net.config
        gate = None
        if self.index < len(config.validators):
            gate = SigningGate(index=self.index, chain_id_hash=CHAIN, epoch=1, sign=fake_sign(self.index))
        stored = self.chain[-1] if self.chain else None
        restored = Restored(
            final=make_genesis(config) if stored is None else stored.header,
            proof=None if stored is None else stored.proof,
            records=tuple(decode_record(each) for each in self.journal) if journal else None,
        )
        if not journal:
            self.journal, self.recorded = [], set()
        self.engine = Engine(config, gate, restored)
        self.up = True
        for other in self.net.nodes:
            if other is not self and other.up:
                self.net.link(self, other)
        nonce = hash_tagged(b"test/nonce", repr((self.index, self.net.now_us)).encode())
        self.give(Start(nonce))

    def give(self, event):
        if self.up:
            self.net.carry(self, self.engine.handle(event, self.net.instant()))

    @property
    def height(self):
        return len(self.chain)


class Net:
    """The virtual network. `drop(source, target, message)` decides what is lost."""

    def __init__(self, stakes, mode=Mode.STRICT, delay_us=1_000, observers=0, **parameters):
        self.config = make_config(stakes, mode, **parameters)
        self.delay_us = delay_us
        self.now_us = 1_000_000
        self.queue = []
        self.order = itertools.count()
        self.drop: Callable = lambda source, target, message: False
        self.persist = True
        self.wire = []  # (source, message)
        self.nodes = [Node(self, i) for i in range(len(stakes) + observers)]

    def instant(self):
        return Instant(self.now_us, GENESIS_MS + self.now_us // 1000)

    def start(self, *indices):
        for index in indices or range(len(self.nodes)):
            self.nodes[index].boot()
        return self

    def link(self, a, b):
        self.later(0, a, PeerUp(Peer(b.index)))
        self.later(0, b, PeerUp(Peer(a.index)))

    def kill(self, index):
        self.nodes[index].up = False
        for other in self.nodes:
            if other.up:
                self.later(self.delay_us, other, PeerDown(Peer(index)))

    def later(self, delay_us, node, event):
        heapq.heappush(self.queue, (self.now_us + delay_us, next(self.order), node.index, node.engine, event))

    def carry(self, node, effects):
        for effect in effects:
            if isinstance(effect, Append):
                node.journal += [encode_record(record) for record in effect.records]
                node.recorded |= {r.sig for r in effect.records if isinstance(r, SignedRecord)}
            elif isinstance(effect, Send):
                self.post(node, self.nodes[effect.peer], effect.message)
            elif isinstance(effect, Broadcast):
                self.check_journaled(node, effect.message)
                for other in self.nodes:
                    if other is not node:
                        self.post(node, other, effect.message)
            else:
                self.local(node, effect)

    def check_journaled(self, node, message):
        vote = message.vote if isinstance(message, Proposal) else message
        if isinstance(vote, Vote) and vote.signer == node.index:
            assert vote.sig in node.recorded, "a vote left before it was durable"

    def local(self, node, effect):
        if isinstance(effect, BuildPayload):
            payload = b"block %d by %d" % (effect.view, node.index)
            root = hash_tagged(b"test/state", effect.parent_hash)
            built = PayloadBuilt(effect.view, effect.parent_hash, payload, 1, root)
            self.later(0, node, built)
        elif isinstance(effect, ValidateBlock):
            root = hash_tagged(b"test/state", effect.header.parent_hash)
            self.later(0, node, BlockValidated(effect.block_hash, effect.header.state_root == root))
        elif isinstance(effect, Finalized):
            assert effect.header.height == len(node.chain) + 1
            node.chain.append(effect)
            if self.persist:
                self.later(0, node, Persisted(effect.header.height))
        elif isinstance(effect, ServeChain):
            blocks = node.chain[effect.first - 1 : effect.last]
            served = tuple(ChainBlock(header=b.header, payload=b.payload) for b in blocks)
            proof = blocks[-1].proof if blocks else None
            chain = Chain(first=effect.first, blocks=served, proof=proof)
            self.post(node, self.nodes[effect.peer], chain)
        elif isinstance(effect, EvidenceFound):
            node.evidence.append(effect.evidence)
        elif isinstance(effect, PeerMisbehaved):
            node.faults.append(effect)

    def post(self, source, target, message):
        self.wire.append((source.index, message))
        if source.up and target.up and not self.drop(source.index, target.index, message):
            self.later(
                self.delay_us, target, Received(Peer(source.index), decode_message(encode_message(message)))
            )

    def run(self, until, limit_us=60_000_000):
        """Advance until `until()` holds; fails after `limit_us` of virtual time."""
        end = self.now_us + limit_us
        while not until():
            due = [(n.engine.deadline_us, n.index) for n in self.nodes if n.up and n.engine.deadline_us]
            tick = min(due, default=(end + 1, -1))
            if self.queue and self.queue[0][0] <= tick[0]:
                self.now_us, _, index, engine, event = heapq.heappop(self.queue)
                node = self.nodes[index]
                if node.engine is engine:
                    node.give(event)
            else:
                self.now_us = max(self.now_us, tick[0])
                if self.now_us > end:
                    raise AssertionError(
                        f"stuck: {[(n.height, n.engine.cur_view) for n in self.nodes if n.engine]}"
                    )
                self.nodes[tick[1]].give(Tick())
        self.check()

    def run_to(self, height, *indices):
        nodes = [self.nodes[i] for i in indices] if indices else [n for n in self.nodes if n.up]
        self.run(lambda: all(n.height >= height for n in nodes))

    def check(self):
        """One chain."""
        longest = max((n.chain for n in self.nodes), key=len)
        for node in self.nodes:
            for mine, other in zip(node.chain, longest, strict=False):
                assert mine.block_hash == other.block_hash, "fork"
