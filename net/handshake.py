"""How two nodes come to know each other: a hello in clear, Noise XX, and an identity inside it.

Pure: `Handshake.receive(bytes) -> bytes to send`, no socket and no clock. All flights have a fixed width,
so an unauthenticated peer can make us hold less than 400 bytes.

    initiator                                               responder
    hello, Noise e                       ──────────►
                                         ◄──────────        hello, Noise e ee s es {identity}
    Noise s se {identity}                ──────────►
                                         ◄──────────        verdict (first transport message)

**Hello** (42 bytes, in clear): magic, protocol version, network id (the genesis hash, which also fixes the
fuel schedule). The first 10 bytes keep their meaning in all versions, so nodes of any two versions can
tell each other why they part. Both hellos must agree; they are the Noise prologue, so a hello that was
tampered with on the path fails the handshake even if it looked right to both. A responder keeps silent
until it has seen the magic.

**Identity payload** (96 bytes): Ed25519 identity key, and its signature over

    "PHALANX/net-identity/1" 0x00 ‖ role ("i" or "r") ‖ network id ‖ transcript hash ‖ own Noise static key

where the transcript hash is Noise's h after the *previous* message. Noise proves possession of the static
key, the signature ties it to the identity, and:

- *No identity misbinding* (somebody else's signature over my key, or my signature over somebody else's
  session): a signature names the static key whose possession the same handshake proves, so it can be
  presented by no other key holder. The initiator's also covers, through h, the responder's keys and
  identity, as SIGMA asks. The responder's can not yet cover the initiator's identity, but the keys of the
  session are bound to the entire transcript, and the verdict is the responder's proof that it has seen it.
- *No reflection*: the role is in what is signed, and a node that meets its own identity refuses.
- *No replay*: h contains a fresh ephemeral key of the *verifier*. A recorded handshake therefore fails at the
  first DH that involves it, and a recorded signature, even together with a stolen static key, is over
  another h. So the static key need not be kept at all: it is drawn anew for each handshake.
- *No carrying over* to another network or use: the network id and the domain tag.

The initiator learns and checks the responder's identity before it reveals its own; an active stranger can
learn the responder's identity (as XX has it), which is public in the genesis file.

**Verdict** (17 bytes: one sealed byte): 0, or why an authenticated initiator is refused. The connection is up
for the initiator only then, so both sides agree whether it ever was.
"""

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Final, NoReturn

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from net.errors import HandshakeRefused, RefusalReason
from net.identity import PEER_ID_BYTES, SIGNATURE_BYTES, Identity, PeerId, verify_identity
from net.noise import KEY_BYTES, TAG_BYTES, CipherState, HandshakeState, NoiseError

MAGIC: Final = b"PHALANX\n"
PROTOCOL_VERSION: Final = 1
NETWORK_ID_BYTES: Final = 32

_HELLO = Struct(f">{len(MAGIC)}sH{NETWORK_ID_BYTES}s")
HELLO_BYTES: Final = _HELLO.size
PAYLOAD_BYTES: Final = PEER_ID_BYTES + SIGNATURE_BYTES
FIRST_BYTES: Final = KEY_BYTES
SECOND_BYTES: Final = KEY_BYTES + (KEY_BYTES + TAG_BYTES) + (PAYLOAD_BYTES + TAG_BYTES)
THIRD_BYTES: Final = (KEY_BYTES + TAG_BYTES) + (PAYLOAD_BYTES + TAG_BYTES)
VERDICT_BYTES: Final = 1 + TAG_BYTES

PROLOGUE_TAG: Final = b"PHALANX/net-prologue/1\x00"
IDENTITY_TAG: Final = b"PHALANX/net-identity/1\x00"

# Why an authenticated initiator is refused, as told to it. The numbers are on the wire.
VERDICTS: Final = {
    RefusalReason.UNKNOWN_PEER: 1,
    RefusalReason.BANNED: 2,
    RefusalReason.DIAL_ORDER: 3,
    RefusalReason.SELF: 4,
}
_REASONS: Final = {code: reason for reason, code in VERDICTS.items()}
ACCEPTED: Final = 0


@dataclass(frozen=True, slots=True)
class Session:
    """What a finished handshake yields. Whoever holds it has proven to be `peer`, and the link is fresh."""

    peer: PeerId
    sending: CipherState
    receiving: CipherState
    surplus: bytes  # bytes of the first records that came along with the last flight


