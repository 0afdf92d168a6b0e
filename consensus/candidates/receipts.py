"""Wire types of a candidate's life: header, PoV, attestations, inclusion (DESIGN.md section 6).

A candidate is named by the hash of its header, which is also the consumer chain's head once it is enacted.
The header commits to everything: where it stands, what it consumed, what it did and what it sends. The PoV
is what a stateless validator needs to find out whether that is true.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.agreement.statements import Role, Statement, Verdict, statement_sign_bytes
from consensus.agreement.validators import MAX_VALIDATORS
from consensus.primitives.codec import U8, U32, U64, MaxLength, decode, encode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.guest import MAX_MESSAGES, InboxSource, Outgoing
from consensus.primitives.ids import (
    ChainId,
    Epoch,
    Fuel,
    Hash,
    Height,
    Milliseconds,
    Signature,
    ValidatorIndex,
)

MAX_PIPELINE_DEPTH: Final = 3  # candidates of one chain that may be in flight, each built on the one before
MAX_LANES_READ: Final = 33  # lanes that one candidate may consume from
MAX_MESSAGES_CONSUMED: Final = 256  # by one candidate, of all lanes; what is left waits for the next
MAX_POV_BYTES: Final = 8 * 1024 * 1024
MAX_BODY_TRANSACTIONS: Final = 20_000
MAX_CHAIN_TRANSACTION_BYTES: Final = 64 * 1024
MAX_OUTGOING_BYTES: Final = 64 * 1024  # payloads of all messages that one candidate sends
MAX_HEADER_BYTES: Final = 2 * MAX_OUTGOING_BYTES
_VERDICTS: Final = frozenset(Verdict)
MAX_OFFER_BYTES: Final = MAX_POV_BYTES + MAX_HEADER_BYTES + 64


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxCursor:
    """What a candidate consumed of one lane: the messages numbered `first` up to, not including, `next`."""

    source: InboxSource
    first: U64
    next: U64

    def __post_init__(self) -> None:
        if self.next <= self.first:
            raise ValueError("a cursor that does not move says nothing and is left out")


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateHeader:
    """A proposed consumer block. `relay_parent` is a final relay block whose time is the candidate's time."""

    WIRE_VERSION: ClassVar[int] = 1
    chain: ChainId
    height: Height  # of the consumer chain; its genesis head has height 0
    parent_head: Hash
    relay_parent: Hash
    relay_parent_height: Height
    time_ms: Milliseconds
    code_hash: Hash  # validation code that was run
    body_hash: Hash
    pov_hash: Hash
    pov_bytes: U32
    pre_root: Hash
    post_root: Hash
    inbox: Annotated[tuple[InboxCursor, ...], MaxLength(MAX_LANES_READ)]  # in `lane_order` of the sources
    outgoing: Annotated[tuple[Outgoing, ...], MaxLength(MAX_MESSAGES)]  # in the order sent
    fuel_used: Fuel

    def __post_init__(self) -> None:
        if sum(each.next - each.first for each in self.inbox) > MAX_MESSAGES_CONSUMED:
            raise ValueError(f"a candidate consumes at most {MAX_MESSAGES_CONSUMED} messages")
        if sum(len(each.payload) for each in self.outgoing) > MAX_OUTGOING_BYTES:
            raise ValueError(f"a candidate sends at most {MAX_OUTGOING_BYTES} bytes")

    @property
    def hash(self) -> Hash:
        """The candidate's name, and the chain's head once enacted."""
        return hash_tagged(b"PHALANX/candidate/1", encode(self))


def statement_of(header: CandidateHeader, candidate: Hash, verdict: Verdict) -> Statement:
    """What a validator asks its signing gate to sign about the candidate whose hash is `candidate`."""
    return Statement(
        role=int(Role.ATTEST),
        relay_parent=header.relay_parent,
        relay_parent_height=header.relay_parent_height,
        candidate=candidate,
        verdict=int(verdict),
    )


