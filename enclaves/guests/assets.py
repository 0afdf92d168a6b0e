"""The `assets` enclave seen from Python: inputs, messages, outputs and state (guests/assets.c).

Integers are little-endian; amounts 16 bytes. A *holder* is 32 bytes: a user's public key, or
`chain_holder` for a chain. An asset's id is made by its home instance
from the issuer and a salt, and is the same on every instance that its units travel to.

An input is a batch of operations. Called by a user: one that fails fails the call. Called by a chain (lane
message, `chain_request`): all or nothing too, but the call itself is OK and the chain gets a reply message
(`decode_notice` -> Reply) with its correlation number.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Final

from blake3 import blake3

from consensus.primitives.errors import DecodeError
from consensus.primitives.guest import ChainOrigin, UserOrigin
from consensus.primitives.guest import module_id as identity_of
from consensus.primitives.ids import Amount, ChainId, ModuleId, PublicKey

MAX_OPERATIONS: Final = 4096
_AMOUNT_BYTES: Final = 16
_REPLY, _CREDIT = 1, 2  # kinds of notice to the chain


class Code(IntEnum):
    """How a batch ended: what a failed user's call returns, and what a reply to a chain says."""

    OK = 0
    MALFORMED = 1
    NOT_SERVED = 2
    EXISTS = 3
    UNKNOWN_ASSET = 4
    NOT_ISSUER = 5
    NO_FUNDS = 6
    OVERFLOW = 7
    ZERO_AMOUNT = 8
    SAME_CHAIN = 9
    TOO_MANY = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """A new asset whose issuer is the caller."""

    salt: int
    symbol: str  # at most 16 bytes of UTF-8
    decimals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mint:
    """New units; only the issuer may, on the asset's home instance."""

    asset: bytes
    to: bytes
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """From the caller to another holder on this instance."""

    asset: bytes
    to: bytes
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """From the caller to a holder on another chain's instance of this module."""

    asset: bytes
    to: bytes
    amount: Amount
    chain: ChainId


@dataclass(frozen=True, slots=True, kw_only=True)
class Redeem:
    """Burn the caller's units of an asset that this instance's chain issued; it credits `beneficiary`."""

    asset: bytes
    beneficiary: bytes
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """Create unless it exists, then mint: what a chain says to turn its own units into an asset."""

    salt: int
    symbol: str
    decimals: int
    to: bytes
    amount: Amount


Operation = Create | Mint | Transfer | Send | Redeem | Issue


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetRecord:
    """An asset on its home instance; `supply` counts its units on all instances and in flight."""

    issuer_kind: int
    issuer: bytes
    issuer_chain: ChainId
    decimals: int
    symbol: str
    supply: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """To the chain: how the request with this correlation number ended."""

    correlation: int
    code: Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """To the chain: somebody redeemed its asset; it owes the beneficiary the amount."""

    asset: bytes
    beneficiary: bytes
    amount: Amount


@cache
def wasm() -> bytes:
    """The committed module."""
    return Path(__file__).with_suffix(".wasm").read_bytes()


@cache
def module_id() -> ModuleId:
    """The identity under which the committed module is deployed."""
    return identity_of(wasm())


# --- inputs


def encode_operations(*operations: Operation) -> bytes:
    """Input of a user's call. Raises ValueError on a field out of its range."""
    if len(operations) > MAX_OPERATIONS:
        raise ValueError(f"{len(operations)} operations, the limit is {MAX_OPERATIONS}")
    return struct.pack("<I", len(operations)) + b"".join(map(_encode_operation, operations))


def chain_request(correlation: int, *operations: Operation) -> bytes:
    """Payload of a chain's message to its instance; answered by a Reply with the same number."""
    return struct.pack("<Q", correlation) + encode_operations(*operations)


