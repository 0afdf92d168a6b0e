"""The light client's wire types: hops, final heads, questions and their answers, and the bundle of them all.

    LightProof = where it starts ‖ a hop for each epoch boundary ‖ a final header ‖ a question and its answer

Nothing here is checked but the encoding; `client` and `answers` verify. A file of a bundle ends in the hash
of what precedes it: a damaged file is told from a lie, and no bit of it can flip unnoticed. Some bits would
otherwise only change the question: that other key may be absent just as well.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.agreement.messages import FinalityProof, Header
from consensus.agreement.validators import ValidatorSetRecord
from consensus.primitives.codec import MaxLength, decode, encode
from consensus.primitives.crypto import HASH_BYTES, hash_tagged
from consensus.primitives.errors import DecodeError
from consensus.primitives.guest import MAX_KEY_BYTES
from consensus.primitives.ids import ChainId, Hash, ModuleId
from consensus.primitives.tree import TreeProof, verify_absence, verify_membership

MAX_HOPS: Final = 512  # epoch boundaries in one bundle
MAX_HOPS_BYTES: Final = 16 * 1024 * 1024
MAX_PROVEN_BYTES: Final = 4 * 1024 * 1024  # of a value
MAX_ANSWER_BYTES: Final = 2 * MAX_PROVEN_BYTES + 2 * 1024 * 1024
MAX_BUNDLE_BYTES: Final = MAX_HOPS_BYTES + MAX_ANSWER_BYTES
MAX_NAMESPACE_BYTES: Final = 32
_TAG: Final = b"PHALANX/light-proof/1"


# --- finality


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The block from which a bundle leads on, and the validator set of its epoch.

    Whoever verifies must know the block's hash from elsewhere; the set is what the block's header names.
    """

    header: Header
    validators: ValidatorSetRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalHead:
    """A header and what makes it final. It carries the post-state of its *parent*."""

    header: Header
    finality: FinalityProof


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochHop:
    """From one epoch to the next: the final boundary block, and the set that its header names."""

    boundary: FinalHead
    validators: ValidatorSetRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Hops:
    """Consecutive hops, as a node answers them; at most MAX_HOPS, so that there may be more to ask for."""

    WIRE_VERSION: ClassVar[int] = 1
    hops: Annotated[tuple[EpochHop, ...], MaxLength(MAX_HOPS)]


# --- what the state holds


@dataclass(frozen=True, slots=True, kw_only=True)
class StateProof:
    """What a key of a tree maps to, under the tree's root; `value` None: to nothing."""

    key: Hash
    value: Annotated[bytes, MaxLength(MAX_PROVEN_BYTES)] | None
    proof: TreeProof

    def holds_under(self, root: Hash) -> bool:
        """Whether the proof shows this under `root`."""
        if self.value is None:
            return verify_absence(root, self.key, self.proof)
        return verify_membership(root, self.key, self.value, self.proof)


_RawKey = Annotated[bytes, MaxLength(MAX_KEY_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeKey:
    """A leaf of the relay state, by its key in the tree."""

    WIRE_TAG: ClassVar[int] = 1
    key: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayKey:
    """A leaf of the relay state, by namespace and raw key."""

    WIRE_TAG: ClassVar[int] = 2
    namespace: Annotated[bytes, MaxLength(MAX_NAMESPACE_BYTES)]
    key: _RawKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainKey:
    """A raw key of a consumer chain's state, at its enacted head."""

    WIRE_TAG: ClassVar[int] = 3
    chain: ChainId
    key: _RawKey


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceKey:
    """A raw key of an enclave instance's state; chain 0 is the shared tree."""

    WIRE_TAG: ClassVar[int] = 4
    module: ModuleId
    chain: ChainId
    key: _RawKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptOf:
    """The receipt of this id among those of the block below the final header."""

    WIRE_TAG: ClassVar[int] = 5
    receipt: Hash


Question = TreeKey | RelayKey | ChainKey | InstanceKey | ReceiptOf


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A leaf of the relay state and, where that holds the root of another tree, a key of that tree."""

    question: Question
    leaf: StateProof
    inner: StateProof | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenAnswer:
    """An answer and the final header under whose state root it stands: what a node hands out."""

    WIRE_VERSION: ClassVar[int] = 1
    head: FinalHead
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class LightProof:
    """Everything that shows an answer to who trusts one block. `chain` is the network's genesis hash."""

    WIRE_VERSION: ClassVar[int] = 1
    chain: Hash
    start: Start
    hops: Annotated[tuple[EpochHop, ...], MaxLength(MAX_HOPS)]
    proven: ProvenAnswer


# --- bytes


def encode_proven_answer(proven: ProvenAnswer) -> bytes:
    """The bytes of an answer, for RPC."""
    return encode(proven)


def decode_proven_answer(data: bytes) -> ProvenAnswer:
    """The unchecked answer of `data`. Raises DecodeError."""
    return decode(ProvenAnswer, data, limit=MAX_ANSWER_BYTES)


def seal(tag: bytes, data: bytes) -> bytes:
    """The bytes of a file: `data`, then its hash."""
    return data + hash_tagged(tag, data)


def unseal(tag: bytes, data: bytes) -> bytes:
    """What `seal` was given. Raises DecodeError if the file is damaged or of another kind."""
    body, checksum = data[:-HASH_BYTES], data[-HASH_BYTES:]
    if hash_tagged(tag, body) != checksum:
        raise DecodeError("the file is damaged, or of another kind: its last 32 bytes are not its hash")
    return body


def encode_light_proof(proof: LightProof) -> bytes:
    """The bytes of a bundle's file."""
    return seal(_TAG, encode(proof))


def decode_light_proof(data: bytes) -> LightProof:
    """The unchecked bundle of a file. Raises DecodeError."""
    if len(data) > MAX_BUNDLE_BYTES:
        raise DecodeError(f"{len(data)} bytes; a bundle has at most {MAX_BUNDLE_BYTES}")
    return decode(LightProof, unseal(_TAG, data), limit=MAX_BUNDLE_BYTES)
