"""A node's settings: one TOML file, validated whole (DESIGN.md section 9).

`load_config` reports every mistake of a file at once; each report names the key, what is wrong and what would
be right. What is read is frozen, and its paths are absolute: nothing else of the node looks at the file.
"""

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from consensus.primitives.crypto import is_valid_public_key
from consensus.primitives.errors import UserError
from consensus.primitives.ids import ChainId, PublicKey
from node.api import Role

CONFIG_FILE: Final = "config.toml"
DEFAULT_P2P_PORT: Final = 7700
DEFAULT_RPC_PORT: Final = 7800
MIN_RETENTION_BLOCKS: Final = 1_024
MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024  # 200 peers take some 30 KiB


class ConfigError(UserError):
    """The settings can not be used. `problems` has one sentence for each mistake, naming its key."""

    def __init__(self, path: Path, problems: tuple[str, ...]) -> None:
        self.path: Final = path
        self.problems: Final = problems
        if len(problems) == 1:
            text = f"{path}: {problems[0]}"
        else:
            text = f"{path}: {len(problems)} problems" + "".join(f"\n  {each}" for each in problems)
        super().__init__(text)


class Address(NamedTuple):
    """A TCP address, as `host:port` in text; an IPv6 literal in brackets."""

    host: str
    port: int

    @property
    def is_literal(self) -> bool:
        """Whether the host is an IP address, which nobody has to be asked for."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: object) -> Address:
    """The address that `host:port` names. Raises ValueError saying what is wrong with it."""
    if isinstance(text, Address):
        return text
    if not isinstance(text, str):
        raise ValueError('write it as "host:port", for example "127.0.0.1:7700"')
    host, colon, digits = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f'{text!r} is ambiguous; put an IPv6 address in brackets: "[::1]:7700"')
    if not colon or not host or any(each.isspace() for each in host):
        raise ValueError(f'{text!r} is not "host:port", for example "127.0.0.1:7700"')
    if not (digits.isascii() and digits.isdigit()) or int(digits) > 65_535:
        raise ValueError(f"{text!r} has no port between 0 and 65535 after the colon")
    return Address(host, int(digits))


def parse_public_key(text: object) -> PublicKey:
    """The Ed25519 key of 64 hex digits. Raises ValueError saying what is wrong with it."""
    if isinstance(text, bytes) and is_valid_public_key(text):
        return PublicKey(text)
    if not isinstance(text, str) or len(text) != 64:
        raise ValueError("write the public key as 64 hex digits; `phalanx key show` prints it")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise ValueError("write the public key as 64 hex digits; `phalanx key show` prints it") from None
    if len(key) != 32 or not is_valid_public_key(key):
        raise ValueError(f"{text} is not a usable Ed25519 key; copy it again from its owner")
    return PublicKey(key)


def _as_problem(parse: Any) -> BeforeValidator:
    """Pydantic's form of a parser whose ValueError is already a sentence for people."""

    def validate(raw: object) -> Any:
        try:
            return parse(raw)
        except ValueError as error:
            raise PydanticCustomError("phalanx", "{reason}", {"reason": str(error)}) from None

    return BeforeValidator(validate)


def _parse_role(raw: object) -> Role:
    try:
        return Role(raw)  # type: ignore[arg-type]
    except ValueError:
        raise ValueError(f"{raw!r} is not a role; write one of {', '.join(map(str, Role))}") from None


def _parse_listen(raw: object) -> Address | None:
    return None if raw is None or raw == "off" else parse_address(raw)


def _parse_path(raw: object) -> Path:
    if isinstance(raw, Path):
        return raw
    if not isinstance(raw, str) or not raw:
        raise ValueError("write a path as text; a relative one starts at this file's directory")
    return Path(raw)


class CheckpointSetting(NamedTuple):
    """A block that the operator checked by other means, as `HEIGHT:HASH` in text."""

    height: int
    hash: bytes


def _parse_checkpoint(raw: object) -> CheckpointSetting | None:
    if raw is None or isinstance(raw, CheckpointSetting):
        return raw
    height, colon, digits = raw.partition(":") if isinstance(raw, str) else ("", "", "")
    if not (colon and height.isascii() and height.isdigit() and len(digits) == 64 and _is_hex(digits)):
        raise ValueError('write it as "HEIGHT:HASH", the hash as 64 hex digits')
    return CheckpointSetting(int(height), bytes.fromhex(digits))


def _is_hex(digits: str) -> bool:
    return all(each in "0123456789abcdefABCDEF" for each in digits)


