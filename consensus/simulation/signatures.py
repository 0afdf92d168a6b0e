"""Signatures without cryptography: an oracle that knows who signed what.

A signature is a 64-byte token that depends on the key and the signed bytes alone, as Ed25519's does. It is
valid if and only if the holder of the key asked for it: nobody can compute an unasked one that verifies, so
a Byzantine actor is limited to its own keys exactly as it would be by the mathematics.
"""

import hashlib
from collections.abc import Callable

from consensus.primitives.ids import PublicKey, Signature


class SignatureOracle:
    """Signs for the holders of keys, and remembers; `verify` has the shape of `primitives.crypto.verify`."""

    def __init__(self) -> None:
        self._signed: dict[tuple[PublicKey, bytes], Signature] = {}

    def signer(self, public: PublicKey) -> Callable[[bytes], Signature]:
        """The capability to sign with one key. Whoever is not given it can not sign."""
        signed = self._signed

        def sign(message: bytes) -> Signature:
            token = signed.get((public, message))
            if token is None:
                token = Signature(hashlib.blake2b(message, key=public, digest_size=64).digest())
                signed[public, message] = token
            return token

        return sign

    def verify(self, public: PublicKey, message: bytes, signature: Signature) -> bool:
        """Whether the key's holder signed exactly these bytes and this is that signature."""
        return self._signed.get((public, message)) == signature

    def has_signed(self, public: PublicKey, message: bytes) -> bool:
        """Whether the key's holder ever signed these bytes, whatever became of the signature."""
        return (public, message) in self._signed
