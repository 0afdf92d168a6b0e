"""What a node and its guest worker say to each other over two pipes (STYLE.md, "wire types in one file").

A frame is a u32 little-endian length and one message. The node speaks first and then they alternate, so
neither ever waits to write while the other does:

    node                      worker
    ◄───────────────────────  Ready             once, when it can take a call
    Run | RunStateless |
    Prepare | Admit ────────►
    ◄───────────────────────  NeedCode          unless it compiled this code before
    Code ───────────────────►
    ◄───────────────────────  ReadRequest       any number of times, for Run only
    ReadReply ──────────────►
    ◄───────────────────────  Done | BadWitness | Admission | Unable
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Final

from consensus.primitives.codec import U8, MaxLength
from consensus.primitives.guest import (
    MAX_EVENT_BYTES,
    MAX_EVENTS,
    MAX_INPUT_BYTES,
    MAX_KEY_BYTES,
    MAX_MESSAGES,
    MAX_OUTPUT_BYTES,
    MAX_VALUE_BYTES,
    GuestCall,
    GuestKind,
    GuestOutcome,
    Origin,
    Outgoing,
    Status,
)
from consensus.primitives.ids import ChainId, Fuel, Hash, Height, Milliseconds, ModuleId
from consensus.primitives.tree import MAX_VALUE_BYTES as MAX_STORED_BYTES
from enclaves.abi import MAX_BATCH_ITEMS, MAX_WRITES
from enclaves.limits import DEFAULT_LIMITS

FRAME_LIMIT: Final = 256 * 1024 * 1024  # bytes; both ends are ours, it only stops nonsense
GUEST_NAMESPACE: Final = b"guest"  # of raw guest keys in a guest's own tree
WITNESS_LIMIT: Final = 64 * 1024 * 1024
REASON_LIMIT: Final = 1024

Key = Annotated[bytes, MaxLength(MAX_KEY_BYTES)]
Value = Annotated[bytes, MaxLength(MAX_VALUE_BYTES)]
Stored = Annotated[bytes, MaxLength(MAX_STORED_BYTES)]  # a genesis may hold longer values than a guest writes
Reason = Annotated[str, MaxLength(REASON_LIMIT)]


@dataclass(frozen=True, slots=True, kw_only=True)
class WireCall:
    """A GuestCall without its code."""

    kind: U8
    code_hash: Hash
    module: ModuleId
    chain: ChainId
    origin: Origin
    height: Height
    time_ms: Milliseconds
    input: Annotated[bytes, MaxLength(MAX_INPUT_BYTES)]
    fuel_limit: Fuel


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Run a call; the node serves its reads."""

    WIRE_TAG: ClassVar[int] = 1
    call: WireCall


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStateless:
    """Run a call over the partial tree in a witness."""

    WIRE_TAG: ClassVar[int] = 2
    call: WireCall
    pre_root: Hash
    witness: Annotated[bytes, MaxLength(WITNESS_LIMIT)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Compile a call's code ahead of its first run; answered by Done with nothing in it."""

    WIRE_TAG: ClassVar[int] = 3
    call: WireCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Admit:
    """Say whether these bytes may run as a guest; answered by Admission."""

    WIRE_TAG: ClassVar[int] = 6
    code: Annotated[bytes, MaxLength(DEFAULT_LIMITS.module_bytes)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """The module that NeedCode asked for."""

    WIRE_TAG: ClassVar[int] = 4
    code: Annotated[bytes, MaxLength(DEFAULT_LIMITS.module_bytes)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReply:
    """Values in the order of the keys asked for."""

    WIRE_TAG: ClassVar[int] = 5
    values: Annotated[tuple[Stored | None, ...], MaxLength(MAX_BATCH_ITEMS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The worker is warm."""

    WIRE_TAG: ClassVar[int] = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedCode:
    """The call's code is not compiled here."""

    WIRE_TAG: ClassVar[int] = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """Raw guest keys whose values the running guest needs."""

    WIRE_TAG: ClassVar[int] = 18
    keys: Annotated[tuple[Key, ...], MaxLength(MAX_BATCH_ITEMS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One changed key."""

    key: Key
    value: Value | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A GuestOutcome; `post_root` for RunStateless only."""

    WIRE_TAG: ClassVar[int] = 19
    status: U8
    fuel_used: Fuel
    output: Annotated[bytes, MaxLength(MAX_OUTPUT_BYTES)]
    writes: Annotated[tuple[Write, ...], MaxLength(MAX_WRITES)]
    outgoing: Annotated[tuple[Outgoing, ...], MaxLength(MAX_MESSAGES)]
    events: Annotated[tuple[Annotated[bytes, MaxLength(MAX_EVENT_BYTES)], ...], MaxLength(MAX_EVENTS)]
    reason: Reason
    post_root: Hash | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BadWitness:
    """The witness does not belong to the root, or lacks a key that the call touches."""

    WIRE_TAG: ClassVar[int] = 20
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Why the module is refused; None: it is admitted."""

    WIRE_TAG: ClassVar[int] = 22
    refusal: Reason | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unable:
    """This machine could not run the call: a local fault."""

    WIRE_TAG: ClassVar[int] = 21
    reason: Reason


FromNode = Run | RunStateless | Prepare | Admit | Code | ReadReply
FromWorker = Ready | NeedCode | ReadRequest | Done | BadWitness | Admission | Unable


def strip_code(call: GuestCall) -> WireCall:
    """What travels of a call."""
    return WireCall(
        kind=int(call.kind),
        code_hash=call.code_hash,
        module=call.module,
        chain=call.chain,
        origin=call.origin,
        height=call.height,
        time_ms=call.time_ms,
        input=call.input,
        fuel_limit=call.fuel_limit,
    )


def restore_call(wire: WireCall) -> GuestCall:
    """The call, its code still to be attached by `with_code`."""
    return GuestCall(
        kind=GuestKind(wire.kind),
        code_hash=wire.code_hash,
        code=b"",
        module=wire.module,
        chain=wire.chain,
        origin=wire.origin,
        height=wire.height,
        time_ms=wire.time_ms,
        input=wire.input,
        fuel_limit=wire.fuel_limit,
    )


def with_code(call: GuestCall, code: bytes) -> GuestCall:
    """The same call carrying its module."""
    return replace(call, code=code)


def shorten(reason: str) -> str:
    """A reason that fits the wire."""
    return reason.encode(errors="replace")[:REASON_LIMIT].decode(errors="ignore")


def done(outcome: GuestOutcome, post_root: Hash | None) -> Done:
    """The wire form of an outcome."""
    return Done(
        status=int(outcome.status),
        fuel_used=outcome.fuel_used,
        output=outcome.output,
        writes=tuple([Write(key=key, value=value) for key, value in outcome.writes]),
        outgoing=outcome.outgoing,
        events=outcome.events,
        reason=shorten(outcome.reason),
        post_root=post_root,
    )


def outcome_of(answer: Done) -> GuestOutcome:
    """The outcome that `done` wrapped."""
    return GuestOutcome(
        status=Status(answer.status),
        fuel_used=answer.fuel_used,
        output=answer.output,
        writes=tuple([(write.key, write.value) for write in answer.writes]),
        outgoing=answer.outgoing,
        events=answer.events,
        reason=answer.reason,
    )
