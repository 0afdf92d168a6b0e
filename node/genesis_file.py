"""genesis.json: the genesis record in a form that people can read, compare and send to each other.

Exact in both directions: reading what was written gives the same record, hence the same hash. Keys are hex,
amounts decimal strings. Code is embedded as base64, or named by a path relative to the file; beside either
stands its hash, which must fit. A file is checked whole: every mistake is reported, each with its place.
"""

import base64
import binascii
import dataclasses
import json
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from consensus.primitives.codec import encode
from consensus.primitives.errors import UserError
from consensus.primitives.guest import code_hash
from consensus.primitives.ids import Amount, Hash, ModuleId, PublicKey
from consensus.relay.genesis import MAX_GENESIS_BYTES, Genesis, GenesisChain, check_genesis
from node.files import write_file
from node.rpc.json_form import to_json

VERSION: Final = 1
MAX_FILE_BYTES: Final = 2 * MAX_GENESIS_BYTES
_MISSING: Final = object()


class GenesisFileError(UserError):
    """A genesis file can not be used. `problems` has one sentence for each mistake, naming its place."""

    def __init__(self, path: Path, problems: tuple[str, ...]) -> None:
        self.problems: Final = problems
        if len(problems) == 1:
            text = f"{path}: {problems[0]}"
        else:
            text = f"{path}: {len(problems)} problems" + "".join(f"\n  {each}" for each in problems)
        super().__init__(text)


def render_genesis(genesis: Genesis) -> str:
    """The JSON text of a genesis record, code embedded; ends in a line feed."""
    table: dict[str, Any] = {"version": VERSION, "hash": genesis.hash.hex()}
    for name, value in to_json(dataclasses.replace(genesis, enclaves=(), chains=())).items():
        table[name] = value
    table["enclaves"] = [_render_code(wasm) for wasm in genesis.enclaves]
    table["chains"] = [
        to_json(dataclasses.replace(chain, code=b"")) | {"code": _render_code(chain.code)}
        for chain in genesis.chains
    ]
    return json.dumps(table, indent=2) + "\n"


def write_genesis(path: Path, genesis: Genesis) -> None:
    """Write genesis.json, whole or not at all. Raises UserError."""
    write_file(path, render_genesis(genesis).encode())


