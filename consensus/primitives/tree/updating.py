"""Batch updates: one pass over sorted keys, from the root to the leaves and back.

The recursion handles the branches that several changed keys share; below the last shared branch a loop takes
over, where most of the nodes are. Every old node that is replaced is noted as removed, every new one as
added. A node can not be both: equal subtrees are returned as they were, and within one tree every node holds
a set of keys that no other node of its depth holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, cast

from blake3 import blake3

from consensus.primitives.errors import DecodeError
from consensus.primitives.ids import Hash
from consensus.primitives.tree.nodes import (
    BRANCH,
    BRANCH_KIND,
    BRANCH_PREFIX,
    EMPTY_KIND,
    EMPTY_REF,
    KEY_BIT,
    KEY_BITS,
    LEAF,
    LEAF_KIND,
    MAX_VALUE_BYTES,
    NodeStore,
    common_prefix_bits,
    fetcher,
    leaf_ref,
    root_ref,
)
from consensus.primitives.tree.reading import split, too_deep


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A new version of a tree, as its difference from the old one."""

    root: Hash
    added: dict[Hash, bytes]
    """Nodes of the new version that the old one has not, by hash."""
    removed: list[Hash]
    """Nodes of the old version that the new one has not, each once, in an order that the changes decide."""


def update(nodes: NodeStore, root: Hash, changes: Mapping[Hash, bytes | None]) -> Update:
    """Set (bytes) or delete (None) keys; the new root depends on the resulting content alone.

    Deleting an absent key and writing a value that is already there change nothing. Raises ValueError on a
    key that is not 32 bytes or a value above MAX_VALUE_BYTES, and what `nodes` raises for a node it lacks.
    """
    if not changes:
        return Update(root=root, added={}, removed=[])
    batch = _Batch(nodes, changes)
    top = batch.apply(root_ref(nodes, root), 0, len(batch.keys), 0)
    return Update(
        root=Hash(top[1:]),
        added=cast("dict[Hash, bytes]", batch.added),
        removed=cast("list[Hash]", batch.removed),
    )


