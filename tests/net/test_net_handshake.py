"""net.handshake without sockets: who gets in, who does not, and why."""

from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from dissononce.cipher.chachapoly import ChaChaPolyCipher
from dissononce.dh.x25519.x25519 import X25519DH
from dissononce.hash.blake2s import Blake2sHash
from dissononce.processing.handshakepatterns.interactive.XX import XXHandshakePattern
from dissononce.processing.impl.cipherstate import CipherState as TheirCipherState
from dissononce.processing.impl.handshakestate import HandshakeState as TheirHandshakeState
from dissononce.processing.impl.symmetricstate import SymmetricState as TheirSymmetricState
from hypothesis import given
from hypothesis import strategies as st

from net import handshake as module
from net.errors import HandshakeRefused, RefusalReason
from net.handshake import (
    FIRST_BYTES,
    HELLO_BYTES,
    IDENTITY_TAG,
    MAGIC,
    PROLOGUE_TAG,
    SECOND_BYTES,
    THIRD_BYTES,
    VERDICT_BYTES,
    Handshake,
)
from net.identity import Identity

ALICE, BOB, EVE = (Identity(bytes([n]) * 32) for n in (1, 2, 3))
NETWORK = bytes(range(32))


def initiate(identity: Identity = ALICE, expected: Identity = BOB, network: bytes = NETWORK) -> Handshake:
    return Handshake(identity=identity, network_id=network, expected=expected.peer_id)


def respond(identity: Identity = BOB, network: bytes = NETWORK, admit=lambda _: None) -> Handshake:
    return Handshake(identity=identity, network_id=network, admit=admit)


def flights(initiator: Handshake, responder: Handshake) -> list[bytes]:
    """Run a handshake to its end; what was said, in turn."""
    said = [initiator.start()]
    sides = [responder, initiator]
    while said[-1]:
        said.append(sides[0].receive(said[-1]))
        sides.reverse()
    return said[:-1]


def refusal(handshake: Handshake, data: bytes) -> HandshakeRefused:
    with pytest.raises(HandshakeRefused) as caught:
        handshake.receive(data)
    assert handshake.session is None
    return caught.value


def test_both_sides_prove_who_they_are_and_share_keys() -> None:
    initiator, responder = initiate(), respond()
    said = flights(initiator, responder)
    assert [len(flight) for flight in said] == [
        HELLO_BYTES + FIRST_BYTES,
        HELLO_BYTES + SECOND_BYTES,
        THIRD_BYTES,
        VERDICT_BYTES,
    ]
    ours, theirs = initiator.session, responder.session
    assert (ours.peer, theirs.peer) == (BOB.peer_id, ALICE.peer_id)
    assert theirs.receiving.decrypt(ours.sending.encrypt(b"ping")) == b"ping"
    assert ours.receiving.decrypt(theirs.sending.encrypt(b"pong")) == b"pong"


@given(st.data())
def test_it_does_not_matter_how_the_flights_are_cut(data) -> None:
    initiator, responder = initiate(), respond()
    out, sides = initiator.start(), [responder, initiator]
    while out:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(out)), max_size=4)))
        edges = [0, *cuts, len(out)]
        out = b"".join(sides[0].receive(out[a:b]) for a, b in pairwise(edges))
        sides.reverse()
    assert initiator.session is not None
    assert responder.session is not None


def test_records_that_come_with_the_last_flight_are_kept() -> None:
    initiator, responder = initiate(), respond()
    second = responder.receive(initiator.start())
    verdict = responder.receive(initiator.receive(second))
    initiator.receive(verdict + b"records")
    assert initiator.session.surplus == b"records"


def test_another_network_is_refused_by_both_with_the_reason() -> None:
    initiator, responder = initiate(), respond(network=bytes(32))
    error = refusal(responder, initiator.start())
    assert error.reason is RefusalReason.WRONG_NETWORK
    assert NETWORK.hex()[:16] in error.detail
    assert refusal(initiator, responder.farewell).reason is RefusalReason.WRONG_NETWORK


