"""Every pair of E1 to E7, through every pair of channels, in either order, before and after finality.

One piece of evidence comes out for the signer and view, it verifies, and nobody else is accused.
"""

from dataclasses import replace
from itertools import combinations, product

import pytest
from agreement_epochs import EpochNet
from agreement_loopback import CHAIN, fake_sign, fake_verify, make_config, make_genesis
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.agreement.certificates import pack_group
from consensus.agreement.config import Restored
from consensus.agreement.engine import Engine
from consensus.agreement.events import EvidenceFound, Instant, Peer, Received, Start
from consensus.agreement.evidence import offence, verify_evidence
from consensus.agreement.journal_records import (
    BlockRecord,
    CertificateRecord,
    FaultRecord,
    ReasonRecord,
    decode_record,
    encode_record,
)
from consensus.agreement.messages import (
    AmnesiaReply,
    Certificate,
    CertificateType,
    Chain,
    FaultNotice,
    FinalityProof,
    Justification,
    Kind,
    LeaderFault,
    LeaderSignature,
    Proposal,
    Vote,
    block_hash,
    decode_message,
    encode_message,
    sign_bytes,
)
from consensus.agreement.signed import well_formed
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.watch import BEHIND
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH

COUNT = 5
VIEW = 3
ME, OTHER = 0, 1  # the engine under test, and an honest peer that passes things on
CONFIG = make_config([1] * COUNT)
LEADER = CONFIG.validators.leader(VIEW)
GUILTY = next(i for i in range(COUNT) if i not in (ME, OTHER, LEADER))
X, Y = (hash_tagged(b"test/block", name) for name in (b"x", b"y"))
NOW = Instant(1_000_000, 1_700_000_000_000)

KINDS = (Kind.NOTARIZE, Kind.SKIP, Kind.NFALL, Kind.SFALL, Kind.FINALIZE)
KEYS = [
    (int(kind), block, aux)
    for kind, block, aux in product(KINDS, (ZERO_HASH, X, Y), (ZERO_HASH, X, Y))
    if well_formed((kind, block, aux))
]
PAIRS = [pair for pair in combinations(KEYS, 2) if offence(*pair) is not None]
HARMLESS = [pair for pair in combinations(KEYS, 2) if offence(*pair) is None]
PROPOSALS = tuple((int(Kind.PROPOSE), block, ZERO_HASH) for block in (X, Y))


def sign(signer, key, view=VIEW):
    kind, block, aux = key
    return fake_sign(signer)(sign_bytes(CHAIN, kind, 1, view, block, aux))


# --- channels: a message or record that carries one signature of one validator


def as_vote(signer, key):
    kind, block, aux = key
    proposed = (int(Kind.PROPOSE), block, ZERO_HASH)
    return Vote(
        kind=kind,
        epoch=1,
        view=VIEW,
        block=block,
        aux=aux,
        signer=signer,
        sig=sign(signer, key),
        leader_sig=sign(LEADER, proposed) if kind == Kind.NOTARIZE else None,
    )


def as_group(signer, key):
    kind, block, aux = key
    return pack_group(kind, block, aux, {signer: sign(signer, key)}, COUNT)


def as_certificate(signer, key):
    """Of a type that such a vote belongs to; far too little stake, which nobody needs to convict."""
    ctype = {
        Kind.NOTARIZE: CertificateType.NOTARIZATION,
        Kind.SKIP: CertificateType.SKIP,
        Kind.SFALL: CertificateType.SKIP,
        Kind.NFALL: CertificateType.FALLBACK,
        Kind.FINALIZE: CertificateType.FINAL,
    }[key[0]]
    block = ZERO_HASH if ctype is CertificateType.SKIP else key[1]
    return Certificate(
        ctype=int(ctype),
        epoch=1,
        view=VIEW,
        block=block,
        groups=(as_group(signer, key),),
        fault=None,
        leader_sigs=(),
    )


def as_valid_certificate(signer, key):
    """The same with everybody's vote but ours, valid where such a vote needs no reason; all are guilty."""
    kind, block, aux = key
    sigs = {index: sign(index, key) for index in range(1, COUNT)}
    certificate = as_certificate(signer, key)
    group = pack_group(kind, block, aux, sigs, COUNT)
    return Certificate(
        ctype=certificate.ctype,
        epoch=1,
        view=VIEW,
        block=certificate.block,
        groups=(group,),
        fault=None,
        leader_sigs=(),
    )


