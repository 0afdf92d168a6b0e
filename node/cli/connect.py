"""Which node to ask and with which key to sign: options, environment, or the devnet that runs here.

A devnet writes `devnet.json` into its directory: `rpc` and `collator_rpc` (lists of URLs), `keys` (name → key
file), `chains` (name → id), `enclaves` (name → module id). Its directory is `.devnet` unless PHALANX_DEVNET
says otherwise; `--rpc` and PHALANX_RPC win over it.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from consensus.primitives.crypto import SigningKey
from consensus.primitives.errors import UserError
from consensus.primitives.ids import ChainId, Hash, ModuleId, PublicKey
from node import keys
from node.client import ask
from node.config import DEFAULT_RPC_PORT, Address, parse_address, parse_public_key

F = TypeVar("F", bound=Callable[..., Any])
DEVNET_FILE: Final = "devnet.json"
DEVNET_DIRECTORIES: Final = (".devnet", ".demo")
DEFAULT_URL: Final = f"http://127.0.0.1:{DEFAULT_RPC_PORT}"

rpc_option = click.option(
    "--rpc",
    "rpc",
    envvar="PHALANX_RPC",
    metavar="URL",
    help="The node to ask. Default: the devnet in .devnet, else " + DEFAULT_URL,
)
keys_option = click.option(
    "--keys-dir",
    envvar="PHALANX_KEYS",
    type=click.Path(path_type=Path),
    help="Directory of named keys. Default: ~/.phalanx/keys",
)
passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    help=f"File whose first line is the keystore's passphrase. Default: {keys.PASSPHRASE_VARIABLE}",
)


def devnet_description() -> dict[str, Any]:
    """What the devnet found here says of itself; empty where there is none. Raises UserError."""
    chosen = os.environ.get("PHALANX_DEVNET")
    candidates = [Path(chosen)] if chosen else [Path(each) for each in DEVNET_DIRECTORIES]
    for directory in candidates:
        file = directory / DEVNET_FILE if directory.suffix != ".json" else directory
        try:
            description = json.loads(file.read_text())
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: can not be used ({error}); start the devnet again") from None
        if not isinstance(description, dict):
            raise UserError(f"{file}: is not a devnet's description; start the devnet again")
        return {"home": str(file.parent)} | description
    if chosen:
        raise UserError(f"PHALANX_DEVNET is {chosen}, but there is no {DEVNET_FILE} in it")
    return {}


def rpc_url(given: str | None) -> str:
    """The node to ask."""
    return given or _first(devnet_description(), "rpc") or DEFAULT_URL


def collator_url(given: str | None) -> str:
    """The node to ask about a consumer chain's transactions: one that collates."""
    description = devnet_description()
    return given or _first(description, "collator_rpc") or _first(description, "rpc") or DEFAULT_URL


def _first(description: dict[str, Any], field: str) -> str | None:
    urls = description.get(field)
    return str(urls[0]) if isinstance(urls, list) and urls else None


def keys_directory(given: Path | None) -> Path:
    """Where named keys live."""
    return given or Path.home() / ".phalanx" / "keys"


def find_key_file(name: str, directory: Path | None) -> Path:
    """The key file that a name or path means: a path, a named key, a devnet's. Raises UserError."""
    direct = Path(name)
    if direct.is_file():
        return direct
    named = keys_directory(directory) / f"{name}{keys.KEY_SUFFIX}"
    if named.is_file():
        return named
    description = devnet_description()
    known = description.get("keys", {})
    if name in known:
        file = Path(known[name])
        return file if file.is_absolute() or file.exists() else Path(description["home"]) / file
    hint = f"; the devnet's keys are {', '.join(sorted(known))}" if known else ""
    raise UserError(f"no key called {name!r}: make one with `phalanx key new {name}`{hint}")


def open_key(name: str, directory: Path | None, passphrase_file: Path | None) -> SigningKey:
    """The signing key that a name or path means. Raises UserError."""
    path = find_key_file(name, directory)
    passphrase = keys.passphrase_from(passphrase_file) if keys.read_header(path).encrypted else None
    return keys.read_key(path, passphrase).signing_key


