"""`agora`, the example consumer chain, seen from Python (guests/agora.c).

Accounts with signed, nonce-protected transactions: transfer, key-value put, and export of the chain's own
units into its `assets` instance; its inbox brings the replies and the units that come back. Integers are
little-endian; amounts 16 bytes; nonces start at 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from consensus.primitives.crypto import SigningKey
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import Amount, ModuleId, Nonce, PublicKey


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


Action = Transfer | Put | Export


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account of the chain."""

    balance: Amount
    nonce: Nonce  # next expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """One message of the inbox, as the node frames it for a chain's validation code."""

    source: InstanceEndpoint | None  # None: unknown kinds are framed by the node only
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockResult:
    """The output of one block: a code per message and per transaction, in order."""

    messages: tuple[Code, ...]
    transactions: tuple[Code, ...]


def wasm() -> bytes:
    """The committed module."""
    raise NotImplementedError


def domain(name: str) -> bytes:
    """32 bytes that every signature of a chain of this name binds."""
    raise NotImplementedError


def genesis_pairs(
    domain: bytes, balances: Mapping[PublicKey, Amount], assets: ModuleId | None
) -> list[tuple[bytes, bytes]]:
    """The (raw key, value) pairs of a new chain's tree, sorted by key."""
    raise NotImplementedError


def sign_transaction(key: SigningKey, domain: bytes, nonce: Nonce, action: Action) -> bytes:
    """One signed transaction's bytes."""
    raise NotImplementedError


def encode_block(messages: Sequence[tuple[InstanceEndpoint, bytes]], transactions: Sequence[bytes]) -> bytes:
    """The guest's input for one block, as the node frames it."""
    raise NotImplementedError


def decode_output(output: bytes) -> BlockResult:
    """Codes of a block."""
    raise NotImplementedError


def account_key(account: PublicKey) -> bytes:
    """Raw state key of an account."""
    raise NotImplementedError


def decode_account(value: bytes | None) -> Account:
    """An account; absent is empty."""
    raise NotImplementedError


def value_key(owner: PublicKey, key: bytes) -> bytes:
    """Raw state key of what `owner` put under `key`."""
    raise NotImplementedError
