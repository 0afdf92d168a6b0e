"""Epochs: boundary and tail blocks, one set after another, and what crosses a boundary (section 14)."""

from dataclasses import replace
from itertools import chain

import pytest
from agreement_epochs import EpochNet
from agreement_loopback import CHAIN, GENESIS_MS, fake_sign, fake_verify

from consensus.agreement.config import AmnesiaPolicy, Restored
from consensus.agreement.early import (
    EARLY_AT_ONCE,
    MAX_EARLY,
    MAX_EARLY_BYTES,
    MAX_EARLY_PEERS,
    EarlyMessages,
)
from consensus.agreement.epochs import Agreement, EpochBegins
from consensus.agreement.events import Instant, Peer, PeerMisbehaved, Received, Send, ServeChain, Tick
from consensus.agreement.journal_records import (
    AmnesiaRecord,
    BarRecord,
    FloorRecord,
    SignedRecord,
    decode_record,
)
from consensus.agreement.judging import _extends
from consensus.agreement.messages import (
    FLAG_BOUNDARY,
    FLAG_TAIL,
    AmnesiaProbe,
    Chain,
    ChainBlock,
    GetChain,
    Kind,
    NotFound,
    Proposal,
    Status,
    Vote,
    encode_message,
    epoch_of,
    sign_bytes,
)
from consensus.agreement.signing_rules import SigningGate
from consensus.primitives.ids import ZERO_HASH


def equal(*nodes, version=0):
    return [(node, 1, version) for node in nodes]


def signed_skip(*, epoch, view, signer):
    sig = fake_sign(signer)(sign_bytes(CHAIN, int(Kind.SKIP), epoch, view, ZERO_HASH, ZERO_HASH))
    kind = int(Kind.SKIP)
    return Vote(kind=kind, epoch=epoch, view=view, block=ZERO_HASH, aux=ZERO_HASH, signer=signer, sig=sig)


def changing_sets(count):
    """Four sets of about `count` members: a join and other places, a leave and other stakes, a new key."""
    first = equal(*range(count))
    joined = [*equal(count), *reversed(first)]
    heavier = [(node, 2 if count >= 4 else 1 + node, 0) for node, _, _ in joined if node != 0 or count == 1]
    rotated = [(node, stake, int(node == count)) for node, stake, _ in sorted(heavier, reverse=True)]
    return [first, joined, heavier, rotated]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 10])
def test_sets_of_every_size_change_at_every_boundary(count):
    net = EpochNet(changing_sets(count)).start()
    net.run_to_epoch(5)
    net.run_to(14)
    headers = [block.header for block in net.nodes[0].chain]
    for height, header in enumerate(headers, 1):
        epoch = (height - 1) // 3 + 1
        assert header.epoch == epoch
        assert header.flags == (FLAG_BOUNDARY if height % 3 == 0 else 0)
        assert (header.next_validators_hash != ZERO_HASH) == (height % 3 == 0)
    for boundary, first in zip(headers[2::3], headers[3::3], strict=False):
        assert first.validators_hash == boundary.next_validators_hash
        assert (first.parent_view, first.parent_hash) == (
            0,
            net.nodes[0].chain[boundary.height - 1].block_hash,
        )
    assert not any(node.faults or node.evidence for node in net.nodes)


def test_whoever_left_votes_no_more_and_is_not_counted():
    net = EpochNet([equal(0, 1, 2, 3, 4), equal(4, 3, 2, 1)]).start()
    net.run_to_epoch(2)
    net.run_to(5)
    signed = [m for source, m in net.wire if source == 0 and isinstance(m, Vote | Proposal)]
    assert signed
    assert all(epoch_of(m) == 1 for m in signed)
    node = net.nodes[2]
    view = node.engine.cur_view
    replica = node.engine._engine._replica
    for index, key in ((0, 0), (4, 0)):  # its old place, which is another's now, and one that is nobody's
        sig = fake_sign(key)(sign_bytes(CHAIN, Kind.SKIP, 2, view, ZERO_HASH, ZERO_HASH))
        vote = Vote(kind=Kind.SKIP, epoch=2, view=view, block=ZERO_HASH, aux=ZERO_HASH, signer=index, sig=sig)
        for effect in node.engine.handle(Received(Peer(0), vote), net.instant()):
            assert not isinstance(effect, PeerMisbehaved)
        assert not replica.view(view).tally.held.get(index)


