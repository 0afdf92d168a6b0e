"""Types of JSON-RPC parameters: what a client may send, turned into checked values."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from consensus.light.leaves import (
    LAST_BLOCK_KEY,
    head_key,
    instance_key,
)
from consensus.primitives.errors import UserError
from consensus.primitives.guest import MAX_KEY_BYTES, InstanceEndpoint
from consensus.primitives.ids import ChainId, Hash, ModuleId, PublicKey
from consensus.primitives.tree import tree_key
from consensus.relay.ledger import (
    PARAMETERS_KEY,
    SUPPLY_KEY,
    account_key,
)
from consensus.relay.registry import (
    chain_key,
    module_key,
)
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
    "account/KEY, chain/ID, head/ID, module/HASH, instance/HASH/CHAIN, last-block, parameters, supply, "
    "or NAMESPACE:HEX for any key of the tree"
)


def state_key(path: str) -> Hash:
    """The tree key that a readable path names, such as `account/<hex>` or `head/1`. Raises UserError."""
    kind, *rest = path.split("/")
    try:
        match kind, rest:
            case "account", [key]:
                return account_key(PublicKey(_hex32(key)))
            case "chain", [number]:
                return chain_key(_number(number))
            case "head", [number]:
                return head_key(_number(number))
            case "module", [module]:
                return module_key(ModuleId(_hex32(module)))
            case "instance", [module, number]:
                endpoint = InstanceEndpoint(module=ModuleId(_hex32(module)), chain=ChainId(_number(number)))
                return instance_key(endpoint)
            case "last-block", []:
                return LAST_BLOCK_KEY
            case "parameters", []:
                return PARAMETERS_KEY
            case "supply", []:
                return SUPPLY_KEY
    except ValueError as error:
        raise UserError(f"path {path!r}: a part of it {error}") from None
    namespace, colon, raw = path.partition(":")
    if colon and namespace:
        try:
            return tree_key(namespace.encode(), _hex(raw))
        except ValueError as error:
            raise UserError(f"path {path!r}: what follows the colon {error}") from None
    raise UserError(f"path {path!r} is unknown; write {_PATHS}")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) >= 2**32:
        raise ValueError("must be a chain number")
    return int(text)
