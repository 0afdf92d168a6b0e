"""What leaves the store, and when: old versions of the state, old blocks with all that hangs on them, PoVs,
certificates.

Every function works within the write transaction of a batch, and takes a bounded number of heights at a time:
a node that has caught up, or whose operator made a window smaller, must not have one endless transaction.
"""

from collections.abc import Mapping
from struct import Struct
from typing import Any, Final

from consensus.agreement.messages import MAX_MESSAGE_BYTES, Certificate, block_hash
from consensus.primitives.codec import decode
from consensus.primitives.errors import LocalFault
from node.stored import MAX_RECEIPTS_BYTES, StoredBlock, StoredReceipts, transaction_receipts

HEIGHTS_PER_BATCH: Final = 512
COUNT: Final = Struct(">I")
HEIGHT: Final = Struct(">Q")
STALE_ENTRY_BYTES: Final = 32 + COUNT.size

Databases = Mapping[str, Any]


def prune_states(txn: Any, databases: Databases, oldest: int) -> None:
    """Take away versions below height `oldest`, oldest first."""
    (pruned,) = HEIGHT.unpack(txn.get(b"pruned", db=databases["meta"]))
    last = min(oldest, pruned + HEIGHTS_PER_BATCH)
    for height in range(pruned + 1, last + 1):
        stale = txn.pop(HEIGHT.pack(height), db=databases["stale"])
        _drop_nodes(txn, databases, stale or b"")
    if last > pruned:
        txn.put(b"pruned", HEIGHT.pack(last), db=databases["meta"])


def _drop_nodes(txn: Any, databases: Databases, stale: bytes) -> None:
    database = databases["nodes"]
    for start in range(0, len(stale), STALE_ENTRY_BYTES):
        name = stale[start : start + 32]
        (less,) = COUNT.unpack_from(stale, start + 32)
        held = txn.get(name, db=database)
        if held is None:
            raise LocalFault("the store is inconsistent: a counted tree node is missing; fetch it anew")
        (count,) = COUNT.unpack_from(held)
        if count > less:
            txn.put(name, COUNT.pack(count - less) + held[4:], db=database)
        else:
            txn.delete(name, db=database)


def prune_blocks(txn: Any, databases: Databases, oldest: int) -> None:
    """Take away the blocks below height `oldest` with their proofs, receipts and names.

    The certificate that proves a block may stand higher up; it goes with the block that it stands at, when
    nothing below is left that needs it.
    """
    with txn.cursor(db=databases["blocks"]) as cursor:
        for _ in range(HEIGHTS_PER_BATCH):
            if not cursor.first() or HEIGHT.unpack(cursor.key())[0] >= oldest:
                return
            _drop_block(txn, databases, bytes(cursor.key()), bytes(cursor.value()))


def _drop_block(txn: Any, databases: Databases, key: bytes, raw: bytes) -> None:
    block = decode(StoredBlock, raw, limit=MAX_MESSAGE_BYTES)
    txn.delete(key, db=databases["blocks"])
    txn.delete(key, db=databases["proofs"])
    txn.delete(block_hash(block.header), db=databases["heights"])
    receipts = txn.pop(key, db=databases["receipts"])
    if receipts is None:
        return
    held = decode(StoredReceipts, receipts, limit=MAX_RECEIPTS_BYTES)
    places = databases["places"]
    for name in (*transaction_receipts(held.receipts), *(each.name for each in held.void)):
        if txn.get(name, db=places) == key:  # a void one may have taken effect elsewhere
            txn.delete(name, db=places)


def prune_povs(txn: Any, databases: Databases, oldest: int) -> None:
    """Take away PoVs that were attested below height `oldest`."""
    with txn.cursor(db=databases["pov_ages"]) as cursor:
        while cursor.first() and HEIGHT.unpack_from(cursor.key())[0] < oldest:
            txn.delete(bytes(cursor.key()[8:]), db=databases["povs"])
            cursor.delete()


def certificate_key(certificate: Certificate) -> bytes:
    """Where a certificate is archived: in order of epoch and view."""
    place = HEIGHT.pack(certificate.epoch) + HEIGHT.pack(certificate.view)
    return place + bytes([certificate.ctype]) + certificate.block


def prune_certificates(txn: Any, databases: Databases, oldest: int) -> None:
    """Take away certificates of epochs before `oldest`: no evidence can be given in them any more."""
    end = HEIGHT.pack(oldest)
    with txn.cursor(db=databases["certificates"]) as cursor:
        for _ in range(HEIGHTS_PER_BATCH):
            if not cursor.first() or bytes(cursor.key()) >= end:
                return
            cursor.delete()
