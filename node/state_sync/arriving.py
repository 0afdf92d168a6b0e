"""A state under way: a store of its own beside the node's, which takes its place once it is whole.

Pieces are counted as they come (`consensus.primitives.tree.ranges`), each in one transaction with how far its
range has got: a kill loses what was not committed and nothing else, and what was committed is never fetched
again. The relay tree comes first; it says which instances there are, whose trees hang from its leaves. Trees
with one root are fetched once and counted as often as they occur. So the store ends up with the very counts
of a node that executed every block and has pruned all versions before this one.

    ranges   tree root ‖ last key → u32 weight ‖ first key that is not here yet
    meta     target → encoded Snapshot; stage → b"relay", b"guests", b"whole"

The node's own store stays as it is until the new one is whole: `settle` then exchanges them.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from consensus.agreement.messages import MAX_MESSAGE_BYTES, Certificate, FinalityProof, block_hash
from consensus.light.proofs import EpochHop
from consensus.primitives.codec import decode, encode
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import RELAY_CHAIN, ChainId, Epoch, Hash, Height, Milliseconds
from consensus.primitives.tree import EMPTY_ROOT, FIRST_KEY, LAST_KEY, NodeStore, Piece
from consensus.relay.views import StateView
from node.files import moving, sync_directory
from node.state_sync.messages import MAX_FRAME_BYTES, Snapshot
from node.store import Store, StoredBlock
from node.store_certificates import archive_certificates
from node.store_states import COUNT, HEIGHT, add_nodes

STORE_DIRECTORY: Final = "store"
ARRIVING_DIRECTORY: Final = "arriving"
REPLACED_DIRECTORY: Final = "replaced"
PARTS: Final = 16  # ranges that a tree is cut into once it is known to be larger than a piece
LOT: Final = 1_000  # certificates copied in one transaction
_PART: Final = (1 << 256) // PARTS

Subtrees = Callable[[NodeStore, Hash], Mapping[Hash, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeRange:
    """What is still to be fetched of one tree: its keys `first` to `last`, both included."""

    root: Hash
    first: Hash
    last: Hash
    weight: int  # how many trees of the state have this root


def instance_roots(nodes: NodeStore, root: Hash) -> Mapping[Hash, int]:
    """The roots of all instances' trees in the relay state at `root`, and how often each occurs."""
    view = _view(nodes, root)
    instances = [InstanceEndpoint(module=each.module, chain=RELAY_CHAIN) for each in view.modules()]
    for chain in view.chains():
        instances += [InstanceEndpoint(module=module, chain=ChainId(chain.chain)) for module in chain.opt_in]
    records = [view.instance(each) for each in instances]
    return Counter(each.root for each in records if each is not None and each.root != EMPTY_ROOT)


