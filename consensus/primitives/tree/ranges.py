"""A tree in pieces: the leaves of one range of keys, as a witness that checks against the root by itself.

State sync (DESIGN.md section 5) moves a whole tree between nodes that do not trust each other. A piece is a
witness (see `witness`) in which everything in a range of keys is present and everything else inline, so that
any piece is verified on arrival, in any order, without another one. A piece starts at the key that it was
asked for and goes as far as its size allows; where it ends, its reader sees for itself.

Every node stands for a span of keys, those that begin with its path. A piece *completes* a node if the last
key of the node's span is one that the piece covers. So adjoining pieces complete every node of the tree
exactly once, however the keys were cut into ranges and in whatever order the pieces came, and a store that
counts references adds one for each node that a piece completes.
"""

from dataclasses import dataclass
from typing import Final

from consensus.primitives.errors import DecodeError
from consensus.primitives.ids import Hash
from consensus.primitives.tree.nodes import (
    BRANCH_KIND,
    EMPTY_KIND,
    EMPTY_ROOT,
    KEY_BIT,
    KEY_BITS,
    LEAF,
    LEAF_KIND,
    MAX_VALUE_BYTES,
    NodeStore,
    fetcher,
    root_ref,
)
from consensus.primitives.tree.reading import too_deep
from consensus.primitives.tree.witness import (
    BRANCH_OP,
    BRANCH_OP_BYTES,
    LEFT_INLINE,
    NOTHING,
    RIGHT_INLINE,
    load_witness,
)

FIRST_KEY: Final = Hash(bytes(32))
LAST_KEY: Final = Hash(b"\xff" * 32)
PATH_BYTES: Final = 2 * KEY_BITS * 40
"""What the branches at both ends of a range take at most, in a tree of the greatest depth."""


def piece_bytes_limit(budget: int) -> int:
    """The most bytes that a piece made with `budget` has: its last leaf may be a large one."""
    return budget + MAX_VALUE_BYTES + PATH_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What a piece of a tree holds."""

    completed: list[tuple[bytes, bytes]]
    """(hash, bytes) of every node that the piece completes, children before parents."""
    next: Hash | None
    """The first key of the range that is not covered; None if all are."""


def make_piece(nodes: NodeStore, root: Hash, first: Hash, budget: int) -> bytes:
    """The witness of the leaves from key `first` on: one at least, then as many as `budget` bytes take.

    The empty tree has the empty piece. Raises what `nodes` raises for a node it lacks.
    """
    if root == EMPTY_ROOT:
        return b""
    maker = _Maker(nodes, first, budget)
    maker.add(root_ref(nodes, root), 0, at_edge=True)
    return b"".join(maker.items)


class _Maker:
    __slots__ = ("budget", "fetch", "first", "items", "leaves", "size")

    def __init__(self, nodes: NodeStore, first: Hash, budget: int) -> None:
        self.fetch: Final = fetcher(nodes)
        self.first: Final = first
        self.budget: Final = budget
        self.items: Final[list[bytes]] = []
        self.size = 0
        self.leaves = 0

    def add(self, ref: bytes, depth: int, *, at_edge: bool) -> bytes | None:
        """Put the subtree in, as far as it goes; what its parent has to say of it inline, None if nothing.

        `at_edge`: the path so far is that of the first key, so that what is left of it is left out.
        """
        if ref[0] == EMPTY_KIND:
            return NOTHING
        if self.size >= self.budget and self.leaves:
            return ref
        node = self.fetch(ref[1:])
        if ref[0] == LEAF_KIND:
            self._put(LEAF + (len(node) - 33).to_bytes(4, "big") + node[1:])
            self.leaves += 1
            return None
        if depth >= KEY_BITS:
            raise too_deep()
        index, mask = KEY_BIT[depth]
        right_only = at_edge and bool(self.first[index] & mask)
        left, right = node[1:34], node[34:]
        if right_only:
            inline_left: bytes | None = left if left[0] else NOTHING
        else:
            inline_left = self.add(left, depth + 1, at_edge=at_edge)
        inline_right = self.add(right, depth + 1, at_edge=right_only)
        op, inline = BRANCH_OP, b""
        if inline_left is not None:
            op, inline = op | LEFT_INLINE, inline_left
        if inline_right is not None:
            op, inline = op | RIGHT_INLINE, inline + inline_right
        self._put(BRANCH_OP_BYTES[op - BRANCH_OP] + inline)
        return None

    def _put(self, item: bytes) -> None:
        self.items.append(item)
        self.size += len(item)


def read_piece(piece: bytes, root: Hash, first: Hash, last: Hash, limit: int) -> Piece:
    """What `piece` holds of the keys `first` to `last`, both included, of the tree under `root`.

    `limit` bounds the piece in bytes. Raises DecodeError on whatever is not a piece of this tree that begins
    at `first`.
    """
    if bool(piece) == (root == EMPTY_ROOT):
        raise DecodeError("an empty piece of a tree, or a piece of the empty tree")
    if not piece:
        return Piece(completed=[], next=None)
    held = load_witness(piece, root, limit)
    reader = _Reader(held.nodes, first, last)
    try:
        reader.visit(root_ref(held, root), 0, 0, at_edge=True)
    except _Ended:
        if reader.next is not None and reader.next <= first:
            raise DecodeError("a piece of a tree that does not begin where it was to begin") from None
    return Piece(completed=reader.completed, next=reader.next)


class _Ended(Exception):
    """The walk came to what the piece does not hold, or to what lies beyond the range."""


class _Reader:
    __slots__ = ("beyond", "completed", "first", "held", "next")

    def __init__(self, held: dict[bytes, bytes], first: Hash, last: Hash) -> None:
        self.held: Final = held
        self.first: Final = first
        self.beyond: Final = int.from_bytes(last, "big") + 1
        self.completed: Final[list[tuple[bytes, bytes]]] = []
        self.next: Hash | None = None

    def visit(self, ref: bytes, path: int, depth: int, *, at_edge: bool) -> None:
        """Walk a subtree whose span begins at the key `path`. Raises _Ended."""
        kind = ref[0]
        if kind == EMPTY_KIND:
            return
        if path >= self.beyond:
            raise _Ended
        name = ref[1:]
        node = self.held.get(name)
        if node is None:
            self.next = Hash(path.to_bytes(32, "big"))
            raise _Ended
        if kind == BRANCH_KIND:
            if depth >= KEY_BITS:
                raise too_deep()
            half = 1 << (KEY_BITS - 1 - depth)
            index, mask = KEY_BIT[depth]
            right_only = at_edge and bool(self.first[index] & mask)
            if not right_only:
                self.visit(node[1:34], path, depth + 1, at_edge=at_edge)
            self.visit(node[34:], path + half, depth + 1, at_edge=right_only)
        if path + (1 << (KEY_BITS - depth)) > self.beyond:
            raise _Ended
        self.completed.append((name, node))
