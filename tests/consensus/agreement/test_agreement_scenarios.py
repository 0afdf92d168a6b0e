"""The protocol end to end, on the loop-back network."""

from dataclasses import replace

import pytest
from agreement_forgery import proposal_of, vote_of
from agreement_loopback import Net

from consensus.agreement.events import PeerMisbehaved, PeerUp, Received
from consensus.agreement.messages import (
    AmnesiaProbe,
    Certificate,
    Chain,
    GetBlock,
    GetChain,
    Kind,
    NotFound,
    Proposal,
    Status,
    Vote,
    block_hash,
)
from consensus.agreement.thresholds import Mode


def test_four_nodes_finalise_in_one_round_without_a_finalize_vote():
    net = Net([1] * 4).start()
    net.run_to(30)
    assert all(block.one_round for node in net.nodes for block in node.chain)
    assert not any(isinstance(m, Vote) and m.kind == Kind.FINALIZE for _, m in net.wire)
    assert not any(node.faults for node in net.nodes)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_other_sizes_work(count):
    net = Net([1] * count).start()
    net.run_to(12)
    assert not any(node.faults for node in net.nodes)


def test_unequal_stakes_work():
    net = Net([5, 1, 3, 2, 4]).start()
    net.run_to(12)


def test_mode_off_takes_two_rounds():
    net = Net([1] * 4, Mode.OFF).start()
    net.run_to(12)
    assert not any(block.one_round for node in net.nodes for block in node.chain)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_killed_leader_is_skipped_and_later_ones_fast(mode):
    net = Net([1] * 4, mode).start()
    net.run_to(5)
    net.kill(2)
    before = net.now_us
    net.run_to(25, 0, 1, 3)
    assert net.now_us - before < 3_000_000


def test_a_view_without_its_leader_costs_no_full_timeout_once_its_link_is_down():
    net = Net([1] * 4).start()
    net.run_to(12)
    net.kill(net.config.validators.leader(net.nodes[0].engine.cur_view + 2))
    up = [n.index for n in net.nodes if n.up]
    height = net.nodes[up[0]].height
    started = net.now_us
    net.run_to(height + 10, *up)
    assert net.now_us - started < 400_000


def test_restart_with_journal_rejoins():
    net = Net([1] * 4).start()
    net.run_to(5)
    net.kill(1)
    net.run_to(15, 0, 2, 3)
    net.nodes[1].boot()
    net.run_to(30)


def test_the_whole_network_restarts_from_its_journals():
    net = Net([1] * 4)
    net.persist = False
    net.start()
    net.run_to(9)
    for index in range(4):
        net.kill(index)
    for node in net.nodes:
        node.chain = []  # nothing had reached the store
    acknowledged = 9
    net.queue.clear()
    net.start()
    net.run_to(acknowledged + 10)


def test_one_chain_of_two_hundred_blocks_is_caught_up_from_genesis():
    net = Net([1] * 4, observers=1)
    net.start(0, 1, 2, 3)
    net.run_to(200, 0, 1, 2, 3)
    net.nodes[4].boot()
    net.run(lambda: net.nodes[4].height >= 205)
    assert any(isinstance(m, Chain) for _, m in net.wire)


def test_catch_up_keeps_within_what_the_store_has_taken():
    net = Net([1] * 4, observers=1)
    net.start(0, 1, 2, 3)
    net.run_to(400, 0, 1, 2, 3)
    net.persist = False
    net.nodes[4].boot()
    end = net.now_us + 2_000_000
    net.run(lambda: net.now_us > end)
    assert 0 < net.nodes[4].height <= 256


def test_amnesia_is_survived_by_a_probe_and_two_silent_views():
    net = Net([1] * 4).start()
    net.run_to(8)
    net.kill(3)
    net.run_to(16, 0, 1, 2)
    mark = len(net.wire)
    net.nodes[3].boot(journal=False)
    assert net.nodes[3].engine.amnesic
    net.run_to(40)
    assert not net.nodes[3].engine.amnesic
    later = net.wire[mark:]
    assert any(isinstance(m, AmnesiaProbe) for _, m in later)
    votes = [m for source, m in later if source == 3 and isinstance(m, Vote)]
    assert votes
    assert min(vote.view for vote in votes) > 16


