"""What a validator must remember across a crash, as records of bytes (CONSENSUS.md section 13.1).

The engine emits records in the order in which they must become durable; the node frames a turn's records as
one group with a checksum, appends them, syncs, and only then lets the turn's messages leave. `None` in place
of a list of records means that the journal is gone: amnesia (section 13.4). Everything here is pure.

One record is the canonical msgpack array of its type, tag first, rather than the fixed layout that section
13.1 sketches: one codec for the wire and the disk, and blocks, certificates and reasons have no fixed width.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.agreement.messages import (
    MAX_BLOCK_BYTES,
    Certificate,
    Header,
    Justification,
    LeaderFault,
)
from consensus.agreement.statements import Statement
from consensus.primitives.codec import U8, MaxLength, decode, encode
from consensus.primitives.ids import Epoch, Hash, Height, Signature, View

MAX_RECORD_BYTES: Final = MAX_BLOCK_BYTES + 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRecord:
    """An own PROPOSE signature or vote; must be durable before the signature leaves."""

    WIRE_TAG: ClassVar[int] = 1
    kind: U8
    epoch: Epoch
    view: View
    block: Hash
    aux: Hash
    sig: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRecord:
    """A certificate that the next vote relies on, for entry or as support of a parent.

    The certificates that an honest node must retain for EVIDENCE_EPOCHS (section 17.2) are exactly these: a
    node archives them as they pass.
    """

    WIRE_TAG: ClassVar[int] = 2
    certificate: Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRecord:
    """A proposed or voted block: header, sigL and body, before the vote for it."""

    WIRE_TAG: ClassVar[int] = 3
    header: Header
    leader_sig: Signature
    payload: Annotated[bytes, MaxLength(MAX_BLOCK_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonRecord:
    """The first votes that made the rule of an SFALL or NFALL true, before that vote."""

    WIRE_TAG: ClassVar[int] = 4
    epoch: Epoch
    view: View
    kind: U8
    block: Hash
    reason: Justification


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRecord:
    """A LeaderFault known before the next vote in its view."""

    WIRE_TAG: ClassVar[int] = 5
    epoch: Epoch
    view: View
    fault: LeaderFault


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorRecord:
    """Everything of views up to `view` is forgotten: that final block is durable in the store."""

    WIRE_TAG: ClassVar[int] = 6
    epoch: Epoch
    view: View
    height: Height
    block: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class BarRecord:
    """amnesia_bar: nothing is signed in views up to and including it.

    `beyond` False: the probe showed that no later epoch had begun when the memory was lost, so that nothing
    was forgotten about those; else each wants a probe of its own.
    """

    WIRE_TAG: ClassVar[int] = 7
    epoch: Epoch
    view: View
    beyond: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementRecord:
    """An own verdict on a candidate."""

    WIRE_TAG: ClassVar[int] = 8
    epoch: Epoch
    statement: Statement
    sig: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class AmnesiaRecord:
    """The first record of a journal that replaces a lost one: until a BarRecord follows, nothing is signed.

    Without it a crash during the probe would leave an empty journal, which means "never signed anything". It
    weighs on every later epoch too, until a probe clears those or a key takes effect that is newer than it.
    """

    WIRE_TAG: ClassVar[int] = 9
    epoch: Epoch
    nonce: Hash


JournalRecord = (
    SignedRecord
    | CertificateRecord
    | BlockRecord
    | ReasonRecord
    | FaultRecord
    | FloorRecord
    | BarRecord
    | StatementRecord
    | AmnesiaRecord
)


AmnesiaMark = AmnesiaRecord | BarRecord
"""What a journal must say about lost memory for longer than one epoch."""


def record_epoch(record: JournalRecord) -> Epoch:
    """The epoch that a record is about."""
    if isinstance(record, CertificateRecord):
        return record.certificate.epoch
    if isinstance(record, BlockRecord):
        return record.header.epoch
    return record.epoch


def encode_record(record: JournalRecord) -> bytes:
    """The canonical bytes of one record, without framing."""
    return encode(record)


def decode_record(data: bytes) -> JournalRecord:
    """The record in `data`. Raises DecodeError: the caller decides whether that is a torn tail or a fault."""
    return decode(JournalRecord, data, limit=MAX_RECORD_BYTES)  # type: ignore[arg-type]  # a union is a wire type
