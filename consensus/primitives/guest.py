"""What crosses between a chain and a guest: origins, calls, outcomes (DESIGN.md sections 6 and 7).

Shared by the relay transition, which decides what a call means, and by `enclaves`, which runs it: neither
imports the other. A guest's keys and values are raw bytes here; which tree they live in is the caller's
business.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Protocol

from consensus.primitives.codec import U8, MaxLength
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ChainId, Fuel, Hash, Height, Milliseconds, ModuleId, PublicKey

MAX_INPUT_BYTES: Final = 2 * 1024 * 1024
MAX_OUTPUT_BYTES: Final = 64 * 1024
MAX_KEY_BYTES: Final = 256
MAX_VALUE_BYTES: Final = 64 * 1024
MAX_MESSAGE_BYTES: Final = 16 * 1024
MAX_MESSAGES: Final = 256
MAX_EVENT_BYTES: Final = 4 * 1024
MAX_EVENTS: Final = 1024
ABI_VERSION: Final = 1  # docs/guest-abi.md; kept for ever, as the fuel schedule is
FUEL_SCHEDULE: Final = 0  # the engine's own metering; DESIGN.md section 7


def module_id(wasm: bytes) -> ModuleId:
    """What names an enclave for ever: H(tag ‖ abi version ‖ fuel schedule ‖ wasm) (DESIGN.md section 7)."""
    return ModuleId(hash_tagged(b"PHALANX/module/1", bytes([ABI_VERSION, FUEL_SCHEDULE]), wasm))


def code_hash(wasm: bytes) -> Hash:
    """What names code of either kind in caches, in a chain's record and in the relay tree."""
    return hash_tagged(b"PHALANX/code/1", bytes([ABI_VERSION, FUEL_SCHEDULE]), wasm)


class Policy(enum.IntEnum):
    """How a consumer chain's candidates come to be believed (DESIGN.md section 6)."""

    REPLICATED = 1
    SUBSET = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEndpoint:
    """A consumer chain, as one end of a lane."""

    WIRE_TAG: ClassVar[int] = 1
    chain: ChainId


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceEndpoint:
    """An enclave instance: one module's tree on behalf of one chain (`RELAY_CHAIN` for the shared tree)."""

    WIRE_TAG: ClassVar[int] = 2
    module: ModuleId
    chain: ChainId


Endpoint = ChainEndpoint | InstanceEndpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayEndpoint:
    """The relay chain itself, as the source of its notices to consumer chains. Nothing can be sent to it."""

    WIRE_TAG: ClassVar[int] = 3


InboxSource = InstanceEndpoint | RelayEndpoint
"""Where what waits for a consumer chain comes from. Chains do not message each other but through enclaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserOrigin:
    """The call was signed by this account."""

    WIRE_TAG: ClassVar[int] = 1
    account: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainOrigin:
    """The call came from this consumer chain's enacted candidate, believed under this policy."""

    WIRE_TAG: ClassVar[int] = 2
    chain: ChainId
    policy: U8


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceOrigin:
    """The call came from the code of this module, running for this chain."""

    WIRE_TAG: ClassVar[int] = 3
    module: ModuleId
    chain: ChainId


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOrigin:
    """The call comes from the protocol itself: a consumer chain's block is run, not called."""

    WIRE_TAG: ClassVar[int] = 4


Origin = UserOrigin | ChainOrigin | InstanceOrigin | RelayOrigin


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message that a guest sent; it takes effect only if the call does."""

    destination: Endpoint
    payload: Annotated[bytes, MaxLength(MAX_MESSAGE_BYTES)]


class GuestKind(enum.IntEnum):
    """Which of the two kinds of guest runs; both see the same ABI."""

    ENCLAVE = 1
    CHAIN = 2


class Status(enum.IntEnum):
    """How a call ended. Everything but OK rolls back whole, and is the same on every machine."""

    OK = 0
    FAILED = 1  # the guest returned an error of its own or called `abort`
    TRAPPED = 2  # illegal instruction, out-of-bounds, stack exhausted, bad use of the ABI
    OUT_OF_FUEL = 3
    OVERSIZE = 4  # a cap above was passed
    ENGINE_FAULT = 5  # killed its worker three times (DESIGN.md section 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestCall:
    """One entry into a guest. `code` is the Wasm module; `code_hash` names it in caches."""

    kind: GuestKind
    code_hash: Hash
    code: bytes
    module: ModuleId  # zero for a consumer chain's validation code
    chain: ChainId
    origin: Origin
    height: Height
    time_ms: Milliseconds
    input: bytes
    fuel_limit: Fuel


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestOutcome:
    """What a call did. Unless `status` is OK, all but `fuel_used` and `reason` are empty.

    `writes` are sorted by key, one entry a key, None deletes. `reason` is for people: it is never hashed.
    """

    status: Status
    fuel_used: Fuel
    output: bytes = b""
    writes: tuple[tuple[bytes, bytes | None], ...] = ()
    outgoing: tuple[Outgoing, ...] = ()
    events: tuple[bytes, ...] = ()
    reason: str = ""


ReadState = Callable[[Sequence[bytes]], Sequence[bytes | None]]
"""Values of raw guest keys in the guest's own tree before the call; None where absent."""


class GuestExecutor(Protocol):
    """Runs guests in isolation. Given to the relay transition as an argument."""

    def call(self, call: GuestCall, read: ReadState) -> GuestOutcome:
        """Run one call to its end. Raises LocalFault if this machine can not; never for what a guest does."""
        ...

    def admit(self, wasm: bytes) -> str | None:
        """Why `wasm` is refused as a guest, or None if it is admitted. The same answer on every machine.

        Raises LocalFault if this machine can not tell.
        """
        ...
