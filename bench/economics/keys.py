"""Signatures of an oracle: whoever holds all keys needs no cryptography to know who signed what.

A signature is a hash of the public key and the message. It binds both, as a real one does, so that the
transition's own checks decide what they always decide; that anybody could make one is no matter here.
"""

from consensus.primitives.crypto import SigningKey, hash_tagged
from consensus.primitives.ids import PublicKey, Signature

_TAG = b"PHALANX/economics-signature"


class OracleKey(SigningKey):
    """A key with a usable public half whose signatures are the oracle's."""

    __slots__ = ()

    def sign(self, message: bytes) -> Signature:
        """What `verify` takes for this key's signature of `message`."""
        return _signature(self.public, message)


def verify(public: PublicKey, message: bytes, signature: Signature) -> bool:
    """Whether the holder of `public` signed `message`."""
    return signature == _signature(public, message)


def _signature(public: PublicKey, message: bytes) -> Signature:
    half = hash_tagged(_TAG, public, message)
    return Signature(half + half)
