"""Guest ABI v1: what each function does, what it refuses, and that a call which is not OK leaves nothing."""

import struct

import pytest
from blake3 import blake3
from guest_tools import batch, call_of, guest, run, sized, u32
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.primitives.crypto import SigningKey
from consensus.primitives.errors import LocalFault
from consensus.primitives.guest import (
    MAX_EVENTS,
    MAX_MESSAGES,
    ChainEndpoint,
    ChainOrigin,
    GuestCall,
    GuestKind,
    GuestOutcome,
    InstanceEndpoint,
    InstanceOrigin,
    Origin,
    Outgoing,
    RelayOrigin,
    Status,
    UserOrigin,
)
from consensus.primitives.ids import SecretSeed
from enclaves import abi
from enclaves.execute import execute
from enclaves.stack_meter import STACK_SLOTS

ANSWER = "(call $output (i32.const 0) (i32.const 4)) (i32.const 0)"
TO_CHAIN = b"\x01" + bytes(32) + u32(9)


def ok(code: bytes, data: bytes = b"", **more: object) -> GuestOutcome:
    outcome = run(call_of(code, data), **more)  # type: ignore[arg-type]
    assert outcome.status is Status.OK, outcome.reason
    return outcome


def assert_rolled_back(outcome: GuestOutcome, status: Status) -> None:
    assert outcome.status is status, (outcome.status, outcome.reason)
    assert (outcome.output, outcome.writes, outcome.outgoing, outcome.events) == (b"", (), (), ())
    assert outcome.reason


def test_input_and_output() -> None:
    echo = guest(
        "(call $input (i32.const 8) (i32.const 1) (i32.const 3))"
        "(call $output (i32.const 8) (i32.const 3)) (i32.const 0)"
    )
    assert ok(echo, b"-abc-").output == b"abc"


@pytest.mark.parametrize(
    ("origin", "tail"),
    [
        (UserOrigin(account=b"\x05" * 32), (1, b"\x05" * 32, 0, 0)),
        (ChainOrigin(chain=4, policy=1), (2, bytes(32), 4, 1)),
        (InstanceOrigin(module=b"\x06" * 32, chain=8), (3, b"\x06" * 32, 8, 0)),
        (RelayOrigin(), (4, bytes(32), 0, 0)),
    ],
)
def test_context(origin: Origin, tail: tuple[int, bytes, int, int]) -> None:
    code = guest(
        "(call $context (i32.const 0))"
        f"(call $output (i32.const 0) (i32.const {abi.CONTEXT_BYTES})) (i32.const 0)"
    )
    call = call_of(code, b"four", origin=origin, module=b"\x09" * 32, chain=3, kind=GuestKind.CHAIN)
    kind, identity, chain, policy = tail
    expected = struct.pack("<IIQQII", 1, 2, 5, 1_700_000_000_000, 3, kind) + b"\x09" * 32 + identity
    expected += struct.pack("<IIIIQ", chain, policy, 4, 0, call.fuel_limit)
    assert run(call).output == expected
    assert len(expected) == abi.CONTEXT_BYTES == 120


def test_state_is_read_in_one_request_and_own_writes_are_seen() -> None:
    keys = batch(sized(b"a"), sized(b"b"), sized(b"a"), sized(b"c"))
    writes = batch(sized(b"b") + sized(b"new"), sized(b"a") + u32(abi.ABSENT), sized(b"z") + sized(b""))
    body = f"""
      (drop (call $state_get (i32.const 0) (i32.const {len(keys)}) (i32.const 1000) (i32.const 500)))
      (call $state_set (i32.const {len(keys)}) (i32.const {len(writes)}))
      (call $output (i32.const 1000)
        (call $state_get (i32.const 0) (i32.const {len(keys)}) (i32.const 1000) (i32.const 500)))
      (i32.const 0)"""
    requests = []

    def read(wanted: list[bytes]) -> list[bytes | None]:
        requests.append(list(wanted))
        return [{b"a": b"1", b"b": b"2"}.get(key) for key in wanted]

    outcome = execute(call_of(guest(body, keys + writes)), read)
    assert requests == [[b"a", b"b", b"c"]]
    assert outcome.output == u32(abi.ABSENT) + sized(b"new") + u32(abi.ABSENT) * 2
    assert outcome.writes == ((b"a", None), (b"b", b"new"), (b"z", b""))