def boundary_view(net):
    return next(
        (m.header.view for _, m in net.wire if isinstance(m, Proposal) and m.header.flags == FLAG_BOUNDARY), 0
    )


def test_a_boundary_that_its_own_view_does_not_finalise_becomes_final_by_tails():
    net = EpochNet([equal(*range(7))])
    net.start(*range(5))  # Q = 5: no fast quorum without the other two
    net.drop = lambda source, target, m: (
        isinstance(m, Vote)
        and m.kind == Kind.FINALIZE
        and m.epoch == 1
        and boundary_view(net) <= m.view < boundary_view(net) + 2
        and boundary_view(net) > 0
    )
    net.run_to_epoch(2)
    proposals = [m for _, m in net.wire if isinstance(m, Proposal) and m.header.epoch == 1]
    tails = [m for m in proposals if m.header.flags == FLAG_TAIL]
    assert {m.header.height for m in tails} >= {4, 5}
    assert all(m.payload == b"" and m.header.tx_count == 0 for m in tails)
    proof = net.nodes[0].chain[2].proof
    assert [header.flags for header in proof.path] == [FLAG_TAIL] * len(proof.path)
    assert len(proof.path) >= 1
    net.run_to(8)
    assert [block.header.height for block in net.nodes[0].chain[:8]] == list(range(1, 9))
    net.nodes[5].boot()  # from genesis, through the boundary that only tails prove
    net.run_to(8, 5)


def test_a_block_flagged_for_another_height_gets_no_vote():
    net = EpochNet([equal(0, 1, 2, 3)], epoch_blocks=4).start()
    honest = {
        (flags, tx, following)
        for flags in (0, FLAG_BOUNDARY, FLAG_TAIL)
        for tx in (0, 1)
        for following in (ZERO_HASH, b"n" * 32)
    }
    net.run_to(1)
    r = net.nodes[0].engine._engine._replica
    base = replace(
        net.nodes[0].chain[0].header,
        epoch=1,
        view=50,
        parent_view=40,
        validators_hash=r.validators.validators_hash,
        payload_len=0,
    )
    parents = {height: replace(base, view=40, height=height - 1) for height in (3, 4, 5)}
    accepted = {
        height: {
            (flags, tx, following)
            for flags, tx, following in honest
            if _extends(
                r,
                replace(base, height=height, flags=flags, tx_count=tx, next_validators_hash=following),
                parents[height],
            )
        }
        for height in (3, 4, 5)
    }
    assert accepted[3] == {(0, 0, ZERO_HASH), (0, 1, ZERO_HASH)}
    assert accepted[4] == {(FLAG_BOUNDARY, 0, b"n" * 32), (FLAG_BOUNDARY, 1, b"n" * 32)}
    assert accepted[5] == {(FLAG_TAIL, 0, ZERO_HASH)}
    assert not _extends(r, replace(base, height=5, flags=FLAG_TAIL, tx_count=0, payload_len=1), parents[5]), (
        "a tail has no payload"
    )


# --- between two epochs


def test_an_ended_epoch_signs_nothing_and_answers_laggards():
    net = EpochNet([equal(0, 1, 2, 3)])
    net.begins = False
    net.start()
    net.run(lambda: all(node.ending for node in net.nodes))
    net.run(lambda: net.queue == [] or net.now_us > 20_000_000)
    mark = len(net.wire)
    end = net.now_us + 5_000_000
    net.run(lambda: net.now_us >= end)
    assert not any(isinstance(m, Vote | Proposal) and epoch_of(m) != 1 for _, m in net.wire[mark:])
    assert all(node.engine.epoch == 1 and node.height == 3 for node in net.nodes)
    net.begins = True
    for node in net.nodes:
        net.begin(node)
    net.run_to_epoch(3)


def test_an_old_message_is_answered_with_status_and_seldom():
    net = EpochNet([equal(0, 1, 2, 3)]).start()
    net.run_to_epoch(2)
    old = next(m for source, m in net.wire if source == 1 and isinstance(m, Vote) and m.epoch == 1)
    node = net.nodes[0]
    first = node.engine.handle(Received(Peer(1), old), Instant(net.now_us + 10_000_000, GENESIS_MS))
    answers = [e for e in first if isinstance(e, Send) and e.peer == 1 and isinstance(e.message, Status)]
    assert [each.message.epoch for each in answers] == [2]
    again = node.engine.handle(Received(Peer(1), old), Instant(net.now_us + 10_000_001, GENESIS_MS))
    assert not any(isinstance(e, Send) and e.peer == 1 and isinstance(e.message, Status) for e in again)


