"""The genesis record: what a network starts from, and the bytes that name it (CONSENSUS.md section 2).

`Genesis.hash` is the `chain_id_hash` that every signature of the network binds. Two operators whose files
differ in one byte are in two networks, and their nodes refuse each other at the handshake.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final

from consensus.agreement.statements import STATEMENT_WINDOW
from consensus.primitives.codec import U8, U16, U32, U64, MaxLength, decode, encode
from consensus.primitives.crypto import hash_tagged, is_valid_public_key
from consensus.primitives.errors import DecodeError, UserError
from consensus.primitives.guest import (
    FUEL_SCHEDULE,
    MAX_KEY_BYTES,
    MAX_VALUE_BYTES,
    Policy,
    module_id,
)
from consensus.primitives.ids import Amount, ChainId, Fuel, Hash, Milliseconds, ModuleId, PublicKey, Stake

MAX_GENESIS_BYTES: Final = 64 * 1024 * 1024
MAX_CODE_BYTES: Final = 1024 * 1024
MAX_VALIDATORS: Final = 200  # CONSENSUS.md section 1
MAX_OPT_INS: Final = 16  # modules a chain may opt in to; bounds the lanes that lead to it
BILLION: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What the network's members agreed on at genesis (CONSENSUS.md section 23, DESIGN.md sections 4 to 8)."""

    # agreement
    fast_mode: U8 = 1  # 0 OFF, 1 STRICT (CONSENSUS.md section 18)
    window: U8 = 1  # consecutive views of one leader
    precision_ms: U32 = 500  # bound on the difference of two honest clocks
    message_delay_ms: U32 = 2_000
    idle_interval_ms: U32 = 1_000  # how long a leader with nothing to say may wait
    epoch_blocks: U64 = 10_000
    # blocks
    max_block_bytes: U32 = 2 * 1024 * 1024
    max_block_weight: U32 = 50_000  # microseconds of execution on the reference machine
    max_transactions: U32 = 8_000
    max_candidates: U16 = 16  # quota of candidate inclusions, an inherent
    relay_parent_window: U32 = (
        STATEMENT_WINDOW  # blocks a candidate's relay parent may lie behind the block including it
    )
    # money; a fee is `base + byte * length + fuel`
    base_fee: Amount = Amount(100)
    byte_fee: Amount = Amount(1)
    fuel_price_ppb: U64 = 1_000  # units per 10^9 fuel, rounded up to a whole unit per call
    message_fee: Amount = Amount(100)  # for each message to an instance: pays for its delivery
    candidate_fee: Amount = Amount(1_000)  # charged to the chain's relay balance at enactment
    deposit_per_byte: Amount = Amount(10)
    chain_deposit: Amount = Amount(100_000)
    instance_deposit: Amount = Amount(1_000)
    burn_share_ppb: U32 = 500_000_000  # of every fee; the rest goes to the block's proposer
    # guests and lanes
    call_fuel_limit: Fuel = Fuel(50_000_000)  # most that one call or one delivery may burn
    chain_fuel_limit: Fuel = Fuel(2_000_000_000)  # most that a chain may ask for a candidate
    max_pov_bytes: U32 = 8 * 1024 * 1024
    max_module_bytes: U32 = 512 * 1024
    deliveries_per_block: U16 = 64
    delivery_fuel_per_block: Fuel = Fuel(200_000_000)
    lane_messages: U32 = 1_024  # credit of a lane: undelivered messages it may hold
    lane_bytes: U32 = 1024 * 1024

    def __post_init__(self) -> None:
        if self.fast_mode > 1:
            raise ValueError("fast_mode is 0 (OFF) or 1 (STRICT)")
        if self.burn_share_ppb > BILLION:
            raise ValueError("burn_share_ppb is a fraction: at most 1000000000")
        if self.max_module_bytes > MAX_CODE_BYTES:
            raise ValueError(f"max_module_bytes is at most {MAX_CODE_BYTES}")
        for name in ("window", "max_block_bytes", "max_block_weight", "relay_parent_window", "lane_messages"):
            if getattr(self, name) == 0:
                raise ValueError(f"{name} must not be zero")
        if self.relay_parent_window > STATEMENT_WINDOW:
            raise ValueError(f"relay_parent_window is at most {STATEMENT_WINDOW}, what signers remember")
        if self.delivery_fuel_per_block < self.call_fuel_limit:
            raise ValueError("delivery_fuel_per_block must leave room for one delivery of call_fuel_limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisValidator:
    """One validator: the key that votes, the key its node is known by, and the account its fees go to."""

    name: Annotated[str, MaxLength(64)]
    consensus_key: PublicKey
    identity_key: PublicKey
    account: PublicKey
    stake: Stake


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisAccount:
    """A funded account; `balance` in the smallest unit."""

    key: PublicKey
    balance: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One key and value of a guest's own tree, raw."""

    key: Annotated[bytes, MaxLength(MAX_KEY_BYTES)]
    value: Annotated[bytes, MaxLength(MAX_VALUE_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainTerms:
    """What a consumer chain asked for when it registered; part of its record (DESIGN.md section 6)."""

    policy: U8 = int(Policy.REPLICATED)
    fuel_limit: Fuel = Fuel(500_000_000)  # of one candidate
    max_pov_bytes: U32 = 2 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.policy != Policy.REPLICATED:
            raise ValueError(f"assurance policy {self.policy} is unknown; 1 is `replicated`")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisChain:
    """A consumer chain that exists from the first block; the n-th of the list has chain id n, from 1."""

    name: Annotated[str, MaxLength(64)]
    owner: PublicKey
    code: Annotated[bytes, MaxLength(MAX_CODE_BYTES)]
    entries: Annotated[tuple[Entry, ...], MaxLength(100_000)] = ()
    terms: ChainTerms = field(default_factory=ChainTerms)
    balance: Amount = Amount(0)
    opt_in: Annotated[tuple[ModuleId, ...], MaxLength(MAX_OPT_INS)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """Everything a network starts from. Construction checks what needs no other record; `check_genesis` all."""

    WIRE_VERSION: ClassVar[int] = 1
    network: Annotated[str, MaxLength(64)]
    time_ms: Milliseconds
    fuel_schedule: U8 = FUEL_SCHEDULE
    parameters: Parameters = field(default_factory=Parameters)
    validators: Annotated[tuple[GenesisValidator, ...], MaxLength(MAX_VALIDATORS)]
    accounts: Annotated[tuple[GenesisAccount, ...], MaxLength(1_000_000)] = ()
    enclaves: Annotated[tuple[Annotated[bytes, MaxLength(MAX_CODE_BYTES)], ...], MaxLength(64)] = ()
    chains: Annotated[tuple[GenesisChain, ...], MaxLength(1_000)] = ()

    @property
    def hash(self) -> Hash:
        """`chain_id_hash`. Encodes the whole record: keep the result, do not ask in a loop."""
        return hash_tagged(b"TALLY/genesis/1", encode(self))


def encode_genesis(genesis: Genesis) -> bytes:
    """The canonical bytes that `Genesis.hash` names."""
    return encode(genesis)


def decode_genesis(data: bytes) -> Genesis:
    """The checked genesis of `data`. Raises UserError: a genesis file is an operator's input."""
    try:
        genesis = decode(Genesis, data, limit=MAX_GENESIS_BYTES)
    except DecodeError as error:
        raise UserError(f"this is not a genesis record: {error}") from None
    check_genesis(genesis)
    return genesis


def check_genesis(genesis: Genesis) -> None:
    """Refuse a genesis that could not run. Raises UserError that names the entry and what to mend."""
    if not genesis.network:
        raise UserError("genesis: `network` is empty; give the network a name")
    if genesis.fuel_schedule != FUEL_SCHEDULE:
        raise UserError(
            f"genesis: fuel schedule {genesis.fuel_schedule} is not {FUEL_SCHEDULE}, which this node runs"
        )
    if not genesis.validators:
        raise UserError("genesis: no validators; at least one is needed")
    for index, validator in enumerate(genesis.validators):
        where = f"genesis: validator {index} ({validator.name})"
        for label, key in (("consensus", validator.consensus_key), ("identity", validator.identity_key)):
            if not is_valid_public_key(key):
                raise UserError(f"{where}: its {label} key {key.hex()} is not a usable Ed25519 key")
        if validator.stake < 1:
            raise UserError(f"{where}: stake must be at least 1")
    _refuse_repeats("validator name", (each.name for each in genesis.validators))
    _refuse_repeats("consensus key", (each.consensus_key.hex() for each in genesis.validators))
    _refuse_repeats("identity key", (each.identity_key.hex() for each in genesis.validators))
    _refuse_repeats("account", (each.key.hex() for each in genesis.accounts))
    _check_guests(genesis)
    if issuance(genesis) >> 127:
        raise UserError("genesis: balances add up to 2^127 or more; the ledger could overflow")


def _check_guests(genesis: Genesis) -> None:
    modules = [module_id(wasm) for wasm in genesis.enclaves]
    _refuse_repeats("enclave", (module.hex() for module in modules))
    for wasm in genesis.enclaves:
        if len(wasm) > genesis.parameters.max_module_bytes:
            raise UserError(f"genesis: an enclave has {len(wasm)} bytes, over max_module_bytes")
    for number, chain in enumerate(genesis.chains, start=1):
        where = f"genesis: chain {number} ({chain.name})"
        if not chain.code:
            raise UserError(f"{where}: no validation code")
        keys = [entry.key for entry in chain.entries]
        if len(set(keys)) != len(keys):
            raise UserError(f"{where}: two entries have one key")
        if chain.terms.fuel_limit > genesis.parameters.chain_fuel_limit:
            raise UserError(f"{where}: fuel_limit is over the network's chain_fuel_limit")
        if chain.terms.max_pov_bytes > genesis.parameters.max_pov_bytes:
            raise UserError(f"{where}: max_pov_bytes is over the network's")
        if len(set(chain.opt_in)) != len(chain.opt_in):
            raise UserError(f"{where}: opts in to one enclave twice")
        for module in chain.opt_in:
            if module not in modules:
                raise UserError(f"{where}: opts in to enclave {module.hex()}, which genesis does not deploy")


def _refuse_repeats(what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise UserError(f"genesis: {what} {value} appears twice")
        seen.add(value)


def issuance(genesis: Genesis) -> int:
    """All units that will ever exist: nothing mints after genesis, fees only move or burn them."""
    return sum(each.balance for each in genesis.accounts) + sum(each.balance for each in genesis.chains)


def genesis_chain_id(genesis: Genesis, name: str) -> ChainId:
    """The id of the chain called `name`. Raises UserError if genesis has none."""
    for number, chain in enumerate(genesis.chains, start=1):
        if chain.name == name:
            return ChainId(number)
    raise UserError(f"genesis has no chain called {name!r}")
