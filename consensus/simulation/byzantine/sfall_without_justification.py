"""Casts fallback votes that nothing justifies, bare or with stripped, foreign or forged justifications."""

from dataclasses import replace

from consensus.agreement.messages import (
    Group,
    Justification,
    Kind,
    LeaderSignature,
    Message,
    Proposal,
    Vote,
    block_hash,
)
from consensus.primitives.ids import ZERO_HASH, Hash, Signature, View
from consensus.simulation.byzantine.base import Behaviour, Seat


class SfallWithoutJustification(Behaviour):
    """After each own first vote also sends SFALL and NFALL whose reasons do not hold."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._leader_sigs: dict[View, tuple[Hash, Signature]] = {}
        self._others: list[Justification] = []

    def incoming(self, source: int, message: Message) -> bool:
        """Collect true justifications, to use them where they prove nothing."""
        if isinstance(message, Proposal):
            self._leader_sigs[message.header.view] = (block_hash(message.header), message.leader_sig)
        elif isinstance(message, Vote) and message.justification is not None and len(self._others) < 64:
            self._others.append(message.justification)
        return True

    def outgoing(self, destination: int, message: Message) -> None:
        """Strip the justification of true fallback votes; add false ones beside first votes."""
        if isinstance(message, Vote) and message.signer == self.seat.index:
            if message.justification is not None:
                self.seat.send(destination, replace(message, justification=None))
            elif message.kind in (Kind.NOTARIZE, Kind.SKIP):
                for lie in self._lies(message.view):
                    self.seat.send(destination, lie)
        self.seat.send(destination, message)

    def _lies(self, view: View) -> list[Vote]:
        seat = self.seat
        known = self._leader_sigs.get(view)
        if known is None:
            return []
        block, leader_sig = known
        other = Hash(seat.random.randbytes(32))
        reasons = [None, self._own_group(view, block, leader_sig)]
        if self._others:
            reasons.append(seat.random.choice(self._others))
        reason = seat.random.choice(reasons)
        return [
            replace(seat.vote(Kind.SFALL, view, block), justification=reason),
            replace(seat.vote(Kind.NFALL, view, block, aux=other), justification=reason),
            seat.vote(Kind.NFALL, view, other, aux=block),
        ]

    def _own_group(self, view: View, block: Hash, leader_sig: Signature) -> Justification:
        """This validator's own first votes, both of them, as if they were a crowd's."""
        seat = self.seat
        bitmap = bytearray((len(seat.validators) + 7) // 8)
        bitmap[seat.index // 8] |= 1 << seat.index % 8
        groups = tuple(
            Group(
                kind=int(kind),
                block=named,
                aux=ZERO_HASH,
                bitmap=bytes(bitmap),
                sigs=(seat.signature(kind, view, named),),
            )
            for kind, named in ((Kind.NOTARIZE, block), (Kind.SKIP, ZERO_HASH))
        )
        return Justification(
            groups=groups, fault=None, leader_sigs=(LeaderSignature(block=block, sig=leader_sig),)
        )
