"""Lets each message reach only some peers: everybody knows it is alive, nobody agrees on what it said."""

from consensus.agreement.messages import Certificate, Message, Proposal, Vote
from consensus.primitives.ids import View
from consensus.simulation.byzantine.base import Behaviour, Seat


class VotesToSome(Behaviour):
    """Votes, certificates and proposals of a view go to a random part of the peers, fixed for that view."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._chosen: dict[tuple[str, View], frozenset[int]] = {}

    def outgoing(self, destination: int, message: Message) -> None:
        """Send to the chosen peers of this kind of message and view alone."""
        if isinstance(message, Proposal):
            chosen = self._part("proposal", message.header.view)
        elif isinstance(message, Vote | Certificate):
            chosen = self._part(type(message).__name__, message.view)
        else:
            chosen = frozenset((destination,))
        if destination in chosen:
            self.seat.send(destination, message)

    def _part(self, what: str, view: View) -> frozenset[int]:
        chosen = self._chosen.get((what, view))
        if chosen is None:
            peers = self.seat.peers()
            chosen = frozenset(self.seat.random.sample(peers, self.seat.random.randint(0, len(peers))))
            self._chosen[what, view] = chosen
        return chosen
