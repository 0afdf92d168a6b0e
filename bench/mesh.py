"""The real engines of many validators on given delays: virtual time, no loss, no CPU, no disk.

What `consensus.simulation.world` leaves out of its faulty networks is measured here: how long a block takes
and how many messages and bytes it costs. A run is a function of its arguments alone. Executing a block
and making it durable take no time; every message arrives after exactly the delay of its link.
"""

import heapq
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from bench.regions import Matrix
from consensus.agreement.config import WAN, EngineConfig, Parameters, Restored
from consensus.agreement.engine import Engine
from consensus.agreement.events import (
    BlockValidated,
    Broadcast,
    BuildPayload,
    Effect,
    Event,
    Finalized,
    Instant,
    PayloadBuilt,
    Peer,
    PeerUp,
    Persisted,
    Received,
    RoundTrip,
    Send,
    ServeChain,
    Start,
    Tick,
    ValidateBlock,
)
from consensus.agreement.messages import (
    Certificate,
    Kind,
    Message,
    Proposal,
    Vote,
    block_hash,
    encode_message,
    genesis_header,
)
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import Validator, ValidatorSet
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import (
    Epoch,
    Hash,
    Milliseconds,
    PublicKey,
    Signature,
    Stake,
    ValidatorIndex,
)
from consensus.simulation.signatures import SignatureOracle

EPOCH: Final = Epoch(1)
WALL_CLOCK_MS: Final = 1_700_000_000_000  # at virtual time 0
NO_STATE: Final = hash_tagged(b"PHALANX/mesh/state")


@dataclass(slots=True)
class Traffic:
    """What left the validators, by kind of message: how many, and their encoded bytes before encryption."""

    messages: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class MeshResult:
    """Of one run: microseconds from proposal to finality, one for each (final block, live validator)."""

    one_round_us: list[int] = field(default_factory=list)  # final by FastFinal of the block itself
    two_rounds_us: list[int] = field(default_factory=list)
    blocks: int = 0  # final at every live validator, after the warm-up
    views: int = 0
    signatures_received: int = 0  # in the messages that arrived
    signatures_checked: int = 0  # of these, those that were not in a checker's memory or moot
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def all_us(self) -> list[int]:
        """Every latency, whichever way the block became final."""
        return self.one_round_us + self.two_rounds_us


