"""Accountability: pairs of signatures that no honest validator makes (CONSENSUS.md section 17.1).

Evidence verifies itself: against the epoch's keys and the chain's genesis hash, with no other context.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from consensus.agreement.messages import Kind, Vote, sign_bytes
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.codec import U8
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, PublicKey, Signature, ValidatorIndex, View

VerifySignature = Callable[[PublicKey, bytes, Signature], bool]


class Offence(enum.IntEnum):
    """The rows of the table in section 17.1."""

    DOUBLE_PROPOSAL = 1
    DOUBLE_NOTARIZE = 2
    NOTARIZE_AND_SKIP = 3
    DOUBLE_FINALIZE = 4
    FINALIZE_AND_FALLBACK = 5
    FINALIZE_AND_NOTARIZE_OTHER = 6
    FALSE_FIRST_VOTE = 7


GRAVE: Final = frozenset(
    {
        Offence.DOUBLE_PROPOSAL,
        Offence.DOUBLE_NOTARIZE,
        Offence.DOUBLE_FINALIZE,
        Offence.FINALIZE_AND_NOTARIZE_OTHER,
    }
)
"""Signatures for two blocks of one view. The other rows contradict a vote about one block or none. Whoever is
known for one of those may still be convicted of one of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedStatement:
    """One signature of a validator, by its fields; epoch, view and signer are those of the evidence."""

    kind: U8
    block: Hash
    aux: Hash
    sig: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Two signatures of one validator in one view that convict it; `first` sorts before `second`."""

    WIRE_VERSION: ClassVar[int] = 1
    epoch: Epoch
    view: View
    signer: ValidatorIndex
    first: SignedStatement
    second: SignedStatement


def declared_first_vote(kind: int, block: Hash, aux: Hash) -> tuple[Kind, Hash] | None:
    """The first vote that a signed vote declares its signer to have cast; None for PROPOSE and FINALIZE.

    NFALL with aux = 0 declares SKIP; SFALL(X) and NFALL(·, X) declare NOTARIZE(X).
    """
    if kind in (Kind.NOTARIZE, Kind.SFALL):
        return Kind.NOTARIZE, block
    if kind == Kind.SKIP or (kind == Kind.NFALL and aux == ZERO_HASH):
        return Kind.SKIP, ZERO_HASH
    if kind == Kind.NFALL:
        return Kind.NOTARIZE, aux
    return None


def offence(a: tuple[int, Hash, Hash], b: tuple[int, Hash, Hash]) -> Offence | None:
    """Which row of E1 to E7 the pair of (kind, block, aux) convicts under, if any. Symmetric."""
    if a == b:
        return None
    (kind_a, block_a, _), (kind_b, block_b, _) = a, b
    if Kind.PROPOSE in (kind_a, kind_b):
        return Offence.DOUBLE_PROPOSAL if kind_a == kind_b and block_a != block_b else None
    if Kind.FINALIZE in (kind_a, kind_b):
        return _offence_with_finalize(a, b) if kind_a == Kind.FINALIZE else _offence_with_finalize(b, a)
    first_a, first_b = declared_first_vote(*a), declared_first_vote(*b)
    if first_a is not None and first_b is not None and first_a != first_b:
        if kind_a == kind_b == Kind.NOTARIZE:
            return Offence.DOUBLE_NOTARIZE
        if {kind_a, kind_b} == {Kind.NOTARIZE, Kind.SKIP}:
            return Offence.NOTARIZE_AND_SKIP
        return Offence.FALSE_FIRST_VOTE
    if {kind_a, kind_b} == {Kind.NFALL, Kind.NOTARIZE} and block_a == block_b:
        return Offence.FALSE_FIRST_VOTE
    return None


def _offence_with_finalize(finalize: tuple[int, Hash, Hash], other: tuple[int, Hash, Hash]) -> Offence | None:
    kind = other[0]
    if kind == Kind.FINALIZE:
        return Offence.DOUBLE_FINALIZE if finalize[1] != other[1] else None
    if kind == Kind.NOTARIZE:
        return Offence.FINALIZE_AND_NOTARIZE_OTHER if finalize[1] != other[1] else None
    return Offence.FINALIZE_AND_FALLBACK if kind in (Kind.SKIP, Kind.SFALL, Kind.NFALL) else None


def evidence_from(
    *, epoch: Epoch, view: View, signer: ValidatorIndex, a: SignedStatement, b: SignedStatement
) -> Evidence:
    """The canonical Evidence of a convicting pair. Raises ValueError if the pair convicts nobody."""
    if offence((a.kind, a.block, a.aux), (b.kind, b.block, b.aux)) is None:
        raise ValueError("an honest validator may have signed both")
    first, second = sorted((a, b), key=lambda each: (each.kind, each.block, each.aux))
    return Evidence(epoch=epoch, view=view, signer=signer, first=first, second=second)


def is_grave(evidence: Evidence) -> bool:
    """Whether a piece, if it proves anything, proves one of GRAVE. Checks no signature."""
    first, second = ((each.kind, each.block, each.aux) for each in (evidence.first, evidence.second))
    return offence(first, second) in GRAVE


def statement_of(vote: Vote) -> SignedStatement:
    """The signed part of a vote."""
    return SignedStatement(kind=vote.kind, block=vote.block, aux=vote.aux, sig=vote.sig)


def verify_pair(
    evidence: Evidence, key: PublicKey, chain_id_hash: Hash, verify: VerifySignature
) -> Offence | None:
    """The offence that two signatures of `key` prove, or None. A DOUBLE_PROPOSAL is one of a leader alone."""
    first, second = evidence.first, evidence.second
    key_first, key_second = ((each.kind, each.block, each.aux) for each in (first, second))
    found = offence(key_first, key_second) if key_first < key_second else None
    if found is None:
        return None
    for each in (first, second):
        signed = sign_bytes(chain_id_hash, each.kind, evidence.epoch, evidence.view, each.block, each.aux)
        if not verify(key, signed, each.sig):
            return None
    return found


def verify_evidence(
    evidence: Evidence, validators: ValidatorSet, chain_id_hash: Hash, verify: VerifySignature
) -> Offence | None:
    """The offence that `evidence` proves against its signer, or None if it proves nothing."""
    if evidence.signer >= len(validators):
        return None
    found = verify_pair(evidence, validators.keys[evidence.signer], chain_id_hash, verify)
    if found is Offence.DOUBLE_PROPOSAL and validators.leader(evidence.view) != evidence.signer:
        return None
    return found
