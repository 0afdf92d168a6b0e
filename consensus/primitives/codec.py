"""The one canonical encoding: msgpack arrays by position, decoded strictly (DESIGN.md section 5).

A wire type is a frozen dataclass whose annotations say everything: `decode` refuses what is not exactly
the declared shape, and what is not the shortest encoding of it, so one value has one encoding and a hash
of the bytes is a hash of the value.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Transfer:
        WIRE_TAG: ClassVar[int] = 1          # first in the array; tells members of a union apart
        to: PublicKey
        amount: Amount
        memo: Annotated[bytes, MaxLength(64)]

Field types: the identifiers of `ids`, `U8 … U128`, `bool`, `str` and `bytes` with `MaxLength`,
`tuple[T, ...]` with `MaxLength`, `T | None`, other wire types, and unions of wire types that carry distinct
`WIRE_TAG`s. `WIRE_VERSION`, where a class has it, precedes everything. 128- and 256-bit integers travel as
big-endian `bin` of fixed width, because msgpack ends at 64 bits.

An empty list is one byte on the wire and sixty in memory. So what is longer than `BUILT_WHOLE_BYTES` is not
built first and judged then: it is read as its type says, and the first thing out of place ends that.
"""

import dataclasses
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import msgpack

from consensus.primitives import ids
from consensus.primitives.errors import DecodeError

T = TypeVar("T")
_ToWire = Callable[[Any], Any]
_FromWire = Callable[[Any], Any]

BUILT_WHOLE_BYTES: Final = 4096  # what a peer can blow up to 300 kB, in exchange for speed


@dataclass(frozen=True, slots=True)
class UnsignedBits:
    """Marks an integer field's width; up to 64 bits a msgpack integer, above a fixed-width `bin`."""

    bits: int


@dataclass(frozen=True, slots=True)
class ExactLength:
    """Marks a `bytes` field of fixed width, in bytes."""

    length: int


@dataclass(frozen=True, slots=True)
class MaxLength:
    """Bounds a `bytes` (bytes), `str` (UTF-8 bytes) or `tuple` (items) field."""

    length: int


U8 = Annotated[int, UnsignedBits(8)]
U16 = Annotated[int, UnsignedBits(16)]
U32 = Annotated[int, UnsignedBits(32)]
U64 = Annotated[int, UnsignedBits(64)]
U128 = Annotated[int, UnsignedBits(128)]
U256 = Annotated[int, UnsignedBits(256)]
Bytes32 = Annotated[bytes, ExactLength(32)]

_IDENTIFIERS: Final[dict[Any, UnsignedBits | ExactLength]] = {
    ids.View: UnsignedBits(64),
    ids.Height: UnsignedBits(64),
    ids.Epoch: UnsignedBits(64),
    ids.ValidatorIndex: UnsignedBits(16),
    ids.Stake: UnsignedBits(64),
    ids.Hash: ExactLength(32),
    ids.PublicKey: ExactLength(32),
    ids.Signature: ExactLength(64),
    ids.Amount: UnsignedBits(128),
    ids.Nonce: UnsignedBits(64),
    ids.Fuel: UnsignedBits(64),
    ids.ChainId: UnsignedBits(32),
    ids.ModuleId: ExactLength(32),
    ids.Milliseconds: UnsignedBits(64),
}


class _Reader:
    """Reads msgpack item by item; never builds a container that nobody asked for."""

    __slots__ = ("_data", "_unpacker", "list_length", "scalar")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=len(data),
            max_array_len=0,
            max_map_len=0,
            max_ext_len=0,
            raw=False,
            strict_map_key=False,
        )
        self._unpacker.feed(data)
        self.scalar: Final[Callable[[], Any]] = self._unpacker.unpack
        self.list_length: Final[Callable[[], int]] = self._unpacker.read_array_header

    def at_none(self) -> bool:
        """Whether nil comes next."""
        position: int = self._unpacker.tell()
        return self._data[position : position + 1] == b"\xc0"


