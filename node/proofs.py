"""What a node hands out as proof of state: self-contained, checkable with the validator set alone.

A header carries the state after its parent, so a leaf of the state after block h hangs under final header
h+1 (DESIGN.md section 5). A bundle holds that header, what makes it final, and the path from the leaf up to
its state root; below a head or instance leaf, a second path into that guest's own tree. Receipts have a
bundle of their own, `consensus.relay.proofs.ReceiptProof`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from consensus.agreement.messages import Header
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import DecodeError, PeerFault, UserError
from consensus.primitives.ids import Hash, Height
from consensus.primitives.tree import MissingNode, NodeStore
from consensus.relay.proofs import FinalState, encode_receipt_proof, prove_receipt, verify_final_state
from consensus.relay.receipts import Receipt
from consensus.relay.views import MAX_PROVEN_BYTES, StateProof, StateView
from node.final_chain import FinalChain
from node.validator_set import FIRST_EPOCH

MAX_BUNDLE_BYTES: Final = 2 * MAX_PROVEN_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class StateBundle:
    """A leaf of the relay state, and perhaps a key of the guest tree whose root that leaf holds."""

    WIRE_VERSION: ClassVar[int] = 1
    final: FinalState
    leaf: StateProof
    inner: StateProof | None

    @property
    def header(self) -> Header:
        """The final header under whose state root `leaf` hangs."""
        return self.final.header


def check_state_bundle(data: bytes, validators: ValidatorSet, chain_id_hash: Hash) -> StateBundle:
    """A bundle whose header is final and whose leaf hangs under it. Raises PeerFault.

    That `inner` hangs under the root in the leaf is for the caller, who knows which record the leaf holds.
    """
    try:
        bundle = decode(StateBundle, data, limit=MAX_BUNDLE_BYTES)
    except DecodeError as error:
        raise PeerFault(f"not a proof bundle: {error}") from None
    verify_final_state(bundle.final, chain_id_hash=chain_id_hash, epoch=FIRST_EPOCH, validators=validators)
    if not bundle.leaf.holds_under(bundle.header.state_root):
        raise PeerFault("the leaf is not under the header's state root")
    return bundle


class Prover:
    """Makes bundles from the final chain and the state that this node still has."""

    def __init__(self, nodes: NodeStore, chain: FinalChain) -> None:
        self._nodes = nodes
        self._chain = chain

    def state(self, leaf: StateProof, inner: StateProof | None) -> bytes:
        """The bundle of what the chain's `proven_view` holds. Raises UserError before anything is final."""
        final = self._final(self._chain.executed_height)
        if final is None:
            raise UserError("nothing is final yet, so nothing can be proved; ask again in a moment")
        return encode(StateBundle(final=final, leaf=leaf, inner=inner))

    def receipt(
        self, height: Height, block: Hash, receipt: Receipt, all_receipts: Sequence[Receipt]
    ) -> bytes:
        """The bundle of one of the receipts of the final `block` at `height`. Raises UserError."""
        held = self._chain.block(height)
        if held is None:
            raise UserError(f"this node has pruned block {height}; ask another node")
        final = self._final(Height(height + 1))
        if final is None:
            raise UserError(f"the header above block {height} is not final yet; wait for the stage `proved`")
        view = StateView(
            nodes=self._nodes,
            root=held.post_root,
            height=height,
            block=block,
            time_ms=held.header.time_ms,
        )
        try:
            return encode_receipt_proof(prove_receipt(receipt, all_receipts, view, final))
        except MissingNode:
            raise UserError(f"this node has pruned the state of block {height}; ask another node") from None

    def _final(self, height: Height) -> FinalState | None:
        block, proof = self._chain.block(height), self._chain.proof(height)
        if block is None or proof is None:
            return None
        return FinalState(header=block.header, finality=proof)
