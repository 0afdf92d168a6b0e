"""Signs everything that helps to fork: several blocks a view, and different votes to different peers."""

from dataclasses import replace

from consensus.agreement.messages import (
    GetBlock,
    Justification,
    Kind,
    Message,
    Proposal,
    Vote,
    block_hash,
    payload_root,
)
from consensus.primitives.ids import ZERO_HASH, Hash, Signature, View
from consensus.simulation.application import VALID_MARK
from consensus.simulation.byzantine.base import Behaviour, Seat


class Equivocator(Behaviour):
    """As leader proposes two or three blocks; as voter tells each peer something of its own."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._blocks: dict[View, dict[Hash, Signature]] = {}  # known blocks of a view, with sigL
        self._own: dict[View, list[Proposal]] = {}
        self._reasons: dict[tuple[View, int, Hash, Hash], Justification] = {}
        self._lies = seat.random.choice((2, 4, 8))  # of ten votes, how many are not the node's own

    def outgoing(self, destination: int, message: Message) -> None:
        """Choose per destination which block it sees and which votes it gets."""
        seat = self.seat
        if isinstance(message, Proposal) and message.header.proposer == seat.index:
            for proposal in self._choose(message):
                seat.send(destination, proposal)
        elif isinstance(message, Vote) and message.signer == seat.index:
            seat.send(destination, message)
            if seat.random.randrange(10) < self._lies:
                for lie in self._other_votes(message.view):
                    seat.send(destination, lie)
        else:
            seat.send(destination, message)

    def incoming(self, source: int, message: Message) -> bool:
        """Learn the blocks of each view, and serve the bodies of its own."""
        if isinstance(message, Proposal):
            self._learn(message.header.view, block_hash(message.header), message.leader_sig)
        elif isinstance(message, Vote):
            if message.kind == Kind.NOTARIZE and message.leader_sig is not None:
                self._learn(message.view, message.block, message.leader_sig)
            if message.justification is not None:
                key = (message.view, message.kind, message.block, message.aux)
                self._reasons[key] = message.justification
        elif isinstance(message, GetBlock):
            for proposals in self._own.values():
                for proposal in proposals:
                    if block_hash(proposal.header) == message.block:
                        self.seat.send(source, replace(proposal, support=(), vote=None))
                        return False
        return True

    def _learn(self, view: View, block: Hash, leader_sig: Signature) -> None:
        known = self._blocks.setdefault(view, {})
        if len(known) < 4:
            known[block] = leader_sig

    def _choose(self, honest: Proposal) -> list[Proposal]:
        view, random = honest.header.view, self.seat.random
        if view not in self._own:
            self._own[view] = [honest] + [
                self._variant(honest, number) for number in range(random.choice((1, 1, 2)))
            ]
        if random.randrange(8) == 0:
            return []
        return random.sample(self._own[view], random.choice((1, 1, 1, 2)))

    def _variant(self, honest: Proposal, number: int) -> Proposal:
        payload = VALID_MARK + b"equivocation %d %d" % (number, self.seat.random.randrange(1 << 32))
        header = replace(honest.header, payload_root=payload_root(payload), payload_len=len(payload))
        variant = self.seat.proposal(header, payload, honest)
        self._learn(header.view, block_hash(header), variant.leader_sig)
        return variant

    def _other_votes(self, view: View) -> list[Vote]:
        seat, random = self.seat, self.seat.random
        blocks = self._blocks.get(view, {})
        votes = []
        for block, leader_sig in blocks.items():
            if random.randrange(2):
                votes.append(seat.vote(Kind.NOTARIZE, view, block, leader_sig=leader_sig))
            if random.randrange(2):
                votes.append(seat.vote(Kind.FINALIZE, view, block))
            if random.randrange(3) == 0:
                votes.append(seat.vote(Kind.NFALL, view, block))
            reason = self._reasons.get((view, Kind.SFALL, block, ZERO_HASH))
            if reason is not None and random.randrange(2):
                votes.append(replace(seat.vote(Kind.SFALL, view, block), justification=reason))
        if random.randrange(2):
            votes.append(seat.vote(Kind.SKIP, view, ZERO_HASH))
        return votes
