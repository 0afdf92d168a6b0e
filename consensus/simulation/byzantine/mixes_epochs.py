"""Uses keys and messages of one epoch in another: replays, renamed epochs, votes of one who has left."""

from dataclasses import replace

from consensus.agreement.messages import (
    Certificate,
    FaultNotice,
    Kind,
    Message,
    Proposal,
    Status,
    Vote,
    block_hash,
)
from consensus.primitives.ids import Epoch, Hash, View
from consensus.simulation.byzantine.base import Behaviour, Seat

KEPT = 96
HUGE = Epoch((1 << 64) - 1)


class MixesEpochs(Behaviour):
    """Beside its own traffic: what it heard epochs ago, and signatures where they do not belong."""

    seatless = True

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._heard: list[Message] = []
        self._old = seat.former or seat

    def incoming(self, source: int, message: Message) -> bool:
        """Keep what was heard."""
        self._heard.append(message)
        del self._heard[:-KEPT]
        return True

    def outgoing(self, destination: int, message: Message) -> None:
        """Send the message, and now and then something from another time."""
        random = self.seat.random
        self.seat.send(destination, message)
        if self._heard and random.randrange(3) == 0:
            self.seat.send(destination, self._renamed(random.choice(self._heard)))
        if self._heard and random.randrange(4) == 0:
            for vote in self._misplaced_votes(random.choice(self._heard)):
                self.seat.send(destination, vote)

    def _renamed(self, message: Message) -> Message:
        random = self.seat.random
        if isinstance(message, Vote | Certificate | FaultNotice | Status):
            other = random.choice((Epoch(max(0, message.epoch - 1)), Epoch(message.epoch + 1), HUGE))
            return replace(message, epoch=other)
        if isinstance(message, Proposal) and random.randrange(2):
            other = Epoch(message.header.epoch + 1)
            return replace(message, header=replace(message.header, epoch=other))
        return message

    def _misplaced_votes(self, message: Message) -> list[Vote]:
        """Votes for a block that was heard of, with the former key in this epoch and the key in others."""
        if not isinstance(message, Proposal):
            return []
        block, view = block_hash(message.header), message.header.view
        leader_sig = message.leader_sig
        ahead = replace(self.seat, epoch=Epoch(self.seat.epoch + 1))
        left = replace(self._old, epoch=self.seat.epoch)
        return [
            *(seat.vote(Kind.NOTARIZE, view, block, leader_sig=leader_sig) for seat in (ahead, left)),
            ahead.vote(Kind.SKIP, View(1), Hash(bytes(32))),
            self._old.vote(Kind.FINALIZE, view, block),
        ]
