"""The records of the store, and what it is given of one final block."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from consensus.agreement.messages import MAX_BLOCK_BYTES, FinalityProof, Header
from consensus.agreement.validators import ValidatorSetRecord
from consensus.primitives.codec import U32, MaxLength
from consensus.primitives.ids import Hash, Height
from consensus.relay.blocks import MAX_BLOCK_CANDIDATES, MAX_BLOCK_TRANSACTIONS
from consensus.relay.receipts import Receipt, TransactionReceipt

MAX_RECEIPTS_BYTES: Final = 1 << 30  # our own bytes: bounded by what a block may weigh, not by a peer
_MAX_ITEMS = MAX_BLOCK_TRANSACTIONS + MAX_BLOCK_CANDIDATES + 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBlock:
    """A final block and the state that it leads to."""

    header: Header
    payload: Annotated[bytes, MaxLength(MAX_BLOCK_BYTES)]
    post_root: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidItem:
    """A transaction or candidate that its block carried without effect, and why."""

    name: Hash
    reason: Annotated[str, MaxLength(1_024)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReceipts:
    """All receipts of one block, in order of execution: their tree can be rebuilt from them."""

    receipts: Annotated[tuple[Receipt, ...], MaxLength(_MAX_ITEMS)]
    void: Annotated[tuple[VoidItem, ...], MaxLength(_MAX_ITEMS)]
    enclave_calls: U32
    messages: U32


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalBlock:
    """What is written of one final, executed block; `next_set` is that of a boundary block's next epoch."""

    height: Height
    hash: Hash
    block: StoredBlock
    proof: FinalityProof
    receipts: StoredReceipts
    transactions: tuple[Hash, ...]
    new_nodes: Mapping[Hash, bytes]
    reference_changes: Mapping[Hash, int]
    next_set: ValidatorSetRecord | None = None


def transaction_receipts(receipts: Iterable[Receipt]) -> dict[Hash, TransactionReceipt]:
    """The receipts of transactions among a block's, by transaction."""
    return {each.transaction: each for each in receipts if isinstance(each, TransactionReceipt)}
