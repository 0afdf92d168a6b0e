"""First votes as they came in, for the leader who puts some of them into a block (`rewards.participation`).

Agreement forgets the votes of a view once it is final, and a late vote moves nothing any more; here it still
counts for its voter. Nothing is verified when it is noted: each peer has a few places of its own, so what one
makes up displaces nobody else's, and costs one check if it is ever looked at.
"""

from collections.abc import Callable, Iterator
from typing import Final

from consensus.agreement.events import Peer
from consensus.agreement.messages import Kind, Message, Proposal, Vote
from consensus.agreement.validators import ValidatorSet
from consensus.candidates.receipts import bitmap_members
from consensus.primitives.ids import Epoch, Hash, PublicKey, Signature, ValidatorIndex, View
from consensus.relay.rewards.records import Sample
from consensus.relay.rewards.votes import VoteInclusion, vote_bytes, vote_inclusion

MAX_PEERS: Final = 512
MAX_VOTES: Final = 128  # of one peer: its newest; a vote is asked for up to two rounds after it was cast

Noted = tuple[View, ValidatorIndex, Signature]


class VoteBook:
    """The newest first votes of each peer and of this node."""

    def __init__(self) -> None:
        self._votes: dict[Peer | None, dict[tuple[Epoch, Hash], Noted]] = {}

    def note(self, peer: Peer | None, message: Message) -> None:
        """Remember the first vote in a message that `peer` sent; None is this node itself."""
        vote = message.vote if isinstance(message, Proposal) else message
        if not isinstance(vote, Vote) or vote.kind != Kind.NOTARIZE:
            return
        votes = self._votes.get(peer)
        if votes is None:
            if len(self._votes) >= MAX_PEERS:
                del self._votes[next(iter(self._votes))]
            votes = self._votes[peer] = {}
        votes[vote.epoch, vote.block] = vote.view, vote.signer, vote.sig
        if len(votes) > MAX_VOTES:
            del votes[next(iter(votes))]

    def inclusion(
        self,
        sample: Sample,
        *,
        epoch: Epoch,
        validators: ValidatorSet,
        chain_id_hash: Hash,
        verify: Callable[[PublicKey, bytes, Signature], bool],
    ) -> VoteInclusion | None:
        """The votes for the sample that no block carries yet; None if there are none, or too few to begin."""
        by_view: dict[View, list[tuple[Peer | None, ValidatorIndex, Signature]]] = {}
        for peer, (view, signer, signature) in self._noted(epoch, sample.block):
            if sample.view in (0, view) and signer < len(validators):
                by_view.setdefault(view, []).append((peer, signer, signature))
        counted = set(bitmap_members(sample.seen))
        for view, noted in sorted(by_view.items(), key=lambda each: (-len(each[1]), each[0])):
            message = vote_bytes(chain_id_hash, epoch, view, sample.block)
            found: dict[ValidatorIndex, Signature] = {}
            for peer, signer, signature in noted:
                if signer in counted or signer in found:
                    continue
                if verify(validators.keys[signer], message, signature):
                    found[signer] = signature
                else:  # a leader looks again and again while it waits for something to say
                    del self._votes[peer][epoch, sample.block]
            if found and (sample.view or validators.weight(found) >= validators.stake.quorum):
                return vote_inclusion(sample.block, view, found)
        return None

    def _noted(self, epoch: Epoch, block: Hash) -> Iterator[tuple[Peer | None, Noted]]:
        for peer, votes in self._votes.items():
            noted = votes.get((epoch, block))
            if noted is not None:
                yield peer, noted
