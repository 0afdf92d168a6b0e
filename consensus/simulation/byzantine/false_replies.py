"""Answers amnesia probes to do harm: with certificates long overtaken, or none, and lies about boundaries."""

from consensus.agreement.messages import (
    AmnesiaProbe,
    AmnesiaReply,
    Certificate,
    Kind,
    Message,
    amnesia_reply_hash,
)
from consensus.primitives.ids import View
from consensus.simulation.byzantine.base import Behaviour, Seat


class FalseReplies(Behaviour):
    """Otherwise correct: whoever lost its memory asks it in good faith."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._known: list[Certificate] = []

    def incoming(self, source: int, message: Message) -> bool:
        """Collect certificates, the oldest first; answer probes at once."""
        if isinstance(message, Certificate) and len(self._known) < 8:
            self._known.append(message)
        if not isinstance(message, AmnesiaProbe) or message.epoch != self.seat.epoch:
            return True
        random = self.seat.random
        certificate = random.choice([None, *self._known])
        beyond = bool(random.randrange(2))
        view = View(0) if certificate is None else certificate.view
        digest = amnesia_reply_hash(certificate, beyond)
        reply = AmnesiaReply(
            epoch=message.epoch,
            nonce=message.nonce,
            certificate=certificate,
            beyond=beyond,
            signer=self.seat.index,
            sig=self.seat.signature(Kind.AMNESIA_REPLY, view, message.nonce, digest),
        )
        self.seat.send(source, reply)
        return False
