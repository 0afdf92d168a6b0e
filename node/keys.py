"""Keystore files: one Ed25519 seed each, encrypted under a passphrase, readable by their owner alone.

A file is JSON: `version`, `purpose`, `name`, `public` and either `seed` (plaintext, for test networks) or
`cipher`: the seed under XChaCha20-Poly1305 with a key that argon2id derives from the passphrase. Version,
purpose, name and public key are authenticated with it, so a file can not be relabelled; the seed must also
give the public key, so a damaged file is never used.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nacl import bindings, pwhash, utils
from nacl.exceptions import CryptoError

from consensus.primitives import crypto
from consensus.primitives.crypto import SigningKey
from consensus.primitives.errors import UserError
from consensus.primitives.ids import PublicKey, SecretSeed
from node.files import sync_directory

VERSION: Final = 1
CONSENSUS_FILE: Final = "consensus.key"
CONSENSUS_FILES: Final = "consensus*.key"  # that one, and those it is rotated to
IDENTITY_FILE: Final = "identity.key"
PASSPHRASE_VARIABLE: Final = "PHALANX_PASSPHRASE"
KEY_SUFFIX: Final = ".key"
MAX_FILE_BYTES: Final = 16 * 1024
PURPOSES: Final = ("consensus", "identity", "account")
_MAX_OPS: Final = 16
_MAX_MEMORY_BYTES: Final = 1024**3


class KeyFileError(UserError):
    """A keystore file can not be used; the text says which and what to do."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What argon2id spends on one passphrase: passes and memory, in bytes."""

    passes: int
    memory_bytes: int


