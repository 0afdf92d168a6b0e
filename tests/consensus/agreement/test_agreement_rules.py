"""Each rule of CONSENSUS.md sections 5 to 8 and 13 alone: one engine, every other vote made by the test.

These are what the mutation suite counts on: a rule that is taken out fails here, without a lucky schedule.
"""

import pytest
from agreement_forgery import (
    alone,
    certificate_of,
    proposal_of,
    vote_of,
    wait,
    without_the_leader,
)
from agreement_loopback import CHAIN, GENESIS_MS, Net, fake_sign, make_config, make_genesis

from consensus.agreement.config import Restored
from consensus.agreement.engine import Engine
from consensus.agreement.events import Broadcast, Instant, Persisted, Received, Start
from consensus.agreement.journal_records import FaultRecord
from consensus.agreement.messages import CertificateType, GetBlock, Kind, Status, Vote, block_hash
from consensus.agreement.signing_rules import SKIPPED, SigningGate
from consensus.agreement.tally import Tally
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH

OTHER = hash_tagged(b"test/block", b"another")
SECOND_US = 1_000_000


def votes_in(node, view=1):
    return node.engine._replica.gate.votes(view)


def give(node, *messages):
    for sender, message in messages:
        node.give(Received(sender, message))


def cast(net, node, signers, kind, block=ZERO_HASH, aux=ZERO_HASH, view=1):
    give(node, *((signer, vote_of(net, signer, kind, view, block, aux)) for signer in signers))


def offered(net, node, payload=b"block", view=1, **changes):
    """Give `node` its leader's proposal, let it decide; the block's hash."""
    proposal = proposal_of(net, view, payload, **changes)
    give(node, (net.config.validators.leader(view), proposal))
    wait(net, 2_000)
    return block_hash(proposal.header)


def others(net, node, *, leader_last=True):
    """Everybody else; the leader of view 1 at the end."""
    leader = net.config.validators.leader(1)
    rest = [i for i in range(len(net.nodes)) if i not in (node.index, leader)]
    return [*rest, leader] if node.index != leader else rest


# --- section 7


def test_a_first_vote_is_for_a_valid_block_at_once_and_no_skip_ever_follows():
    net, node = alone([1] * 4)
    block = offered(net, node)
    assert votes_in(node).first == block
    wait(net, 30 * SECOND_US)
    assert votes_in(node).first == block
    assert not any(isinstance(m, Vote) and m.kind == Kind.SKIP and m.view == 1 for _, m in net.wire)


def test_a_view_without_a_proposal_is_skipped_after_its_timer_and_not_before():
    net, node = alone([1] * 4)
    wait(net, 150_000)
    assert votes_in(node).first is None
    wait(net, 300_000)
    assert votes_in(node).first == SKIPPED


def test_a_leader_that_skips_its_own_view_is_not_waited_for():
    net, node = alone([1] * 4)
    leader = net.config.validators.leader(1)
    cast(net, node, [leader], Kind.SKIP)
    assert votes_in(node).first == SKIPPED


@pytest.mark.parametrize(("late_ms", "votes"), [(2_400, True), (2_600, False)])
def test_a_first_vote_is_for_a_timely_block_only(late_ms, votes):
    """PRECISION + MSGDELAY = 2.5 s."""
    net, node = alone([1] * 4, at_us=10_000_000)
    block = offered(net, node, time_ms=GENESIS_MS + 10_000 - late_ms)
    assert (votes_in(node).first == block) is votes


