"""A validator set in a variable, and every kind of slashing proof against its members."""

from consensus.agreement.evidence import Offence, SignedStatement, evidence_from
from consensus.agreement.messages import Kind, sign_bytes
from consensus.agreement.statements import Role, Verdict, statement_sign_bytes
from consensus.agreement.validators import Validator, ValidatorSet
from consensus.light.slashing_proof import (
    AgainstVerdict,
    ContradictoryStatements,
    SetSignature,
    SlashingProof,
    slashing_proof,
)
from consensus.primitives.crypto import SigningKey, hash_tagged
from consensus.primitives.ids import ZERO_HASH, Epoch, SecretSeed, Stake, ValidatorIndex, View

CHAIN = hash_tagged(b"test/chain", b"slashing")
EPOCH = Epoch(7)
KEYS = [SigningKey(SecretSeed(hash_tagged(b"test/slashing-key", bytes([index])))) for index in range(4)]
STAKES = (40, 30, 20, 10)  # a quorum is 67
SET = ValidatorSet(
    [Validator(key=each.public, stake=Stake(stake)) for each, stake in zip(KEYS, STAKES, strict=True)],
    chain_id_hash=CHAIN,
    epoch=EPOCH,
    window=2,
    leader_seed=hash_tagged(b"test/seed"),
)
ROOT = SET.validators_hash
A, B = bytes([1]) * 32, bytes([2]) * 32
PARENT, CANDIDATE = bytes([3]) * 32, bytes([4]) * 32

PAIRS = {
    Offence.DOUBLE_PROPOSAL: ((Kind.PROPOSE, A, ZERO_HASH), (Kind.PROPOSE, B, ZERO_HASH)),
    Offence.DOUBLE_NOTARIZE: ((Kind.NOTARIZE, A, ZERO_HASH), (Kind.NOTARIZE, B, ZERO_HASH)),
    Offence.NOTARIZE_AND_SKIP: ((Kind.NOTARIZE, A, ZERO_HASH), (Kind.SKIP, ZERO_HASH, ZERO_HASH)),
    Offence.DOUBLE_FINALIZE: ((Kind.FINALIZE, A, ZERO_HASH), (Kind.FINALIZE, B, ZERO_HASH)),
    Offence.FINALIZE_AND_FALLBACK: ((Kind.FINALIZE, A, ZERO_HASH), (Kind.SFALL, A, ZERO_HASH)),
    Offence.FINALIZE_AND_NOTARIZE_OTHER: ((Kind.FINALIZE, A, ZERO_HASH), (Kind.NOTARIZE, B, ZERO_HASH)),
    Offence.FALSE_FIRST_VOTE: ((Kind.NOTARIZE, A, ZERO_HASH), (Kind.NFALL, B, B)),
}


def led_by(signer: int) -> View:
    """The first view that a member leads."""
    return next(View(view) for view in range(1, 1_000) if SET.leader(View(view)) == signer)


def votes(pair, signer: int = 3, view: int | None = None) -> SlashingProof:
    """A proof by two votes of a member, in a view that it led."""
    view = led_by(signer) if view is None else view
    first, second = (
        SignedStatement(
            kind=int(kind),
            block=block,
            aux=aux,
            sig=KEYS[signer].sign(sign_bytes(CHAIN, kind, EPOCH, view, block, aux)),
        )
        for kind, block, aux in pair
    )
    piece = evidence_from(epoch=EPOCH, view=View(view), signer=ValidatorIndex(signer), a=first, b=second)
    return slashing_proof(piece, SET.record, CHAIN)


def stated(signer: int, verdict: Verdict, parent: bytes = PARENT) -> bytes:
    """A member's signature under a verdict."""
    return KEYS[signer].sign(statement_sign_bytes(CHAIN, EPOCH, Role.ATTEST, parent, CANDIDATE, int(verdict)))


def _proof(signer: int, fault) -> SlashingProof:
    return SlashingProof(
        chain=CHAIN, epoch=EPOCH, validators=SET.record, signer=ValidatorIndex(signer), fault=fault
    )


def statements(signer: int = 3) -> SlashingProof:
    """A proof by both verdicts of a member on one candidate."""
    return _proof(
        signer,
        ContradictoryStatements(
            candidate=CANDIDATE,
            valid_parent=PARENT,
            valid=stated(signer, Verdict.VALID),
            invalid_parent=B,
            invalid=stated(signer, Verdict.INVALID, B),
        ),
    )


def against(verdict: Verdict, judges=(0, 1), signer: int = 3) -> SlashingProof:
    """A proof by a verdict and a member's contrary."""
    contrary = Verdict.INVALID if verdict is Verdict.VALID else Verdict.VALID
    return _proof(
        signer,
        AgainstVerdict(
            relay_parent=PARENT,
            candidate=CANDIDATE,
            verdict=int(verdict),
            judges=tuple(
                SetSignature(validator=ValidatorIndex(each), signature=stated(each, verdict))
                for each in judges
            ),
            contrary=stated(signer, contrary),
        ),
    )


def proofs() -> dict[str, SlashingProof]:
    """One of each kind, by the name of what it convicts of."""
    found = {kind.name: votes(pair) for kind, pair in PAIRS.items()}
    found["CONTRADICTORY_STATEMENTS"] = statements()
    found["ATTESTED_INVALID"] = against(Verdict.INVALID)
    found["FALSE_ACCUSATION"] = against(Verdict.VALID)
    return found
