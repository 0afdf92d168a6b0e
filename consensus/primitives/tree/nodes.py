"""What a tree is made of: references, leaves, branches, their hashes, and the stores that hold them.

    reference   33 bytes   kind ‖ hash of the node; EMPTY_REF is all zero
    leaf                   0x01 ‖ key (32) ‖ value
    branch      67 bytes   0x02 ‖ left reference ‖ right reference

A node's hash is `hash_tagged(tag, bytes)` with a tag per kind. A leaf whose value is longer than
MAX_INLINE_VALUE_BYTES is hashed in its short form, `0x03 ‖ key ‖ H(value)`, so that proving a neighbour's
absence never takes a big value along. References carry the kind, because a deletion must know
whether the sibling it leaves behind is a leaf, which moves up unchanged, or a branch: with the kind at hand
the sibling itself is never read and need not be in a witness.
"""

from collections.abc import Callable
from typing import Final, Protocol, cast

from blake3 import blake3

from consensus.primitives.crypto import hash_tagged
from consensus.primitives.errors import LocalFault, PhalanxError
from consensus.primitives.ids import ZERO_HASH, Hash

KEY_BITS: Final = 256
MAX_DEPTH: Final = KEY_BITS  # branches above a leaf
MAX_VALUE_BYTES: Final = 4 * 1024 * 1024
MAX_INLINE_VALUE_BYTES: Final = 64

EMPTY_KIND: Final = 0
LEAF_KIND: Final = 1
BRANCH_KIND: Final = 2
LEAF: Final = bytes([LEAF_KIND])
BRANCH: Final = bytes([BRANCH_KIND])
SHORT_LEAF: Final = b"\x03"

REF_BYTES: Final = 33
MAX_COMMITMENT_BYTES: Final = 1 + 32 + MAX_INLINE_VALUE_BYTES

LEAF_TAG: Final = b"TALLY/leaf/1"
BRANCH_TAG: Final = b"TALLY/branch/1"
VALUE_TAG: Final = b"TALLY/value/1"
KEY_TAG: Final = b"TALLY/key/1"

# What precedes the node's bytes in the hashed input, for the loops that hash without a call in between.
LEAF_PREFIX: Final = LEAF_TAG + b"\x00"
BRANCH_PREFIX: Final = BRANCH_TAG + b"\x00"

EMPTY_ROOT: Final = ZERO_HASH
EMPTY_REF: Final = bytes(REF_BYTES)

# Byte index and mask of each bit of a key, from the root down.
KEY_BIT: Final = tuple((depth >> 3, 0x80 >> (depth & 7)) for depth in range(KEY_BITS))


class MissingNode(LocalFault):
    """A store has lost, or pruned, a node that a root it claims to hold needs."""


class WitnessIncomplete(PhalanxError):
    """Execution touched a node that its witness leaves out: whoever made the witness is at fault."""


class NodeStore(Protocol):
    """Anything that can resolve a node's hash to its bytes."""

    def get(self, node_hash: Hash, /) -> bytes:
        """The node's bytes. Raises MissingNode (a partial store: WitnessIncomplete) where it has none."""
        ...


class MemoryStore:
    """Nodes in a dict: tests, benches, small trees."""

    __slots__ = ("get", "nodes")

    def __init__(self, nodes: dict[Hash, bytes] | None = None) -> None:
        self.nodes: Final = _Nodes({} if nodes is None else nodes)
        self.get: Final = self.nodes.__getitem__  # bound once: a read is one C call

    def apply(self, added: dict[Hash, bytes]) -> None:
        """Keep the nodes of an update; older roots stay readable."""
        self.nodes.update(added)


class _Nodes(dict[Hash, bytes]):
    def __missing__(self, node_hash: Hash) -> bytes:
        raise MissingNode(f"tree node {node_hash.hex()} is not in the store")


class OverlayStore:
    """Nodes not yet stored, over those that are. `added` is read live, not copied."""

    __slots__ = ("_added", "_base")

    def __init__(self, base: NodeStore, added: dict[Hash, bytes]) -> None:
        self._base = base
        self._added = added

    def get(self, node_hash: Hash, /) -> bytes:
        node = self._added.get(node_hash)
        return self._base.get(node_hash) if node is None else node


def tree_key(namespace: bytes, raw: bytes) -> Hash:
    """The 32-byte key of `raw` in a namespace of at most 255 bytes; distinct pairs have distinct keys."""
    return hash_tagged(KEY_TAG, bytes([len(namespace)]), namespace, raw)


def fetcher(nodes: NodeStore) -> Callable[[bytes], bytes]:
    """`nodes.get`, taking slices of nodes as they are: to call `Hash` on each would slow every loop."""
    return cast("Callable[[bytes], bytes]", nodes.get)


def leaf_commitment(node: bytes) -> bytes:
    """What a leaf's hash covers: the leaf, or its short form if the value is long."""
    if len(node) <= MAX_COMMITMENT_BYTES:
        return node
    return SHORT_LEAF + node[1:33] + hash_tagged(VALUE_TAG, node[33:])


def leaf_ref(node: bytes) -> bytes:
    """The reference to a leaf, given its bytes."""
    if len(node) > MAX_COMMITMENT_BYTES:
        node = leaf_commitment(node)
    return LEAF + blake3(LEAF_PREFIX + node).digest()


def branch_ref(node: bytes) -> bytes:
    """The reference to a branch, given its bytes."""
    return BRANCH + blake3(BRANCH_PREFIX + node).digest()


def root_ref(nodes: NodeStore, root: Hash) -> bytes:
    """The reference to a root, whose kind nobody above it says."""
    if root == EMPTY_ROOT:
        return EMPTY_REF
    return nodes.get(root)[:1] + root


def common_prefix_bits(one: bytes, other: bytes) -> int:
    """How many leading bits two keys share, 0 to 256."""
    return KEY_BITS - (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_length()
