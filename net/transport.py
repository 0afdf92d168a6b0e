"""All connections of a node: who dials, who is let in, and one connection for each pair.

**Who dials.** Of two peers the one with the smaller `PeerId` (as a byte string) dials, so that two nodes
never race into two connections. A node that can not be dialled (it does not listen) always dials. An inbound
connection from a peer that *we* are to dial is refused with `dial_order`, once its identity is proven, but
it is not useless: it is a *knock*, proof that the peer is up, and makes us dial at once instead of waiting
out the back-off. A node that has just restarted knocks at every peer that is to dial it, so a restart
reconnects in milliseconds, whoever is the smaller.

**Who is let in.** Outbound: exactly the identity that was dialled. Inbound: an identity that `authorised`
accepts and that is not banned. A new inbound connection of a connected peer replaces the old one, which is
stale: the peer would not have dialled if it still had it. So does a knock, if the old one is a second old.

**What is promised.** `on_peer_up(p)` before the first frame of `p` is received, `on_peer_down(p)` after the
last; they alternate, starting with up. Frames of one lane arrive in order and whole; between lanes there is
no order (`net.lanes`). A frame for which `send` returned True is lost only together with the connection:
whoever needs more (the engine) resends after `on_peer_up`. Nothing here blocks on a slow peer.

**Back-pressure.** `receive` is awaited for every frame, in the one task that reads the peer: while it blocks,
nothing more is read from that peer, whatever the lane. A receiver must therefore never block a CONSENSUS
frame behind its own BULK queue.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import trio

from net.identity import PeerId
from net.lanes import Lane
from net.limits import Limits
from net.statistics import RoundTripTime, TransportStatistics

__all__ = ["Address", "Lane", "Limits", "PeerId", "Transport"]

Address = tuple[str, int]  # host name or IP literal, TCP port (0 when listening: any free one)


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
        log: Any = None,
        limits: Limits | None = None,
    ) -> None:
        """
        identity_seed: 32 secret bytes, the Ed25519 identity of this node.
        network_id: 32 bytes, the genesis hash; peers of another network are refused.
        listen: where to accept peers; None for a node that only dials.
        peers: who to be connected with and where; our own identity in it is ignored.
        authorised: asked for every inbound identity; should say True for `peers`.
        receive: called with (peer, lane, frame) for each frame, awaited (see "Back-pressure").
        on_peer_up, on_peer_down: synchronous and quick; the string says why the connection ended.
        on_round_trip: (peer, microseconds) for each ping answered, about once a second.
        log: a structlog logger; events are peer.connected, peer.disconnected, peer.refused, peer.banned …

        An exception out of a callback is a bug and ends `run` with it. Raises `ValueError` on wrong lengths.
        """
        raise NotImplementedError

    @property
    def peer_id(self) -> PeerId:
        """Our own identity."""
        raise NotImplementedError

    @property
    def address(self) -> Address | None:
        """Where we listen, with the actual port; None before `run` has started or without `listen`."""
        raise NotImplementedError

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen, dial, serve until cancelled; started once the port is bound.

        Raises `OSError` if the address can not be bound.
        """
        raise NotImplementedError

    def send(self, peer: PeerId, lane: Lane, payload: bytes) -> bool:
        """Queue one frame, or send it at once if nothing is queued. Never blocks.

        False (and counted as dropped) if the peer is not connected or the lane is full; a full CONSENSUS
        lane also disconnects the peer. Raises `ValueError` on a frame over the lane's `frame_bytes`, which no
        correct caller builds.
        """
        raise NotImplementedError

    def broadcast(self, lane: Lane, payload: bytes) -> int:
        """`send` to every connected peer; returns how many took it."""
        raise NotImplementedError

    def connected(self) -> Collection[PeerId]:
        """The peers connected now; a copy, in the order in which they connected."""
        raise NotImplementedError

    def round_trip(self, peer: PeerId) -> RoundTripTime | None:
        """The peer's measured round trip; None before the first pong of the present connection."""
        raise NotImplementedError

    def ban(self, peer: PeerId, reason: str) -> None:
        """Disconnect `peer` and refuse it, dial it not, for `ban_s` from now (CONSENSUS.md section 21)."""
        raise NotImplementedError

    def disconnect(self, peer: PeerId, reason: str) -> None:
        """End the present connection, if any; it will be made anew by whoever dials."""
        raise NotImplementedError

    def statistics(self) -> TransportStatistics:
        """A snapshot of counters, queues, refusals and bans."""
        raise NotImplementedError
