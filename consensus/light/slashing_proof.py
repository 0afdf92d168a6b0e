"""Slashing proofs: that a validator broke the rules, to whoever knows nothing but the root of a validator
set (DESIGN.md section 8, CONSENSUS.md section 17.1).

A proof opens the root (the keys, stakes, mode, window and leader seed that `validators_hash` commits to),
names a member, and shows what it signed:

    ContradictoryVotes         two votes of one view, a row of E1 to E7; of a double proposal the leader of
                               the view is computed anew from the opened set
    ContradictoryStatements    "valid" and "invalid" of one candidate of a consumer chain, in one epoch
    AgainstVerdict             a statement on a candidate, and signatures of more than 2/3 of the same set's
                               stake under the contrary

Nothing in a proof is believed, and no part of it is free: what is not under the root is under a signature.
The root does not say of which network and epoch it is, the signatures do; a finding therefore names both, and
who trusts a root as that of one epoch of one network compares them.

A verdict of another epoch than the statement's, which a candidate in flight over a boundary may get, convicts
on the relay chain and has no proof of this kind: it would stand under two roots.

`fault_bytes` is the part of it that another chain's guest can check with two signature verifications: fixed
widths, and named by `fault_hash` in the notice that the relay chain sends of a slash.
"""

import enum
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.agreement.evidence import (
    Evidence,
    Offence,
    SignedStatement,
    VerifySignature,
    verify_evidence,
)
from consensus.agreement.messages import sign_bytes
from consensus.agreement.statements import Role, Verdict, statement_sign_bytes
from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import (
    MAX_VALIDATORS,
    Validator,
    ValidatorSet,
    ValidatorSetRecord,
    root_of,
)
from consensus.primitives import crypto
from consensus.primitives.codec import U8, MaxLength, decode, encode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.errors import DecodeError, PhalanxError
from consensus.primitives.ids import Epoch, Hash, PublicKey, Signature, Stake, ValidatorIndex, View

MAX_PROOF_BYTES: Final = 64 * 1024
FAULT_BYTES: Final = 412  # key 32, then twice: signature 64, what it covers 126


class SlashingRefused(PhalanxError):
    """A slashing proof proves nothing under the root that it was held against; the text says why."""


class Fault(enum.IntEnum):
    """What a proof convicts of; the numbers of the relay chain's table of offences."""

    DOUBLE_PROPOSAL = 1
    DOUBLE_NOTARIZE = 2
    NOTARIZE_AND_SKIP = 3
    DOUBLE_FINALIZE = 4
    FINALIZE_AND_FALLBACK = 5
    FINALIZE_AND_NOTARIZE_OTHER = 6
    FALSE_FIRST_VOTE = 7
    CONTRADICTORY_STATEMENTS = 8
    ATTESTED_INVALID = 9
    FALSE_ACCUSATION = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ContradictoryVotes:
    """Two votes of one view that no honest validator signs both; `first` sorts before `second`."""

    WIRE_TAG: ClassVar[int] = 1
    view: View
    first: SignedStatement
    second: SignedStatement


@dataclass(frozen=True, slots=True, kw_only=True)
class ContradictoryStatements:
    """Both verdicts on one candidate; the relay parents are part of what was signed."""

    WIRE_TAG: ClassVar[int] = 2
    candidate: Hash
    valid_parent: Hash
    valid: Signature
    invalid_parent: Hash
    invalid: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSignature:
    """A member's signature under the verdict."""

    validator: ValidatorIndex
    signature: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainstVerdict:
    """`verdict` of more than 2/3 of stake on a candidate, and the signer's signature under the contrary.

    `judges` are in increasing order of index, all of the epoch of the proof.
    """

    WIRE_TAG: ClassVar[int] = 3
    relay_parent: Hash
    candidate: Hash
    verdict: U8
    judges: Annotated[tuple[SetSignature, ...], MaxLength(MAX_VALIDATORS)]
    contrary: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class SlashingProof:
    """One validator's offence, self-contained. `chain` is the network's genesis hash, `signer` an index."""

    WIRE_VERSION: ClassVar[int] = 1
    chain: Hash
    epoch: Epoch
    validators: ValidatorSetRecord
    signer: ValidatorIndex
    fault: ContradictoryVotes | ContradictoryStatements | AgainstVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class SlashingFinding:
    """Whom a proof convicts, and of what."""

    chain: Hash
    epoch: Epoch
    validator: ValidatorIndex
    key: PublicKey
    stake: Stake  # voting power in the opened set
    total: Stake  # of the opened set
    offence: Fault


def slashing_proof(evidence: Evidence, validators: ValidatorSetRecord, chain: Hash) -> SlashingProof:
    """The proof that a piece of evidence gives, with the set of its epoch. Checks nothing."""
    return SlashingProof(
        chain=chain,
        epoch=evidence.epoch,
        validators=validators,
        signer=evidence.signer,
        fault=ContradictoryVotes(view=evidence.view, first=evidence.first, second=evidence.second),
    )


