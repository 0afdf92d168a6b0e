"""The bounds of CONSENSUS.md section 21, measured on the real objects while a Byzantine validator floods.

The flooder signs whatever it likes with its own key, as leader too, and replays everybody else's messages:
all that it sends is well formed. Every few messages all that the section's table bounds is measured.
"""

from dataclasses import replace
from random import Random

import pytest
from agreement_epochs import EpochNet
from agreement_forgery import alone, proposal_of, reason_of, signature, vote_of, wait, without_the_leader
from agreement_loopback import fake_verify, make_validators

from consensus.agreement.certificates import MAX_CACHED_SIGNATURES, SignatureChecker
from consensus.agreement.config import EMPTY_ONLY_AFTER, VIEWS_AHEAD
from consensus.agreement.early import MAX_EARLY, MAX_EARLY_BYTES, MAX_EARLY_STRANGERS_BYTES
from consensus.agreement.events import (
    Broadcast,
    BuildPayload,
    Peer,
    PeerDown,
    PeerUp,
    Received,
    RoundTrip,
    Send,
    SignStatement,
)
from consensus.agreement.finality import KEPT_RECENT
from consensus.agreement.intake import MAX_PROPOSALS
from consensus.agreement.messages import (
    AmnesiaProbe,
    Chain,
    FaultNotice,
    GetBlock,
    GetCertificate,
    GetChain,
    Kind,
    LeaderFault,
    NotFound,
    Proposal,
    Seen,
    Status,
    encode_message,
)
from consensus.agreement.pulling import MAX_PULLS
from consensus.agreement.replica import MAX_UNJOURNALED
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.statements import STATEMENT_WINDOW, Statement
from consensus.agreement.tally import MAX_STATEMENTS
from consensus.agreement.watch import BEHIND
from consensus.agreement.watch import MAX_STATEMENTS as MAX_WATCHED
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH

KINDS = (Kind.NOTARIZE, Kind.SKIP, Kind.NFALL, Kind.SFALL, Kind.FINALIZE)
HUGE = (1 << 64) - 1


def block_of(random):
    return hash_tagged(b"test/block", random.randbytes(8))


def measure(net, node):
    """Every bounded table of one engine, against its bound."""
    r = node.engine._replica
    count = len(net.config.validators)
    assert all(r.final_view < view <= r.cur_view + VIEWS_AHEAD for view in r.views)
    wanted = sum(kind == "block" for kind, _, _ in r.pulls)
    for state in r.views.values():
        tally = state.tally
        assert all(len(held) <= MAX_STATEMENTS for held in tally.held.values())
        assert len(tally.held) <= count
        assert len(tally.leader_sigs) <= 2 + sum(map(len, tally.held.values()))
        assert all(sum(signer in votes for votes in tally.nfall.values()) <= 3 for signer in tally.held)
        assert sum(tally.support_stake.values()) <= net.config.validators.stake.total
        assert len(state.proposals) <= MAX_PROPOSALS + wanted
    assert len(r.blocks) <= MAX_PROPOSALS * len(r.views) + len(r.handed_out) + MAX_PULLS
    assert len(r.recent) <= KEPT_RECENT
    assert len(r.pulls) <= MAX_PULLS
    assert len(r.unjournaled) < MAX_UNJOURNALED
    assert len(r.pending_probes) <= count
    assert set(r.own_votes) <= set(r.views)
    assert len(r.check._valid) <= MAX_CACHED_SIGNATURES
    watched = r.watch._seen
    assert len(watched) <= BEHIND + r.cur_view + VIEWS_AHEAD - r.final_view
    assert all(len(held) <= MAX_WATCHED for signers in watched.values() for held in signers.values())
    assert len(r.gate.views()) <= r.cur_view - r.gate.floor.view + 1


