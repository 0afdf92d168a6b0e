"""One fetch of a state, from its beginning or from where a kill left it, until it can be started from.

The node proper does not run meanwhile: it has nothing to execute on. A session has links of its own to the
same peers, on which it says nothing but requests; what peers say about agreement is passed over.

    choose   hear what peers offer; take the newest height that most of them serve; prove it
    fetch    ask for pieces, verify them in a thread, make them durable in lots

When nobody serves the height any more, or too slowly, another one is chosen and what was fetched is dropped.
When nobody has a state to fetch for long, the session gives up: the node's own store is still there to go on
from, and were all nodes to wait for a state at once, nobody would be left to offer one.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import trio
from structlog.typing import FilteringBoundLogger

from consensus.light.client import Checkpoint
from consensus.primitives.errors import DecodeError, PeerFault, UserError
from consensus.primitives.ids import Height
from consensus.primitives.tree import Piece, read_piece
from consensus.relay.genesis import Genesis
from net.identity import PeerId
from net.lanes import Lane
from net.transport import Address, Transport
from node.state_sync.arriving import Arriving, TreeRange
from node.state_sync.fetching import Fetching
from node.state_sync.messages import (
    MAX_PIECE_BYTES,
    PIECE_BYTES,
    Answer,
    GetOffer,
    Offer,
    PieceFound,
    PieceGone,
    Request,
    Snapshot,
    decode_sync_message,
    encode_sync_message,
    kind_of,
)
from node.state_sync.proving import Prover
from node.state_sync.trust import Trust

ANSWERS: Final = 16  # to requests for pieces, not yet looked at; beyond, peers are not read
LOOK_S: Final = 0.25
ASK_OFFERS_S: Final = 2.0
NO_SOURCE_S: Final = 6.0  # without a peer that serves the height, until another one is chosen
GIVE_UP_S: Final = 120.0  # without a state that can be proven, until the node goes on by blocks
STALLED_S: Final = 60.0  # for LEAST_PIECES from those who say that they serve it
LEAST_PIECES: Final = 12  # of full size, or that end a range: 51 KiB/s, from all peers together
TELL_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """What a session needs to reach its peers; as the node itself would."""

    identity_seed: bytes
    listen: Address | None
    peers: Mapping[PeerId, Address]
    authorised: Callable[[PeerId], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a session did."""

    height: Height
    pieces: int
    bytes: int
    seconds: float


