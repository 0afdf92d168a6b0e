"""Evidence is kept once for each offender, survives a restart, and convicts whoever sends a false one."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from node_world import RecordingLog
from relay_fakes import VALIDATORS, make_genesis

from consensus.agreement.evidence import Evidence, SignedStatement, evidence_from
from consensus.agreement.messages import Kind, sign_bytes
from consensus.primitives.codec import encode
from consensus.primitives.errors import PeerFault, UserError
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Height, ValidatorIndex, View
from net.identity import PeerId
from node.evidence_pool import MAX_EARLY, EvidencePool, KeptEvidence
from node.validator_set import genesis_validators

GENESIS = make_genesis()
SET = genesis_validators(GENESIS)
PEER, FLOODER = PeerId(b"p" * 32), PeerId(b"f" * 32)


def double_finalize(signer: int, view: int, epoch: int = 1) -> Evidence:
    """Two FINALIZE signatures of one validator in one view."""
    return pair(signer, view, epoch, (Kind.FINALIZE, b"a" * 32), (Kind.FINALIZE, b"b" * 32))


def contradiction(signer: int, view: int, epoch: int = 1) -> Evidence:
    """A milder thing: NOTARIZE and SKIP of one validator in one view."""
    return pair(signer, view, epoch, (Kind.NOTARIZE, b"a" * 32), (Kind.SKIP, ZERO_HASH))


def pair(signer: int, view: int, epoch: int, *votes: tuple[Kind, bytes]) -> Evidence:
    statements = []
    for kind, block in votes:
        signed = sign_bytes(GENESIS.hash, kind, epoch, view, Hash(block), ZERO_HASH)
        sig = VALIDATORS[signer].sign(signed)
        statements.append(SignedStatement(kind=int(kind), block=Hash(block), aux=ZERO_HASH, sig=sig))
    return evidence_from(
        epoch=Epoch(epoch),
        view=View(view),
        signer=ValidatorIndex(signer),
        a=statements[0],
        b=statements[1],
    )


class Made:
    """A pool, what it sent, and a clock of epochs."""

    def __init__(self, path: Path) -> None:
        self.epoch, self.oldest = 1, 1
        self.sent: list[Evidence] = []
        self.log = RecordingLog()
        self.pool = EvidencePool(
            path=path / "evidence",
            chain_id_hash=GENESIS.hash,
            validators=lambda epoch: SET if self.oldest <= epoch <= self.epoch else None,
            current=lambda: Epoch(self.epoch),
            log=self.log,  # type: ignore[arg-type]
        )
        self.pool.publish = self.sent.append
        self.banned: list[PeerId] = []
        self.pool.ban = lambda peer, reason: self.banned.append(peer)

    def restarted(self, path: Path) -> "Made":
        """Let the pool write, then open the file anew, as after SIGKILL."""

        async def write() -> None:
            with trio.move_on_after(0.2):
                await self.pool.run()

        trio.run(write)
        return Made(path)


def test_what_the_engine_found_is_flooded_once_and_offered_until_it_is_included(tmp_path) -> None:
    made = Made(tmp_path)
    first = double_finalize(2, 7)
    made.pool.found(first)
    made.pool.found(double_finalize(2, 8))  # the same offender again: nothing more to punish
    assert made.sent == [first]
    assert made.log.count("evidence.found") == 1
    assert made.pool.waiting() == (first,)
    made.pool.included(double_finalize(2, 9), Height(40))
    assert made.pool.waiting() == ()
    assert made.pool.all() == (KeptEvidence(evidence=first, included=Height(40)),)


def test_a_kill_loses_nothing_that_waits(tmp_path) -> None:
    made = Made(tmp_path)
    pieces = [double_finalize(signer, 5) for signer in range(3)]
    for each in pieces:
        assert made.pool.receive(each, PEER)
    made.pool.included(pieces[0], Height(9))
    again = made.restarted(tmp_path)
    assert again.pool.all() == made.pool.all()
    assert again.pool.waiting() == tuple(pieces[1:])
    assert not again.pool.receive(pieces[0], PEER)  # a peer that hands it over again is not news
    assert again.log.events == []


@given(cut=st.integers(0, 400), flip=st.integers(0, 255))
@settings(max_examples=30, deadline=None)
def test_a_damaged_file_is_an_empty_pool_and_never_a_false_accusation(tmp_path_factory, cut, flip) -> None:
    path = tmp_path_factory.mktemp("pool")
    made = Made(path)
    piece = double_finalize(1, 3)
    made.pool.found(piece)
    made.restarted(path)
    whole = (path / "evidence").read_bytes()
    raw = bytearray(whole)
    at = cut % len(raw)
    raw[at] ^= flip
    (path / "evidence").write_bytes(raw[:at] if flip == 0 else raw)
    again = Made(path)
    damaged = (path / "evidence").read_bytes() != whole
    assert [each.evidence for each in again.pool.all()] == ([] if damaged else [piece])
    assert again.log.count("evidence.file_damaged") == damaged


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_evidence_with_anything_changed_convicts_its_sender_and_changes_nothing(
    tmp_path_factory, data
) -> None:
    made = Made(tmp_path_factory.mktemp("pool"))
    good = double_finalize(1, 3)
    part = data.draw(st.sampled_from(["view", "signer", "first", "second", "swap"]))
    if part == "view":
        false = replace(good, view=View(data.draw(st.integers(4, 2**64 - 1))))
    elif part == "signer":
        false = replace(good, signer=ValidatorIndex(data.draw(st.sampled_from([0, 2, 3, 4, 65_535]))))
    elif part == "swap":
        false = replace(good, first=good.second, second=good.first)
    else:
        held: SignedStatement = getattr(good, part)
        sig = bytearray(held.sig)
        sig[data.draw(st.integers(0, 63))] ^= data.draw(st.integers(1, 255))
        false = replace(good, **{part: replace(held, sig=bytes(sig))})
    with pytest.raises(PeerFault, match="convicts nobody"):
        made.pool.receive(false, PEER)
    with pytest.raises(UserError, match="convicts nobody"):
        made.pool.submit(encode(false))
    assert len(made.pool) == 0
    assert made.log.events == []
    assert made.pool.receive(good, PEER)


def test_an_operator_may_submit_what_came_by_another_channel(tmp_path) -> None:
    made = Made(tmp_path)
    piece = double_finalize(3, 11)
    assert made.pool.submit(encode(piece)).evidence == piece
    assert made.pool.submit(encode(double_finalize(3, 12))).evidence == piece
    assert made.sent == [piece]
    for raw in (b"", b"\x90", encode(piece)[:-1], bytes(2_000)):
        with pytest.raises(UserError, match="no evidence"):
            made.pool.submit(raw)
    with pytest.raises(UserError, match="no validator set of epoch 9"):
        made.pool.submit(encode(double_finalize(3, 1, epoch=9)))


def test_evidence_of_an_epoch_to_come_waits_and_that_of_one_long_gone_is_forgotten(tmp_path) -> None:
    made = Made(tmp_path)
    old, early = double_finalize(0, 2), double_finalize(1, 4, epoch=2)
    assert made.pool.receive(old, PEER)
    for view in range(MAX_EARLY + 10):  # whoever sends more pushes out only what came early
        assert not made.pool.receive(double_finalize(2, view + 1, epoch=3), PEER)
    assert not made.pool.receive(early, PEER)
    made.epoch = 2
    made.pool.advance()
    assert made.pool.waiting() == (old, early)
    assert made.sent == [early]
    made.epoch, made.oldest = 3, 2
    made.pool.advance()
    assert {each.evidence.epoch for each in made.pool.all()} == {2, 3}
    assert not made.pool.receive(old, PEER)


def test_a_peer_that_sends_much_of_what_is_to_come_pushes_out_its_own_alone(tmp_path) -> None:
    made = Made(tmp_path)
    early = [double_finalize(signer, 4, epoch=2) for signer in range(3)]
    assert not made.pool.receive(early[0], PEER)
    for view in range(2 * MAX_EARLY):
        assert not made.pool.receive(double_finalize(3, view + 1, epoch=3), FLOODER)
    for each in early[1:]:
        assert not made.pool.receive(each, PEER)
    assert len(made.pool._early) == MAX_EARLY
    made.epoch = 2
    made.pool.advance()
    assert made.pool.waiting() == tuple(early)


def test_who_sent_false_evidence_of_an_epoch_to_come_is_banned_once_it_is_there(tmp_path) -> None:
    made = Made(tmp_path)
    true = double_finalize(1, 4, epoch=2)
    false = replace(true, signer=ValidatorIndex(2))
    assert not made.pool.receive(true, PEER)
    assert not made.pool.receive(false, FLOODER)
    made.epoch = 2
    made.pool.advance()
    assert made.banned == [FLOODER]
    assert made.pool.waiting() == (true,)


def test_an_epoch_that_begins_costs_one_look_at_each_set_however_many_offended_in_it(tmp_path) -> None:
    made, asked = Made(tmp_path), []
    for signer in range(4):
        assert made.pool.receive(double_finalize(signer, 2), PEER)
    validators = made.pool._validators
    made.pool._validators = lambda epoch: asked.append(epoch) or validators(epoch)
    made.epoch = 2
    made.pool.advance()
    assert asked == [1]
    assert len(made.pool) == 4


def test_a_graver_piece_is_news_of_an_offender_that_is_known_and_a_milder_one_is_not(tmp_path) -> None:
    """Whoever reports its own mild fault, even into a final block, shields nothing by it."""
    made = Made(tmp_path)
    mild, grave = contradiction(2, 7), double_finalize(2, 8)
    made.pool.found(mild)
    assert not made.pool.receive(contradiction(2, 9), PEER)
    made.pool.included(mild, Height(12))
    assert made.pool.waiting() == ()
    assert made.pool.receive(grave, PEER)
    assert made.pool.waiting() == (grave,)
    assert len(made.pool) == 1
    again = made.restarted(tmp_path)
    assert again.pool.waiting() == (grave,)
    assert not again.pool.receive(mild, PEER)
    assert not again.pool.receive(double_finalize(2, 10), PEER)
    again.pool.included(grave, Height(13))
    assert again.pool.waiting() == ()
    assert again.pool.all() == (KeptEvidence(evidence=grave, included=Height(13)),)


def test_of_two_pieces_that_wait_the_graver_is_offered_and_the_other_never_after_it(tmp_path) -> None:
    made = Made(tmp_path)
    mild, grave = contradiction(1, 7), double_finalize(1, 8)
    assert made.pool.receive(mild, PEER)
    assert made.pool.receive(grave, PEER)
    assert made.pool.waiting() == (grave,)
    made.pool.included(grave, Height(3))
    assert made.pool.waiting() == ()
