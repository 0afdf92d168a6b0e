"""Tree nodes of executed blocks that are not yet durable, over those that are.

One overlay serves every such block: a child reads its parent's nodes before they are on disk, and two forks
that made the same node share it. It is read from threads; it is changed in the trio loop alone.
"""

from collections.abc import Iterable, Mapping

from consensus.primitives.ids import Hash
from consensus.primitives.tree import NodeStore


class NodeOverlay:
    """A `NodeStore`: nodes held in memory, each as often as blocks brought it, before those of `base`."""

    def __init__(self, base: NodeStore) -> None:
        self._base = base
        self._nodes: dict[Hash, bytes] = {}
        self._holders: dict[Hash, int] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, node_hash: Hash, /) -> bytes:
        """The node's bytes. Raises MissingNode if neither memory nor disk has it."""
        node = self._nodes.get(node_hash)
        return self._base.get(node_hash) if node is None else node

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
