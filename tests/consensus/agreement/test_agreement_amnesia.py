"""Amnesia under adversarial replies (CONSENSUS.md section 13.4): whatever Byzantine repliers say, the bar is
never below a view in which the lost journal may hold a vote, and honest replies alone always suffice."""

from dataclasses import replace
from random import Random

import pytest
from agreement_forgery import alone, certificate_of, wait
from agreement_loopback import CHAIN, GENESIS_MS, Net, fake_sign, make_config, make_genesis
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from consensus.agreement.amnesia import VIEWS_BEYOND
from consensus.agreement.config import Restored
from consensus.agreement.engine import Engine
from consensus.agreement.events import Instant, Peer, PeerMisbehaved, PeerUp, Received, Send, Start
from consensus.agreement.journal_records import (
    AmnesiaRecord,
    BarRecord,
    CertificateRecord,
    FloorRecord,
    SignedRecord,
    decode_record,
)
from consensus.agreement.messages import (
    AmnesiaProbe,
    AmnesiaReply,
    Certificate,
    CertificateType,
    Kind,
    Proposal,
    Vote,
    amnesia_reply_hash,
    sign_bytes,
)
from consensus.agreement.signing_rules import SigningGate
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH

VOTES = (Kind.PROPOSE, Kind.NOTARIZE, Kind.SKIP, Kind.NFALL, Kind.SFALL, Kind.FINALIZE)


def gate_of(node):
    return node.engine._replica.gate


def signed_views(node):
    """The views of all votes and proposals in a node's journal."""
    records = map(decode_record, node.journal)
    return [each.view for each in records if isinstance(each, SignedRecord) and each.kind in VOTES]


def reply_of(signer, nonce, certificate, *, epoch=1, beyond=False):
    view = 0 if certificate is None else certificate.view
    bound = amnesia_reply_hash(certificate, beyond)
    sig = fake_sign(signer)(sign_bytes(CHAIN, Kind.AMNESIA_REPLY, epoch, view, nonce, bound))
    return AmnesiaReply(
        epoch=epoch, nonce=nonce, certificate=certificate, beyond=beyond, signer=signer, sig=sig
    )


def lose_memory(net, victim):
    """Restart `victim` without its journal; its probe's nonce."""
    mark = len(net.wire)
    net.nodes[victim].boot(journal=False)
    return next(m.nonce for source, m in net.wire[mark:] if isinstance(m, AmnesiaProbe))


adversary = st.lists(
    st.tuples(
        st.sampled_from(["real", "none", "old nonce", "wrong epoch", "forged", "other signer", "beyond"]),
        st.integers(0, 10_000),
        st.integers(0, 1),
        st.integers(0, 400_000),
    ),
    max_size=12,
)


@settings(max_examples=20, deadline=None, phases=set(Phase) - {Phase.explain})
@given(
    st.sampled_from([4, 7, 7]), st.integers(0, 10_000), st.integers(1, 9), st.integers(0, 40_000), adversary
)
def test_whatever_liars_reply_no_vote_follows_in_a_view_that_may_hold_one(count, seed, height, late_us, lies):
    """A lossy run, a loss of memory; F - 1 liars, or F, show any real certificate, replay, sign for others.

    The amnesic one counts as faulty too: with F liars beside it nothing is promised but safety.
    """
    random = Random(seed)
    net = Net([1] * count, delay_us=20_000)
    net.persist = bool(seed % 2)
    victim, faulty = 0, (count - 1) // 3 - seed % 2
    liars = range(1, 1 + faulty)
    net.drop = lambda source, target, m: random.random() < 0.15
    net.start()
    net.run_to(height)
    wait(net, late_us)
    node = net.nodes[victim]
    lost = signed_views(node)
    net.kill(victim)
    old = lose_memory(net, victim)
    net.kill(victim)
    wait(net, 1_000)
    real = [m for _, m in net.wire if isinstance(m, Certificate)] or [None]
    nonce = lose_memory(net, victim)
    assert nonce != old
    for what, which, who, when_us in lies if faulty else ():
        liar = liars[who % faulty]
        certificate = None if what == "none" else real[which % len(real)]
        reply = reply_of(liar, old if what == "old nonce" else nonce, certificate, beyond=what == "beyond")
        if what == "wrong epoch":
            reply = reply_of(liar, nonce, certificate, epoch=2)
        elif what == "forged" and certificate is not None:
            reply = reply_of(liar, nonce, replace(certificate, view=certificate.view + 1000))
        elif what == "other signer":
            reply = replace(reply, signer=count - 1)
        net.later(when_us, node, Received(Peer(liar), reply))
    net.drop = lambda source, target, m: (
        (isinstance(m, AmnesiaReply) and source in liars) or random.random() < 0.15
    )
    floor = max(lost, default=0)
    if seed % 2:
        net.run(lambda: not gate_of(node).amnesic)
        net.run(lambda: bool(gate_of(node).views()))
    else:
        wait(net, 1_200_000)
    assert gate_of(node).amnesic or gate_of(node).bar >= floor
    assert {each.peer for each in node.faults} <= set(liars)
    assert all(view > floor for view in signed_views(node))


