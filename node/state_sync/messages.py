"""Wire types of state sync, lane BULK. Unsigned: what is final proves itself, the rest is only advice."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, get_args

from consensus.agreement.messages import MAX_BLOCK_BYTES, MAX_MESSAGE_BYTES, FinalityProof, Header
from consensus.light.proofs import EpochHop, Start
from consensus.primitives.codec import MaxLength, decode, encode
from consensus.primitives.ids import Epoch, Hash, Height
from consensus.primitives.tree import piece_bytes_limit

PIECE_BYTES: Final = 256 * 1024  # after which a piece takes no further leaf
MAX_PIECE_BYTES: Final = piece_bytes_limit(PIECE_BYTES)
MAX_OFFERS: Final = 8
MAX_HOPS: Final = 64
HOPS_BYTES: Final = 2 * 1024 * 1024  # after which an answer takes no further hop
MAX_FRAME_BYTES: Final = MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOffer:
    """Asks what a peer could serve."""

    WIRE_TAG: ClassVar[int] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the sender has: blocks of heights `oldest_block` to `final_height`, states of `snapshots`.

    `snapshots` ascend; they are the heights of final blocks after which the state is held for a while.
    """

    WIRE_TAG: ClassVar[int] = 2
    final_height: Height
    oldest_block: Height
    snapshots: Annotated[tuple[Height, ...], MaxLength(MAX_OFFERS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetSnapshot:
    """Asks for the proof of the state after the block at `height`."""

    WIRE_TAG: ClassVar[int] = 3
    height: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A final block, and what proves the state after it: the next header carries its root.

    `proof` shows that the block is final; its path is not empty, and its first header is that next one.
    """

    header: Header
    payload: Annotated[bytes, MaxLength(MAX_BLOCK_BYTES)]
    proof: FinalityProof


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotProof:
    """The answer to GetSnapshot; None if the sender does not hold that state, or no longer."""

    WIRE_TAG: ClassVar[int] = 4
    height: Height
    snapshot: Snapshot | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPiece:
    """Asks for the leaves from key `first` on of the tree under `root`, which is in the state at `height`."""

    WIRE_TAG: ClassVar[int] = 5
    height: Height
    root: Hash
    first: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceFound:
    """The answer to GetPiece: a witness (`consensus.primitives.tree.ranges`), never empty."""

    WIRE_TAG: ClassVar[int] = 6
    root: Hash
    first: Hash
    piece: Annotated[bytes, MaxLength(MAX_PIECE_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceGone:
    """The other answer: the sender does not hold that state, or no longer."""

    WIRE_TAG: ClassVar[int] = 7
    height: Height
    root: Hash
    first: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class GetHops:
    """Asks for the ends of epoch `epoch` and those after it."""

    WIRE_TAG: ClassVar[int] = 8
    epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class HopsFound:
    """Consecutive epochs' ends from `epoch` on; none if that epoch has not ended, or is not known."""

    WIRE_TAG: ClassVar[int] = 9
    epoch: Epoch
    hops: Annotated[tuple[EpochHop, ...], MaxLength(MAX_HOPS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetStart:
    """Asks for the header at `height` and the set of its epoch: what an operator's checkpoint leads to."""

    WIRE_TAG: ClassVar[int] = 10
    height: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFound:
    """The answer to GetStart; None if the sender has not got that block."""

    WIRE_TAG: ClassVar[int] = 11
    height: Height
    start: Start | None


Request = GetOffer | GetSnapshot | GetPiece | GetHops | GetStart
Answer = Offer | SnapshotProof | PieceFound | PieceGone | HopsFound | StartFound
SyncMessage = Request | Answer

_KINDS: Final[Mapping[int, type[SyncMessage]]] = {each.WIRE_TAG: each for each in get_args(SyncMessage)}


def kind_of(data: bytes) -> type[SyncMessage] | None:
    """What a frame says that it is, by its tag; None if it has none. Much shorter than decoding it: a frame
    may have megabytes, and be none that anybody asked for."""
    return _KINDS.get(data[1]) if len(data) > 1 else None


def encode_sync_message(message: SyncMessage) -> bytes:
    """The canonical bytes of a message, its tag included."""
    return encode(message)


def decode_sync_message(data: bytes) -> SyncMessage:
    """The message in `data`. Raises DecodeError on anything else."""
    return decode(SyncMessage, data, limit=MAX_FRAME_BYTES)  # type: ignore[arg-type]  # a union is a wire type
