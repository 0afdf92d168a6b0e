"""A chain of blocks for tests of the store: a tree that changes, and nothing of the relay chain's rules.

Run as a program it writes to a store until it is killed (`persist`) or until the disk is full (`fill`), and
prints each height once it is durable.
"""

import random
import resource
import sys
from dataclasses import replace
from pathlib import Path

from consensus.agreement.messages import (
    Certificate,
    CertificateType,
    FinalityProof,
    block_hash,
    genesis_header,
)
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.errors import LocalFault
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Height, View
from consensus.primitives.tree import EMPTY_ROOT, MemoryStore, NodeStore, tree_key, update
from consensus.primitives.tree.nodes import BRANCH, EMPTY_REF, REF_BYTES
from node.store import FinalBlock, Store, StoredBlock, StoredReceipts

GENESIS = Hash(b"g" * 32)
KEYS = [tree_key(b"test", bytes([index])) for index in range(31)]


class StoreChain:
    """The genesis state and the blocks after it; `versions[height]` is (root, values by key)."""

    def __init__(self) -> None:
        values = dict.fromkeys(KEYS[:8], b"genesis")
        made = update(MemoryStore(), EMPTY_ROOT, values)
        self.root, self.nodes = made.root, made.added
        self.memory = MemoryStore(dict(made.added))
        self.versions: list[tuple[Hash, dict[Hash, bytes]]] = [(made.root, values)]
        self.blocks: list[FinalBlock] = []
        self._random = random.Random(7)

    def next(self) -> FinalBlock:
        """The block that every chain of this kind has at its next height."""
        return self.block({self._random.randrange(31): self._random.randrange(1_000) for _ in range(5)})

    def block(self, changes: dict[int, int | None]) -> FinalBlock:
        """The next block, which sets and deletes those keys."""
        root, values = self.versions[-1]
        height = len(self.versions)
        wanted = {KEYS[key]: None if value is None else b"%d" % value for key, value in changes.items()}
        made = update(self.memory, root, wanted)
        self.memory.apply(dict(made.added))
        now = {key: value for key, value in (values | wanted).items() if value is not None}
        self.versions.append((made.root, now))
        header = genesis_header(chain_id_hash=GENESIS, epoch=Epoch(1), time_ms=1, validators_hash=ZERO_HASH)
        header = replace(header, view=View(height), height=Height(height), state_root=root)
        final = FinalBlock(
            height=Height(height),
            hash=block_hash(header),
            block=StoredBlock(header=header, payload=b"payload %d" % height, post_root=made.root),
            proof=FinalityProof(path=(), certificate=_certificate(height, block_hash(header))),
            receipts=StoredReceipts(receipts=(), void=(), enclave_calls=0, messages=0),
            transactions=(hash_tagged(b"test-transaction", height.to_bytes(8, "big")),),
            new_nodes=made.added,
            reference_changes=dict.fromkeys(made.added, 1) | dict.fromkeys(made.removed, -1),
        )
        self.blocks.append(final)
        return final


def _certificate(view: int, block: Hash) -> Certificate:
    """Its shape alone: the store verifies nothing."""
    return Certificate(
        ctype=int(CertificateType.FINAL),
        epoch=Epoch(1),
        view=View(view),
        block=block,
        groups=(),
        fault=None,
        leader_sigs=(),
    )


def reachable(nodes: NodeStore, root: Hash) -> set[Hash]:
    """Every node of the tree under `root`. Raises MissingNode if one is gone."""
    found: set[Hash] = set()
    waiting = [] if root == EMPTY_ROOT else [root]
    while waiting:
        name = waiting.pop()
        found.add(name)
        node = nodes.get(name)
        if node.startswith(BRANCH):
            refs = (node[1 : 1 + REF_BYTES], node[1 + REF_BYTES :])
            waiting += [Hash(ref[1:]) for ref in refs if ref != EMPTY_REF]
    return found


def write(mode: str, path: Path) -> None:
    """Persist batches of two blocks from where the store ends; print every height that is durable."""
    store = Store(path, retention=3)
    chain = StoreChain()
    store.initialise(GENESIS, chain.root, chain.nodes)
    for _ in range(store.height()):
        chain.next()
    if mode == "fill":
        bound = path.joinpath("data.mdb").stat().st_size + 100_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (bound, bound))
    try:
        while True:
            store.persist_blocking([chain.next(), chain.next()])
            print(store.height(), flush=True)
    except LocalFault as fault:
        print(fault, flush=True)


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]))
