"""`agora`, the example consumer chain, seen from Python (guests/agora.c).

Accounts with signed, nonce-protected transactions: transfer, key-value put, export of the chain's own units
into its `assets` instance, and challenges of slashes; its inbox brings the replies, the units that come back,
and the relay chain's notices of slashes and validator sets (guests/slashes.h). Integers are little-endian;
amounts 16 bytes; nonces start at 0.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Final

from consensus.primitives.crypto import SIGNATURE_BYTES, SigningKey, hash_tagged
from consensus.primitives.errors import DecodeError
from consensus.primitives.guest import ChainEndpoint, Endpoint, RelayEndpoint
from consensus.primitives.guest import code_hash as hash_of_code
from consensus.primitives.ids import (
    RELAY_CHAIN,
    Amount,
    ChainId,
    Epoch,
    Hash,
    Milliseconds,
    ModuleId,
    Nonce,
    PublicKey,
)
from enclaves.guests import assets

MAX_MESSAGES: Final = 4096
MAX_PUT_KEY_BYTES: Final = 64
MAX_PUT_VALUE_BYTES: Final = 1024
FAULT_BYTES: Final = 412
DISPUTE_MS: Final = 60_000  # an example's; a chain that holds value would take a day
NATIVE_SALT: Final = 0  # of the asset that the chain's own units become
_TAG: Final = b"agora/tx/1"
_HEAD: Final = struct.Struct("<B32sQ")
_ACCOUNT: Final = struct.Struct("<16sQ")
_SLASH: Final = struct.Struct("<32s32s16sQQBB")
_RELAY: Final = struct.Struct("<Q32sQ32sQ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Move units to another account."""

    to: PublicKey
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Set a value under the sender's own key space; key at most 64 bytes, value at most 1,024."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Lock units here and issue as many in the chain's `assets` instance to `holder`."""

    holder: bytes
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """Refute a slash that is pending, by what its notice names as the fault: two votes that do not convict.

    `account` and `epoch` name the slash; `fault` is `slashing_proof.fault_bytes`.
    """

    account: PublicKey
    epoch: Epoch
    fault: bytes


Action = Transfer | Put | Export | Challenge


class Code(IntEnum):
    """What became of one transaction or message."""

    OK = 0
    MALFORMED = 1
    BAD_SIGNATURE = 2
    BAD_NONCE = 3
    NO_FUNDS = 4
    UNKNOWN_SOURCE = 5
    UNKNOWN_REPLY = 6
    OVERFLOW = 7
    NO_ENCLAVE = 8
    TOO_MANY = 9
    FROZEN = 10  # the sender is a validator that was slashed
    NO_SLASH = 11  # that is pending
    OTHER_PROOF = 12  # not what the notice names
    PROOF_HOLDS = 13


class ExportState(IntEnum):
    """Where an export stands: asked for, acknowledged by `assets`, or refused by it and paid back."""

    PENDING = 0
    DONE = 1
    REFUNDED = 2


class SlashState(IntEnum):
    """Where a slash stands: in its window, freezing its validator's account, refuted by a challenge, lifted
    by the relay chain (or it took nothing)."""

    PENDING = 0
    IN_EFFECT = 1
    REFUTED = 2
    LIFTED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account of the chain."""

    balance: Amount
    nonce: Nonce  # next expected


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRecord:
    """An export that was sent to the enclave."""

    account: PublicKey
    amount: Amount
    state: ExportState


@dataclass(frozen=True, slots=True, kw_only=True)
class SlashRecord:
    """What a validator was slashed for in one epoch, as far as the relay chain has told."""

    key: PublicKey  # that it signed with
    fault: Hash  # names the two votes that convict; zero: it rests on a verdict or a record
    amount: Amount  # relay units
    due_ms: Milliseconds  # when it takes effect, if nothing comes between
    number: int  # of the latest notice of it
    offence: int  # as the relay chain numbers them
    state: SlashState


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayRecord:
    """What the relay chain has told of itself."""

    epoch: Epoch  # of the newest set; 0 before the first
    set_root: Hash
    next_slash: int  # the number that the next notice has
    digest: Hash  # of all slashes so far
    missed: int  # slashes that were told to nobody here: the chain did not consume for too long


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockResult:
    """The output of one block: a code per message and per transaction, in order."""

    messages: tuple[Code, ...]
    transactions: tuple[Code, ...]


