"""Signs blocks that break a rule: payload, state root, height, time, parent, proposer, flags."""

from dataclasses import replace

from consensus.agreement.messages import Header, Message, Proposal, payload_root
from consensus.primitives.ids import Hash, Height, Milliseconds, ValidatorIndex, View
from consensus.simulation.byzantine.base import Behaviour, Seat

INVALID_PAYLOAD = b"an invalid payload"


class InvalidBlocks(Behaviour):
    """Each own proposal becomes one broken block, the same for everybody."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._broken: dict[View, Proposal] = {}

    def outgoing(self, destination: int, message: Message) -> None:
        """Replace own proposals by the view's broken one."""
        if isinstance(message, Proposal) and message.header.proposer == self.seat.index:
            view = message.header.view
            if view not in self._broken:
                self._broken[view] = self._break(message)
            message = self._broken[view]
        self.seat.send(destination, message)

    def _break(self, honest: Proposal) -> Proposal:
        header, random = honest.header, self.seat.random
        bad = Hash(random.randbytes(32))
        kinds: list[Header] = [
            replace(header, payload_root=payload_root(INVALID_PAYLOAD), payload_len=len(INVALID_PAYLOAD)),
            replace(header, payload_root=bad),
            replace(header, payload_len=header.payload_len + 1),
            replace(header, state_root=bad),
            replace(header, height=Height(header.height + random.choice((-1, 1, 1_000)))),
            replace(header, time_ms=Milliseconds(header.time_ms + random.choice((-10_000, 3_000, 10**9)))),
            replace(header, parent_hash=bad),
            replace(header, parent_view=View(max(0, header.parent_view - 1))),
            replace(header, proposer=ValidatorIndex((header.proposer + 1) % len(self.seat.validators))),
            replace(header, validators_hash=bad),
            replace(header, next_validators_hash=bad),
            replace(header, flags=random.choice((1, 2, 4, 255))),
        ]
        pick = random.randrange(len(kinds))
        return self.seat.proposal(kinds[pick], INVALID_PAYLOAD if pick == 0 else honest.payload, honest)
