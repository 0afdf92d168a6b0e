"""Every wire type of agreement, and the bytes that are signed (CONSENSUS.md sections 2, 3, 10, 12).

Decoding checks shape alone: sizes, widths, canonical form. Whether a signature, certificate or proposal is
*valid* is for `certificates` and the engine's rules, which need the validator set.
"""

import enum
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, Final

from consensus.agreement.validators import MAX_VALIDATORS
from consensus.primitives.codec import U8, U32, MaxLength, decode, encode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import (
    ZERO_HASH,
    Epoch,
    Hash,
    Height,
    Milliseconds,
    Signature,
    ValidatorIndex,
    View,
)

HEADER_VERSION: Final = 1
MAX_BLOCK_BYTES: Final = 2 * 1024 * 1024  # of payload; CONSENSUS.md section 23
MAX_SUPPORT: Final = 96  # certificates that ride with one proposal
MAX_CHAIN_BLOCKS: Final = 64
MAX_CHAIN_BYTES: Final = MAX_BLOCK_BYTES  # payload bytes in one Chain message, unless it holds a single block
MAX_GROUPS: Final = 2 * MAX_VALIDATORS + 1  # of votes in one certificate: an equivocator may split all voters
MAX_STATUS_VIEWS: Final = 64
MAX_MESSAGE_BYTES: Final = 2 * MAX_BLOCK_BYTES + 4 * 1024 * 1024
SIGN_BYTES_LENGTH: Final = 126
VOTE_DOMAIN: Final = b"TALLY/vote/1\x00"

FLAG_BOUNDARY: Final = 1
FLAG_TAIL: Final = 2


class Kind(enum.IntEnum):
    """What a signature says (CONSENSUS.md section 2)."""

    PROPOSE = 1
    NOTARIZE = 2
    SKIP = 3
    NFALL = 4
    SFALL = 5
    FINALIZE = 6
    STATUS = 7
    AMNESIA_PROBE = 8
    KEY_POP = 9
    AMNESIA_REPLY = 10


class CertificateType(enum.IntEnum):
    """The five certificates of CONSENSUS.md section 3.1."""

    NOTARIZATION = 1
    FALLBACK = 2
    SKIP = 3
    FAST_FINAL = 4
    FINAL = 5