def as_reason(signer, key):
    leader_sigs = ()
    if key[0] == Kind.NOTARIZE:
        proposed = sign(LEADER, (int(Kind.PROPOSE), key[1], ZERO_HASH))
        leader_sigs = (LeaderSignature(block=key[1], sig=proposed),)
    return Justification(groups=(as_group(signer, key),), fault=None, leader_sigs=leader_sigs)


def as_justified_vote(signer, key):
    """In the reason of an honest validator's vote."""
    fallen = (int(Kind.SFALL), X, ZERO_HASH)
    return Vote(
        kind=int(Kind.SFALL),
        epoch=1,
        view=VIEW,
        block=X,
        aux=ZERO_HASH,
        signer=OTHER,
        sig=sign(OTHER, fallen),
        justification=as_reason(signer, key),
    )


def header_of(view, height=1):
    return replace(make_genesis(CONFIG), view=view, height=height, proposer=CONFIG.validators.leader(view))


def as_support(signer, key):
    header = header_of(VIEW + 1)
    proposed = (int(Kind.PROPOSE), block_hash(header), ZERO_HASH)
    return Proposal(
        header=header,
        leader_sig=sign(header.proposer, proposed, VIEW + 1),
        payload=None,
        support=(as_certificate(signer, key),),
        vote=None,
    )


def as_riding_vote(signer, key):
    header = header_of(VIEW + 1)
    proposed = (int(Kind.PROPOSE), block_hash(header), ZERO_HASH)
    return Proposal(
        header=header,
        leader_sig=sign(header.proposer, proposed, VIEW + 1),
        payload=None,
        support=(),
        vote=as_vote(signer, key),
    )


def as_chain(signer, key):
    return Chain(first=1, blocks=(), proof=FinalityProof(path=(), certificate=as_certificate(signer, key)))


def as_reply(signer, key):
    certificate = as_certificate(signer, key)
    return AmnesiaReply(
        epoch=1, nonce=ZERO_HASH, certificate=certificate, beyond=False, signer=OTHER, sig=bytes(64)
    )


CHANNELS = {
    "vote": as_vote,
    "certificate": as_certificate,
    "valid certificate": as_valid_certificate,
    "reason": as_justified_vote,
    "support": as_support,
    "riding vote": as_riding_vote,
    "chain": as_chain,
    "amnesia reply": as_reply,
}


def in_certificate_record(signer, key):
    return CertificateRecord(certificate=as_certificate(signer, key))


def in_reason_record(signer, key):
    return ReasonRecord(epoch=1, view=VIEW, kind=int(Kind.SFALL), block=X, reason=as_reason(signer, key))


# --- the engine under test


class Bench:
    """One engine, what it accuses, and what comes to it."""

    def __init__(self, records=()):
        gate = SigningGate(index=ME, chain_id_hash=CHAIN, epoch=1, sign=fake_sign(ME))
        records = tuple(decode_record(encode_record(each)) for each in records)
        restored = Restored(final=make_genesis(CONFIG), proof=None, records=records)
        self.engine = Engine(CONFIG, gate, restored)
        self.evidence = []
        self.note(self.engine.handle(Start(hash_tagged(b"test/nonce")), NOW))

    def note(self, effects):
        self.evidence += [each.evidence for each in effects if isinstance(each, EvidenceFound)]

    def give(self, message, peer=OTHER):
        message = decode_message(encode_message(message))
        self.note(self.engine.handle(Received(Peer(peer), message), NOW))

    def finalise(self, view):
        """A finality certificate of a view, by those who are innocent or by all but us."""
        block = hash_tagged(b"test/final", bytes([view]))
        key = (int(Kind.FINALIZE), block, ZERO_HASH)
        sigs = {index: sign(index, key, view) for index in range(COUNT) if index != GUILTY}
        group = pack_group(*key, sigs, COUNT)
        self.give(
            Certificate(
                ctype=int(CertificateType.FINAL),
                epoch=1,
                view=view,
                block=block,
                groups=(group,),
                fault=None,
                leader_sigs=(),
            )
        )
        assert self.engine.final_view >= view

    def convicted(self):
        """Who is accused, once each, by evidence that verifies."""
        for each in self.evidence:
            assert each.view == VIEW
            assert verify_evidence(each, CONFIG.validators, CHAIN, fake_verify) is not None
        signers = [each.signer for each in self.evidence]
        assert len(set(signers)) == len(signers), "accused twice of one view"
        return set(signers)


