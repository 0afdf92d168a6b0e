"""A collator's copy of its chain: every version from the last enacted ones up to the candidates in flight.

The relay chain keeps only the root of a consumer chain's tree; who builds its blocks keeps the tree. A
candidate is appended with all that it changed *before* it is offered, in one synced transaction: if it is
enacted while the collator is down, the collator finds its state here. Versions form one line:

    pruned … settled (enacted, RETAINED of them whole) … base (the newest enacted) … in flight … top

Nodes are counted as in `store`: a version adds its new nodes when it is appended, and takes away those that
it replaced when the version before it leaves the line.

    nodes       node hash   → u32 count ‖ bytes
    candidates  u64 height  → encoded StoredCandidate
    meta        name        → value
"""

import errno
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import lmdb

from consensus.candidates.receipts import (
    MAX_BODY_TRANSACTIONS,
    MAX_OFFER_BYTES,
    MAX_POV_BYTES,
    CandidateHeader,
)
from consensus.primitives.codec import MaxLength, decode, encode
from consensus.primitives.errors import DecodeError, LocalFault, UserError
from consensus.primitives.ids import ChainId, Hash, Height
from consensus.primitives.tree import MissingNode, NodeStore, Update
from consensus.relay.parameters import Entry
from consensus.relay.registry import chain_genesis_state, genesis_head

