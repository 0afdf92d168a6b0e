"""Reads: one key, or many in one descent over the branches that they share."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import islice

from consensus.primitives.errors import DecodeError
from consensus.primitives.ids import Hash
from consensus.primitives.tree.nodes import (
    BRANCH_KIND,
    EMPTY_KIND,
    EMPTY_ROOT,
    KEY_BIT,
    LEAF_KIND,
    NodeStore,
    fetcher,
)


def get(nodes: NodeStore, root: Hash, key: Hash) -> bytes | None:
    """The value under `key`, or None. Raises what `nodes` raises for a node it lacks."""
    if root == EMPTY_ROOT:
        return None
    node = nodes.get(root)
    if node[0] == LEAF_KIND:
        return node[33:] if node[1:33] == key else None
    return _descend(fetcher(nodes), node, key, 0)


def get_many(nodes: NodeStore, root: Hash, keys: Sequence[Hash]) -> list[bytes | None]:
    """The values under `keys`, in their order; a node above several of them is fetched once."""
    if root == EMPTY_ROOT or not keys:
        return [None] * len(keys)
    fetch = fetcher(nodes)
    ordered = sorted(set(keys))
    found: dict[bytes, bytes | None] = {}
    node = fetch(root)
    if node[0] == LEAF_KIND:
        found[node[1:33]] = node[33:]
        return [found.get(key) for key in keys]
    stack = [(node, 0, len(ordered), 0)]  # a branch, the range of keys under it, its depth
    while stack:
        node, low, high, depth = stack.pop()
        if high - low == 1:
            found[ordered[low]] = _descend(fetch, node, ordered[low], depth)
            continue
        middle = split(ordered, low, high, depth)
        if middle > low and node[1] != EMPTY_KIND:
            child = fetch(node[2:34])
            if node[1] == LEAF_KIND:
                found[child[1:33]] = child[33:]
            else:
                stack.append((child, low, middle, depth + 1))
        if middle < high and node[34] != EMPTY_KIND:
            child = fetch(node[35:])
            if node[34] == LEAF_KIND:
                found[child[1:33]] = child[33:]
            else:
                stack.append((child, middle, high, depth + 1))
    return [found.get(key) for key in keys]


def split(keys: Sequence[Hash], low: int, high: int, depth: int) -> int:
    """Where, in sorted `keys[low:high]` that agree above `depth`, those with bit `depth` set begin."""
    if depth >= len(KEY_BIT):
        raise too_deep()
    index, mask = KEY_BIT[depth]
    if keys[low][index] & mask:
        return low
    if not keys[high - 1][index] & mask:
        return high
    return bisect_left(keys, mask, low + 1, high - 1, key=lambda key: key[index] & mask)


def too_deep() -> DecodeError:
    return DecodeError("a tree with a branch below its last level")


def _descend(fetch: Callable[[bytes], bytes], node: bytes, key: Hash, depth: int) -> bytes | None:
    """Follow `key` down from the branch `node` at `depth`."""
    for index, mask in islice(KEY_BIT, depth, None):
        if key[index] & mask:
            kind = node[34]
            child = node[35:]
        else:
            kind = node[1]
            child = node[2:34]
        if kind == BRANCH_KIND:
            node = fetch(child)
        elif kind == LEAF_KIND:
            node = fetch(child)
            return node[33:] if node[1:33] == key else None
        else:
            return None
    raise too_deep()