STRONG: Final = Cost(pwhash.argon2id.OPSLIMIT_MODERATE, pwhash.argon2id.MEMLIMIT_MODERATE)
"""libsodium's "moderate": 3 passes over 256 MiB, about 0.7 s; a node pays it once, at its start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHeader:
    """What a keystore file says without its passphrase."""

    path: Path
    name: str
    purpose: str
    public: PublicKey
    encrypted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """An opened keystore file. `seed` stays out of logs: it is not in the repr."""

    header: KeyHeader
    seed: SecretSeed

    @property
    def signing_key(self) -> SigningKey:
        """The key, ready to sign."""
        return SigningKey(self.seed)

    def __repr__(self) -> str:
        return f"StoredKey({self.header.purpose} {self.header.name!r}, public={self.header.public.hex()})"


def new_seed() -> SecretSeed:
    """32 bytes from the operating system."""
    return SecretSeed(os.urandom(crypto.KEY_BYTES))


def passphrase_from(file: Path | None, environment: Mapping[str, str] = os.environ) -> bytes | None:
    """The first line of `file`, else PHALANX_PASSPHRASE, else None. Raises KeyFileError."""
    if file is None:
        value = environment.get(PASSPHRASE_VARIABLE)
        return value.encode() if value else None
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise KeyFileError(f"passphrase file {file}: can not be read: {error.strerror}") from None
    if not lines or not lines[0]:
        raise KeyFileError(f"passphrase file {file}: its first line is empty; write the passphrase there")
    return lines[0]


def write_key(
    path: Path, *, seed: SecretSeed, name: str, purpose: str, passphrase: bytes | None, cost: Cost = STRONG
) -> KeyHeader:
    """Create keystore file `path`, mode 0600, durable. Raises KeyFileError; never overwrites a key."""
    if purpose not in PURPOSES:
        raise ValueError(f"{purpose!r} is no purpose of a key")
    public = crypto.public_key(seed)
    content: dict[str, Any] = {
        "version": VERSION,
        "purpose": purpose,
        "name": name,
        "public": public.hex(),
    }
    if passphrase is None:
        content["seed"] = seed.hex()
    else:
        content["cipher"] = _encrypt(seed, passphrase, cost, _bound_data(purpose, name, public))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyFileError(f"{path}: there is a key already, which is kept; move it away first") from None
    except OSError as error:
        raise KeyFileError(f"{path}: can not be created: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)  # half a key would only keep a node from starting
        raise KeyFileError(f"{path}: can not be written: {error.strerror}") from None
    return KeyHeader(path=path, name=name, purpose=purpose, public=public, encrypted=passphrase is not None)


def read_header(path: Path) -> KeyHeader:
    """What `path` says of itself, unproven until it is opened. Raises KeyFileError."""
    return _header(path, _read(path))


def read_key(path: Path, passphrase: bytes | None, *, purpose: str | None = None) -> StoredKey:
    """Open keystore file `path`. Raises KeyFileError: missing, open to others, damaged, wrong passphrase,
    or made for another `purpose`."""
    content = _read(path)
    _refuse_open_permissions(path)
    header = _header(path, content)
    if purpose is not None and header.purpose != purpose:
        raise KeyFileError(f"{path}: is a key for {header.purpose}; a key for {purpose} belongs here")
    if not header.encrypted:
        seed = _hex(path, content, "seed", crypto.KEY_BYTES)
    elif passphrase is None:
        raise KeyFileError(
            f"{path}: is encrypted; give its passphrase by --passphrase-file or {PASSPHRASE_VARIABLE}"
        )
    else:
        bound = _bound_data(header.purpose, header.name, header.public)
        seed = _decrypt(path, content["cipher"], passphrase, bound)
    if crypto.public_key(SecretSeed(seed)) != header.public:
        raise KeyFileError(f"{path}: is damaged: its secret does not match its public key; restore a backup")
    return StoredKey(header=header, seed=SecretSeed(seed))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKeys:
    """What a node signs with. An observer has no consensus key; a validator has one, and beside it those
    that it rotates to: the set of each epoch says which of them signs."""

    identity: StoredKey
    consensus: tuple[StoredKey, ...] = ()


def open_node_keys(directory: Path, passphrase_file: Path | None, *, validator: bool) -> NodeKeys:
    """The keys in a node's keystore directory: `identity.key`, and of a validator every `consensus*.key`.

    Raises KeyFileError.
    """
    paths = sorted(directory.glob(CONSENSUS_FILES)) if validator else []
    if validator and not paths:
        paths = [directory / CONSENSUS_FILE]  # which is missing: reading it says so
    own = directory / IDENTITY_FILE
    encrypted = any(read_header(path).encrypted for path in (own, *paths))
    passphrase = passphrase_from(passphrase_file) if encrypted else None
    return NodeKeys(
        identity=read_key(own, passphrase, purpose="identity"),
        consensus=tuple(read_key(path, passphrase, purpose="consensus") for path in paths),
    )


def list_keys(directory: Path) -> list[KeyHeader]:
    """The headers of all `*.key` files of a directory, by name. Raises KeyFileError on the first bad one."""
    if not directory.is_dir():
        return []
    return [read_header(path) for path in sorted(directory.glob(f"*{KEY_SUFFIX}"))]


def _bound_data(purpose: str, name: str, public: PublicKey) -> bytes:
    fields = json.dumps([VERSION, purpose, name], ensure_ascii=True)
    return b"PHALANX/keystore/1\x00" + fields.encode() + b"\x00" + public


def _encrypt(seed: SecretSeed, passphrase: bytes, cost: Cost, bound: bytes) -> dict[str, Any]:
    salt = utils.random(pwhash.argon2id.SALTBYTES)
    nonce = utils.random(bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES)
    key = pwhash.argon2id.kdf(32, passphrase, salt, opslimit=cost.passes, memlimit=cost.memory_bytes)
    sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(seed, bound, nonce, key)
    return {
        "kdf": "argon2id",
        "passes": cost.passes,
        "memory_bytes": cost.memory_bytes,
        "salt": salt.hex(),
        "aead": "xchacha20poly1305",
        "nonce": nonce.hex(),
        "sealed": sealed.hex(),
    }


def _decrypt(path: Path, cipher: Any, passphrase: bytes, bound: bytes) -> bytes:
    if not isinstance(cipher, dict) or (cipher.get("kdf"), cipher.get("aead")) != (
        "argon2id",
        "xchacha20poly1305",
    ):
        raise KeyFileError(f"{path}: is encrypted in a way that this version does not know; upgrade")
    passes, memory = cipher.get("passes"), cipher.get("memory_bytes")
    if type(passes) is not int or type(memory) is not int:
        raise KeyFileError(f"{path}: is damaged: `passes` and `memory_bytes` must be whole numbers")
    if not (1 <= passes <= _MAX_OPS and pwhash.argon2id.MEMLIMIT_MIN <= memory <= _MAX_MEMORY_BYTES):
        raise KeyFileError(f"{path}: asks for {passes} passes over {memory} bytes, outside the sane range")
    salt = _hex(path, cipher, "salt", pwhash.argon2id.SALTBYTES)
    nonce = _hex(path, cipher, "nonce", bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES)
    sealed = _hex(
        path, cipher, "sealed", crypto.KEY_BYTES + bindings.crypto_aead_xchacha20poly1305_ietf_ABYTES
    )
    key = pwhash.argon2id.kdf(32, passphrase, salt, opslimit=passes, memlimit=memory)
    try:
        return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, bound, nonce, key)
    except CryptoError:
        raise KeyFileError(f"{path}: wrong passphrase, or the file was altered") from None


def _refuse_open_permissions(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise KeyFileError(f"{path}: is open to others (mode {mode:04o}); run: chmod 600 {path}")


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise KeyFileError(f"{path}: no such key; `phalanx init` or `phalanx key new` makes one") from None
    except OSError as error:
        raise KeyFileError(f"{path}: can not be read: {error.strerror}") from None
    try:
        content = json.loads(raw) if len(raw) <= MAX_FILE_BYTES else None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise KeyFileError(f"{path}: is not a keystore file, or is damaged; restore a backup")
    if content.get("version") != VERSION:
        raise KeyFileError(f"{path}: has version {content.get('version')!r}; this program reads {VERSION}")
    return content


def _header(path: Path, content: dict[str, Any]) -> KeyHeader:
    name, purpose = content.get("name"), content.get("purpose")
    if not isinstance(name, str) or purpose not in PURPOSES or ("seed" in content) == ("cipher" in content):
        raise KeyFileError(f"{path}: is damaged: name, purpose or secret is missing; restore a backup")
    public = PublicKey(_hex(path, content, "public", crypto.KEY_BYTES))
    return KeyHeader(path=path, name=name, purpose=purpose, public=public, encrypted="cipher" in content)


def _hex(path: Path, content: dict[str, Any], field: str, length: int) -> bytes:
    value = content.get(field)
    try:
        raw = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        raw = b""
    if len(raw) != length:
        raise KeyFileError(f"{path}: is damaged: `{field}` must be {2 * length} hex digits; restore a backup")
    return raw