class Handshake:
    """One side of one handshake. Feed `receive` until `session` is there.

    `receive` raises `HandshakeRefused` when it is over; what is in `farewell` should then be sent before
    the connection is closed, so that the other side learns why.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        network_id: bytes,
        expected: PeerId | None = None,
        admit: Callable[[PeerId], RefusalReason | None] | None = None,
        static: X25519PrivateKey | None = None,
    ) -> None:
        """The initiator names whom it `expected`; the responder is given `admit` instead.

        admit: asked once for a proven identity; None lets it in, else a reason that is in `VERDICTS`.
        """
        if (expected is None) == (admit is None):
            raise ValueError("an initiator expects a peer, a responder admits peers; give exactly one")
        if len(network_id) != NETWORK_ID_BYTES:
            raise ValueError(f"a network id has {NETWORK_ID_BYTES} bytes, not {len(network_id)}")
        self._identity = identity
        self._network_id = network_id
        self._expected = expected
        self._admit = admit
        self._hello = _HELLO.pack(MAGIC, PROTOCOL_VERSION, network_id)
        self._noise = HandshakeState(
            initiator=expected is not None,
            prologue=PROLOGUE_TAG + self._hello + self._hello,  # both hellos: they agree or we part
            static=X25519PrivateKey.generate() if static is None else static,
        )
        self._received = bytearray()
        self._reading: Callable[[bytes], bytes] = self._read_hello
        self._awaited = HELLO_BYTES
        self._peer: PeerId | None = None
        self._ciphers: tuple[CipherState, CipherState] | None = None
        self.farewell = b""
        self.session: Session | None = None

    @property
    def awaited_bytes(self) -> int:
        """How many more bytes the next step needs; reading no more keeps records out of the handshake."""
        return self._awaited - len(self._received)

    @property
    def claimed(self) -> PeerId | None:
        """The identity that was proven so far, for the log."""
        return self._peer

    def start(self) -> bytes:
        """The initiator's first flight; nothing for the responder."""
        return self._hello + self._noise.write_message(b"") if self._expected is not None else b""

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the peer, return bytes for it. Raises `HandshakeRefused`."""
        received = self._received
        received += data
        out = b""
        while self.session is None:
            if self._reading == self._read_hello and not MAGIC.startswith(received[: len(MAGIC)]):
                self._refuse(RefusalReason.NOT_PHALANX, "the other side does not speak our protocol")
            if len(received) < self._awaited:
                break
            flight = bytes(received[: self._awaited])
            del received[: self._awaited]
            try:
                out += self._reading(flight)
            except NoiseError as error:
                self._refuse(RefusalReason.BAD_HANDSHAKE, str(error))
        return out

    # --- steps: each reads one flight, says what is read next and returns what is to be sent

    def _read_hello(self, flight: bytes) -> bytes:
        _, version, network_id = _HELLO.unpack(flight)
        responding = self._expected is None
        if version != PROTOCOL_VERSION or network_id != self._network_id:
            self.farewell = self._hello if responding else b""
            if version != PROTOCOL_VERSION:
                self._refuse(
                    RefusalReason.WRONG_VERSION,
                    f"the peer speaks protocol version {version}, we speak {PROTOCOL_VERSION}",
                )
            self._refuse(
                RefusalReason.WRONG_NETWORK,
                f"the peer belongs to network {network_id.hex()[:16]}…, we to {self._network_id.hex()[:16]}…",
            )
        if responding:
            self._next(self._read_first, FIRST_BYTES)
        else:
            self._next(self._read_second, SECOND_BYTES)
        return b""

    def _read_first(self, flight: bytes) -> bytes:
        self._noise.read_message(flight)
        second = self._noise.write_message(self._identity_payload(b"r"))
        self._next(self._read_third, THIRD_BYTES)
        return self._hello + second

    def _read_second(self, flight: bytes) -> bytes:
        peer = self._read_identity(flight, b"r")
        if peer != self._expected:
            self._refuse(RefusalReason.UNEXPECTED_IDENTITY, f"{peer.hex()[:16]}… answered instead")
        third = self._noise.write_message(self._identity_payload(b"i"))
        self._ciphers = self._noise.split()
        self._next(self._read_verdict, VERDICT_BYTES)
        return third

    def _read_third(self, flight: bytes) -> bytes:
        peer = self._read_identity(flight, b"i")
        sending, receiving = self._noise.split()
        reason = RefusalReason.SELF if peer == self._identity.peer_id else self._admission(peer)
        if reason is not None:
            self.farewell = sending.encrypt(bytes([VERDICTS[reason]]))
            self._refuse(reason, f"{peer.hex()[:16]}… is refused: {reason}")
        self._finish(peer, sending, receiving)
        return sending.encrypt(bytes([ACCEPTED]))

    def _read_verdict(self, flight: bytes) -> bytes:
        if self._ciphers is None or self._peer is None:
            raise RuntimeError("a verdict before the identities")
        sending, receiving = self._ciphers
        (code,) = receiving.decrypt(flight)
        if code != ACCEPTED:
            reason = _REASONS.get(code, RefusalReason.BAD_HANDSHAKE)
            raise HandshakeRefused(reason, f"the peer refused us: {reason} ({code})", by_remote=True)
        self._finish(self._peer, sending, receiving)
        return b""

    # --- identities

    def _identity_payload(self, role: bytes) -> bytes:
        statement = self._statement(role, self._noise.transcript, self._noise.static_public)
        return self._identity.peer_id + self._identity.sign(statement)

    def _read_identity(self, flight: bytes, role: bytes) -> PeerId:
        before = self._noise.transcript
        payload = self._noise.read_message(flight)
        peer, signature = PeerId(payload[:PEER_ID_BYTES]), payload[PEER_ID_BYTES:]
        static = self._noise.remote_static
        if static is None:
            raise RuntimeError("an identity before the static key")
        if not verify_identity(peer, self._statement(role, before, static), signature):
            self._refuse(RefusalReason.BAD_IDENTITY, f"the signature of {peer.hex()[:16]}… is wrong")
        self._peer = peer
        return peer

    def _statement(self, role: bytes, transcript: bytes, static: bytes) -> bytes:
        return IDENTITY_TAG + role + self._network_id + transcript + static

    def _admission(self, peer: PeerId) -> RefusalReason | None:
        return None if self._admit is None else self._admit(peer)

    # --- progress

    def _next(self, reading: Callable[[bytes], bytes], awaited: int) -> None:
        self._reading = reading
        self._awaited = awaited

    def _finish(self, peer: PeerId, sending: CipherState, receiving: CipherState) -> None:
        self.session = Session(peer, sending, receiving, bytes(self._received))
        self._received.clear()

    def _refuse(self, reason: RefusalReason, detail: str) -> NoReturn:
        raise HandshakeRefused(reason, detail)
