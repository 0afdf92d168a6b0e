"""Leaves of the relay state in which the roots of other trees are, and where all those keys are.

A light client reads these and no other records (DESIGN.md section 5): a consumer chain's head, an enclave
instance, and the last block, whose receipts have a tree of their own. `relay` writes them.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from consensus.primitives.codec import U32, U128, MaxLength
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import Hash, Height, Milliseconds, ModuleId
from consensus.primitives.tree import tree_key

MAX_REJECTED: Final = 8  # rejected candidates that a chain's head remembers
LAST_BLOCK_KEY: Final = tree_key(b"relay", b"last-block")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRecord:
    """A consumer chain's enacted head."""

    height: Height
    head: Hash
    state_root: Hash
    time_ms: Milliseconds
    relay_parent_height: Height
    enacted_height: Height  # of the relay block that enacted it
    rejected: Annotated[tuple[Hash, ...], MaxLength(MAX_REJECTED)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRecord:
    """One module's tree on behalf of one chain; nothing but the module's own code moves `root`."""

    module: ModuleId
    chain: U32
    root: Hash
    deposit: U128


@dataclass(frozen=True, slots=True, kw_only=True)
class LastBlock:
    """The block whose post-state this is. Its `receipts_root` makes its receipts provable."""

    height: Height
    time_ms: Milliseconds
    parent_hash: Hash
    receipts_root: Hash
    receipts: U32


def head_key(chain: int) -> Hash:
    """Where a chain's enacted head is in the relay tree."""
    return tree_key(b"head", chain.to_bytes(4, "big"))


def instance_key(instance: InstanceEndpoint) -> Hash:
    """Where an instance's record is in the relay tree."""
    return tree_key(b"instance", instance.module + instance.chain.to_bytes(4, "big"))


def guest_key(raw: bytes) -> Hash:
    """Where a guest's raw key is in its own tree, a chain's or an instance's."""
    return tree_key(b"guest", raw)


def receipt_key(name: Hash) -> Hash:
    """Where a receipt is in its block's tree."""
    return tree_key(b"receipt", name)
