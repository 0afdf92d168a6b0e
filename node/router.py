"""Between the transport's bytes and the node's messages: lanes, peer numbers, batches of transactions.

Every identity gets a number when it is first heard of and keeps it while the process lives, whatever set it
is in; a number is never given to another. Those of strangers who are gone are forgotten. A frame that does
not decode convicts its sender, because links are authenticated. Transactions travel in batches, so that a
thousand of them are a few frames; a batch is flooded as one item.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Protocol

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from consensus.agreement.events import Event, Peer, PeerDown, PeerUp, Received, RoundTrip, ServeChain
from consensus.agreement.evidence import Evidence
from consensus.agreement.messages import (
    Certificate,
    Chain,
    Message,
    Proposal,
    decode_message,
    encode_message,
)
from consensus.candidates.receipts import CandidateMessage, decode_candidate_message, encode_candidate_message
from consensus.primitives.codec import MaxLength, decode, encode
from consensus.primitives.errors import DecodeError, PeerFault
from consensus.relay.transactions import MAX_TRANSACTION_BYTES
from net.gossip import Flood
from net.identity import PeerId
from net.lanes import Lane
from net.transport import Transport
from node.evidence_pool import KeptEvidence
from node.state_sync.messages import Request, encode_sync_message

SMALL_PROPOSAL_BYTES: Final = 32 * 1024  # with a larger body, a proposal takes the lane of bodies
LARGE_PROPOSAL_BYTES: Final = 1024 * 1024  # so does one with so much support: many views failed before it
BATCH_BYTES: Final = 256 * 1024
BATCH_TRANSACTIONS: Final = 512
MAX_BATCH_TRANSACTIONS: Final = 4_096
MAX_BATCH_BYTES: Final = 2 * MAX_TRANSACTION_BYTES
INTAKE_BATCHES: Final = 64  # batches of transactions waiting to be checked; beyond, they are dropped
INTAKE_PER_PEER: Final = 16  # of these from one peer, which must not keep the others' out
SERVE_REQUESTS: Final = 128  # peers catching up at once, one request of each; beyond, they ask again


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionBatch:
    """Signed relay transactions on their way to every mempool."""

    WIRE_TAG: ClassVar[int] = 1
    transactions: Annotated[
        tuple[Annotated[bytes, MaxLength(MAX_TRANSACTION_BYTES)], ...], MaxLength(MAX_BATCH_TRANSACTIONS)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceNotice:
    """Evidence on its way to every leader; shares the lane with transactions."""

    WIRE_TAG: ClassVar[int] = 2
    evidence: Evidence


Gossip = TransactionBatch | EvidenceNotice
_Settled = tuple[int, int, int, bytes]  # epoch, view, type, block of a certificate


class Inbox(Protocol):
    """The driver, as the router sees it."""

    def post(self, event: Event) -> None:
        """An input that is never refused."""
        ...

    async def offer(self, event: Received, size: int) -> None:
        """An input from a peer, in a frame of `size` bytes; may wait."""
        ...


CandidateReceiver = Callable[[Peer, CandidateMessage], None]


class EvidenceReceiver(Protocol):
    """The pool of evidence, as the router sees it."""

    def receive(self, evidence: Evidence, sender: PeerId) -> bool:
        """Judge it; whether to pass it on. Raises PeerFault."""
        ...

    def all(self) -> Sequence[KeptEvidence]:
        """What a peer that connects is handed."""
        ...


class SyncReceiver(Protocol):
    """State sync, as the router sees it; it knows peers by identity, before and after agreement runs."""

    def receive(self, peer: PeerId, frame: bytes) -> None:
        """A frame of lane BULK. Raises DecodeError."""
        ...

    def peer_up(self, peer: PeerId) -> None:
        """A session stands."""
        ...

    def peer_down(self, peer: PeerId) -> None:
        """A session is gone."""
        ...


class Router:
    """Implements the transport's callbacks and the driver's `Links`. Built before both; `bind` joins them."""

    def __init__(
        self,
        *,
        candidates: CandidateReceiver | None,
        evidence: EvidenceReceiver,
        serve: Callable[[int, int], Chain],
        log: FilteringBoundLogger | None = None,
    ) -> None:
        """`serve(first, last)` reads final blocks, in a thread."""
        self.dropped_batches = 0
        self.candidate_peer_up: Callable[[Peer], None] = lambda peer: None
        self.sync: SyncReceiver | None = None  # set before the transport runs
        self._numbers: dict[PeerId, Peer] = {}
        self._identities: dict[Peer, PeerId] = {}
        self._shown: dict[PeerId, frozenset[_Settled]] = {}  # the newest certificates that a peer has sent
        self._next_number = 0
        self._candidates = candidates
        self._evidence = evidence
        self._serve = serve
        self._log: FilteringBoundLogger = log if log is not None else structlog.get_logger("node")
        self._transport: Transport | None = None
        self._inbox: Inbox | None = None
        self._flood: Flood | None = None
        self._to_check, self._unchecked = trio.open_memory_channel[tuple[PeerId, TransactionBatch]](
            INTAKE_BATCHES
        )
        self._intake: Counter[PeerId] = Counter()  # batches of each that wait there
        self._unserved: OrderedDict[Peer, ServeChain] = OrderedDict()  # in turn
        self._asked = trio.Event()

    def bind(self, transport: Transport, inbox: Inbox) -> None:
        """Join the two sides; before either runs."""
        self._transport = transport
        self._inbox = inbox
        self._flood = Flood(send=transport.send, connected=transport.connected, lane=Lane.TRANSACTIONS)

    # --- what the transport calls

    async def receive(self, sender: PeerId, lane: Lane, frame: bytes) -> None:
        """One frame of a peer."""
        try:
            if lane in (Lane.CONSENSUS, Lane.BLOCKS):
                message = decode_message(frame)
                certificates = _certificates_in(message)
                if certificates:
                    self._shown[sender] = frozenset(map(_settled, certificates))
                await self._bound_inbox.offer(Received(self.number(sender), message), len(frame))
            elif lane is Lane.CANDIDATES:
                if self._candidates is not None:
                    self._candidates(self.number(sender), decode_candidate_message(frame))
            elif lane is Lane.BULK:
                if self.sync is not None:
                    self.sync.receive(sender, frame)
            elif lane is Lane.TRANSACTIONS:
                self._receive_gossip(sender, frame)
        except (DecodeError, PeerFault) as error:
            self._bound_transport.ban(sender, str(error))

    def _receive_gossip(self, sender: PeerId, frame: bytes) -> None:
        if self._flood is None or not self._flood.first_seen(sender, frame):
            return
        item: Gossip = decode(Gossip, frame, limit=MAX_BATCH_BYTES)  # type: ignore[arg-type]  # a union
        if isinstance(item, EvidenceNotice):
            if self._evidence.receive(item.evidence, sender):
                self._flood.forward(frame)
            return
        if self._intake[sender] >= INTAKE_PER_PEER or self._intake.total() >= INTAKE_BATCHES:
            self.dropped_batches += 1
            return
        self._intake[sender] += 1
        self._to_check.send_nowait((sender, item))

    def peer_up(self, peer: PeerId) -> None:
        """A session stands."""
        number = self.number(peer)
        self._bound_inbox.post(PeerUp(number))
        self.candidate_peer_up(number)
        if self.sync is not None:
            self.sync.peer_up(peer)
        for each in self._evidence.all():  # few, mostly none: it may have been away when they were flooded
            frame = encode(EvidenceNotice(evidence=each.evidence))
            self._bound_transport.send(peer, Lane.TRANSACTIONS, frame)

    def peer_down(self, peer: PeerId, reason: str) -> None:
        """A session is gone."""
        self._shown.pop(peer, None)  # if it died, it may come back without them
        self._bound_inbox.post(PeerDown(self.number(peer)))
        if self.sync is not None:
            self.sync.peer_down(peer)

    def round_trip(self, peer: PeerId, rtt_us: int) -> None:
        """A link was measured."""
        self._bound_inbox.post(RoundTrip(self.number(peer), rtt_us))

    # --- what the driver calls

    def send(self, peer: Peer, message: Message) -> None:
        """To one peer."""
        identity = self._identities.get(peer)
        if identity is not None:
            frame = encode_message(message)
            self._bound_transport.send(identity, _lane_of(message, len(frame)), frame)

    def broadcast(self, *messages: Message) -> None:
        """To everybody who is connected, but no certificate to a peer that has it.

        A peer has what it sent itself since it connected, alone or with a proposal, and what rides with a
        proposal in this very record. An honest one holds that for good and would drop another certificate of
        the same type, view and block, whoever signed it: all that it is forwarded for (CONSENSUS.md section
        12) is done. Who claims one that it lacks keeps it from itself alone.
        """
        frames = [encode_message(each) for each in messages]
        addressed = [
            (_lane_of(each, len(frame)), frame) for each, frame in zip(messages, frames, strict=True)
        ]
        settled = [_settled(each) if isinstance(each, Certificate) else None for each in messages]
        transport = self._bound_transport
        if not any(settled):
            transport.broadcast(*addressed)
            return
        riding = frozenset(
            _settled(certificate)
            for each, (lane, _) in zip(messages, addressed, strict=True)
            if isinstance(each, Proposal) and lane is Lane.CONSENSUS
            for certificate in each.support
        )
        for peer in transport.connected():
            has = riding | self._shown.get(peer, frozenset())
            lacking = [each for each, what in zip(addressed, settled, strict=True) if what not in has]
            if lacking:
                transport.send_together(peer, *lacking)

    def serve_chain(self, request: ServeChain) -> None:
        """Queue an answer from the store; a peer that is not served asks again.

        Of one peer its newest request counts, in the place of the one before: who asks most is not served
        most, and keeps nobody out.
        """
        if request.peer not in self._unserved and len(self._unserved) >= SERVE_REQUESTS:
            self._log.info("chain.not_served", peer=request.peer, first=request.first)
            return
        self._unserved[request.peer] = request
        self._asked.set()

    def misbehaved(self, peer: Peer, reason: str) -> None:
        """Ban a peer."""
        identity = self._identities.get(peer)
        if identity is not None:
            self._bound_transport.ban(identity, reason)

    # --- state sync

    def send_sync(self, peer: PeerId, request: Request) -> None:
        """To one peer; dropped if it is gone."""
        self._bound_transport.send(peer, Lane.BULK, encode_sync_message(request))

    def ban(self, peer: PeerId, reason: str) -> None:
        """Ban a peer by its identity."""
        self._bound_transport.ban(peer, reason)

    # --- candidates

    def send_candidate(self, peer: Peer, message: CandidateMessage) -> bool:
        """To one peer; False if it could not be queued."""
        identity = self._identities.get(peer)
        frame = encode_candidate_message(message)
        return identity is not None and self._bound_transport.send(identity, Lane.CANDIDATES, frame)

    def broadcast_candidate(self, message: CandidateMessage) -> None:
        """To everybody who is connected: validators decide, observers follow."""
        self._bound_transport.broadcast((Lane.CANDIDATES, encode_candidate_message(message)))

    # --- transactions

    def flood(self, transactions: Sequence[bytes]) -> None:
        """Send accepted transactions to every mempool, in batches."""
        if self._flood is None:
            return
        batch: list[bytes] = []
        size = 0
        for raw in transactions:
            if batch and (size + len(raw) > BATCH_BYTES or len(batch) >= BATCH_TRANSACTIONS):
                self._flood.publish(encode(TransactionBatch(transactions=tuple(batch))))
                batch, size = [], 0
            batch.append(raw)
            size += len(raw)
        if batch:
            self._flood.publish(encode(TransactionBatch(transactions=tuple(batch))))

    def flood_evidence(self, evidence: Evidence) -> None:
        """Send evidence to everybody who is not known to have it."""
        if self._flood is not None:
            self._flood.forward(encode(EvidenceNotice(evidence=evidence)))

    async def take_batch(self) -> tuple[bytes, ...]:
        """The next batch of transactions from peers."""
        sender, batch = await self._unchecked.receive()
        self._intake[sender] -= 1
        if not self._intake[sender]:
            del self._intake[sender]
        return batch.transactions

    # --- tasks

    async def run_server(self) -> None:
        """Answer peers that catch up, one after the other, from the store; until cancelled."""
        limiter = trio.CapacityLimiter(1)

        def answer(request: ServeChain) -> tuple[Chain, bytes]:
            chain = self._serve(request.first, request.last)
            return chain, encode_message(chain)

        while True:
            while not self._unserved:
                self._asked = trio.Event()
                await self._asked.wait()
            _, request = self._unserved.popitem(last=False)
            chain, frame = await trio.to_thread.run_sync(answer, request, limiter=limiter)
            identity = self._identities.get(request.peer)
            if identity is not None:
                self._bound_transport.send(identity, _lane_of(chain, len(frame)), frame)

    # --- peers

    def number(self, identity: PeerId) -> Peer:
        """The peer number of an identity; a new one for a new identity."""
        number = self._numbers.get(identity)
        if number is None:
            number = Peer(self._next_number)
            self._next_number += 1
            self._numbers[identity] = number
            self._identities[number] = identity
        return number

    def forget(self, keep: Callable[[PeerId], bool]) -> None:
        """Let go of identities that are neither connected nor to `keep`: over many epochs they add up."""
        connected = set(self._bound_transport.connected())
        for identity in [each for each in self._numbers if each not in connected and not keep(each)]:
            del self._identities[self._numbers.pop(identity)]

    @property
    def identities(self) -> Mapping[Peer, PeerId]:
        """Everybody with a number."""
        return self._identities

    @property
    def _bound_transport(self) -> Transport:
        if self._transport is None:
            raise RuntimeError("the router is not bound to a transport")
        return self._transport

    @property
    def _bound_inbox(self) -> Inbox:
        if self._inbox is None:
            raise RuntimeError("the router is not bound to a driver")
        return self._inbox


def _certificates_in(message: Message) -> tuple[Certificate, ...]:
    """Those that whoever sends this message holds."""
    if isinstance(message, Certificate):
        return (message,)
    return message.support if isinstance(message, Proposal) else ()


def _settled(certificate: Certificate) -> _Settled:
    return certificate.epoch, certificate.view, certificate.ctype, certificate.block


def _lane_of(message: Message, size: int) -> Lane:
    if isinstance(message, Chain):
        return Lane.BLOCKS
    if isinstance(message, Proposal) and size > LARGE_PROPOSAL_BYTES:
        return Lane.BLOCKS
    if isinstance(message, Proposal) and message.payload is not None:
        return Lane.CONSENSUS if len(message.payload) <= SMALL_PROPOSAL_BYTES else Lane.BLOCKS
    return Lane.CONSENSUS
