"""Wire types and certificates: one encoding each, and validity to the letter of CONSENSUS.md section 3.1."""

from dataclasses import replace

import pytest
from agreement_loopback import CHAIN, Net, fake_sign, fake_verify, make_validators
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.agreement.certificates import SignatureChecker, members, pack_bitmap, verify_certificate
from consensus.agreement.messages import (
    Certificate,
    CertificateType,
    Group,
    Kind,
    Vote,
    decode_message,
    encode_message,
    sign_bytes,
)
from consensus.agreement.tally import Tally
from consensus.agreement.thresholds import Mode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.errors import DecodeError, PeerFault
from consensus.primitives.ids import ZERO_HASH

BLOCKS = [hash_tagged(b"test/block", bytes([i])) for i in range(3)]
VIEW = 1


def checker(validators):
    return SignatureChecker(chain_id_hash=CHAIN, epoch=1, keys=validators.keys, verify=fake_verify)


def put(tally, signer, kind, block=ZERO_HASH, aux=ZERO_HASH):
    sig = fake_sign(signer)(sign_bytes(CHAIN, kind, 1, VIEW, block, aux))
    tally.add(signer, (int(kind), block, aux), sig)


def propose(tally, block):
    sig = fake_sign(tally.leader)(sign_bytes(CHAIN, Kind.PROPOSE, 1, VIEW, block, ZERO_HASH))
    tally.add_leader_sig(block, sig)


votes = st.lists(st.sampled_from(["A", "B", "skip", "none"]), min_size=4, max_size=10)


@settings(max_examples=60)
@given(votes, st.data(), st.lists(st.integers(1, 3), min_size=10, max_size=10), st.sampled_from(list(Mode)))
def test_whatever_a_tally_assembles_verifies_and_survives_the_wire(firsts, data, stakes, mode):
    validators = make_validators(stakes[: len(firsts)], mode)
    tally = Tally(validators, 1, VIEW)
    names = {"A": BLOCKS[0], "B": BLOCKS[1]}
    for block in {names[vote] for vote in firsts if vote in names}:
        propose(tally, block)
    for signer, vote in enumerate(firsts):
        if vote in names:
            put(tally, signer, Kind.NOTARIZE, names[vote])
        elif vote == "skip":
            put(tally, signer, Kind.SKIP)
        if vote == "none":
            continue
        second = data.draw(st.sampled_from(["A", "B", "sfall", "fin", "nothing"]))
        own = names.get(vote, ZERO_HASH)
        if second == "sfall" and own != ZERO_HASH:
            put(tally, signer, Kind.SFALL, own)
        elif second == "fin" and own != ZERO_HASH:
            put(tally, signer, Kind.FINALIZE, own)
        elif second in names and names[second] != own:
            put(tally, signer, Kind.NFALL, names[second], own)
    made = [tally.assemble_skip()]
    for block in BLOCKS[:2]:
        made += [
            tally.assemble_fast(block),
            tally.assemble_notarization(block),
            tally.assemble_final(block),
            tally.assemble_fallback(block),
        ]
    for certificate in (each for each in made if each is not None):
        verify_certificate(certificate, validators, checker(validators))
        assert decode_message(encode_message(certificate)) == certificate


def a_certificate(ctype=CertificateType.NOTARIZATION, count=4, signers=(0, 1, 2)):
    validators = make_validators([1] * count)
    tally = Tally(validators, 1, VIEW)
    propose(tally, BLOCKS[0])
    kind = Kind.FINALIZE if ctype == CertificateType.FINAL else Kind.NOTARIZE
    for signer in signers:
        put(tally, signer, kind, BLOCKS[0])
    make = {
        CertificateType.NOTARIZATION: tally.assemble_notarization,
        CertificateType.FAST_FINAL: tally.assemble_fast,
        CertificateType.FINAL: tally.assemble_final,
    }[ctype]
    return validators, make(BLOCKS[0])


def refuse(certificate, validators):
    with pytest.raises(PeerFault):
        verify_certificate(certificate, validators, checker(validators))


@pytest.mark.parametrize("ctype", [1, 4, 5])
def test_forged_certificates_are_refused(ctype):
    validators, good = a_certificate(CertificateType(ctype))
    verify_certificate(good, validators, checker(validators))
    group = good.groups[0]
    refuse(replace(good, view=2), validators)
    refuse(replace(good, view=0), validators)
    refuse(replace(good, block=BLOCKS[1]), validators)
    refuse(replace(good, ctype=9), validators)
    refuse(replace(good, ctype=int(CertificateType.SKIP)), validators)
    refuse(replace(good, groups=()), validators)
    refuse(replace(good, groups=(group, group)), validators)
    refuse(replace(good, groups=(replace(group, sigs=group.sigs[:2]),)), validators)
    refuse(replace(good, groups=(replace(group, bitmap=b"\x0f"),)), validators)
    refuse(replace(good, groups=(replace(group, bitmap=b"\x17"),)), validators)
    refuse(replace(good, groups=(replace(group, bitmap=b"\x07\x00"),)), validators)
    refuse(replace(good, groups=(replace(group, sigs=tuple(reversed(group.sigs))),)), validators)
    refuse(replace(good, groups=(replace(group, bitmap=b"\x03", sigs=group.sigs[:2]),)), validators)
    if good.leader_sigs:
        bad = replace(good.leader_sigs[0], sig=bytes(64))
        refuse(replace(good, leader_sigs=(bad,)), validators)


