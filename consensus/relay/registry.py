"""Chains, enclaves and instances in the relay state (DESIGN.md sections 6 and 7).

A consumer chain's head and each instance's tree are leaves of the relay tree, so that one finality
certificate proves any key of any chain or enclave. A module's record and code are written once, under the
hash of their content, and nothing in the whole transition can change or delete them.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Final

from consensus.candidates.lifecycle import ChainView, Tip
from consensus.light.leaves import (
    HeadRecord,
    InstanceRecord,
    guest_key,
    head_key,
    instance_key,
)
from consensus.messaging.lanes import LaneLimits, Lanes
from consensus.primitives.codec import U8, U32, U128, MaxLength
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.guest import (
    ChainEndpoint,
    Endpoint,
    InstanceEndpoint,
    Policy,
    code_hash,
    module_id,
)
from consensus.primitives.ids import (
    RELAY_CHAIN,
    Amount,
    ChainId,
    Hash,
    Height,
    Milliseconds,
    ModuleId,
    PublicKey,
)
from consensus.primitives.tree import EMPTY_ROOT, MemoryStore, Update, tree_key, update
from consensus.relay.ledger import (
    COUNTS_KEY,
    Counts,
    Ledger,
    RecentBlock,
    recent_key,
)
from consensus.relay.parameters import ChainTerms, Entry, Parameters
from consensus.relay.security.records import MAX_TOP_CHAINS, TOP_CHAINS_KEY, TopChainsRecord

MAX_OPT_INS: Final = 16  # modules that a chain may opt in to: two lanes each lead to it


class ChainStanding(enum.IntEnum):
    """Where a consumer chain is in its life; a pause is beside it, because it ends by itself."""

    LAUNCHED = 1
    STOPPED = 2  # for ever: no candidate is enacted any more


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRecord:
    """A consumer chain's terms and money. `balance` pays for its candidates and messages."""

    chain: U32
    name: Annotated[str, MaxLength(64)]
    owner: PublicKey
    code_hash: Hash
    terms: ChainTerms
    registered_height: Height
    registered_ms: Milliseconds
    deposit: U128
    balance: U128
    opt_in: Annotated[tuple[ModuleId, ...], MaxLength(MAX_OPT_INS)] = ()
    stage: U8 = int(ChainStanding.LAUNCHED)
    paused_until_ms: Milliseconds = Milliseconds(0)  # noqa: RUF009  (a NewType)

    def is_frozen(self, now_ms: int) -> bool:
        """Whether it is paused in a block of this time: nothing of it is enacted, none of its messages
        delivered."""
        return now_ms < self.paused_until_ms

    def closed(self, now_ms: int) -> str | None:
        """Why no candidate of it is enacted in a block of this time; None if one may be."""
        if self.stage == ChainStanding.STOPPED:
            return "the chain is stopped"
        return f"the chain is paused until {self.paused_until_ms} ms" if self.is_frozen(now_ms) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleRecord:
    """An enclave, for ever."""

    module: ModuleId
    index: U32  # in order of deployment
    code_hash: Hash
    code_bytes: U32
    deployer: PublicKey
    deployed_height: Height
    deposit: U128


def chain_key(chain: int) -> Hash:
    """Where a chain's record is in the relay tree."""
    return tree_key(b"chain", chain.to_bytes(4, "big"))


def module_key(module: ModuleId) -> Hash:
    """Where a module's record is in the relay tree."""
    return tree_key(b"module", module)


def module_index_key(index: int) -> Hash:
    """Where the id of the `index`-th module is in the relay tree."""
    return tree_key(b"module-index", index.to_bytes(4, "big"))


def code_key(code: Hash) -> Hash:
    """Where code of either kind is in the relay tree."""
    return tree_key(b"code", code)


def genesis_head(chain: int, state_root: Hash) -> Hash:
    """The head of height 0: no candidate's hash, and another one for each chain and genesis state."""
    return hash_tagged(b"PHALANX/chain-genesis/1", chain.to_bytes(4, "big"), state_root)


def chain_genesis_state(entries: Iterable[Entry]) -> Update:
    """A chain's own tree at height 0; the relay chain keeps its root, a collator its nodes."""
    return update(MemoryStore(), EMPTY_ROOT, {guest_key(entry.key): entry.value for entry in entries})