def test_a_laggard_walks_through_the_epochs_it_missed():
    net = EpochNet(changing_sets(5)).start(0, 1, 2, 3, 5)
    net.run_to_epoch(5, 1, 2, 3, 5)
    mark = len(net.wire)
    net.nodes[4].boot()
    net.run_to_epoch(5, 4)
    pieces = [m for _, m in net.wire[mark:] if isinstance(m, Chain) and m.blocks]
    assert pieces
    assert all(len({block.header.epoch for block in piece.blocks}) == 1 for piece in pieces)


def test_a_laggard_is_not_starved_by_those_who_claim_to_be_ahead_and_serve_nothing():
    """Found by the simulator: two withholders at the lowest indices were asked in turns, and nobody else."""
    net = EpochNet([equal(*range(7))]).start(*range(6))
    net.run_to_epoch(4)
    net.drop = lambda source, target, m: isinstance(m, Vote) or (source < 2 and isinstance(m, Chain))
    net.nodes[6].boot()
    net.run(lambda: net.nodes[6].engine.epoch >= 4, limit_us=8_000_000)


def test_a_piece_of_the_chain_ends_with_its_epoch():
    net = EpochNet([equal(0, 1, 2, 3)]).start()
    net.run_to(8)
    for first, last in ((1, 3), (2, 3), (3, 3), (4, 6), (7, 8)):
        effects = net.nodes[0].engine.handle(
            Received(Peer(1), GetChain(first=first, last=first + 60)), net.instant()
        )
        served = [effect for effect in effects if isinstance(effect, ServeChain)]
        assert [(each.first, min(each.last, 8)) for each in served] == [(first, last)]


def test_a_chain_across_a_boundary_is_refused():
    net = EpochNet([equal(0, 1, 2, 3)]).start(0, 1, 2)
    net.run_to(5)
    net.drop = lambda source, target, m: target == 3 and not isinstance(m, Status)
    late = net.nodes[3]
    late.boot()
    net.run(lambda: any(source == 3 and isinstance(m, GetChain) for source, m in net.wire))
    request = late.engine._engine._replica.chain_request
    peer = late.engine._peer_out(request.peer)
    blocks = net.nodes[0].chain[:4]
    crossing = Chain(
        first=1,
        blocks=tuple(ChainBlock(header=block.header, payload=block.payload) for block in blocks),
        proof=blocks[-1].proof,
    )
    effects = late.engine.handle(Received(peer, crossing), net.instant())
    assert [effect.peer for effect in effects if isinstance(effect, PeerMisbehaved)] == [peer]
    assert late.engine.final_height == 0


def test_messages_of_the_next_epoch_wait_and_are_bounded():
    net = EpochNet([equal(0, 1, 2, 3)])
    net.start()
    net.run_to_epoch(2)
    net.run_to(5)
    early = [m for _, m in net.wire if isinstance(m, Vote | Proposal) and epoch_of(m) == 2]
    other = EpochNet([equal(0, 1, 2, 3)]).start()
    node, now = other.nodes[0], other.instant()
    for turn in range(3 * MAX_EARLY):
        assert node.engine.handle(Received(Peer(1), early[turn % len(early)]), now) == []
    assert len(node.engine._early.kept[1]) == MAX_EARLY
    block = next(m for m in early if isinstance(m, Proposal))
    huge = replace(block, payload=bytes(1_500_000))
    for _ in range(5):
        node.engine.handle(Received(Peer(2), huge), now)
    kept = node.engine._early.kept[2]
    assert 0 < sum(len(encode_message(each)) for each in kept) <= MAX_EARLY_BYTES
    for peer in range(10, 10 + 2 * MAX_EARLY_PEERS):
        node.engine.handle(Received(Peer(peer), early[0]), now)
    assert len(node.engine._early.kept) == MAX_EARLY_PEERS
    assert not node.engine._keep_early(Peer(1), NotFound(view=0, key=ZERO_HASH))


