"""WebAssembly's binary format, as far as a guest may use it (WebAssembly Core Specification 1.0, section 5).

`OPCODES` is the list of what is allowed: an opcode that is not in it is refused, and `describe` says why. The
reader never trusts a length; running off the end, a malformed number or an over-long name is `Malformed`.
"""

from typing import Final

I32: Final = 0x7F
I64: Final = 0x7E
FUNCREF: Final = 0x70
INTEGER_TYPES: Final = frozenset((I32, I64))

_TYPE_NAMES: Final = {
    I32: "i32",
    I64: "i64",
    0x7D: "the float type f32",
    0x7C: "the float type f64",
    0x7B: "the SIMD type v128",
    FUNCREF: "the reference type funcref",
    0x6F: "the reference type externref",
}


class Malformed(Exception):
    """The bytes are not WebAssembly, or not the part of it that is allowed; the text says what and where."""


class Reader:
    """A cursor over a module's bytes; `end` is the limit of the section being read."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, position: int = 0, end: int | None = None) -> None:
        self.data = data
        self.position = position
        self.end = len(data) if end is None else end

    def byte(self) -> int:
        """The next byte."""
        position = self.position
        if position >= self.end:
            raise Malformed(f"ends unexpectedly at byte {position}")
        self.position = position + 1
        return self.data[position]

    def u32(self) -> int:
        """An unsigned LEB128 number of at most 32 bits."""
        result = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                if result >> 32:
                    break
                return result
        raise Malformed(f"has a number beyond 32 bits at byte {self.position}")

    def skip_signed(self, bits: int) -> None:
        """A signed LEB128 number of at most `bits` bits; the engine checks its unused bits."""
        for _ in range((bits + 6) // 7):
            if self.byte() < 0x80:
                return
        raise Malformed(f"has a number beyond {bits} bits at byte {self.position}")

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        start = self.position
        if length > self.end - start:
            raise Malformed(f"ends unexpectedly: {length} bytes are announced at byte {start}")
        self.position = start + length
        return self.data[start : self.position]

    def name(self) -> str:
        """A UTF-8 name."""
        raw = self.take(self.u32())
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise Malformed(f"has a name that is not UTF-8 before byte {self.position}") from None

    def count(self, limit: int, what: str) -> int:
        """The length of a vector, at most `limit`."""
        number = self.u32()
        if number > limit:
            raise Malformed(f"has {number} {what}, the limit is {limit}")
        return number


def type_name(code: int) -> str:
    """A value type in words."""
    return _TYPE_NAMES.get(code, f"the unknown type 0x{code:02x}")


# --- instructions: what follows the opcode
PLAIN: Final = 1  # nothing
INDEX_LOCAL: Final = 2
INDEX_GLOBAL: Final = 3
MEMORY_ACCESS: Final = 4  # alignment and offset
ZERO_BYTE: Final = 5  # memory index
CONST_I32: Final = 6
CONST_I64: Final = 7
BLOCK: Final = 8
ELSE: Final = 9
END: Final = 10
BRANCH: Final = 11
BRANCH_TABLE: Final = 12
CALL: Final = 13
CALL_INDIRECT: Final = 14
BULK: Final = 15  # the prefix 0xfc


def _opcode_table() -> bytes:
    table = bytearray(256)  # 0: not allowed
    for codes, form in (
        ((0x00, 0x01, 0x0F, 0x1A, 0x1B), PLAIN),  # unreachable nop return drop select
        ((0x02, 0x03, 0x04), BLOCK),
        ((0x05,), ELSE),
        ((0x0B,), END),
        ((0x0C, 0x0D), BRANCH),
        ((0x0E,), BRANCH_TABLE),
        ((0x10,), CALL),
        ((0x11,), CALL_INDIRECT),
        ((0x20, 0x21, 0x22), INDEX_LOCAL),
        ((0x23, 0x24), INDEX_GLOBAL),
        ((0x28, 0x29, *range(0x2C, 0x38), *range(0x3A, 0x3F)), MEMORY_ACCESS),
        ((0x3F, 0x40), ZERO_BYTE),
        ((0x41,), CONST_I32),
        ((0x42,), CONST_I64),
        (range(0x45, 0x5B), PLAIN),  # integer comparisons
        (range(0x67, 0x8B), PLAIN),  # integer arithmetic
        ((0xA7, 0xAC, 0xAD), PLAIN),  # wrap and extend
        (range(0xC0, 0xC5), PLAIN),  # sign extension
        ((0xFC,), BULK),
    ):
        for code in codes:
            table[code] = form
    return bytes(table)


OPCODES: Final = _opcode_table()
MEMORY_COPY: Final = 10
MEMORY_FILL: Final = 11

_FLOAT_OPCODES: Final = frozenset(
    (
        *(0x2A, 0x2B, 0x38, 0x39, 0x43, 0x44),
        *range(0x5B, 0x67),
        *range(0x8B, 0xA7),
        *range(0xA8, 0xAC),
        *range(0xAE, 0xC0),
    )
)


def describe(code: int) -> str:
    """Why this opcode is not allowed, in words that fit after "uses"."""
    if code in _FLOAT_OPCODES:
        return f"the float instruction 0x{code:02x}"
    if code in (0x12, 0x13, 0x15):
        return f"the tail call 0x{code:02x}"
    if code in (0x1C, 0x25, 0x26, *range(0xD0, 0xD7)):
        return f"the reference-type instruction 0x{code:02x}"
    return {
        0xFB: "a garbage-collection instruction (prefix 0xfb)",
        0xFD: "a SIMD instruction (prefix 0xfd)",
        0xFE: "an atomic instruction (prefix 0xfe)",
    }.get(code, f"the unknown instruction 0x{code:02x}")


def describe_bulk(code: int) -> str:
    """Why this opcode after 0xfc is not allowed."""
    if code < 8:
        return f"the float instruction 0xfc 0x{code:02x}"
    if code in (8, 9):
        return f"the passive-segment instruction 0xfc 0x{code:02x}"
    return f"the table or unknown instruction 0xfc 0x{code:02x}"


def encode_u32(value: int) -> bytes:
    """The shortest unsigned LEB128 encoding."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_s32(value: int) -> bytes:
    """The shortest signed LEB128 encoding of a non-negative number."""
    out = bytearray()
    while value > 0x3F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
