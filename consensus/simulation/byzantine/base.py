"""What a Byzantine validator can do: see its own traffic, rewrite it, and sign with its own key."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from consensus.agreement.messages import Header, Kind, Message, Proposal, Vote, block_hash, sign_bytes
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Signature, ValidatorIndex, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """The place of one Byzantine validator in one epoch: its key, its peers, time, randomness of its own.

    `node` is its identity, `index` its place in the set. A node that has no place has a Seat only for what
    needs none: `former` is the last one it held, whose key it still has.
    """

    node: int
    everybody: range
    index: ValidatorIndex
    validators: ValidatorSet
    chain_id_hash: Hash
    epoch: Epoch
    random: Random
    sign: Callable[[bytes], Signature]
    send: Callable[[int, Message], None]  # straight to the network
    after: Callable[[int, Callable[[], None]], None]  # microseconds
    bound_us: int  # the network's bound on delay
    former: "Seat | None" = None

    def peers(self) -> list[int]:
        """Everybody else."""
        return [peer for peer in self.everybody if peer != self.node]

    def leads(self, view: View) -> bool:
        """Whether this validator leads the view."""
        return view >= 1 and self.validators.leader(view) == self.index

    def signature(self, kind: Kind, view: View, block: Hash, aux: Hash = ZERO_HASH) -> Signature:
        """Sign anything at all with this validator's key."""
        return self.sign(sign_bytes(self.chain_id_hash, kind, self.epoch, view, block, aux))

    def vote(
        self,
        kind: Kind,
        view: View,
        block: Hash,
        *,
        aux: Hash = ZERO_HASH,
        leader_sig: Signature | None = None,
    ) -> Vote:
        """A vote with this validator's signature, allowed or not."""
        sig = self.signature(kind, view, block, aux)
        return Vote(
            kind=int(kind),
            epoch=self.epoch,
            view=view,
            block=block,
            aux=aux,
            signer=self.index,
            sig=sig,
            leader_sig=leader_sig,
        )

    def proposal(self, header: Header, payload: bytes | None, like: Proposal) -> Proposal:
        """A proposal of `header` with this validator's signature and own vote; support as in `like`."""
        name = block_hash(header)
        leader_sig = self.signature(Kind.PROPOSE, header.view, name)
        return Proposal(
            header=header,
            leader_sig=leader_sig,
            payload=payload,
            support=like.support,
            vote=self.vote(Kind.NOTARIZE, header.view, name, leader_sig=leader_sig),
        )


class Behaviour:
    """Rewrites the traffic of a node that is otherwise correct. This base changes nothing.

    One lasts for an epoch. Those that are `seatless` also act while their node has no place in the set.
    """

    seatless = False

    def __init__(self, seat: Seat) -> None:
        self.seat = seat

    def outgoing(self, destination: int, message: Message) -> None:
        """The node wants to send `message`; pass on what the behaviour makes of it."""
        self.seat.send(destination, message)

    def incoming(self, source: int, message: Message) -> bool:
        """A message arrives; whether the node gets to see it."""
        return True