def test_what_came_early_is_handled_when_the_epoch_begins():
    net = EpochNet([equal(0, 1, 2, 3)])
    net.begins = False
    net.start()
    net.run(lambda: all(node.ending for node in net.nodes))
    for node in net.nodes[:3]:
        net.begin(node)
    net.begins = True
    net.run_to(5, 0, 1, 2)
    late = net.nodes[3]
    assert late.engine.epoch == 1
    assert late.engine._early.kept
    net.drop = lambda source, target, m: target == 3  # nothing more reaches it
    boundary = late.ending.boundary
    effects = late.engine.handle(EpochBegins(late.setup(boundary)), net.instant())
    assert late.engine.cur_view > 1
    net.carry(late, effects)


def test_many_early_messages_do_not_hold_up_the_turn_in_which_the_epoch_begins(monkeypatch):
    """Members' messages go first; a turn handles a few, and asks to be called again for the rest."""
    net = EpochNet([equal(0, 1, 2, 3)])
    net.begins = False
    net.start()
    net.run(lambda: all(node.ending for node in net.nodes))
    late, now, stranger = net.nodes[3], net.instant(), 60
    sent = {
        peer: [signed_skip(epoch=2, view=view, signer=peer % 4) for view in range(1, MAX_EARLY + 1)]
        for peer in (stranger, 0, 1, 2)
    }
    for peer, votes in sent.items():
        for vote in votes:
            assert late.engine.handle(Received(Peer(peer), vote), now) == []
    taken, take = [], EarlyMessages.take
    monkeypatch.setattr(EarlyMessages, "take", lambda early: taken.append(take(early)) or taken[-1])
    late.engine.handle(EpochBegins(late.setup(late.ending.boundary)), now)
    while late.engine._early.due:
        assert late.engine.deadline_us <= now.mono_us
        late.engine.handle(Tick(), now)
    assert all(0 < len(each) <= EARLY_AT_ONCE for each in taken)
    assert len(taken) == 4 * MAX_EARLY // EARLY_AT_ONCE
    order = (0, 1, 2, stranger)
    assert [*chain.from_iterable(taken)] == [(Peer(peer), vote) for peer in order for vote in sent[peer]]
    assert late.engine.fork().state_digest() == late.engine.state_digest()
    due_us = late.engine.deadline_us
    assert due_us is None or due_us > now.mono_us


def test_who_has_left_the_set_and_is_gone_is_forgotten():
    net = EpochNet([equal(0, 1, 2, 3, 4), equal(0, 1, 2, 3)]).start()
    node = net.nodes[0]
    net.run_to(1)
    net.kill(4)
    net.run(lambda: not node.engine._links[Peer(4)].up)
    assert node.engine.epoch == 1
    net.run_to_epoch(2, 0)
    assert set(node.engine._links) == set(map(Peer, range(1, 4)))


def test_an_epoch_begins_only_where_the_one_before_ended():
    net = EpochNet([equal(0, 1, 2, 3), equal(3, 2, 1, 0)])
    net.begins = False
    net.start()
    node = net.nodes[0]
    net.run_to(2)
    with pytest.raises(ValueError, match="under way"):
        node.engine.handle(EpochBegins(node.setup(net.genesis)), net.instant())
    net.run(lambda: node.ending is not None)
    right = node.setup(node.ending.boundary)
    for wrong, why in (
        (replace(right, start=replace(right.start, time_ms=1)), "on the boundary"),
        (replace(right, validators=net.validators(1, ZERO_HASH)), "commits to"),
    ):
        with pytest.raises(ValueError, match=why):
            node.engine.handle(EpochBegins(wrong), net.instant())
    node.engine.handle(EpochBegins(right), net.instant())
    assert node.engine.epoch == 2
    with pytest.raises(ValueError, match="one peer of its own"):
        replace(right, members=right.members[:-1])


# --- memory across a boundary


def test_the_floor_of_an_epoch_is_on_disk_before_its_first_vote():
    net = EpochNet([equal(0, 1, 2, 3)]).start()
    net.run_to(5)
    for node in net.nodes:
        records = [decode_record(each) for each in node.journal]
        floor = next(i for i, r in enumerate(records) if isinstance(r, FloorRecord) and r.epoch == 2)
        vote = next(i for i, r in enumerate(records) if isinstance(r, SignedRecord) and r.epoch == 2)
        assert (records[floor].view, records[floor].height) == (0, 3)
        assert floor < vote


