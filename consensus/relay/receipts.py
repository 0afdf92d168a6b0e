"""Receipts: what the relay chain keeps of a transaction, a delivered message or a candidate.

The receipts of block h form a tree of their own, whose root is in the last-block leaf of h's post-state. So
the state does not grow with history, and a receipt is provable under the final header h+1, which carries
that state's root (DESIGN.md sections 5 and 7).
"""

import enum
from dataclasses import dataclass
from typing import Annotated, ClassVar

from consensus.primitives.codec import U8, U32, U64, MaxLength
from consensus.primitives.guest import MAX_OUTPUT_BYTES, InstanceEndpoint, Origin
from consensus.primitives.ids import Amount, ChainId, Fuel, Hash, Height


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
    """A transaction took effect, or failed and paid for it. `detail` is for people and machine-independent."""

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
