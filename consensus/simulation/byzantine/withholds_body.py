"""Proposes headers whose bodies only a few ever get, and answers no request for a body."""

from dataclasses import replace

from consensus.agreement.messages import Chain, Message, Proposal
from consensus.simulation.byzantine.base import Behaviour, Seat


class WithholdsBody(Behaviour):
    """Of every proposal, own or fetched, a random part of the peers gets the header alone."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._share = seat.random.choice((0, 1, 2))  # of four peers, how many get the body

    def outgoing(self, destination: int, message: Message) -> None:
        """Strip bodies; serve no chain."""
        if isinstance(message, Proposal):
            if message.header.proposer != self.seat.index:
                return
            if self.seat.random.randrange(4) >= self._share:
                message = replace(message, payload=None)
        elif isinstance(message, Chain):
            return
        self.seat.send(destination, message)
