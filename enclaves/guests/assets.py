"""The `assets` enclave seen from Python: inputs, messages, outputs and state (guests/assets.c).

Integers are little-endian; amounts 16 bytes. A *holder* is 32 bytes: a user's public key, or
`chain_holder`/`module_holder` for chains and other enclaves. An asset's id is made by its home instance
from the issuer and a salt, and is the same on every instance that it travels to.

An input is a batch of operations. Called by a user: one that fails fails the call. Called by a chain (lane
message, `chain_request`): all or nothing too, but the call itself is OK and the chain gets a reply message
(`decode_notice` -> Reply) with its correlation number.
"""

from dataclasses import dataclass

from consensus.primitives.ids import Amount, ChainId, ModuleId, PublicKey


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
    """Burn the caller's units of an asset issued by this instance's chain; the chain credits `beneficiary`."""

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


def wasm() -> bytes:
    """The committed module."""
    raise NotImplementedError


def encode_operations(*operations: Operation) -> bytes:
    """Input of a user's call."""
    raise NotImplementedError


def user_asset_id(home: ChainId, issuer: PublicKey, salt: int) -> bytes:
    """Id of the asset that this user makes with Create(salt) on that instance (RELAY_CHAIN: the shared one)."""
    raise NotImplementedError


def chain_asset_id(chain: ChainId, salt: int) -> bytes:
    """Id of the asset that this chain makes on its own instance."""
    raise NotImplementedError


def chain_holder(chain: ChainId) -> bytes:
    """The holder that a chain is."""
    raise NotImplementedError


def balance_key(asset: bytes, holder: bytes) -> bytes:
    """Raw state key of a balance."""
    raise NotImplementedError


def asset_key(asset: bytes) -> bytes:
    """Raw state key of the asset's record on its home instance."""
    raise NotImplementedError


def total_key(asset: bytes) -> bytes:
    """Raw state key of the sum of this instance's balances in the asset."""
    raise NotImplementedError


def decode_amount(value: bytes | None) -> Amount:
    """A balance or total; absent is zero."""
    raise NotImplementedError


def decode_asset(value: bytes) -> AssetRecord:
    """An asset's record."""
    raise NotImplementedError


def module_for(code: bytes) -> ModuleId:
    """The identity under which this module is deployed."""
    raise NotImplementedError
