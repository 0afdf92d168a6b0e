"""Deterministic stack exhaustion by rewriting calls (DESIGN.md section 7: the same outcome on every machine).

How deep native code can recurse depends on the frames that the compiler chose, so the engine's own overflow
check must never be what ends a call. Each call to a function of the module is bracketed: before it, a hidden
global grows by the callee's charge and the guest traps if that passes `STACK_SLOTS`; after it, the global
shrinks again. A function's charge bounds its native frame in 8-byte slots: its locals, and half its code
bytes, because every value that can be live at once was made by an instruction of two bytes or more (one-byte
instructions consume what they replace). The engine's own stack is `NATIVE_MARGIN` times the bound.

The rewritten bytes are what runs; a module's identity is that of the original. Fuel counts the added
instructions, in the same way everywhere.
"""

from typing import Final

from enclaves import bytecode as wasm
from enclaves.layout import CODE, FUNCTION, GLOBAL, IMPORT, INDIRECT, MEMORY, TABLE, TYPE, Body, Layout

STACK_SLOTS: Final = 64 * 1024  # of 8 bytes
NATIVE_MARGIN: Final = 4
NATIVE_STACK_BYTES: Final = STACK_SLOTS * 8 * NATIVE_MARGIN  # 2 MiB, the most the engine grants unasked
_FRAME_SLOTS: Final = 8  # return address, frame pointer, saved registers

_BEFORE_GLOBALS: Final = (TYPE, IMPORT, FUNCTION, TABLE, MEMORY)


def meter_stack(module: bytes, layout: Layout) -> bytes:
    """The module with every call to its own functions bracketed. `layout` is that of `module`."""
    charges = [charge(body) for body in layout.bodies]
    worst = max(charges, default=0)
    meter = wasm.encode_u32(layout.globals)
    out = bytearray(module[:8])
    pending = True  # the hidden global is still to be declared
    for kind, start, end in layout.sections:
        if kind == 0:
            continue  # names and other custom sections mean nothing to execution
        content = module[start:end]
        if kind == GLOBAL:
            content = _with_global(content, layout.globals)
            pending = False
        elif kind not in _BEFORE_GLOBALS and pending:
            _section(out, GLOBAL, b"\x01" + _GLOBAL)
            pending = False
        if kind == CODE:
            content = _rewrite_code(module, layout, charges, worst, meter)
        _section(out, kind, content)
    return bytes(out)


def charge(body: Body) -> int:
    """What one activation of a function counts against `STACK_SLOTS`."""
    return _FRAME_SLOTS + body.locals + (body.end - body.start) // 2


_GLOBAL: Final = bytes([wasm.I32, 1, 0x41, 0, 0x0B])  # (global (mut i32) (i32.const 0))


def _section(out: bytearray, kind: int, content: bytes) -> None:
    out.append(kind)
    out += wasm.encode_u32(len(content))
    out += content


def _with_global(content: bytes, count: int) -> bytes:
    reader = wasm.Reader(content)
    reader.u32()
    return wasm.encode_u32(count + 1) + content[reader.position :] + _GLOBAL


def _rewrite_code(module: bytes, layout: Layout, charges: list[int], worst: int, meter: bytes) -> bytes:
    get, put = b"\x23" + meter, b"\x24" + meter
    limit = b"\x41" + wasm.encode_s32(STACK_SLOTS)
    check = put + get + limit + b"\x4b\x04\x40\x00\x0b"  # i32.gt_u if unreachable end
    out = bytearray(wasm.encode_u32(len(layout.bodies)))
    for body in layout.bodies:
        code = bytearray()
        position = body.start
        for first, after, callee in body.calls:
            slots = worst if callee == INDIRECT else charges[callee - layout.imported]
            amount = b"\x41" + wasm.encode_s32(slots)
            code += module[position:first]
            code += get + amount + b"\x6a" + check
            code += module[first:after]
            code += get + amount + b"\x6b" + put
            position = after
        code += module[position : body.end]
        out += wasm.encode_u32(len(code))
        out += code
    return bytes(out)
