"""All connections of a node: who dials, who is let in, and one connection for each pair.

**Who dials.** Of two peers the one with the smaller `PeerId` (as a byte string) dials, so that two nodes
never race into two connections. A node that can not be dialled (it does not listen) always dials. An inbound
connection from a peer that *we* are to dial is refused with `dial_order`, once its identity is proven, but
it is not useless: it is a *knock*, proof that the peer is up, and makes us dial at once instead of waiting
out the back-off. A node that has just restarted knocks at every peer that is to dial it, so a restart
reconnects in milliseconds, whoever is the smaller.

**Whom to be connected with** may change while it runs (`set_peers`): a peer that is no longer listed is not
dialled again, and one that is no longer authorised is disconnected.

**Who is let in.** Outbound: exactly the identity that was dialled. Inbound: an identity that `authorised`
accepts and that is not banned. A new inbound connection of a connected peer replaces the old one, which is
stale: the peer would not have dialled if it still had it. So does a knock, if the old one is a second old.

**What is promised.** `on_peer_up(p)` before the first frame of `p` is received, `on_peer_down(p)` after the
last; they alternate, starting with up. Frames of one lane arrive in order and whole; between lanes there is
no order (`net.lanes`). A frame for which `send` returned True is lost only together with the connection:
whoever needs more (the engine) resends after `on_peer_up`. Nothing here blocks on a slow peer.

**Back-pressure.** `receive` is awaited for every frame, in the one task that reads the peer: while it blocks,
nothing more is read from that peer, whatever the lane. A receiver must therefore never block a CONSENSUS
frame behind its own BULK queue. If it returns without blocking, up to 128 KiB of frames are handed over
before other tasks get their turn: keep it short.
"""

import random
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from net import sockets
from net.bans import Bans
from net.dialling import Backoff
from net.errors import HandshakeRefused, RefusalReason
from net.handshake import NETWORK_ID_BYTES, Handshake, Session
from net.identity import Identity, PeerId
from net.lanes import Lane
from net.limits import Limits
from net.peer import Connection
from net.refusals import Refusals
from net.statistics import PeerCounters, RoundTripTime, TransportStatistics

__all__ = ["Address", "Lane", "Limits", "PeerId", "Transport"]

Address = tuple[str, int]  # host name or IP literal, TCP port (0 when listening: any free one)

YOUNG_S: Final = (
    1.0  # a connection younger than this is not stale, and one that ended so young was no success
)
ACCEPT_PAUSE_S: Final = 0.1  # after the system refused us a file descriptor
RESOLVERS: Final = 4  # names of hosts that are looked up at a time