def sign_bytes(chain_id_hash: Hash, kind: int, epoch: int, view: int, block: bytes, aux: bytes) -> bytes:
    """The 126 bytes that a validator signs. No variable-length field is ever signed."""
    return b"".join(
        (
            VOTE_DOMAIN,
            chain_id_hash,
            kind.to_bytes(1, "big"),
            epoch.to_bytes(8, "big"),
            view.to_bytes(8, "big"),
            block,
            aux,
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A relay block's header; `block_hash` is its id, in which no signature takes part."""

    WIRE_VERSION: ClassVar[int] = HEADER_VERSION
    epoch: Epoch
    view: View
    height: Height
    parent_hash: Hash
    parent_view: View  # below `view`, same epoch; 0 for the epoch's first block
    proposer: ValidatorIndex  # L(view)
    time_ms: Milliseconds
    payload_root: Hash
    payload_len: U32  # bytes
    tx_count: U32
    state_root: Hash  # post-state of the PARENT: execution is deferred by one block
    validators_hash: Hash
    next_validators_hash: Hash  # zero except in an epoch's boundary block
    flags: U8  # FLAG_BOUNDARY, FLAG_TAIL


@lru_cache(maxsize=256)
def block_hash(header: Header) -> Hash:
    """The id of a block; of recent ones remembered, because every rule names its block again."""
    return hash_tagged(b"TALLY/block/1", encode(header))


def payload_root(payload: bytes) -> Hash:
    """The commitment to a payload that its header carries."""
    return hash_tagged(b"TALLY/payload/1", payload)


def genesis_header(
    *, chain_id_hash: Hash, epoch: Epoch, time_ms: Milliseconds, validators_hash: Hash
) -> Header:
    """The block of height 0 and view 0, certified by definition; nobody proposes or signs it.

    Its parent is the genesis hash itself, so that block ids of two networks never meet. It has no parent
    state, so `state_root` is zero; the state after genesis is in the header of height 1.
    """
    return Header(
        epoch=epoch,
        view=View(0),
        height=Height(0),
        parent_hash=chain_id_hash,
        parent_view=View(0),
        proposer=ValidatorIndex(0),
        time_ms=time_ms,
        payload_root=payload_root(b""),
        payload_len=0,
        tx_count=0,
        state_root=ZERO_HASH,
        validators_hash=validators_hash,
        next_validators_hash=ZERO_HASH,
        flags=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderFault:
    """Two PROPOSE signatures of one view's leader; `block_a` sorts before `block_b`."""

    block_a: Hash
    sig_a: Signature
    block_b: Hash
    sig_b: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderSignature:
    """sigL: the leader's PROPOSE signature on `block`."""

    block: Hash
    sig: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Equal votes of several validators. Bit i of `bitmap` is bit i % 8 of byte i // 8.

    `sigs` are in increasing signer index, one per set bit.
    """

    kind: U8
    block: Hash
    aux: Hash
    bitmap: Annotated[bytes, MaxLength(MAX_VALIDATORS // 8)]
    sigs: Annotated[tuple[Signature, ...], MaxLength(MAX_VALIDATORS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Justification:
    """Why a fallback vote was allowed: the first votes, and the LeaderFault, that made its rule true."""

    groups: Annotated[tuple[Group, ...], MaxLength(MAX_GROUPS)]
    fault: LeaderFault | None
    leader_sigs: Annotated[tuple[LeaderSignature, ...], MaxLength(MAX_GROUPS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One of the five votes. `leader_sig` and `justification` are attachments that `sig` does not cover."""

    WIRE_TAG: ClassVar[int] = 2
    kind: U8
    epoch: Epoch
    view: View
    block: Hash
    aux: Hash
    signer: ValidatorIndex
    sig: Signature
    leader_sig: Signature | None = None  # with NOTARIZE: required
    justification: Justification | None = None  # with SFALL, and NFALL of aux ≠ 0: required


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Votes that settle something about a view; valid as CONSENSUS.md section 3.1 says."""

    WIRE_TAG: ClassVar[int] = 3
    ctype: U8
    epoch: Epoch
    view: View
    block: Hash  # zero for SKIP
    groups: Annotated[tuple[Group, ...], MaxLength(MAX_GROUPS)]
    fault: LeaderFault | None
    leader_sigs: Annotated[tuple[LeaderSignature, ...], MaxLength(MAX_GROUPS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalityProof:
    """That a block is final: headers from just above it up to the certified one, and that one's certificate.

    `path` is empty when the certificate (FAST_FINAL or FINAL) is for the block itself. A store need keep the
    certificate only at the certified height: the path is the stored headers above.
    """

    path: Annotated[tuple[Header, ...], MaxLength(4096)]
    certificate: Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A leader's block. Without `payload` the receiver fetches it by hash."""

    WIRE_TAG: ClassVar[int] = 1
    header: Header
    leader_sig: Signature
    payload: Annotated[bytes, MaxLength(MAX_BLOCK_BYTES)] | None
    support: Annotated[tuple[Certificate, ...], MaxLength(MAX_SUPPORT)]
    vote: Vote | None  # the leader's own NOTARIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultNotice:
    """A LeaderFault of a view, gossiped once."""

    WIRE_TAG: ClassVar[int] = 4
    epoch: Epoch
    view: View
    fault: LeaderFault


class Want(enum.IntEnum):
    """Which certificate of a view GetCertificate asks for."""

    ANY = 0
    BLOCK = 1
    SKIP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GetCertificate:
    """GET_CERT: answered by a Certificate, or NotFound."""

    WIRE_TAG: ClassVar[int] = 5
    epoch: Epoch
    view: View
    want: U8
    block: Hash  # zero unless `want` is BLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class GetBlock:
    """GET_BLOCK: answered by a Proposal without support and vote, or NotFound."""

    WIRE_TAG: ClassVar[int] = 6
    epoch: Epoch
    block: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound:
    """NONE, the answer of an honest node that does not have what it was asked for. `key` is the block hash
    of a GetBlock, or zero."""

    WIRE_TAG: ClassVar[int] = 7
    view: View
    key: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class GetChain:
    """GET_CHAIN: final blocks of heights `first` to `last`, at most 64."""

    WIRE_TAG: ClassVar[int] = 8
    first: Height
    last: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainBlock:
    """A final block as it is served."""

    header: Header
    payload: Annotated[bytes, MaxLength(MAX_BLOCK_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Consecutive final blocks, and the proof of the last. Empty blocks, no proof: nothing to serve."""

    WIRE_TAG: ClassVar[int] = 9
    first: Height
    blocks: Annotated[tuple[ChainBlock, ...], MaxLength(MAX_CHAIN_BLOCKS)]
    proof: FinalityProof | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Whose first votes of a view the sender of a Status holds."""

    view: View
    bitmap: Annotated[bytes, MaxLength(MAX_VALIDATORS // 8)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a node stands (CONSENSUS.md section 12). Unsigned: links are authenticated, and a lie costs
    its receiver one bounded answer."""

    WIRE_TAG: ClassVar[int] = 10
    epoch: Epoch
    cur_view: View
    final_view: View
    final_height: Height
    final_hash: Hash
    seen: Annotated[tuple[Seen, ...], MaxLength(MAX_STATUS_VIEWS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AmnesiaProbe:
    """A validator that lost its journal asks where the others stand (CONSENSUS.md section 13.4)."""

    WIRE_TAG: ClassVar[int] = 11
    epoch: Epoch
    nonce: Hash
    signer: ValidatorIndex
    sig: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class AmnesiaReply:
    """The highest certificate that an intact validator holds; None while it holds but the epoch's start.

    `beyond`: its signer voted for the boundary block or a tail, and finality has not overtaken that; so the
    one who asks may have been in later epochs before it lost its memory.
    """

    WIRE_TAG: ClassVar[int] = 12
    epoch: Epoch
    nonce: Hash
    certificate: Certificate | None
    beyond: bool
    signer: ValidatorIndex
    sig: Signature


Message = (
    Proposal
    | Vote
    | Certificate
    | FaultNotice
    | GetCertificate
    | GetBlock
    | NotFound
    | GetChain
    | Chain
    | Status
    | AmnesiaProbe
    | AmnesiaReply
)


def encode_message(message: Message) -> bytes:
    """The canonical bytes of a message, its tag included."""
    return encode(message)


def decode_message(data: bytes) -> Message:
    """The message in `data`, at most MAX_MESSAGE_BYTES. Raises DecodeError on anything else."""
    return decode(Message, data, limit=MAX_MESSAGE_BYTES)  # type: ignore[arg-type]  # a union is a wire type


def epoch_of(message: Message) -> Epoch | None:
    """The epoch that a message belongs to; None for what is asked and answered across epochs."""
    if isinstance(message, Proposal):
        return message.header.epoch
    if isinstance(message, GetChain | Chain | NotFound):
        return None
    return message.epoch


def certificate_hash(certificate: Certificate | None) -> Hash:
    """A name for a certificate; zero for none."""
    return ZERO_HASH if certificate is None else hash_tagged(b"TALLY/certificate/1", encode(certificate))


def amnesia_reply_hash(certificate: Certificate | None, beyond: bool) -> Hash:
    """What an AmnesiaReply's signature binds beside the nonce."""
    return hash_tagged(b"TALLY/amnesia/1", certificate_hash(certificate), bytes([beyond]))