def may_be_guilty(*channels):
    """Whom else a test makes sign too much: all but us in a whole certificate; a leader of two blocks."""
    return set(range(1, COUNT)) if "valid certificate" in channels else {LEADER, OTHER, GUILTY}


def meet(pair, first, second, *, final_before=None, final_between=None, peer=OTHER):
    bench = Bench()
    if final_before is not None:
        bench.finalise(final_before)
    bench.give(CHANNELS[first](GUILTY, pair[0]), peer)
    if final_between is not None:
        bench.finalise(final_between)
    bench.give(CHANNELS[second](GUILTY, pair[1]), peer)
    bench.give(CHANNELS[first](GUILTY, pair[0]), peer)
    return bench


def test_the_table_of_section_17_is_covered() -> None:
    assert {offence(*pair) for pair in [*PAIRS, PROPOSALS]} == set(range(1, 8))


@pytest.mark.parametrize("first", CHANNELS)
@pytest.mark.parametrize("second", CHANNELS)
def test_every_pair_is_found_through_every_pair_of_channels(first, second) -> None:
    for pair in PAIRS:
        for each in (pair, pair[::-1]):
            bench = meet(each, first, second)
            assert GUILTY in bench.convicted() <= may_be_guilty(first, second)
            (found,) = [e for e in bench.evidence if e.signer == GUILTY]
            keys = [(s.kind, s.block, s.aux) for s in (found.first, found.second)]
            if "reason" not in (first, second):
                assert keys == sorted(pair)


@settings(max_examples=150, deadline=None)
@given(
    pair=st.sampled_from(PAIRS),
    first=st.sampled_from(sorted(CHANNELS)),
    second=st.sampled_from(sorted(CHANNELS)),
    before=st.none() | st.integers(1, VIEW + BEHIND - 1),
    between=st.none() | st.integers(1, VIEW + BEHIND - 1),
    peer=st.sampled_from([OTHER, GUILTY]),
    swap=st.booleans(),
)
def test_finality_in_between_lets_nobody_off(pair, first, second, before, between, peer, swap) -> None:
    between = None if before is not None and between is not None and between <= before else between
    bench = meet(
        pair[::-1] if swap else pair, first, second, final_before=before, final_between=between, peer=peer
    )
    assert GUILTY in bench.convicted()


@pytest.mark.parametrize("record", [in_certificate_record, in_reason_record])
def test_what_the_journal_held_meets_what_comes_after_a_restart(record) -> None:
    for pair, channel in product(PAIRS, CHANNELS):
        for old, new in (pair, pair[::-1]):
            if record is in_reason_record and old[0] not in (Kind.NOTARIZE, Kind.SKIP):
                continue
            bench = Bench([record(GUILTY, old)])
            assert not bench.evidence
            bench.give(CHANNELS[channel](GUILTY, new))
            assert GUILTY in bench.convicted()


def test_two_proposals_convict_a_leader_however_they_come() -> None:
    sigs = {key[1]: sign(LEADER, key) for key in PROPOSALS}
    low, high = sorted(sigs)
    fault = LeaderFault(block_a=low, sig_a=sigs[low], block_b=high, sig_b=sigs[high])
    votes = [
        as_vote(GUILTY, (int(Kind.NOTARIZE), X, ZERO_HASH)),
        as_vote(OTHER, (int(Kind.NOTARIZE), Y, ZERO_HASH)),
    ]
    for given_, journaled in (
        ([FaultNotice(epoch=1, view=VIEW, fault=fault)], []),
        (votes, []),
        ([], [FaultRecord(epoch=1, view=VIEW, fault=fault)]),
        ([], [FaultRecord(epoch=1, view=VIEW, fault=fault)] * 2),
    ):
        for late in (False, True):
            bench = Bench(journaled)
            if late:
                bench.finalise(VIEW + 1)
            for message in given_:
                bench.give(message)
            assert bench.convicted() == {LEADER}
    one, two = header_of(VIEW), header_of(VIEW, height=2)
    keys = [(int(Kind.PROPOSE), block_hash(each), ZERO_HASH) for each in (one, two)]
    bench = Bench([BlockRecord(header=one, leader_sig=sign(LEADER, keys[0]), payload=b"")])
    bench.give(Proposal(header=two, leader_sig=sign(LEADER, keys[1]), payload=None, support=(), vote=None))
    assert bench.convicted() == {LEADER}


