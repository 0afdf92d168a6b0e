"""Sends certificates that are not: too few signers, foreign signatures, another block, view or type."""

from dataclasses import replace

from consensus.agreement.messages import Certificate, CertificateType, Group, Message, Proposal, Status
from consensus.primitives.ids import ZERO_HASH, Hash, Signature, View
from consensus.simulation.byzantine.base import Behaviour, Seat


class ForgedCertificates(Behaviour):
    """Keeps the true certificates it meets and sends broken copies of them beside its own traffic."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._known: list[Certificate] = []

    def incoming(self, source: int, message: Message) -> bool:
        """Collect certificates."""
        if isinstance(message, Certificate):
            self._collect(message)
        elif isinstance(message, Proposal):
            for certificate in message.support:
                self._collect(certificate)
        return True

    def outgoing(self, destination: int, message: Message) -> None:
        """Beside some of its own messages, a forgery; forged support in its own proposals."""
        if isinstance(message, Certificate):
            self._collect(message)
        if self._known and not isinstance(message, Status) and self.seat.random.randrange(4) == 0:
            forged = self._forge()
            self.seat.send(destination, forged)
            if isinstance(message, Proposal):
                message = replace(message, support=(forged, *message.support))
        self.seat.send(destination, message)

    def _collect(self, certificate: Certificate) -> None:
        if certificate.groups:  # another forger's may have none
            self._known.append(certificate)
            del self._known[:-16]

    def _forge(self) -> Certificate:
        random = self.seat.random
        true = random.choice(self._known)
        group = true.groups[0]
        junk = Hash(random.randbytes(32))
        size = len(self.seat.validators)
        everybody = bytearray((size + 7) // 8)
        for index in range(size):
            everybody[index // 8] |= 1 << index % 8
        one = bytearray(len(everybody))
        one[self.seat.index // 8] |= 1 << self.seat.index % 8
        own = Group(
            kind=group.kind,
            block=group.block,
            aux=group.aux,
            bitmap=bytes(one),
            sigs=(self.seat.signature(group.kind, true.view, group.block, group.aux),),  # type: ignore[arg-type]
        )
        forgeries = [
            replace(true, view=View(true.view + random.choice((1, 2, 1_000_000)))),
            replace(
                true,
                ctype=int(random.choice([*CertificateType])),
                block=random.choice((true.block, ZERO_HASH)),
            ),
            replace(true, block=junk),
            replace(true, groups=(own,)),
            replace(true, groups=(own,) * 8),
            replace(true, groups=true.groups + true.groups),
            replace(true, groups=()),
            replace(true, epoch=type(true.epoch)(true.epoch + 1)),
            replace(
                true,
                groups=(
                    replace(
                        group,
                        bitmap=bytes(everybody),
                        sigs=tuple(Signature(random.randbytes(64)) for _ in range(size)),
                    ),
                ),
            ),
            replace(true, groups=(replace(group, sigs=group.sigs[:-1]), *true.groups[1:])),
            replace(true, leader_sigs=()),
        ]
        return random.choice(forgeries)
