"""Every wire and stored type of the tree, found rather than listed, and values of each.

A type is found if it carries a WIRE_TAG or WIRE_VERSION, or if some module hands it to `codec.decode`: so a
new one is fuzzed from the day that it exists.
"""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import types
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgpack
from hypothesis import strategies as st

from consensus.primitives.codec import _IDENTIFIERS, ExactLength, MaxLength, UnsignedBits, _prefix

PACKAGES = ("consensus", "enclaves", "net", "node")
NOT_IMPORTED = ("consensus.simulation", "enclaves.guests", ".__main__")  # tools, and sources of guests
NESTED_DEEP = 400  # below msgpack's own limit, above Python's patience with recursion if anybody recursed


@cache
def modules() -> tuple[types.ModuleType, ...]:
    """All modules of the packages, imported."""
    found = []
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not any(part in module.name for part in NOT_IMPORTED):
                found.append(importlib.import_module(module.name))
    return tuple(found)


@cache
def decoded_types() -> dict[str, Any]:
    """What the tree decodes with the codec, by a readable name; unions included."""
    found: dict[str, Any] = {}
    for module in modules():
        for name, value in vars(module).items():
            is_record = inspect.isclass(value) and dataclasses.is_dataclass(value)
            if is_record and value.__module__ == module.__name__ and _prefix(value):
                found[f"{module.__name__}.{name}"] = value
        for kind in _types_in_calls(module):
            name = getattr(kind, "__qualname__", None)
            members = get_args(kind)
            label = name if name and not members else "|".join(sorted(each.__name__ for each in members))
            found.setdefault(f"{module.__name__}.{label}", kind)
    named: dict[Any, str] = {}
    for name, kind in sorted(found.items()):  # a type that is used in many places is one type
        named.setdefault(kind, name)
    return {name: kind for kind, name in named.items()}


def _types_in_calls(module: types.ModuleType) -> list[Any]:
    """The first arguments of calls to the codec's `decode` in a module's source."""
    kinds = []
    for node in ast.walk(ast.parse(Path(module.__file__ or "").read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "decode"):
            continue
        expression = ast.unparse(node.args[0])
        names = {each.id for each in ast.walk(node.args[0]) if isinstance(each, ast.Name)}
        if names <= set(vars(module)):  # else a parameter: the callers are found on their own
            kinds.append(eval(expression, vars(module)))
    return kinds


# --- values


@cache
def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a wire type, small ones."""
    if kind in _IDENTIFIERS:
        return _scalars(_IDENTIFIERS[kind])
    if kind is bool:
        return st.booleans()
    origin = get_origin(kind)
    if origin is Annotated:
        return _annotated(*get_args(kind))
    if origin in (Union, types.UnionType):
        members = [values_of(each) if each is not type(None) else st.none() for each in get_args(kind)]
        return st.one_of(*members)
    return _records(kind)


def _scalars(mark: UnsignedBits | ExactLength) -> st.SearchStrategy[Any]:
    if isinstance(mark, ExactLength):
        return st.binary(min_size=mark.length, max_size=mark.length)
    top = (1 << mark.bits) - 1
    return st.one_of(st.integers(0, min(top, 5)), st.integers(0, top), st.just(top))


def _annotated(base: Any, *marks: Any) -> st.SearchStrategy[Any]:
    for mark in marks:
        if isinstance(mark, UnsignedBits | ExactLength):
            return _scalars(mark)
        if isinstance(mark, MaxLength):
            few = min(mark.length, 3)
            if base is bytes:
                return st.binary(max_size=min(mark.length, 24))
            if base is str:
                return st.text(max_size=min(mark.length, 24) // 4)
            return st.lists(values_of(get_args(base)[0]), max_size=few).map(tuple)
    raise TypeError(f"{base!r} with {marks!r} is not a wire type")


def _records(kind: Any) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: values_of(hints[field.name]) for field in dataclasses.fields(kind)}
    if fields and all(field.default is not dataclasses.MISSING for field in dataclasses.fields(kind)):
        usual = kind()  # one combination is known to be allowed: change a field of it, if that is too

        def change(changes: dict[str, Any]) -> Any:
            try:
                return dataclasses.replace(usual, **changes)
            except ValueError:
                return usual

        return st.one_of([st.fixed_dictionaries({name: each}) for name, each in fields.items()]).map(change)

    def build(arguments: dict[str, Any]) -> Any:
        try:
            return kind(**arguments)
        except ValueError:  # a combination that `__post_init__` refuses
            return None

    return st.fixed_dictionaries(fields).map(build).filter(lambda value: value is not None)


# --- bytes


@st.composite
def mangled(draw: st.DrawFn, data: bytes) -> bytes:
    """A valid encoding, cut, extended, or with some of its bytes changed."""
    how = draw(st.sampled_from(("flip", "cut", "extend", "splice", "repeat")))
    place = draw(st.integers(0, max(len(data) - 1, 0)))
    if how == "flip" and data:
        changed = bytearray(data)
        changed[place] ^= 1 << draw(st.integers(0, 7))
        return bytes(changed)
    if how == "cut":
        return data[:place]
    if how == "extend":
        return data + draw(st.binary(min_size=1, max_size=4))
    if how == "splice":
        return data[:place] + draw(st.binary(max_size=6)) + data[place + draw(st.integers(0, 6)) :]
    return data[:place] + data[place:] * 2


def hostile() -> list[bytes]:
    """Inputs that promise much, nest deep, or are of the wrong kind throughout."""
    pack = msgpack.packb
    many = 3_000
    return [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff" + b"a" * 100,
        b"\xc9\xff\xff\xff\xff\x05",
        b"\x91" * NESTED_DEEP + b"\xc0",
        b"\x91" * 100_000 + b"\xc0",
        b"\x81\x00" * NESTED_DEEP + b"\xc0",
        pack([[]] * many),
        pack([{}] * many),
        pack([[1, []]] * many),
        pack([0] * many),
        pack([1.5] * many),
        pack(["a"] * many),
        pack([msgpack.ExtType(5, b"")] * many),
        pack([msgpack.Timestamp(5, 5)] * many),
        pack({"a": [b"b"] * many}),
        pack([True] * 12),
        pack(b"x" * 10_000),
        *(pack([tag, *([[]] * arity)]) for tag in range(14) for arity in (1, 5, 9, 12)),
        *(pack([1, tag, *([b"\x00" * 32] * arity)]) for tag in range(4) for arity in (2, 6, 10)),
    ]


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.binary(max_size=70)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=14) | st.dictionaries(st.integers(0, 9), inner, max_size=3),
    max_leaves=30,
).map(lambda value: msgpack.packb(value, use_bin_type=True))
