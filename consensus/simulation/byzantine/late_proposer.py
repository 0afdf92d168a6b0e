"""Proposes so late that some have skipped the view and some have not."""

from consensus.agreement.messages import Message, Proposal
from consensus.simulation.byzantine.base import Behaviour, Seat


class LateProposer(Behaviour):
    """Holds own proposals back by about the skip timer, for each peer by a delay of its own."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._most_us = seat.random.choice((4 * seat.bound_us, 50_000, 400_000))

    def outgoing(self, destination: int, message: Message) -> None:
        """Delay proposals of own views, and nothing else."""
        if isinstance(message, Proposal) and message.header.proposer == self.seat.index:
            delay_us = self.seat.random.randrange(self._most_us + 1)
            self.seat.after(delay_us, lambda: self.seat.send(destination, message))
        else:
            self.seat.send(destination, message)
