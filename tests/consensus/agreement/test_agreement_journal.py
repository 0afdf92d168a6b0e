"""The journal: its codec, replay after any cut, and that a rejected input changes nothing."""

from dataclasses import replace

import pytest
from agreement_loopback import CHAIN, Net, fake_sign, make_config, make_genesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consensus.agreement.config import Restored
from consensus.agreement.engine import Engine
from consensus.agreement.events import (
    Append,
    Broadcast,
    Instant,
    Peer,
    PeerMisbehaved,
    PeerUp,
    Received,
    Send,
    Start,
)
from consensus.agreement.journal_records import BarRecord, SignedRecord, decode_record, encode_record
from consensus.agreement.messages import Kind, Proposal, Vote, decode_message, encode_message
from consensus.agreement.signing_rules import SigningGate
from consensus.primitives.errors import DecodeError
from consensus.primitives.ids import ZERO_HASH

NONCE = ZERO_HASH


@pytest.fixture(scope="module")
def history():
    """A node's records through skips and fallback votes, nothing persisted, so that all of it matters."""
    net = Net([1] * 4)
    net.persist = False
    net.drop = lambda source, target, m: isinstance(m, Proposal) and (m.header.view + target) % 5 == 0
    net.start()
    net.run_to(8)
    return [decode_record(each) for each in net.nodes[0].journal]


def boot(records):
    config = make_config([1] * 4)
    gate = SigningGate(index=0, chain_id_hash=CHAIN, epoch=1, sign=fake_sign(0))
    engine = Engine(config, gate, Restored(final=make_genesis(config), proof=None, records=tuple(records)))
    effects = engine.handle(Start(NONCE), Instant(10**9, 1_700_000_900_000))
    return engine, gate, effects


def test_records_have_one_encoding(history):
    assert len({type(record) for record in history}) >= 3
    for record in history:
        data = encode_record(record)
        assert decode_record(data) == record
        for broken in (data[:-1], data + b"\x00"):
            with pytest.raises(DecodeError):
                decode_record(broken)


def test_replay_is_right_after_every_cut(history):
    for cut in range(len(history) + 1):
        prefix = history[:cut]
        engine, gate, _ = boot(prefix)
        for record in prefix:
            if isinstance(record, SignedRecord):
                held = gate.votes(record.view).signed
                assert held[record.kind, record.block, record.aux] == record.sig
        voted = max((r.view for r in prefix if isinstance(r, SignedRecord)), default=1)
        assert engine.cur_view >= voted


def test_replay_is_idempotent(history):
    once, _, _ = boot(history)
    twice, _, _ = boot([*history, *history])
    assert once.state_digest() == twice.state_digest()


def test_a_snapshot_replays_to_the_same_state(history):
    engine, _, _ = boot(history)
    again, _, _ = boot(engine.journal_snapshot())
    assert again.cur_view == engine.cur_view
    assert again.final_hash == engine.final_hash
    assert again.journal_snapshot() == engine.journal_snapshot()


def test_after_replay_no_second_first_vote_is_signed(history):
    _, gate, effects = boot(history)
    before = {}
    for record in history:
        if isinstance(record, SignedRecord) and record.kind in (Kind.NOTARIZE, Kind.SKIP):
            before[record.view] = record.block
    for effect in effects:
        records = effect.records if isinstance(effect, Append) else ()
        for record in records:
            if isinstance(record, SignedRecord) and record.kind in (Kind.NOTARIZE, Kind.SKIP):
                assert before.get(record.view, record.block) == record.block
    assert gate.floor.view == 0


def test_without_a_journal_nothing_but_a_probe_is_signed():
    config = make_config([1] * 4)
    gate = SigningGate(index=0, chain_id_hash=CHAIN, epoch=1, sign=fake_sign(0))
    engine = Engine(config, gate, Restored(final=make_genesis(config), proof=None, records=None))
    effects = engine.handle(Start(NONCE), Instant(10**9, 1_700_000_900_000))
    assert engine.amnesic
    journal = [record for effect in effects if isinstance(effect, Append) for record in effect.records]
    again, _, _ = boot(journal)  # killed during the probe: the new journal is not an innocent one
    assert again.amnesic
    assert boot(again.journal_snapshot())[0].amnesic
    assert not boot([*journal, BarRecord(epoch=1, view=0)])[1].amnesic
    sent = [effect.message for effect in effects if isinstance(effect, Broadcast)]
    assert [type(message).__name__ for message in sent] == ["AmnesiaProbe"]


@pytest.fixture(scope="module")
def running():
    net = Net([1] * 4).start()
    net.run_to(6)
    messages = [(source, m) for source, m in net.wire if source != 0]
    return net, messages[-60:]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_rejected_input_changes_nothing(running, data):
    net, messages = running
    engine = net.nodes[0].engine.fork()
    source, message = data.draw(st.sampled_from(messages))
    ahead = engine.cur_view + data.draw(st.integers(0, 3))
    if isinstance(message, Proposal):
        message = replace(message, header=replace(message.header, view=ahead))
    elif hasattr(message, "view"):
        message = replace(message, view=ahead)
    wire = bytearray(encode_message(message))
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        message = decode_message(bytes(wire))
    except DecodeError:
        return
    before = engine.state_digest()
    effects = engine.handle(Received(source, message), net.instant())
    if any(isinstance(effect, PeerMisbehaved) for effect in effects):
        assert len(effects) == 1
        assert engine.state_digest() == before


def test_a_stripped_attachment_does_not_shadow_the_real_vote():
    net = Net([1] * 4).start()
    net.run_to(4)
    engine = net.nodes[0].engine
    vote = next(
        m for s, m in reversed(net.wire) if s == 1 and isinstance(m, Vote) and m.kind == Kind.NOTARIZE
    )
    from consensus.agreement.messages import sign_bytes

    view = engine.cur_view + 1
    leader = net.config.validators.leader(view)
    sigs = [
        fake_sign(i)(sign_bytes(CHAIN, kind, 1, view, vote.block, ZERO_HASH))
        for i, kind in ((1, Kind.NOTARIZE), (leader, Kind.PROPOSE))
    ]
    real = replace(vote, view=view, sig=sigs[0], leader_sig=sigs[1])
    for broken in (replace(real, leader_sig=None), replace(real, leader_sig=bytes(64))):
        before = engine.state_digest()
        effects = engine.handle(Received(1, broken), net.instant())
        assert [type(effect) for effect in effects] == [PeerMisbehaved]
        assert engine.state_digest() == before
    before = engine.state_digest()
    assert not any(isinstance(e, PeerMisbehaved) for e in engine.handle(Received(1, real), net.instant()))
    assert engine.state_digest() != before


def test_the_floor_of_the_store_is_journaled_before_anything_leaves():
    """The store's proof may hold an own vote that the journal lost; losing both must not free it."""
    net = Net([1] * 4).start()
    net.run_to(3)
    newest = net.nodes[0].chain[-1]
    config = make_config([1] * 4)
    gate = SigningGate(index=0, chain_id_hash=CHAIN, epoch=1, sign=fake_sign(0))
    engine = Engine(config, gate, Restored(final=newest.header, proof=newest.proof, records=()))
    engine.handle(PeerUp(Peer(1)), net.instant())
    effects = engine.handle(Start(NONCE), net.instant())
    assert isinstance(effects[0], Append)
    assert any(isinstance(effect, Send) for effect in effects[1:])
    _, again, _ = boot(effects[0].records)
    assert again.refusal(Kind.SKIP, newest.header.view, ZERO_HASH) is not None
