"""Dates its blocks ahead of every clock, around what the others still accept."""

from dataclasses import replace

from consensus.agreement.messages import Message, Proposal
from consensus.primitives.ids import Milliseconds, View
from consensus.simulation.byzantine.base import Behaviour, Seat

AHEAD_MS = (250, 450, 550, 900, 2_000, 4_000)  # PRECISION is 500 ms, and clocks differ by some 200


class FutureBlocks(Behaviour):
    """Each own proposal is of a time to come; of some views, everybody's is another."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._dated: dict[View, list[Proposal]] = {}

    def outgoing(self, destination: int, message: Message) -> None:
        """Replace own proposals by dated ones."""
        random = self.seat.random
        if isinstance(message, Proposal) and message.header.proposer == self.seat.index:
            view = message.header.view
            if view not in self._dated:
                self._dated[view] = [
                    self._date(message, random.choice(AHEAD_MS)) for _ in range(random.choice((1, 1, 2)))
                ]
            message = random.choice(self._dated[view])
        self.seat.send(destination, message)

    def _date(self, honest: Proposal, ahead_ms: int) -> Proposal:
        header = replace(honest.header, time_ms=Milliseconds(honest.header.time_ms + ahead_ms))
        return self.seat.proposal(header, honest.payload, honest)
