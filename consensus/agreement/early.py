"""Messages of the next epoch that come before this node is in it: kept within bounds, handled bit by bit.

Whoever reaches an epoch first speaks first, so some messages always come early. Two sets of peers may leave
MAX_EARLY of them each, which takes seconds to check: a node that handled them in one turn would be deaf and
mute just when its epoch begins.
"""

from collections.abc import Collection, Mapping
from typing import Final

from consensus.agreement.events import Peer
from consensus.agreement.messages import Message, encode_message

MAX_EARLY: Final = 64  # messages of the next epoch that are kept of one peer; the newest
MAX_EARLY_BYTES: Final = 4 * 1024 * 1024  # the same, encoded; one block and its votes fit
MAX_EARLY_STRANGERS_BYTES: Final = 8 * MAX_EARLY_BYTES  # the same, of all who have no place in this epoch
MAX_EARLY_PEERS: Final = 512  # of whom any are kept: two full sets; members of this epoch always are
EARLY_AT_ONCE: Final = 64  # handled in one turn


class EarlyMessages:
    """What is kept of the next epoch, and what is left to handle of the one that began."""

    __slots__ = ("_due", "_sizes", "kept")

    def __init__(self) -> None:
        self.kept: dict[Peer, tuple[Message, ...]] = {}  # of the next epoch
        self._sizes: dict[Peer, tuple[int, ...]] = {}  # of each of these, encoded, in bytes
        self._due: dict[Peer, tuple[Message, ...]] = {}  # of this epoch, in the order of handling

    def copy(self) -> "EarlyMessages":
        """An independent copy."""
        twin = EarlyMessages()
        twin.kept, twin._sizes, twin._due = dict(self.kept), dict(self._sizes), dict(self._due)
        return twin

    def state(self) -> list[list[tuple[Peer, list[bytes]]]]:
        """All that is in here, in an order that does not depend on when it came."""
        return [
            [(peer, [encode_message(each) for each in messages]) for peer, messages in sorted(table.items())]
            for table in (self.kept, self._due)
        ]

    # --- before the epoch

    def keep(self, peer: Peer, message: Message, members: Collection[Peer]) -> None:
        """Keep a message, the newest of each peer; `members` are those of the epoch under way."""
        stranger = peer not in members
        if stranger and peer not in self.kept and len(self.kept) >= MAX_EARLY_PEERS:
            return
        kept = (*self.kept.get(peer, ()), message)[-MAX_EARLY:]
        sizes = (*self._sizes.get(peer, ()), len(encode_message(message)))[-MAX_EARLY:]
        while sum(sizes) > MAX_EARLY_BYTES:
            kept, sizes = kept[1:], sizes[1:]
        if stranger and sum(sizes) > MAX_EARLY_STRANGERS_BYTES - self._strangers_bytes(peer, members):
            return
        self.kept[peer], self._sizes[peer] = kept, sizes

    def forget(self, peer: Peer) -> None:
        """The peer is gone, and has no place in this epoch."""
        tables: tuple[dict[Peer, tuple[Message, ...]] | dict[Peer, tuple[int, ...]], ...]
        tables = (self.kept, self._sizes, self._due)
        for table in tables:
            table.pop(peer, None)

    def _strangers_bytes(self, but: Peer, members: Collection[Peer]) -> int:
        """What is kept of all who have no place in this epoch, but for one."""
        return sum(sum(sizes) for peer, sizes in self._sizes.items() if peer not in members and peer != but)

    # --- once it is there

    def begin(self, members: Mapping[Peer, Peer]) -> None:
        """The epoch of these members begins: what was kept is due, theirs first."""
        order = sorted(self.kept, key=lambda peer: (peer not in members, peer))
        self._due = {peer: self.kept[peer] for peer in order}
        self.kept, self._sizes = {}, {}

    @property
    def due(self) -> bool:
        """Whether something is left to handle."""
        return bool(self._due)

    def take(self) -> list[tuple[Peer, Message]]:
        """The next EARLY_AT_ONCE to handle, each peer's in the order in which they came."""
        taken: list[tuple[Peer, Message]] = []
        while self._due and len(taken) < EARLY_AT_ONCE:
            peer = next(iter(self._due))
            messages = self._due.pop(peer)
            room = EARLY_AT_ONCE - len(taken)
            taken += [(peer, each) for each in messages[:room]]
            if messages[room:]:
                self._due = {peer: messages[room:], **self._due}
        return taken
