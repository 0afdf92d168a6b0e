"""One value, one encoding: round trips, and every other spelling refused, with DecodeError alone."""

import struct
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.primitives import ids
from consensus.primitives.codec import (
    U8,
    U16,
    U32,
    U64,
    U128,
    U256,
    Bytes32,
    ExactLength,
    MaxLength,
    decode,
    encode,
)
from consensus.primitives.errors import DecodeError

LIMIT = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    WIRE_TAG: ClassVar[int] = 1
    radius: U16


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    WIRE_TAG: ClassVar[int] = 2
    side: U16
    name: Annotated[str, MaxLength(12)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    WIRE_VERSION: ClassVar[int] = 3
    u8: U8
    u16: U16
    u32: U32
    u64: U64
    u128: U128
    u256: U256
    flag: bool
    text: Annotated[str, MaxLength(40)]
    blob: Annotated[bytes, MaxLength(300)]
    fixed: Annotated[bytes, ExactLength(5)]
    word: Bytes32
    numbers: Annotated[tuple[U32, ...], MaxLength(20)]
    maybe: U64 | None
    shape: Circle | Square
    maybe_shape: Circle | Square | None
    nested: Annotated[tuple[Circle, ...], MaxLength(3)]
    view: ids.View
    index: ids.ValidatorIndex
    hash: ids.Hash
    signature: ids.Signature
    amount: ids.Amount
    chain: ids.ChainId


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    low: U8
    high: U8

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    value: U64


@dataclass(frozen=True, slots=True, kw_only=True)
class Wide:
    value: U128


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    value: Annotated[bytes, MaxLength(40)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    value: Annotated[str, MaxLength(8)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    value: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Maybe:
    value: U8 | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    value: Annotated[tuple[U8, ...], MaxLength(20)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    shape: Circle | Square


def _unsigned(bits: int) -> st.SearchStrategy[int]:
    edges = {0, 1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1, 2**bits - 1}
    return st.sampled_from(sorted(edge for edge in edges if edge < 2**bits)) | st.integers(0, 2**bits - 1)


def _text(limit: int) -> st.SearchStrategy[str]:
    return st.text(max_size=limit).filter(lambda text: len(text.encode()) <= limit)


circles = st.builds(Circle, radius=_unsigned(16))
shapes = circles | st.builds(Square, side=_unsigned(16), name=_text(12))
everything = st.builds(
    Everything,
    u8=_unsigned(8),
    u16=_unsigned(16),
    u32=_unsigned(32),
    u64=_unsigned(64),
    u128=_unsigned(128),
    u256=_unsigned(256),
    flag=st.booleans(),
    text=_text(40),
    blob=st.binary(max_size=300),
    fixed=st.binary(min_size=5, max_size=5),
    word=st.binary(min_size=32, max_size=32),
    numbers=st.lists(_unsigned(32), max_size=20).map(tuple),
    maybe=st.none() | _unsigned(64),
    shape=shapes,
    maybe_shape=st.none() | shapes,
    nested=st.lists(circles, max_size=3).map(tuple),
    view=_unsigned(64),
    index=_unsigned(16),
    hash=st.binary(min_size=32, max_size=32),
    signature=st.binary(min_size=64, max_size=64),
    amount=_unsigned(128),
    chain=_unsigned(32),
)


@given(everything)
def test_round_trip(value: Everything) -> None:
    data = encode(value)
    assert decode(Everything, data, limit=LIMIT) == value
    assert encode(decode(Everything, data, limit=LIMIT)) == data


@given(everything, st.data())
def test_whatever_decodes_is_the_encoding_of_its_value(value: Everything, data: st.DataObject) -> None:
    """Damage anywhere either is refused or makes another value, of which it is then the encoding."""
    wire = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode(Everything, bytes(wire), limit=LIMIT)
    except DecodeError:
        return
    assert encode(decoded) == bytes(wire)


_junk: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=12,
)


@settings(max_examples=200)
@given(st.binary(max_size=80) | _junk.map(msgpack.packb))
def test_junk_raises_decode_error_only(data: bytes) -> None:
    for kind in (Everything, Number, Wide, Blob, Text, Flag, Maybe, Numbers, Holder, Circle | Square):
        try:
            value = decode(kind, data, limit=LIMIT)
        except DecodeError:
            continue
        assert encode(value) == data


@given(everything)
def test_cut_or_extended_bytes_are_refused(value: Everything) -> None:
    wire = encode(value)
    for forged in (wire[:-1], wire[1:], b"", wire + b"\x00", wire + wire, b"\xc0" + wire):
        with pytest.raises(DecodeError):
            decode(Everything, forged, limit=LIMIT)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        # the same integer, longer than need be
        (Number, b"\xcc\x05"),
        (Number, b"\xcd\x00\x05"),
        (Number, b"\xce\x00\x00\x00\x05"),
        (Number, b"\xcf" + bytes(7) + b"\x05"),
        (Number, b"\xd0\x05"),
        (Number, b"\xd3" + bytes(7) + b"\x05"),
        # not an unsigned integer at all
        (Number, b"\xff"),
        (Number, b"\xc3"),
        (Number, b"\xc2"),
        (Number, b"\xc0"),
        (Number, b"\xcb" + struct.pack(">d", 5.0)),
        (Number, b"\xca" + struct.pack(">f", 5.0)),
        (Number, b"\xa15"),
        (Number, b"\xc4\x015"),
        (Number, b"\xd4\x01\x05"),
        (Number, b"\xd6\xff\x00\x00\x00\x05"),  # a timestamp
        (Number, b"\x80"),
        (Number, b"\x91\x05"),
        # wide integers are 16 bytes, neither fewer nor a msgpack integer
        (Wide, b"\x05"),
        (Wide, b"\xc4\x0f" + bytes(15)),
        (Wide, b"\xc4\x11" + bytes(17)),
        (Wide, b"\xb0" + bytes(16)),
        # byte strings
        (Blob, b"\xc5\x00\x01a"),
        (Blob, b"\xc6\x00\x00\x00\x01a"),
        (Blob, b"\xa1a"),
        (Blob, b"\xc4\x29" + bytes(41)),
        (Blob, b"\xc4\x05a"),
        (Blob, b"\xc6\xff\xff\xff\xffa"),
        # text
        (Text, b"\xd9\x01a"),
        (Text, b"\xda\x00\x01a"),
        (Text, b"\xc4\x01a"),
        (Text, b"\xa9" + b"a" * 9),
        (Text, b"\xa9" + "äöü€".encode()),
        (Text, b"\xa1\xff"),
        (Text, b"\xa3\xed\xa0\x80"),  # half a surrogate pair
        (Text, b"\xa2\xc0\x80"),  # an overlong zero
        # booleans
        (Flag, b"\x01"),
        (Flag, b"\x00"),
        (Flag, b"\xc0"),
        # options
        (Maybe, b"\xc2"),
        (Maybe, b"\x90"),
        (Maybe, b"\x91\xc0"),
        # lists
        (Numbers, b"\xdc\x00\x01\x05"),
        (Numbers, b"\xdd\x00\x00\x00\x01\x05"),
        (Numbers, b"\xdd\xff\xff\xff\xff"),
        (Numbers, b"\xdc\x00\x15" + bytes(21)),
        (Numbers, b"\x91\xcd\x01\x00"),
        (Numbers, b"\x91\xc3"),
        (Numbers, b"\x81\x00\x00"),
        (Numbers, b"\xc4\x01\x05"),
        # unions: unknown tags, tags of the wrong type, members of the wrong length
        (Holder, b"\x92\x03\x05"),
        (Holder, b"\x92\xc3\x05"),
        (Holder, b"\x92\xcc\x01\x05"),
        (Holder, b"\x92\xc0\x05"),
        (Holder, b"\x92\x90\x05"),
        (Holder, b"\x92\x80\x05"),
        (Holder, b"\x90"),
        (Holder, b"\x91\x01"),
        (Holder, b"\x93\x01\x05\x05"),
        (Holder, b"\x92\x02\x05"),
        (Holder, b"\xc0"),
        (Holder, b"\x05"),
    ],
)
def test_other_spellings_are_refused(kind: type, body: bytes) -> None:
    for wire in (b"\x91" + body, b"\xdc\x00\x01" + body):
        with pytest.raises(DecodeError):
            decode(kind, wire, limit=LIMIT)


def test_a_record_is_a_short_array_of_exactly_its_fields() -> None:
    for wire in (
        b"\x90",
        b"\x92\x05\x05",
        b"\x81\x00\x05",
        b"\x81\xa5value\x05",
        b"\x05",
        b"\xc0",
        b"\xdc\x00\x01\x05",
    ):
        with pytest.raises(DecodeError):
            decode(Number, wire, limit=LIMIT)
    assert decode(Number, b"\x91\x05", limit=LIMIT) == Number(value=5)


def test_version_and_tag_come_first_and_are_exact() -> None:
    assert encode(Circle(radius=7)) == b"\x92\x01\x07"
    assert decode(Circle | Square, b"\x92\x01\x07", limit=LIMIT) == Circle(radius=7)
    for wire in (b"\x92\x02\x07", b"\x92\xc3\x07", b"\x91\x07", b"\x92\xcc\x01\x07"):
        with pytest.raises(DecodeError):
            decode(Circle, wire, limit=LIMIT)


def test_the_limit_counts_every_byte() -> None:
    wire = encode(Blob(value=bytes(40)))
    assert decode(Blob, wire, limit=len(wire)) == Blob(value=bytes(40))
    with pytest.raises(DecodeError, match="limit"):
        decode(Blob, wire, limit=len(wire) - 1)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x91" * 60_000,
        b"\x91" * 60_000 + b"\x05",
        b"\x81\x00" * 30_000 + b"\x00",
        b"\x81" * 60_000,
        b"\xdc\xff\xff" * 20_000,
        b"\xdd\xff\xff\xff\xff" * 10_000,
        b"\xdf\xff\xff\xff\xff" * 10_000,
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xc1",
    ],
    ids=lambda bomb: bomb[:6].hex(),
)
def test_bombs_are_refused(bomb: bytes) -> None:
    for kind in (Number, Numbers, Holder, Everything, Circle | Square):
        with pytest.raises(DecodeError):
            decode(kind, bomb, limit=1 << 20)