def _read_scalar(reader: _Reader) -> Any:
    return reader.scalar()


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a type is encoded, checked, and read from a `_Reader`: `read_list` is `read` after the length."""

    to_wire: _ToWire
    from_wire: _FromWire
    read: Callable[[_Reader], Any] = _read_scalar
    read_list: Callable[[_Reader, list[Any], int], list[Any]] | None = None


def encode(value: object) -> bytes:
    """The canonical bytes of a wire type. Raises ValueError on a field out of its range: that is our bug."""
    packed: bytes = msgpack.packb(_plan_of(type(value)).to_wire(value), use_bin_type=True)
    return packed


def decode(kind: type[T], data: bytes, *, limit: int) -> T:
    """The value of type `kind` (a wire type, or a union of tagged ones) that `data` encodes.

    `limit` bounds `data`, in bytes. Raises DecodeError, and nothing else, on whatever is not the canonical
    encoding of such a value.
    """
    if len(data) > limit:
        raise DecodeError(f"{_name(kind)}: {len(data)} bytes, the limit is {limit}")
    plan = _plan_of(kind)
    try:
        if len(data) <= BUILT_WHOLE_BYTES:
            raw = msgpack.unpackb(data, raw=False, strict_map_key=False)
        else:
            raw = plan.read(_Reader(data))
    except DecodeError as error:
        raise DecodeError(f"{_name(kind)}: {error}") from None
    except Exception as error:  # msgpack raises many unrelated types; all of them mean "not msgpack"
        raise DecodeError(f"{_name(kind)}: not msgpack ({type(error).__name__})") from None
    value: T = plan.from_wire(raw)
    if msgpack.packb(raw, use_bin_type=True) != data:
        raise DecodeError(f"{_name(kind)}: not the canonical encoding")
    return value


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))


_plans: Final[dict[Any, _Plan]] = {}


def _plan_of(kind: Any) -> _Plan:
    """The encoder and decoder of one annotation, compiled at its first use."""
    plan = _plans.get(kind)
    if plan is None:
        plan = _plans[kind] = _compile(kind)
    return plan


def _compile(kind: Any) -> _Plan:
    if kind in _IDENTIFIERS:
        return _scalar_plan(_IDENTIFIERS[kind])
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _record_plan(kind)
    origin = get_origin(kind)
    if origin is Annotated:
        base, *marks = get_args(kind)
        return _annotated_plan(base, marks)
    if origin in (Union, types.UnionType):
        return _union_plan(get_args(kind))
    if kind is bool:
        return _Plan(_encode_bool, _decode_bool)
    raise TypeError(f"{kind!r} is not a wire type: give integers a width, bytes, strings and tuples a bound")


def _encode_bool(value: bool) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{value!r} is not a boolean")
    return value


def _decode_bool(raw: Any) -> bool:
    if type(raw) is not bool:
        raise DecodeError(f"expected a boolean, got {type(raw).__name__}")
    return raw


def _scalar_plan(mark: UnsignedBits | ExactLength) -> _Plan:
    if isinstance(mark, ExactLength):
        return _exact_bytes_plan(mark.length)
    return _integer_plan(mark.bits) if mark.bits <= 64 else _wide_integer_plan(mark.bits)


def _integer_plan(bits: int) -> _Plan:
    bound = 1 << bits

    def to_wire(value: int) -> int:
        if type(value) is not int or not 0 <= value < bound:
            raise ValueError(f"{value!r} is not an unsigned {bits}-bit integer")
        return value

    def from_wire(raw: Any) -> int:
        if type(raw) is not int or not 0 <= raw < bound:
            raise DecodeError(f"expected an unsigned {bits}-bit integer")
        return raw

    return _Plan(to_wire, from_wire)


def _wide_integer_plan(bits: int) -> _Plan:
    width = bits // 8

    def to_wire(value: int) -> bytes:
        if type(value) is not int or value < 0 or value >> bits:
            raise ValueError(f"{value!r} is not an unsigned {bits}-bit integer")
        return value.to_bytes(width, "big")

    def from_wire(raw: Any) -> int:
        if type(raw) is not bytes or len(raw) != width:
            raise DecodeError(f"expected an unsigned {bits}-bit integer as {width} bytes")
        return int.from_bytes(raw, "big")

    return _Plan(to_wire, from_wire)


def _exact_bytes_plan(length: int) -> _Plan:
    def to_wire(value: bytes) -> bytes:
        if type(value) is not bytes or len(value) != length:
            raise ValueError(f"{value!r} is not {length} bytes")
        return value

    def from_wire(raw: Any) -> bytes:
        if type(raw) is not bytes or len(raw) != length:
            raise DecodeError(f"expected {length} bytes")
        return raw

    return _Plan(to_wire, from_wire)


def _annotated_plan(base: Any, marks: list[Any]) -> _Plan:
    for mark in marks:
        if isinstance(mark, UnsignedBits | ExactLength):
            return _scalar_plan(mark)
        if isinstance(mark, MaxLength):
            if base is bytes or base is str:
                return _bounded_plan(base, mark.length)
            if get_origin(base) is tuple:
                return _tuple_plan(get_args(base)[0], mark.length)
    raise TypeError(f"{base!r} with {marks!r} is not a wire type")


def _bounded_plan(base: type, limit: int) -> _Plan:
    def size(value: Any) -> int:
        return len(value.encode()) if base is str else len(value)

    def to_wire(value: Any) -> Any:
        if type(value) is not base:
            raise ValueError(f"{type(value).__name__} where {base.__name__} is due")
        if size(value) > limit:
            raise ValueError(f"{size(value)} bytes, the bound is {limit}")
        return value

    def from_wire(raw: Any) -> Any:
        if type(raw) is not base or size(raw) > limit:
            raise DecodeError(f"expected {base.__name__} of at most {limit} bytes")
        return raw

    return _Plan(to_wire, from_wire)


def _tuple_plan(item: Any, limit: int) -> _Plan:
    plan = _plan_of(item)

    def to_wire(value: tuple[Any, ...]) -> list[Any]:
        if type(value) is not tuple or len(value) > limit:
            raise ValueError(f"expected a tuple of at most {limit} items")
        return [plan.to_wire(each) for each in value]

    def from_wire(raw: Any) -> tuple[Any, ...]:
        if type(raw) is not list or len(raw) > limit:
            raise DecodeError(f"expected a list of at most {limit} items")
        return tuple([plan.from_wire(each) for each in raw])

    def read(reader: _Reader) -> list[Any]:
        length = reader.list_length()
        if length > limit:
            raise DecodeError(f"expected a list of at most {limit} items")
        return [plan.read(reader) for _ in range(length)]

    return _Plan(to_wire, from_wire, read)


def _record_plan(kind: type) -> _Plan:
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in dataclasses.fields(kind)]
    plans = [_plan_of(hints[name]) for name in names]
    encoders = [(name, plan.to_wire) for name, plan in zip(names, plans, strict=True)]
    decoders = [(name, plan.from_wire) for name, plan in zip(names, plans, strict=True)]
    prefix = _prefix(kind)
    arity = len(prefix) + len(names)

    def to_wire(value: Any) -> list[Any]:
        if type(value) is not kind:
            raise ValueError(f"{type(value).__name__} where {kind.__name__} is due")
        wire = list(prefix)
        for name, encoder in encoders:
            wire.append(encoder(getattr(value, name)))
        return wire

    def from_wire(raw: Any) -> Any:
        if type(raw) is not list or len(raw) != arity:
            raise DecodeError(f"{kind.__name__}: expected a list of {arity} items")
        for index, expected in enumerate(prefix):
            if type(raw[index]) is not int or raw[index] != expected:
                raise DecodeError(f"{kind.__name__}: unknown version or tag")
        position = len(prefix)
        fields = {}
        for name, decoder in decoders:
            try:
                fields[name] = decoder(raw[position])
            except DecodeError as error:
                raise DecodeError(f"{kind.__name__}.{name}: {error}") from None
            position += 1
        try:
            return kind(**fields)
        except ValueError as error:  # a `__post_init__` that refuses a combination of fields
            raise DecodeError(f"{kind.__name__}: {error}") from None

    def read(reader: _Reader) -> list[Any]:
        return read_list(reader, [], reader.list_length())

    def read_list(reader: _Reader, raw: list[Any], length: int) -> list[Any]:
        """`raw` holds what was read already to find out that it is this type."""
        if length != arity:
            raise DecodeError(f"{kind.__name__}: expected a list of {arity} items")
        raw += [reader.scalar() for _ in range(len(prefix) - len(raw))]
        raw += [plan.read(reader) for plan in plans]
        return raw

    return _Plan(to_wire, from_wire, read, read_list)


def _prefix(kind: Any) -> list[int]:
    return [getattr(kind, name) for name in ("WIRE_VERSION", "WIRE_TAG") if hasattr(kind, name)]


def _union_plan(members: tuple[Any, ...]) -> _Plan:
    if type(None) in members:
        return _optional_plan(Union[tuple(each for each in members if each is not type(None))])  # noqa: UP007
    prefixes = {tuple(_prefix(member)): member for member in members}
    widths = {len(prefix) for prefix in prefixes}
    if len(prefixes) != len(members) or len(widths) != 1 or 0 in widths:
        raise TypeError(f"the members of {members!r} need distinct WIRE_TAGs, and all or none a WIRE_VERSION")
    plans = {prefix: _plan_of(member) for prefix, member in prefixes.items()}
    width = widths.pop()

    def to_wire(value: Any) -> Any:
        if type(value) not in members:
            raise ValueError(f"{type(value).__name__} is not one of {[_name(m) for m in members]}")
        return _plan_of(type(value)).to_wire(value)

    def from_wire(raw: Any) -> Any:
        if type(raw) is not list or len(raw) < width:
            raise DecodeError("expected a tagged list")
        try:
            plan = plans.get(tuple(raw[:width]))
        except TypeError:  # a list or a map where the tag should be
            plan = None
        if plan is None:
            raise DecodeError("unknown version or tag")
        return plan.from_wire(raw)  # refuses what only equals the tag, as `True` does 1

    def read(reader: _Reader) -> list[Any]:
        length = reader.list_length()
        if length < width:
            raise DecodeError("expected a tagged list")
        raw = [reader.scalar() for _ in range(width)]
        try:
            plan = plans.get(tuple(raw))
        except TypeError:  # an empty list or map where the tag should be
            plan = None
        if plan is None or plan.read_list is None:
            raise DecodeError("unknown version or tag")
        return plan.read_list(reader, raw, length)

    return _Plan(to_wire, from_wire, read)


def _optional_plan(inner: Any) -> _Plan:
    plan = _plan_of(inner)
    return _Plan(
        lambda value: None if value is None else plan.to_wire(value),
        lambda raw: None if raw is None else plan.from_wire(raw),
        lambda reader: reader.scalar() if reader.at_none() else plan.read(reader),
    )
