"""Reports as JSON and back, driven by their annotations: one definition of every shape on the wire.

Bytes are lower-case hex, amounts decimal strings (JSON numbers end at 2^53 in most readers), other integers
numbers, enumerations their value, records objects. `from_json` is for clients: it ignores fields that it does
not know, so that an older client can talk to a newer node.
"""

import dataclasses
import enum
import types
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from consensus.primitives import ids
from consensus.primitives.errors import DecodeError
from node.api import Stage

T = TypeVar("T")
MAX_DIGITS: Final = 40  # of an amount, which has 128 bits
_HEX: Final = (bytes, ids.Hash, ids.PublicKey, ids.Signature, ids.ModuleId)
_DECIMAL: Final = (ids.Amount,)
_TIMES: Final = tuple[tuple[Stage, float], ...]  # in JSON an object, stage → milliseconds


def to_json(value: Any) -> Any:
    """The JSON form of a report (a dataclass of `node.api`) or of a list of them."""
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    encode = _encoder(type(value))  # type: ignore[arg-type]  # a class is hashable; typeshed is unsure
    return encode(value)


def from_json(kind: type[T], raw: Any) -> T:
    """The report of type `kind` that JSON `raw` says. Raises DecodeError naming what does not fit."""
    value: T = _decoder(kind)(raw)  # type: ignore[arg-type]  # as above
    return value


@cache
def _encoder(kind: Any) -> Callable[[Any], Any]:
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        fields = [(each.name, _encoder(hints[each.name])) for each in dataclasses.fields(kind)]
        return lambda value: {name: encode(getattr(value, name)) for name, encode in fields}
    if kind in _HEX:
        return lambda value: value.hex()
    if kind in _DECIMAL:
        return str
    if kind == _TIMES:
        return lambda value: {str(stage): round(time_ms, 3) for stage, time_ms in value}
    origin = get_origin(kind)
    if origin is tuple:
        item = _encoder(get_args(kind)[0])
        return lambda value: [item(each) for each in value]
    if origin in (Union, types.UnionType):
        inner = _encoder(_without_none(kind))
        return lambda value: None if value is None else inner(value)
    if isinstance(kind, type) and issubclass(kind, enum.StrEnum):
        return str
    return lambda value: value


@cache
def _decoder(kind: Any) -> Callable[[Any], Any]:
    if dataclasses.is_dataclass(kind):
        return _record_decoder(kind)
    if kind in _HEX:
        return _from_hex
    if kind in _DECIMAL:
        return _from_decimal
    if kind == _TIMES:
        return _times_from_json
    origin = get_origin(kind)
    if origin is tuple:
        item = _decoder(get_args(kind)[0])
        return lambda raw: tuple(item(each) for each in _expect(list, raw))
    if origin in (Union, types.UnionType):
        inner = _decoder(_without_none(kind))
        return lambda raw: None if raw is None else inner(raw)
    if isinstance(kind, type) and issubclass(kind, enum.StrEnum):
        return lambda raw: _member(kind, raw)
    base = getattr(kind, "__supertype__", kind)
    if base is float:
        return _float_from_json
    return lambda raw: _expect(base, raw)


def _record_decoder(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    fields = [(each.name, _decoder(hints[each.name]), each) for each in dataclasses.fields(kind)]

    def decode(raw: Any) -> Any:
        table = _expect(dict, raw)
        values = {}
        for name, decode_field, declared in fields:
            if name not in table and declared.default is not dataclasses.MISSING:
                continue
            try:
                values[name] = decode_field(table[name])
            except KeyError:
                raise DecodeError(f"{kind.__name__}: no field {name!r} in the answer") from None
            except DecodeError as error:
                raise DecodeError(f"{kind.__name__}.{name}: {error}") from None
        return kind(**values)

    return decode


def _without_none(kind: Any) -> Any:
    members = [each for each in get_args(kind) if each is not type(None)]
    if len(members) != 1:
        raise TypeError(f"{kind!r} has no JSON form: only `T | None` does")
    return members[0]


def _expect(kind: Any, raw: Any) -> Any:
    if not isinstance(raw, kind) or (isinstance(raw, bool) and kind is not bool):
        raise DecodeError(f"unexpected {type(raw).__name__}")
    return raw


def _from_hex(raw: Any) -> bytes:
    try:
        return bytes.fromhex(_expect(str, raw))
    except ValueError:
        raise DecodeError("not hexadecimal") from None


def _from_decimal(raw: Any) -> int:
    text = _expect(str, raw)
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise DecodeError("not a decimal amount")
    return int(text)


def _member(kind: type[enum.StrEnum], raw: Any) -> enum.StrEnum:
    try:
        return kind(raw)
    except ValueError:
        raise DecodeError(f"{raw!r} is no {kind.__name__}") from None


def _float_from_json(raw: Any) -> float:
    try:
        return float(_expect((int, float), raw))
    except OverflowError:
        raise DecodeError("a number out of all bounds") from None


def _times_from_json(raw: Any) -> tuple[tuple[Stage, float], ...]:
    known = [stage for stage in Stage if str(stage) in _expect(dict, raw)]
    return tuple((stage, _float_from_json(raw[str(stage)])) for stage in known)
