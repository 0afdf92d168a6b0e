"""Whom a collator asks for the body of a candidate that somebody else built."""

from types import SimpleNamespace

from consensus.agreement.events import Peer
from consensus.primitives.ids import Hash, Height
from node.adoption import ASK_AGAIN_S, Adoption

MEMBERS = [Peer(number) for number in (12, 3, 40, 7)]  # a peer's number is no validator's index
HEAD, CANDIDATE = Hash(b"h" * 32), Hash(b"c" * 32)


def inclusion(*signers: int) -> SimpleNamespace:
    header = SimpleNamespace(height=Height(6), parent_head=HEAD, hash=CANDIDATE, inbox=(), chain=1)
    return SimpleNamespace(header=header, signed=lambda: [(signer, b"") for signer in signers])


def test_those_who_attested_it_are_asked_in_turns_each_under_its_number() -> None:
    adoption, asked = Adoption(), []
    adoption.enacted(inclusion(0, 2, 3), before=None, validators=MEMBERS)
    for turn in range(4):
        for _ in range(2):  # one at a time
            assert adoption.ask(
                Height(5), HEAD, turn * ASK_AGAIN_S, lambda peer, name: asked.append((peer, name))
            )
    assert asked == [(Peer(number), CANDIDATE) for number in (12, 40, 7, 12)]
    assert not adoption.ask(Height(6), CANDIDATE, 9.0, lambda peer, name: asked.append(peer))
    adoption.forget(Height(6))
    assert len(adoption) == 0
