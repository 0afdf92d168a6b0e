"""The stack meter: its charge bounds the native frame for the worst shapes of function."""

import pytest
from guest_tools import call_of, guest, run, u32

from consensus.primitives.guest import Status
from enclaves import execute, sandbox
from enclaves.sandbox import Sandbox
from enclaves.stack_meter import NATIVE_MARGIN, NATIVE_STACK_BYTES


def endless(signature: str, body: str, arguments: str = "") -> bytes:
    """A guest whose function `$deep` calls itself for ever."""
    return guest(f"(drop (call $deep {arguments})) (i32.const 0)", extra=f"(func $deep {signature} {body})")


def many_locals(count: int) -> bytes:
    loads = "".join(f"(local.set {i + 1} (i32.load offset={4 * i} (i32.const 0)))" for i in range(count))
    total = "(local.get 1)" + "".join(f"(i32.xor (local.get {i + 1}))" for i in range(1, count))
    total = "(drop (call $deep (i32.add (local.get 0) (i32.const 1))))" + total
    return endless(f"(param i32) (result i32) (local {'i32 ' * count})", loads + total, "(i32.const 0)")


def many_operands(count: int) -> bytes:
    loads = "".join(f"(i64.load offset={8 * i} (i32.const 0))" for i in range(count))
    body = f"{loads} (call $deep (i32.add (local.get 0) (i32.const 1))) {'(i64.xor)' * count}"
    return endless("(param i32) (result i64)", body, "(i32.const 0)")


def many_arguments() -> bytes:
    passed = "".join(f"(local.get {i})" for i in range(10))
    return endless(
        f"(param {'i32 ' * 10}) (result i32)",
        f"(call $deep {passed}) (i32.add (local.get 9))",
        "(i32.const 1)" * 10,
    )


SHAPES = {
    "smallest": endless("(result i32)", "(call $deep)"),
    "arguments": many_arguments(),
    "50 locals": many_locals(50),
    "400 locals": many_locals(400),
    "30 operands": many_operands(30),
    "400 operands": many_operands(400),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bound_holds_without_its_margin(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a native stack of the bound alone the meter ends the call; in use it has a margin."""
    monkeypatch.setattr(sandbox, "NATIVE_STACK_BYTES", NATIVE_STACK_BYTES // NATIVE_MARGIN)
    monkeypatch.setattr(execute, "_sandboxes", [Sandbox()])
    outcome = run(call_of(SHAPES[shape], fuel=10**9))
    assert (outcome.status, outcome.reason) == (Status.TRAPPED, "unreachable")


def test_metering_leaves_results_alone() -> None:
    extra = """(func $fib (param i32) (result i32) (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                     (call $fib (i32.sub (local.get 0) (i32.const 2)))))))"""
    answer = "(call $output (i32.const 0) (i32.const 4)) (i32.const 0)"
    body = f"(i32.store (i32.const 0) (call $fib (i32.const 15))) {answer}"
    assert run(call_of(guest(body, extra=extra))).output == u32(610)
    with_global = "(global $g (mut i32) (i32.const 5))" + extra
    body = body.replace("(i32.const 15)", "(i32.add (global.get $g) (i32.const 10))")
    assert run(call_of(guest(body, extra=with_global))).output == u32(610)
