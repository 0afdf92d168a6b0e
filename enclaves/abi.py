"""Guest ABI version 1: the functions a guest may import, their limits and their prices (docs/guest-abi.md).

Crossing between Wasm and Python costs tens of microseconds, so every function that could be asked often
takes a batch: one crossing reads, writes, hashes or verifies as many items as a guest likes.

A guest is never trusted: each pointer and length is checked against its memory, each batch against its
length, each price charged before the work is done. A wrong pointer traps; a passed cap is OVERSIZE. Prices
are part of fuel schedule 0 and never change under that id.
"""

import struct
from collections.abc import Callable
from typing import Final, Protocol

from blake3 import blake3

from consensus.primitives.crypto import KEY_BYTES, SIGNATURE_BYTES, verify
from consensus.primitives.guest import (
    ABI_VERSION,
    MAX_EVENT_BYTES,
    MAX_EVENTS,
    MAX_KEY_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_MESSAGES,
    MAX_OUTPUT_BYTES,
    MAX_VALUE_BYTES,
    ChainEndpoint,
    ChainOrigin,
    Endpoint,
    GuestCall,
    InstanceEndpoint,
    InstanceOrigin,
    Origin,
    Outgoing,
    RelayOrigin,
    UserOrigin,
)
from consensus.primitives.ids import ChainId, ModuleId, PublicKey, Signature
from enclaves.bytecode import I32
from enclaves.faults import GuestFailed, GuestOversize, GuestTrap
from enclaves.overlay import Overlay

NAMESPACE: Final = "phalanx"
ENTRY: Final = "phalanx_call"

MAX_BATCH_ITEMS: Final = 65_536
MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
MAX_WRITES: Final = 65_536  # distinct keys of one call
MAX_WRITE_BYTES: Final = 4 * 1024 * 1024  # keys and values of one call
MAX_REASON_BYTES: Final = 256
ABSENT: Final = 0xFFFF_FFFF  # in place of a length: no value

_READ_CHUNK: Final = 1_024  # keys fetched at once, at most

# --- prices of fuel schedule 0, in fuel; one unit is about one instruction of the guest
PRICE_CALL: Final = 2_000
PRICE_BYTE: Final = 1  # of every byte that crosses, either way
PRICE_READ: Final = 8_000  # per key of state_get
PRICE_WRITE: Final = 12_000  # per entry of state_set
PRICE_WRITE_BYTE: Final = 16  # per byte of its key and value
PRICE_MESSAGE: Final = 20_000
PRICE_EVENT: Final = 2_000
PRICE_HASH: Final = 600  # per item of blake3
PRICE_VERIFY: Final = 80_000  # per item of ed25519_verify

_LONGEST_VALUE_PRICE: Final = MAX_VALUE_BYTES * PRICE_BYTE  # of handing out one value, were it the longest

_CONTEXT: Final = struct.Struct("<IIQQII32s32sIIIIQ")
CONTEXT_BYTES: Final = _CONTEXT.size  # 120
_U32: Final = struct.Struct("<I")
_MESSAGE_HEAD: Final = struct.Struct("<B32sII")


class Machine(Protocol):
    """The guest's memory and fuel, as the sandbox lends them for one call."""

    def read(self, pointer: int, length: int) -> bytes:
        """A copy of guest memory. Raises GuestTrap when any of it lies outside."""
        ...

    def write(self, pointer: int, data: bytes) -> None:
        """Raises GuestTrap when any of it would lie outside."""
        ...

    def charge(self, fuel: int) -> None:
        """Raises FuelExhausted, with nothing left, if the guest has less."""
        ...

    def fuel(self) -> int:
        """What is left."""
        ...


