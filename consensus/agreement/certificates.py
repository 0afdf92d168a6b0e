"""When a certificate or justification is valid, and how its parts are packed (CONSENSUS.md section 3.1).

The rules are pure: they see the validator set and a predicate on single signatures, which the engine backs
by a cache. What is invalid raises PeerFault with the clause that it breaks.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from consensus.agreement.messages import (
    Certificate,
    CertificateType,
    Group,
    Justification,
    Kind,
    LeaderFault,
    LeaderSignature,
    sign_bytes,
)
from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.errors import PeerFault
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, PublicKey, Signature, View

MAX_CACHED_SIGNATURES: Final = 8192

Signers = Mapping[int, Signature]
CheckedReason = tuple[dict[tuple[int, Hash, Hash], dict[int, Signature]], dict[Hash, Signature]]
"""A valid justification's first votes by (kind, block, aux), and its sigLs by block."""


class SignatureChecker:
    """The one signature predicate, with a bounded memory of what it found valid.

    The memory changes nothing but time, so forks of an engine share it.
    """

    __slots__ = ("_chain_id_hash", "_epoch", "_keys", "_valid", "_verify")

    def __init__(
        self,
        *,
        chain_id_hash: Hash,
        epoch: Epoch,
        keys: tuple[PublicKey, ...],
        verify: Callable[[PublicKey, bytes, Signature], bool],
    ) -> None:
        self._chain_id_hash = chain_id_hash
        self._epoch = epoch
        self._keys = keys
        self._verify = verify
        self._valid: OrderedDict[tuple[int, int, int, bytes, bytes], Signature] = OrderedDict()

    def __call__(self, signer: int, kind: int, view: int, block: bytes, aux: bytes, sig: Signature) -> bool:
        """Whether `sig` is `signer`'s over these fields, in this epoch of this chain."""
        key = (signer, kind, view, block, aux)
        if self._valid.get(key) == sig:
            return True
        signed = sign_bytes(self._chain_id_hash, kind, self._epoch, view, block, aux)
        if not self._verify(self._keys[signer], signed, sig):
            return False
        self._keep(key, sig)
        return True

    def learn(self, signer: int, kind: int, view: int, block: bytes, aux: bytes, sig: Signature) -> None:
        """Remember an own signature, which needs no check."""
        self._keep((signer, kind, view, block, aux), sig)

    def _keep(self, key: tuple[int, int, int, bytes, bytes], sig: Signature) -> None:
        if len(self._valid) >= MAX_CACHED_SIGNATURES:
            self._valid.popitem(last=False)  # the first of a plain dict is behind all that went before it
        self._valid[key] = sig


# --- packing


