"""The genesis record: what a network starts from, and the bytes that name it (CONSENSUS.md section 2).

`Genesis.hash` is the `chain_id_hash` that every signature of the network binds. Two operators whose files
differ in one byte are in two networks, and their nodes refuse each other at the handshake.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final

from consensus.light.leaves import (
    LAST_BLOCK_KEY,
    LastBlock,
)
from consensus.primitives.codec import U8, MaxLength, decode, encode
from consensus.primitives.crypto import hash_tagged, is_valid_public_key
from consensus.primitives.errors import DecodeError, UserError
from consensus.primitives.guest import FUEL_SCHEDULE, module_id
from consensus.primitives.ids import (
    ZERO_HASH,
    Amount,
    ChainId,
    Epoch,
    Hash,
    Height,
    Milliseconds,
    ModuleId,
    PublicKey,
    Stake,
)
from consensus.primitives.tree import EMPTY_ROOT, MemoryStore
from consensus.relay.elections.caps import voting_powers
from consensus.relay.elections.records import Exposure, ExposureRecord, exposure_key
from consensus.relay.epochs import (
    FIRST_EPOCH,
    MAX_ADDRESS_BYTES,
    MAX_NAME_BYTES,
    OLDEST_EPOCH_KEY,
    EpochMember,
    EpochSetRecord,
    OldestEpoch,
    epoch_set_key,
)
from consensus.relay.ledger import (
    PARAMETERS_KEY,
    SUPPLY_KEY,
    Ledger,
    Supply,
)
from consensus.relay.parameters import BILLION, MAX_CODE_BYTES, MAX_SET, ChainTerms, Entry, Parameters
from consensus.relay.registry import MAX_OPT_INS, Registry, asks_top
from consensus.relay.security.attesters import freeze
from consensus.relay.security.records import MAX_TOP_CHAINS
from consensus.relay.stake.records import MAX_STAKE, Standing, ValidatorRecord
from consensus.relay.stake.stakes import Stakes
from consensus.relay.stake.transactions import DEFAULT_COMMISSION_STEP_PPB

MAX_GENESIS_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisValidator:
    """One validator: the key that votes, the key its node is known by, the account that operates it and that
    its fees go to, the address (HOST:PORT) that others dial, and its stake in units of the ledger."""

    name: Annotated[str, MaxLength(MAX_NAME_BYTES)]
    consensus_key: PublicKey
    identity_key: PublicKey
    account: PublicKey
    stake: Stake
    address: Annotated[str, MaxLength(MAX_ADDRESS_BYTES)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisAccount:
    """A funded account; `balance` in the smallest unit."""

    key: PublicKey
    balance: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisChain:
    """A consumer chain that exists from the first block; the n-th of the list has chain id n, from 1."""

    name: Annotated[str, MaxLength(64)]
    owner: PublicKey
    code: Annotated[bytes, MaxLength(MAX_CODE_BYTES)]
    entries: Annotated[tuple[Entry, ...], MaxLength(100_000)] = ()
    terms: ChainTerms = field(default_factory=ChainTerms)
    balance: Amount = Amount(0)  # noqa: RUF009  (a NewType)
    opt_in: Annotated[tuple[ModuleId, ...], MaxLength(MAX_OPT_INS)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """Everything a network starts from; `check_genesis` says whether it can run."""

    WIRE_VERSION: ClassVar[int] = 1
    network: Annotated[str, MaxLength(64)]
    time_ms: Milliseconds
    fuel_schedule: U8 = FUEL_SCHEDULE
    parameters: Parameters = field(default_factory=Parameters)
    validators: Annotated[tuple[GenesisValidator, ...], MaxLength(MAX_SET)]
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
        if validator.consensus_key == validator.identity_key:
            raise UserError(f"{where}: its consensus and identity keys are the same; make one of them anew")
        if validator.stake < genesis.parameters.min_stake:
            raise UserError(
                f"{where}: a stake of {validator.stake} is below min_stake, {genesis.parameters.min_stake}"
            )
    if len(genesis.validators) > genesis.parameters.max_validators:
        raise UserError(
            f"genesis: {len(genesis.validators)} validators, but max_validators is"
            f" {genesis.parameters.max_validators}"
        )
    if sum(each.stake for each in genesis.validators) > MAX_STAKE:
        raise UserError("genesis: stakes add up to 2^64 or more; give all validators less, in proportion")
    _refuse_repeats("validator name", (each.name for each in genesis.validators))
    _refuse_repeats("validator account", (each.account.hex() for each in genesis.validators))
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
    if sum(asks_top(chain.terms) for chain in genesis.chains) > MAX_TOP_CHAINS:
        raise UserError(f"genesis: more than {MAX_TOP_CHAINS} chains have top_ppb in their terms")
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
    """All units that there are at first; what is issued later is `rewards.issuance`'s to say."""
    return (
        sum(each.balance for each in genesis.accounts)
        + sum(each.balance for each in genesis.chains)
        + sum(each.stake for each in genesis.validators)
    )


