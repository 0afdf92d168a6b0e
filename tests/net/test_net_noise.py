"""net.noise against the published vectors and against an independent implementation (dissononce)."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from dissononce.cipher.chachapoly import ChaChaPolyCipher
from dissononce.dh.x25519.x25519 import X25519DH
from dissononce.hash.blake2s import Blake2sHash
from dissononce.processing.handshakepatterns.interactive.XX import XXHandshakePattern
from dissononce.processing.impl.cipherstate import CipherState as TheirCipherState
from dissononce.processing.impl.handshakestate import HandshakeState as TheirHandshakeState
from dissononce.processing.impl.symmetricstate import SymmetricState as TheirSymmetricState

from net.noise import NONCE_END, CipherState, HandshakeState, NoiseError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "noise_xx.json").read_text())["vectors"]


def key(text: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(text))


def sides(vector: dict) -> tuple[HandshakeState, HandshakeState]:
    return tuple(
        HandshakeState(
            initiator=side == "init",
            prologue=bytes.fromhex(vector[f"{side}_prologue"]),
            static=key(vector[f"{side}_static"]),
            ephemeral=key(vector[f"{side}_ephemeral"]),
        )
        for side in ("init", "resp")
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["init_prologue"][:8])
def test_published_vectors_byte_for_byte(vector: dict) -> None:
    initiator, responder = sides(vector)
    messages = [(bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in vector["messages"]]
    writer, reader = initiator, responder
    for payload, ciphertext in messages[:3]:
        assert writer.write_message(payload) == ciphertext
        assert reader.read_message(ciphertext) == payload
        assert writer.transcript == reader.transcript
        writer, reader = reader, writer
    if "handshake_hash" in vector:
        assert initiator.transcript == bytes.fromhex(vector["handshake_hash"])
    initiator_ciphers, responder_ciphers = initiator.split(), responder.split()
    senders = (responder_ciphers, initiator_ciphers)  # after three messages it is the responder's turn
    for turn, (payload, ciphertext) in enumerate(messages[3:]):
        ours, theirs = senders[turn % 2], senders[(turn + 1) % 2]
        assert ours[0].encrypt(payload) == ciphertext
        assert theirs[1].decrypt(ciphertext) == payload


class Independent:
    """dissononce in the shape of our HandshakeState."""

    def __init__(self, *, initiator: bool, prologue: bytes) -> None:
        self.state = TheirHandshakeState(
            TheirSymmetricState(TheirCipherState(ChaChaPolyCipher()), Blake2sHash()), X25519DH()
        )
        self.initiator = initiator
        self.static = X25519DH().generate_keypair()
        self.state.initialize(XXHandshakePattern(), initiator, prologue, s=self.static)
        self.ciphers = None

    def write_message(self, payload: bytes) -> bytes:
        buffer = bytearray()
        self.ciphers = self.state.write_message(payload, buffer)
        return bytes(buffer)

    def read_message(self, message: bytes) -> bytes:
        buffer = bytearray()
        self.ciphers = self.state.read_message(message, buffer)
        return bytes(buffer)


@pytest.mark.parametrize("we_initiate", [True, False])
def test_an_independent_implementation_understands_us(we_initiate: bool) -> None:
    us = HandshakeState(initiator=we_initiate, prologue=b"both", static=X25519PrivateKey.generate())
    them = Independent(initiator=not we_initiate, prologue=b"both")
    writer, reader = (us, them) if we_initiate else (them, us)
    for payload in (b"", b"two", b"three"):
        assert reader.read_message(writer.write_message(payload)) == payload
        writer, reader = reader, writer
    assert us.remote_static == them.static.public.data
    send, receive = us.split()
    their_receive, their_send = them.ciphers if we_initiate else reversed(them.ciphers)
    for index in range(3):
        text = bytes([index]) * 1000 * index
        assert their_receive.decrypt_with_ad(b"", send.encrypt(text)) == text
        assert receive.decrypt(their_send.encrypt_with_ad(b"", text)) == text


def test_a_different_prologue_fails_at_the_first_authenticated_message() -> None:
    initiator = HandshakeState(initiator=True, prologue=b"a", static=X25519PrivateKey.generate())
    responder = HandshakeState(initiator=False, prologue=b"b", static=X25519PrivateKey.generate())
    responder.read_message(initiator.write_message(b""))
    with pytest.raises(NoiseError, match="authenticate"):
        initiator.read_message(responder.write_message(b""))


@pytest.mark.parametrize("degenerate", [bytes(32), bytes([1]) + bytes(31)])
def test_a_small_order_key_is_refused(degenerate: bytes) -> None:
    responder = HandshakeState(initiator=False, prologue=b"", static=X25519PrivateKey.generate())
    responder.read_message(degenerate)
    with pytest.raises(NoiseError, match="degenerate"):
        responder.write_message(b"")


def test_messages_out_of_turn_are_our_own_bug() -> None:
    initiator = HandshakeState(initiator=True, prologue=b"", static=X25519PrivateKey.generate())
    with pytest.raises(RuntimeError, match="out of turn"):
        initiator.read_message(bytes(32))
    with pytest.raises(RuntimeError, match="split before"):
        initiator.split()


def test_a_truncated_message_is_refused() -> None:
    responder = HandshakeState(initiator=False, prologue=b"", static=X25519PrivateKey.generate())
    with pytest.raises(NoiseError, match="ends within 'e'"):
        responder.read_message(bytes(31))


def test_the_reserved_nonce_is_never_used() -> None:
    cipher = CipherState(bytes(32))
    cipher._nonce = NONCE_END - 1
    cipher.encrypt(b"the last one")
    with pytest.raises(NoiseError, match="used up"):
        cipher.encrypt(b"one more")