class Transport:
    """Every connection of this node. Built once, `run` once; all methods but `run` are synchronous.

    Not thread-safe: call from the trio thread only.
    """

    def __init__(
        self,
        *,
        identity_seed: bytes,
        network_id: bytes,
        listen: Address | None,
        peers: Mapping[PeerId, Address],
        authorised: Callable[[PeerId], bool],
        receive: Callable[[PeerId, Lane, bytes], Awaitable[None]],
        on_peer_up: Callable[[PeerId], None],
        on_peer_down: Callable[[PeerId, str], None],
        on_round_trip: Callable[[PeerId, int], None] | None = None,
        log: FilteringBoundLogger | None = None,
        limits: Limits | None = None,
    ) -> None:
        """
        identity_seed: 32 secret bytes, the Ed25519 identity of this node.
        network_id: 32 bytes, the genesis hash; peers of another network are refused.
        listen: where to accept peers; None for a node that only dials.
        peers: who to be connected with and where; our own identity in it is ignored. Give no address for a
            peer that does not listen: it would wait for us as we for it.
        authorised: asked for every inbound identity; should say True for `peers`.
        receive: called with (peer, lane, frame) for each frame, awaited (see "Back-pressure").
        on_peer_up, on_peer_down: synchronous and quick; the string says why the connection ended.
        on_round_trip: (peer, microseconds) for each ping answered, about once a second.
        log: a structlog logger; events are transport.listening, peer.connected, peer.disconnected,
            peer.refused, peer.banned.

        An exception out of a callback is a bug and ends `run` with it (in an exception group, as a trio
        nursery does). Raises `ValueError` on wrong lengths.
        """
        if len(network_id) != NETWORK_ID_BYTES:
            raise ValueError(f"a network id has {NETWORK_ID_BYTES} bytes, not {len(network_id)}")
        self._identity = Identity(identity_seed)
        self._network_id = network_id
        self._listen = listen
        self._addresses = {peer: address for peer, address in peers.items() if peer != self.peer_id}
        self._authorised = authorised
        self._receive = receive
        self._on_peer_up = on_peer_up
        self._on_peer_down = on_peer_down
        self._on_round_trip = on_round_trip if on_round_trip is not None else _ignore_round_trip
        self._log: FilteringBoundLogger = log if log is not None else structlog.get_logger("net")
        self._limits = limits if limits is not None else Limits()
        self._address: Address | None = None
        self._connections: dict[PeerId, Connection] = {}
        self._counters: dict[PeerId, PeerCounters] = {}
        self._pending: dict[trio.CancelScope, None] = {}  # inbound and unproven, oldest first
        self._nudges: dict[PeerId, trio.Event] = {}  # dial loops that wait
        self._dialling: set[PeerId] = set()  # dial loops
        self._nursery: trio.Nursery | None = None  # while `run` runs
        self._bans = Bans(self._limits.ban_s, time.monotonic)
        self._refusals = Refusals(self._log, time.monotonic)
        self._random = random.Random()
        self._resolvers = trio.CapacityLimiter(RESOLVERS)

    # --- what others see

    @property
    def peer_id(self) -> PeerId:
        """Our own identity."""
        return self._identity.peer_id

    @property
    def address(self) -> Address | None:
        """Where we listen, with the actual port; None before `run` has started or without `listen`."""
        return self._address

    def send(self, peer: PeerId, lane: Lane, payload: bytes) -> bool:
        """Queue one frame (or write it at once: CONSENSUS and BLOCKS, if nothing is queued). Never blocks.

        False if the peer is not connected, or if the lane is full: that is counted as dropped, and in lane
        CONSENSUS disconnects the peer. Raises `ValueError` on a frame over the lane's `frame_bytes`, which no
        correct caller builds.
        """
        connection = self._connections.get(peer)
        return connection is not None and connection.send((lane, payload))

    def send_together(self, peer: PeerId, *frames: tuple[Lane, bytes]) -> bool:
        """`send` several frames, in one record if they fit; whether all were taken."""
        connection = self._connections.get(peer)
        return connection is not None and connection.send(*frames)

    def broadcast(self, *frames: tuple[Lane, bytes]) -> int:
        """`send` these to every connected peer, together; returns how many peers took all of them."""
        return sum(connection.send(*frames) for connection in self._connections.values())

    def connected(self) -> Collection[PeerId]:
        """The peers connected now; a copy, in the order in which they connected."""
        return list(self._connections)

    def queued_bytes(self, peer: PeerId, lane: Lane) -> int:
        """Bytes that wait to be sent to `peer` in a lane; 0 for one that is not connected."""
        connection = self._connections.get(peer)
        return 0 if connection is None else connection.queued(lane)[1]

    def round_trip(self, peer: PeerId) -> RoundTripTime | None:
        """The peer's measured round trip; None before the first pong of the present connection."""
        connection = self._connections.get(peer)
        return None if connection is None else connection.round_trip.snapshot()

    def ban(self, peer: PeerId, reason: str) -> None:
        """Disconnect `peer` and refuse it, dial it not, for `ban_s` from now (CONSENSUS.md section 21)."""
        self._bans.add(peer)
        self._log.warning("peer.banned", peer=_short(peer), reason=reason, seconds=self._limits.ban_s)
        self.disconnect(peer, f"banned: {reason}")

    def disconnect(self, peer: PeerId, reason: str) -> None:
        """End the present connection, if any; it will be made anew by whoever dials."""
        connection = self._connections.get(peer)
        if connection is not None:
            connection.close(reason)

    def set_peers(self, peers: Mapping[PeerId, Address]) -> None:
        """From now on be connected with these, at these addresses; our own identity is ignored.

        Connections that stand are kept, if `authorised` still says so; it is asked for each.
        """
        self._addresses = {peer: address for peer, address in peers.items() if peer != self.peer_id}
        for peer in list(self._connections):
            if not self._authorised(peer):
                self.disconnect(peer, "no longer authorised")
        known = self._addresses.keys() | self._connections.keys()
        for peer in [peer for peer in self._counters.keys() - known if not self._authorised(peer)]:
            del self._counters[peer]  # who comes and goes over the years adds up
        for peer in self._nudges.keys() - self._addresses.keys():
            self._nudges[peer].set()  # its dial loop looks again, and ends
        self._dial_all()

    def statistics(self) -> TransportStatistics:
        """A snapshot of counters, queues, refusals and bans."""
        return TransportStatistics(
            connected=len(self._connections),
            pending_inbound=len(self._pending),
            refused=self._refusals.snapshot(),
            banned=self._bans.snapshot(),
            peers={
                peer: counters.snapshot(
                    queued=None if connection is None else connection.queued,
                    round_trip=None if connection is None else connection.round_trip.snapshot(),
                )
                for peer, counters in self._counters.items()
                for connection in (self._connections.get(peer),)
            },
        )

    # --- life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen, dial, serve until cancelled; started once the port is bound.

        Raises `OSError` if the address can not be bound.
        """
        listener: socket.socket | None = None
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if self._listen is not None:
                    listener = await sockets.listen(*self._listen)
                    host, port = listener.getsockname()[:2]
                    self._address = (host, port)
                    self._log.info("transport.listening", host=host, port=port, peer=_short(self.peer_id))
                    nursery.start_soon(self._accept, listener, nursery)
                self._dial_all()
                task_status.started()
        finally:
            self._nursery = None
            if listener is not None:
                listener.close()

    async def _serve(self, sock: socket.socket, session: Session, *, inbound: bool, where: str) -> float:
        """One connection from its handshake to its end; returns how many seconds it lasted."""
        peer = session.peer
        while (stale := self._connections.get(peer)) is not None:
            stale.close("replaced by a newer connection")
            await stale.closed.wait()
        counters = self._counters.setdefault(peer, PeerCounters())
        counters.connections += 1
        counters.inbound = inbound
        sockets.tune(sock, self._limits.unsent_bytes)
        connection = Connection(
            sock,
            session,
            inbound=inbound,
            limits=self._limits,
            counters=counters,
            receive=self._receive,
            on_round_trip=self._on_round_trip,
        )
        self._connections[peer] = connection
        counters.connected = True
        log = self._log.bind(peer=_short(peer), inbound=inbound)
        log.info("peer.connected", where=where, connections=counters.connections)
        self._on_peer_up(peer)
        try:
            await connection.run()
        finally:
            ending = connection.ending
            lasted_s = trio.current_time() - connection.opened_at
            del self._connections[peer]
            counters.connected = False
            counters.last_disconnect = ending.reason
            log.info("peer.disconnected", reason=ending.reason, lasted_s=round(lasted_s, 3))
            if ending.misbehaved:
                self.ban(peer, ending.reason)
            self._on_peer_down(peer, ending.reason)
            connection.closed.set()
        return lasted_s

    # --- inbound

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        while True:
            try:
                sock, where = await sockets.accept(listener)
            except OSError as error:
                self._log.error("transport.accept_failed", detail=str(error))
                await trio.sleep(ACCEPT_PAUSE_S)
                continue
            if len(self._pending) >= self._limits.pending_inbound:
                next(iter(self._pending)).cancel()
            scope = trio.CancelScope()
            self._pending[scope] = None
            nursery.start_soon(self._welcome, sock, where, scope)

    async def _welcome(self, sock: socket.socket, where: str, scope: trio.CancelScope) -> None:
        handshake = Handshake(identity=self._identity, network_id=self._network_id, admit=self._admit)
        session: Session | None = None
        with sock:
            try:
                with scope:
                    session = await sockets.shake_hands(sock, handshake, self._limits.handshake_timeout_s)
                if session is None:
                    raise HandshakeRefused(RefusalReason.EVICTED, "too many connections that prove nothing")
            except HandshakeRefused as refusal:
                if refusal.reason is RefusalReason.DIAL_ORDER:
                    self._knocked(handshake.claimed)
                self._refused(refusal, handshake.claimed, where.rpartition(":")[0], inbound=True)
                return
            finally:
                self._pending.pop(scope, None)
            await self._serve(sock, session, inbound=True, where=where)

    def _admit(self, peer: PeerId) -> RefusalReason | None:
        if self._bans.left_s(peer) > 0:
            return RefusalReason.BANNED
        if not self._authorised(peer):
            return RefusalReason.UNKNOWN_PEER
        if peer in self._addresses and self._we_dial(peer):
            return RefusalReason.DIAL_ORDER
        return None

    def _knocked(self, peer: PeerId | None) -> None:
        if peer is None:
            return
        connection = self._connections.get(peer)
        if connection is not None and trio.current_time() - connection.opened_at > YOUNG_S:
            connection.close("the peer has lost this connection and asks for a new one")
        elif peer in self._nudges:
            self._nudges[peer].set()

    # --- outbound

    def _we_dial(self, peer: PeerId) -> bool:
        return self.peer_id < peer

    def _dial_all(self) -> None:
        nursery = self._nursery
        if nursery is None:  # `run` dials them
            return
        for peer in self._addresses.keys() - self._dialling:
            self._dialling.add(peer)
            nursery.start_soon(self._keep_dialling, peer)

    async def _keep_dialling(self, peer: PeerId) -> None:
        """Be connected with one peer while it is listed: dial it, or knock at it if it is to dial us."""
        backoff = Backoff(self._limits, self._random)
        while (address := self._addresses.get(peer)) is not None:
            connection = self._connections.get(peer)
            if connection is not None:
                await connection.closed.wait()
                continue
            banned_s = self._bans.left_s(peer)
            if banned_s > 0:
                await trio.sleep(banned_s)
                continue
            reason = await self._dial(peer, address)
            if reason is None:
                backoff.succeeded()
            else:
                await self._pause(peer, backoff.failed(reason))
        self._dialling.discard(peer)

    async def _dial(self, peer: PeerId, address: Address) -> RefusalReason | None:
        """One attempt, and the connection that comes of it; None if that was a lasting one."""
        where = f"{address[0]}:{address[1]}"
        handshake = Handshake(identity=self._identity, network_id=self._network_id, expected=peer)
        try:
            with await self._connect(address) as sock:
                session = await sockets.shake_hands(sock, handshake, self._limits.handshake_timeout_s)
                lasted_s = await self._serve(sock, session, inbound=False, where=where)
        except HandshakeRefused as refusal:
            knocked = refusal.by_remote and refusal.reason is RefusalReason.DIAL_ORDER
            if not knocked or self._we_dial(peer):
                self._refused(refusal, peer, where, inbound=False)
            return refusal.reason
        return None if lasted_s > YOUNG_S else RefusalReason.CLOSED

    async def _connect(self, address: Address) -> socket.socket:
        with trio.move_on_after(self._limits.handshake_timeout_s):
            try:
                return await sockets.connect(*address, self._resolvers)
            except OSError as error:
                detail = error.strerror or str(error)
                raise HandshakeRefused(RefusalReason.UNREACHABLE, detail, by_remote=True) from None
        raise HandshakeRefused(RefusalReason.UNREACHABLE, "no answer", by_remote=True)

    async def _pause(self, peer: PeerId, seconds: float) -> None:
        """Wait before the next attempt, unless the peer shows that it is up."""
        nudge = self._nudges[peer] = trio.Event()
        with trio.move_on_after(seconds):
            await nudge.wait()
        del self._nudges[peer]

    def _refused(self, refusal: HandshakeRefused, peer: PeerId | None, where: str, *, inbound: bool) -> None:
        self._refusals.note(
            refusal, where=where, inbound=inbound, peer=None if peer is None else _short(peer)
        )


def _short(peer: PeerId) -> str:
    return peer.hex()[:16]


def _ignore_round_trip(peer: PeerId, rtt_us: int) -> None:
    """For those who do not measure."""
