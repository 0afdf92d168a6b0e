"""Which piece is asked of whom: every range of a state, of the peers that serve it, a few at a time.

Sans I/O: `requests` says what to send, the rest what came of it. A range is asked of one peer at a time; an
answer that does not come in time, or says that the state is gone, sends the range to another peer: to the
one that was late only if no other is free. A peer that is slow again and again rests. Whoever verifies a
piece and finds it bad says `refused`: its sender is never asked again.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from consensus.primitives.ids import Hash, Height
from net.identity import PeerId
from node.state_sync.arriving import TreeRange
from node.state_sync.messages import GetPiece, PieceFound, PieceGone

PER_PEER: Final = 3  # requests that a peer has of us at a time; it drops more than WAITING_PER_PEER
PATIENCE_S: Final = 5.0  # for one piece
SLOW_ANSWERS: Final = 2  # in a row, after which a peer rests
REST_S: Final = 10.0


@dataclass(slots=True)
class _Asked:
    range: TreeRange
    peer: PeerId
    due_s: float


class Fetching:
    """The pieces of one state. Times are monotonic seconds."""

    def __init__(self, height: Height, ranges: Iterable[TreeRange]) -> None:
        self.height: Final = height
        self._open: deque[TreeRange] = deque(ranges)
        self._asked: dict[tuple[Hash, Hash], _Asked] = {}
        self._rests_until: dict[PeerId, float] = {}  # peers that serve this state
        self._refused: set[PeerId] = set()
        self._slow: Counter[PeerId] = Counter()
        self._late: dict[tuple[Hash, Hash], PeerId] = {}  # open ranges → who let them lie last

    # --- peers

    def serves(self, peer: PeerId) -> None:
        """The peer offers this state."""
        if peer not in self._refused:
            self._rests_until.setdefault(peer, 0.0)

    def lost(self, peer: PeerId) -> None:
        """The peer is gone, or does not hold the state any more: others get what it was asked for."""
        self._rests_until.pop(peer, None)
        self._slow.pop(peer, None)
        for key in [key for key, asked in self._asked.items() if asked.peer == peer]:
            self._open.appendleft(self._asked.pop(key).range)

    def refused(self, peer: PeerId, bad: TreeRange) -> None:
        """The peer sent a bad piece: it is never asked again."""
        self._refused.add(peer)
        self.lost(peer)
        self._open.appendleft(bad)

    @property
    def peers(self) -> int:
        """How many peers serve this state."""
        return len(self._rests_until)

    # --- pieces

    def requests(self, now_s: float) -> list[tuple[PeerId, GetPiece]]:
        """What to ask now, and of whom."""
        self._give_up_on_the_late(now_s)
        load = Counter(asked.peer for asked in self._asked.values())
        ready = [peer for peer, until in self._rests_until.items() if until <= now_s]
        requests: list[tuple[PeerId, GetPiece]] = []
        while self._open and (free := [peer for peer in ready if load[peer] < PER_PEER]):
            wanted = self._open.popleft()
            late = self._late.pop((wanted.root, wanted.first), None)
            peer = min(free, key=lambda each: (each == late, load[each], each))
            load[peer] += 1
            self._asked[wanted.root, wanted.first] = _Asked(wanted, peer, now_s + PATIENCE_S)
            requests.append((peer, GetPiece(height=self.height, root=wanted.root, first=wanted.first)))
        return requests

    def _give_up_on_the_late(self, now_s: float) -> None:
        late = [(key, asked) for key, asked in self._asked.items() if asked.due_s <= now_s]
        for key, asked in late:
            del self._asked[key]
            self._late[key] = asked.peer
            self._open.append(asked.range)
        for peer in sorted({asked.peer for _, asked in late}):
            self._slow[peer] += 1
            if self._slow[peer] >= SLOW_ANSWERS:
                self._rests_until[peer] = now_s + REST_S
                self._slow[peer] = 0

    def found(self, peer: PeerId, answer: PieceFound) -> TreeRange | None:
        """The range that the answer is for; None if the peer was not asked, or is late."""
        asked = self._asked.get((answer.root, answer.first))
        if asked is None or asked.peer != peer:
            return None
        del self._asked[answer.root, answer.first]
        self._slow[peer] = 0
        return asked.range

    def gone(self, peer: PeerId, answer: PieceGone) -> None:
        """The peer does not hold the state any more."""
        asked = self._asked.get((answer.root, answer.first))
        if asked is not None and asked.peer == peer:
            self.lost(peer)

    def add(self, ranges: Iterable[TreeRange]) -> None:
        """What a verified piece has left to be fetched."""
        self._open.extend(ranges)

    @property
    def outstanding(self) -> int:
        """Ranges that are asked for or wait to be."""
        return len(self._open) + len(self._asked)