def genesis_set(genesis: Genesis) -> EpochSetRecord:
    """The set of the first epoch, in the order of the genesis; its power is capped as in any election."""
    powers = voting_powers([each.stake for each in genesis.validators])
    members = tuple(
        EpochMember(
            name=each.name,
            account=each.account,
            consensus_key=each.consensus_key,
            identity_key=each.identity_key,
            address=each.address,
            stake=Stake(power),
        )
        for each, power in zip(genesis.validators, powers, strict=True)
    )
    return EpochSetRecord(
        members=members,
        leader_seed=ZERO_HASH,
        began_ms=genesis.time_ms,
        fast_mode=genesis.parameters.fast_mode,
        window=genesis.parameters.window,
    )


def genesis_chain_id(genesis: Genesis, name: str) -> ChainId:
    """The id of the chain called `name`. Raises UserError if genesis has none."""
    for number, chain in enumerate(genesis.chains, start=1):
        if chain.name == name:
            return ChainId(number)
    raise UserError(f"genesis has no chain called {name!r}")


def genesis_state(genesis: Genesis) -> tuple[Hash, Mapping[Hash, bytes]]:
    """The relay state before the first block: its root and all its nodes. Consumer chains' own trees are
    made by `registry.chain_genesis_state`. Modules are admitted by who builds the genesis."""
    ledger = Ledger(MemoryStore(), EMPTY_ROOT)
    ledger.put(PARAMETERS_KEY, genesis.parameters)
    ledger.put(SUPPLY_KEY, Supply(issued=issuance(genesis), burnt=0))
    ledger.put(
        LAST_BLOCK_KEY,
        LastBlock(
            height=Height(0),
            time_ms=genesis.time_ms,
            parent_hash=ZERO_HASH,
            receipts_root=EMPTY_ROOT,
            receipts=0,
        ),
    )
    for account in genesis.accounts:
        ledger.credit(account.key, account.balance)
    ledger.put(epoch_set_key(FIRST_EPOCH), genesis_set(genesis))
    ledger.put(OLDEST_EPOCH_KEY, OldestEpoch(epoch=FIRST_EPOCH))
    stakes = Stakes(ledger)
    for validator in genesis.validators:
        stakes.create(_first_record(validator), validator.stake)
        own = Exposure(nomination=stakes.own(validator.account), amount=validator.stake)
        exposed = ExposureRecord(total=validator.stake, edges=(own,))
        ledger.put(exposure_key(FIRST_EPOCH, validator.account), exposed)
    stakes.settle()
    registry = Registry(ledger)
    for wasm in genesis.enclaves:
        registry.deploy(wasm=wasm, deployer=PublicKey(ZERO_HASH), deposit=0, height=Height(0))
    for chain in genesis.chains:
        number = registry.register_chain(
            name=chain.name,
            owner=chain.owner,
            code=chain.code,
            entries=chain.entries,
            terms=chain.terms,
            deposit=0,
            balance=chain.balance,
            height=Height(0),
            time_ms=genesis.time_ms,
        )
        for module in chain.opt_in:
            registry.opt_in(registry.existing_chain(number), module, 0)
    freeze(ledger, FIRST_EPOCH)
    return ledger.commit(), ledger.added


def _first_record(validator: GenesisValidator) -> ValidatorRecord:
    return ValidatorRecord(
        name=validator.name,
        account=validator.account,
        consensus_key=validator.consensus_key,
        identity_key=validator.identity_key,
        address=validator.address,
        operator="",
        region="",
        client="",
        standing=int(Standing.ACTIVE),
        jailed_until=Epoch(0),
        joined_height=Height(0),
        chilled=False,
        commission_ppb=0,
        commission_max_ppb=BILLION,
        commission_step_ppb=DEFAULT_COMMISSION_STEP_PPB,
        commission_epoch=Epoch(0),
        contested=0,
    )
