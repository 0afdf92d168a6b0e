"""What a node hands out as proof of state: self-contained, checkable with the validator set alone.

A header carries the state after its parent, so a leaf of the state after block h hangs under final header
h+1 (DESIGN.md section 5). A bundle holds that header, what makes it final, and the path from the leaf up to
its state root; below a head or instance leaf, a second path into that guest's own tree. Receipts have a
bundle of their own, `consensus.relay.proofs.ReceiptProof`.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from consensus.agreement.messages import Header
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import DecodeError, PeerFault
from consensus.primitives.ids import Hash
from consensus.relay.proofs import FinalState, verify_final_state
from consensus.relay.views import MAX_PROVEN_BYTES, StateProof
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


def encode_state_bundle(bundle: StateBundle) -> bytes:
    """The bundle's bytes, for a file or a client."""
    return encode(bundle)


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
