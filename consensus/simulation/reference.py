"""The rules of CONSENSUS.md restated literally, for the checkers: nothing here is shared with the engine.

Slow and simple on purpose: where the engine and this file disagree, a run shows it. Only the wire types, the
sign bytes and the validator set's data (keys, stakes, mode, leaders) are taken from `agreement`.
"""

from collections.abc import Callable, Iterable

from consensus.agreement.messages import (
    Certificate,
    CertificateType,
    FinalityProof,
    Group,
    Header,
    Kind,
    LeaderFault,
    block_hash,
    sign_bytes,
)
from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, PublicKey, Signature, View

Verify = Callable[[PublicKey, bytes, Signature], bool]
SignedVote = tuple[int, Hash, Hash]  # kind, block, aux


def signers(group: Group) -> list[int]:
    """The indices whose bits are set, ascending."""
    return [
        8 * position + bit
        for position, byte in enumerate(group.bitmap)
        for bit in range(8)
        if byte >> bit & 1
    ]


class Rulebook:
    """Section 1 (thresholds), section 3.1 (certificates) and section 16 (proofs) for one validator set."""

    def __init__(self, validators: ValidatorSet, chain_id_hash: Hash, epoch: Epoch, verify: Verify) -> None:
        self.validators = validators
        self.chain_id_hash = chain_id_hash
        self.epoch = epoch
        self._verify = verify
        total = sum(validators.stakes)
        self.total = total
        self.faulty = (total - 1) // 3
        self.quorum = 2 * total // 3 + 1
        self.slack = (total - 3 * self.faulty - 1) // 2

    def missing(self, view: View) -> int:
        """P(v)."""
        leader_stake = self.validators.stakes[self.validators.leader(view)]
        return min(leader_stake + self.slack, self.total - self.quorum)

    def weight(self, indices: Iterable[int]) -> int:
        """W of a set of validators."""
        return sum(self.validators.stakes[index] for index in set(indices))

    def certificate_fault(self, certificate: Certificate) -> str | None:
        """Why a certificate is not valid by section 3.1; None if it is."""
        if certificate.epoch != self.epoch or certificate.view < 1:
            return "wrong epoch or view"
        if certificate.fault is not None:
            broken = self.leader_fault_fault(certificate.view, certificate.fault)
            if broken is not None:
                return broken
        for group in certificate.groups:
            broken = self._group_fault(certificate.view, group)
            if broken is not None:
                return broken
        strict = self.validators.mode is Mode.STRICT
        ctype = certificate.ctype
        if ctype == CertificateType.NOTARIZATION:
            return self._single(certificate, Kind.NOTARIZE, self.quorum)
        if ctype == CertificateType.FINAL:
            return self._single(certificate, Kind.FINALIZE, self.quorum)
        if ctype == CertificateType.FAST_FINAL and strict:
            return self._single(certificate, Kind.NOTARIZE, self.total - self.missing(certificate.view))
        if ctype == CertificateType.FALLBACK and strict:
            return self._fallback(certificate)
        if ctype == CertificateType.SKIP:
            return self._skip(certificate, strict)
        return "no such certificate in this mode"

    def leader_fault_fault(self, view: View, fault: LeaderFault) -> str | None:
        """Why a LeaderFault proves nothing; None if it does."""
        if not fault.block_a < fault.block_b:
            return "a leader fault of equal or unsorted blocks"
        for block, sig in ((fault.block_a, fault.sig_a), (fault.block_b, fault.sig_b)):
            if not self.signed(self.validators.leader(view), Kind.PROPOSE, view, block, ZERO_HASH, sig):
                return "a leader fault with a signature that the leader did not make"
        return None

    def proof_fault(self, header: Header, proof: FinalityProof) -> str | None:
        """Why a finality proof does not prove that the block of `header` is final; None if it does."""
        below = block_hash(header)
        for above in proof.path:
            if above.parent_hash != below:
                return "the headers of the path are not linked"
            below = block_hash(above)
        last = proof.path[-1] if proof.path else header
        certificate = proof.certificate
        if {above.epoch for above in proof.path} - {header.epoch}:
            return "the path crosses a boundary"
        if certificate.ctype not in (CertificateType.FINAL, CertificateType.FAST_FINAL):
            return "not a certificate of finality"
        if (certificate.view, certificate.block) != (last.view, below):
            return "the certificate is for another block"
        return self.certificate_fault(certificate)

    def signed(self, signer: int, kind: int, view: View, block: Hash, aux: Hash, sig: Signature) -> bool:
        """Whether `sig` is the validator's signature on this vote or proposal."""
        message = sign_bytes(self.chain_id_hash, kind, self.epoch, view, block, aux)
        return self._verify(self.validators.keys[signer], message, sig)

    def _group_fault(self, view: View, group: Group) -> str | None:
        who = signers(group)
        if not who or len(who) != len(group.sigs) or who[-1] >= len(self.validators.keys):
            return "bitmap and signatures do not match"
        for signer, sig in zip(who, group.sigs, strict=True):
            if not self.signed(signer, group.kind, view, group.block, group.aux, sig):
                return f"validator {signer} did not sign this"
        return None

    def _single(self, certificate: Certificate, kind: Kind, threshold: int) -> str | None:
        if [(group.kind, group.block) for group in certificate.groups] != [(kind, certificate.block)]:
            return "not one group of the right kind and block"
        if self.weight(signers(certificate.groups[0])) < threshold:
            return "too little stake"
        return None

    def _backed(self, view: View, backers: set[int], fault: LeaderFault | None) -> bool:
        """The clause after the comma of section 3.1: W ≥ T, or W without the leader ≥ TE given a fault."""
        leader = self.validators.leader(view)
        threshold = self.faulty + self.missing(view) + 1
        if self.weight(backers) >= threshold:
            return True
        proven = max(1, threshold - self.validators.stakes[leader])
        return fault is not None and self.weight(backers - {leader}) >= proven

    def _fallback(self, certificate: Certificate) -> str | None:
        block = certificate.block
        notarized: set[int] = set()
        fallback: set[int] = set()
        declared = False
        for group in certificate.groups:
            if group.block != block or group.kind not in (Kind.NOTARIZE, Kind.NFALL):
                return "a group that does not belong"
            if group.kind == Kind.NOTARIZE:
                notarized |= set(signers(group))
            else:
                fallback |= set(signers(group))
                declared = declared or group.aux != ZERO_HASH
        if self.weight(notarized | fallback) < self.quorum:
            return "too little stake"
        if declared and not self._backed(certificate.view, notarized, certificate.fault):
            return "fallback votes without the first votes that justify them"
        return None

    def _skip(self, certificate: Certificate, strict: bool) -> str | None:
        skipped: set[int] = set()
        fallback: dict[Hash, set[int]] = {}
        conflict: dict[Hash, set[int]] = {}
        for group in certificate.groups:
            who = set(signers(group))
            if group.kind == Kind.SKIP:
                skipped |= who
            elif group.kind == Kind.SFALL:
                fallback.setdefault(group.block, set()).update(who)
            elif group.kind == Kind.NOTARIZE:
                conflict.setdefault(group.block, set()).update(who)
            else:
                return "a group that does not belong"
        if self.weight(skipped.union(*fallback.values())) < self.quorum:
            return "too little stake"
        for block in fallback if strict else ():
            others = [who for other, who in conflict.items() if other != block]
            if not self._backed(certificate.view, skipped.union(*others), certificate.fault):
                return "fallback votes without the first votes that justify them"
        return None


