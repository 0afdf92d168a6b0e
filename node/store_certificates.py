"""The certificates that this node relied on: archived for as long as it may have to show them (CONSENSUS.md
section 17.2), by epoch and view.

One that proves the finality of a block that is here is kept with the block and not a second time: in the path
of one round that is every one. Blocks go no earlier than the evidence about their epoch (`store_pruning`).
"""

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Any, Final

from consensus.agreement.messages import MAX_MESSAGE_BYTES, Certificate, FinalityProof
from consensus.primitives.codec import decode, encode

PRUNED_PER_BATCH: Final = 512
_PLACE: Final = Struct(">QQB")  # epoch, view, type; the block follows

Databases = Mapping[str, Any]


def certificate_key(certificate: Certificate) -> bytes:
    """Where a certificate is archived: in order of epoch and view."""
    return _PLACE.pack(certificate.epoch, certificate.view, certificate.ctype) + certificate.block


def archive_certificates(txn: Any, databases: Databases, certificates: Iterable[Certificate]) -> None:
    """Keep those that no block's proof has."""
    for each in certificates:
        if not _stands(txn, databases, each):
            txn.put(certificate_key(each), encode(each), db=databases["certificates"])


def put_proof(txn: Any, databases: Databases, height: bytes, proof: FinalityProof) -> None:
    """Write the proof of the block at `height`, and its certificate there alone."""
    txn.put(height, encode(proof), db=databases["proofs"])
    txn.delete(certificate_key(proof.certificate), db=databases["certificates"])


def prune_certificates(txn: Any, databases: Databases, oldest: int) -> None:
    """Take away certificates of epochs before `oldest`: no evidence can be given in them any more."""
    end = _PLACE.pack(oldest, 0, 0)
    with txn.cursor(db=databases["certificates"]) as cursor:
        for _ in range(PRUNED_PER_BATCH):
            if not cursor.first() or bytes(cursor.key()) >= end:
                return
            cursor.delete()


def _stands(txn: Any, databases: Databases, certificate: Certificate) -> bool:
    """Whether the proof of the block that it certifies has it."""
    height = txn.get(certificate.block, db=databases["heights"])
    raw = None if height is None else txn.get(height, db=databases["proofs"])
    if raw is None:
        return False
    proof = decode(FinalityProof, raw, limit=MAX_MESSAGE_BYTES)
    return certificate_key(proof.certificate) == certificate_key(certificate)