def test_a_journal_of_a_later_epoch_keeps_a_node_without_store_silent_until_there():
    net = EpochNet([equal(0, 1, 2, 3)]).start()
    net.run_to(8)
    net.kill(0)
    lost = net.nodes[0]
    lost.chain, epoch = [], lost.engine.epoch
    mark = len(net.wire)
    lost.boot()
    assert len(lost.engine.journal_snapshot()) > 1
    assert {r.epoch for r in lost.engine.journal_snapshot() if isinstance(r, FloorRecord)} >= {epoch}
    net.run_to_epoch(epoch + 1)
    net.run_to(lost.height + 12)
    known = {m.sig for source, m in net.wire[:mark] if source == 0 and isinstance(m, Vote)}
    fresh = [m for source, m in net.wire[mark:] if source == 0 and isinstance(m, Vote) and m.sig not in known]
    assert fresh, "it takes part again"
    assert all(m.epoch >= epoch for m in fresh)


@pytest.mark.parametrize("journal", [True, False])
def test_a_journal_rewritten_by_one_who_has_left_forgets_neither_its_epochs_nor_its_loss(journal):
    net = EpochNet([equal(0, 1, 2, 3, 4), equal(1, 2, 3, 4), equal(0, 1, 2, 3, 4)]).start()
    net.run_to_epoch(2)
    net.kill(0)
    left = net.nodes[0]
    left.boot(journal=journal)
    assert left.engine.epoch == 2
    snapshot = left.engine.journal_snapshot()
    for epoch in (1, 2, 3):
        gate = SigningGate(index=0, chain_id_hash=CHAIN, epoch=epoch, sign=fake_sign(0))
        gate.restore(snapshot)
        assert gate.closed == (epoch < 2)
        assert gate.amnesic == (not journal and epoch >= 2)


def test_without_memory_a_key_stays_silent_until_a_fresh_one_takes_effect():
    sets = [equal(0, 1, 2, 3)] * 2 + [[(0, 1, 1), *equal(1, 2, 3)]]
    net = EpochNet(sets, amnesia=AmnesiaPolicy.NEXT_EPOCH)
    net.start()
    net.run_to(2)
    net.kill(0)
    net.nodes[0].boot(journal=False)
    net.fresh.add((0, 1))
    mark = len(net.wire)
    net.run_to_epoch(2)
    net.kill(0)
    net.nodes[0].boot()  # and a restart in between changes nothing
    net.run_to(10)
    signed = [m for source, m in net.wire[mark:] if source == 0 and isinstance(m, Vote | Proposal)]
    assert {epoch_of(m) for m in signed} == {3, 4}


@pytest.mark.parametrize("policy", AmnesiaPolicy)
def test_a_key_made_after_a_loss_signs_from_the_epoch_in_which_it_takes_effect(policy):
    """It was lost while the node had no seat, so that the epoch in which it has one is the first to hear."""
    without = equal(1, 2, 3, 4)
    net = EpochNet([equal(0, 1, 2, 3, 4), without, [*without, (0, 1, 1)]], amnesia=policy).start()
    net.run_to_epoch(2)
    net.kill(0)
    net.fresh.add((0, 1))
    net.nodes[0].boot(journal=False)
    mark = len(net.wire)
    net.run_to_epoch(4)
    signed = [m for source, m in net.wire[mark:] if source == 0 and isinstance(m, Vote | Proposal)]
    assert {epoch_of(m) for m in signed} >= {3}
    assert not any(isinstance(m, AmnesiaProbe) for source, m in net.wire[mark:] if source == 0)
    kept = [decode_record(each) for each in net.nodes[0].journal]
    assert any(isinstance(each, AmnesiaRecord) for each in kept)  # it weighs on the old key for ever
    old = SigningGate(index=0, chain_id_hash=CHAIN, epoch=9, sign=fake_sign(0))
    old.restore(net.nodes[0].engine.journal_snapshot())
    assert old.amnesic


