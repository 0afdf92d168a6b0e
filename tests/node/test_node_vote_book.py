"""What a leader remembers of others' votes: late ones too, nobody displaced by what another makes up."""

from consensus.agreement.events import Peer
from consensus.agreement.messages import Kind, Vote
from consensus.agreement.validators import Validator, ValidatorSet
from consensus.primitives import crypto
from consensus.primitives.crypto import SigningKey, hash_tagged
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Height, Signature, Stake, ValidatorIndex, View
from consensus.relay.rewards.records import Sample
from consensus.relay.rewards.votes import vote_bytes
from node.vote_book import MAX_PEERS, MAX_VOTES, VoteBook

CHAIN = Hash(bytes([7]) * 32)
EPOCH = Epoch(3)
KEYS = [SigningKey(hash_tagged(b"test-key", bytes([index]))) for index in range(4)]
SET = ValidatorSet(
    [Validator(key=each.public, stake=Stake(10)) for each in KEYS], chain_id_hash=CHAIN, epoch=EPOCH
)
BLOCK = hash_tagged(b"test-block")
SAMPLE = Sample(height=Height(5), block=BLOCK, view=View(0), opens=Height(9), closes=Height(12), seen=b"")


def vote(
    index: int, *, block: Hash = BLOCK, view: int = 5, kind: Kind = Kind.NOTARIZE, good: bool = True
) -> Vote:
    signature = KEYS[index].sign(vote_bytes(CHAIN, EPOCH, view, block))
    return Vote(
        kind=int(kind),
        epoch=EPOCH,
        view=View(view),
        block=block,
        aux=ZERO_HASH,
        signer=ValidatorIndex(index),
        sig=signature if good else Signature(bytes(64)),
    )


def included(book: VoteBook, sample: Sample = SAMPLE) -> tuple[int, list[int]] | None:
    found = book.inclusion(sample, epoch=EPOCH, validators=SET, chain_id_hash=CHAIN, verify=crypto.verify)
    if found is None:
        return None
    message = vote_bytes(CHAIN, EPOCH, found.view, found.block)
    assert all(crypto.verify(KEYS[index].public, message, each) for index, each in found.signed())
    return found.view, [index for index, _ in found.signed()]


def test_a_quorum_begins_and_stragglers_follow() -> None:
    book = VoteBook()
    for index in (0, 2):
        book.note(Peer(index), vote(index))
    assert included(book) is None
    book.note(None, vote(3))
    assert included(book) == (5, [0, 2, 3])
    begun = Sample(
        height=SAMPLE.height, block=BLOCK, view=View(5), opens=Height(9), closes=Height(12), seen=b"\x0d"
    )
    assert included(book, begun) is None
    book.note(Peer(1), vote(1))
    assert included(book, begun) == (5, [1])
    assert included(book) == (5, [0, 1, 2, 3])


def test_what_is_forged_displaces_nothing() -> None:
    """A peer speaks for itself alone: neither a bad signature in another's name nor a flood has an effect."""
    book = VoteBook()
    book.note(Peer(97), vote(0, good=False))  # before the one whose name it bears
    for index in range(4):
        book.note(Peer(index), vote(index))
    for number in range(3 * MAX_VOTES):
        book.note(Peer(99), vote(1, good=False))
        book.note(Peer(99), vote(2, block=hash_tagged(b"x", number.to_bytes(4, "big")), good=False))
    book.note(Peer(98), vote(0, view=6, good=False))
    assert included(book) == (5, [0, 1, 2, 3])


def test_what_is_forged_costs_one_check() -> None:
    book, checked = VoteBook(), []
    book.note(Peer(97), vote(0, good=False))

    def verify(*signed) -> bool:
        checked.append(signed)
        return crypto.verify(*signed)

    for _ in range(3):
        found = book.inclusion(SAMPLE, epoch=EPOCH, validators=SET, chain_id_hash=CHAIN, verify=verify)
        assert found is None
    assert len(checked) == 1


def test_votes_of_other_kinds_blocks_and_epochs_do_not_count() -> None:
    book = VoteBook()
    for index in range(3):
        book.note(Peer(index), vote(index, kind=Kind.FINALIZE))
        book.note(Peer(index), vote(index, block=hash_tagged(b"other")))
    assert included(book) is None


def test_one_vote_under_another_view_is_left_out() -> None:
    book = VoteBook()
    for index in range(3):
        book.note(Peer(index), vote(index))
    book.note(Peer(3), vote(3, view=6))
    assert included(book) == (5, [0, 1, 2])


def test_memory_is_bounded() -> None:
    book = VoteBook()
    for peer in range(MAX_PEERS + 5):
        for number in range(3):
            book.note(Peer(peer), vote(0, block=hash_tagged(b"y", bytes([number])), good=False))
    for number in range(MAX_VOTES + 9):
        book.note(Peer(0), vote(0, block=hash_tagged(b"z", number.to_bytes(4, "big")), good=False))
    assert len(book._votes) == MAX_PEERS
    assert max(len(each) for each in book._votes.values()) == MAX_VOTES