def test_the_fast_quorum_is_more_than_a_quorum_at_seven():
    validators, notarization = a_certificate(count=7, signers=range(5))
    verify_certificate(notarization, validators, checker(validators))
    refuse(replace(notarization, ctype=int(CertificateType.FAST_FINAL)), validators)
    assert a_certificate(CertificateType.FAST_FINAL, count=7, signers=range(5))[1] is None
    assert a_certificate(CertificateType.FAST_FINAL, count=7, signers=range(6))[1] is not None


def test_mode_off_knows_no_fast_final_and_no_fallback():
    _, fast = a_certificate(CertificateType.FAST_FINAL)
    off = make_validators([1] * 4, Mode.OFF)
    refuse(fast, off)
    refuse(replace(fast, ctype=int(CertificateType.FALLBACK)), off)


def test_fallback_votes_need_their_clause_in_a_skip_certificate():
    validators = make_validators([1] * 7)
    tally = Tally(validators, 1, VIEW)
    propose(tally, BLOCKS[0])
    for signer in range(4):
        put(tally, signer, Kind.NOTARIZE, BLOCKS[0])
        put(tally, signer, Kind.SFALL, BLOCKS[0])
    put(tally, 4, Kind.SKIP)
    assert tally.assemble_skip() is None  # a quorum of SKIP ∪ SFALL, and one first vote against: T = 4
    forged = Certificate(
        ctype=int(CertificateType.SKIP), epoch=1, view=VIEW, block=ZERO_HASH, fault=None, leader_sigs=(),
        groups=(
            pack(tally, Kind.SKIP, ZERO_HASH, [4], 7),
            pack(tally, Kind.SFALL, BLOCKS[0], range(4), 7),
        ),
    )  # fmt: skip
    refuse(forged, validators)


def pack(tally, kind, block, signers, count):
    sigs = tuple(tally.held[signer][int(kind), block, ZERO_HASH] for signer in signers)
    bitmap = pack_bitmap(signers, count)
    return Group(kind=int(kind), block=block, aux=ZERO_HASH, bitmap=bitmap, sigs=sigs)


@given(st.sets(st.integers(0, 40)), st.integers(41, 60))
def test_bitmaps_round_trip(indices, count):
    assert members(pack_bitmap(indices, count), count) == sorted(indices)


def test_bitmaps_that_name_nobody_are_refused():
    with pytest.raises(PeerFault):
        members(b"\x10", 4)
    with pytest.raises(PeerFault):
        members(b"\x01\x00", 4)


@pytest.fixture(scope="module")
def traffic():
    net = Net([1] * 4, observers=1)
    net.drop = lambda source, target, m: target == 2 and net.now_us % 7_000 < 1_000
    net.start(0, 1, 2, 3)
    net.run_to(20, 0, 1, 3)
    net.kill(1)
    net.run_to(30, 0, 3)
    net.nodes[1].boot(journal=False)
    net.nodes[4].boot()
    net.run_to(40, 0, 3)
    by_type = {}
    for _, message in net.wire:
        kind = getattr(message, "kind", getattr(message, "ctype", 0))
        by_type.setdefault((type(message), kind), message)
    return list(by_type.values())


def test_real_traffic_has_one_encoding(traffic):
    assert len(traffic) >= 8
    for message in traffic:
        data = encode_message(message)
        assert decode_message(data) == message
        for broken in (data[:-1], data + b"\x00", b"", bytes([data[0] ^ 1]) + data[1:]):
            with pytest.raises(DecodeError):
                decode_message(broken)


@settings(max_examples=150)
@given(st.data())
def test_mangled_traffic_decodes_canonically_or_not_at_all(traffic, data):
    wire = bytearray(encode_message(data.draw(st.sampled_from(traffic))))
    for _ in range(data.draw(st.integers(1, 3))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    try:
        message = decode_message(bytes(wire))
    except DecodeError:
        return
    assert encode_message(message) == bytes(wire)


@given(st.binary(max_size=60))
def test_garbage_is_not_a_message(data):
    try:
        message = decode_message(data)
    except DecodeError:
        return
    assert encode_message(message) == data


def test_sizes_on_the_wire():
    vote = Vote(
        kind=2,
        epoch=1,
        view=2**40,
        block=BLOCKS[0],
        aux=ZERO_HASH,
        signer=199,
        sig=bytes(64),
        leader_sig=bytes(64),
    )
    assert len(encode_message(vote)) < 250
    _, certificate = a_certificate()
    assert len(encode_message(certificate)) < 450