def test_a_lost_body_is_fetched():
    net = Net([1] * 4)
    net.drop = lambda source, target, m: (
        target == 3 and isinstance(m, Proposal) and len(m.support) + (m.vote is not None) > 0
    )
    net.start()
    net.run_to(10)
    assert any(source == 3 and isinstance(m, GetBlock) for source, m in net.wire)


def test_a_body_that_is_final_elsewhere_is_had_at_once():
    """Who asks has seen finality and no body; those that answer have it in the store already."""
    net = Net([1] * 4)
    net.drop = lambda source, target, m: target == 3 and isinstance(m, Proposal) and m.vote is not None
    net.start()
    net.run_to(10)
    asked = [m.block for source, m in net.wire if source == 3 and isinstance(m, GetBlock)]
    assert set(asked) & {each.block_hash for each in net.nodes[0].chain}
    assert not any(isinstance(m, NotFound | GetChain) for _, m in net.wire)


def test_lost_votes_come_again():
    net = Net([1] * 4)
    quiet = {"until": 1_300_000}
    net.drop = lambda source, target, m: net.now_us < quiet["until"]
    net.start()
    net.run_to(5)


def propose_to(net, leader, payload, targets):
    """The leader of view 1 proposes this to some, with its vote."""
    proposal = proposal_of(net, 1, payload)
    vote = vote_of(net, leader, Kind.NOTARIZE, 1, block_hash(proposal.header))
    for target in targets:
        net.later(1_000, net.nodes[target], Received(leader, replace(proposal, vote=vote)))


@pytest.mark.parametrize("stakes", [[1] * 4, [1] * 7, [1, 2, 2, 2, 3]])
def test_an_equivocating_leader_is_convicted_and_stops_nothing(stakes):
    net = Net(stakes)
    leader = int(net.config.validators.leader(1))
    honest = [i for i in range(len(stakes)) if i != leader]
    net.start(*honest)
    for node in honest:
        net.nodes[node].give(PeerUp(leader))
    half = len(honest) // 2
    propose_to(net, leader, b"a", honest[:half])
    propose_to(net, leader, b"b", honest[half:])
    net.run_to(5, *honest)
    for index in honest:
        evidence = net.nodes[index].evidence
        assert any(each.signer == leader for each in evidence)
        assert {each.signer for each in evidence} == {leader}
        assert not net.nodes[index].faults


def test_a_leader_that_shows_its_block_to_one_only_stops_nothing():
    net = Net([1] * 4)
    leader = int(net.config.validators.leader(1))
    honest = [i for i in range(4) if i != leader]
    net.start(*honest)
    propose_to(net, leader, b"a", honest[:1])
    net.run_to(5, *honest)


def test_a_forged_certificate_names_the_peer_and_changes_nothing():
    net = Net([1] * 4).start()
    net.run_to(3)
    genuine = next(m for _, m in reversed(net.wire) if isinstance(m, Certificate))
    node = net.nodes[0]
    forged = Certificate(
        ctype=genuine.ctype,
        epoch=1,
        view=node.engine.cur_view + 3,
        block=genuine.block,
        groups=genuine.groups,
        fault=None,
        leader_sigs=genuine.leader_sigs,
    )
    before = node.engine.state_digest()
    effects = node.engine.handle(Received(1, forged), net.instant())
    assert [type(effect) for effect in effects] == [PeerMisbehaved]
    assert node.engine.state_digest() == before


def test_forks_of_an_engine_are_independent_and_equal_until_fed():
    net = Net([1] * 4).start()
    net.run_to(3)
    engine = net.nodes[0].engine
    twin = engine.fork()
    assert twin.state_digest() == engine.state_digest()
    before = engine.state_digest()
    net2_queue = sorted(net.queue)[:20]
    for _, _, index, _, event in net2_queue:
        if index == 0:
            twin.handle(event, net.instant())
    assert engine.state_digest() == before


def test_a_laggard_among_nodes_that_never_stall_asks_for_the_chain():
    net = Net([1] * 4, observers=1)
    net.start(0, 1, 2, 3)
    net.run_to(100, 0, 1, 2, 3)
    net.drop = lambda source, target, m: isinstance(m, Status)
    net.nodes[4].boot()
    net.run(lambda: net.nodes[4].height >= 120)
