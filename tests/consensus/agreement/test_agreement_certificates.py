"""Every clause of CONSENSUS.md section 3.1, each with the certificate that it alone refuses; n = 7: F = 2,
Q = 5, T = 4, TE = 3. And what a peer serves: bodies, chains and votes that are not what they should be."""

from dataclasses import replace

import pytest
from agreement_forgery import alone, certificate_of, proposal_of, reason_of, signature, vote_of, wait
from agreement_loopback import CHAIN, Net, fake_verify, make_validators

from consensus.agreement.certificates import SignatureChecker, verify_certificate, verify_justification
from consensus.agreement.config import MAX_UNPERSISTED
from consensus.agreement.events import PeerMisbehaved, Received
from consensus.agreement.messages import CertificateType, Chain, ChainBlock, Kind, LeaderFault
from consensus.agreement.thresholds import Mode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.errors import PeerFault
from consensus.primitives.ids import ZERO_HASH

A, B = (hash_tagged(b"test/block", each) for each in (b"a", b"b"))
SEVEN = make_validators([1] * 7)
LEADER = SEVEN.leader(1)
REST = [i for i in range(7) if i != LEADER]


def checker(validators):
    return SignatureChecker(chain_id_hash=CHAIN, epoch=1, keys=validators.keys, verify=fake_verify)


def is_valid(ctype, block, votes, equivocated=(), validators=SEVEN):
    certificate = certificate_of(validators, ctype, 1, block, votes, equivocated)
    try:
        verify_certificate(certificate, validators, checker(validators))
    except PeerFault:
        return False
    return True


def votes(signers, kind, block=ZERO_HASH, aux=ZERO_HASH):
    return [(signer, kind, block, aux) for signer in signers]


@pytest.mark.parametrize(("support", "valid"), [(REST[:4], True), (REST[:3], False)])
def test_a_fallback_of_voters_for_another_block_needs_t_for_its_own(support, valid):
    fallen = votes(REST[4:], Kind.NFALL, A, B) + votes(REST[3 - len(support) :][:0], Kind.SKIP)
    missing = votes([i for i in REST[:4] if i not in support] + [LEADER], Kind.NFALL, A)
    ballot = votes(support, Kind.NOTARIZE, A) + fallen + missing
    assert is_valid(CertificateType.FALLBACK, A, ballot) is valid


def test_a_fallback_of_skippers_needs_no_reason():
    ballot = votes(REST[:1], Kind.NOTARIZE, A) + votes(REST[1:5], Kind.NFALL, A)
    assert is_valid(CertificateType.FALLBACK, A, ballot)
    assert not is_valid(CertificateType.FALLBACK, A, ballot[:-1])


@pytest.mark.parametrize(("support", "valid"), [(REST[:3], True), ([LEADER, *REST[:2]], False)])
def test_a_proven_equivocator_does_not_count_for_the_block_it_signed(support, valid):
    fallen = votes([i for i in REST if i not in support][:3], Kind.NFALL, A, B)
    ballot = votes(support, Kind.NOTARIZE, A) + fallen
    assert is_valid(CertificateType.FALLBACK, A, ballot, (A, B)) is valid
    assert not is_valid(CertificateType.FALLBACK, A, ballot)


@pytest.mark.parametrize(("others", "valid"), [([LEADER], True), ([], False)])
def test_a_skip_certificate_with_sfall_needs_t_against_the_block(others, valid):
    """Votes for the very block that is left are no conflict with it."""
    ballot = votes(REST[:3], Kind.SKIP) + votes(others, Kind.NOTARIZE, B) + votes(REST[3:5], Kind.SFALL, A)
    ballot += votes(REST[3:], Kind.NOTARIZE, A)
    assert is_valid(CertificateType.SKIP, ZERO_HASH, ballot) is valid


def test_conflict_groups_are_reasons_and_no_votes_to_skip():
    ballot = votes(REST[:3], Kind.SKIP) + votes(REST[3:4], Kind.SFALL, A)
    assert not is_valid(
        CertificateType.SKIP, ZERO_HASH, ballot + votes([*REST[4:], LEADER], Kind.NOTARIZE, B)
    )
    assert is_valid(CertificateType.SKIP, ZERO_HASH, votes(REST[:5], Kind.SKIP))


def test_in_mode_off_nothing_is_final_by_first_votes():
    """An OFF-mode notarisation, however many signed it, is no finality for anybody."""
    off = make_validators([1] * 7, Mode.OFF)
    everybody = votes(range(7), Kind.NOTARIZE, A)
    assert is_valid(CertificateType.NOTARIZATION, A, everybody, validators=off)
    assert not is_valid(CertificateType.FAST_FINAL, A, everybody, validators=off)
    assert is_valid(CertificateType.FAST_FINAL, A, everybody)


def test_a_leader_fault_shows_two_blocks():
    sig = signature(LEADER, Kind.PROPOSE, 1, A)
    ballot = votes(REST[:3], Kind.NOTARIZE, A) + votes(REST[3:5], Kind.NFALL, A, B)
    good = certificate_of(SEVEN, CertificateType.FALLBACK, 1, A, ballot, (A, B))
    verify_certificate(good, SEVEN, checker(SEVEN))
    once = replace(good, fault=LeaderFault(block_a=A, sig_a=sig, block_b=A, sig_b=sig))
    swapped = LeaderFault(
        block_a=good.fault.block_b, sig_a=good.fault.sig_b, block_b=good.fault.block_a, sig_b=good.fault.sig_a
    )
    for fault in (once, replace(good, fault=swapped)):
        with pytest.raises(PeerFault):
            verify_certificate(fault, SEVEN, checker(SEVEN))


