"""What a relay block carries, its limits, and the check that comes before any vote for it.

A payload that `check_payload` passes can always be executed: whatever is wrong with its contents in the
state it meets makes single items void, never the block (DESIGN.md section 3; `transition.apply_block`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, Final

from consensus.agreement.evidence import Evidence
from consensus.agreement.messages import payload_root
from consensus.candidates.receipts import Attestation, CandidateInclusion
from consensus.primitives import crypto
from consensus.primitives.codec import MaxLength, decode, encode
from consensus.primitives.errors import DecodeError, InvalidBlock, InvalidTransaction
from consensus.primitives.ids import Hash
from consensus.relay.parameters import Parameters
from consensus.relay.rewards.votes import VoteInclusion, votes_weight
from consensus.relay.transactions import (
    MAX_TRANSACTION_BYTES,
    SIGNATURE_WEIGHT,
    CheckedTransaction,
    VerifySignature,
    check_transaction,
    transaction_hash,
)

MAX_BLOCK_TRANSACTIONS: Final = 50_000
MAX_BLOCK_CANDIDATES: Final = 256
MAX_BLOCK_EVIDENCE: Final = 64
EVIDENCE_WEIGHT: Final = 200 + 2 * SIGNATURE_WEIGHT  # microseconds
CANDIDATE_WEIGHT: Final = 300  # microseconds of the ledger's work for one inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A relay block's contents, in the order in which they take effect: votes for an ancestor, which are only
    counted; evidence, sorted by (epoch, signer), one piece for each; statements that contradict a verdict,
    sorted by (epoch, validator, candidate); candidates, sorted by (chain, height); transactions in given
    order."""

    WIRE_VERSION: ClassVar[int] = 2
    votes: VoteInclusion | None = None
    evidence: Annotated[tuple[Evidence, ...], MaxLength(MAX_BLOCK_EVIDENCE)] = ()
    statements: Annotated[tuple[Attestation, ...], MaxLength(MAX_BLOCK_EVIDENCE)] = ()
    candidates: Annotated[tuple[CandidateInclusion, ...], MaxLength(MAX_BLOCK_CANDIDATES)] = ()
    transactions: Annotated[
        tuple[Annotated[bytes, MaxLength(MAX_TRANSACTION_BYTES)], ...], MaxLength(MAX_BLOCK_TRANSACTIONS)
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLimits:
    """The limits of one block, from the network's parameters and its name."""

    chain_id_hash: Hash
    max_bytes: int
    max_weight: int
    max_transactions: int
    max_candidates: int
    max_evidence: int


@dataclass(frozen=True, slots=True)
class CheckedPayload:
    """A payload whose every transaction is checked and whose limits hold; `check_payload` makes it."""

    root: Hash
    candidates: tuple[CandidateInclusion, ...]
    transactions: tuple[CheckedTransaction, ...]
    weight: int
    evidence: tuple[Evidence, ...] = ()
    votes: VoteInclusion | None = None
    statements: tuple[Attestation, ...] = ()


EMPTY_PAYLOAD: Final = encode(Payload())


def limits_of(parameters: Parameters, chain_id_hash: Hash) -> BlockLimits:
    """The block limits that `parameters` set."""
    return BlockLimits(
        chain_id_hash=chain_id_hash,
        max_bytes=parameters.max_block_bytes,
        max_weight=parameters.max_block_weight,
        max_transactions=min(parameters.max_transactions, MAX_BLOCK_TRANSACTIONS),
        max_candidates=min(parameters.max_candidates, MAX_BLOCK_CANDIDATES),
        max_evidence=min(parameters.max_evidence, MAX_BLOCK_EVIDENCE),
    )


def encode_payload(
    transactions: Sequence[bytes],
    candidates: Sequence[CandidateInclusion] = (),
    evidence: Sequence[Evidence] = (),
    votes: VoteInclusion | None = None,
    statements: Sequence[Attestation] = (),
) -> bytes:
    """The payload of these items; evidence, statements and candidates are put in their order."""
    return encode(
        Payload(
            votes=votes,
            evidence=tuple(sorted(evidence, key=_evidence_order)),
            statements=tuple(sorted(statements, key=_statement_order)),
            candidates=tuple(sorted(candidates, key=_candidate_order)),
            transactions=tuple(transactions),
        )
    )


def check_payload(
    payload: bytes,
    limits: BlockLimits,
    known: Callable[[Hash], CheckedTransaction | None],
    verify: VerifySignature = crypto.verify,
) -> CheckedPayload:
    """Check a block's payload. `known` finds a transaction checked before by its hash: signatures are dear.

    Raises InvalidBlock with the reason: malformed, over a limit, a repeated or unsorted item, a
    transaction that can not be admitted.
    """
    try:
        decoded = decode(Payload, payload, limit=limits.max_bytes)
    except DecodeError as error:
        raise InvalidBlock(f"payload: {error}") from None
    if len(decoded.transactions) > limits.max_transactions:
        raise InvalidBlock(
            f"{len(decoded.transactions)} transactions, the limit is {limits.max_transactions}"
        )
    _check_evidence(decoded.evidence, limits)
    _check_statements(decoded.statements, limits)
    _check_candidates(decoded.candidates, limits)
    weight = EVIDENCE_WEIGHT * (len(decoded.evidence) + len(decoded.statements))
    weight += sum(candidate_weight(each) for each in decoded.candidates)
    weight += 0 if decoded.votes is None else votes_weight(decoded.votes)
    if weight > limits.max_weight:
        raise InvalidBlock(f"votes, evidence and candidates weigh {weight}, the limit is {limits.max_weight}")
    transactions = []
    seen: set[Hash] = set()
    for raw in decoded.transactions:
        name = transaction_hash(raw)
        if name in seen:
            raise InvalidBlock(f"transaction {name.hex()} appears twice")
        seen.add(name)
        checked = known(name)
        if checked is None:
            try:
                checked = check_transaction(raw, limits.chain_id_hash, verify)
            except InvalidTransaction as error:
                raise InvalidBlock(f"transaction {name.hex()}: {error}") from None
        weight += checked.weight
        if weight > limits.max_weight:  # before the next signature is checked: that is what it bounds
            raise InvalidBlock(f"the block weighs over {limits.max_weight}")
        transactions.append(checked)
    return CheckedPayload(
        payload_root(payload),
        decoded.candidates,
        tuple(transactions),
        weight,
        decoded.evidence,
        decoded.votes,
        decoded.statements,
    )


def candidate_weight(inclusion: CandidateInclusion) -> int:
    """Microseconds that one inclusion may take on the reference machine."""
    return CANDIDATE_WEIGHT + SIGNATURE_WEIGHT * len(inclusion.signatures)


def _candidate_order(inclusion: CandidateInclusion) -> tuple[int, int, bytes]:
    return inclusion.header.chain, inclusion.header.height, inclusion.header.hash


def _evidence_order(evidence: Evidence) -> tuple[int, int]:
    return evidence.epoch, evidence.signer


def _check_evidence(evidence: tuple[Evidence, ...], limits: BlockLimits) -> None:
    """Form alone, which the leader has in its hands: whether a piece convicts depends on the state, and one
    that does not is void (`offences.judging`)."""
    if len(evidence) > limits.max_evidence:
        raise InvalidBlock(f"{len(evidence)} pieces of evidence, the quota is {limits.max_evidence}")
    order = [_evidence_order(each) for each in evidence]
    if any(first >= second for first, second in pairwise(order)):
        raise InvalidBlock("the evidence is not sorted, one piece for each epoch and signer")


def _statement_order(statement: Attestation) -> tuple[int, int, bytes]:
    return statement.epoch, statement.validator, statement.candidate


def _check_statements(statements: tuple[Attestation, ...], limits: BlockLimits) -> None:
    """As for evidence, with a quota of the same size."""
    if len(statements) > limits.max_evidence:
        raise InvalidBlock(f"{len(statements)} statements, the quota is {limits.max_evidence}")
    order = [_statement_order(each) for each in statements]
    if any(first >= second for first, second in pairwise(order)):
        raise InvalidBlock("the statements are not sorted and distinct")


def _check_candidates(candidates: tuple[CandidateInclusion, ...], limits: BlockLimits) -> None:
    if len(candidates) > limits.max_candidates:
        raise InvalidBlock(f"{len(candidates)} candidates, the quota is {limits.max_candidates}")
    order = [_candidate_order(each) for each in candidates]
    if any(first >= second for first, second in pairwise(order)):
        raise InvalidBlock("the candidates are not sorted and distinct")