def _signature(parameters: int, results: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (I32,) * parameters, (I32,) * results


SIGNATURES: Final = {
    "context": _signature(1, 0),
    "input": _signature(3, 0),
    "output": _signature(2, 0),
    "state_get": _signature(4, 1),
    "state_set": _signature(2, 0),
    "send": _signature(2, 0),
    "emit": _signature(2, 0),
    "blake3": _signature(3, 0),
    "ed25519_verify": _signature(3, 0),
    "abort": _signature(2, 0),
}


class HostCalls:
    """What the host does for one call of one guest. Integers from the guest arrive as unsigned 32-bit."""

    def __init__(self, call: GuestCall, overlay: Overlay, machine: Machine) -> None:
        self._call = call
        self._overlay = overlay
        self._machine = machine
        self.output = b""
        self.outgoing: list[Outgoing] = []
        self.events: list[bytes] = []
        self.crossings = 0

    def table(self) -> dict[str, Callable[..., int | None]]:
        """The implementation of each name in `SIGNATURES`."""
        return {
            "context": self._do_context,
            "input": self._do_input,
            "output": self._do_output,
            "state_get": self._do_state_get,
            "state_set": self._do_state_set,
            "send": self._do_send,
            "emit": self._do_emit,
            "blake3": self._do_blake3,
            "ed25519_verify": self._do_verify,
            "abort": self._do_abort,
        }

    # --- the call

    def _do_context(self, pointer: int) -> None:
        self._pay(CONTEXT_BYTES)
        self._machine.write(pointer, _encode_context(self._call))

    def _do_input(self, pointer: int, offset: int, length: int) -> None:
        self._pay(length)
        if offset + length > len(self._call.input):
            raise GuestTrap(f"input: bytes {offset} to {offset + length} of {len(self._call.input)}")
        self._machine.write(pointer, self._call.input[offset : offset + length])

    def _do_output(self, pointer: int, length: int) -> None:
        self._pay(length)
        if length > MAX_OUTPUT_BYTES:
            raise GuestOversize(f"output: {length} bytes, the limit is {MAX_OUTPUT_BYTES}")
        self.output = self._machine.read(pointer, length)

    def _do_abort(self, pointer: int, length: int) -> None:
        self._pay(min(length, MAX_REASON_BYTES))
        text = self._machine.read(pointer, min(length, MAX_REASON_BYTES))
        raise GuestFailed(text.decode(errors="replace"), self._machine.fuel())

    # --- state

    def _do_state_get(self, pointer: int, length: int, out: int, capacity: int) -> int:
        batch = self._batch(pointer, length, "state_get")
        self._machine.charge(batch.items * PRICE_READ)
        keys = [batch.sized(MAX_KEY_BYTES, "key") for _ in range(batch.items)]
        batch.finish()
        values: list[bytes | None] = []
        size = 0
        while len(values) < len(keys):
            start = len(values)
            affordable = self._machine.fuel() // _LONGEST_VALUE_PRICE
            chunk = self._overlay.read(keys[start : start + min(max(affordable, 1), _READ_CHUNK)])
            moved = sum(4 if value is None else 4 + len(value) for value in chunk)
            self._machine.charge(moved * PRICE_BYTE)
            size += moved
            if size > MAX_BATCH_BYTES:
                raise GuestOversize(f"state_get: more than {MAX_BATCH_BYTES} bytes in one answer")
            values += chunk
        if size <= capacity:
            self._machine.write(out, b"".join([_encode_value(value) for value in values]))
        return size

    def _do_state_set(self, pointer: int, length: int) -> None:
        batch = self._batch(pointer, length, "state_set")
        self._machine.charge(batch.items * PRICE_WRITE + length * PRICE_WRITE_BYTE)
        for _ in range(batch.items):
            key = batch.sized(MAX_KEY_BYTES, "key")
            self._overlay.write(key, batch.sized_or_absent(MAX_VALUE_BYTES, "value"))
        batch.finish()
        if self._overlay.written_keys > MAX_WRITES or self._overlay.written_bytes > MAX_WRITE_BYTES:
            raise GuestOversize(f"state_set: more than {MAX_WRITES} keys or {MAX_WRITE_BYTES} bytes written")

    # --- what leaves the call

    def _do_send(self, pointer: int, length: int) -> None:
        batch = self._batch(pointer, length, "send")
        self._machine.charge(batch.items * PRICE_MESSAGE)
        for _ in range(batch.items):
            kind, module, chain, size = _MESSAGE_HEAD.unpack(batch.take(_MESSAGE_HEAD.size))
            if size > MAX_MESSAGE_BYTES:
                raise GuestOversize(f"send: a message of {size} bytes, the limit is {MAX_MESSAGE_BYTES}")
            destination = _endpoint(kind, module, chain)
            self.outgoing.append(Outgoing(destination=destination, payload=batch.take(size)))
        batch.finish()
        if len(self.outgoing) > MAX_MESSAGES:
            raise GuestOversize(f"send: more than {MAX_MESSAGES} messages in one call")

    def _do_emit(self, pointer: int, length: int) -> None:
        batch = self._batch(pointer, length, "emit")
        self._machine.charge(batch.items * PRICE_EVENT)
        self.events += [batch.sized(MAX_EVENT_BYTES, "event") for _ in range(batch.items)]
        batch.finish()
        if len(self.events) > MAX_EVENTS:
            raise GuestOversize(f"emit: more than {MAX_EVENTS} events in one call")

    # --- cryptography

    def _do_blake3(self, pointer: int, length: int, out: int) -> None:
        batch = self._batch(pointer, length, "blake3")
        self._machine.charge(batch.items * (PRICE_HASH + 32 * PRICE_BYTE))
        digests = [blake3(batch.sized(MAX_BATCH_BYTES, "item")).digest() for _ in range(batch.items)]
        batch.finish()
        self._machine.write(out, b"".join(digests))

    def _do_verify(self, pointer: int, length: int, out: int) -> None:
        batch = self._batch(pointer, length, "ed25519_verify")
        self._machine.charge(batch.items * (PRICE_VERIFY + PRICE_BYTE))
        verdicts = bytearray()
        for _ in range(batch.items):
            public = PublicKey(batch.take(KEY_BYTES))
            signature = Signature(batch.take(SIGNATURE_BYTES))
            verdicts.append(verify(public, batch.sized(MAX_BATCH_BYTES, "message"), signature))
        batch.finish()
        self._machine.write(out, bytes(verdicts))

    # --- common to all

    def _pay(self, moved: int) -> None:
        self.crossings += 1
        self._machine.charge(PRICE_CALL + moved * PRICE_BYTE)

    def _batch(self, pointer: int, length: int, name: str) -> "_Batch":
        self._pay(length)
        if length > MAX_BATCH_BYTES:
            raise GuestOversize(f"{name}: a batch of {length} bytes, the limit is {MAX_BATCH_BYTES}")
        return _Batch(self._machine.read(pointer, length), name)


class _Batch:
    """A batch in guest memory: a u32 count, then the items. Must be exactly as long as it says."""

    __slots__ = ("_data", "_name", "_position", "items")

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self._position = 0
        self.items = self._u32()
        if self.items > MAX_BATCH_ITEMS:
            raise GuestOversize(f"{name}: {self.items} items, the limit is {MAX_BATCH_ITEMS}")

    def take(self, length: int) -> bytes:
        start = self._position
        self._position = start + length
        if self._position > len(self._data):
            raise GuestTrap(f"{self._name}: the batch ends inside an item")
        return self._data[start : self._position]

    def _u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def sized(self, limit: int, what: str) -> bytes:
        length = self._u32()
        if length > limit:
            raise GuestOversize(f"{self._name}: a {what} of {length} bytes, the limit is {limit}")
        return self.take(length)

    def sized_or_absent(self, limit: int, what: str) -> bytes | None:
        start = self._position
        if self._u32() == ABSENT:
            return None
        self._position = start
        return self.sized(limit, what)

    def finish(self) -> None:
        if self._position != len(self._data):
            raise GuestTrap(f"{self._name}: bytes after the last item")


def _encode_value(value: bytes | None) -> bytes:
    return _U32.pack(ABSENT) if value is None else _U32.pack(len(value)) + value


def _endpoint(kind: int, module: bytes, chain: int) -> Endpoint:
    if kind == ChainEndpoint.WIRE_TAG and not any(module):
        return ChainEndpoint(chain=ChainId(chain))
    if kind == InstanceEndpoint.WIRE_TAG:
        return InstanceEndpoint(module=ModuleId(module), chain=ChainId(chain))
    raise GuestTrap(f"send: no destination of kind {kind}")


def _encode_context(call: GuestCall) -> bytes:
    kind, identity, chain, policy = _encode_origin(call.origin)
    return _CONTEXT.pack(
        ABI_VERSION,
        call.kind,
        call.height,
        call.time_ms,
        call.chain,
        kind,
        call.module,
        identity,
        chain,
        policy,
        len(call.input),
        0,
        call.fuel_limit,
    )


def _encode_origin(origin: Origin) -> tuple[int, bytes, int, int]:
    match origin:
        case UserOrigin(account=account):
            return origin.WIRE_TAG, account, 0, 0
        case ChainOrigin(chain=chain, policy=policy):
            return origin.WIRE_TAG, bytes(32), chain, policy
        case InstanceOrigin(module=module, chain=chain):
            return origin.WIRE_TAG, module, chain, 0
        case RelayOrigin():
            return origin.WIRE_TAG, bytes(32), 0, 0