def test_state_get_says_how_much_room_it_needs_and_writes_nothing_beyond() -> None:
    keys = batch(sized(b"k"))
    body = f"""(i32.store (i32.const 200)
        (call $state_get (i32.const 0) (i32.const {len(keys)}) (i32.const 100) (i32.const 8)))
      (call $output (i32.const 100) (i32.const 104)) (i32.const 0)"""
    outcome = ok(guest(body, keys), state={b"k": b"12345"})
    assert outcome.output == bytes(100) + u32(9)


def test_state_get_fetches_no_more_than_the_fuel_that_is_left_could_pay_for() -> None:
    """A thousand keys cost eight million; their values of 64 KiB would be sixty-four million bytes."""
    keys = batch(*(sized(u32(number)) for number in range(1_000)))
    body = f"(call $state_get (i32.const 0) (i32.const {len(keys)}) (i32.const 0) (i32.const 0))"
    fetched = 0

    def read(wanted: list[bytes]) -> list[bytes | None]:
        nonlocal fetched
        fetched += len(wanted)
        return [bytes(64 * 1024)] * len(wanted)

    outcome = execute(call_of(guest(body, keys), fuel=9_000_000), read)
    assert_rolled_back(outcome, Status.OUT_OF_FUEL)
    assert 10 < fetched <= 16


def test_send_emit_hash_and_verify() -> None:
    key = SigningKey(SecretSeed(bytes(32)))
    claim = key.public + key.sign(b"yes") + sized(b"yes")
    parts = {
        "send": batch(TO_CHAIN + sized(b"hi"), b"\x02" + b"\x07" * 32 + u32(3) + sized(b"")),
        "emit": batch(sized(b"event")),
        "blake3": batch(sized(b""), sized(b"abc")),
        "verify": batch(claim, key.public + bytes(64) + sized(b"yes"), bytes(96) + sized(b"")),
    }
    data, body = b"", ""
    for name, part in parts.items():
        out = {"blake3": "(i32.const 2000)", "verify": "(i32.const 2064)"}.get(name, "")
        body += f"(call ${name} (i32.const {len(data)}) (i32.const {len(part)}) {out})"
        data += part
    outcome = ok(guest(body + "(call $output (i32.const 2000) (i32.const 67)) (i32.const 0)", data))
    assert outcome.output == blake3(b"").digest() + blake3(b"abc").digest() + b"\x01\x00\x00"
    assert outcome.events == (b"event",)
    assert outcome.outgoing == (
        Outgoing(destination=ChainEndpoint(chain=9), payload=b"hi"),
        Outgoing(destination=InstanceEndpoint(module=b"\x07" * 32, chain=3), payload=b""),
    )


# --- a call that is not OK

DIRTY = batch(sized(b"k") + sized(b"v"))
MESSAGE = batch(TO_CHAIN + sized(b"m"))
EVENT = batch(sized(b"e"))
MESS = f"""
  (call $output (i32.const 0) (i32.const 4))
  (call $state_set (i32.const 0) (i32.const {len(DIRTY)}))
  (call $send (i32.const {len(DIRTY)}) (i32.const {len(MESSAGE)}))
  (call $emit (i32.const {len(DIRTY) + len(MESSAGE)}) (i32.const {len(EVENT)}))
"""
MESS_DATA = DIRTY + MESSAGE + EVENT


def test_the_mess_by_itself_takes_effect() -> None:
    outcome = ok(guest(MESS + "(i32.const 0)", MESS_DATA))
    assert outcome.writes
    assert outcome.outgoing
    assert outcome.events
    assert outcome.output


