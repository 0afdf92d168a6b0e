"""Types of JSON-RPC parameters: what a client may send, turned into checked values."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from consensus.light.answers import leaf_of
from consensus.light.proofs import MAX_NAMESPACE_BYTES, RelayKey
from consensus.primitives.errors import UserError
from consensus.primitives.guest import MAX_KEY_BYTES
from consensus.primitives.ids import Hash
from node.api import Stage

MAX_WAIT_MS: Final = 120_000
MAX_ITEMS: Final = 10_000


def _checked(parse: Callable[[Any], Any]) -> BeforeValidator:
    def validate(raw: Any) -> Any:
        try:
            return parse(raw)
        except ValueError as error:
            raise PydanticCustomError("phalanx", "{reason}", {"reason": str(error)}) from None

    return BeforeValidator(validate)


def _hex(raw: Any) -> bytes:
    if not isinstance(raw, str):
        raise ValueError("must be hexadecimal text")
    try:
        return bytes.fromhex(raw)
    except ValueError:
        raise ValueError("must be hexadecimal text") from None


def _hex32(raw: Any) -> bytes:
    value = _hex(raw)
    if len(value) != 32:
        raise ValueError(f"must be 64 hex digits (32 bytes), not {len(value)} bytes")
    return value


def _raw_key(raw: Any) -> bytes:
    value = _hex(raw)
    if len(value) > MAX_KEY_BYTES:
        raise ValueError(f"has {len(value)} bytes; a guest's key has at most {MAX_KEY_BYTES}")
    return value


def _wait_stage(raw: Any) -> Stage | None:
    if raw is None:
        return None
    waitable = [str(stage) for stage in Stage if stage is not Stage.UNKNOWN]
    if raw not in waitable:
        raise ValueError(f"must be null or one of {', '.join(waitable)}")
    return Stage(raw)


HexBytes = Annotated[bytes, _checked(_hex)]
HexHash = Annotated[bytes, _checked(_hex32)]
HexRawKey = Annotated[bytes, _checked(_raw_key)]
HexItems = Annotated[list[HexBytes], Field(max_length=MAX_ITEMS)]
HashItems = Annotated[list[HexHash], Field(max_length=MAX_ITEMS)]
ChainNumber = Annotated[int, Field(ge=0, lt=2**32)]
HeightNumber = Annotated[int, Field(ge=0, lt=2**64)]
WaitStage = Annotated[Stage | None, _checked(_wait_stage)]
WaitMilliseconds = Annotated[int, Field(ge=0, le=MAX_WAIT_MS)]
PageSize = Annotated[int, Field(ge=1, le=10_000)]

_PATHS: Final = (
    "account/KEY, validator/KEY, chain/ID, head/ID, module/HASH, instance/HASH/CHAIN, epoch-set/EPOCH, "
    "exposure/EPOCH/KEY, offence/KEY/EPOCH, holdings/KEY, nomination/HASH, election, last-block, parameters, "
    "roster, stake, supply, "
    "or NAMESPACE:HEX for any key of the tree"
)


def relay_key(path: str) -> RelayKey:
    """The leaf that a readable path names, such as `account/<hex>` or `head/1`. Raises UserError."""
    kind, *rest = path.split("/")
    try:
        match kind, rest:
            case "account" | "module" | "validator" | "holdings" | "nomination", [key]:
                return RelayKey(namespace=kind.encode(), key=_hex32(key))
            case "chain" | "head", [number]:
                return RelayKey(namespace=kind.encode(), key=_number(number).to_bytes(4, "big"))
            case "instance", [module, number]:
                return RelayKey(
                    namespace=b"instance", key=_hex32(module) + _number(number).to_bytes(4, "big")
                )
            case "epoch-set", [number]:
                return RelayKey(namespace=b"epoch-set", key=_number(number).to_bytes(8, "big"))
            case "offence", [account, epoch]:
                return RelayKey(namespace=b"offence", key=_hex32(account) + _number(epoch).to_bytes(8, "big"))
            case "exposure", [epoch, account]:
                return RelayKey(
                    namespace=b"exposure", key=_number(epoch).to_bytes(8, "big") + _hex32(account)
                )
            case "last-block" | "parameters" | "supply" | "roster" | "stake" | "election", []:
                return RelayKey(namespace=b"relay", key=kind.encode())
    except ValueError as error:
        raise UserError(f"path {path!r}: a part of it {error}") from None
    namespace, colon, raw = path.partition(":")
    if colon and 0 < len(namespace.encode()) <= MAX_NAMESPACE_BYTES:
        try:
            return RelayKey(namespace=namespace.encode(), key=_raw_key(raw))
        except ValueError as error:
            raise UserError(f"path {path!r}: what follows the colon {error}") from None
    raise UserError(f"path {path!r} is unknown; write {_PATHS}")


def state_key(path: str) -> Hash:
    """The tree key that a readable path names. Raises UserError."""
    return leaf_of(relay_key(path))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) >= 2**32:
        raise ValueError("must be a number")
    return int(text)