RETAINED: Final = 64  # enacted versions that stay whole, for proofs under a slightly older relay root
MAP_BYTES: Final = 1 << 38  # address space, not disk
_MAX_NAMES: Final = 64 * 1024 * 1024
_COUNT: Final = struct.Struct(">I")
_HEIGHT: Final = struct.Struct(">Q")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCandidate:
    """A candidate and what it did to the tree; node hashes one after the other.

    `codes`: what the guest says of each transaction, if it does.
    """

    WIRE_VERSION: ClassVar[int] = 2
    header: CandidateHeader
    pov: Annotated[bytes, MaxLength(MAX_POV_BYTES)]
    added: Annotated[bytes, MaxLength(_MAX_NAMES)]
    removed: Annotated[bytes, MaxLength(_MAX_NAMES)]
    codes: Annotated[bytes, MaxLength(MAX_BODY_TRANSACTIONS)] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One state of the chain."""

    height: Height
    head: Hash
    root: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """A chain before its first block, and the nodes of its tree."""

    version: Version
    nodes: Update


def chain_beginning(chain: ChainId, entries: Iterable[Entry]) -> Beginning:
    """The beginning of a chain whose first state is `entries`."""
    state = chain_genesis_state(entries)
    return Beginning(
        version=Version(height=Height(0), head=genesis_head(chain, state.root), root=state.root), nodes=state
    )


class ChainReplica:
    """The open copy of one chain; a `NodeStore`. Methods that write block on the disk: one at a time."""

    def __init__(self, path: Path, beginning: Beginning | None) -> None:
        """Open, or make a new one at `beginning`, which may be None for one that was made before.

        Raises UserError if it is another chain's or of another version, or new without a beginning.
        """
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        try:
            self._env = lmdb.open(str(path), map_size=MAP_BYTES, max_dbs=3, readahead=False)
            self._nodes, self._candidates, self._meta = (
                self._env.open_db(name) for name in (b"nodes", b"candidates", b"meta")
            )
        except lmdb.Error as error:
            raise LocalFault(f"the chain's copy {path} can not be opened ({error})") from None
        genesis = self._begin(beginning)
        self._line: dict[Height, Version] = {}
        self._heights: dict[Hash, Height] = {}
        try:
            self._load(genesis)
        except DecodeError as error:
            raise UserError(
                f"{path} holds what this version can not read ({error}): run the version that wrote it"
            ) from None

    def _begin(self, beginning: Beginning | None) -> Version:
        """The version at height 0."""
        with self._writing() as txn:
            head, root = (txn.get(name, db=self._meta) for name in (b"genesis", b"genesis_root"))
            if head is not None and root is not None:
                if beginning is not None and head != beginning.version.head:
                    raise UserError(f"{self._path} is the copy of another chain: give each chain its own")
                return Version(height=Height(0), head=Hash(head), root=Hash(root))
            if beginning is None:
                raise UserError(
                    f"{self._path} would be a new copy, but this node does not keep the block with its"
                    " first state: bring the directory of another of its collators, or begin with empty data"
                    ' and sync.mode = "blocks"'
                )
            version = beginning.version
            self._add(txn, beginning.nodes.added)
            txn.put(b"genesis", version.head, db=self._meta)
            txn.put(b"genesis_root", version.root, db=self._meta)
            txn.put(b"base", _HEIGHT.pack(0), db=self._meta)
            txn.put(b"pruned", _HEIGHT.pack(0), db=self._meta)
            return version

    def _load(self, genesis: Version) -> None:
        with self._env.begin() as txn:
            base = self._mark(txn, b"base")
            if base <= RETAINED:
                self._line[Height(0)] = genesis
            for key, raw in txn.cursor(db=self._candidates):
                (height,) = _HEIGHT.unpack(key)
                self._enter(_decoded(raw).header, Height(height))
        self.base: Version = self._line[Height(base)]
        self.top: Version = self._line[max(self._line)]

    def _enter(self, header: CandidateHeader, height: Height) -> None:
        version = Version(height=height, head=header.hash, root=header.post_root)
        self._line[height] = version
        self._heights[version.head] = height

    def close(self) -> None:
        """Close the files; nothing may follow."""
        self._env.close()

    # --- reading

    def get(self, node_hash: Hash, /) -> bytes:
        """A node of any version that is held. Raises MissingNode."""
        with self._env.begin(db=self._nodes) as txn:
            return _node(txn, node_hash)

    @contextmanager
    def snapshot(self) -> Iterator[NodeStore]:
        """The same, for many reads by one thread."""
        with self._env.begin(db=self._nodes) as txn:
            yield _Snapshot(txn)

    def version(self, height: Height) -> Version | None:
        """The version at a height, if it is held."""
        return self._line.get(height)

    def named(self, head: Hash) -> Version | None:
        """The version that a candidate made, if it is held."""
        height = self._heights.get(head)
        return None if height is None else self._line[height]

    def candidate(self, height: Height) -> StoredCandidate | None:
        """The candidate that made the version at `height`."""
        with self._env.begin(db=self._candidates) as txn:
            raw = txn.get(_HEIGHT.pack(height))
        return None if raw is None else _decoded(raw)

    def candidate_named(self, candidate: Hash) -> StoredCandidate | None:
        """The candidate with this hash, if it is held."""
        height = self._heights.get(candidate)
        return None if height is None else self.candidate(height)

    def held(self) -> Iterator[StoredCandidate]:
        """All candidates that are held, oldest first, those in flight last."""
        for height in sorted(self._heights.values()):
            found = self.candidate(height)
            if found is not None:
                yield found

    # --- writing

    def append(self, header: CandidateHeader, pov: bytes, changed: Update, codes: bytes | None) -> None:
        """Add a candidate on `top`. Durable on return. Raises LocalFault."""
        if header.parent_head != self.top.head or header.height != self.top.height + 1:
            raise ValueError("a candidate is appended to the version that it builds on")
        record = StoredCandidate(
            header=header,
            pov=pov,
            added=b"".join(changed.added),
            removed=b"".join(changed.removed),
            codes=codes,
        )
        with self._writing() as txn:
            self._add(txn, changed.added)
            txn.put(_HEIGHT.pack(header.height), encode(record), db=self._candidates)
        self._enter(header, header.height)
        self.top = self._line[header.height]

    def settle(self, height: Height) -> None:
        """The versions up to `height` are enacted; those far behind go. Raises LocalFault."""
        with self._writing() as txn:
            pruned = self._mark(txn, b"pruned")
            last = max(pruned, height - RETAINED)
            for each in range(pruned + 1, last + 1):
                # the version before it goes, and with it the nodes that this one replaced
                record = _decoded(txn.pop(_HEIGHT.pack(each), db=self._candidates))
                self._subtract(txn, record.removed)
            txn.put(b"base", _HEIGHT.pack(height), db=self._meta)
            txn.put(b"pruned", _HEIGHT.pack(last), db=self._meta)
        for each in range(pruned, last):
            self._forget(Height(each))
        self.base = self._line[height]

    def drop(self) -> None:
        """The candidates above `base` will never be enacted: undo them. Raises LocalFault."""
        with self._writing() as txn:
            for height in range(self.top.height, self.base.height, -1):
                record = _decoded(txn.pop(_HEIGHT.pack(height), db=self._candidates))
                self._subtract(txn, record.added)
        for height in range(self.top.height, self.base.height, -1):
            self._forget(Height(height))
        self.top = self.base

    def _forget(self, height: Height) -> None:
        version = self._line.pop(height, None)
        if version is not None:
            self._heights.pop(version.head, None)

    def _mark(self, txn: Any, name: bytes) -> int:
        (height,) = _HEIGHT.unpack(txn.get(name, db=self._meta))
        return int(height)

    def _add(self, txn: Any, nodes: dict[Hash, bytes]) -> None:
        database = self._nodes
        for name, node in nodes.items():
            held = txn.get(name, db=database)
            count = 1 if held is None else _COUNT.unpack_from(held)[0] + 1
            txn.put(name, _COUNT.pack(count) + node, db=database)

    def _subtract(self, txn: Any, names: bytes) -> None:
        database = self._nodes
        for start in range(0, len(names), 32):
            name = names[start : start + 32]
            held = txn.get(name, db=database)
            if held is None:
                raise LocalFault(f"{self._path} is inconsistent: a counted tree node is missing")
            (count,) = _COUNT.unpack_from(held)
            if count > 1:
                txn.put(name, _COUNT.pack(count - 1) + held[4:], db=database)
            else:
                txn.delete(name, db=database)

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        try:
            with self._env.begin(write=True) as txn:
                yield txn
        except lmdb.Error as error:
            full = isinstance(error, lmdb.DiskError | lmdb.MapFullError)
            cause = "the disk is full" if full else str(error)
            raise LocalFault(f"the chain's copy {self._path} can not be written ({cause})") from None
        except OSError as error:
            cause = "the disk is full" if error.errno == errno.ENOSPC else str(error)
            raise LocalFault(f"the chain's copy {self._path} can not be written ({cause})") from None


class _Snapshot:
    """Nodes as of one read transaction."""

    __slots__ = ("_txn",)

    def __init__(self, txn: Any) -> None:
        self._txn = txn

    def get(self, node_hash: Hash, /) -> bytes:
        return _node(self._txn, node_hash)


def _node(txn: Any, name: Hash) -> bytes:
    held: bytes | None = txn.get(name)
    if held is None:
        raise MissingNode(f"tree node {name.hex()} is not in the chain's copy")
    return held[4:]


def _decoded(raw: bytes) -> StoredCandidate:
    """Raises DecodeError for the record of another version of this program."""
    return decode(StoredCandidate, raw, limit=2 * _MAX_NAMES + MAX_OFFER_BYTES)