@pytest.mark.parametrize(
    ("end", "status", "reason"),
    [
        ("(unreachable)", Status.TRAPPED, "unreachable"),
        ("(i32.div_u (i32.const 1) (i32.const 0))", Status.TRAPPED, "division"),
        ("(i32.load (i32.const -4))", Status.TRAPPED, "out of bounds"),
        ("(call $output (i32.const -1) (i32.const 2)) (i32.const 0)", Status.TRAPPED, "outside the memory"),
        ("(i32.const 3)", Status.FAILED, "returned 3"),
        ("(call $abort (i32.const 4) (i32.const 4)) (i32.const 0)", Status.FAILED, "aborted"),
        ("(loop (br 0)) (i32.const 0)", Status.OUT_OF_FUEL, "fuel"),
        ("(call $output (i32.const 0) (i32.const 65537)) (i32.const 0)", Status.OVERSIZE, "limit"),
    ],
)
def test_rolls_back_whole(end: str, status: Status, reason: str) -> None:
    call = call_of(guest(MESS + end, MESS_DATA, pages=2))
    outcome = run(call)
    assert_rolled_back(outcome, status)
    assert reason in outcome.reason
    if status is Status.FAILED:
        assert 0 < outcome.fuel_used < call.fuel_limit
    else:
        assert outcome.fuel_used == call.fuel_limit


def test_an_inadmissible_module_traps() -> None:
    assert_rolled_back(run(call_of(b"not wasm")), Status.TRAPPED)


def test_data_beyond_the_memory_traps_at_the_start() -> None:
    from guest_tools import wat

    code = wat(
        '(module (memory (export "memory") 1) (data (i32.const 65535) "ab")'
        '(func (export "phalanx_call") (result i32) (i32.const 0)))'
    )
    assert_rolled_back(run(call_of(code)), Status.TRAPPED)


POINTER_CALLS = [
    "(call $context {p})",
    "(call $input {p} (i32.const 0) (i32.const 4))",
    "(call $output {p} (i32.const 4))",
    "(drop (call $state_get {p} (i32.const 4) (i32.const 0) (i32.const 0)))",
    "(drop (call $state_get (i32.const 0) (i32.const 9) {p} (i32.const 100)))",
    "(call $state_set {p} (i32.const 4))",
    "(call $send {p} (i32.const 4))",
    "(call $emit {p} (i32.const 4))",
    "(call $blake3 {p} (i32.const 4) (i32.const 0))",
    "(call $blake3 (i32.const 0) (i32.const 9) {p})",
    "(call $verify {p} (i32.const 4) (i32.const 0))",
    "(call $abort {p} (i32.const 4))",
]


@pytest.mark.parametrize("pointer", ["65533", "65536", "-1", "0x7fffffff", "0x80000000"])
@pytest.mark.parametrize("text", POINTER_CALLS)
def test_every_pointer_is_checked(text: str, pointer: str) -> None:
    code = guest(text.format(p=f"(i32.const {pointer})") + "(i32.const 0)", batch(sized(b"k")))
    assert_rolled_back(run(call_of(code, b"four")), Status.TRAPPED)


BATCHES = ["state_get", "state_set", "send", "emit", "blake3", "verify"]


def batch_call(name: str, data: bytes, length: int | None = None) -> bytes:
    rest = {
        "state_get": "(i32.const 60000) (i32.const 5000)",
        "blake3": "(i32.const 60000)",
        "verify": "(i32.const 60000)",
    }.get(name, "")
    called = f"(call ${name} (i32.const 0) (i32.const {len(data) if length is None else length}) {rest})"
    return guest((f"(drop {called})" if name == "state_get" else called) + "(i32.const 0)", data)


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("data", [b"", b"\x01", u32(1), u32(1) + u32(5) + b"abc", u32(0) + b"x"])
def test_a_batch_must_be_as_long_as_it_says(name: str, data: bytes) -> None:
    assert_rolled_back(run(call_of(batch_call(name, data))), Status.TRAPPED)


@pytest.mark.parametrize(
    ("name", "data", "length"),
    [
        ("state_get", batch(sized(bytes(257))), None),
        ("state_set", batch(sized(bytes(257)) + sized(b"")), None),
        ("state_set", u32(1) + sized(b"k") + u32(65537), None),
        ("send", u32(1) + TO_CHAIN + u32(16 * 1024 + 1), None),
        ("send", batch(*[TO_CHAIN + sized(b"")] * (MAX_MESSAGES + 1)), None),
        ("emit", batch(sized(bytes(4097))), None),
        ("emit", batch(*[sized(b"")] * (MAX_EVENTS + 1)), None),
        ("blake3", u32(65537), None),
        ("blake3", b"", abi.MAX_BATCH_BYTES + 1),
    ],
)
def test_caps(name: str, data: bytes, length: int | None) -> None:
    call = call_of(batch_call(name, data, length), fuel=10**9)
    assert_rolled_back(run(call), Status.OVERSIZE)