def find_account(text: str, directory: Path | None) -> PublicKey:
    """An account by public key (64 hex digits), key name or key file. Raises UserError."""
    if len(text) == 64 and all(each in "0123456789abcdefABCDEF" for each in text):
        try:
            return parse_public_key(text)
        except ValueError as error:
            raise UserError(str(error)) from None
    return keys.read_header(find_key_file(text, directory)).public


def find_chain(text: str, rpc: str | None) -> ChainId:
    """A chain by number, by its name in the devnet here, or by a name that one chain of the network has.

    Raises UserError.
    """
    known = devnet_description().get("chains", {})
    if text in known:
        return ChainId(int(known[text]))
    if text.isascii() and text.isdigit() and int(text) < 1 << 32:
        return ChainId(int(text))
    named = [each.chain for each in ask(rpc_url(rpc), lambda client: client.chains()) if each.name == text]
    if len(named) == 1:
        return named[0]
    if named:
        numbers = ", ".join(map(str, named))
        raise UserError(f"chains {numbers} are all called {text!r}: give the number of the one you mean")
    raise UserError(f"no chain is called {text!r}: see `phalanx chain list`")


def find_module(text: str) -> ModuleId:
    """An enclave by module id (64 hex digits), or by its name in the devnet here. Raises UserError."""
    known = devnet_description().get("enclaves", {})
    try:
        module = bytes.fromhex(known.get(text, text))
    except ValueError:
        module = b""
    if len(module) != 32:
        hint = f"; the devnet has {', '.join(sorted(known))}" if known else ""
        raise UserError(f"no enclave {text!r}: give its 64 hex digits, see `phalanx enclave list`{hint}")
    return ModuleId(module)


class AmountType(click.ParamType[Any]):
    """An amount on the command line: decimal digits, underscores allowed."""

    name = "amount"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        digits = str(value).replace("_", "")
        if not (digits.isascii() and digits.isdigit()) or int(digits) >> 128:
            self.fail(f"{value!r} is not an amount: write units as a whole number", parameter, context)
        return int(digits)


class HashType(click.ParamType[Hash]):
    """32 bytes on the command line: 64 hex digits. `what` they are is told to who wrote anything else."""

    def __init__(self, name: str, what: str) -> None:
        self.name = name
        self.what = what

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Hash:
        try:
            raw = value if isinstance(value, bytes) else bytes.fromhex(str(value))
        except ValueError:
            raw = b""
        if len(raw) != 32:
            self.fail(f"{value!r} is not {self.what}: write 64 hex digits", parameter, context)
        return Hash(raw)


class HexType(click.ParamType[Any]):
    """Bytes on the command line: hexadecimal, `text:…` for UTF-8, or `@file` for a file's content."""

    name = "bytes"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> bytes:
        if isinstance(value, bytes):
            return value
        text = str(value)
        try:
            if text.startswith("text:"):
                return text.removeprefix("text:").encode()
            if text.startswith("@"):
                return Path(text[1:]).read_bytes()
            return bytes.fromhex(text)
        except OSError as error:
            self.fail(f"{text[1:]} can not be read: {error.strerror}", parameter, context)
        except ValueError:
            self.fail(
                f"{value!r} is not hexadecimal; write text:… for text, @file for a file", parameter, context
            )


class AddressType(click.ParamType[Any]):
    """`host:port`, or `off` where `or_off` says so, which becomes None."""

    name = "host:port"

    def __init__(self, *, or_off: bool) -> None:
        self.or_off = or_off

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> Address | None:
        if isinstance(value, Address):
            return value
        if self.or_off and value == "off":
            return None
        try:
            return parse_address(value)
        except ValueError as error:
            self.fail(str(error), parameter, context)


AMOUNT: Final = AmountType()
HASH: Final = HashType("hash", "a hash")
NETWORK: Final = HashType("network", "a genesis hash")
BYTES: Final = HexType()
ADDRESS: Final = AddressType(or_off=False)
ADDRESS_OR_OFF: Final = AddressType(or_off=True)