AddressField = Annotated[Address, _as_problem(parse_address)]
ListenField = Annotated[Address | None, _as_problem(_parse_listen)]
PublicKeyField = Annotated[bytes, _as_problem(parse_public_key)]
RoleField = Annotated[Role, _as_problem(_parse_role)]
PathField = Annotated[Path, _as_problem(_parse_path)]
CheckpointField = Annotated[CheckpointSetting | None, _as_problem(_parse_checkpoint)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Paths(_Section):
    """Where the node's files are; absolute once loaded."""

    genesis: PathField = Path("genesis.json")
    data: PathField = Path("data")  # the journal and the store
    keys: PathField = Path("keys")  # consensus.key and identity.key


class PeerConfig(_Section):
    """A peer by its node identity; without an address it is let in but not dialled."""

    name: Annotated[str, Field(max_length=64)] = ""
    identity: PublicKeyField
    address: AddressField | None = None


class NetworkConfig(_Section):
    """The one TCP port for peers."""

    listen: ListenField = Address("0.0.0.0", DEFAULT_P2P_PORT)  # "off": only dials
    advertise: AddressField | None = None  # what other operators put into their `peers`; None: as `listen`
    peers: tuple[PeerConfig, ...] = ()

    @property
    def identities(self) -> frozenset[bytes]:
        """Of the peers."""
        return frozenset(each.identity for each in self.peers)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and isinstance(raw.get("peers"), list):
            return raw | {"peers": tuple(raw["peers"])}
        return raw

    @model_validator(mode="after")
    def _peers_are_distinct(self) -> Self:
        identities = [peer.identity for peer in self.peers]
        for index, identity in enumerate(identities):
            if identity in identities[:index]:
                raise _problem(f"peers.{index}.identity: {identity.hex()} appears twice; remove one entry")
        return self


class RpcConfig(_Section):
    """The one HTTP port: JSON-RPC, subscriptions, metrics, health."""

    listen: ListenField = Address("127.0.0.1", DEFAULT_RPC_PORT)  # "off": nothing is served
    max_body_bytes: Annotated[int, Field(ge=64 * 1024, le=256 * 1024 * 1024)] = 16 * 1024 * 1024
    max_subscribers: Annotated[int, Field(ge=0, le=10_000)] = 64


class JournalConfig(_Section):
    """`fsync`: durable before a signature leaves. `os`: survives a killed process, not a power cut.

    Of the journal alone: what the store holds may have left the journal, so the store always syncs.
    """

    sync: Literal["fsync", "os"] = "fsync"


class ConsensusConfig(_Section):
    """Local policies that never affect safety (CONSENSUS.md sections 11 and 13.4)."""

    amnesia: Literal["next_epoch", "probe", "refuse"] = "next_epoch"
    timers: Literal["lan", "wan"] = "lan"


class LogConfig(_Section):
    """Events to stderr."""

    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"


class CollatorConfig(_Section):
    """Which consumer chain this node builds blocks for."""

    chain: Annotated[int, Field(ge=1, lt=2**32)]

    @property
    def chain_id(self) -> ChainId:
        """The chain, as its type."""
        return ChainId(self.chain)


class MempoolConfig(_Section):
    """Bounds of transactions waiting for a block."""

    max_transactions: Annotated[int, Field(ge=1, le=10_000_000)] = 50_000
    max_bytes: Annotated[int, Field(ge=1024 * 1024, le=16 * 1024**3)] = 64 * 1024 * 1024
    max_per_account: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000


class RetentionConfig(_Section):
    """How much history is kept, in relay blocks; and how often a state is kept for peers to fetch.

    The ends of epochs, with their proofs, are never dropped.
    """

    states: Annotated[int, Field(ge=0)] = 256  # versions of the state; 0 keeps all
    blocks: Annotated[int, Field(ge=0)] = 0  # blocks with proofs and receipts; 0 keeps all
    snapshot_seconds: Annotated[int, Field(ge=0, le=86_400)] = 60  # of block time; 0 serves no states

    @field_validator("blocks")
    @classmethod
    def _peers_can_catch_up(cls, blocks: int) -> int:
        if 0 < blocks < MIN_RETENTION_BLOCKS:
            raise _problem(
                f"{blocks} is too few: a peer that restarts needs the blocks since, and evidence the epochs"
                f" before; keep at least {MIN_RETENTION_BLOCKS}, or 0 for all"
            )
        return blocks


class SyncConfig(_Section):
    """How a node that is behind catches up: by executing every block, or by fetching a recent state."""

    mode: Literal["auto", "blocks", "state"] = "auto"
    threshold: Annotated[int, Field(ge=64, le=10**12)] = 10_000  # blocks behind, above which auto fetches
    trusted: CheckpointField = None


class WorkerConfig(_Section):
    """Disposable processes that run guests."""

    guests: Annotated[int, Field(ge=1, le=64)] = 1


class NodeConfig(_Section):
    """Everything that an operator sets. `home` is the directory that the file is in."""

    home: PathField
    name: Annotated[str, Field(min_length=1, max_length=64)]
    role: RoleField = Role.VALIDATOR
    paths: Paths = Paths()
    network: NetworkConfig = NetworkConfig()
    rpc: RpcConfig = RpcConfig()
    journal: JournalConfig = JournalConfig()
    consensus: ConsensusConfig = ConsensusConfig()
    log: LogConfig = LogConfig()
    collator: CollatorConfig | None = None
    mempool: MempoolConfig = MempoolConfig()
    retention: RetentionConfig = RetentionConfig()
    sync: SyncConfig = SyncConfig()
    workers: WorkerConfig = WorkerConfig()

    @model_validator(mode="after")
    def _role_has_its_section(self) -> Self:
        if self.role is Role.COLLATOR and self.collator is None:
            raise _problem("collator.chain: a collator needs a chain; add [collator] with chain = 1")
        if self.role is not Role.COLLATOR and self.collator is not None:
            raise _problem(f'collator: role is "{self.role}"; remove [collator] or write role = "collator"')
        return self

    @property
    def genesis_path(self) -> Path:
        """genesis.json, absolute."""
        return self.home / self.paths.genesis

    @property
    def data_path(self) -> Path:
        """The directory of journal and store, absolute."""
        return self.home / self.paths.data

    @property
    def keys_path(self) -> Path:
        """The keystore directory, absolute."""
        return self.home / self.paths.keys

    @property
    def advertised(self) -> Address | None:
        """Where peers should dial this node."""
        return self.network.advertise or self.network.listen


def _problem(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("phalanx", "{reason}", {"reason": sentence})


def config_path(path: Path) -> Path:
    """The file meant by a node's directory or by the file itself."""
    return path / CONFIG_FILE if path.is_dir() else path


def load_config(path: Path) -> NodeConfig:
    """Read and check the config file `path`, or the one in directory `path`. Raises ConfigError."""
    file = config_path(path)
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        raise ConfigError(file, ("there is no such file; make one with `phalanx init`",)) from None
    except OSError as error:
        raise ConfigError(file, (f"can not be read: {error.strerror}",)) from None
    if len(raw) > MAX_CONFIG_BYTES:
        raise ConfigError(file, (f"has {len(raw)} bytes; a config has at most {MAX_CONFIG_BYTES}",))
    return parse_config(raw, file)


def parse_config(raw: bytes, file: Path) -> NodeConfig:
    """The config that TOML bytes say; `file` names them and anchors relative paths. Raises ConfigError."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(file, (f"line {line}: not UTF-8 text; save the file as UTF-8",)) from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = str(error).replace(
            "at end of document", f"at end of document, line {text.count(chr(10)) + 1}"
        )
        raise ConfigError(file, (f"broken TOML: {where}",)) from None  # tomllib gives line and column
    if "home" in table:
        raise ConfigError(file, ("home: unknown key; remove it (it is the directory of this file)",))
    try:
        return NodeConfig.model_validate(table | {"home": file.resolve().parent})
    except ValidationError as error:
        raise ConfigError(file, tuple(_sentence(each) for each in error.errors())) from None


_WORDS: Final = {
    "string_type": "must be text, in quotes",
    "int_type": "must be a whole number, without quotes",
    "bool_type": "must be true or false",
    "model_type": "must be a table, written as [{key}]",
    "tuple_type": "must be a list of tables, written as [[{key}]]",
}


def _sentence(error: ErrorDetails) -> str:
    """One line for people: key, what is wrong, what would be right."""
    key = ".".join(str(part) for part in error["loc"])
    kind, context = error["type"], error.get("ctx", {})
    if kind == "phalanx":
        reason = str(context["reason"])
        if not key:
            return reason
        return f"{key}.{reason}" if reason.startswith("peers.") else f"{key}: {reason}"
    if kind == "extra_forbidden":
        return f"{key}: unknown key; check its spelling and the section it is in, or remove it"
    if kind == "missing":
        return f"{key}: is missing; add it"
    if kind == "literal_error":
        return f"{key}: must be {context['expected']}"
    if kind in _WORDS:
        return f"{key}: {_WORDS[kind].format(key=key)}"
    message = error["msg"]
    return f"{key}: {message[0].lower()}{message[1:]}"
