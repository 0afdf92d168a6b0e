"""Who is to blame for a fork: from two finality proofs to evidence against more than F of stake.

CONSENSUS.md sections 17.2 and 19.4. Two blocks that are both final and not on one chain: let the earlier be
final by a certificate of view v. Walk down from the later one, header by header, to the first step that
reaches v or passes it:

    its parent is of view v         that parent, another block, is certified in v
    its parent is of a view below   a SkipCert of v bridges the gap, or no honest validator had voted

Either certificate is forbidden beside finality in v (section 19.1). The two have more than F of stake in
common or carry the first votes that justify them, and each of these validators signed a pair of E1 to E7:

    i    Final(B), any other          FINALIZE(B) and a vote against it
    ii   FastFinal(B), B' certified   NOTARIZE(B) and NOTARIZE(B') or FINALIZE(B')
    iii  FastFinal(B), SkipCert       NOTARIZE(B) and SKIP, or a vote that declares another first vote
    iv   FastFinal(B), Fallback(B')   as iii, by the fallback votes or by the votes that justify them

What is found is self-contained: nobody need believe whoever ran this.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Annotated, ClassVar, Final

from consensus.agreement.certificates import SignatureChecker, verify_certificate
from consensus.agreement.evidence import (
    Evidence,
    SignedStatement,
    VerifySignature,
    evidence_from,
    offence,
)
from consensus.agreement.messages import Certificate, CertificateType, Header, block_hash
from consensus.agreement.signed import Key, in_certificate
from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import ValidatorSet, ValidatorSetRecord
from consensus.primitives.codec import MaxLength, decode, encode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.errors import DecodeError, PeerFault, UserError
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Signature, ValidatorIndex, View

MAX_HEADERS: Final = 4_096
MAX_SUPPORT: Final = 4 * MAX_HEADERS
MAX_DOSSIER_BYTES: Final = 64 * 1024 * 1024
_TAG: Final = b"PHALANX/dossier/1"
_FINALITY: Final = (CertificateType.FINAL, CertificateType.FAST_FINAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """What one node holds that makes a block final: its certificate, its ancestry, and what bridged the gaps.

    `headers` are consecutive, the lowest first, the certified block's last; `support` are certificates of
    parents and SkipCerts of views between them, as honest voters checked them for gap_ok.
    """

    WIRE_VERSION: ClassVar[int] = 1
    chain: Hash
    epoch: Epoch
    validators: ValidatorSetRecord
    headers: Annotated[tuple[Header, ...], MaxLength(MAX_HEADERS)]
    certificate: Certificate
    support: Annotated[tuple[Certificate, ...], MaxLength(MAX_SUPPORT)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """The guilty of one fork, in `view` of `epoch`: the two certificates that exclude each other, and pairs
    of signatures that convict `stake` of `total`: more than `faulty`, the most that is tolerated."""

    epoch: Epoch
    view: View
    final: Certificate
    against: Certificate
    evidence: tuple[Evidence, ...]  # one a validator, by index
    stake: int
    faulty: int
    total: int


def encode_dossier(dossier: Dossier) -> bytes:
    """The bytes of a dossier's file: the record, then its hash."""
    data = encode(dossier)
    return data + hash_tagged(_TAG, data)


def decode_dossier(data: bytes) -> Dossier:
    """The unchecked dossier of a file. Raises DecodeError."""
    body, checksum = data[:-32], data[-32:]
    if hash_tagged(_TAG, body) != checksum:
        raise DecodeError("the file is damaged, or no dossier: its last 32 bytes are not its hash")
    return decode(Dossier, body, limit=MAX_DOSSIER_BYTES)


def blame(one: Dossier, two: Dossier, verify: VerifySignature) -> Blame:
    """The guilty of the fork that two dossiers show.

    Raises UserError if they show none, if one proves nothing, or if the certificate that convicts is in
    neither: the text says which, and where to get it.
    """
    if (one.chain, one.epoch, one.validators) != (two.chain, two.epoch, two.validators):
        raise UserError(
            "the two dossiers are of different networks, epochs or validator sets: give those of the first"
            " epoch in which the two chains differ"
        )
    validators = _validators(one)
    check = SignatureChecker(chain_id_hash=one.chain, epoch=one.epoch, keys=validators.keys, verify=verify)
    for dossier in (one, two):
        _check_dossier(dossier, validators, check)
    early, late = sorted((one, two), key=lambda each: each.certificate.view)
    against = _forbidden(early, late, validators, check)
    evidence = convict((early.certificate, against), validators)
    stake = validators.weight(each.signer for each in evidence)
    faulty = validators.stake.faulty
    if stake <= faulty:
        raise AssertionError("two certificates that exclude each other convict too few: see section 19.4")
    return Blame(
        epoch=one.epoch,
        view=early.certificate.view,
        final=early.certificate,
        against=against,
        evidence=evidence,
        stake=stake,
        faulty=faulty,
        total=validators.stake.total,
    )


