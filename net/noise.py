"""Noise_XX_25519_ChaChaPoly_BLAKE2s, from the Noise Protocol Framework, revision 34.

Pure objects: bytes in, bytes out, no socket and no clock. Names follow the specification (section 5):
`CipherState`, `SymmetricState`, `HandshakeState`. Only the one pattern is here, so the pattern is a table
and not a parser:

    XX:  -> e
         <- e, ee, s, es
         -> s, se
"""

import hmac
from hashlib import blake2s
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

PROTOCOL_NAME: Final = b"Noise_XX_25519_ChaChaPoly_BLAKE2s"
KEY_BYTES: Final = 32  # DHLEN, HASHLEN and the cipher's key length are all 32
TAG_BYTES: Final = 16
MESSAGE_BYTES: Final = 65_535  # section 3: no Noise message is longer
PLAINTEXT_BYTES: Final = MESSAGE_BYTES - TAG_BYTES
NONCE_END: Final = 2**64 - 1  # section 5.1: reserved, never used as a nonce

XX_PATTERN: Final = (("e",), ("e", "ee", "s", "es"), ("s", "se"))

_NONCE = Struct("<4xQ")  # section 12.3: 32 zero bits, then the counter, little-endian


class NoiseError(Exception):
    """A Noise message that is too short or long, does not authenticate, or holds a degenerate key."""


class CipherState:
    """One direction of an encrypted stream: a key and a counter (section 5.1)."""

    __slots__ = ("_cipher", "_nonce")

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._nonce = 0

    def encrypt(self, plaintext: bytes, associated: bytes | None = None) -> bytes:
        """Ciphertext with its tag. Raises `NoiseError` when the 2⁶⁴ - 1 nonces of the key are used up."""
        return self._cipher.encrypt(self._next(), plaintext, associated)

    def decrypt(self, ciphertext: bytes | memoryview, associated: bytes | None = None) -> bytes:
        """The plaintext. Raises `NoiseError` if it does not authenticate; the stream is then unusable.

        (Section 5.1 keeps the nonce on failure; over TCP every failure is final, so it does not matter.)
        """
        try:
            return self._cipher.decrypt(self._next(), ciphertext, associated)
        except InvalidTag:
            raise NoiseError("the message does not authenticate") from None

    def _next(self) -> bytes:
        nonce = self._nonce
        if nonce >= NONCE_END:
            raise NoiseError("the nonces of this key are used up")
        self._nonce = nonce + 1
        return _NONCE.pack(nonce)


class SymmetricState:
    """Chaining key, transcript hash and, once there is a key, a cipher (section 5.2)."""

    __slots__ = ("_chaining_key", "_cipher", "transcript")

    def __init__(self, protocol_name: bytes) -> None:
        padded = protocol_name.ljust(KEY_BYTES, b"\0")
        self.transcript = padded if len(padded) == KEY_BYTES else _hash(protocol_name)
        self._chaining_key = self.transcript
        self._cipher: CipherState | None = None

    def mix_key(self, input_key_material: bytes) -> None:
        """MixKey: ratchet the chaining key and start a fresh cipher."""
        self._chaining_key, key = _hkdf(self._chaining_key, input_key_material)
        self._cipher = CipherState(key)

    def mix_hash(self, data: bytes) -> None:
        """MixHash: take data into the transcript."""
        self.transcript = _hash(self.transcript + data)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """EncryptAndHash: in clear until there is a key, but always in the transcript."""
        sealed = plaintext if self._cipher is None else self._cipher.encrypt(plaintext, self.transcript)
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, sealed: bytes) -> bytes:
        """DecryptAndHash. Raises `NoiseError`."""
        plaintext = sealed if self._cipher is None else self._cipher.decrypt(sealed, self.transcript)
        self.mix_hash(sealed)
        return plaintext

    @property
    def tag_bytes(self) -> int:
        """How much longer a sealed field is than its plaintext at this point."""
        return 0 if self._cipher is None else TAG_BYTES

    def split(self) -> tuple[CipherState, CipherState]:
        """Split: the ciphers initiator → responder and responder → initiator."""
        first, second = _hkdf(self._chaining_key, b"")
        return CipherState(first), CipherState(second)