def a_run_in_which_the_victim_is_ahead():
    """All votes of one view reach the victim alone: it enters the next view, votes there, and is killed."""
    net = Net([1] * 4)
    net.persist = False
    net.start()
    net.run_to(4)
    victim = 3
    net.drop = lambda source, target, m: (
        source == victim or (target != victim and not isinstance(m, Proposal))
    )
    ahead = net.nodes[victim].engine
    net.run(lambda: ahead.cur_view > max(each.engine.cur_view for each in net.nodes if each.index != victim))
    view = ahead.cur_view
    net.run(lambda: gate_of(net.nodes[victim]).votes(view).first is not None)
    return net, net.nodes[victim], view


def test_the_bar_covers_a_vote_two_views_above_what_the_others_can_show():
    net, victim, voted = a_run_in_which_the_victim_is_ahead()
    shown = max(each.engine._replica.highest_certified_view() for each in net.nodes[:3])
    assert voted == shown + VIEWS_BEYOND
    net.kill(victim.index)
    net.drop = lambda source, target, m: not isinstance(m, AmnesiaProbe | AmnesiaReply)
    lose_memory(net, victim.index)
    net.run(lambda: not gate_of(victim).amnesic)
    assert gate_of(victim).bar == voted


@pytest.mark.parametrize("replies", [2, 3])
def test_a_quorum_of_others_must_have_answered(replies):
    net, node = alone([1] * 4)
    net.kill(node.index)
    nonce = lose_memory(net, node.index)
    others = [i for i in range(4) if i != node.index][:replies]
    for other in others:
        node.give(Received(Peer(other), reply_of(other, nonce, None)))
        node.give(Received(Peer(other), reply_of(other, nonce, None)))
    node.give(Received(Peer(node.index), reply_of(node.index, nonce, None)))
    assert gate_of(node).amnesic is (replies < 3)


def test_replies_to_another_nonce_or_over_another_link_count_for_nothing():
    net, node = alone([1] * 4)
    net.kill(node.index)
    nonce = lose_memory(net, node.index)
    others = [i for i in range(4) if i != node.index]
    for other in others:
        node.give(Received(Peer(other), reply_of(other, hash_tagged(b"test/nonce", b"old"), None)))
        node.give(Received(Peer(others[0]), reply_of(other, nonce, None)))
    assert list(node.engine._replica.probe.replies) == others[:1]
    assert gate_of(node).amnesic


def test_a_reply_with_a_certificate_that_is_not_valid_convicts_its_sender():
    net, node = alone([1] * 4)
    net.kill(node.index)
    nonce = lose_memory(net, node.index)
    other = next(i for i in range(4) if i != node.index)
    block = hash_tagged(b"test/block", b"invented")
    light = certificate_of(
        net.config.validators, CertificateType.FINAL, 900, block, [(other, Kind.FINALIZE, block, ZERO_HASH)]
    )
    node.give(Received(Peer(other), reply_of(other, nonce, light)))
    assert [type(each) for each in node.faults] == [PeerMisbehaved]
    assert not node.engine._replica.probe.replies


def boot(index, records):
    config = make_config([1] * 4)
    gate = SigningGate(index=index, chain_id_hash=CHAIN, epoch=1, sign=fake_sign(index))
    records = None if records is None else tuple(records)
    engine = Engine(config, gate, Restored(final=make_genesis(config), proof=None, records=records))
    now = Instant(10**9, GENESIS_MS + 10**6)
    for peer in range(4):
        if peer != index:
            engine.handle(PeerUp(Peer(peer)), now)
    return engine, engine.handle(Start(hash_tagged(b"test/nonce", bytes([index]))), now), now


def probe_of(signer):
    nonce = hash_tagged(b"test/nonce", b"probe")
    sig = fake_sign(signer)(sign_bytes(CHAIN, Kind.AMNESIA_PROBE, 1, 0, nonce, ZERO_HASH))
    return AmnesiaProbe(epoch=1, nonce=nonce, signer=signer, sig=sig)


def replies_in(effects):
    return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, AmnesiaReply)]


def test_whoever_forgot_itself_vouches_for_nobody():
    engine, _, now = boot(0, None)
    assert not replies_in(engine.handle(Received(Peer(1), probe_of(1)), now))
    known, _, now = boot(0, ())
    assert replies_in(known.handle(Received(Peer(1), probe_of(1)), now))