class Mesh:
    """A full mesh of honest validators with one unit of stake each; `dead` ones never start."""

    def __init__(
        self,
        delays: Matrix,
        *,
        mode: Mode = Mode.STRICT,
        dead: Collection[int] = (),
        payload_bytes: int = 0,
    ) -> None:
        count = len(delays)
        self.live: Final = tuple(each for each in range(count) if each not in dead)
        self.result: Final = MeshResult()
        self._delays = delays
        self._payload = bytes(payload_bytes)
        oracle = self._oracle = SignatureOracle()
        chain = hash_tagged(b"TALLY/genesis/1", b"mesh")
        keys = [PublicKey(hash_tagged(b"PHALANX/mesh/key", b"%d" % index)) for index in range(count)]
        validators = ValidatorSet(
            [Validator(key=key, stake=Stake(1)) for key in keys], chain_id_hash=chain, epoch=EPOCH, mode=mode
        )
        genesis = genesis_header(
            chain_id_hash=chain,
            epoch=EPOCH,
            time_ms=Milliseconds(WALL_CLOCK_MS - 1_000),
            validators_hash=validators.validators_hash,
        )
        config = EngineConfig(
            chain_id_hash=chain,
            epoch=EPOCH,
            validators=validators,
            verify=self._verify,
            parameters=Parameters(idle_interval_ms=0),
            timers=WAN,
        )
        self._engines = {
            index: Engine(
                config,
                SigningGate(
                    index=ValidatorIndex(index),
                    chain_id_hash=chain,
                    epoch=EPOCH,
                    sign=oracle.signer(keys[index]),
                ),
                Restored(final=genesis, proof=None, records=()),
            )
            for index in self.live
        }
        self._now_us = 0
        self._sequence = 0
        self._queue: list[tuple[int, int, int, Event]] = []
        self._wake_us: dict[int, int] = {}
        self._proposed_us: dict[Hash, int] = {}
        self._heights: dict[int, int] = dict.fromkeys(self.live, 0)
        self._counted_from = 0

    def run(self, *, warm_up: int, blocks: int) -> MeshResult:
        """Until `warm_up + blocks` blocks are final everywhere; the first `warm_up` are not counted.

        Raises RuntimeError if the network stops before that: it has no faults beyond its dead.
        """
        self._counted_from = warm_up
        for index in self.live:
            self._handle(index, Start(hash_tagged(b"PHALANX/mesh/nonce", b"%d" % index)))
        for index in self.live:
            for peer in self.live:
                if peer != index:
                    self._handle(index, PeerUp(Peer(peer)))
                    rtt_us = self._delays[index][peer] + self._delays[peer][index]
                    self._handle(index, RoundTrip(Peer(peer), rtt_us))
        last = warm_up + blocks
        began_view: int | None = None
        while min(self._heights.values()) < last:
            if not self._queue:
                raise RuntimeError("the network has come to rest before all blocks were final")
            at_us, _, index, event = heapq.heappop(self._queue)
            self._now_us = at_us
            if isinstance(event, Tick):
                if self._wake_us.get(index) != at_us:
                    continue  # replaced by an earlier one
                del self._wake_us[index]
            self._handle(index, event)
            if began_view is None and self._counting:
                began_view = self._engines[self.live[0]].cur_view
        self.result.blocks = blocks
        self.result.views = self._engines[self.live[0]].cur_view - (began_view or 0)
        return self.result

    @property
    def _counting(self) -> bool:
        return self._heights[self.live[0]] >= self._counted_from

    def _handle(self, index: int, event: Event) -> None:
        engine = self._engines[index]
        now = Instant(mono_us=self._now_us, unix_ms=WALL_CLOCK_MS + self._now_us // 1_000)
        pending = list(engine.handle(event, now))
        while pending:
            answer = self._carry_out(index, pending.pop(0))
            if answer is not None:
                pending.extend(engine.handle(answer, now))
        due_us = engine.deadline_us
        if due_us is not None and self._wake_us.get(index) != due_us:
            due_us = max(due_us, self._now_us)
            self._wake_us[index] = due_us
            self._push(due_us, index, Tick())

    def _carry_out(self, index: int, effect: Effect) -> Event | None:
        match effect:
            case Broadcast(message):
                if isinstance(message, Proposal):
                    self._proposed_us.setdefault(block_hash(message.header), self._now_us)
                self._send(index, [each for each in range(len(self._delays)) if each != index], message)
            case Send(peer, message):
                self._send(index, [int(peer)], message)
            case BuildPayload():
                return PayloadBuilt(effect.view, effect.parent_hash, self._payload, 0, NO_STATE)
            case ValidateBlock():
                return BlockValidated(effect.block_hash, True)
            case Finalized():
                self._finalized(index, effect)
                return Persisted(effect.header.height)
            case ServeChain():
                raise RuntimeError("nobody falls behind in a network without faults")
            case _:
                pass  # journals and reports take no time here
        return None

    def _finalized(self, index: int, block: Finalized) -> None:
        height = int(block.header.height)
        self._heights[index] = height
        if height > self._counted_from:
            latency_us = self._now_us - self._proposed_us[block.block_hash]
            latencies = self.result.one_round_us if block.one_round else self.result.two_rounds_us
            latencies.append(latency_us)

    def _send(self, source: int, destinations: list[int], message: Message) -> None:
        if self._counting:
            name, size = _kind(message), len(encode_message(message))
            self.result.traffic.messages[name] += len(destinations)
            self.result.traffic.bytes[name] += size * len(destinations)
        received = Received(Peer(source), message)
        carried = _signatures(message) if self._counting else 0
        for each in destinations:
            if each in self._engines:
                self.result.signatures_received += carried
                self._push(self._now_us + self._delays[source][each], each, received)

    def _verify(self, key: PublicKey, message: bytes, signature: Signature) -> bool:
        self.result.signatures_checked += self._counting
        return self._oracle.verify(key, message, signature)

    def _push(self, at_us: int, index: int, event: Event) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (at_us, self._sequence, index, event))


def _signatures(message: Message) -> int:
    """How many signatures a receiver would check that remembers nothing; none of faults and fallbacks."""
    if isinstance(message, Vote):
        return 1 + (message.leader_sig is not None)
    if isinstance(message, Certificate):
        return sum(len(group.sigs) for group in message.groups) + len(message.leader_sigs)
    if isinstance(message, Proposal):
        attached = (*message.support, *((message.vote,) if message.vote is not None else ()))
        return 1 + sum(_signatures(each) for each in attached)
    return 0


def _kind(message: Message) -> str:
    if isinstance(message, Vote):
        return Kind(message.kind).name.lower()
    return type(message).__name__.lower()