def pack_group(kind: int, block: Hash, aux: Hash, sigs: Signers, count: int) -> Group:
    """Equal votes of several of `count` validators as a Group."""
    bitmap = bytearray((count + 7) // 8)
    for index in sigs:
        bitmap[index >> 3] |= 1 << (index & 7)
    ordered = tuple(sigs[index] for index in sorted(sigs))
    return Group(kind=int(kind), block=block, aux=aux, bitmap=bytes(bitmap), sigs=ordered)


def pack_bitmap(members: Iterable[int], count: int) -> bytes:
    """Bit i of byte i // 8 for each member i."""
    bitmap = bytearray((count + 7) // 8)
    for index in members:
        bitmap[index >> 3] |= 1 << (index & 7)
    return bytes(bitmap)


def members(bitmap: bytes, count: int) -> list[int]:
    """The set bits, ascending. Raises PeerFault unless the bitmap is exactly as long as `count` needs."""
    if len(bitmap) != (count + 7) // 8:
        raise PeerFault("a bitmap of the wrong length")
    bits = int.from_bytes(bitmap, "little")
    if bits >> count:
        raise PeerFault("a bitmap names a validator that does not exist")
    return [index for index in range(count) if bits >> index & 1]


def signers_of(group: Group, count: int) -> dict[int, Signature]:
    """Signatures by validator. Raises PeerFault on a malformed group."""
    indices = members(group.bitmap, count)
    if not indices or len(indices) != len(group.sigs):
        raise PeerFault("a group with as many signatures as signers is required")
    return dict(zip(indices, group.sigs, strict=True))


def leader_fault(sigs: Mapping[Hash, Signature]) -> LeaderFault:
    """The canonical fault of the two smallest of at least two proposals."""
    block_a, block_b = sorted(sigs)[:2]
    return LeaderFault(block_a=block_a, sig_a=sigs[block_a], block_b=block_b, sig_b=sigs[block_b])


def pack_leader_sigs(sigs: Mapping[Hash, Signature], groups: Iterable[Group]) -> tuple[LeaderSignature, ...]:
    """The sigL of every NOTARIZE group's block, by block."""
    blocks = sorted({group.block for group in groups if group.kind == Kind.NOTARIZE})
    return tuple(LeaderSignature(block=block, sig=sigs[block]) for block in blocks if block in sigs)


# --- validity


def check_leader_fault(
    fault: LeaderFault, view: View, validators: ValidatorSet, check: SignatureChecker
) -> None:
    """Raises PeerFault unless `fault` proves that the view's leader signed two proposals."""
    if not fault.block_a < fault.block_b:
        raise PeerFault("a leader fault needs two blocks, sorted")
    leader = validators.leader(view)
    for block, sig in ((fault.block_a, fault.sig_a), (fault.block_b, fault.sig_b)):
        if not check(leader, Kind.PROPOSE, view, block, ZERO_HASH, sig):
            raise PeerFault("a leader fault with a bad signature")


def _check_leader_sigs(
    sigs: tuple[LeaderSignature, ...], view: View, validators: ValidatorSet, check: SignatureChecker
) -> dict[Hash, Signature]:
    leader = validators.leader(view)
    found: dict[Hash, Signature] = {}
    previous = b""
    for each in sigs:
        if not previous < each.block:
            raise PeerFault("leader signatures are not sorted by block")
        previous = each.block
        if not check(leader, Kind.PROPOSE, view, each.block, ZERO_HASH, each.sig):
            raise PeerFault("a bad leader signature")
        found[each.block] = each.sig
    return found


def _unpack(groups: tuple[Group, ...], count: int) -> dict[tuple[int, Hash, Hash], dict[int, Signature]]:
    """Groups by (kind, block, aux), in strictly increasing order of it. Raises PeerFault."""
    found: dict[tuple[int, Hash, Hash], dict[int, Signature]] = {}
    previous: tuple[int, bytes, bytes] = (0, b"", b"")
    for group in groups:
        key = (group.kind, group.block, group.aux)
        if not previous < key:
            raise PeerFault("groups are not in canonical order")
        previous = key
        found[key] = signers_of(group, count)
    return found


def _check_signatures(
    groups: Mapping[tuple[int, Hash, Hash], Signers], view: View, check: SignatureChecker
) -> None:
    for (kind, block, aux), sigs in groups.items():
        for signer, sig in sigs.items():
            if not check(signer, kind, view, block, aux, sig):
                raise PeerFault(f"a bad {Kind(kind).name} signature")


def enough(stake_of: set[int], view: View, validators: ValidatorSet, *, faulted: bool) -> bool:
    """The clause that justifies fallback votes: T of first votes, or TE without a leader proven faulty."""
    limits = validators.thresholds(view)
    if validators.weight(stake_of) >= limits.fallback:
        return True
    leader = validators.leader(view)
    return faulted and validators.weight(stake_of - {leader}) >= limits.fallback_equivocated


def verify_certificate(certificate: Certificate, validators: ValidatorSet, check: SignatureChecker) -> None:
    """Raises PeerFault unless the certificate is valid; the epoch is the caller's to compare.

    Stakes are weighed before any signature is checked.
    """
    view = certificate.view
    if view < 1:
        raise PeerFault("a certificate of view 0")
    groups = _unpack(certificate.groups, len(validators))
    weigh = {
        CertificateType.NOTARIZATION: _weigh_plain,
        CertificateType.FAST_FINAL: _weigh_plain,
        CertificateType.FINAL: _weigh_plain,
        CertificateType.FALLBACK: _weigh_fallback,
        CertificateType.SKIP: _weigh_skip,
    }.get(certificate.ctype)  # type: ignore[call-overload]  # the wire gives an int, which is equal to its enum
    if weigh is None:
        raise PeerFault("a certificate of unknown type")
    weigh(certificate, groups, validators)
    if certificate.fault is not None:
        check_leader_fault(certificate.fault, view, validators, check)
    _check_leader_sigs(certificate.leader_sigs, view, validators, check)
    _check_signatures(groups, view, check)


_Groups = Mapping[tuple[int, Hash, Hash], Signers]


def _weigh_plain(certificate: Certificate, groups: _Groups, validators: ValidatorSet) -> None:
    final = certificate.ctype == CertificateType.FINAL
    kind = Kind.FINALIZE if final else Kind.NOTARIZE
    key = (int(kind), certificate.block, ZERO_HASH)
    if list(groups) != [key] or certificate.block == ZERO_HASH or certificate.fault is not None:
        raise PeerFault("a certificate with groups that its type does not have")
    needed = validators.stake.quorum
    if certificate.ctype == CertificateType.FAST_FINAL:
        if validators.mode is Mode.OFF:
            raise PeerFault("a FastFinal in mode OFF")
        needed = validators.thresholds(certificate.view).fast
    if validators.weight(groups[key]) < needed:
        raise PeerFault("a certificate with too little stake")


def _weigh_fallback(certificate: Certificate, groups: _Groups, validators: ValidatorSet) -> None:
    if validators.mode is Mode.OFF:
        raise PeerFault("a Fallback in mode OFF")
    block = certificate.block
    union: set[int] = set()
    support: set[int] = set()
    declared = False
    for (kind, voted, aux), sigs in groups.items():
        if voted != block or block in (ZERO_HASH, aux):
            raise PeerFault("a Fallback with a vote for another block")
        if kind == Kind.NOTARIZE and aux == ZERO_HASH:
            support = set(sigs)
        elif kind == Kind.NFALL:
            declared = declared or aux != ZERO_HASH
        else:
            raise PeerFault("a Fallback with groups that its type does not have")
        union |= set(sigs)
    if validators.weight(union) < validators.stake.quorum:
        raise PeerFault("a certificate with too little stake")
    faulted = certificate.fault is not None
    if declared and not enough(support, certificate.view, validators, faulted=faulted):
        raise PeerFault("a Fallback whose votes against their own first vote are not justified")


def _weigh_skip(certificate: Certificate, groups: _Groups, validators: ValidatorSet) -> None:
    if certificate.block != ZERO_HASH:
        raise PeerFault("a SkipCert names a block")
    skippers: set[int] = set()
    fallen: list[Hash] = []
    union: set[int] = set()
    conflict: dict[Hash, set[int]] = {}
    for (kind, block, aux), sigs in groups.items():
        if aux != ZERO_HASH or (kind == Kind.SKIP) != (block == ZERO_HASH):
            raise PeerFault("a SkipCert with a malformed vote")
        if kind == Kind.SKIP:
            skippers = set(sigs)
            union |= skippers
        elif kind == Kind.SFALL:
            fallen.append(block)
            union |= set(sigs)
        elif kind == Kind.NOTARIZE:
            conflict[block] = set(sigs)
        else:
            raise PeerFault("a SkipCert with groups that its type does not have")
    if validators.weight(union) < validators.stake.quorum:
        raise PeerFault("a certificate with too little stake")
    if validators.mode is Mode.OFF:
        return
    for block in fallen:
        against = skippers.union(*(each for other, each in conflict.items() if other != block))
        if not enough(against, certificate.view, validators, faulted=certificate.fault is not None):
            raise PeerFault("a SkipCert whose fallback votes are not justified")


def verify_justification(
    reason: Justification,
    *,
    kind: int,
    view: View,
    block: Hash,
    validators: ValidatorSet,
    check: SignatureChecker,
    required: bool = True,
) -> CheckedReason:
    """The first votes, by (kind, block, aux), and sigLs in a valid justification; else raises PeerFault.

    For SFALL(block): enough first votes against it. For NFALL(block): enough first votes for it, unless the
    vote declares SKIP as its first vote and so needs none (`required` False).
    """
    groups = _unpack(reason.groups, len(validators))
    support: set[int] = set()
    against: set[int] = set()
    proposed: list[Hash] = []
    for (voted, other, aux), sigs in groups.items():
        if aux != ZERO_HASH or voted not in (Kind.NOTARIZE, Kind.SKIP):
            raise PeerFault("a justification holds first votes only")
        if (voted == Kind.SKIP) != (other == ZERO_HASH):
            raise PeerFault("a justification with a malformed vote")
        if not (support | against).isdisjoint(sigs):
            raise PeerFault("a justification that counts a validator twice")
        if voted == Kind.NOTARIZE:
            proposed.append(other)
        if voted == Kind.NOTARIZE and other == block:
            support |= set(sigs)
        else:
            against |= set(sigs)
    if proposed != [each.block for each in reason.leader_sigs]:
        raise PeerFault("a justification needs one leader signature for each block")
    if required:
        relevant = against if kind == Kind.SFALL else support
        if not enough(relevant, view, validators, faulted=reason.fault is not None):
            raise PeerFault("a justification with too little stake")
    if reason.fault is not None:
        check_leader_fault(reason.fault, view, validators, check)
    leader_sigs = _check_leader_sigs(reason.leader_sigs, view, validators, check)
    _check_signatures(groups, view, check)
    return groups, leader_sigs
