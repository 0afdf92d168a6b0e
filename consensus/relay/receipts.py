"""Receipts: what the relay chain keeps of a transaction, a delivered message or a candidate.

The receipts of block h form a tree of their own, whose root is in the last-block leaf of h's post-state. So
the state does not grow with history, and a receipt is provable under the final header h+1, which carries
that state's root (DESIGN.md sections 5 and 7).
"""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.light.leaves import (
    receipt_key,
)
from consensus.primitives.codec import U8, U32, U64, MaxLength, decode, encode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.guest import MAX_OUTPUT_BYTES, InstanceEndpoint, Origin, Outgoing
from consensus.primitives.ids import ZERO_HASH, Amount, ChainId, Fuel, Hash, Height
from consensus.primitives.tree import EMPTY_ROOT, MemoryStore, Update, update


class Code(enum.IntEnum):
    """How a transaction or delivery ended. Guest codes are `guest.Status` plus 100."""

    OK = 0
    INSUFFICIENT_BALANCE = 1
    NO_SUCH_CHAIN = 2
    NO_SUCH_MODULE = 3
    NO_SUCH_INSTANCE = 4
    NOT_OWNER = 5
    ALREADY_EXISTS = 6
    NOT_ADMITTED = 7
    OVER_LIMIT = 8
    LANE_FULL = 9
    NO_SUCH_DESTINATION = 10
    FEE_TOO_LOW = 11
    NO_SUCH_VALIDATOR = 12
    KEY_IN_USE = 13
    BAD_PROOF = 14  # of holding a key
    BELOW_MINIMUM = 15  # stake
    LAST_VALIDATOR = 16  # nobody would be left to elect
    NOT_YET = 17  # a wait is not over
    TOMBSTONED = 18
    NOT_JAILED = 19
    NAME_IN_USE = 20
    NO_SUCH_NOMINATION = 21
    NO_SUCH_POSITION = 22  # in that pool
    NOT_ACTIVE = 23  # a validator that is named is jailed or tombstoned
    OVER_COMMISSION = 24  # more than its maximum, or than it may change in one epoch
    BAD_ADDRESS = 25  # neither empty nor an IP address and port
    PROVES_NOTHING = 30  # evidence that is false: the bond is lost
    WITHOUT_EFFECT = 31  # evidence that comes too late, too early, or after other
    NO_SUCH_CASE = 32  # that can still be vetoed
    NOTHING_TO_RELEASE = 35  # the amount is less than one round of parts
    NO_SUCH_PROPOSAL = 40  # whose vote is open
    NO_SUCH_CHOICE = 41
    NO_VOTE = 42  # nothing of the sender counts in it
    MEASURE_REFUSED = 43  # the output says why
    NOT_ON_COUNCIL = 44
    NOT_SUBSET = 50  # a chain that every validator attests, or nobody
    NOT_ADMITTED_BY_CHAIN = 51  # its lists leave the validator out
    NOT_ALLOCATED = 52
    NEEDS_VOTE = 53  # members that did not opt in would have to attest
    GUEST_FAILED = 101
    GUEST_TRAPPED = 102
    GUEST_OUT_OF_FUEL = 103
    GUEST_OVERSIZE = 104
    GUEST_ENGINE_FAULT = 105


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclaveReceipt:
    """Proof material of one execution of an enclave (DESIGN.md section 7)."""

    instance: InstanceEndpoint
    origin: Origin
    input_hash: Hash
    pre_root: Hash
    post_root: Hash
    fuel_used: Fuel
    outbox_root: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionReceipt:
    """A transaction took effect, or failed and paid for it."""

    WIRE_TAG: ClassVar[int] = 1
    transaction: Hash
    height: Height
    index: U32  # position in the block
    code: U8
    fee: Amount
    fuel_used: Fuel
    output: Annotated[bytes, MaxLength(MAX_OUTPUT_BYTES)]
    call: EnclaveReceipt | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReceipt:
    """A message reached an instance: the `sequence`-th of its lane."""

    WIRE_TAG: ClassVar[int] = 2
    lane: Hash
    sequence: U64
    height: Height
    code: U8
    output: Annotated[bytes, MaxLength(MAX_OUTPUT_BYTES)]
    call: EnclaveReceipt | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateReceipt:
    """A candidate was enacted (verdict 1) or rejected (verdict 0)."""

    WIRE_TAG: ClassVar[int] = 3
    candidate: Hash
    chain: ChainId
    chain_height: Height
    height: Height
    verdict: U8
    fee: Amount


Receipt = TransactionReceipt | DeliveryReceipt | CandidateReceipt


MAX_RECEIPT_BYTES: Final = MAX_OUTPUT_BYTES + 1024


def receipt_id(receipt: Receipt) -> Hash:
    """What a receipt is found by: the transaction's hash, the candidate's, or the delivery's id."""
    match receipt:
        case TransactionReceipt():
            return receipt.transaction
        case CandidateReceipt():
            return receipt.candidate
        case DeliveryReceipt():
            return delivery_id(receipt.lane, receipt.sequence)


def delivery_id(lane: Hash, sequence: int) -> Hash:
    """Names the delivery of one message of one lane."""
    return hash_tagged(b"PHALANX/delivery/1", lane, sequence.to_bytes(8, "big"))


def decode_receipt(data: bytes) -> Receipt:
    """The receipt of `data`. Raises DecodeError."""
    return decode(Receipt, data, limit=MAX_RECEIPT_BYTES)  # type: ignore[arg-type]  # a union is a wire type


def receipts_tree(receipts: Iterable[Receipt]) -> Update:
    """The tree of a block's receipts, its root and its nodes."""
    changes: dict[Hash, bytes | None] = {receipt_key(receipt_id(each)): encode(each) for each in receipts}
    return update(MemoryStore(), EMPTY_ROOT, changes)


def outbox_root(outgoing: Sequence[Outgoing]) -> Hash:
    """Commits to the messages that a call sent, in order; zero where it sent none."""
    if not outgoing:
        return ZERO_HASH
    parts = [encode(each) for each in outgoing]
    return hash_tagged(b"PHALANX/outbox/1", *parts)


def input_hash(data: bytes) -> Hash:
    """Names a call's input."""
    return hash_tagged(b"PHALANX/input/1", data)
