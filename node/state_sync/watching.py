"""Whether this node is so far behind that it should fetch a state instead of executing every block.

A running node hears what its peers offer. A claim alone moves nothing: only a snapshot that is proven to be
final, far enough above the node's own height, makes it stop and fetch. Until then it catches up by blocks.
"""

from collections.abc import Callable
from typing import Final, Protocol

import trio
from structlog.typing import FilteringBoundLogger

from consensus.light.client import Checkpoint
from consensus.primitives.errors import PeerFault, UserError
from consensus.primitives.ids import Height
from net.identity import PeerId
from node.state_sync.messages import (
    GetOffer,
    Offer,
    Request,
    decode_sync_message,
    kind_of,
)
from node.state_sync.proving import Prover
from node.state_sync.server import SyncServer
from node.state_sync.trust import Trust

FIRST_LOOK_S: Final = 0.1  # after a peer's first offer: time for the others'
ASK_AGAIN_S: Final = 10.0
STUCK_S: Final = 3.0  # without a block, until it is believed that nobody has the next one any more
WORTHWHILE_BLOCKS: Final = 64  # below, blocks are quicker whatever the operator prefers


class SyncLinks(Protocol):
    """How a running node reaches its peers on the lane of state sync."""

    def send_sync(self, peer: PeerId, request: Request) -> None:
        """To one peer; dropped if it is gone."""
        ...

    def ban(self, peer: PeerId, reason: str) -> None:
        """Disconnect and ban."""
        ...


class SyncWatch:
    """Takes the frames of lane BULK; `run` ends when the node should fetch a state."""

    def __init__(
        self,
        *,
        mode: str,
        threshold: int,
        height: Callable[[], Height],
        trust: Callable[[], Trust],
        checkpoint: Checkpoint | None,
        server: SyncServer,
        links: SyncLinks,
        log: FilteringBoundLogger,
    ) -> None:
        """`mode`: blocks, auto (above `threshold` blocks behind) or state (whenever it is worthwhile).

        `height`: of the newest block here. `trust`: from that block; raises UserError if it is too old.
        """
        self._mode = mode
        self._threshold = threshold if mode == "auto" else WORTHWHILE_BLOCKS
        self._height = height
        self._trust = trust
        self._checkpoint = checkpoint
        self._server = server
        self._links = links
        self._log = log
        self._up: set[PeerId] = set()
        self._offers: dict[PeerId, Offer] = {}
        self._heard = trio.Event()
        self._prover: Prover | None = None
        self._told = ""

    def receive(self, peer: PeerId, frame: bytes) -> None:
        """A frame of a peer. Raises DecodeError."""
        if not self._is_awaited(peer, frame):
            return
        message = decode_sync_message(frame)
        if isinstance(message, Request):
            self._server.offer(peer, message)
        elif isinstance(message, Offer):
            self._offers[peer] = message
            self._heard.set()
        elif self._prover is not None:
            self._prover.take(peer, message)

    def _is_awaited(self, peer: PeerId, frame: bytes) -> bool:
        """Whether it is worth decoding: answers are long, and votes wait while one is decoded."""
        kind = kind_of(frame)
        if kind is None or issubclass(kind, Request | Offer):  # None: no message, as decoding will say
            return True
        return self._prover is not None and self._prover.awaits(peer, kind)

    def peer_up(self, peer: PeerId) -> None:
        """A session stands."""
        self._up.add(peer)
        self._links.send_sync(peer, GetOffer())

    def peer_down(self, peer: PeerId) -> None:
        """A session is gone."""
        self._up.discard(peer)
        self._offers.pop(peer, None)

    async def run(self) -> Height:
        """Wait until a state should be fetched; the height of one that is proven to be final."""
        asked = trio.current_time()
        while True:
            with trio.move_on_at(asked + ASK_AGAIN_S):
                await self._heard.wait()
            if trio.current_time() >= asked + ASK_AGAIN_S:  # however much somebody talks: others are asked
                asked = trio.current_time()
                for peer in sorted(self._up):
                    self._links.send_sync(peer, GetOffer())
                continue
            await trio.sleep(FIRST_LOOK_S)
            self._heard = trio.Event()
            height = await self._look()
            if height is not None:
                return height

    async def _look(self) -> Height | None:
        own = self._height()
        ahead = {peer: offer for peer, offer in self._offers.items() if offer.final_height > own}
        if not ahead:
            return None
        unserved = all(offer.oldest_block > own + 1 for offer in ahead.values())
        if self._mode == "blocks":
            if unserved:
                self._tell_once('no peer has the blocks above this node\'s; write sync.mode = "auto"')
            return None
        least = own if unserved else own + self._threshold
        wanted = [
            (height, peer) for peer, offer in ahead.items() for height in offer.snapshots if height > least
        ]
        unproven: set[PeerId] = set()  # a peer is waited for once, however many heights it makes up
        for height, peer in sorted(wanted, reverse=True):
            if peer in unproven:
                continue
            if not await self._is_proven(peer, height):
                unproven.add(peer)
                continue
            if unserved and await self._moves_on(own):
                return None
            if unserved or self._height() + WORTHWHILE_BLOCKS // 2 < height:  # blocks may have come meanwhile
                self._log.info("state_sync.needed", height=own, snapshot=height, blocks_gone=unserved)
                return height
        return None

    async def _moves_on(self, own: Height) -> bool:
        """Whether blocks come after all: that nobody has them is a claim, and a node at the tip hears it from
        whoever is first to tell of the next snapshot."""
        await trio.sleep(STUCK_S)
        return self._height() > own

    async def _is_proven(self, peer: PeerId, height: Height) -> bool:
        try:
            trust = await trio.to_thread.run_sync(self._trust)
            self._prover = Prover(trust, self._checkpoint, self._links.send_sync)
            return await self._prover.proven(peer, height) is not None
        except PeerFault as fault:
            self._links.ban(peer, str(fault))
            self._offers.pop(peer, None)
            return False
        except UserError as error:  # this node goes on by blocks, which need no such trust
            self._tell_once(str(error))
            return False
        finally:
            self._prover = None

    def _tell_once(self, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            self._log.warning("state_sync.not_possible", reason=reason)