def convict(certificates: Iterable[Certificate], validators: ValidatorSet) -> tuple[Evidence, ...]:
    """One piece of evidence for each validator that signed both of a pair of E1 to E7 somewhere in valid
    certificates of one view; by index."""
    held: dict[int, dict[Key, Signature]] = {}
    epoch, view = Epoch(0), View(0)
    for certificate in certificates:
        epoch, view = certificate.epoch, certificate.view
        for _, signer, key, sig in in_certificate(certificate, epoch, validators):
            held.setdefault(signer, {}).setdefault(key, sig)
    found = []
    for signer, statements in sorted(held.items()):
        pair = next((pair for pair in combinations(sorted(statements), 2) if offence(*pair)), None)
        if pair is not None:
            first, second = (
                SignedStatement(kind=key[0], block=key[1], aux=key[2], sig=statements[key]) for key in pair
            )
            found.append(
                evidence_from(epoch=epoch, view=view, signer=ValidatorIndex(signer), a=first, b=second)
            )
    return tuple(found)


def _validators(dossier: Dossier) -> ValidatorSet:
    record = dossier.validators
    try:
        return ValidatorSet(
            record.validators,
            chain_id_hash=dossier.chain,
            epoch=dossier.epoch,
            mode=Mode(record.mode),
            window=record.window,
            leader_seed=record.leader_seed,
        )
    except ValueError as error:
        raise UserError(f"the dossiers name no validator set: {error}") from None


def _check_dossier(dossier: Dossier, validators: ValidatorSet, check: SignatureChecker) -> None:
    headers, certificate = dossier.headers, dossier.certificate
    for lower, upper in pairwise(headers):
        linked = (upper.parent_hash, upper.parent_view) == (block_hash(lower), lower.view)
        if not linked or upper.view <= lower.view or upper.epoch != dossier.epoch:
            raise UserError(
                f"a dossier's headers do not link at height {upper.height}: have it written again"
            )
    top = None if not headers else (headers[-1].epoch, headers[-1].view, block_hash(headers[-1]))
    if top != (dossier.epoch, certificate.view, certificate.block) or certificate.epoch != dossier.epoch:
        raise UserError("a dossier's certificate is not for its last header: have it written again")
    if certificate.ctype not in _FINALITY:
        raise UserError("a dossier proves no block final: its certificate is of another type")
    try:
        verify_certificate(certificate, validators, check)
    except PeerFault as error:
        raise UserError(f"a dossier proves no block final: {error}") from None


def _forbidden(
    early: Dossier, late: Dossier, validators: ValidatorSet, check: SignatureChecker
) -> Certificate:
    """The certificate of the view in which `early` is final that can not be beside it. Raises UserError."""
    view, block = early.certificate.view, early.certificate.block
    if late.certificate.view == view:
        if late.certificate.block == block:
            raise UserError("both dossiers make the same block final: there is no fork to blame anybody for")
        return late.certificate
    for header in reversed(late.headers):
        if header.parent_view == view and header.parent_hash == block:
            raise UserError(
                "the later block is a descendant of the earlier: there is no fork to blame anybody for"
            )
        if header.parent_view <= view:
            wanted = header.parent_hash if header.parent_view == view else ZERO_HASH
            return _find(early, late, wanted, header, validators, check)
    lowest = late.headers[0]
    raise UserError(
        f"the later dossier's headers end at height {lowest.height}, of view {lowest.view}: have it written"
        f" again from view {view} on"
    )


def _find(
    early: Dossier,
    late: Dossier,
    block: Hash,
    header: Header,
    validators: ValidatorSet,
    check: SignatureChecker,
) -> Certificate:
    """The certificate of the early view for `block`, or the SkipCert where that is zero."""
    view = early.certificate.view
    for certificate in (*late.support, *early.support):
        same = (certificate.epoch, certificate.view, certificate.block) == (early.epoch, view, block)
        if not same or (certificate.ctype == CertificateType.SKIP) != (block == ZERO_HASH):
            continue
        try:
            verify_certificate(certificate, validators, check)
        except PeerFault:
            continue
        return certificate
    missing = f"the SkipCert of view {view}"
    if block != ZERO_HASH:
        missing = f"a certificate of view {view} for block {block.hex()}"
    raise UserError(
        f"neither dossier holds {missing}, which every honest voter for block {block_hash(header).hex()} of"
        f" height {header.height} checked: ask those who signed for it; whoever has none is to blame"
    )
