"""Witnesses: the part of a tree that an execution touched, enough to repeat it without the tree.

A Recorder notes the nodes it serves; `witness_from` writes those reachable from the root in post-order, so
that a loader needs one stack and hashes each node once:

    leaf    0x01 ‖ value length (u32, big-endian) ‖ key ‖ value      pushes the leaf
    branch  0x04 + inline mask ‖ the inline references               pops what is not inline, right first

Bit 0 of the mask says that the left reference is inline, bit 1 the right one. An inline reference is the
33 bytes of a node that was not touched, or one zero byte for nothing. One item must be left at the end, and
hash to the root. Writing needs no more than reading did: references carry the kind of what they point to,
so a deletion collapses onto a sibling without opening it.
"""

from typing import Final

from blake3 import blake3

from consensus.primitives.errors import DecodeError
from consensus.primitives.ids import Hash
from consensus.primitives.tree.nodes import (
    BRANCH,
    BRANCH_PREFIX,
    EMPTY_REF,
    EMPTY_ROOT,
    LEAF,
    LEAF_KIND,
    MAX_VALUE_BYTES,
    REF_BYTES,
    NodeStore,
    WitnessIncomplete,
    fetcher,
    leaf_ref,
)

LEFT_INLINE: Final = 1
RIGHT_INLINE: Final = 2
BRANCH_OP: Final = 4
BRANCH_OP_BYTES: Final = (b"\x04", b"\x05", b"\x06", b"\x07")
NOTHING: Final = b"\x00"
BRANCH_OP_MASK: Final = ~(LEFT_INLINE | RIGHT_INLINE)
BYTES_PER_NODE: Final = 8
SPARE_NODES: Final = 1024
"""A witness may hold a node per BYTES_PER_NODE of its length, and SPARE_NODES more. Leaves and inline
references pay for themselves, but a branch with one empty side takes two bytes, and the work to load it must
be bounded too. Trees have some 25 bytes a node, and more than 8 unless every key that was touched was ground
to share 70 bits with another."""


class Recorder:
    """Serves the nodes of another store and notes which; give it to whatever a witness shall repeat."""

    __slots__ = ("get", "served")

    def __init__(self, nodes: NodeStore) -> None:
        self.served: Final = _Served(nodes)
        self.get: Final = self.served.__getitem__


class _Served(dict[bytes, bytes]):
    __slots__ = ("_fetch",)

    def __init__(self, nodes: NodeStore) -> None:
        super().__init__()
        self._fetch = fetcher(nodes)

    def __missing__(self, node_hash: bytes) -> bytes:
        node = self[node_hash] = self._fetch(node_hash)
        return node


class PartialStore:
    """The nodes of a witness. A read beyond them raises WitnessIncomplete."""

    __slots__ = ("get", "nodes")

    def __init__(self, nodes: dict[bytes, bytes]) -> None:
        self.nodes: Final = _Partial(nodes)
        self.get: Final = self.nodes.__getitem__


class _Partial(dict[bytes, bytes]):
    def __missing__(self, node_hash: bytes) -> bytes:
        raise WitnessIncomplete(f"tree node {node_hash.hex()} is not in the witness")


def witness_from(root: Hash, recorder: Recorder) -> bytes:
    """The witness under `root` of everything that `recorder` served; empty if it served nothing of it."""
    served = recorder.served
    if root not in served:
        return b""
    pieces: list[bytes] = []
    stack = [served[root]]
    while stack:  # in pre-order, right before left; reversed below
        node = stack.pop()
        if node[0] == LEAF_KIND:
            pieces.append(LEAF + (len(node) - 33).to_bytes(4, "big") + node[1:])
            continue
        left, right = node[1:34], node[34:]
        left_node, right_node = served.get(left[1:]), served.get(right[1:])
        op, inline = BRANCH_OP, b""
        if left_node is None:
            op |= LEFT_INLINE
            inline = left if left[0] else NOTHING
        else:
            stack.append(left_node)
        if right_node is None:
            op |= RIGHT_INLINE
            inline += right if right[0] else NOTHING
        else:
            stack.append(right_node)
        pieces.append(BRANCH_OP_BYTES[op - BRANCH_OP] + inline)
    pieces.reverse()
    return b"".join(pieces)


def load_witness(witness: bytes, root: Hash, limit: int) -> PartialStore:
    """The nodes of `witness`, which all hang under `root` by their hashes.

    `limit` bounds the witness in bytes. An empty witness is one of an execution that touched nothing. Raises
    DecodeError, and nothing else, on whatever is not a witness of `root`.
    """
    size = len(witness)
    if size > limit:
        raise DecodeError(f"a witness of {size} bytes, the limit is {limit}")
    nodes: dict[bytes, bytes] = {}
    if not size:
        return PartialStore(nodes)
    budget = size // BYTES_PER_NODE + SPARE_NODES
    stack: list[bytes] = []
    at = 0
    try:
        while at < size:
            op = witness[at]
            at += 1
            if op == LEAF_KIND:
                end = at + 36 + int.from_bytes(witness[at : at + 4], "big")
                if not at + 36 <= end <= size or end - at - 36 > MAX_VALUE_BYTES:
                    raise DecodeError("a witness with a leaf that ends early or is too long")
                node = LEAF + witness[at + 4 : end]
                at = end
                ref = leaf_ref(node)
                nodes[ref[1:]] = node
                stack.append(ref)
            elif op & BRANCH_OP_MASK == BRANCH_OP:
                left = right = EMPTY_REF
                if op & LEFT_INLINE:
                    if witness[at]:
                        left = witness[at : at + REF_BYTES]
                        at += REF_BYTES
                    else:
                        at += 1
                if op & RIGHT_INLINE:
                    if witness[at]:
                        right = witness[at : at + REF_BYTES]
                        at += REF_BYTES
                    else:
                        at += 1
                else:
                    right = stack.pop()
                if not op & LEFT_INLINE:
                    left = stack.pop()
                if left[0] + right[0] <= LEAF_KIND:
                    raise DecodeError("a witness with a branch above at most one leaf")
                node = BRANCH + left + right
                digest = blake3(BRANCH_PREFIX + node).digest()
                nodes[digest] = node
                stack.append(BRANCH + digest)
            else:
                raise DecodeError("a witness with an unknown item")
            if len(nodes) > budget:
                raise DecodeError("a witness with too many nodes for its length")
    except IndexError:
        raise DecodeError("a witness with a branch that lacks a child") from None
    if at != size:
        raise DecodeError("a witness that ends inside a reference")
    if len(stack) != 1 or stack[0][1:] != root or root == EMPTY_ROOT:
        raise DecodeError("a witness of another root")
    return PartialStore(nodes)
