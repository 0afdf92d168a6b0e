"""Proof that something happened: self-contained, checked against a validator set alone (DESIGN.md section 7).

    receipt → receipts root → last-block leaf → state root in the next header → finality of that header

A receipt of block h is provable under the final header h+1, which carries h's post-state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.agreement.certificates import SignatureChecker, verify_certificate
from consensus.agreement.messages import CertificateType, FinalityProof, Header, block_hash
from consensus.agreement.validators import ValidatorSet
from consensus.light.leaves import (
    LAST_BLOCK_KEY,
    LastBlock,
    receipt_key,
)
from consensus.primitives import crypto
from consensus.primitives.codec import MaxLength, decode, encode
from consensus.primitives.errors import DecodeError, PeerFault
from consensus.primitives.ids import Epoch, Hash, PublicKey, Signature
from consensus.primitives.tree import MemoryStore, TreeProof, prove, verify_membership
from consensus.relay.ledger import (
    RECORD_LIMIT,
)
from consensus.relay.receipts import (
    MAX_RECEIPT_BYTES,
    Receipt,
    decode_receipt,
    receipt_id,
    receipts_tree,
)
from consensus.relay.views import StateProof, StateView

MAX_PROOF_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalState:
    """A header that is final, and so the state root that it carries: the post-state of its parent."""

    header: Header
    finality: FinalityProof


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptProof:
    """A receipt and everything that proves it."""

    WIRE_VERSION: ClassVar[int] = 1
    receipt: Annotated[bytes, MaxLength(MAX_RECEIPT_BYTES)]
    in_block: TreeProof
    last_block: StateProof
    final: FinalState


def encode_receipt_proof(proof: ReceiptProof) -> bytes:
    """The bundle's bytes, for a file or a client."""
    return encode(proof)


def decode_receipt_proof(data: bytes) -> ReceiptProof:
    """The bundle of `data`, unchecked. Raises DecodeError."""
    return decode(ReceiptProof, data, limit=MAX_PROOF_BYTES)


def prove_receipt(
    receipt: Receipt, block_receipts: Sequence[Receipt], view: StateView, final: FinalState
) -> ReceiptProof:
    """The proof of `receipt`, one of the `block_receipts` of the block whose post-state `view` reads.

    `final` is the header above that block. Raises ValueError if it carries another state.
    """
    if final.header.state_root != view.root:
        raise ValueError("the final header does not carry the state that the receipt is in")
    tree = receipts_tree(block_receipts)
    in_block = prove(MemoryStore(tree.added), tree.root, receipt_key(receipt_id(receipt)))
    return ReceiptProof(
        receipt=encode(receipt), in_block=in_block, last_block=view.prove(LAST_BLOCK_KEY), final=final
    )


def verify_receipt_proof(
    proof: ReceiptProof,
    *,
    chain_id_hash: Hash,
    epoch: Epoch,
    validators: ValidatorSet,
    verify: Callable[[PublicKey, bytes, Signature], bool] = crypto.verify,
) -> Receipt:
    """The receipt that `proof` proves. Raises PeerFault that says which step does not hold."""
    verify_final_state(
        proof.final, chain_id_hash=chain_id_hash, epoch=epoch, validators=validators, verify=verify
    )
    leaf = proof.last_block
    if (
        leaf.key != LAST_BLOCK_KEY
        or leaf.value is None
        or not leaf.holds_under(proof.final.header.state_root)
    ):
        raise PeerFault("the last-block leaf is not in the state that the header carries")
    try:
        last = decode(LastBlock, leaf.value, limit=RECORD_LIMIT)
        receipt = decode_receipt(proof.receipt)
    except DecodeError as error:
        raise PeerFault(f"the proof holds something else than a receipt: {error}") from None
    if not verify_membership(
        last.receipts_root, receipt_key(receipt_id(receipt)), proof.receipt, proof.in_block
    ):
        raise PeerFault("the receipt is not among its block's")
    return receipt


def verify_final_state(
    final: FinalState,
    *,
    chain_id_hash: Hash,
    epoch: Epoch,
    validators: ValidatorSet,
    verify: Callable[[PublicKey, bytes, Signature], bool] = crypto.verify,
) -> Hash:
    """The state root that a final header carries. Raises PeerFault unless the header is final."""
    top = final.header
    for header in final.finality.path:
        if header.parent_hash != block_hash(top) or header.height != top.height + 1:
            raise PeerFault("the headers of the finality proof do not link")
        top = header
    certificate = final.finality.certificate
    if certificate.epoch != epoch or (certificate.view, certificate.block) != (top.view, block_hash(top)):
        raise PeerFault("the finality certificate is for another block")
    if certificate.ctype not in (CertificateType.FAST_FINAL, CertificateType.FINAL):
        raise PeerFault("the certificate does not make its block final")
    check = SignatureChecker(chain_id_hash=chain_id_hash, epoch=epoch, keys=validators.keys, verify=verify)
    verify_certificate(certificate, validators, check)
    return final.header.state_root