class _Batch:
    __slots__ = ("added", "fetch", "keys", "leaves", "removed")

    def __init__(self, nodes: NodeStore, changes: Mapping[Hash, bytes | None]) -> None:
        for key, value in changes.items():
            if len(key) != 32:
                raise ValueError(f"a tree key of {len(key)} bytes, not 32")
            if value is not None and len(value) > MAX_VALUE_BYTES:
                raise ValueError(f"a value of {len(value)} bytes, the limit is {MAX_VALUE_BYTES}")
        self.fetch: Final = fetcher(nodes)
        self.keys: Final = sorted(changes)
        self.leaves: Final = [
            None if (value := changes[key]) is None else LEAF + key + value for key in self.keys
        ]
        self.added: Final[dict[bytes, bytes]] = {}
        self.removed: Final[list[bytes]] = []

    def apply(self, ref: bytes, low: int, high: int, depth: int) -> bytes:
        """The reference to the subtree `ref` at `depth` after the changes `low` to `high`, all under it."""
        if high - low == 1:
            return self._apply_one(ref, low, depth)
        if ref[0] != BRANCH_KIND:
            return self._apply_at_end(ref, low, high, depth)
        node_hash = ref[1:]
        node = self.fetch(node_hash)
        middle = split(self.keys, low, high, depth)
        left = old_left = node[1:34]
        right = old_right = node[34:]
        if low < middle:
            left = self.apply(old_left, low, middle, depth + 1)
        if middle < high:
            right = self.apply(old_right, middle, high, depth + 1)
        if left == old_left and right == old_right:
            return ref
        self.removed.append(node_hash)
        return self._join(left, right)

    def _apply_one(self, ref: bytes, position: int, depth: int) -> bytes:
        """The same for one change: down to where the key ends, then up again, without recursion."""
        fetch = self.fetch
        key = self.keys[position]
        path: list[bytes] = []
        passed: list[bytes] = []
        below = ref
        for index, mask in islice(KEY_BIT, depth, None):
            if below[0] != BRANCH_KIND:
                break
            node_hash = below[1:]
            node = fetch(node_hash)
            path.append(node)
            passed.append(node_hash)
            below = node[34:] if key[index] & mask else node[1:34]
        level = depth + len(path)
        new = self._replace_end(below, position, level)
        if new is below:
            return ref
        self.removed.extend(passed)

        while path and new[0] != BRANCH_KIND:  # a deletion may collapse branches on the way up
            node = path.pop()
            level -= 1
            index, mask = KEY_BIT[level]
            new = self._join(node[1:34], new) if key[index] & mask else self._join(new, node[34:])
        added = self.added
        path.reverse()
        for node, (index, mask) in zip(path, reversed(KEY_BIT[depth:level]), strict=True):
            changed = node[:34] + new if key[index] & mask else BRANCH + new + node[34:]
            digest = blake3(BRANCH_PREFIX + changed).digest()
            added[digest] = changed
            new = BRANCH + digest
        return new

    def _replace_end(self, ref: bytes, position: int, depth: int) -> bytes:
        """Apply one change where its key's path ends, in a leaf or nowhere; `ref` itself if it is void."""
        leaf = self.leaves[position]
        if ref[0] == EMPTY_KIND:
            return ref if leaf is None else self._add_leaf(leaf)
        if ref[0] == BRANCH_KIND:
            raise too_deep()
        key = self.keys[position]
        node_hash = ref[1:]
        other = self.fetch(node_hash)[1:33]
        if other == key:
            new = EMPTY_REF if leaf is None else leaf_ref(leaf)
            if new == ref:
                return ref
            self.removed.append(node_hash)
            if leaf is not None:
                self.added[new[1:]] = leaf
            return new
        if leaf is None:
            return ref
        new = self._add_leaf(leaf)
        pair = [(key, new), (other, ref)] if key < other else [(other, ref), (key, new)]
        return self._build(pair, depth)

    def _apply_at_end(self, ref: bytes, low: int, high: int, depth: int) -> bytes:
        """Several changes below a single leaf, or below nothing."""
        kept: dict[bytes, bytes] = {}
        if ref[0] == LEAF_KIND:
            node_hash = ref[1:]
            kept[self.fetch(node_hash)[1:33]] = ref
        for position in range(low, high):
            key, leaf = self.keys[position], self.leaves[position]
            old = kept.pop(key, None)
            if leaf is not None:
                new = leaf_ref(leaf)
                if new != old:
                    self.added[new[1:]] = leaf
                kept[key] = new
            if old is not None and kept.get(key) != old:
                self.removed.append(old[1:])
        return self._build(sorted(kept.items()), depth)

    def _build(self, items: list[tuple[bytes, bytes]], depth: int) -> bytes:
        """The subtree at `depth` of these sorted keys and leaf references."""
        if not items:
            return EMPTY_REF
        if len(items) == 1:
            return items[0][1]
        shared = common_prefix_bits(items[0][0], items[-1][0])
        if shared < depth or shared == KEY_BITS:
            raise DecodeError("a tree with a leaf that is not under its key")
        index, mask = KEY_BIT[shared]
        middle = next(at for at, (key, _) in enumerate(items) if key[index] & mask)
        top = self._join(self._build(items[:middle], shared + 1), self._build(items[middle:], shared + 1))
        key = items[0][0]
        for level in range(shared - 1, depth - 1, -1):
            index, mask = KEY_BIT[level]
            top = self._join(EMPTY_REF, top) if key[index] & mask else self._join(top, EMPTY_REF)
        return top

    def _join(self, left: bytes, right: bytes) -> bytes:
        """The parent of two subtrees: a branch, unless at most one leaf is left below it."""
        if left[0] == EMPTY_KIND and right[0] != BRANCH_KIND:
            return right
        if right[0] == EMPTY_KIND and left[0] != BRANCH_KIND:
            return left
        node = BRANCH + left + right
        digest = blake3(BRANCH_PREFIX + node).digest()
        self.added[digest] = node
        return BRANCH + digest

    def _add_leaf(self, leaf: bytes) -> bytes:
        ref = leaf_ref(leaf)
        self.added[ref[1:]] = leaf
        return ref
