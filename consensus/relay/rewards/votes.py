"""Votes in a block: the record of who took part (CONSENSUS.md section 15.4).

Agreement's headers carry no votes, so a leader puts some into its payload: NOTARIZE signatures for a recent
block of the same epoch, as many as it has. They decide rewards and nothing else. One that is malformed makes
its block invalid, because the leader had the form in its hands; one that is stale, names somebody twice or
has a bad signature is void.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.agreement.messages import Kind, sign_bytes
from consensus.agreement.validators import MAX_VALIDATORS
from consensus.candidates.receipts import bitmap_members, bitmap_of
from consensus.primitives.codec import MaxLength, encode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH, Hash, Signature, ValidatorIndex, View
from consensus.relay.transactions import SIGNATURE_WEIGHT

VOTES_WEIGHT: Final = 100  # microseconds beside the signatures


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteInclusion:
    """NOTARIZE votes of the block's own epoch for `block`, which was proposed in `view`.

    `signers` and `signatures` are as in `CandidateInclusion`: bit i of the bitmap, which ends in no zero
    byte, stands for validator i, and signatures are in increasing order of index.
    """

    WIRE_VERSION: ClassVar[int] = 1
    block: Hash
    view: View
    signers: Annotated[bytes, MaxLength((MAX_VALIDATORS + 7) // 8)]
    signatures: Annotated[tuple[Signature, ...], MaxLength(MAX_VALIDATORS)]

    def __post_init__(self) -> None:
        if not self.signers or self.signers[-1] == 0:
            raise ValueError("the bitmap of voters is empty or ends in a zero byte")
        if sum(byte.bit_count() for byte in self.signers) != len(self.signatures):
            raise ValueError("the bitmap of voters and the signatures differ in number")
        if self.view < 1:
            raise ValueError("votes of view 0")

    def signed(self) -> Iterator[tuple[ValidatorIndex, Signature]]:
        """Voters with their signatures, in increasing order of index."""
        return zip(bitmap_members(self.signers), self.signatures, strict=True)


def vote_inclusion(block: Hash, view: View, votes: Mapping[ValidatorIndex, Signature]) -> VoteInclusion:
    """The votes in their wire form. Raises ValueError if there are none."""
    order = sorted(votes)
    return VoteInclusion(
        block=block, view=view, signers=bitmap_of(order), signatures=tuple(votes[each] for each in order)
    )


def votes_hash(votes: VoteInclusion) -> Hash:
    """Names the votes of a block, where they are void."""
    return hash_tagged(b"PHALANX/votes/1", encode(votes))


def votes_weight(votes: VoteInclusion) -> int:
    """Microseconds that counting them may take on the reference machine."""
    return VOTES_WEIGHT + SIGNATURE_WEIGHT * len(votes.signatures)


def vote_bytes(chain_id_hash: Hash, epoch: int, view: int, block: Hash) -> bytes:
    """What each of the signatures is of."""
    return sign_bytes(chain_id_hash, Kind.NOTARIZE, epoch, view, block, ZERO_HASH)