def test_another_version_is_refused_by_both_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    responder = respond()
    monkeypatch.setattr(module, "PROTOCOL_VERSION", 2)
    initiator = initiate()
    monkeypatch.setattr(module, "PROTOCOL_VERSION", 1)
    error = refusal(responder, initiator.start())
    assert error.reason is RefusalReason.WRONG_VERSION
    assert "version 2, we speak 1" in error.detail
    monkeypatch.setattr(module, "PROTOCOL_VERSION", 2)
    assert "version 1, we speak 2" in refusal(initiator, responder.farewell).detail


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"PHALANY", bytes(1)])
def test_strangers_are_refused_at_the_first_wrong_byte_and_told_nothing(garbage: bytes) -> None:
    responder = respond()
    assert refusal(responder, garbage).reason is RefusalReason.NOT_PHALANX
    assert responder.farewell == b""
    assert refusal(initiate(), garbage).reason is RefusalReason.NOT_PHALANX


@pytest.mark.parametrize(
    ("reason", "code"),
    [(RefusalReason.UNKNOWN_PEER, 1), (RefusalReason.BANNED, 2), (RefusalReason.DIAL_ORDER, 3)],
)
def test_whoever_is_not_admitted_is_told_why(reason: RefusalReason, code: int) -> None:
    assert module.VERDICTS[reason] == code
    asked = []
    initiator, responder = initiate(), respond(admit=lambda peer: asked.append(peer) or reason)
    third = initiator.receive(responder.receive(initiator.start()))
    assert refusal(responder, third).reason is reason
    assert asked == [ALICE.peer_id], "asked only about a proven identity"
    told = refusal(initiator, responder.farewell)
    assert told.reason is reason
    assert told.by_remote


def test_a_different_peer_than_dialled_learns_nothing_about_us() -> None:
    initiator, responder = initiate(), respond(identity=EVE)
    error = refusal(initiator, responder.receive(initiator.start()))
    assert error.reason is RefusalReason.UNEXPECTED_IDENTITY
    assert initiator.farewell == b""


def test_we_do_not_connect_with_ourselves() -> None:
    initiator, responder = initiate(identity=BOB), respond()
    third = initiator.receive(responder.receive(initiator.start()))
    assert refusal(responder, third).reason is RefusalReason.SELF
    assert refusal(initiator, responder.farewell).reason is RefusalReason.SELF


class Forger(Identity):
    """Claims an identity and signs with another key."""

    def __init__(self, claimed: Identity, key: Identity) -> None:
        super().__init__(bytes(32))
        self.peer_id = claimed.peer_id
        self._key = key

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def test_an_identity_without_its_key_is_refused_on_either_side() -> None:
    initiator, responder = initiate(identity=Forger(ALICE, EVE)), respond()
    third = initiator.receive(responder.receive(initiator.start()))
    assert refusal(responder, third).reason is RefusalReason.BAD_IDENTITY
    initiator, responder = initiate(), respond(identity=Forger(BOB, EVE))
    second = responder.receive(initiator.start())
    assert refusal(initiator, second).reason is RefusalReason.BAD_IDENTITY


class Recorder(Identity):
    """Remembers what it signed."""

    def sign(self, message: bytes) -> bytes:
        self.signed, self.signature = message, super().sign(message)
        return self.signature


def test_a_signature_is_bound_to_role_network_session_and_static_key() -> None:
    alice = Recorder(bytes([1]) * 32)
    flights(initiate(identity=alice), respond())
    tag, rest = alice.signed[: len(IDENTITY_TAG)], alice.signed[len(IDENTITY_TAG) :]
    assert (tag, rest[:1], rest[1:33], len(rest)) == (IDENTITY_TAG, b"i", NETWORK, 1 + 32 + 32 + 32)
    first = alice.signed
    flights(initiate(identity=alice), respond())
    assert alice.signed[-64:-32] != first[-64:-32], "a fresh transcript each time"
    assert alice.signed[-32:] != first[-32:], "a fresh static key each time"


class Replayer(Identity):
    """Holds an old signature of somebody, but not the key."""

    def __init__(self, victim: Identity, signature: bytes) -> None:
        super().__init__(bytes(32))
        self.peer_id = victim.peer_id
        self._signature = signature

    def sign(self, message: bytes) -> bytes:
        return self._signature


def test_an_old_signature_is_worth_nothing_even_with_the_static_key_it_names() -> None:
    static = X25519PrivateKey.generate()
    alice = Recorder(bytes([1]) * 32)
    honest = Handshake(identity=alice, network_id=NETWORK, expected=BOB.peer_id, static=static)
    flights(honest, respond())
    thief = Handshake(
        identity=Replayer(alice, alice.signature),
        network_id=NETWORK,
        expected=BOB.peer_id,
        static=static,
    )
    responder = respond()
    third = thief.receive(responder.receive(thief.start()))
    assert refusal(responder, third).reason is RefusalReason.BAD_IDENTITY