@pytest.mark.parametrize(("count", "valid"), [(3, False), (4, True)])
@pytest.mark.parametrize("kind", [Kind.SFALL, Kind.NFALL])
def test_a_justification_holds_t_first_votes(kind, count, valid):
    net = Net([1] * 7)
    block = A if kind is Kind.NFALL else B  # for NFALL: votes for it; for SFALL: votes against it
    reason = reason_of(net, 1, [(i, Kind.NOTARIZE, A) for i in REST[:count]])

    def verify():
        verify_justification(reason, kind=kind, view=1, block=block, validators=SEVEN, check=checker(SEVEN))

    if valid:
        verify()
    else:
        with pytest.raises(PeerFault):
            verify()


# --- what is served


def test_a_forged_vote_counts_for_nothing_and_names_its_sender_only_on_its_own_link():
    net, node = alone([1] * 4)
    forger, victim = [i for i in range(4) if i != node.index][:2]
    forged = replace(vote_of(net, victim, Kind.SKIP, 1), sig=signature(forger, Kind.SKIP, 1))
    before = node.engine.state_digest()
    node.give(Received(forger, forged))
    assert node.engine.state_digest() == before
    assert not node.faults
    node.give(Received(victim, forged))
    assert node.engine.state_digest() == before
    assert [each.peer for each in node.faults] == [victim]


def test_a_proposal_with_another_body_is_refused():
    net, node = alone([1] * 4)
    leader = net.config.validators.leader(1)
    proposal = proposal_of(net, 1, b"block")
    before = node.engine.state_digest()
    for payload in (b"blocK", b"block ", b""):
        node.give(Received(leader, replace(proposal, payload=payload)))
    assert node.engine.state_digest() == before
    assert len(node.faults) == 3


def another_header(chain):
    """One block below the last has another header."""
    first = chain.blocks[0]
    changed = replace(first, header=replace(first.header, time_ms=first.header.time_ms + 1))
    return replace(chain, blocks=(changed, *chain.blocks[1:]))


def another_body(chain):
    first = replace(chain.blocks[0], payload=bytes(len(chain.blocks[0].payload)))
    return replace(chain, blocks=(first, *chain.blocks[1:]))


def proof_of_another(chain):
    """The last block is left out; the proof is for it."""
    return replace(chain, blocks=chain.blocks[:-1])


def no_finality(chain):
    """A notarisation in place of the finality certificate."""
    ctype = int(CertificateType.NOTARIZATION)
    return replace(
        chain, proof=replace(chain.proof, certificate=replace(chain.proof.certificate, ctype=ctype))
    )


@pytest.mark.parametrize("spoil", [another_header, another_body, proof_of_another, no_finality])
def test_a_chain_that_its_proof_does_not_cover_is_refused(spoil):
    net = Net([1] * 4, observers=1)
    net.start(0, 1, 2, 3)
    net.run_to(40, 0, 1, 2, 3)
    late = net.nodes[4]
    net.drop = lambda source, target, m: target == 4 and isinstance(m, Chain)
    late.boot()
    net.run(lambda: any(isinstance(m, Chain) and m.blocks for _, m in net.wire))
    source, chain = next((s, m) for s, m in net.wire if isinstance(m, Chain) and m.blocks)
    before = late.engine.final_height
    late.give(Received(source, spoil(chain)))
    assert [type(each) for each in late.faults] == [PeerMisbehaved]
    assert late.engine.final_height == before
    late.give(Received(source, chain))
    assert late.engine.final_height == before + len(chain.blocks)
    wait(net, 1_000)


def test_a_piece_of_the_chain_that_comes_late_is_taken_once():
    net = Net([1] * 4, observers=1)
    net.start(0, 1, 2, 3)
    net.run_to(40, 0, 1, 2, 3)
    late = net.nodes[4]
    net.drop = lambda source, target, m: target == 4 and isinstance(m, Chain)
    late.boot()
    net.run(lambda: len({s for s, m in net.wire if isinstance(m, Chain) and m.blocks}) > 1)
    source, chain = next((s, m) for s, m in net.wire if isinstance(m, Chain) and m.blocks)
    assert late.engine.final_height == 0, "another peer has been asked since"
    late.give(Received(source, chain))
    height = late.engine.final_height
    assert height >= len(chain.blocks), "with what it already held above"
    late.give(Received(source, chain))
    assert late.engine.final_height == height
    assert not late.faults


def test_pieces_that_nobody_asked_for_never_exceed_what_may_be_undurable():
    net = Net([1] * 4, observers=1)
    net.start(0, 1, 2, 3)
    net.run_to(MAX_UNPERSISTED + 80, 0, 1, 2, 3)
    net.drop, net.persist = lambda source, target, m: target == 4, False
    late = net.nodes[4]
    late.boot()
    chain = net.nodes[0].chain
    for first in range(1, len(chain), 16):
        blocks = chain[first - 1 : first + 15]
        served = tuple(ChainBlock(header=each.header, payload=each.payload) for each in blocks)
        late.give(Received(0, Chain(first=first, blocks=served, proof=blocks[-1].proof)))
    assert late.engine.final_height == MAX_UNPERSISTED
    assert not late.faults