@cache
def wasm() -> bytes:
    """The committed module."""
    return Path(__file__).with_suffix(".wasm").read_bytes()


@cache
def code_hash() -> Hash:
    """The hash that names the committed module in a chain's record."""
    return hash_of_code(wasm())


def domain(name: str) -> bytes:
    """32 bytes that every signature of a chain of this name binds; put in the state at genesis."""
    return hash_tagged(b"agora/domain/1", name.encode())


def genesis_pairs(
    domain: bytes,
    balances: Mapping[PublicKey, Amount],
    assets_module: ModuleId | None,
    dispute_ms: int = DISPUTE_MS,
) -> list[tuple[bytes, bytes]]:
    """The (raw key, value) pairs of a new chain's tree, sorted by key; without a module no exports.

    `dispute_ms` is for how long a slash can be challenged before it takes effect.
    """
    pairs = {account_key(key): _ACCOUNT.pack(_amount(amount), 0) for key, amount in balances.items()}
    pairs[b"d"] = _exact(domain)
    pairs[b"w"] = struct.pack("<Q", dispute_ms)
    if assets_module is not None:
        pairs[b"m"] = _exact(assets_module)
    return sorted(pairs.items())


# --- transactions and blocks


def sign_transaction(key: SigningKey, domain: bytes, nonce: Nonce, action: Action) -> bytes:
    """One signed transaction's bytes. Raises ValueError on a field out of its range."""
    match action:
        case Transfer(to=to, amount=amount):
            kind, content = 1, _exact(to) + _amount(amount)
        case Put(key=name, value=value):
            if not 1 <= len(name) <= MAX_PUT_KEY_BYTES or len(value) > MAX_PUT_VALUE_BYTES:
                raise ValueError(f"a put of {len(name)} and {len(value)} bytes is out of bounds")
            kind, content = 2, struct.pack("<HH", len(name), len(value)) + name + value
        case Export(holder=holder, amount=amount):
            kind, content = 3, _exact(holder) + _amount(amount)
        case Challenge(account=account, epoch=epoch, fault=fault):
            if len(fault) != FAULT_BYTES:
                raise ValueError(f"a fault of {len(fault)} bytes, not {FAULT_BYTES}")
            kind, content = 4, _exact(account) + struct.pack("<Q", epoch) + fault
    body = _HEAD.pack(kind, key.public, nonce) + content
    return body + key.sign(_TAG + _exact(domain) + body)


def sender_and_nonce(transaction: bytes) -> tuple[PublicKey, Nonce]:
    """Whom a transaction claims to come from, for a collator's ordering. Raises DecodeError."""
    if len(transaction) < _HEAD.size + SIGNATURE_BYTES:
        raise DecodeError(f"a transaction of {len(transaction)} bytes")
    _, sender, nonce = _HEAD.unpack_from(transaction)
    return PublicKey(sender), Nonce(nonce)


def encode_block(
    messages: Sequence[tuple[Endpoint | RelayEndpoint, bytes]], transactions: Sequence[bytes]
) -> bytes:
    """The guest's input for one block, as the node frames it: (source, payload) of each message first."""
    framed = [_encode_source(source) + payload for source, payload in messages]
    return _frame(framed) + _frame(transactions)


def _frame(items: Sequence[bytes]) -> bytes:
    parts = [struct.pack("<I", len(items))]
    for item in items:
        parts += (struct.pack("<I", len(item)), item)
    return b"".join(parts)


def _encode_source(source: Endpoint | RelayEndpoint) -> bytes:
    if isinstance(source, RelayEndpoint):
        return struct.pack("<B32sI", source.WIRE_TAG, bytes(32), RELAY_CHAIN)
    if isinstance(source, ChainEndpoint):
        return struct.pack("<B32sI", source.WIRE_TAG, bytes(32), source.chain)
    return struct.pack("<B32sI", source.WIRE_TAG, source.module, source.chain)


