"""Tree nodes of executed blocks that are not yet durable, over those that are.

One overlay serves every such block: a child reads its parent's nodes before they are on disk, and two forks
that made the same node share it. It is read from threads; it is changed in the trio loop alone.

Every block reads the same few records, and on the way to them mostly nodes that no block changes. Small ones
are therefore kept once they were read: a node is named by its hash, so what is kept can not be wrong.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from consensus.primitives.ids import Hash
from consensus.primitives.tree import NodeStore

KEPT_NODES: Final = 16_384  # of those that were read from disk; all are dropped when there are so many
KEPT_NODE_BYTES: Final = 512  # larger ones are values, read seldom


class NodeOverlay:
    """A `NodeStore`: nodes held in memory, each as often as blocks brought it, before those of `base`."""

    def __init__(self, base: NodeStore) -> None:
        self._base = base
        self._nodes: dict[Hash, bytes] = {}
        self._holders: dict[Hash, int] = {}
        self._kept: dict[Hash, bytes] = {}

    def __len__(self) -> int:
        """How many nodes are not durable yet."""
        return len(self._nodes)

    def get(self, node_hash: Hash, /) -> bytes:
        """The node's bytes. Raises MissingNode if neither memory nor disk has it."""
        node = self._nodes.get(node_hash) or self._kept.get(node_hash)
        if node is None:
            node = self._base.get(node_hash)
            if len(node) <= KEPT_NODE_BYTES:
                if len(self._kept) >= KEPT_NODES:
                    self._kept = {}
                self._kept[node_hash] = node
        return node

    def hold(self, nodes: Mapping[Hash, bytes]) -> None:
        """Keep a block's new nodes until they are released."""
        holders = self._holders
        for name in nodes:
            holders[name] = holders.get(name, 0) + 1
        self._nodes.update(nodes)

    def release(self, names: Iterable[Hash]) -> None:
        """A block's nodes became durable, or its fork was abandoned."""
        for name in names:
            left = self._holders[name] - 1
            if left:
                self._holders[name] = left
            else:
                del self._holders[name]
                del self._nodes[name]