class Session:
    """Fetches one state into a data directory. Built once, `run` once."""

    def __init__(
        self,
        genesis: Genesis,
        *,
        arriving: Arriving,
        trust: Trust,
        checkpoint: Checkpoint | None,
        links: Links,
        log: FilteringBoundLogger,
    ) -> None:
        """`checkpoint`: the operator's block, if that is what `trust` waits for."""
        self._arriving = arriving
        self._trust = trust
        self._checkpoint = checkpoint
        self._log = log
        self._offers: dict[PeerId, Offer] = {}
        self._heard = trio.Event()  # of an offer
        self._put, self._answers = trio.open_memory_channel[tuple[PeerId, PieceFound | PieceGone]](ANSWERS)
        self._fetching: Fetching | None = None
        self._stalled: set[Height] = set()  # heights that are offered, and not served
        self._pieces = 0
        self._full_pieces = 0
        self._bytes = 0
        self._told: set[str] = set()
        self._prover = Prover(trust, checkpoint, self._send)
        self._transport = Transport(
            identity_seed=links.identity_seed,
            network_id=genesis.hash,
            listen=links.listen,
            peers=links.peers,
            authorised=links.authorised,
            receive=self._receive,
            on_peer_up=lambda peer: self._send(peer, GetOffer()),
            on_peer_down=self._down,
            log=log,
        )
        self._expected = len(set(links.peers) - {self._transport.peer_id})

    # --- links

    async def _receive(self, peer: PeerId, lane: Lane, frame: bytes) -> None:
        if lane is not Lane.BULK or not self._is_awaited(peer, frame):
            return
        try:
            message = decode_sync_message(frame)
        except DecodeError as error:
            self._transport.ban(peer, str(error))
            return
        match message:
            case Offer():
                self._note_offer(peer, message)
            case PieceFound() | PieceGone():
                await self._put.send((peer, message))
            case _ if isinstance(message, Answer):
                self._prover.take(peer, message)

    def _is_awaited(self, peer: PeerId, frame: bytes) -> bool:
        """Whether it is worth decoding: else nobody asked for it, or it is late."""
        kind = kind_of(frame)
        if kind is None or kind is Offer:  # None: no message, as decoding will say
            return True
        if issubclass(kind, PieceFound | PieceGone):
            return self._fetching is not None
        return self._prover.awaits(peer, kind)

    def _note_offer(self, peer: PeerId, offer: Offer) -> None:
        """What a peer has now. Never queued: however much one says, the others are heard."""
        self._offers[peer] = offer
        self._heard.set()
        fetching = self._fetching
        if fetching is not None and fetching.height in offer.snapshots:
            fetching.serves(peer)
        elif fetching is not None:
            fetching.lost(peer)

    def _send(self, peer: PeerId, request: Request) -> None:
        self._transport.send(peer, Lane.BULK, encode_sync_message(request))

    def _down(self, peer: PeerId, reason: str) -> None:
        self._offers.pop(peer, None)
        if self._fetching is not None:
            self._fetching.lost(peer)

    # --- life

    async def run(self) -> Fetched | None:
        """Fetch until the state is whole; None if nobody has one for so long that the node better goes on.

        Raises UserError if nothing that is trusted leads to what peers have, LocalFault.
        """
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._run_transport)
            await trio.to_thread.run_sync(self._arriving.advance)  # a kill may have come just before
            while not self._arriving.whole:
                target = self._arriving.target
                if (target is None or not await self._fetch(target)) and not await self._choose():
                    break
            nursery.cancel_scope.cancel()
        if not self._arriving.whole:
            return None
        target = self._arriving.target
        if target is None:
            raise RuntimeError("a whole state that nobody asked for")
        return Fetched(
            height=target.header.height,
            pieces=self._pieces,
            bytes=self._bytes,
            seconds=trio.current_time() - began,
        )

    async def _run_transport(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self._transport.run(task_status=task_status)

    # --- choosing

    async def _choose(self) -> bool:
        """Settle on a snapshot that is proven to be final; on the one under way if it is offered again.

        False if there was none for long. Raises UserError if what is trusted leads to none that is offered.
        """
        began, patient = trio.current_time(), True
        while trio.current_time() - began < GIVE_UP_S:
            self._offers.clear()  # an old offer may be of a state that is gone
            for peer in self._transport.connected():
                self._send(peer, GetOffer())
            with trio.move_on_after(ASK_OFFERS_S):
                while not self._heard_all():
                    self._heard = trio.Event()
                    await self._heard.wait()
            target = self._arriving.target
            if target is not None and target.header.height in self._offered():
                return True
            snapshot = await self._first_proven(patient=patient)
            if snapshot is not None:
                await trio.to_thread.run_sync(self._arriving.begin, snapshot, self._trust.hops)
                self._log.info("state_sync.begun", height=snapshot.header.height, peers=len(self._offers))
                return True
            patient = False
            await trio.sleep(LOOK_S)  # where all have answered at once, and nobody has one
        self._log.warning("state_sync.given_up", seconds=GIVE_UP_S, peers=len(self._offers))
        return False

    async def _first_proven(self, *, patient: bool) -> Snapshot | None:
        """The best of the snapshots that are offered and proven to be final.

        A peer is waited for once, however many heights it makes up. A snapshot to which nothing leads that
        the operator trusts is passed over for others; UserError if there are none, unless `patient`: others
        may still come.
        """
        unproven: set[PeerId] = set()
        refusal: UserError | None = None
        for peer, height in self._candidates():
            if peer in unproven:
                continue
            try:
                snapshot = await self._prover.proven(peer, height)
            except PeerFault as fault:
                self._transport.ban(peer, str(fault))
                snapshot = None
            except UserError as error:
                refusal = error
                self._tell_once(str(error))
                continue
            if snapshot is not None:
                return snapshot
            unproven.add(peer)
        if refusal is not None and not patient:
            raise refusal
        return None

    def _tell_once(self, reason: str) -> None:
        """What is passed over may still be news to the operator: proof of a fork, above all."""
        if reason not in self._told:
            self._told.add(reason)
            self._log.warning("state_sync.not_possible", reason=reason)

    def _heard_all(self) -> bool:
        """Whether everybody who could be connected is, and has said what it offers."""
        connected = self._transport.connected()
        return (
            bool(connected)
            and len(connected) >= self._expected
            and all(peer in self._offers for peer in connected)
        )

    def _offered(self) -> Counter[Height]:
        """Heights that peers serve, and how many of them."""
        heights = (height for offer in self._offers.values() for height in offer.snapshots)
        return Counter(height for height in heights if height not in self._stalled)

    def _candidates(self) -> list[tuple[PeerId, Height]]:
        """Heights worth having, those that most peers serve first, then the newest; with whom to ask."""
        served = self._offered()
        known = self._trust.height if self._checkpoint is None else self._checkpoint.height
        heights = sorted((height for height in served if height > known), reverse=True)
        heights.sort(key=lambda height: min(served[height], 2), reverse=True)
        return [
            (peer, height)
            for height in heights
            for peer, offer in sorted(self._offers.items())
            if height in offer.snapshots
        ]

    # --- fetching

    async def _fetch(self, target: Snapshot) -> bool:
        """Fetch until the state is whole, or nobody serves it any more: then False."""
        height = target.header.height
        ranges = await trio.to_thread.run_sync(self._arriving.missing)
        fetching = self._fetching = Fetching(height, ranges)
        for peer, offer in self._offers.items():
            if height in offer.snapshots:
                fetching.serves(peer)
        last_source = ask_offers = tell = trio.current_time()
        pieces, paces = self._full_pieces, deque([last_source] * LEAST_PIECES, maxlen=LEAST_PIECES)
        while not self._arriving.whole:
            now = trio.current_time()
            if fetching.peers:
                last_source = now
            paces.extend([now] * (self._full_pieces - pieces))
            pieces = self._full_pieces
            stalled = now - paces[0] > STALLED_S
            if stalled or now - last_source > NO_SOURCE_S:
                if stalled:
                    self._stalled.add(height)
                self._log.warning("state_sync.source_lost", height=height, outstanding=fetching.outstanding)
                self._fetching = None
                self._received()  # a peer that waits to hand over a piece could not be heard to offer another
                return False
            if now >= ask_offers:
                ask_offers = now + ASK_OFFERS_S
                for peer in self._transport.connected():
                    self._send(peer, GetOffer())
            if now >= tell:
                tell = now + TELL_S
                self._log.info(
                    "state_sync.progress",
                    height=height,
                    pieces=self._pieces,
                    bytes=self._bytes,
                    outstanding=fetching.outstanding,
                    peers=fetching.peers,
                )
            for peer, request in fetching.requests(now):
                self._send(peer, request)
            await self._take_in(fetching, await self._waiting())
        return True

    async def _waiting(self) -> list[tuple[PeerId, PieceFound | PieceGone]]:
        """What has come in, waiting a moment for the first."""
        with trio.move_on_after(LOOK_S):
            return [await self._answers.receive(), *self._received()]
        return []

    def _received(self) -> list[tuple[PeerId, PieceFound | PieceGone]]:
        """What has come in by now."""
        received: list[tuple[PeerId, PieceFound | PieceGone]] = []
        while True:
            try:
                received.append(self._answers.receive_nowait())
            except trio.WouldBlock:
                return received

    async def _take_in(
        self, fetching: Fetching, received: list[tuple[PeerId, PieceFound | PieceGone]]
    ) -> None:
        pieces: list[tuple[PeerId, TreeRange, bytes]] = []
        for peer, answer in received:
            if isinstance(answer, PieceGone):
                fetching.gone(peer, answer)
                continue
            wanted = fetching.found(peer, answer)
            if wanted is not None:
                pieces.append((peer, wanted, answer.piece))
        if not pieces:
            return
        for peer, request in fetching.requests(trio.current_time()):
            self._send(peer, request)  # peers work while this node verifies
        good, bad, full = await trio.to_thread.run_sync(_verify_all, pieces)
        for peer, wanted, reason in bad:
            self._log.warning("state_sync.piece_refused", peer=peer.hex()[:16], reason=reason)
            fetching.refused(peer, wanted)
            self._transport.ban(peer, reason)
        fetching.add(await trio.to_thread.run_sync(self._arriving.accept, good))
        self._pieces += len(good)
        self._full_pieces += full
        self._bytes += sum(len(raw) for _, _, raw in pieces)


def _verify_all(
    pieces: list[tuple[PeerId, TreeRange, bytes]],
) -> tuple[list[tuple[TreeRange, Piece]], list[tuple[PeerId, TreeRange, str]], int]:
    """Those that check against their root; those that do not, with whom to blame and why; how many of the
    first bring the fetch on as much as they should: a good piece may be of a single leaf."""
    good: list[tuple[TreeRange, Piece]] = []
    bad: list[tuple[PeerId, TreeRange, str]] = []
    full = 0
    for peer, wanted, raw in pieces:
        try:
            piece = read_piece(raw, wanted.root, wanted.first, wanted.last, MAX_PIECE_BYTES)
        except DecodeError as error:
            bad.append((peer, wanted, f"a bad piece of a state: {error}"))
        else:
            good.append((wanted, piece))
            full += piece.next is None or len(raw) >= PIECE_BYTES
    return good, bad, full
