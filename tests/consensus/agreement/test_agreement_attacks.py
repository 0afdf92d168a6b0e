"""What one Byzantine validator can try against the others: to hold up a view, or to fill their memory."""

from dataclasses import replace

from agreement_forgery import proposal_of, reason_of, vote_of, wait, without_the_leader
from agreement_loopback import Net

from consensus.agreement.events import PeerMisbehaved, Received
from consensus.agreement.evidence import is_grave
from consensus.agreement.messages import (
    AmnesiaProbe,
    Certificate,
    GetBlock,
    Kind,
    NotFound,
    Proposal,
    Vote,
    block_hash,
)
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH

NOWHERE = hash_tagged(b"test/block", b"that nobody proposed")


def test_an_unjustified_fallback_vote_does_not_spoil_the_others():
    """Two honest votes for a block, one SKIP; the leader skips and shows its NOTARIZE in a reason only."""
    net, leader, honest = without_the_leader([1] * 4)
    proposal = proposal_of(net, 1, b"block")
    block = block_hash(proposal.header)
    for index in honest[:2]:
        net.later(0, net.nodes[index], Received(leader, proposal))
    net.drop = lambda source, target, m: True  # until the third has skipped
    net.run(lambda: net.nodes[honest[2]].engine._replica.gate.votes(1).first == ZERO_HASH)
    skip = vote_of(net, leader, Kind.SKIP, 1)
    firsts = [(i, Kind.NOTARIZE, block) for i in (*honest[:2], leader)]
    fallback = vote_of(net, leader, Kind.NFALL, 1, block, NOWHERE, reason_of(net, 1, firsts))
    for message in (skip, fallback):
        for index in honest:
            net.nodes[index].give(Received(leader, message))
    net.drop = lambda source, target, m: False
    net.run_to(2, *honest)


def test_blocks_of_impossible_heights_are_forgotten_once_their_view_is_final():
    net, leader, honest = without_the_leader([1] * 4)
    views = [view for view in range(1, 30) if net.config.validators.leader(view) == leader]
    for view in views:
        proposal = proposal_of(net, view, b"x", height=1_000_000 + view)
        net.run(lambda view=view: net.nodes[honest[0]].engine.cur_view >= view)
        for index in honest:
            net.nodes[index].give(Received(leader, proposal))
    net.run(lambda: net.nodes[honest[0]].engine.final_view > views[-1])
    wait(net, 10_000)
    held = net.nodes[honest[0]].engine._replica.blocks.values()
    assert not [each.header.height for each in held if each.header.height > 1_000_000]


def test_votes_for_invented_blocks_have_nothing_fetched():
    net, leader, honest = without_the_leader([1] * 4)
    for view in range(1, 9):
        for number in range(12):
            block = hash_tagged(b"test/block", bytes([view, number]))
            kind = Kind.FINALIZE if number % 2 else Kind.NFALL
            for index in honest:
                net.nodes[index].give(Received(leader, vote_of(net, leader, kind, view, block)))
    assert not any(net.nodes[index].engine._replica.pulls for index in honest)
    wait(net, 100_000)
    assert not any(isinstance(m, GetBlock) for _, m in net.wire)


def test_a_withheld_body_is_asked_for_ever_more_rarely():
    """Though everybody answers at once that he does not have it."""
    net, leader, honest = without_the_leader([1] * 4)
    block = hash_tagged(b"test/block", b"withheld")
    net.drop = lambda source, target, m: not isinstance(m, GetBlock | NotFound)
    for index in honest:
        net.nodes[index].give(Received(leader, vote_of(net, leader, Kind.NOTARIZE, 1, block)))
    wait(net, 3_000_000)
    asked = [m for source, m in net.wire if source == honest[0] and isinstance(m, GetBlock)]
    assert 2 <= len(asked) <= 30


def test_a_header_without_its_body_is_not_asked_for_once_the_chain_brought_it():
    """The leader shows one node a bare header; the node gets the body with a piece of the final chain."""
    net = Net([1] * 4)
    leader = int(net.config.validators.leader(1))
    victim = (leader + 1) % 4
    net.drop = lambda source, target, m: (
        target == victim and (net.now_us < 2_000_000 or (isinstance(m, Proposal) and m.header.view < 100))
    )
    net.start()
    net.run(lambda: net.now_us >= 1_100_000)
    proposal = next(
        m for _, m in net.wire if isinstance(m, Proposal) and m.header.view == 1 and m.payload is not None
    )
    final = next(m for _, m in net.wire if isinstance(m, Certificate) and m.view == 1 and m.ctype == 4)
    for message in (replace(proposal, payload=None, vote=None), final):
        net.nodes[victim].give(Received(leader, message))
    net.run_to(400)
    wait(net, 50_000)
    pulls = net.nodes[victim].engine._replica.pulls
    assert ("block", 0, block_hash(proposal.header)) not in pulls


def test_a_flood_of_proposals_leaves_honest_reasons_whole():
    """The leader signs a hundred blocks in one view; what the others then send each other stays valid."""
    net, leader, honest = without_the_leader([1] * 4)
    first = proposal_of(net, 1, b"first")
    for index in honest[:2]:
        net.nodes[index].give(Received(leader, first))
    flooded = net.nodes[honest[2]]
    for number in range(100):
        flooded.give(Received(leader, proposal_of(net, 1, b"block %d" % number)))
    net.run_to(2, *honest)
    reasons = [m.justification for source, m in net.wire if source == honest[2] and isinstance(m, Vote)]
    assert any(reasons)
    assert not any(net.nodes[index].faults for index in honest)


def test_a_signer_counts_once_in_a_reason():
    """Otherwise one vote of an equivocator costs as many signature checks as it likes."""
    net, leader, honest = without_the_leader([1] * 4)
    blocks = [hash_tagged(b"test/block", bytes([number])) for number in range(40)]
    reason = reason_of(net, 1, [(leader, Kind.NOTARIZE, block) for block in blocks])
    vote = vote_of(net, leader, Kind.NFALL, 1, NOWHERE, ZERO_HASH, reason)
    node = net.nodes[honest[0]]
    checked = []
    node.engine._replica.check._verify = lambda *each: checked.append(each) or True
    node.give(Received(leader, vote))
    assert [type(each) for each in node.faults] == [PeerMisbehaved]
    assert {each.signer for each in node.evidence} == {leader}  # by a mild pair, then by a grave one
    assert [is_grave(each) for each in node.evidence] == [False, True]
    assert len(checked) <= 4


def test_a_lost_probe_is_asked_again():
    net = Net([1] * 4).start()
    net.run_to(3)
    net.kill(3)
    net.run_to(6, 0, 1, 2)
    net.drop = lambda source, target, m: isinstance(m, AmnesiaProbe) and net.now_us < until
    until = net.now_us + 500_000
    net.nodes[3].boot(journal=False)
    net.run(lambda: not net.nodes[3].engine._replica.gate.amnesic, limit_us=5_000_000)
