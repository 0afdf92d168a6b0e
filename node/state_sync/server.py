"""Answers peers that fetch a state: one request at a time, in a thread, in what time is left over.

A peer may have a few requests waiting; what comes beyond is dropped, and asked again. After each answer the
server rests as long as it worked, and while it reads it lets the loop have the interpreter every millisecond:
votes wait for neither. Answers go out on the lowest lane.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from consensus.agreement.messages import FinalityProof
from consensus.light.proofs import EpochHop, Start
from consensus.primitives.codec import encode
from consensus.primitives.ids import Epoch, Hash, Height
from consensus.primitives.tree import MissingNode, make_piece
from net.identity import PeerId
from net.lanes import Lane
from net.transport import Transport
from node.state_sync.messages import (
    HOPS_BYTES,
    MAX_HOPS,
    MAX_OFFERS,
    PIECE_BYTES,
    Answer,
    GetHops,
    GetOffer,
    GetPiece,
    GetSnapshot,
    GetStart,
    HopsFound,
    Offer,
    PieceFound,
    PieceGone,
    Request,
    Snapshot,
    SnapshotProof,
    StartFound,
    encode_sync_message,
)
from node.store import Store

WAITING_PER_PEER: Final = 4
WAITING: Final = 64
QUEUED_BYTES: Final = 4 * 1024 * 1024  # answers that a peer has not taken yet; then it waits
REST_MIN_S: Final = 0.002
YIELD_EVERY_NODES: Final = 256  # some half a millisecond of reading
YIELD_S: Final = 0.0002


class SyncServer:
    """Serves the snapshots of one store. `offer` takes requests in the loop, `run` answers them."""

    def __init__(
        self,
        store: Store,
        *,
        start_of: Callable[[Height], Start | None],
        log: FilteringBoundLogger | None = None,
    ) -> None:
        """`start_of`: the header at a height with the set of its epoch."""
        self.pieces = 0
        self.piece_bytes = 0
        self.dropped = 0
        self._store = store
        self._start_of = start_of
        self._log: FilteringBoundLogger = log if log is not None else structlog.get_logger("node")
        self._transport: Transport | None = None
        self._waiting: deque[tuple[PeerId, Request]] = deque()
        self._of_peer: Counter[PeerId] = Counter()
        self._more = trio.Event()

    def bind(self, transport: Transport) -> None:
        """Where answers go; before `run`."""
        self._transport = transport

    def offer(self, peer: PeerId, request: Request) -> None:
        """Queue a request, unless the peer or everybody together has too many waiting."""
        if self._of_peer[peer] >= WAITING_PER_PEER or len(self._waiting) >= WAITING:
            self.dropped += 1
            return
        self._of_peer[peer] += 1
        self._waiting.append((peer, request))
        self._more.set()

    async def run(self) -> None:
        """Answer for ever. Raises LocalFault if the store is broken."""
        if self._transport is None:
            raise RuntimeError("the server is not bound to a transport")
        limiter = trio.CapacityLimiter(1)
        while True:
            if not self._waiting:
                self._more = trio.Event()
                await self._more.wait()
            peer, request = self._waiting.popleft()
            self._of_peer[peer] -= 1
            if not self._of_peer[peer]:
                del self._of_peer[peer]
            if self._has_room(peer):
                began = time.monotonic()
                frame = await trio.to_thread.run_sync(self._answer, request, limiter=limiter)
                self._transport.send(peer, Lane.BULK, frame)
                await trio.sleep(max(REST_MIN_S, time.monotonic() - began))
            else:
                self.dropped += 1

    def _has_room(self, peer: PeerId) -> bool:
        """Whether the peer has taken enough of what it was sent before."""
        if self._transport is None:
            return False
        return self._transport.queued_bytes(peer, Lane.BULK) < QUEUED_BYTES

    def _answer(self, request: Request) -> bytes:
        return encode_sync_message(self.answer(request))

    def answer(self, request: Request) -> Answer:
        """What this node has to say to a request. Reads the store: for a thread."""
        match request:
            case GetOffer():
                return self._offer()
            case GetSnapshot(height=height):
                return SnapshotProof(height=height, snapshot=self._snapshot(height))
            case GetPiece():
                return self._piece(request)
            case GetHops(epoch=epoch):
                return HopsFound(epoch=epoch, hops=self._hops(epoch))
            case GetStart(height=height):
                return StartFound(height=height, start=self._start_of(height))

    def _offer(self) -> Offer:
        height = self._store.height()
        snapshots = [each for each in self._store.offering.heights() if each < height]  # a header proves it
        return Offer(
            final_height=height,
            oldest_block=self._store.oldest_block(),
            snapshots=tuple(snapshots[-MAX_OFFERS:]),
        )

    def _snapshot(self, height: Height) -> Snapshot | None:
        if height >= self._store.height() or not self._store.offering.lease(height):
            return None
        block, above = self._store.block(height), self._store.block(height + 1)
        proof = self._store.proof(height + 1)
        if block is None or above is None or proof is None:
            return None
        whole = FinalityProof(path=(above.header, *proof.path), certificate=proof.certificate)
        return Snapshot(header=block.header, payload=block.payload, proof=whole)

    def _piece(self, request: GetPiece) -> PieceFound | PieceGone:
        gone = PieceGone(height=request.height, root=request.root, first=request.first)
        if not self._store.offering.lease(request.height):
            return gone
        try:
            piece = make_piece(_Polite(self._store), request.root, request.first, PIECE_BYTES)
        except MissingNode:
            return gone
        if not piece:
            return gone
        self.pieces += 1
        self.piece_bytes += len(piece)
        return PieceFound(root=request.root, first=request.first, piece=piece)

    def _hops(self, epoch: Epoch) -> tuple[EpochHop, ...]:
        hops: list[EpochHop] = []
        size = 0
        while len(hops) < MAX_HOPS and size < HOPS_BYTES:
            hop = self._store.boundary(epoch + len(hops))
            if hop is None:
                break
            hops.append(hop)
            size += len(encode(hop))
        return tuple(hops)

    def statistics(self) -> Mapping[str, int]:
        """Counters for metrics."""
        return {
            "state_pieces_served_total": self.pieces,
            "state_bytes_served_total": self.piece_bytes,
            "state_requests_dropped_total": self.dropped,
        }


class _Polite:
    """The store's nodes, read by a thread that gives the interpreter away now and then.

    Otherwise the loop waits for the interpreter's own switch, five milliseconds each time it wakes up.
    """

    def __init__(self, store: Store) -> None:
        self._get = store.get
        self._read = 0

    def get(self, node_hash: Hash, /) -> bytes:
        self._read += 1
        if not self._read % YIELD_EVERY_NODES:
            time.sleep(YIELD_S)
        return self._get(node_hash)