def offence_of(a: SignedVote, b: SignedVote) -> str | None:
    """Which of E1 to E7 (section 17.1) two signatures of one validator in one view commit; None for none."""
    if a == b:
        return None
    return _ordered_offence(a, b) or _ordered_offence(b, a)


def _ordered_offence(a: SignedVote, b: SignedVote) -> str | None:
    (kind, block, aux), (other, other_block, other_aux) = a, b
    if kind == other == Kind.PROPOSE:
        return "E1" if block != other_block else None
    if kind == other == Kind.NOTARIZE:
        return "E2" if block != other_block else None
    if kind == Kind.NOTARIZE and other == Kind.SKIP:
        return "E3"
    if kind == Kind.FINALIZE:
        if other == Kind.FINALIZE:
            return "E4" if block != other_block else None
        if other in (Kind.SKIP, Kind.SFALL, Kind.NFALL):
            return "E5"
        if other == Kind.NOTARIZE:
            return "E6" if block != other_block else None
        return None
    if kind == Kind.NFALL and aux == ZERO_HASH:
        if other in (Kind.NOTARIZE, Kind.SFALL):
            return "E7"
    elif kind in (Kind.SFALL, Kind.NFALL):
        first = block if kind == Kind.SFALL else aux
        if other == Kind.SKIP or (other in (Kind.NOTARIZE, Kind.SFALL) and other_block != first):
            return "E7"
        if other == Kind.NFALL and other_aux != first:
            return "E7"
    if kind == Kind.NFALL and other == Kind.NOTARIZE and other_block == block:
        return "E7"
    return None
