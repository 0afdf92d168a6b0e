"""Admission: every rule refuses with its reason, good modules pass, and garbage never crashes the scan."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from guest_tools import IMPORTS, guest, wat
from hypothesis import given, settings
from hypothesis import strategies as st

import enclaves
from enclaves.bytecode import OPCODES, encode_s32, encode_u32
from enclaves.guests import agora, assets
from enclaves.limits import DEFAULT_LIMITS
from enclaves.module import InvalidModule, admit, code_hash, module_id
from enclaves.stack_meter import meter_stack
from enclaves.worker import refusal_of

GOOD = guest("(i32.const 0)")
MEMORY = '(memory (export "memory") 1)'
ENTRY = '(func (export "phalanx_call") (result i32) (i32.const 0))'


def module(extra: str = "", body: str = "", memory: str = MEMORY, entry: str | None = None) -> bytes:
    called = f'(func (export "phalanx_call") (result i32) {body} (i32.const 0))' if entry is None else entry
    return wat(f"(module {memory} {extra} {called})")


REFUSED = {
    "empty": (b"", "magic"),
    "component": (b"\x00asm\x0d\x00\x01\x00", "magic"),
    "float parameter": (module("(func (param f32))"), "float type f32 in type"),
    "float result": (module("(func (result f64) (f64.const 1))"), "float type f64"),
    "float local": (module("(func (local f64))"), "float type f64 in the locals of function 0"),
    "float global": (module("(global f32 (f32.const 1))"), "float type f32 in global 0"),
    "float constant": (module(body="(drop (f32.const 1))"), "float instruction 0x43 in function 0"),
    "float load": (module(body="(drop (f64.load (i32.const 0)))"), "float instruction 0x2b"),
    "float store": (module(body="(f32.store (i32.const 0) (f32.const 0))"), "float instruction"),
    "float block": (module(body="(drop (block (result f32) (unreachable)))"), "yields no integer"),
    "float reinterpret": (module(body="(drop (f32.reinterpret_i32 (i32.const 0)))"), "0xbe"),
    "float convert": (module(body="(drop (f64.convert_i64_u (i64.const 0)))"), "0xba"),
    "saturating": (module(body="(drop (i32.trunc_sat_f32_s (unreachable)))"), "float instruction 0xfc"),
    "simd": (module(body="(drop (i8x16.splat (i32.const 0)))"), "SIMD"),
    "simd local": (module("(func (local v128))"), "SIMD type v128"),
    "atomic": (module(body="(drop (i32.atomic.load (i32.const 0)))"), "atomic"),
    "fence": (module(body="(atomic.fence)"), "atomic"),
    "shared memory": (module(memory='(memory (export "memory") 1 1 shared)'), "shared"),
    "memory64": (module(memory='(memory (export "memory") i64 1)'), "64-bit"),
    "two memories": (module("(memory 1)"), "2 memories"),
    "imported memory": (wat(f'(module (import "phalanx" "memory" (memory 1)) {ENTRY})'), "not a function"),
    "no memory": (wat(f"(module {ENTRY})"), 'does not export its memory as "memory"'),
    "hidden memory": (module(memory="(memory 1)"), "does not export its memory"),
    "big memory": (module(memory='(memory (export "memory") 513)'), "memory pages"),
    "no entry": (module(entry=""), 'does not export the function "phalanx_call"'),
    "entry type": (module(entry='(func (export "phalanx_call"))'), "another type"),
    "start": (module("(func $s) (start $s)"), "start function"),
    "externref": (module("(func (param externref))"), "reference type externref"),
    "ref.null": (module(body="(drop (ref.null func))"), "reference-type instruction"),
    "table.get": (module("(table 1 funcref)", "(drop (table.get (i32.const 0)))"), "reference-type"),
    "table.grow": (
        module("(table 1 funcref)", "(drop (table.grow (ref.null func) (i32.const 1)))"),
        "reference-type",
    ),
    "table.fill": (
        module("(table 1 funcref)", "(table.fill (i32.const 0) (unreachable) (i32.const 0))"),
        "table or unknown",
    ),
    "two tables": (module("(table 1 funcref) (table 1 funcref)"), "2 tables"),
    "big table": (module("(table 5000 funcref)"), "table elements"),
    "externref table": (module("(table 1 externref)"), "only funcref"),
    "passive data": (module('(data "abc")'), "not active"),
    "passive elements": (module("(table 1 funcref) (func $f) (elem func $f)"), "not active"),
    "memory.init": (module('(data $d "a")', body="(data.drop $d)"), "passive-segment"),
    "tail call": (module(body="(return_call 0)"), "tail call"),
    "multi-value": (module("(func (result i32 i32) (unreachable))"), "results in type"),
    "block parameters": (module(body="(i32.const 0) (block (param i32) (drop))"), "takes parameters"),
    "exception": (module("(tag)"), "unknown kind 13"),
    "gc type": (module("(type (struct))"), "only functions"),
    "unknown import": (
        wat(f'(module (import "wasi_snapshot_preview1" "fd_write" (func)) {MEMORY} {ENTRY})'),
        'unknown function "wasi_snapshot_preview1.fd_write"',
    ),
    "unknown name": (wat(f'(module (import "phalanx" "clock" (func)) {MEMORY} {ENTRY})'), "phalanx.clock"),
    "import type": (
        wat(f'(module (import "phalanx" "send" (func (param i32))) {MEMORY} {ENTRY})'),
        'imports "send" with a wrong type',
    ),
    "imported global": (
        wat(f'(module (import "phalanx" "x" (global i32)) {MEMORY} {ENTRY})'),
        "not a function",
    ),
    "extended constant": (
        module("(global i32 (i32.add (i32.const 1) (i32.const 2)))"),
        "more than one constant",
    ),
    "many locals": (module(f"(func (local {'i32 ' * 1100}))"), "locals in function 0"),
    "many parameters": (module(f"(func (param {'i32 ' * 40}))"), "parameters in type"),
    "deep nesting": (module(body="(block " * 300 + ")" * 300), "deeper than 256"),
    "many calls": (module("(func $f)", "(call $f)" * 17_000), "takes too long to compile"),
    "many joins": (
        module("(func (local" + " i32" * 1000 + ")" + "(loop (br_if 0 (i32.const 0)))" * 2_200 + ")"),
        "takes too long to compile",
    ),
    "wide tables": (
        module("(func (local" + " i32" * 1000 + ")" + f"(br_table {'0 ' * 4_000} (i32.const 0))" * 2 + ")"),
        "takes too long to compile",
    ),
    "large function": (module(body="(nop)" * 140_000), "has function 0 of"),
    "many functions": (module("(func)" * 5000), "functions, the limit is 4096"),
    "oversize": (GOOD + bytes(20 * 1024 * 1024), "the limit is 1048576"),
    "truncated": (GOOD[:-3], "ends unexpectedly"),
    "ill-typed": (module(body="(i64.const 0)"), "does not validate"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_with_the_reason(name: str) -> None:
    wasm, reason = REFUSED[name]
    with pytest.raises(InvalidModule) as refusal:
        admit(wasm)
    text = str(refusal.value)
    assert reason in text
    assert text.startswith("the module ")
    assert "\n" not in text


@pytest.mark.parametrize("wasm", [GOOD, agora.wasm(), assets.wasm()], ids=["wat", "agora", "assets"])
def test_admits_what_keeps_the_rules(wasm: bytes) -> None:
    admitted = admit(wasm)
    assert admitted.module_id == module_id(wasm)
    assert admitted.code_hash == code_hash(wasm) != admitted.module_id


def test_admits_integers_sign_extension_bulk_copy_and_tables() -> None:
    body = """
      (memory.copy (i32.const 0) (i32.const 8) (i32.const 8))
      (memory.fill (i32.const 0) (i32.const 1) (i32.const 8))
      (drop (i32.extend8_s (i32.wrap_i64 (i64.extend_i32_u (memory.size)))))
      (drop (call_indirect (type $f) (i32.const 0)))
      (block $a (block $b (br_table $a $b (i32.const 1))))
    """
    extra = """
      (type $f (func (result i32))) (table 1 funcref) (elem (i32.const 0) $g)
      (func $g (result i32) (i32.const 3))
    """
    assert admit(module(extra, body)).layout.has_table


def test_identity_depends_on_every_byte() -> None:
    assert module_id(GOOD) != module_id(GOOD + b"\x00\x02\x01a")


def test_limits_are_parameters() -> None:
    with pytest.raises(InvalidModule, match="the limit is 10"):
        admit(GOOD, replace(DEFAULT_LIMITS, module_bytes=10))


@pytest.mark.parametrize("opcode", [code for code in range(256) if OPCODES[code] == 0])
def test_no_opcode_outside_the_table_passes(opcode: int) -> None:
    body = bytes([0, opcode, 0x41, 0, 0x0B])
    code = bytes([1, len(body)]) + body
    head = wat(f"(module {MEMORY} {ENTRY})")
    at = head.index(b"\x0a\x06\x01\x04")
    with pytest.raises(InvalidModule, match="in function 0"):
        admit(head[:at] + b"\x0a" + encode_u32(len(code)) + code)


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_garbage_is_refused(data: bytes) -> None:
    for wasm in (data, b"\x00asm\x01\x00\x00\x00" + data):
        try:
            admit(wasm)
        except InvalidModule:
            continue
        raise AssertionError("garbage was admitted")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_mutants_are_judged_without_a_crash_and_stay_metered(data: st.DataObject) -> None:
    mutant = bytearray(assets.wasm())
    for _ in range(data.draw(st.integers(1, 4))):
        mutant[data.draw(st.integers(8, len(mutant) - 1))] = data.draw(st.integers(0, 255))
    del mutant[data.draw(st.integers(len(mutant) // 2, len(mutant) * 20)) :]
    try:
        admitted = admit(bytes(mutant))
    except InvalidModule:
        return
    meter_stack(admitted.wasm, admitted.layout)


@given(st.integers(0, 2**31 - 1))
def test_leb_encodings_agree_with_their_definition(value: int) -> None:
    unsigned, signed = encode_u32(value), encode_s32(value)
    assert sum((byte & 0x7F) << 7 * i for i, byte in enumerate(unsigned)) == value
    assert sum((byte & 0x7F) << 7 * i for i, byte in enumerate(signed)) == value
    assert not signed[-1] & 0x40


def test_the_engine_accepts_the_one_configuration() -> None:
    """An inconsistent configuration aborts its process, so a process of its own builds the engine."""
    script = "from enclaves.sandbox import Sandbox; Sandbox(); print('built')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "built\n"), done.stderr


def test_the_engine_alone_would_refuse_what_it_can_switch_off() -> None:
    """Defence in depth: SIMD, threads, tail calls are off in the engine too."""
    from enclaves.sandbox import validate

    for name in ("simd", "atomic", "tail call", "memory64", "two memories", "multi-value"):
        assert validate(REFUSED[name][0]) is not None, name
    assert validate(wat(f"(module {IMPORTS} {MEMORY} {ENTRY})")) is None


def test_one_file_alone_touches_the_engine() -> None:
    package = Path(enclaves.__file__).parent
    importers = [path.name for path in package.rglob("*.py") if "import wasmtime" in path.read_text()]
    assert importers == ["sandbox.py"]


def test_the_engines_words_never_reach_a_receipt() -> None:
    ill_typed = module(body="(i64.const 0)")
    with pytest.raises(InvalidModule, match=r"does not validate: .+"):
        admit(ill_typed)
    assert refusal_of(ill_typed) == "the module does not validate"