def test_a_replayed_handshake_fails() -> None:
    said = flights(initiate(), respond())
    victim = respond()
    victim.receive(said[0])
    assert refusal(victim, said[2]).reason is RefusalReason.BAD_HANDSHAKE
    fresh = initiate()
    fresh.start()
    assert refusal(fresh, said[1]).reason is RefusalReason.BAD_HANDSHAKE
    assert fresh.claimed is None


@given(stage=st.integers(0, 3), position=st.integers(0, 400), flip=st.integers(1, 255))
def test_no_flipped_bit_gets_through(stage: int, position: int, flip: int) -> None:
    initiator, responder = initiate(), respond()
    out, sides = initiator.start(), [responder, initiator]
    try:
        for step in range(4):
            if step == stage:
                wrong = bytearray(out)
                wrong[position % len(wrong)] ^= flip
                out = bytes(wrong)
            out = sides[0].receive(out)
            sides.reverse()
    except HandshakeRefused:
        assert initiator.session is None
        return
    raise AssertionError("a tampered handshake went through")


@given(stage=st.integers(0, 3), garbage=st.binary(min_size=300, max_size=400))
def test_garbage_at_any_stage_is_refused(stage: int, garbage: bytes) -> None:
    initiator, responder = initiate(), respond()
    out, sides = initiator.start(), [responder, initiator]
    for _ in range(stage):
        out = sides[0].receive(out)
        sides.reverse()
    refusal(sides[0], garbage)


@pytest.mark.parametrize("stage", range(4))
def test_a_truncated_flight_is_waited_for_and_holds_little(stage: int) -> None:
    initiator, responder = initiate(), respond()
    out, sides = initiator.start(), [responder, initiator]
    for _ in range(stage):
        out = sides[0].receive(out)
        sides.reverse()
    assert sides[0].receive(out[:-1]) in (b"", out)
    assert sides[0].session is None
    assert sides[0].awaited_bytes == 1


def test_the_magic_never_changes() -> None:
    assert (MAGIC, HELLO_BYTES, module.PROTOCOL_VERSION) == (b"PHALANX\n", 42, 1)


@pytest.mark.parametrize("we_initiate", [True, False])
def test_an_independent_noise_speaks_our_handshake(we_initiate: bool) -> None:
    """The whole protocol, hello to verdict, with dissononce for the Noise part of the other side."""
    state = TheirHandshakeState(
        TheirSymmetricState(TheirCipherState(ChaChaPolyCipher()), Blake2sHash()), X25519DH()
    )
    static = X25519DH().generate_keypair()
    hello = MAGIC + b"\x00\x01" + NETWORK
    state.initialize(XXHandshakePattern(), not we_initiate, PROLOGUE_TAG + hello + hello, s=static)

    def payload(role: bytes) -> bytes:
        transcript = state.symmetricstate.get_handshake_hash()
        statement = IDENTITY_TAG + role + NETWORK + transcript + static.public.data
        return EVE.peer_id + EVE.sign(statement)

    def write(content: bytes) -> tuple[bytes, object]:
        buffer = bytearray()
        ciphers = state.write_message(content, buffer)
        return bytes(buffer), ciphers

    def read(message: bytes) -> tuple[bytes, object]:
        buffer = bytearray()
        ciphers = state.read_message(message, buffer)
        return bytes(buffer), ciphers

    if we_initiate:
        us = initiate(expected=EVE)
        first = us.start()
        assert first[:HELLO_BYTES] == hello
        read(first[HELLO_BYTES:])
        third = us.receive(hello + write(payload(b"r"))[0])
        identity, (receiving, sending) = read(third)
        us.receive(sending.encrypt_with_ad(b"", b"\x00"))
    else:
        us = respond()
        second = us.receive(hello + write(b"")[0])
        assert second[:HELLO_BYTES] == hello
        identity, _ = read(second[HELLO_BYTES:])
        third, (sending, receiving) = write(payload(b"i"))
        assert receiving.decrypt_with_ad(b"", us.receive(third)) == b"\x00"
    assert identity[:32] == (ALICE if we_initiate else BOB).peer_id
    assert us.session.peer == EVE.peer_id
    assert us.session.receiving.decrypt(sending.encrypt_with_ad(b"", b"to us")) == b"to us"
    assert receiving.decrypt_with_ad(b"", us.session.sending.encrypt(b"to them")) == b"to them"
