"""What leaves the store, and when: old blocks with all that hangs on them, and PoVs. For old versions of the
state see `store_states`.

Every function works within the write transaction of a batch, and takes a bounded number of heights at a time:
a node that has caught up, or whose operator made a window smaller, must not have one endless transaction.
"""

from collections.abc import Mapping
from typing import Any

from consensus.agreement.messages import MAX_MESSAGE_BYTES, block_hash
from consensus.primitives.codec import decode
from node.store_states import HEIGHT, HEIGHTS_PER_BATCH
from node.stored import MAX_RECEIPTS_BYTES, StoredBlock, StoredReceipts, transaction_receipts

Databases = Mapping[str, Any]


def prune_blocks(txn: Any, databases: Databases, oldest: int, oldest_epoch: int) -> None:
    """Take away the blocks below height `oldest` with their proofs, receipts and names, but for those of
    `oldest_epoch` and later: who has to answer for them may have to be shown with them.

    The certificate that proves a block may stand higher up; it goes with the block that it stands at, when
    nothing below is left that needs it.
    """
    with txn.cursor(db=databases["blocks"]) as cursor:
        for _ in range(HEIGHTS_PER_BATCH):
            if not cursor.first() or HEIGHT.unpack(cursor.key())[0] >= oldest:
                return
            block = decode(StoredBlock, bytes(cursor.value()), limit=MAX_MESSAGE_BYTES)
            if block.header.epoch >= oldest_epoch:
                return
            _drop_block(txn, databases, bytes(cursor.key()), block)


def _drop_block(txn: Any, databases: Databases, key: bytes, block: StoredBlock) -> None:
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