def rubbish(net, random, flooder, node, heard):
    """One well-formed message that no honest node would send, or somebody else's."""
    view = max(1, node.engine.cur_view + random.choice((-2, -1, 0, 0, 0, 1, 2, 8, 9, 40)))
    view = random.choice((view, view, view, HUGE - 1)) if random.random() < 0.1 else view
    block = block_of(random)
    kind = random.choice(KINDS)
    leads = net.config.validators.leader(view) == flooder
    what = random.randrange(12)
    if what == 0 and leads:
        return proposal_of(net, view, random.randbytes(40), height=random.choice((1, 2, 1 << 40)))
    if what == 1 and leads:
        pair = sorted((block_of(random), block))
        sigs = [signature(flooder, Kind.PROPOSE, view, each) for each in pair]
        fault = LeaderFault(block_a=pair[0], sig_a=sigs[0], block_b=pair[1], sig_b=sigs[1])
        return FaultNotice(epoch=1, view=view, fault=fault)
    if what == 2:
        seen = tuple(Seen(view=random.randrange(1, 1 << 40), bitmap=b"\x01") for _ in range(20))
        low = random.choice((0, 1, HUGE))
        return Status(epoch=1, cur_view=HUGE, final_view=low, final_height=low, final_hash=block, seen=seen)
    if what == 3:
        return random.choice(
            (
                GetBlock(epoch=1, block=block),
                GetCertificate(epoch=1, view=view, want=random.randrange(3), block=block),
                GetChain(first=random.choice((0, 1, HUGE)), last=HUGE),
                NotFound(view=view, key=block),
                Chain(first=view, blocks=(), proof=None),
            )
        )
    if what == 4:
        nonce = random.randbytes(32)
        sig = signature(flooder, Kind.AMNESIA_PROBE, 0, nonce)
        return AmnesiaProbe(epoch=1, nonce=nonce, signer=flooder, sig=sig)
    if what in (5, 6) and heard:
        return random.choice(heard)
    if what == 7:
        votes = [(flooder, Kind.NOTARIZE, block_of(random)) for _ in range(1)]
        reason = reason_of(net, view, votes) if leads else None
        return vote_of(net, flooder, Kind.NFALL, view, block, ZERO_HASH, reason)
    if kind is Kind.NOTARIZE and not leads:
        kind = Kind.FINALIZE  # it can not make another leader's signature
    return vote_of(net, flooder, kind, view, ZERO_HASH if kind is Kind.SKIP else block)


@pytest.mark.parametrize(("stakes", "persist"), [([1] * 4, True), ([1] * 7, False)])
def test_no_table_outgrows_its_bound_while_a_validator_floods(stakes, persist):
    random = Random(f"flood:{stakes}")
    net, flooder, honest = without_the_leader(stakes)
    net.persist = persist
    target = net.nodes[honest[0]]
    for round_ in range(400):
        wait(net, random.choice((0, 500, 3_000)))
        heard = [m for _, m in net.wire[-200:]]
        for _ in range(10):
            target.give(Received(Peer(flooder), rubbish(net, random, flooder, target, heard)))
        if round_ % 4 == 0:
            measure(net, target)
    assert target.height > 5  # for all that, the chain went on
    assert {each.signer for each in target.evidence} == {flooder}
    assert {each.peer for each in target.faults} <= {flooder}


def test_a_node_that_is_alone_keeps_no_more():
    """No quorum, so that no view ever ends and nothing is ever forgotten."""
    random = Random("alone")
    net, node = alone([1] * 4)
    flooder = int(net.config.validators.leader(1))
    for _ in range(200):
        for _ in range(20):
            node.give(Received(Peer(flooder), rubbish(net, random, flooder, node, [])))
        measure(net, node)
    wait(net, 2_000_000)
    measure(net, node)
    assert node.engine.cur_view == 1


def test_a_status_is_answered_once_within_t_resend():
    net, node = alone([1] * 4)
    net.nodes[node.index].engine._replica.cur_view = 5
    behind = Status(epoch=1, cur_view=1, final_view=0, final_height=0, final_hash=ZERO_HASH, seen=())
    asker = Peer((node.index + 1) % 4)
    answers = []
    for _ in range(500):
        answers += node.engine.handle(Received(asker, behind), net.instant())
    statuses = [e for e in answers if isinstance(e, Send) and isinstance(e.message, Status)]
    assert len(statuses) == 1


def test_strangers_that_come_and_go_leave_nothing_behind():
    """Each has a number of its own, and messages that were queued outlive its session."""
    status = Status(epoch=1, cur_view=1, final_view=0, final_height=9, final_hash=ZERO_HASH, seen=())

    def come_and_go(engine, now):
        for stranger in map(Peer, range(10, 500)):
            for event in (
                PeerUp(stranger),
                RoundTrip(stranger, 1_000),
                Received(stranger, status),
                PeerDown(stranger),
                Received(stranger, status),
                RoundTrip(stranger, 1_000),
            ):
                engine.handle(event, now)

    net, node = alone([1] * 4)
    come_and_go(node.engine, net.instant())
    assert len(node.engine._replica.peers) <= 4
    several = EpochNet([[(0, 1, 0), (1, 1, 0), (2, 1, 0), (3, 1, 0)]])
    several.start(0)
    agreement = several.nodes[0].engine
    come_and_go(agreement, several.instant())
    assert len(agreement._links) <= 4
    assert len(agreement._engine._replica.peers) <= 4


def test_a_stranger_that_was_asked_for_the_chain_may_leave_before_its_answer_is_read():
    net, node = alone([1] * 4)
    stranger, now = Peer(9), net.instant()
    node.engine.handle(PeerUp(stranger), now)
    ahead = Status(epoch=1, cur_view=1, final_view=0, final_height=9, final_hash=ZERO_HASH, seen=())
    asked = node.engine.handle(Received(stranger, ahead), now)
    (request,) = [e.message for e in asked if isinstance(e, Send) and isinstance(e.message, GetChain)]
    node.engine.handle(PeerDown(stranger), now)
    node.engine.handle(Received(stranger, Chain(first=request.first, blocks=(), proof=None)), now)
    assert node.engine._replica.chain_request is None
    assert stranger not in node.engine._replica.peers