_Transaction = Annotated[bytes, MaxLength(MAX_CHAIN_TRANSACTION_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoV:
    """Proof of validity: consumer transactions, and the witness of all state that they touch."""

    WIRE_VERSION: ClassVar[int] = 1
    transactions: Annotated[tuple[_Transaction, ...], MaxLength(MAX_BODY_TRANSACTIONS)]
    witness: Annotated[bytes, MaxLength(MAX_POV_BYTES)]


def pov_hash(pov: bytes) -> Hash:
    """Names an encoded PoV; in the header."""
    return hash_tagged(b"PHALANX/pov/1", pov)


def body_hash(transactions: tuple[bytes, ...]) -> Hash:
    """Names a candidate's transactions, in order; in the header."""
    parts = [part for each in transactions for part in (len(each).to_bytes(4, "big"), each)]
    return hash_tagged(b"PHALANX/body/1", *parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """One validator's signed verdict. A VALID one is also its promise to serve the whole PoV."""

    WIRE_TAG: ClassVar[int] = 4
    epoch: Epoch
    chain: ChainId
    relay_parent: Hash
    candidate: Hash
    verdict: U8
    validator: ValidatorIndex
    signature: Signature

    def __post_init__(self) -> None:
        if self.verdict not in _VERDICTS:
            raise ValueError(f"verdict {self.verdict} is unknown")

    def sign_bytes(self, chain_id_hash: Hash) -> bytes:
        """What `signature` covers."""
        return statement_sign_bytes(
            chain_id_hash, self.epoch, Role.ATTEST, self.relay_parent, self.candidate, self.verdict
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateOffer:
    """Collator to validators. `pov` may be empty: who lacks it asks with `PovRequest`."""

    WIRE_TAG: ClassVar[int] = 1
    header: CandidateHeader
    pov: Annotated[bytes, MaxLength(MAX_POV_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PovRequest:
    """Asks a peer that offered or attested a candidate for it; answered with a `CandidateOffer`."""

    WIRE_TAG: ClassVar[int] = 2
    candidate: Hash


CandidateMessage = CandidateOffer | PovRequest | Attestation


def encode_candidate_message(message: CandidateMessage) -> bytes:
    """The bytes of any message between collators and validators about candidates."""
    return encode(message)


def decode_candidate_message(data: bytes) -> CandidateMessage:
    """The message that `data` encodes. Raises DecodeError: the peer's fault."""
    message: CandidateMessage = decode(CandidateMessage, data, limit=MAX_OFFER_BYTES)  # type: ignore[arg-type]
    return message


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateInclusion:
    """A candidate in a relay block with the signatures that decide it.

    Bit i of `signers` (least significant bit of the first byte is 0) stands for validator i; `signatures`
    are in increasing order of index. The bitmap has no trailing zero byte.
    """

    header: CandidateHeader
    verdict: U8
    epoch: Epoch
    signers: Annotated[bytes, MaxLength((MAX_VALIDATORS + 7) // 8)]
    signatures: Annotated[tuple[Signature, ...], MaxLength(MAX_VALIDATORS)]

    def __post_init__(self) -> None:
        if self.verdict not in _VERDICTS:
            raise ValueError(f"verdict {self.verdict} is unknown")
        if self.signers and self.signers[-1] == 0:
            raise ValueError("the bitmap of signers ends in a zero byte")
        if sum(byte.bit_count() for byte in self.signers) != len(self.signatures):
            raise ValueError("the bitmap and the signatures differ in number")

    def signed(self) -> Iterator[tuple[ValidatorIndex, Signature]]:
        """Signers with their signatures, in increasing order of index."""
        return zip(bitmap_members(self.signers), self.signatures, strict=True)


def bitmap_of(members: list[ValidatorIndex]) -> bytes:
    """The shortest bitmap with the bits of `members` set."""
    bits = 0
    for member in members:
        bits |= 1 << member
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def bitmap_members(bitmap: bytes) -> Iterator[ValidatorIndex]:
    """The indices whose bits are set, increasing."""
    bits = int.from_bytes(bitmap, "little")
    while bits:
        lowest = bits & -bits
        yield ValidatorIndex(lowest.bit_length() - 1)
        bits ^= lowest


def decode_pov(data: bytes, limit: int) -> PoV:
    """The PoV of `data`, at most `limit` bytes. Raises DecodeError: the candidate is invalid."""
    return decode(PoV, data, limit=min(limit, MAX_POV_BYTES))