class Arriving:
    """The store under way in a node's data directory. Its methods block; call them in a thread."""

    def __init__(
        self, data: Path, *, genesis_hash: Hash, genesis_root: Hash, subtrees: Subtrees = instance_roots
    ) -> None:
        """Open what an earlier life began, or begin. Raises LocalFault, UserError."""
        self._data = data
        self._genesis = (genesis_hash, genesis_root)
        self._subtrees = subtrees
        self.store = self._opened()

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    @property
    def target(self) -> Snapshot | None:
        """The state that is being fetched, once that is settled."""
        raw = self._meta(b"target")
        return None if raw is None else decode(Snapshot, raw, limit=MAX_FRAME_BYTES)

    @property
    def whole(self) -> bool:
        """Whether everything is here."""
        return self._meta(b"stage") == b"whole"

    def begin(self, target: Snapshot, boundaries: Iterable[EpochHop] = ()) -> None:
        """Fetch this state; what is here of another one is dropped. Raises LocalFault.

        `boundaries`: the ends of the epochs before it; others will ask for them, the node starts from one.
        """
        if self._meta(b"target") is not None:
            self.store.close()
            with moving():
                shutil.rmtree(self._data / ARRIVING_DIRECTORY)
            self.store = self._opened()
        with self.store.writing() as txn:
            meta = self.store.databases["meta"]
            txn.put(b"target", encode(target), db=meta)
            txn.put(b"stage", b"relay", db=meta)
            self._put(txn, [_tree(state_root(target), 1)])
            for each in boundaries:
                key = HEIGHT.pack(each.boundary.header.epoch)
                txn.put(key, encode(each), db=self.store.databases["boundaries"])

    def missing(self) -> list[TreeRange]:
        """What is still to be fetched, in no order that matters; empty once it is whole."""
        ranges = []
        with self.store.reading() as txn, txn.cursor(db=self.store.databases["ranges"]) as cursor:
            for key, value in cursor:
                (weight,) = COUNT.unpack_from(value)
                first = Hash(bytes(value[COUNT.size :]))
                root, last = Hash(bytes(key[:32])), Hash(bytes(key[32:]))
                ranges.append(TreeRange(root=root, first=first, last=last, weight=weight))
        return ranges

    def accept(self, pieces: Sequence[tuple[TreeRange, Piece]]) -> list[TreeRange]:
        """Make durable the pieces that answer ranges of `missing`; what is to be fetched in their place.

        A piece for a range that is not missing, or not any more, changes nothing: nodes are counted once.
        """
        ranges = self.store.databases["ranges"]
        left: list[TreeRange] = []
        with self.store.writing() as txn:
            for each, piece in pieces:
                if txn.get(each.root + each.last, db=ranges) != COUNT.pack(each.weight) + each.first:
                    continue
                nodes = [(Hash(name), node) for name, node in piece.completed]
                counts = dict.fromkeys((name for name, _ in nodes), each.weight)
                add_nodes(txn, self.store.databases, nodes, counts, Height(0))
                txn.delete(each.root + each.last, db=ranges)
                if piece.next is not None:
                    left += _rest(each, piece.next)
            self._put(txn, left)
        return left + self.advance()

    def advance(self) -> list[TreeRange]:
        """If nothing is missing of the relay tree, the instances' trees; if nothing of these, it is whole."""
        target = self.target
        if target is None or self.whole or self.missing():
            return []
        trees: list[TreeRange] = []
        if self._meta(b"stage") == b"relay":
            roots = self._subtrees(self.store, state_root(target))
            trees = [_tree(root, weight) for root, weight in sorted(roots.items())]
        with self.store.writing() as txn:
            self._put(txn, trees)
            if trees:
                txn.put(b"stage", b"guests", db=self.store.databases["meta"])
            else:
                self._finish(txn, target)
        return trees

    def take_over(self, own: Store) -> None:
        """Archive the certificates that this node relied on (CONSENSUS.md section 17.2), once the state is
        whole: nobody else answers for its votes, and its own store goes, with the proofs that have some.

        Doing it again changes nothing. Raises LocalFault.
        """
        target = self.target
        if target is None or not self.whole:
            raise RuntimeError("certificates are taken over into a state that is whole")
        oldest = _view(self.store, state_root(target)).oldest_epoch()
        ended = own.boundary(oldest - 1)
        first = 0 if ended is None else ended.boundary.header.height + 1
        self._take(own, "certificates", HEIGHT.pack(oldest), _certificate, oldest)
        self._take(own, "proofs", HEIGHT.pack(first), _certificate_of_proof, oldest)

    def _take(
        self, own: Store, name: str, place: bytes, read: Callable[[bytes], Certificate], oldest: Epoch
    ) -> None:
        """Archive what one database of the own store has from `place` on of epochs that still count."""
        while True:
            with own.reading() as source, source.cursor(db=own.databases[name]) as cursor:
                lot = [(bytes(key), bytes(value)) for key, value in islice(_from(cursor, place), LOT)]
            if not lot:
                return
            certificates = [read(value) for _, value in lot]
            with self.store.writing() as txn:
                relevant = (each for each in certificates if each.epoch >= oldest)
                archive_certificates(txn, self.store.databases, relevant)
            place = lot[-1][0] + b"\0"

    def _put(self, txn: Any, ranges: Iterable[TreeRange]) -> None:
        for each in ranges:
            value = COUNT.pack(each.weight) + each.first
            txn.put(each.root + each.last, value, db=self.store.databases["ranges"])

    def _finish(self, txn: Any, target: Snapshot) -> None:
        """Write the block, and make its state the oldest one there is."""
        databases, header = self.store.databases, target.header
        key = HEIGHT.pack(header.height)
        block = StoredBlock(header=header, payload=target.payload, post_root=state_root(target))
        txn.put(key, encode(block), db=databases["blocks"])
        txn.put(key, encode(target.proof), db=databases["proofs"])
        txn.put(block_hash(header), key, db=databases["heights"])
        txn.put(b"pruned", key, db=databases["meta"])
        txn.put(b"stage", b"whole", db=databases["meta"])

    def _meta(self, name: bytes) -> bytes | None:
        with self.store.reading() as txn:
            value: bytes | None = txn.get(name, db=self.store.databases["meta"])
            return value

    def _opened(self) -> Store:
        store = Store(self._data / ARRIVING_DIRECTORY, retention=0)
        store.initialise(*self._genesis, {})
        return store


def _from(cursor: Any, key: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The entries from `key` on, ascending."""
    return iter(cursor.iternext()) if cursor.set_range(key) else iter(())


def _certificate(raw: bytes) -> Certificate:
    return decode(Certificate, raw, limit=MAX_MESSAGE_BYTES)


def _certificate_of_proof(raw: bytes) -> Certificate:
    return decode(FinalityProof, raw, limit=MAX_MESSAGE_BYTES).certificate


def _view(nodes: NodeStore, root: Hash) -> StateView:
    """The state at `root`, for what does not depend on its block."""
    return StateView(nodes=nodes, root=root, height=Height(0), block=root, time_ms=Milliseconds(0))


def _tree(root: Hash, weight: int) -> TreeRange:
    return TreeRange(root=root, first=FIRST_KEY, last=LAST_KEY, weight=weight)


def _rest(each: TreeRange, first: Hash) -> list[TreeRange]:
    """What is left of a range from `first` on; a whole tree that turns out to be large is cut into parts."""
    if (each.first, each.last) != (FIRST_KEY, LAST_KEY):
        return [replace(each, first=first)]
    begins = [_key(part * _PART) for part in range(PARTS)]
    lasts = [_key((part + 1) * _PART - 1) for part in range(PARTS)]
    return [
        replace(each, first=max(first, begin), last=last)
        for begin, last in zip(begins, lasts, strict=True)
        if last >= first
    ]


def state_root(snapshot: Snapshot) -> Hash:
    """The root of the state after the snapshot's block: the next header carries it."""
    return snapshot.proof.path[0].state_root


def is_under_way(data: Path) -> bool:
    """Whether an earlier life began to fetch a state."""
    return (data / ARRIVING_DIRECTORY).exists()


def settle(data: Path) -> None:
    """Put the whole state that arrived, which is closed, into the place of the node's store.

    A kill at any moment leaves what another call, after another fetch that has nothing left to do, finishes.
    """
    store, replaced = data / STORE_DIRECTORY, data / REPLACED_DIRECTORY
    shutil.rmtree(replaced, ignore_errors=True)
    if store.exists():
        store.rename(replaced)
    (data / ARRIVING_DIRECTORY).rename(store)
    sync_directory(data)
    shutil.rmtree(replaced, ignore_errors=True)


def _key(number: int) -> Hash:
    return Hash(number.to_bytes(32, "big"))
