"""Asking one peer for what proves a snapshot, step by step: the operator's block, epochs' ends, the block."""

from collections.abc import Callable, Mapping
from typing import Final

import trio

from consensus.light.client import Checkpoint
from consensus.primitives.errors import PeerFault
from consensus.primitives.ids import Height
from net.identity import PeerId
from node.state_sync.messages import (
    Answer,
    GetHops,
    GetSnapshot,
    GetStart,
    HopsFound,
    Request,
    Snapshot,
    SnapshotProof,
    StartFound,
    SyncMessage,
)
from node.state_sync.trust import Trust

ANSWER_S: Final = 5.0
_ANSWERED_BY: Final[Mapping[type[Request], type[Answer]]] = {
    GetStart: StartFound,
    GetSnapshot: SnapshotProof,
    GetHops: HopsFound,
}


class Prover:
    """Has one question out at a time. `take` is told every answer that comes in."""

    def __init__(
        self, trust: Trust, checkpoint: Checkpoint | None, send: Callable[[PeerId, Request], None]
    ) -> None:
        """`checkpoint`: the operator's block, where `trust` may have to start from it."""
        self._trust = trust
        self._checkpoint = checkpoint
        self._send = send
        self._asked: tuple[PeerId, Request] | None = None
        self._answer: Answer | None = None
        self._answered = trio.Event()

    def awaits(self, peer: PeerId, kind: type[SyncMessage]) -> bool:
        """Whether a message of this kind from `peer` may be what it was asked for."""
        return self._asked is not None and (peer, kind) == (
            self._asked[0],
            _ANSWERED_BY[type(self._asked[1])],
        )

    def take(self, peer: PeerId, answer: Answer) -> bool:
        """Whether this is what was asked for; it is then taken."""
        if self._asked is None or self._asked[0] != peer or not _answers(self._asked[1], answer):
            return False
        self._asked, self._answer = None, answer
        self._answered.set()
        return True

    async def proven(self, peer: PeerId, height: Height) -> Snapshot | None:
        """The snapshot of a height, final by what this node trusts; None if `peer` has no answer.

        None too for a height that is not above what is trusted: the node may have got there meanwhile.
        Raises PeerFault if what it says is wrong, UserError if nothing that is trusted leads there.
        """
        if self._checkpoint is not None and self._trust.next_hop is None:
            start = await self._ask(peer, GetStart(height=self._checkpoint.height))
            if not isinstance(start, StartFound) or start.start is None:
                return None
            self._trust.take_start(start.start, self._checkpoint)
        found = await self._ask(peer, GetSnapshot(height=height))
        if not isinstance(found, SnapshotProof) or found.snapshot is None:
            return None
        snapshot = found.snapshot
        if snapshot.header.height != height:
            raise PeerFault(f"a snapshot of height {snapshot.header.height}, not of {height}")
        while (epoch := self._trust.next_hop) is not None and epoch < snapshot.header.epoch:
            hops = await self._ask(peer, GetHops(epoch=epoch))
            if not isinstance(hops, HopsFound) or not hops.hops:
                return None
            await trio.to_thread.run_sync(self._trust.take_hops, hops.hops)
        if height <= self._trust.height:
            return None
        await trio.to_thread.run_sync(self._trust.check, snapshot)
        return snapshot

    async def _ask(self, peer: PeerId, request: Request) -> Answer | None:
        self._asked, self._answer, self._answered = (peer, request), None, trio.Event()
        self._send(peer, request)
        with trio.move_on_after(ANSWER_S):
            await self._answered.wait()
        self._asked = None
        return self._answer


def _answers(request: Request, answer: Answer) -> bool:
    match request, answer:
        case GetStart(height=wanted), StartFound(height=height):
            return wanted == height
        case GetSnapshot(height=wanted), SnapshotProof(height=height):
            return wanted == height
        case GetHops(epoch=first), HopsFound(epoch=epoch):
            return first == epoch
        case _:
            return False
