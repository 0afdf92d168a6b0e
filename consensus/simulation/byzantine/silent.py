"""Sends nothing at all, from the start or from some moment on, though its sessions stand."""

from consensus.agreement.messages import Message
from consensus.simulation.byzantine.base import Behaviour, Seat


class Silent(Behaviour):
    """Takes part, then falls silent for good."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._talks = bool(seat.random.randrange(2))
        if self._talks:
            seat.after(seat.random.randrange(1, 100 * seat.bound_us), self._hush)

    def _hush(self) -> None:
        self._talks = False

    def outgoing(self, destination: int, message: Message) -> None:
        """Drop everything, once silent."""
        if self._talks:
            self.seat.send(destination, message)