def test_a_replier_answers_once_its_certificates_reach_its_own_votes():
    """It voted in view 9 and holds nothing: its answer would set the bar below what others voted."""
    gate = SigningGate(index=0, chain_id_hash=CHAIN, epoch=1, sign=fake_sign(0))
    engine, _, now = boot(0, [gate.sign_vote(Kind.SKIP, 9, ZERO_HASH)])
    assert not replies_in(engine.handle(Received(Peer(1), probe_of(1)), now))
    config = make_config([1] * 4)
    skips = [(i, Kind.SKIP, ZERO_HASH, ZERO_HASH) for i in (1, 2, 3)]
    early, due = (
        certificate_of(config.validators, CertificateType.SKIP, view, ZERO_HASH, skips) for view in (7, 8)
    )
    assert not replies_in(engine.handle(Received(Peer(1), early), now))
    (reply,) = replies_in(engine.handle(Received(Peer(2), due), now))
    assert reply.certificate == due


def test_who_has_a_final_block_and_not_its_certificate_answers_nothing():
    """It would say that no view is certified yet, and it voted in view 9: the bar would be too low."""
    config = make_config([1] * 4)
    final = replace(make_genesis(config), epoch=1, height=3, view=9, parent_view=8)
    gate = SigningGate(index=0, chain_id_hash=CHAIN, epoch=1, sign=fake_sign(0))
    engine = Engine(config, gate, Restored(final=final, proof=None, records=()))
    now = Instant(10**9, GENESIS_MS + 10**6)
    engine.handle(PeerUp(Peer(1)), now)
    engine.handle(Start(hash_tagged(b"test/nonce", b"0")), now)
    assert not replies_in(engine.handle(Received(Peer(1), probe_of(1)), now))
    skips = [(i, Kind.SKIP, ZERO_HASH, ZERO_HASH) for i in (1, 2, 3)]
    skip = certificate_of(config.validators, CertificateType.SKIP, 10, ZERO_HASH, skips)
    (reply,) = replies_in(engine.handle(Received(Peer(2), skip), now))
    assert reply.certificate == skip


def test_who_lacks_the_body_of_what_is_final_does_not_say_that_no_later_epoch_began():
    """It may be the boundary block, for which this node voted in a view that is final by now."""
    engine, _, now = boot(0, ())
    (before,) = replies_in(engine.handle(Received(Peer(1), probe_of(1)), now))
    assert not before.beyond
    block = hash_tagged(b"test/block", b"unknown")
    votes = [(i, Kind.FINALIZE, block, ZERO_HASH) for i in (1, 2, 3)]
    final = certificate_of(make_config([1] * 4).validators, CertificateType.FINAL, 1, block, votes)
    engine.handle(Received(Peer(1), final), now)
    (reply,) = replies_in(engine.handle(Received(Peer(1), probe_of(1)), now))
    assert reply.certificate == final
    assert reply.beyond


def test_who_lost_its_store_does_not_say_that_no_later_epoch_began_below_its_floor():
    """Its journal has forgotten for what it voted below the floor, and the boundary block may stand there."""
    config = make_config([1] * 4)
    floor = FloorRecord(epoch=1, view=5, height=config.end_height, block=hash_tagged(b"test/block", b"end"))
    engine, _, now = boot(0, [floor])
    skips = [(i, Kind.SKIP, ZERO_HASH, ZERO_HASH) for i in (1, 2, 3)]
    shown = certificate_of(config.validators, CertificateType.SKIP, 4, ZERO_HASH, skips)
    engine.handle(Received(Peer(1), shown), now)
    (reply,) = replies_in(engine.handle(Received(Peer(1), probe_of(1)), now))
    assert reply.certificate == shown
    assert reply.beyond


def test_a_bar_is_never_lowered_and_outlives_a_rewritten_journal():
    gate = SigningGate(index=0, chain_id_hash=CHAIN, epoch=1, sign=fake_sign(0))
    records = [AmnesiaRecord(epoch=1, nonce=ZERO_HASH)]
    gate.restore(records)
    records += [gate.set_bar(9), gate.set_bar(4)]
    assert gate.bar == 9
    for written in (records, [*records, BarRecord(epoch=1, view=3)], list(gate.records())):
        again = SigningGate(index=0, chain_id_hash=CHAIN, epoch=1, sign=fake_sign(0))
        again.restore(written)
        assert again.bar == 9
        assert again.refusal(Kind.SKIP, 9, ZERO_HASH) is not None
        assert again.refusal(Kind.SKIP, 10, ZERO_HASH) is None


def test_while_it_is_amnesic_a_node_follows_and_is_silent():
    net = Net([1] * 4).start()
    net.run_to(5)
    net.kill(3)
    net.run_to(8, 0, 1, 2)
    mark = len(net.wire)
    net.drop = lambda source, target, m: isinstance(m, AmnesiaReply)
    lose_memory(net, 3)
    net.run_to(25)
    sent = [m for source, m in net.wire[mark:] if source == 3]
    assert not any(isinstance(m, Vote) for m in sent)
    held = [each for each in map(decode_record, net.nodes[3].journal) if isinstance(each, CertificateRecord)]
    assert net.nodes[3].height >= 25
    assert gate_of(net.nodes[3]).amnesic
    assert all(each.certificate.epoch == 1 for each in held)