def test_messages_of_an_epoch_that_never_comes_are_bounded():
    net = EpochNet([[(0, 1, 0), (1, 1, 0), (2, 1, 0), (3, 1, 0)]])
    net.start(0)
    node = net.nodes[0]
    for number in range(3 * MAX_EARLY):
        vote = vote_of(net, 1, Kind.SKIP, 1 + number)
        node.give(Received(Peer(1), replace(vote, epoch=2)))
    kept = node.engine._early.kept[Peer(1)]
    assert len(kept) == MAX_EARLY
    assert sum(len(encode_message(each)) for each in kept) <= MAX_EARLY_BYTES
    block = replace(proposal_of(net, 1, bytes(1_900_000)), payload=bytes(1_900_000))
    block = replace(block, header=replace(block.header, epoch=2))
    for stranger in range(10, 40):  # each within its own bound, all of them together within theirs
        node.engine.handle(Received(Peer(stranger), block), net.instant())
    kept_bytes = sum(
        len(encode_message(each)) for early in node.engine._early.kept.values() for each in early
    )
    assert kept_bytes <= MAX_EARLY_BYTES + MAX_EARLY_STRANGERS_BYTES
    assert len(node.engine._early.kept) > 10
    for stranger in range(10, 40):
        node.engine.handle(PeerDown(Peer(stranger)), net.instant())
    assert set(node.engine._early.kept) == {Peer(1)}
    assert set(node.engine._early._sizes) == {Peer(1)}


def test_the_signature_cache_forgets_the_oldest_whoever_signed():
    validators = make_validators([1] * 4)
    check = SignatureChecker(chain_id_hash=ZERO_HASH, epoch=1, keys=validators.keys, verify=fake_verify)
    for view in range(MAX_CACHED_SIGNATURES + 50):
        check.learn(0, int(Kind.SKIP), view, ZERO_HASH, ZERO_HASH, bytes(64))
    assert len(check._valid) == MAX_CACHED_SIGNATURES
    assert check(0, int(Kind.SKIP), MAX_CACHED_SIGNATURES + 49, ZERO_HASH, ZERO_HASH, bytes(64))
    assert not check(0, int(Kind.SKIP), 0, ZERO_HASH, ZERO_HASH, bytes(64))


def test_statements_are_remembered_for_their_window_and_no_longer():
    _, node = alone([1] * 4)
    gate: SigningGate = node.engine._replica.gate
    for height in range(1, 2 * STATEMENT_WINDOW, 8):
        candidate = hash_tagged(b"test/candidate", height.to_bytes(4, "big"))
        statement = Statement(
            role=1, relay_parent=ZERO_HASH, relay_parent_height=height, candidate=candidate, verdict=1
        )
        node.give(SignStatement(statement))
        gate.raise_floor(view=height, height=height, block=ZERO_HASH)
        assert len(gate._statements) <= STATEMENT_WINDOW // 8 + 1


def test_a_journal_holds_what_is_needed_and_not_the_past():
    """What a rewritten journal contains does not grow with the chain."""
    sizes = []
    net, _, honest = without_the_leader([1] * 4)
    node = net.nodes[honest[0]]
    for height in (10, 40):
        net.run_to(height, *honest)
        sizes.append(len(node.engine.journal_snapshot()))
    assert max(sizes) <= 24


def test_an_unfinalised_chain_is_not_fed():
    """More than 64 unfinalised views: the leader asks for empty payloads (last row but one)."""
    net, node = alone([1] * 4)
    asked = []
    net.local = lambda node, effect: asked.append(effect) if isinstance(effect, BuildPayload) else None
    others = [i for i in range(4) if i != node.index]
    for view in range(1, EMPTY_ONLY_AFTER + 12):
        for other in others:
            node.give(Received(Peer(other), vote_of(net, other, Kind.SKIP, view)))
    assert node.engine.cur_view > EMPTY_ONLY_AFTER
    assert {each.empty for each in asked if each.view <= EMPTY_ONLY_AFTER} == {False}
    assert {each.empty for each in asked if each.view > EMPTY_ONLY_AFTER} == {True}


def test_the_flood_is_not_amplified():
    """What one message makes a node send is bounded, whatever it is."""
    random = Random("amplification")
    net, flooder, honest = without_the_leader([1] * 4)
    target = net.nodes[honest[0]]
    net.run_to(3, *honest)
    heard = [m for _, m in net.wire[-200:]]
    for _ in range(2_000):
        message = rubbish(net, random, flooder, target, heard)
        effects = target.engine.handle(Received(Peer(flooder), message), net.instant())
        sent = [e for e in effects if isinstance(e, Send | Broadcast)]
        assert len(sent) <= 64, message
        size = sum(len(encode_message(each.message)) for each in sent)
        assert size <= 64 * 1024 or isinstance(message, GetBlock | Proposal)
