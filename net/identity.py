"""Who a peer is: an Ed25519 key that lives as long as the node does.

Distinct from the validator's consensus key, so that the machine that faces the network can be replaced or
its key rotated without touching the one that signs votes.
"""

from typing import Final, NewType

from nacl import bindings
from nacl.exceptions import BadSignatureError

PeerId = NewType("PeerId", bytes)  # 32 bytes, the Ed25519 public identity key; ordered as a byte string

PEER_ID_BYTES: Final = 32
SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


class Identity:
    """This node's identity key pair. `sign` is only ever called with a domain tag in front."""

    __slots__ = ("_expanded", "peer_id")

    def __init__(self, seed: bytes) -> None:
        """`seed`: 32 secret bytes (RFC 8032 section 5.1.5). Raises `ValueError` on another length."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"an identity seed has {SEED_BYTES} bytes, not {len(seed)}")
        public, self._expanded = bindings.crypto_sign_seed_keypair(seed)
        self.peer_id: Final = PeerId(public)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of exactly `message`."""
        return bindings.crypto_sign(message, self._expanded)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"Identity(peer_id={self.peer_id.hex()})"


def verify_identity(peer_id: PeerId, message: bytes, signature: bytes) -> bool:
    """Whether the holder of `peer_id` signed `message`. False, never an exception, on malformed input.

    libsodium's predicate: it refuses small-order keys, under which a signature would prove nothing.
    """
    if len(peer_id) != PEER_ID_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + message, peer_id)
    except BadSignatureError:
        return False
    return True
