"""Every fork convicts more than F of stake and nobody who is honest (CONSENSUS.md sections 17.2 and 19.4)."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from agreement_loopback import CHAIN, Net, fake_sign, fake_verify, make_validators

from consensus.agreement.blame import Dossier, blame, convict, decode_dossier, encode_dossier
from consensus.agreement.certificates import (
    SignatureChecker,
    leader_fault,
    pack_group,
    pack_leader_sigs,
    verify_certificate,
)
from consensus.agreement.evidence import Offence, offence, verify_evidence
from consensus.agreement.journal_records import CertificateRecord, SignedRecord, decode_record
from consensus.agreement.messages import Certificate, CertificateType, Kind, sign_bytes
from consensus.agreement.thresholds import Mode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.errors import DecodeError, PeerFault, UserError
from consensus.primitives.ids import ZERO_HASH

B, C, D = sorted(hash_tagged(b"test/block", name) for name in (b"b", b"c", b"d"))
VIEW = 2
TYPES = CertificateType


# --- by hand: any two valid certificates that exclude each other


class Book:
    """Signs whatever a test wants in one view, and packs it as certificates."""

    def __init__(self, stakes, mode=Mode.STRICT):
        self.validators = make_validators(stakes, mode)
        self.check = SignatureChecker(
            chain_id_hash=CHAIN, epoch=1, keys=self.validators.keys, verify=fake_verify
        )
        self.leader = self.validators.leader(VIEW)

    def sign(self, signer, kind, block, aux=ZERO_HASH):
        return fake_sign(signer)(sign_bytes(CHAIN, kind, 1, VIEW, block, aux))

    def certificate(self, ctype, block, votes, *, proposed=(), fault=False):
        """`votes`: validator → (kind, block, aux). None if it is not valid."""
        keys = sorted({(int(kind), voted, aux) for kind, voted, aux in votes.values()})
        groups = []
        for key in keys:
            sigs = {i: self.sign(i, *key) for i, vote in votes.items() if (int(vote[0]), *vote[1:]) == key}
            groups.append(pack_group(*key, sigs, len(self.validators)))
        leader_sigs = {each: self.sign(self.leader, Kind.PROPOSE, each) for each in {B, C, *proposed}}
        certificate = Certificate(
            ctype=int(ctype),
            epoch=1,
            view=VIEW,
            block=block,
            groups=tuple(groups),
            fault=leader_fault(leader_sigs) if fault else None,
            leader_sigs=pack_leader_sigs(leader_sigs, groups),
        )
        try:
            verify_certificate(certificate, self.validators, self.check)
        except PeerFault:
            return None
        return certificate

    def draw(self, random, ctype, block, choices, *, fault=False):
        """A certificate whose votes are drawn; None if it is not valid."""
        weights = [random.choice((1, 2, 6)) for _ in choices]
        votes = {}
        for index in range(len(self.validators)):
            vote = random.choices(choices, weights)[0]
            if vote is not None:
                votes[index] = vote
        return self.certificate(ctype, block, votes, fault=fault)


def notarize(block):
    return (Kind.NOTARIZE, block, ZERO_HASH)


def draw_final(book, random):
    """FastFinal or Final of B, by just enough or more."""
    ctype = random.choice((TYPES.FINAL, TYPES.FAST_FINAL))
    kind = Kind.FINALIZE if ctype is TYPES.FINAL else Kind.NOTARIZE
    return book.draw(random, ctype, B, [(kind, B, ZERO_HASH)] * 6 + [None])


def draw_against(book, random):
    """A certificate that can not be beside it."""
    what = random.choice(("block", "final", "fallback", "fallback", "skip", "skip"))
    fault = random.random() < 0.5
    if what in ("block", "final"):
        ctype = random.choice((TYPES.NOTARIZATION, TYPES.FAST_FINAL)) if what == "block" else TYPES.FINAL
        kind = Kind.FINALIZE if what == "final" else Kind.NOTARIZE
        return book.draw(random, ctype, C, [(kind, C, ZERO_HASH)] * 6 + [None])
    if what == "fallback":
        choices = [notarize(C), *((Kind.NFALL, C, aux) for aux in (ZERO_HASH, B, D)), None]
        return book.draw(random, TYPES.FALLBACK, C, choices, fault=fault)
    skip = (Kind.SKIP, ZERO_HASH, ZERO_HASH)
    fallen = [(Kind.SFALL, block, ZERO_HASH) for block in (B, C)]
    return book.draw(random, TYPES.SKIP, ZERO_HASH, [skip, *fallen, notarize(C), notarize(D)], fault=fault)


def check_guilty(book, final, against):
    guilty = convict((final, against), book.validators)
    signers = [each.signer for each in guilty]
    assert len(set(signers)) == len(signers)
    assert book.validators.weight(signers) > book.validators.stake.faulty
    for each in guilty:
        assert verify_evidence(each, book.validators, CHAIN, fake_verify) is not None
    return guilty


def test_whatever_excludes_each_other_convicts_more_than_f() -> None:
    random = Random("blame")
    met = Counter()
    for _ in range(3_000):
        stakes = [random.randint(1, 4) for _ in range(random.randint(4, 8))]
        book = Book(stakes)
        if max(stakes) > book.validators.stake.faulty:
            continue  # outside of the model (section 1)
        final, against = draw_final(book, random), draw_against(book, random)
        if final is not None and against is not None:
            guilty = check_guilty(book, final, against)
            justified = any(group.kind == Kind.SFALL for group in against.groups)
            met[TYPES(final.ctype), TYPES(against.ctype), justified, against.fault is not None] += 1
            assert guilty
    kinds = {(final, against) for final, against, _, _ in met}
    against = (TYPES.NOTARIZATION, TYPES.FALLBACK, TYPES.SKIP, TYPES.FAST_FINAL, TYPES.FINAL)
    assert kinds == {(final, other) for final in (TYPES.FINAL, TYPES.FAST_FINAL) for other in against}
    for faulted in (False, True):
        assert met[TYPES.FAST_FINAL, TYPES.SKIP, True, faulted] > 2
    assert min(met.values()) >= 1


def test_each_case_of_the_proof_by_hand() -> None:
    """n = 4, equal stakes: F = 1, so two are named each time, and which two and why is known.

    The leader proposed both blocks where both certificates hold NOTARIZE votes: that names it first.
    """
    book = Book([1] * 4)
    three = (0, 1, 2)
    late = (1, 2, 3)
    skip, fall = (Kind.SKIP, ZERO_HASH, ZERO_HASH), (Kind.SFALL, B, ZERO_HASH)

    def guilty(ctype, other, block, votes):
        vote = (Kind.FINALIZE, B, ZERO_HASH) if ctype is TYPES.FINAL else notarize(B)
        final = book.certificate(ctype, B, dict.fromkeys(three, vote))
        found = check_guilty(book, final, book.certificate(other, block, votes))
        return {each.signer: named(each) for each in found}

    def named(evidence):
        return offence(*((s.kind, s.block, s.aux) for s in (evidence.first, evidence.second)))

    def both(why, *, proposed=False):
        expected = dict.fromkeys((1, 2), why)
        return expected | ({book.leader: Offence.DOUBLE_PROPOSAL} if proposed else {})

    notarized, skipped = dict.fromkeys(late, notarize(C)), dict.fromkeys(late, skip)
    finalized = dict.fromkeys(late, (Kind.FINALIZE, C, ZERO_HASH))
    case_1 = [
        (TYPES.NOTARIZATION, C, notarized, both(Offence.FINALIZE_AND_NOTARIZE_OTHER)),
        (TYPES.SKIP, ZERO_HASH, skipped, both(Offence.FINALIZE_AND_FALLBACK)),
        (TYPES.FINAL, C, finalized, both(Offence.DOUBLE_FINALIZE)),
    ]
    for other, block, votes, expected in case_1:
        assert guilty(TYPES.FINAL, other, block, votes) == expected
    case_2_3 = [
        (TYPES.NOTARIZATION, C, notarized, both(Offence.DOUBLE_NOTARIZE, proposed=True)),
        (TYPES.FINAL, C, finalized, both(Offence.FINALIZE_AND_NOTARIZE_OTHER)),
        (TYPES.SKIP, ZERO_HASH, skipped, both(Offence.NOTARIZE_AND_SKIP)),
    ]
    for other, block, votes, expected in case_2_3:
        assert guilty(TYPES.FAST_FINAL, other, block, votes) == expected
    honest = next(i for i in three if i != book.leader)  # falls back, as the others' first votes let it
    others = [i for i in range(4) if i != honest]
    liars = set(three) - {honest}
    votes = dict.fromkeys(others, skip) | {honest: fall}
    assert guilty(TYPES.FAST_FINAL, TYPES.SKIP, ZERO_HASH, votes).keys() == liars
    votes = dict.fromkeys(others, notarize(C)) | {honest: (Kind.NFALL, C, B)}
    found = guilty(TYPES.FAST_FINAL, TYPES.FALLBACK, C, votes)
    assert found.keys() == liars | {book.leader}


# --- by real engines: two histories signed with the same keys


def forked(stakes, seed, mode=Mode.STRICT):
    """Two networks that share a beginning, and Byzantine validators of more than F; (networks, Byzantine).

    Each side has a quorum, because the Byzantine ones run in both with what they had signed before.
    """
    random = Random(f"fork:{seed}")
    first = Net(stakes, mode).start()
    first.run_to(1 + random.randrange(3))
    sides, byzantine = split(first.config.validators, random)
    nets = []
    for side, members in enumerate(sides):
        net = Net(stakes, mode)
        net.now_us = first.now_us + 1_000_000 + side * 500_000  # block times differ, and so do the blocks
        losses = Random(f"loss:{seed}:{side}")
        lossy_until_us = net.now_us + random.choice((0, 400_000, 1_500_000))
        share = random.choice((0.0, 0.2, 0.4))
        net.drop = lambda *_, n=net, r=losses, t=lossy_until_us, p=share: n.now_us < t and r.random() < p
        for index in members:
            node, before = net.nodes[index], first.nodes[index]
            node.journal, node.chain = list(before.journal), list(before.chain)
            records = map(decode_record, node.journal)
            node.recorded = {each.sig for each in records if isinstance(each, SignedRecord)}
        net.start(*members)
        target = max(node.height for node in first.nodes) + 1 + random.randrange(3)
        net.run_to(target, *members)
        nets.append(net)
    return nets, sides, byzantine


def split(validators, random):
    """Members of two sides, each of a quorum, and those who are on both."""
    order = list(range(len(validators)))
    while True:
        random.shuffle(order)
        a = order[: random.randint(1, len(order) // 2)]
        b = order[len(a) : len(a) + random.randint(1, len(order) - len(a) - 1)]
        both = [index for index in order if index not in a and index not in b]
        quorum = validators.stake.quorum
        if min(validators.weight([*a, *both]), validators.weight([*b, *both])) >= quorum:
            return ([*a, *both], [*b, *both]), both


def dossier(net, members, height):
    """What one node of a side can show for its block at `height`."""
    node = net.nodes[members[0]]
    proof = node.chain[height - 1].proof
    headers = [each.header for each in node.chain[:height]]
    records = [decode_record(each) for index in members for each in net.nodes[index].journal]
    support = [each.certificate for each in records if isinstance(each, CertificateRecord)]
    return Dossier(
        chain=CHAIN,
        epoch=1,
        validators=net.config.validators.record,
        headers=(*headers, *proof.path),
        certificate=proof.certificate,
        support=tuple(support),
    )


def check_fork(stakes, seed, mode=Mode.STRICT):
    """Blame every two conflicting blocks of a fork; the types of certificates that excluded each other."""
    nets, sides, byzantine = forked(stakes, seed, mode)
    validators = nets[0].config.validators
    chains = [net.nodes[members[0]].chain for net, members in zip(nets, sides, strict=True)]
    shared = sum(a.block_hash == b.block_hash for a, b in zip(*chains, strict=False))
    met = set()
    for one in range(shared + 1, len(chains[0]) + 1):
        for two in range(shared + 1, len(chains[1]) + 1):
            files = [dossier(nets[0], sides[0], one), dossier(nets[1], sides[1], two)]
            files = [decode_dossier(encode_dossier(each)) for each in files]
            found = blame(*files, fake_verify)
            again = blame(*reversed(files), fake_verify)
            assert [each.signer for each in again.evidence] == [each.signer for each in found.evidence]
            guilty = {each.signer for each in found.evidence}
            assert guilty <= set(byzantine)
            assert found.stake == validators.weight(guilty) > found.faulty == validators.stake.faulty
            for each in found.evidence:
                assert verify_evidence(each, validators, CHAIN, fake_verify) is not None
            met.add((TYPES(found.final.ctype), TYPES(found.against.ctype)))
    if shared:
        common = [dossier(net, members, shared) for net, members in zip(nets, sides, strict=True)]
        for pair in (common, [common[0], dossier(nets[1], sides[1], len(chains[1]))]):
            with pytest.raises(UserError, match="no fork to blame"):
                blame(*pair, fake_verify)
    return met


@pytest.mark.parametrize("stakes", [[1] * 4, [1] * 7, [3, 2, 4, 1, 3]], ids=str)
def test_every_fork_of_real_engines_names_the_guilty(stakes) -> None:
    met = set()
    for seed in range(24 // len(stakes)):
        met |= check_fork(stakes, seed)
    assert len(met) >= 2


def test_a_fork_in_mode_off_names_the_guilty() -> None:
    met = set()
    for seed in range(6):
        met |= check_fork([1] * 4, seed, Mode.OFF)
    assert {final for final, _ in met} == {TYPES.FINAL}


@pytest.mark.slow
def test_many_forks_name_the_guilty() -> None:
    met = Counter()
    random = Random("many forks")
    for seed in range(100, 400):
        stakes = random.choice(([1] * 4, [1] * 5, [1] * 7, [2, 1, 2, 3, 1], [3, 3, 2, 4, 1, 2]))
        met.update(check_fork(stakes, seed))
    assert (TYPES.FAST_FINAL, TYPES.SKIP) in met
    assert len(met) >= 5


# --- files that show nothing


def test_what_shows_no_fork_is_refused_with_what_to_do() -> None:
    nets, sides, _ = forked([1] * 4, 1)
    tops = [
        dossier(net, members, net.nodes[members[0]].height) for net, members in zip(nets, sides, strict=True)
    ]
    one, two = sorted(tops, key=lambda each: each.certificate.view)

    def refused(a, b, reason):
        with pytest.raises(UserError, match=reason):
            blame(a, b, fake_verify)

    refused(one, replace(two, epoch=2), "of different networks, epochs or validator sets")
    refused(one, replace(two, headers=two.headers[:-1]), "not for its last header")
    refused(one, replace(two, headers=()), "not for its last header")
    if len(two.headers) > 1:
        refused(one, replace(two, headers=(two.headers[0], *two.headers)), "do not link")
    cut = two.certificate.groups[0]
    forged = replace(cut, sigs=(bytes(64), *cut.sigs[1:]))
    refused(
        one, replace(two, certificate=replace(two.certificate, groups=(forged,))), "proves no block final"
    )
    notarized = replace(two.certificate, ctype=int(TYPES.NOTARIZATION))
    refused(one, replace(two, certificate=notarized), "of another type")
    if two.certificate.view > one.certificate.view:
        bare = [replace(each, support=()) for each in (one, two)]
        refused(*bare, "whoever has none is to blame|have it written again")
    data = encode_dossier(one)
    for damaged in (data[:-1], b"", data[:40] + b"\x00" + data[41:]):
        with pytest.raises(DecodeError):
            decode_dossier(damaged)


def test_a_forged_certificate_convicts_nobody() -> None:
    """What stands beside finality is believed only if it verifies: else a liar could frame the honest."""
    framed = 0
    for seed in range(12):
        nets, sides, _ = forked([1] * 4, seed)
        heights = [net.nodes[members[0]].height for net, members in zip(nets, sides, strict=True)]
        files = [dossier(*each) for each in zip(nets, sides, heights, strict=True)]
        if files[0].certificate.view == files[1].certificate.view:
            continue
        framed += 1
        forged = [replace(each, support=tuple(map(forge, each.support))) for each in files]
        with pytest.raises(UserError, match="neither dossier holds"):
            blame(*forged, fake_verify)
        mixed = [replace(each, support=(*map(forge, each.support), *each.support)) for each in files]
        assert blame(*mixed, fake_verify).evidence == blame(*files, fake_verify).evidence
    assert framed


def forge(certificate):
    """The same with signatures that nobody made."""
    groups = [replace(each, sigs=(bytes(64),) * len(each.sigs)) for each in certificate.groups]
    return replace(certificate, groups=tuple(groups))
