"""The store: final blocks, their proofs and receipts, and the state, in LMDB (DESIGN.md section 5).

Everything of a batch of blocks is one transaction with a real sync, committed in a thread; the journal covers
what is not here yet. Tree nodes are counted: a node is kept while any retained version of the state contains
it (`store_states`); nothing is ever searched for garbage.

    nodes     node hash            → u32 count ‖ u64 birth ‖ bytes  birth: height of the first state with it
    stale     u64 height           → (node hash ‖ u32 count)…   to take away when height - 1 is pruned
    waiting   u64 snapshot ‖ u64 height → (node hash ‖ u32 count)…  of `stale`, while the snapshot is kept
    blocks    u64 height           → encoded StoredBlock
    proofs    u64 height           → encoded FinalityProof      where a certificate stands (`proof`)
    boundaries u64 epoch           → encoded EpochHop           over each epoch's last block, for ever
    heights   block hash           → u64 height
    receipts  u64 height           → encoded StoredReceipts
    places    transaction hash     → u64 height
    certificates u64 epoch ‖ u64 view ‖ u8 type ‖ block → encoded Certificate   relied on, and in no proof
    povs      candidate hash       → encoded CandidateOffer
    pov_ages  u64 height ‖ hash    → nothing                    PoVs in the order in which they may go
    ranges    see `state_sync.arriving`                         of a state under way
    meta      name                 → value
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import lmdb
import trio

from consensus.agreement.messages import (
    MAX_CHAIN_BLOCKS,
    MAX_CHAIN_BYTES,
    MAX_MESSAGE_BYTES,
    Certificate,
    Chain,
    ChainBlock,
    FinalityProof,
    Header,
)
from consensus.light.proofs import EpochHop, FinalHead
from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import LocalFault, UserError
from consensus.primitives.ids import Hash, Height
from consensus.primitives.tree import MissingNode
from node.state_sync.offering import Offering
from node.store_certificates import archive_certificates, prune_certificates, put_proof
from node.store_pruning import prune_blocks, prune_povs
from node.store_states import HEIGHT, NODE, add_nodes, prune_states, stale_entries
from node.store_writing import Writing
from node.stored import (
    MAX_RECEIPTS_BYTES,
    FinalBlock,
    StoredBlock,
    StoredReceipts,
    VoidItem,
    transaction_receipts,
)

__all__ = [
    "FinalBlock",
    "Store",
    "StoredBlock",
    "StoredReceipts",
    "VoidItem",
    "transaction_receipts",
]

FORMAT: Final = b"phalanx-store-2"
MAP_BYTES: Final = 1 << 38  # address space, not disk: the file grows as it fills; a ceiling, not a size
STATE_RETENTION: Final = 256  # versions of the state that stay readable behind the newest durable one
POV_RETENTION: Final = 1_024  # blocks for which an attested PoV is served
_DATABASES: Final = (
    "nodes",
    "stale",
    "waiting",
    "blocks",
    "proofs",
    "boundaries",
    "heights",
    "receipts",
    "places",
    "certificates",
    "povs",
    "pov_ages",
    "ranges",
    "meta",
)


class Store:
    """The open database. Reads are quick and may come from any thread; writes are one at a time."""

    def __init__(
        self,
        path: Path,
        *,
        retention: int = STATE_RETENTION,
        retention_blocks: int = 0,
        snapshot_ms: int = 0,
        sync: bool = True,
    ) -> None:
        """Open or make the database in the directory `path`. Raises LocalFault if that fails, or if another
        version wrote it.

        `retention`: versions of the state to keep behind the newest, `STATE_RETENTION` or the operator's;
        `retention_blocks`: blocks to keep, with their proofs and receipts; 0 keeps all, and none goes while
        evidence about its epoch counts. `snapshot_ms`: block time between the states that are kept for peers
        to fetch; 0 for none.
        """
        self.path = path
        self.retention = retention
        self.retention_blocks = retention_blocks
        self.offering: Final = Offering(snapshot_ms)
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._env = lmdb.open(
                str(path),
                map_size=MAP_BYTES,
                max_dbs=len(_DATABASES),
                readahead=False,
                sync=sync,
                metasync=sync,
                max_spare_txns=4,
            )
            self._db: dict[str, Any] = {name: self._env.open_db(name.encode("ascii")) for name in _DATABASES}
        except (lmdb.Error, OSError) as error:
            raise LocalFault(f"the store {path} can not be opened ({error})") from None
        self._limiter = trio.CapacityLimiter(1)
        try:
            self._check_format()
        except LocalFault:
            self.close()
            raise
        self._restore_offering()

    def close(self) -> None:
        """Close the database; no read may follow."""
        self._env.close()

    def writing(self) -> Writing:
        """One durable write transaction, as a context manager. Raises LocalFault when the disk refuses."""
        return Writing(self._env, self.path)

    def reading(self) -> Any:
        """A transaction that reads one state of the database, as a context manager."""
        return self._env.begin()

    @property
    def databases(self) -> Mapping[str, Any]:
        """By the names above, for those who write in a transaction of `writing`."""
        return self._db

    # --- the beginning

    def initialise(self, genesis_hash: Hash, root: Hash, nodes: Mapping[Hash, bytes]) -> None:
        """Write the genesis state, once. Raises UserError if the store belongs to another network."""
        held = self._get("meta", b"genesis")
        if held is not None:
            if held != genesis_hash:
                raise UserError(
                    f"{self.path} belongs to network {held.hex()[:16]}…, but the genesis file is"
                    f" {genesis_hash.hex()[:16]}…: give each network a directory of its own"
                )
            return
        with self.writing() as txn:
            add_nodes(txn, self._db, nodes.items(), dict.fromkeys(nodes, 1), Height(0))
            txn.put(b"format", FORMAT, db=self._db["meta"])
            txn.put(b"genesis", genesis_hash, db=self._db["meta"])
            txn.put(b"genesis_root", root, db=self._db["meta"])
            txn.put(b"pruned", HEIGHT.pack(0), db=self._db["meta"])

    # --- writing

    async def persist(
        self, batch: Sequence[FinalBlock], certificates: Sequence[Certificate] = (), oldest_epoch: int = 0
    ) -> None:
        """Make a run of final blocks durable, in one transaction, in a thread. Raises LocalFault.

        `certificates` are archived with it. `oldest_epoch` is the oldest about which evidence counts: what
        would be needed for it goes only if it is of epochs before.
        """
        await trio.to_thread.run_sync(
            self.persist_blocking, batch, certificates, oldest_epoch, limiter=self._limiter
        )

    def persist_blocking(
        self, batch: Sequence[FinalBlock], certificates: Sequence[Certificate] = (), oldest_epoch: int = 0
    ) -> None:
        """`persist`, in the calling thread."""
        with self.writing() as txn:
            for final in batch:
                self._write_block(txn, final, certified=final is batch[-1] or _ends(final))
                self.offering.note(final.block.header)
            archive_certificates(txn, self._db, certificates)
            prune_certificates(txn, self._db, oldest_epoch)
            if batch:
                self._note_snapshots(txn)
                self._prune(txn, batch[-1].height, oldest_epoch)

    def put_pov(self, candidate: Hash, pov: bytes, height: Height) -> None:
        """Keep an attested candidate, header and PoV; it goes `POV_RETENTION` blocks after `height`."""
        with self.writing() as txn:
            txn.put(candidate, pov, db=self._db["povs"])
            txn.put(HEIGHT.pack(height) + candidate, b"", db=self._db["pov_ages"])

    async def put_povs(self, povs: Sequence[tuple[Hash, bytes, Height]]) -> None:
        """`put_pov` of several, in a thread."""

        def write() -> None:
            for candidate, pov, height in povs:
                self.put_pov(candidate, pov, height)

        await trio.to_thread.run_sync(write, limiter=self._limiter)

    def _write_block(self, txn: Any, final: FinalBlock, *, certified: bool) -> None:
        key = HEIGHT.pack(final.height)
        txn.put(key, encode(final.block), db=self._db["blocks"])
        if certified:
            put_proof(txn, self._db, key, final.proof)
        if final.next_set is not None:
            boundary = FinalHead(header=final.block.header, finality=final.proof)
            hop = EpochHop(boundary=boundary, validators=final.next_set)
            txn.put(HEIGHT.pack(boundary.header.epoch), encode(hop), db=self._db["boundaries"])
        txn.put(final.hash, key, db=self._db["heights"])
        txn.put(key, encode(final.receipts), db=self._db["receipts"])
        places = self._db["places"]
        void = {item.name for item in final.receipts.void}
        for name in final.transactions:
            # a transaction counts where it took effect; one that was void may be included again
            txn.put(name, key, db=places, overwrite=name not in void)
        add_nodes(txn, self._db, final.new_nodes.items(), final.reference_changes, final.height)
        txn.put(key, stale_entries(final.reference_changes), db=self._db["stale"])

    def _note_snapshots(self, txn: Any) -> None:
        """Let the store say which snapshots the next life finds whole: none, if this one offers none."""
        heights = b"".join(map(HEIGHT.pack, self.offering.newest()))
        if heights != (txn.get(b"snapshots", db=self._db["meta"]) or b""):
            txn.put(b"snapshots", heights, db=self._db["meta"])

    def _prune(self, txn: Any, newest: int, oldest_epoch: int) -> None:
        """Take away what has left its window. Snapshots stay, and the blocks from the oldest of them on."""
        snapshots = self.offering.heights()
        prune_states(txn, self._db, newest - self.retention if self.retention else 0, snapshots)
        if self.retention_blocks:
            oldest_block = min(newest - self.retention_blocks, *snapshots[:1], newest)
            prune_blocks(txn, self._db, oldest_block, oldest_epoch)
        prune_povs(txn, self._db, newest - POV_RETENTION)

    # --- reading

    def get(self, node_hash: Hash, /) -> bytes:
        """A tree node; makes the store a `NodeStore`. Raises MissingNode."""
        held = self._get("nodes", node_hash)
        if held is None:
            raise MissingNode(f"tree node {node_hash.hex()} is not in the store")
        return held[NODE.size :]

    @property
    def initialised(self) -> bool:
        """Whether the genesis state was written, or fetched over."""
        return self._get("meta", b"genesis") is not None

    def genesis_root(self) -> Hash:
        """The state before the first block."""
        return Hash(self._existing("meta", b"genesis_root"))

    def height(self) -> Height:
        """The highest durable block; 0 when there is none."""
        with self._env.begin(db=self._db["blocks"]) as txn, txn.cursor() as cursor:
            return Height(HEIGHT.unpack(cursor.key())[0] if cursor.last() else 0)

    def oldest_block(self) -> Height:
        """The lowest height whose block is here; 1 when there is none yet."""
        with self._env.begin(db=self._db["blocks"]) as txn, txn.cursor() as cursor:
            return Height(HEIGHT.unpack(cursor.key())[0] if cursor.first() else 1)

    def oldest_state(self) -> Height:
        """The height from which on every state is whole; below it the snapshots are."""
        return Height(HEIGHT.unpack(self._existing("meta", b"pruned"))[0])

    def boundary(self, epoch: int) -> EpochHop | None:
        """The last block of `epoch` and the next set, None while it has not ended: what takes a light client
        across, and what the next epoch starts from."""
        raw = self._get("boundaries", HEIGHT.pack(epoch))
        return None if raw is None else decode(EpochHop, raw, limit=MAX_MESSAGE_BYTES)

    def certificates(self, epoch: int, first: int, last: int, limit: int) -> list[Certificate]:
        """Archived certificates of the views `first` to `last`, at most `limit`; none that a block's proof
        has."""
        found: list[Certificate] = []
        with self._env.begin(db=self._db["certificates"]) as txn, txn.cursor() as cursor:
            more = cursor.set_range(HEIGHT.pack(epoch) + HEIGHT.pack(first))
            end = HEIGHT.pack(epoch) + HEIGHT.pack(last + 1)
            while more and bytes(cursor.key()) < end and len(found) < limit:
                found.append(decode(Certificate, bytes(cursor.value()), limit=MAX_MESSAGE_BYTES))
                more = cursor.next()
        return found

    def block(self, height: int) -> StoredBlock | None:
        """The final block at `height`."""
        raw = self._get("blocks", HEIGHT.pack(height))
        return None if raw is None else decode(StoredBlock, raw, limit=MAX_MESSAGE_BYTES)

    def height_of(self, block: Hash) -> Height | None:
        """Where a final block stands."""
        raw = self._get("heights", block)
        return None if raw is None else Height(HEIGHT.unpack(raw)[0])

    def proof(self, height: int) -> FinalityProof | None:
        """That the block at `height` is final: the next certificate above, and the headers up to it."""
        path: list[Header] = []
        for above in range(height, height + 4_096):
            raw = self._get("proofs", HEIGHT.pack(above))
            if raw is not None:
                proof = decode(FinalityProof, raw, limit=MAX_MESSAGE_BYTES)
                return FinalityProof(path=(*path, *proof.path), certificate=proof.certificate)
            block = self.block(above + 1)
            if block is None:
                return None
            path.append(block.header)
        return None

    def certificate(self, height: int) -> Certificate | None:
        """The certificate that stands with the block at `height`: of this block, or of one that ends a path
        from it. None if those above are certified alone."""
        raw = self._get("proofs", HEIGHT.pack(height))
        return None if raw is None else decode(FinalityProof, raw, limit=MAX_MESSAGE_BYTES).certificate

    def receipts(self, height: int) -> StoredReceipts | None:
        """Every receipt of the block at `height`."""
        raw = self._get("receipts", HEIGHT.pack(height))
        return None if raw is None else decode(StoredReceipts, raw, limit=MAX_RECEIPTS_BYTES)

    def place(self, transaction: Hash) -> Height | None:
        """The height of the block that carries a transaction."""
        raw = self._get("places", transaction)
        return None if raw is None else Height(HEIGHT.unpack(raw)[0])

    def pov(self, candidate: Hash) -> bytes | None:
        """An attested candidate, header and PoV, as an encoded CandidateOffer."""
        return self._get("povs", candidate)

    def chain(self, first: int, last: int) -> Chain:
        """Blocks for a peer that catches up, as many as a message holds, the last with its proof."""
        blocks: list[ChainBlock] = []
        room = MAX_CHAIN_BYTES
        for height in range(max(first, 1), min(last, first + MAX_CHAIN_BLOCKS - 1) + 1):
            held = self.block(height)
            if held is None or (blocks and len(held.payload) > room):
                break
            room -= len(held.payload)
            blocks.append(ChainBlock(header=held.header, payload=held.payload))
        proof = self.proof(first + len(blocks) - 1) if blocks else None
        return Chain(first=Height(first), blocks=tuple(blocks), proof=proof)

    def node_count(self) -> int:
        """Tree nodes held; for tests and metrics."""
        with self._env.begin() as txn:
            return int(txn.stat(db=self._db["nodes"])["entries"])

    def _check_format(self) -> None:
        """Raises LocalFault if what is here was written in another form."""
        held = self._get("meta", b"format")
        if held not in (None, FORMAT):
            raise LocalFault(
                f"the store {self.path} is of the form {held.decode('ascii', 'replace')}, but this version"
                f" reads {FORMAT.decode('ascii')}: run the version that wrote it, or delete this directory,"
                " and nothing else, to have the node fetch its chain anew from its peers"
            )

    def _restore_offering(self) -> None:
        raw = self._get("meta", b"snapshots") or b""
        heights = [Height(each) for (each,) in HEIGHT.iter_unpack(raw)]
        newest = self.block(self.height())
        self.offering.restore(heights, None if newest is None else newest.header)

    def _get(self, database: str, key: bytes) -> bytes | None:
        with self._env.begin(db=self._db[database]) as txn:
            value: bytes | None = txn.get(key)
            return value

    def _existing(self, database: str, key: bytes) -> bytes:
        value = self._get(database, key)
        if value is None:
            raise LocalFault(f"{self.path} is not a store: {key.decode('ascii', 'replace')} is missing")
        return value


def _ends(final: FinalBlock) -> bool:
    """Whether proofs of blocks below end here: at a certified block, or at the last one of an epoch."""
    return not final.proof.path or final.next_set is not None