@pytest.mark.parametrize("head", [b"\x00" + bytes(36), b"\x03" + bytes(36), b"\x01" + b"\x01" * 32 + u32(1)])
def test_a_message_needs_a_destination(head: bytes) -> None:
    assert_rolled_back(run(call_of(batch_call("send", batch(head + sized(b""))))), Status.TRAPPED)


def test_host_functions_are_paid_before_they_work() -> None:
    code = batch_call("verify", batch(*[bytes(96) + sized(b"")] * 3))
    full = ok(code).fuel_used
    assert full > 3 * abi.PRICE_VERIFY
    assert run(call_of(code, fuel=full)).status is Status.OK
    assert_rolled_back(run(call_of(code, fuel=full - 100)), Status.OUT_OF_FUEL)

    def unreachable_read(_: object) -> list[bytes | None]:
        raise AssertionError("state was read before it was paid for")

    poor = call_of(batch_call("state_get", batch(sized(b"k"))), fuel=abi.PRICE_CALL + abi.PRICE_READ - 1)
    assert_rolled_back(execute(poor, unreachable_read), Status.OUT_OF_FUEL)


def test_memory_grows_to_the_cap_and_no_further() -> None:
    grow = f"(i32.store (i32.const 0) (memory.grow (i32.const {{}}))) {ANSWER}"
    assert ok(guest(grow.format(511))).output == u32(1)
    assert ok(guest(grow.format(512))).output == u32(0xFFFFFFFF)


def test_what_read_raises_passes_through() -> None:
    def broken(_: object) -> list[bytes | None]:
        raise LocalFault("the disk is gone")

    with pytest.raises(LocalFault, match="the disk is gone"):
        execute(call_of(batch_call("state_get", batch(sized(b"k")))), broken)
    assert run(call_of(guest("(i32.const 0)"))).status is Status.OK


# --- stack


def recursion(depth: int, indirect: bool = False) -> GuestCall:
    again = "(i32.sub (local.get 0) (i32.const 1))"
    step = f"(call_indirect (type $t) {again} (i32.const 0))" if indirect else f"(call $down {again})"
    extra = f"""(type $t (func (param i32) (result i32))) (table 1 funcref) (elem (i32.const 0) $down)
      (func $down (type $t) (if (result i32) (local.get 0)
        (then (i32.add (i32.const 1) {step})) (else (i32.const 0))))"""
    body = f"(i32.store (i32.const 0) (call $down (i32.const {depth}))) {ANSWER}"
    return call_of(guest(body, extra=extra), fuel=10**9)


@pytest.mark.parametrize("indirect", [False, True])
def test_the_stack_ends_by_count_long_before_the_native_one(indirect: bool) -> None:
    assert run(recursion(1000, indirect)).output == u32(1000)
    low, high = 1000, 1_000_000
    while high - low > 1:
        middle = (low + high) // 2
        outcome = run(recursion(middle, indirect))
        low, high = (middle, high) if outcome.status is Status.OK else (low, middle)
    outcome = run(recursion(high, indirect))
    assert_rolled_back(outcome, Status.TRAPPED)
    assert outcome.reason == "unreachable"  # the meter's own trap, not "stack overflow"
    charged = {False: 8 + 1 + 20 // 2, True: 8 + 1 + 23 // 2}[indirect]  # frame, locals, half the code
    assert low == STACK_SLOTS // charged - 1


@given(name=st.sampled_from(BATCHES), data=st.binary(max_size=120))
@settings(max_examples=60, deadline=None)
def test_any_batch_has_an_outcome(name: str, data: bytes) -> None:
    outcome = run(call_of(batch_call(name, data)))
    assert outcome.status in (Status.OK, Status.TRAPPED, Status.OVERSIZE, Status.OUT_OF_FUEL)