def decode_output(output: bytes) -> BlockResult:
    """A code for each message and transaction of the block. Raises DecodeError."""
    messages, position = _codes(output, 0)
    transactions, position = _codes(output, position)
    if position != len(output):
        raise DecodeError("bytes after a block's codes")
    return BlockResult(messages=messages, transactions=transactions)


def _codes(output: bytes, position: int) -> tuple[tuple[Code, ...], int]:
    if len(output) < position + 4:
        raise DecodeError("a block's output ends early")
    start = position + 4
    end = start + int.from_bytes(output[position:start], "little")
    if len(output) < end:
        raise DecodeError("a block's output ends early")
    try:
        return tuple(map(Code, output[start:end])), end
    except ValueError:
        raise DecodeError("a block's output has an unknown code") from None


# --- state


def account_key(account: PublicKey) -> bytes:
    """Raw state key of an account."""
    return b"a" + account


def decode_account(value: bytes | None) -> Account:
    """An account; absent is empty. Raises DecodeError."""
    if value is None:
        return Account(balance=Amount(0), nonce=Nonce(0))
    if len(value) != _ACCOUNT.size:
        raise DecodeError(f"an account of {len(value)} bytes")
    balance, nonce = _ACCOUNT.unpack(value)
    return Account(balance=assets.decode_amount(balance), nonce=Nonce(nonce))


def value_key(owner: PublicKey, key: bytes) -> bytes:
    """Raw state key of what `owner` put under `key`; the value is stored as it is."""
    return b"k" + owner + key


def locked_key() -> bytes:
    """Raw state key of the units locked here because they exist as an asset; an amount."""
    return b"e"


def export_key(number: int) -> bytes:
    """Raw state key of an export; numbers count from 0."""
    return b"x" + struct.pack("<Q", number)


def decode_export(value: bytes) -> ExportRecord:
    """An export's record. Raises DecodeError."""
    if len(value) != 49 or value[48] not in set(ExportState):
        raise DecodeError("not an export's record")
    return ExportRecord(
        account=PublicKey(value[:32]),
        amount=assets.decode_amount(value[32:48]),
        state=ExportState(value[48]),
    )


def slash_key(account: PublicKey, epoch: Epoch) -> bytes:
    """Raw state key of what a validator was slashed for in an epoch of the relay chain."""
    return b"n" + account + struct.pack("<Q", epoch)


def decode_slash(value: bytes) -> SlashRecord:
    """A slash. Raises DecodeError."""
    if len(value) != _SLASH.size or value[-1] not in set(SlashState):
        raise DecodeError("not a slash's record")
    key, fault, amount, due, number, offence, state = _SLASH.unpack(value)
    return SlashRecord(
        key=PublicKey(key),
        fault=Hash(fault),
        amount=assets.decode_amount(amount),
        due_ms=Milliseconds(due),
        number=number,
        offence=offence,
        state=SlashState(state),
    )


def frozen_key(account: PublicKey) -> bytes:
    """Raw state key of how many slashes are in effect against an account: `u32`, absent for none."""
    return b"v" + account


def relay_key() -> bytes:
    """Raw state key of what the relay chain has told of itself."""
    return b"r"


def decode_relay(value: bytes) -> RelayRecord:
    """What the relay chain has told of itself. Raises DecodeError."""
    if len(value) != _RELAY.size:
        raise DecodeError("not a record of the relay chain")
    epoch, root, number, digest, missed = _RELAY.unpack(value)
    return RelayRecord(
        epoch=Epoch(epoch), set_root=Hash(root), next_slash=number, digest=Hash(digest), missed=missed
    )


def native_asset(chain: ChainId) -> bytes:
    """Id in `assets` of this chain's own units. Raises ValueError for the relay chain, which has none."""
    if chain == RELAY_CHAIN:
        raise ValueError("the relay chain is not an agora")
    return assets.chain_asset_id(chain, NATIVE_SALT)


def _exact(value: bytes) -> bytes:
    if len(value) != 32:
        raise ValueError(f"{len(value)} bytes where 32 are due")
    return value


def _amount(amount: Amount) -> bytes:
    if not 0 <= amount < 1 << 128:
        raise ValueError(f"{amount} is not an unsigned 128-bit amount")
    return amount.to_bytes(16, "little")
