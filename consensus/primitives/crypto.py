"""BLAKE3-256 and Ed25519, both under domain tags.

A tag says what the bytes mean, so that a value hashed or signed in one role can never stand in another.
There is exactly one signature predicate in the system, `verify`: libsodium's, which is cofactorless and
refuses non-canonical S, non-canonical and small-order public keys (RFC 8032 section 5.1.7, and the
strictness that "Taming the many EdDSAs", 2020, asks of consensus).
"""

from typing import Final

from blake3 import blake3
from nacl import bindings
from nacl.exceptions import BadSignatureError

from consensus.primitives.ids import Hash, PublicKey, SecretSeed, Signature

HASH_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
KEY_BYTES: Final = 32
IDENTITY_POINT: Final = bytes([1]) + bytes(31)


def hash_tagged(tag: bytes, *parts: bytes) -> Hash:
    """BLAKE3-256 of `tag ‖ 0x00 ‖ parts…`.

    `tag` holds no zero byte; each caller's parts have fixed widths or are self-delimiting, so the
    concatenation is injective.
    """
    hasher = blake3(tag)
    hasher.update(b"\x00")
    for part in parts:
        hasher.update(part)
    return Hash(hasher.digest())


def public_key(seed: SecretSeed) -> PublicKey:
    """The Ed25519 public key of a 32-byte seed (RFC 8032 section 5.1.5)."""
    return PublicKey(bindings.crypto_sign_seed_keypair(seed)[0])


class SigningKey:
    """An Ed25519 key that signs exact bytes; the caller puts the domain tag in them."""

    __slots__ = ("_expanded", "public")

    def __init__(self, seed: SecretSeed) -> None:
        public, self._expanded = bindings.crypto_sign_seed_keypair(seed)
        self.public: Final = PublicKey(public)

    def sign(self, message: bytes) -> Signature:
        """The 64-byte deterministic signature of `message` (RFC 8032 section 5.1.6)."""
        return Signature(bindings.crypto_sign(message, self._expanded)[:SIGNATURE_BYTES])

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()})"


def verify(public: PublicKey, message: bytes, signature: Signature) -> bool:
    """Whether `signature` is valid for `message` under `public`; the only predicate that decides it.

    Never raises on bad input of any length: what is malformed is simply not a signature.
    """
    if len(signature) != SIGNATURE_BYTES or len(public) != KEY_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + message, public)
    except BadSignatureError:
        return False
    return True


def is_valid_public_key(public: bytes) -> bool:
    """Whether a key may be registered: a canonical point on the curve, in the main subgroup.

    Refuses the small-order points, under which a signature would prove nothing.
    """
    return (
        len(public) == KEY_BYTES
        and public != IDENTITY_POINT
        and bool(bindings.crypto_core_ed25519_is_valid_point(public))
    )