def read_genesis(path: Path) -> Genesis:
    """The checked genesis of a genesis.json. Raises GenesisFileError with everything that is wrong."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        reason = "there is no such file; copy the network's genesis.json there, or make one with `genesis`"
        raise GenesisFileError(path, (reason,)) from None
    except OSError as error:
        raise GenesisFileError(path, (f"can not be read: {error.strerror}",)) from None
    if len(raw) > MAX_FILE_BYTES:
        raise GenesisFileError(path, (f"is larger than {MAX_FILE_BYTES} bytes",))
    return parse_genesis(raw, path)


def parse_genesis(raw: bytes, path: Path) -> Genesis:
    """The checked genesis that JSON bytes say; `path` names them and anchors code paths.

    Raises GenesisFileError.
    """
    try:
        table = json.loads(raw, object_pairs_hook=_no_repeats)
    except json.JSONDecodeError as error:
        raise GenesisFileError(
            path, (f"broken JSON: {error.msg} (line {error.lineno}, column {error.colno})",)
        ) from None
    except (ValueError, RecursionError) as error:
        raise GenesisFileError(path, (f"broken JSON: {error}",)) from None
    if not isinstance(table, dict):
        raise GenesisFileError(path, ("is not a JSON object",))
    if table.pop("version", None) != VERSION:
        raise GenesisFileError(path, (f"version: must be {VERSION}, which is what this program reads",))
    stated = table.pop("hash", None)
    reader = _Reader(path.parent)
    genesis: Genesis = reader.record("", Genesis, table)
    if reader.problems:
        raise GenesisFileError(path, tuple(reader.problems))
    try:
        check_genesis(genesis)
    except UserError as error:
        raise GenesisFileError(path, (str(error).removeprefix("genesis: "),)) from None
    if stated is not None and stated != genesis.hash.hex():
        reason = (
            f"hash: the file says {stated}, its content has {genesis.hash.hex()}: it was altered; copy it "
            "again from the network, or remove `hash` if you meant to change it"
        )
        raise GenesisFileError(path, (reason,))
    return genesis


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {repeated!r} appears twice in one object")
    return table


def _render_code(wasm: bytes) -> dict[str, str]:
    return {"code_hash": code_hash(wasm).hex(), "base64": base64.b64encode(wasm).decode()}


class _Reader:
    """Reads records by their annotations and collects what does not fit, so that all of it is reported."""

    def __init__(self, home: Path) -> None:
        self.problems: Final[list[str]] = []
        self._home = home

    def record(self, where: str, kind: type, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return self._problem(where, "must be an object { … }")
        fields = dataclasses.fields(kind)
        hints = get_type_hints(kind, include_extras=True)
        problems_before = len(self.problems)
        for name in raw:
            if name not in hints:
                self._problem(_join(where, name), "unknown key; check its spelling or remove it")
        values: dict[str, Any] = {}
        for field in fields:
            place = _join(where, field.name)
            if field.name in raw:
                values[field.name] = self._value(place, kind, field.name, hints[field.name], raw[field.name])
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                self._problem(place, "is missing; add it")
        if len(self.problems) > problems_before:
            return None
        try:
            record = kind(**values)
            encode(record)  # widths and bounds are declared once, in the record's annotations
        except ValueError as error:
            return self._problem(where or "the file", str(error))
        return record

    def _value(self, where: str, owner: type, name: str, hint: Any, raw: Any) -> Any:
        if (owner, name) == (GenesisChain, "code"):
            return self._code(where, raw)
        if (owner, name) == (Genesis, "enclaves"):
            return self._items(where, raw, self._code)
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        if isinstance(hint, UnionType):  # a record, or nothing
            if raw is None:
                return None
            hint = get_args(hint)[0]
        if get_origin(hint) is tuple:
            item = get_args(hint)[0]
            return self._items(where, raw, lambda place, each: self._value(place, owner, "", item, each))
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            return self.record(where, hint, raw)
        return self._scalar(where, hint, raw)

    def _items(self, where: str, raw: Any, read: Any) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            self._problem(where, "must be a list [ … ]")
            return ()
        return tuple(read(f"{where}[{index}]", each) for index, each in enumerate(raw))

    def _scalar(self, where: str, hint: Any, raw: Any) -> Any:
        if hint in (PublicKey, Hash, ModuleId, bytes):
            fixed = None if hint is bytes else 32
            return self._hex(where, raw, fixed)
        if hint is Amount:
            if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) <= 39:
                return int(raw)
            return self._problem(where, 'must be an amount: decimal digits in quotes, for example "1000"')
        if hint is str:
            return raw if isinstance(raw, str) else self._problem(where, "must be text in quotes")
        if type(raw) is int:
            return raw
        return self._problem(where, "must be a whole number, without quotes")

    def _hex(self, where: str, raw: Any, length: int | None) -> Any:
        try:
            value = bytes.fromhex(raw) if isinstance(raw, str) and raw == raw.strip() else None
        except ValueError:
            value = None
        if value is None or (length is not None and len(value) != length):
            digits = "hex digits" if length is None else f"{2 * length} hex digits"
            return self._problem(where, f"must be {digits} in quotes")
        return value

    def _code(self, where: str, raw: Any) -> Any:
        if not isinstance(raw, dict) or not set(raw) <= {"path", "base64", "code_hash"}:
            return self._problem(where, 'must be { "code_hash": …, "base64": … } or { "path": … }')
        if ("path" in raw) == ("base64" in raw):
            return self._problem(where, "needs either `path` or `base64`")
        wasm = self._code_bytes(where, raw)
        if wasm is None:
            return None
        stated = raw.get("code_hash", _MISSING)
        if stated is not _MISSING and stated != code_hash(wasm).hex():
            return self._problem(
                f"{where}.code_hash",
                f"says {stated}, but the code has {code_hash(wasm).hex()}; get the right code",
            )
        return wasm

    def _code_bytes(self, where: str, raw: dict[str, Any]) -> bytes | None:
        if "base64" in raw:
            try:
                return base64.b64decode(raw["base64"], validate=True)
            except (binascii.Error, TypeError, ValueError):
                self._problem(f"{where}.base64", "is not base64")
                return None
        if not isinstance(raw["path"], str) or not raw["path"]:
            self._problem(f"{where}.path", "must be text: a path relative to this file")
            return None
        path = self._home / raw["path"]
        try:
            if path.stat().st_size > MAX_GENESIS_BYTES:
                self._problem(f"{where}.path", f"{path} is too large to be a module")
                return None
            return path.read_bytes()
        except OSError as error:
            self._problem(f"{where}.path", f"{path} can not be read: {error.strerror}")
            return None

    def _problem(self, where: str, reason: str) -> None:
        self.problems.append(f"{where}: {reason}")


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