class HandshakeState:
    """One side of one XX handshake (section 5.3): three messages, written and read in turn."""

    __slots__ = (
        "_ephemeral",
        "_initiator",
        "_remote_ephemeral",
        "_static",
        "_step",
        "_symmetric",
        "remote_static",
        "static_public",
    )

    def __init__(
        self,
        *,
        initiator: bool,
        prologue: bytes,
        static: X25519PrivateKey,
        ephemeral: X25519PrivateKey | None = None,
    ) -> None:
        """`ephemeral` is for published vectors only; it is otherwise drawn fresh, and must be."""
        self._initiator = initiator
        self._static = static
        self.static_public: Final = static.public_key().public_bytes_raw()
        self._ephemeral = X25519PrivateKey.generate() if ephemeral is None else ephemeral
        self._remote_ephemeral: bytes | None = None
        self.remote_static: bytes | None = None  # 32 bytes once the message that carries it was read
        self._symmetric = SymmetricState(PROTOCOL_NAME)
        self._symmetric.mix_hash(prologue)
        self._step = 0

    @property
    def transcript(self) -> bytes:
        """h: the hash of all that was said so far; equal on both sides after each message."""
        return self._symmetric.transcript

    @property
    def finished(self) -> bool:
        """Whether all messages are through and `split` may be called."""
        return self._step == len(XX_PATTERN)

    def write_message(self, payload: bytes) -> bytes:
        """WriteMessage. Raises `NoiseError` if the remote key is degenerate."""
        symmetric = self._symmetric
        message = bytearray()
        for token in self._tokens(writing=True):
            if token == "e":
                public = self._ephemeral.public_key().public_bytes_raw()
                symmetric.mix_hash(public)
                message += public
            elif token == "s":
                message += symmetric.encrypt_and_hash(self.static_public)
            else:
                symmetric.mix_key(self._diffie_hellman(token))
        message += symmetric.encrypt_and_hash(payload)
        return bytes(message)

    def read_message(self, message: bytes) -> bytes:
        """ReadMessage: the payload. Raises `NoiseError`; the handshake is then over."""
        symmetric = self._symmetric
        offset = 0
        for token in self._tokens(writing=False):
            if token in ("e", "s"):
                width = KEY_BYTES + (symmetric.tag_bytes if token == "s" else 0)
                field = message[offset : offset + width]
                offset += width
                if len(field) != width:
                    raise NoiseError(f"the handshake message ends within {token!r}")
                if token == "e":
                    self._remote_ephemeral = field
                    symmetric.mix_hash(field)
                else:
                    self.remote_static = symmetric.decrypt_and_hash(field)
            else:
                symmetric.mix_key(self._diffie_hellman(token))
        return symmetric.decrypt_and_hash(message[offset:])

    def split(self) -> tuple[CipherState, CipherState]:
        """(what we send with, what we receive with), once `finished`."""
        if not self.finished:
            raise RuntimeError("split before the last handshake message")
        forward, backward = self._symmetric.split()
        return (forward, backward) if self._initiator else (backward, forward)

    def _tokens(self, *, writing: bool) -> tuple[str, ...]:
        ours = (self._step % 2 == 0) == self._initiator
        if self.finished or ours != writing:
            raise RuntimeError("a handshake message out of turn")
        tokens = XX_PATTERN[self._step]
        self._step += 1
        return tokens

    def _diffie_hellman(self, token: str) -> bytes:
        # "es" is initiator's ephemeral with responder's static; "se" the other way round.
        local_is_static = token == ("se" if self._initiator else "es")
        remote_is_static = token == ("es" if self._initiator else "se")
        local = self._static if local_is_static else self._ephemeral
        remote = self.remote_static if remote_is_static else self._remote_ephemeral
        if remote is None:
            raise RuntimeError(f"{token!r} before the remote key is known")
        try:
            return local.exchange(X25519PublicKey.from_public_bytes(remote))
        except ValueError:  # an all-zero result: a small-order point, which would let anybody know the key
            raise NoiseError("the remote key is degenerate") from None


def _hash(data: bytes) -> bytes:
    return blake2s(data).digest()


def _hkdf(chaining_key: bytes, input_key_material: bytes) -> tuple[bytes, bytes]:
    """HKDF of section 4.3 with two outputs."""
    temporary = hmac.digest(chaining_key, input_key_material, blake2s)
    first = hmac.digest(temporary, b"\x01", blake2s)
    return first, hmac.digest(temporary, first + b"\x02", blake2s)