def test_a_block_of_the_future_waits_for_the_clock_and_is_then_voted_for_at_once():
    net, node = alone([1] * 4)
    ahead_ms = 500 + 20  # PRECISION, and less than SKIP_TIMER beyond it
    block = offered(net, node, time_ms=GENESIS_MS + net.now_us // 1000 + ahead_ms)
    wait(net, 16_000)
    assert votes_in(node).first is None
    wait(net, 3_000)
    assert votes_in(node).first == block


def test_nobody_falls_back_to_a_block_of_the_future_either():
    net, node = alone([1] * 7)
    block = offered(net, node, time_ms=GENESIS_MS + net.now_us // 1000 + 5_000)
    cast(net, node, others(net, node)[:4], Kind.NOTARIZE, block)
    wait(net, 3 * SECOND_US)
    assert votes_in(node).first == SKIPPED
    assert not votes_in(node).nfall
    wait(net, 2 * SECOND_US)
    assert votes_in(node).nfall == {block}


def test_a_block_above_a_view_that_was_not_skipped_gets_no_vote():
    """View 1 has a Notarization; its block may be final, so a block of view 2 on genesis is not voted for."""
    net, node = alone([1] * 4)
    first = offered(net, node)
    quorum = [(i, Kind.NOTARIZE, first, ZERO_HASH) for i in range(3)]
    notarization = certificate_of(net.config.validators, CertificateType.NOTARIZATION, 1, first, quorum)
    give(node, (others(net, node)[0], notarization))
    assert node.engine.cur_view == 2
    offered(net, node, b"on genesis", view=2)
    assert votes_in(node, 2).first is None


def test_a_block_on_a_parent_that_nobody_certified_gets_no_vote():
    net, node = alone([1] * 4)
    parent = offered(net, node)
    skips = [(i, Kind.SKIP, ZERO_HASH, ZERO_HASH) for i in range(4) if i != node.index]
    skip = certificate_of(net.config.validators, CertificateType.SKIP, 1, ZERO_HASH, skips)
    give(node, (others(net, node)[0], skip))
    assert node.engine.cur_view == 2
    changes = {"parent_hash": parent, "parent_view": 1, "height": 2}
    offered(net, node, view=2, state_root=hash_tagged(b"test/state", parent), **changes)
    assert votes_in(node, 2).first is None


def test_a_block_on_the_highest_certified_one_gets_the_vote():
    """So that the two tests above fail for their own reason."""
    net, node = alone([1] * 4)
    skips = [(i, Kind.SKIP, ZERO_HASH, ZERO_HASH) for i in range(4) if i != node.index]
    skip = certificate_of(net.config.validators, CertificateType.SKIP, 1, ZERO_HASH, skips)
    give(node, (others(net, node)[0], skip))
    block = offered(net, node, view=2)
    assert votes_in(node, 2).first == block


# --- section 8


def test_fewer_first_votes_against_it_than_t_leave_a_fast_quorum_standing():
    """n = 4: FAST = 3 may be me, another and a liar who skips as well; T - 1 would let me skip it."""
    net, node = alone([1] * 4)
    block = offered(net, node)
    cast(net, node, others(net, node)[:2], Kind.SKIP)
    wait(net, 5 * SECOND_US)
    assert votes_in(node).first == block
    assert not votes_in(node).sfall
    assert node.engine.cur_view == 1


@pytest.mark.parametrize("against", [3, 4])
def test_sfall_is_cast_with_t_first_votes_against_the_own_one(against):
    """n = 7: T = 4."""
    net, node = alone([1] * 7)
    offered(net, node)
    cast(net, node, others(net, node)[:against], Kind.SKIP)
    assert votes_in(node).sfall is (against == 4)


@pytest.mark.parametrize("fallback", ["sfall", "nfall"])
def test_finalize_never_follows_a_fallback_vote(fallback):
    """n = 7: two liars first-vote twice, so that a Notarization comes after the fallback vote."""
    net, node = alone([1] * 7)
    block = offered(net, node)
    rest = others(net, node)
    leader = rest[-1]
    if fallback == "sfall":
        cast(net, node, rest[:4], Kind.SKIP)
        assert votes_in(node).sfall
        quorum = [node.index, *rest[2:]]
    else:
        other = offered(net, node, b"another block")
        cast(net, node, rest[:3], Kind.NOTARIZE, other)
        wait(net, 2_000)
        assert votes_in(node).nfall == {other}
        quorum = [node.index, *rest[2:]]
    assert leader in quorum
    votes = [(i, Kind.NOTARIZE, block, ZERO_HASH) for i in quorum]
    notarization = certificate_of(net.config.validators, CertificateType.NOTARIZATION, 1, block, votes)
    give(node, (leader, notarization))
    assert node.engine.cur_view == 2
    assert votes_in(node).fin is None


def test_after_an_own_skip_a_supported_block_is_fallen_back_to_by_the_timer():
    """R-NF1 by the timer: one vote for the block; and at once with more than F."""
    for supporters, slowly in ((1, True), (3, False)):
        net, node = alone([1] * 7)
        rest = others(net, node)
        proposal = proposal_of(net, 1, b"block")
        cast(net, node, [rest[-1]], Kind.SKIP)  # which makes this node skip at once, and NF_TIMER start
        assert votes_in(node).first == SKIPPED
        give(node, (rest[-1], proposal))
        block = block_hash(proposal.header)
        cast(net, node, rest[:supporters], Kind.NOTARIZE, block)
        wait(net, 2_000)
        assert bool(votes_in(node).nfall) is not slowly
        wait(net, 50_000)
        assert votes_in(node).nfall == {block}


@pytest.mark.parametrize("stakes", [[1] * 4, [1] * 7, [2, 2, 1, 1, 1]])
def test_a_leader_that_shows_each_its_own_block_stops_nothing(stakes):
    """The view that needs all of sections 7 and 8: as many blocks as there are others, or two by halves."""
    for parts in (2, len(stakes) - 1):
        net, leader, honest = without_the_leader(stakes)
        for place, index in enumerate(honest):
            proposal = proposal_of(net, 1, b"for part %d" % (place % parts))
            net.later(0, net.nodes[index], Received(leader, proposal))
        net.run_to(3, *honest)
        assert not any(net.nodes[index].faults for index in honest)


def test_a_block_beyond_the_caps_is_fetched_once_thr_supports_it():
    """Two headers fill the view; the third block is what the others voted for, and it alone ends the view."""
    net, node = alone([1] * 7)
    first = offered(net, node, b"one")
    offered(net, node, b"two")
    rest = others(net, node)
    proposal = proposal_of(net, 1, b"three")
    third = block_hash(proposal.header)
    give(node, (rest[-1], proposal))
    assert third not in node.engine._replica.blocks  # nobody wants it yet
    cast(net, node, rest[:3], Kind.NOTARIZE, third)
    wait(net, 100_000)
    assert any(isinstance(m, GetBlock) and m.block == third for _, m in net.wire)
    give(node, (rest[0], proposal))
    wait(net, 2_000)
    assert votes_in(node).first == first
    assert votes_in(node).nfall == {third}


# --- counting


def test_of_two_first_votes_of_one_signer_the_first_counts():
    net, _ = alone([1] * 4)
    tally = Tally(net.config.validators, 1, 1)
    for block in (OTHER, ZERO_HASH, hash_tagged(b"test/block", b"third")):
        kind = Kind.NOTARIZE if block != ZERO_HASH else Kind.SKIP
        tally.add(2, (int(kind), block, ZERO_HASH), bytes(64))
    assert tally.support(OTHER) == tally.first_stake == 1
    assert tally.conflict(OTHER) == 0


def test_whoever_convicts_itself_is_reported_once():
    net, node = alone([1] * 7)
    first, second = others(net, node)[:2]
    cast(net, node, [first, second], Kind.SKIP)
    cast(net, node, [first], Kind.NOTARIZE, OTHER)
    cast(net, node, [first], Kind.FINALIZE, OTHER)
    assert [each.signer for each in node.evidence] == [first]


# --- section 13


def test_nothing_is_signed_once_the_epoch_is_over():
    gate = SigningGate(index=0, chain_id_hash=CHAIN, epoch=1, sign=fake_sign(0))
    assert gate.refusal(Kind.SKIP, 6, ZERO_HASH) is None
    gate.close()
    assert gate.refusal(Kind.SKIP, 6, ZERO_HASH) is not None
    assert gate.refusal(Kind.PROPOSE, 6, OTHER) is not None


def test_after_a_restart_nf_timer_runs_from_the_replay():
    """Section 8: replay sets skip_time to now if the first vote was SKIP."""
    net, node = alone([1] * 7)
    rest = others(net, node)
    cast(net, node, [rest[-1]], Kind.SKIP)
    assert votes_in(node).first == SKIPPED
    net.kill(node.index)
    node.boot()
    wait(net, 1_000)
    block = offered(net, node)
    cast(net, node, rest[:1], Kind.NOTARIZE, block)
    wait(net, 100_000)
    assert votes_in(node).nfall == {block}


def test_a_view_that_lasts_is_spoken_of_again_and_again():
    net, node = alone([1] * 4)
    wait(net, 3 * SECOND_US)
    mine = [m for source, m in net.wire if source == node.index]
    skips = [m for m in mine if isinstance(m, Vote) and m.kind == Kind.SKIP]
    assert len(skips) >= 3 * 3  # to each of three others, more than twice
    assert sum(isinstance(m, Status) for m in mine) >= 3 * 3


def test_nothing_is_signed_at_or_below_the_floor():
    gate = SigningGate(index=0, chain_id_hash=CHAIN, epoch=1, sign=fake_sign(0))
    gate.raise_floor(view=5, height=5, block=OTHER)
    assert gate.refusal(Kind.SKIP, 5, ZERO_HASH) is not None
    assert gate.refusal(Kind.SKIP, 4, ZERO_HASH) is not None
    assert gate.refusal(Kind.SKIP, 6, ZERO_HASH) is None


def test_the_floor_rises_to_what_is_durable_and_no_further():
    net = Net([1] * 4)
    net.persist = False
    net.start()
    net.run_to(6)
    node = net.nodes[0]
    node.give(Persisted(2))
    floor = node.engine._replica.gate.floor
    assert (floor.height, floor.view) == (2, node.chain[1].header.view)
    assert votes_in(node, node.chain[2].header.view).first is not None


def test_a_known_leader_fault_outlives_a_restart_over_a_rewritten_journal():
    net, node = alone([1] * 7)
    blocks = {offered(net, node, b"one"), offered(net, node, b"two")}
    assert len(blocks) == 2
    assert node.engine._replica.views[1].tally.fault is not None
    snapshot = node.engine.journal_snapshot()
    assert any(isinstance(record, FaultRecord) for record in snapshot)
    config = make_config([1] * 7)
    gate = SigningGate(index=node.index, chain_id_hash=CHAIN, epoch=1, sign=fake_sign(node.index))
    again = Engine(config, gate, Restored(final=make_genesis(config), proof=None, records=tuple(snapshot)))
    effects = again.handle(Start(ZERO_HASH), Instant(10**9, GENESIS_MS))
    assert again._replica.views[1].tally.fault is not None
    own = [e.message for e in effects if isinstance(e, Broadcast) and isinstance(e.message, Vote)]
    assert all(vote.signer == node.index for vote in own)