def _encode_operation(operation: Operation) -> bytes:
    match operation:
        case Create(salt=salt, decimals=decimals, symbol=symbol):
            return struct.pack("<BQB", 1, salt, decimals) + _symbol(symbol)
        case Mint(asset=asset, to=to, amount=amount):
            return b"\x02" + _exact(asset) + _exact(to) + _amount(amount)
        case Transfer(asset=asset, to=to, amount=amount):
            return b"\x03" + _exact(asset) + _exact(to) + _amount(amount)
        case Send(asset=asset, to=to, amount=amount, chain=chain):
            return b"\x04" + _exact(asset) + _exact(to) + _amount(amount) + struct.pack("<I", chain)
        case Redeem(asset=asset, beneficiary=beneficiary, amount=amount):
            return b"\x05" + _exact(asset) + _exact(beneficiary) + _amount(amount)
        case Issue(salt=salt, decimals=decimals, symbol=symbol, to=to, amount=amount):
            head = struct.pack("<BQB", 6, salt, decimals)
            return head + _symbol(symbol) + _exact(to) + _amount(amount)


def _symbol(symbol: str) -> bytes:
    raw = symbol.encode()
    if len(raw) > 16:
        raise ValueError(f"the symbol {symbol!r} is longer than 16 bytes")
    return raw.ljust(16, b"\x00")


def _exact(value: bytes) -> bytes:
    if len(value) != 32:
        raise ValueError(f"{len(value)} bytes where 32 are due")
    return value


def _amount(amount: Amount) -> bytes:
    if not 0 <= amount < 1 << 128:
        raise ValueError(f"{amount} is not an unsigned 128-bit amount")
    return amount.to_bytes(_AMOUNT_BYTES, "little")


# --- names


def user_asset_id(home: ChainId, issuer: PublicKey, salt: int) -> bytes:
    """Id of the asset that a user makes with `salt` on that chain's instance."""
    return _asset_id(UserOrigin.WIRE_TAG, issuer, home, salt)


def chain_asset_id(chain: ChainId, salt: int) -> bytes:
    """Id of the asset that this chain makes on its own instance."""
    return _asset_id(ChainOrigin.WIRE_TAG, bytes(32), chain, salt)


def _asset_id(origin_kind: int, issuer: bytes, home: ChainId, salt: int) -> bytes:
    preimage = b"phalanx/asset/1" + struct.pack("<B32sIQ", origin_kind, issuer, home, salt)
    return blake3(preimage).digest()


def chain_holder(chain: ChainId) -> bytes:
    """The holder that a chain is on its own instance."""
    return b"phalanx:chain".ljust(28, b"\x00") + struct.pack("<I", chain)


# --- state


def balance_key(asset: bytes, holder: bytes) -> bytes:
    """Raw state key of a balance."""
    return b"b" + asset + holder


def asset_key(asset: bytes) -> bytes:
    """Raw state key of the asset's record on its home instance."""
    return b"a" + asset


def total_key(asset: bytes) -> bytes:
    """Raw state key of the sum of this instance's balances in the asset."""
    return b"t" + asset


def decode_amount(value: bytes | None) -> Amount:
    """A balance or total; absent is zero. Raises DecodeError."""
    if value is None:
        return Amount(0)
    if len(value) != _AMOUNT_BYTES:
        raise DecodeError(f"an amount of {len(value)} bytes")
    return Amount(int.from_bytes(value, "little"))


def decode_asset(value: bytes) -> AssetRecord:
    """An asset's record. Raises DecodeError."""
    if len(value) != 70:
        raise DecodeError(f"an asset record of {len(value)} bytes")
    kind, issuer, chain, decimals, symbol, supply = struct.unpack("<B32sIB16s16s", value)
    return AssetRecord(
        issuer_kind=kind,
        issuer=issuer,
        issuer_chain=ChainId(chain),
        decimals=decimals,
        symbol=symbol.rstrip(b"\x00").decode(errors="replace"),
        supply=decode_amount(supply),
    )


def decode_notice(payload: bytes) -> Reply | Credit:
    """What an instance of `assets` told its chain. Raises DecodeError."""
    if len(payload) == 10 and payload[0] == _REPLY and payload[9] in set(Code):
        return Reply(correlation=int.from_bytes(payload[1:9], "little"), code=Code(payload[9]))
    if len(payload) == 81 and payload[0] == _CREDIT:
        amount = decode_amount(payload[65:])
        return Credit(asset=payload[1:33], beneficiary=payload[33:65], amount=amount)
    raise DecodeError("not a notice of the assets enclave")