def test_who_lacks_its_key_for_a_while_keeps_what_that_signed_in_the_epoch_under_way():
    net = EpochNet([equal(0, 1, 2, 3)], epoch_blocks=9).start()
    net.run_to(5)
    net.kill(0)
    node = net.nodes[0]
    votes = {record for record in map(decode_record, node.journal) if isinstance(record, SignedRecord)}
    setup = replace(node.setup(net.genesis), gate=None)
    without = Agreement(
        setup,
        Restored(final=net.genesis, proof=None, records=tuple(map(decode_record, node.journal))),
        chain_id_hash=CHAIN,
        verify=fake_verify,
        parameters=net.parameters,
    )
    assert votes
    assert votes <= set(without.journal_snapshot())


def test_a_probe_clears_later_epochs_unless_a_boundary_vote_stands():
    """Lost in the middle of an epoch: silent in it up to the bar, and never again."""
    net = EpochNet([equal(0, 1, 2, 3)], epoch_blocks=12).start()
    net.run_to(3)
    net.kill(0)
    net.nodes[0].boot(journal=False)
    node = net.nodes[0]
    net.run(lambda: not node.gates[-1].amnesic)
    net.run_to_epoch(2)
    assert not node.gates[-1].marks
    assert not node.gates[-1].amnesic


def test_a_probe_among_boundary_voters_is_repeated_in_the_next_epoch():
    net = EpochNet([equal(*range(7))])
    net.start(*range(6))
    stuck = []

    def drop(source, target, m):
        if isinstance(m, Proposal) and m.header.flags == FLAG_BOUNDARY and not stuck:
            stuck.append(m.header.view)
        if not stuck or epoch_of(m) != 1:
            return False
        if target == 5:
            return not isinstance(m, AmnesiaProbe)
        return isinstance(m, Vote) and m.kind == Kind.FINALIZE  # no quorum but of NOTARIZE, five of seven

    net.drop = drop
    net.run(lambda: stuck and net.nodes[0].engine.cur_view > stuck[0] + 1, limit_us=5_000_000)
    assert {node.engine.epoch for node in net.nodes[:6]} == {1}
    net.kill(0)
    net.nodes[0].boot(journal=False)
    node = net.nodes[0]
    net.run(lambda: not node.gates[0].amnesic, limit_us=5_000_000)
    assert node.gates[0].marks[-1].beyond
    net.drop = lambda source, target, m: False
    net.run_to_epoch(2)
    assert node.gates[1].amnesic or node.gates[1].bar, "asked again in epoch 2"
    net.run_to_epoch(4)
    assert not node.gates[-1].marks


LOST = [AmnesiaRecord(epoch=epoch, nonce=ZERO_HASH) for epoch in range(4)]


@pytest.mark.parametrize(
    ("records", "silent"),
    [
        ([LOST[1]], {1, 2, 3}),
        ([LOST[1], BarRecord(epoch=1, view=5, beyond=True)], {2, 3}),
        ([LOST[1], BarRecord(epoch=1, view=5, beyond=False)], set()),
        ([LOST[1], BarRecord(epoch=1, view=5), LOST[2], BarRecord(epoch=2, view=3, beyond=False)], {1}),
        ([LOST[1], BarRecord(epoch=1, view=5), LOST[2], BarRecord(epoch=2, view=3)], {1, 3}),
        ([LOST[1], BarRecord(epoch=1, view=5), LOST[2]], {1, 2, 3}),
        ([LOST[3]], {1, 2, 3}),
    ],
)
def test_lost_memory_silences_a_key_in_the_epochs_that_no_probe_cleared(records, silent):
    def gate_of(epoch, restored, fresh=False):
        gate = SigningGate(index=0, chain_id_hash=CHAIN, epoch=epoch, sign=fake_sign(0), fresh=fresh)
        gate.restore(restored)
        return gate

    for epoch in (1, 2, 3):
        gate = gate_of(epoch, records)
        assert (gate.amnesic or gate.closed) == (epoch in silent)
        assert (gate.refusal(Kind.SKIP, 9, ZERO_HASH) is not None) == (epoch in silent)
        again = gate_of(epoch, [*records, *records])
        assert (again.amnesic, again.bar, again.closed) == (gate.amnesic, gate.bar, gate.closed)
        if not gate.closed:  # else later records are kept beside it
            copy = gate_of(epoch, list(gate.records()))
            assert (copy.amnesic, copy.bar, copy.marks) == (gate.amnesic, gate.bar, gate.marks)
        assert not gate_of(epoch, records, fresh=True).amnesic