def test_what_an_honest_validator_may_sign_convicts_nobody() -> None:
    for pair, (first, second) in product(HARMLESS, [("vote", "vote"), ("certificate", "vote")]):
        assert GUILTY not in meet(pair, first, second).convicted()


def test_a_forged_signature_neither_convicts_nor_shields() -> None:
    for pair in PAIRS:
        bench = Bench()
        for key in KEYS:  # whatever conflicts with what comes later, and more than is kept
            vote = as_vote(GUILTY, key)
            bench.give(replace(vote, sig=bytes(64)))
        assert not [each for each in bench.evidence if each.signer == GUILTY]
        for key in pair:
            bench.give(as_vote(GUILTY, key))
        assert GUILTY in bench.convicted()


def test_far_views_and_other_epochs_take_no_memory() -> None:
    bench = Bench()
    watch = bench.engine._replica.watch
    for view in range(1, 400):
        bench.give(replace(as_vote(GUILTY, KEYS[0]), view=view))
        bench.give(replace(as_vote(GUILTY, KEYS[0]), epoch=2))
    assert max(watch._seen) <= 16
    for view in range(1, 200):
        bench.finalise(view)
    assert len(watch._seen) <= BEHIND + 16
    assert not bench.evidence


@pytest.mark.parametrize("restarted", [False, True])
def test_the_epoch_before_is_watched_too(restarted) -> None:
    """Whoever signs against itself in an epoch that is over here answers for it, by index and key of then."""
    net = EpochNet([[(node, 1, 0) for node in order] for order in ((0, 1, 2, 3), (3, 2, 1, 0))]).start()
    net.run_to_epoch(2)
    if restarted:
        net.kill(0)
        net.nodes[0].boot()
    agreement = net.nodes[0].engine
    assert agreement.epoch == 2
    for view in (agreement._past._final, agreement._past._highest):
        found = []
        for block in (X, Y):
            key = (int(Kind.NOTARIZE), block, ZERO_HASH)
            sig = fake_sign(2)(sign_bytes(CHAIN, key[0], 1, view, block, ZERO_HASH))
            vote = Vote(kind=key[0], epoch=1, view=view, block=block, aux=ZERO_HASH, signer=2, sig=sig)
            effects = agreement.handle(Received(Peer(1), vote), net.instant())
            found += [each.evidence for each in effects if isinstance(each, EvidenceFound)]
        assert [(each.epoch, each.view, each.signer) for each in found] == [(1, view, 2)]
    twin = agreement.fork()
    assert twin.state_digest() == agreement.state_digest()


def test_a_fork_of_an_engine_watches_for_itself() -> None:
    """What one has seen since convicts nobody in the other, whichever of them is the copy."""
    for pair in PAIRS:
        bench = Bench()
        bench.give(as_vote(OTHER, pair[1]))
        twins = [bench.engine, bench.engine.fork()]
        found = []
        for engine, key in zip(twins, pair, strict=True):
            effects = engine.handle(Received(Peer(GUILTY), as_vote(GUILTY, key)), NOW)
            found += [each for each in effects if isinstance(each, EvidenceFound)]
        assert GUILTY not in {each.evidence.signer for each in found}
        again = twins[1].fork()
        for engine in (twins[1], again):
            effects = engine.handle(Received(Peer(GUILTY), as_vote(GUILTY, pair[0])), NOW)
            assert GUILTY in {e.evidence.signer for e in effects if isinstance(e, EvidenceFound)}