def verify_slashing_proof(
    set_root: Hash, proof: SlashingProof, verify: VerifySignature = crypto.verify
) -> SlashingFinding:
    """Whom `proof` convicts, if `set_root` is the `validators_hash` of a set. Raises SlashingRefused."""
    if root_of(proof.validators) != set_root:
        raise SlashingRefused("the proof opens another validator set than the root names")
    validators = _opened(proof)
    if proof.signer >= len(validators):
        raise SlashingRefused(f"the set has {len(validators)} members, and none of index {proof.signer}")
    match proof.fault:
        case ContradictoryVotes():
            offence = _votes(proof, proof.fault, validators, verify)
        case ContradictoryStatements():
            offence = _statements(proof, proof.fault, validators, verify)
        case AgainstVerdict():
            offence = _against(proof, proof.fault, validators, verify)
    return SlashingFinding(
        chain=proof.chain,
        epoch=proof.epoch,
        validator=proof.signer,
        key=validators.keys[proof.signer],
        stake=Stake(validators.stakes[proof.signer]),
        total=Stake(validators.stake.total),
        offence=offence,
    )


def _opened(proof: SlashingProof) -> ValidatorSet:
    record = proof.validators
    try:
        return ValidatorSet(
            [Validator(key=each.key, stake=each.stake) for each in record.validators],
            chain_id_hash=proof.chain,
            epoch=proof.epoch,
            mode=Mode(record.mode),
            window=record.window,
            leader_seed=record.leader_seed,
        )
    except ValueError as error:
        raise SlashingRefused(f"what the root names is no validator set: {error}") from None


def _votes(
    proof: SlashingProof, fault: ContradictoryVotes, validators: ValidatorSet, verify: VerifySignature
) -> Fault:
    evidence = Evidence(
        epoch=proof.epoch, view=fault.view, signer=proof.signer, first=fault.first, second=fault.second
    )
    if fault.view < 1:
        raise SlashingRefused("there is no view 0 to vote in")
    found = verify_evidence(evidence, validators, proof.chain, verify)
    if found is None:
        raise SlashingRefused(
            "the two votes convict nobody: an honest validator may sign both, they are in the wrong order, a"
            " signature is not the member's, or it did not lead the view in which it proposed"
        )
    return Fault(Offence(found))


def _statements(
    proof: SlashingProof, fault: ContradictoryStatements, validators: ValidatorSet, verify: VerifySignature
) -> Fault:
    key = validators.keys[proof.signer]
    for parent, verdict, signature in (
        (fault.valid_parent, Verdict.VALID, fault.valid),
        (fault.invalid_parent, Verdict.INVALID, fault.invalid),
    ):
        if not verify(key, _stated(proof, parent, fault.candidate, verdict), signature):
            raise SlashingRefused(f"the member did not sign that the candidate is {verdict.name.lower()}")
    return Fault.CONTRADICTORY_STATEMENTS


def _against(
    proof: SlashingProof, fault: AgainstVerdict, validators: ValidatorSet, verify: VerifySignature
) -> Fault:
    try:
        verdict = Verdict(fault.verdict)
    except ValueError:
        raise SlashingRefused(f"{fault.verdict} is no verdict") from None
    indices = [each.validator for each in fault.judges]
    if indices != sorted(set(indices)) or (indices and indices[-1] >= len(validators)):
        raise SlashingRefused("the judges are not members of the set in increasing order")
    if validators.weight(indices) < validators.stake.quorum:
        raise SlashingRefused("the judges hold no more than 2/3 of the stake")
    judged = _stated(proof, fault.relay_parent, fault.candidate, verdict)
    if not all(verify(validators.keys[each.validator], judged, each.signature) for each in fault.judges):
        raise SlashingRefused("a judge did not sign the verdict")
    contrary = Verdict.INVALID if verdict is Verdict.VALID else Verdict.VALID
    stated = _stated(proof, fault.relay_parent, fault.candidate, contrary)
    if not verify(validators.keys[proof.signer], stated, fault.contrary):
        raise SlashingRefused("the member did not sign the contrary of the verdict")
    return Fault.ATTESTED_INVALID if verdict is Verdict.INVALID else Fault.FALSE_ACCUSATION


def _stated(proof: SlashingProof, relay_parent: Hash, candidate: Hash, verdict: Verdict) -> bytes:
    return statement_sign_bytes(proof.chain, proof.epoch, Role.ATTEST, relay_parent, candidate, verdict)


# --- bytes


def encode_slashing_proof(proof: SlashingProof) -> bytes:
    """The bytes of a proof's file."""
    return encode(proof)


def decode_slashing_proof(data: bytes) -> SlashingProof:
    """The unchecked proof of a file. Raises DecodeError."""
    if len(data) > MAX_PROOF_BYTES:
        raise DecodeError(f"{len(data)} bytes; a slashing proof has at most {MAX_PROOF_BYTES}")
    return decode(SlashingProof, data, limit=MAX_PROOF_BYTES)


def fault_bytes(evidence: Evidence, key: PublicKey, chain: Hash) -> bytes:
    """Two contradictory votes of `key` in fixed widths: key ‖ (signature ‖ what it covers), twice."""
    parts: list[bytes] = [key]
    for each in (evidence.first, evidence.second):
        parts += (
            each.sig,
            sign_bytes(chain, each.kind, evidence.epoch, evidence.view, each.block, each.aux),
        )
    return b"".join(parts)


def fault_hash(fault: bytes) -> Hash:
    """Names what `fault_bytes` gives; in the notices of a slash."""
    return hash_tagged(b"PHALANX/fault/1", fault)