def test_a_refused_combination_of_fields_is_a_decode_error() -> None:
    assert decode(Ordered, b"\x92\x01\x02", limit=LIMIT) == Ordered(low=1, high=2)
    with pytest.raises(DecodeError, match="low is above high"):
        decode(Ordered, b"\x92\x02\x01", limit=LIMIT)


def test_an_error_names_the_field() -> None:
    with pytest.raises(DecodeError, match=r"Holder\.shape.*Circle\.radius.*16-bit"):
        decode(Holder, b"\x91\x92\x01\xff", limit=LIMIT)


@pytest.mark.parametrize(
    "value",
    [
        Number(value=-1),
        Number(value=2**64),
        Number(value=True),
        Number(value=5.0),
        Wide(value=-1),
        Wide(value=2**128),
        Wide(value=True),
        Blob(value=bytes(41)),
        Blob(value="text"),
        Blob(value=bytearray(b"a")),
        Text(value="a" * 9),
        Text(value=b"bytes"),
        Text(value="\ud800"),
        Flag(value=1),
        Flag(value=None),
        Maybe(value=256),
        Numbers(value=tuple(range(21))),
        Numbers(value=[1, 2]),
        Holder(shape=Number(value=1)),
        Holder(shape=None),
    ],
    ids=repr,
)
def test_what_could_not_be_decoded_again_is_not_encoded(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # each names its own bound
        encode(value)


def test_types_without_one_encoding_are_refused_at_first_use() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Unbounded:
        value: bytes

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Plain:
        value: int

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Real:
        value: float

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Untagged:
        value: Number | Blob

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Versioned:
        WIRE_VERSION: ClassVar[int] = 1
        WIRE_TAG: ClassVar[int] = 3
        value: U8

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Mixed:
        value: Circle | Versioned

    for kind in (Unbounded, Plain, Real, Untagged, Mixed):
        with pytest.raises(TypeError):
            decode(kind, b"\x91\x05", limit=LIMIT)