class Registry:
    """Chains, modules and instances in a ledger. Methods that mutate assume that their checks have passed."""

    __slots__ = ("_lanes", "ledger")

    def __init__(self, ledger: Ledger) -> None:
        self.ledger: Final = ledger
        self._lanes: Lanes | None = None

    @property
    def lanes(self) -> Lanes:
        """The message lanes; made when first asked for: most readers of a state never do."""
        if self._lanes is None:
            parameters = self.ledger.parameters
            limits = LaneLimits(messages=parameters.lane_messages, bytes=parameters.lane_bytes)
            self._lanes = Lanes(self.ledger, limits)
        return self._lanes

    # --- reading

    def counts(self) -> Counts:
        """How many chains and modules there are."""
        return self.ledger.record(Counts, COUNTS_KEY) or Counts()

    def chain(self, chain: int) -> ChainRecord | None:
        """A chain's record."""
        return self.ledger.record(ChainRecord, chain_key(chain))

    def existing_chain(self, chain: int) -> ChainRecord:
        """The record of a chain that exists."""
        return self.ledger.existing(ChainRecord, chain_key(chain))

    def head(self, chain: int) -> HeadRecord:
        """The enacted head of a chain that exists."""
        return self.ledger.existing(HeadRecord, head_key(chain))

    def module(self, module: ModuleId) -> ModuleRecord | None:
        """A module's record."""
        return self.ledger.record(ModuleRecord, module_key(module))

    def code(self, code: Hash) -> bytes | None:
        """Code of either kind by its hash."""
        return self.ledger.read(code_key(code))

    def instance(self, instance: InstanceEndpoint) -> InstanceRecord | None:
        """An instance's record; None where its chain did not opt in."""
        return self.ledger.record(InstanceRecord, instance_key(instance))

    def recent_block(self, height: int, block: Hash) -> RecentBlock | None:
        """The final ancestor `block` at `height`, if the ring still has it."""
        slot = height % self.ledger.parameters.relay_parent_window
        found = self.ledger.record(RecentBlock, recent_key(slot))
        return found if found is not None and (found.height, found.hash) == (height, block) else None

    def chain_view(self, chain: ChainId) -> ChainView | None:
        """What candidates of `chain` are held against."""
        record = self.chain(chain)
        if record is None:
            return None
        head = self.head(chain)
        end = ChainEndpoint(chain=chain)
        return ChainView(
            chain=chain,
            policy=Policy(record.terms.policy),
            code_hash=record.code_hash,
            fuel_limit=record.terms.fuel_limit,
            max_pov_bytes=record.terms.max_pov_bytes,
            balance=Amount(record.balance),
            opt_in=frozenset(record.opt_in),
            tip=Tip(
                height=head.height,
                head=head.head,
                state_root=head.state_root,
                relay_parent_height=head.relay_parent_height,
            ),
            rejected=head.rejected,
            lanes={source: self.lanes.cursors(source, end) for source in self.lanes.inbox(chain)},
        )

    def reachable(self, source: InstanceEndpoint, destination: Endpoint) -> bool:
        """Whether an instance may message `destination`: any instance; its own chain, or for a shared
        instance any chain that opted in to its module."""
        if isinstance(destination, InstanceEndpoint):
            return self.instance(destination) is not None
        if destination.chain == RELAY_CHAIN or source.chain not in (destination.chain, RELAY_CHAIN):
            return False
        own = InstanceEndpoint(module=source.module, chain=destination.chain)
        return self.instance(own) is not None

    def existing_module(self, module: ModuleId) -> ModuleRecord:
        """The record of a module that was deployed."""
        return self.ledger.existing(ModuleRecord, module_key(module))

    def existing_instance(self, instance: InstanceEndpoint) -> InstanceRecord:
        """The record of an instance that was created."""
        return self.ledger.existing(InstanceRecord, instance_key(instance))

    def existing_code(self, code: Hash) -> bytes:
        """Code that a record names."""
        found = self.code(code)
        if found is None:
            raise AssertionError("registry: a record names code that the state lacks")
        return found

    # --- writing

    def register_chain(
        self,
        *,
        name: str,
        owner: PublicKey,
        code: bytes,
        entries: Iterable[Entry],
        terms: ChainTerms,
        deposit: int,
        balance: int,
        height: Height,
        time_ms: Milliseconds,
    ) -> ChainId:
        """Create a chain under the next id."""
        counts = self.counts()
        chain = ChainId(counts.chains + 1)
        name_of_code = code_hash(code)
        self.ledger.write(code_key(name_of_code), code)
        self.ledger.put(
            chain_key(chain),
            ChainRecord(
                chain=chain,
                name=name,
                owner=owner,
                code_hash=name_of_code,
                terms=terms,
                registered_height=height,
                registered_ms=time_ms,
                deposit=deposit,
                balance=balance,
            ),
        )
        state_root = chain_genesis_state(entries).root
        self.ledger.put(
            head_key(chain),
            HeadRecord(
                height=Height(0),
                head=genesis_head(chain, state_root),
                state_root=state_root,
                time_ms=time_ms,
                relay_parent_height=Height(0),
                enacted_height=height,
            ),
        )
        self.ledger.put(COUNTS_KEY, replace(counts, chains=chain))
        self._list_top(chain, terms)
        return chain

    def deploy(self, *, wasm: bytes, deployer: PublicKey, deposit: int, height: Height) -> ModuleId:
        """Write a module that is not there yet, and its shared instance."""
        counts = self.counts()
        module = module_id(wasm)
        name_of_code = code_hash(wasm)
        self.ledger.write(code_key(name_of_code), wasm)
        self.ledger.write(module_index_key(counts.modules), module)
        self.ledger.put(
            module_key(module),
            ModuleRecord(
                module=module,
                index=counts.modules,
                code_hash=name_of_code,
                code_bytes=len(wasm),
                deployer=deployer,
                deployed_height=height,
                deposit=deposit,
            ),
        )
        self.ledger.put(COUNTS_KEY, replace(counts, modules=counts.modules + 1))
        self._create_instance(InstanceEndpoint(module=module, chain=RELAY_CHAIN), 0)
        return module

    def opt_in(self, record: ChainRecord, module: ModuleId, deposit: int) -> None:
        """Create the instance (module, chain) and let the chain's candidates message the module."""
        self.put_chain(replace(record, opt_in=(*record.opt_in, module)))
        self._create_instance(InstanceEndpoint(module=module, chain=ChainId(record.chain)), deposit)

    def put_chain(self, record: ChainRecord) -> None:
        """Write a changed chain record."""
        self.ledger.put(chain_key(record.chain), record)

    def set_terms(self, record: ChainRecord, terms: ChainTerms) -> None:
        """Give a chain other terms; who attests it follows them from the next epoch on."""
        self.put_chain(replace(record, terms=terms))
        self._list_top(ChainId(record.chain), terms)

    def has_room_at_top(self, terms: ChainTerms, chain: ChainId | None = None) -> bool:
        """Whether `chain`, or one more, may ask members to attest that did not opt in, if these terms do."""
        listed = self._top_chains()
        return not asks_top(terms) or chain in listed or len(listed) < MAX_TOP_CHAINS

    def put_head(self, chain: int, head: HeadRecord) -> None:
        """Write a changed head."""
        self.ledger.put(head_key(chain), head)

    def put_instance(self, record: InstanceRecord) -> None:
        """Write an instance that its own code has moved."""
        self.ledger.put(
            instance_key(InstanceEndpoint(module=record.module, chain=ChainId(record.chain))), record
        )

    def _top_chains(self) -> tuple[ChainId, ...]:
        record = self.ledger.record(TopChainsRecord, TOP_CHAINS_KEY)
        return () if record is None else record.chains

    def _list_top(self, chain: ChainId, terms: ChainTerms) -> None:
        listed = self._top_chains()
        wanted = sorted({*listed, chain} if asks_top(terms) else {*listed} - {chain})
        if list(listed) != wanted:
            self.ledger.put(TOP_CHAINS_KEY, TopChainsRecord(chains=tuple(wanted)))

    def _create_instance(self, instance: InstanceEndpoint, deposit: int) -> None:
        self.put_instance(
            InstanceRecord(module=instance.module, chain=instance.chain, root=EMPTY_ROOT, deposit=deposit)
        )


def asks_top(terms: ChainTerms) -> bool:
    """Whether a chain's terms have members attest it that did not opt in."""
    return terms.subset is not None and terms.subset.top_ppb > 0


def chain_deposit(parameters: Parameters, code: bytes, entries: Iterable[Entry]) -> int:
    """Units that registering a chain locks."""
    size = len(code) + sum(len(entry.key) + len(entry.value) for entry in entries)
    return parameters.chain_deposit + parameters.deposit_per_byte * size


def module_deposit(parameters: Parameters, wasm: bytes) -> int:
    """Units that deploying an enclave locks."""
    return parameters.deposit_per_byte * len(wasm)
