"""The relay chain's state transition, in one direction (DESIGN.md section 3):

    deliver lane messages to instances → candidates → transactions → the last-block leaf

Pure and total: on any `CheckedPayload` and any reachable state it returns, and on every machine the same.
It raises LocalFault only, when this machine's executor or store fails.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consensus.agreement.validators import ValidatorSet
from consensus.primitives.ids import Epoch, Hash, Height, Milliseconds, PublicKey, Signature, ValidatorIndex
from consensus.relay.receipts import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockContext:
    """What execution may know of the block it is in. `verify` decides attestations; wrap it in a cache."""

    chain_id_hash: Hash
    height: Height
    time_ms: Milliseconds
    epoch: Epoch
    parent_hash: Hash
    proposer: ValidatorIndex
    validators: ValidatorSet
    verify: Callable[[PublicKey, bytes, Signature], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What a block did, for people."""

    transactions: int  # with a receipt, ok or failed; void ones are not counted
    void: int
    candidates_enacted: int
    candidates_rejected: int
    enclave_calls: int  # by users and by delivered messages
    messages: int  # put into lanes


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockResult:
    """The effect of one block.

    `reference_changes` says for each tree node how many more (or fewer) trees of the post-state contain it
    than of the pre-state; `new_nodes` has the bytes of every node whose change is positive. A store that
    counts references adds the positive ones at commit, the negative ones when the pre-state is pruned.
    """

    post_root: Hash
    new_nodes: Mapping[Hash, bytes]
    reference_changes: Mapping[Hash, int]
    stale: tuple[Hash, ...]  # nodes with a negative change, sorted
    receipts: tuple[Receipt, ...]  # in order of execution; `receipts.receipts_tree` rebuilds their tree
    receipts_root: Hash
    void: Mapping[Hash, str]  # transaction or candidate hash → why it had no effect; in order
    enacted: tuple[Hash, ...]  # candidates
    rejected: tuple[Hash, ...]
    counters: Counters
