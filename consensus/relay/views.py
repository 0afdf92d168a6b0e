"""Reading a relay state: for candidates, for RPC, for proofs.

`StateView` is the state after one final block. Its proofs are `StateProof`s: a leaf of the relay tree under
the state root that the *next* final header carries, and below a head or instance leaf one key of that
guest's own tree.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from consensus.agreement.validators import ValidatorSet
from consensus.candidates.attesters import Attesters
from consensus.candidates.lifecycle import ChainView
from consensus.candidates.receipts import CandidateHeader
from consensus.light.leaves import (
    LAST_BLOCK_KEY,
    HeadRecord,
    InstanceRecord,
    LastBlock,
    guest_key,
)
from consensus.light.proofs import StateProof
from consensus.primitives.guest import ChainEndpoint, InboxSource, InstanceEndpoint
from consensus.primitives.ids import ChainId, Epoch, Hash, Height, Milliseconds, ModuleId, PublicKey
from consensus.primitives.tree import NodeStore, prove
from consensus.primitives.tree import get as tree_get
from consensus.relay.epochs import EpochSetRecord, find_epoch_members, oldest_epoch
from consensus.relay.fees import candidate_fee
from consensus.relay.ledger import (
    SUPPLY_KEY,
    AccountRecord,
    Ledger,
    Supply,
    account_key,
)
from consensus.relay.parameters import Parameters
from consensus.relay.registry import (
    ChainRecord,
    ModuleRecord,
    Registry,
    module_index_key,
)
from consensus.relay.rewards.economy import Economy, economy
from consensus.relay.security.attesters import attesters
from consensus.relay.security.exposure import ExposureReport, exposure_report
from consensus.relay.security.rails import held_refusal
from consensus.relay.stake.records import RosterEntry, ValidatorRecord
from consensus.relay.stake.stakes import Stakes


class StateView:
    """The relay state after the final block `block` at `height`; implements `candidates.view.RelayView`."""

    def __init__(
        self, *, nodes: NodeStore, root: Hash, height: Height, block: Hash, time_ms: Milliseconds
    ) -> None:
        self.root: Final = root
        self.block: Final = block
        self.time_ms: Final = time_ms
        self._height = height
        self._nodes = nodes
        self._ledger = Ledger(nodes, root)
        self._registry = Registry(self._ledger)
        self.stakes: Final = Stakes(self._ledger)

    # --- for candidates

    @property
    def height(self) -> Height:
        """Of the block."""
        return self._height

    def chain(self, chain: ChainId) -> ChainView | None:
        """A chain as its candidates meet it."""
        return self._registry.chain_view(chain)

    def relay_parent_time_ms(self, height: Height, block: Hash) -> Milliseconds | None:
        """The time of this block or a recent ancestor of it."""
        if (height, block) == (self._height, self.block):
            return self.time_ms
        recent = self._registry.recent_block(height, block)
        return None if recent is None else recent.time_ms

    def attesters(self, chain: ChainId, epoch: Epoch, validators: ValidatorSet) -> Attesters | None:
        """Who attests a chain's candidates in the epoch of `validators`."""
        record = self._registry.chain(chain)
        return None if record is None else attesters(self, record, epoch, validators)

    def can_pay(self, header: CandidateHeader) -> bool:
        """Whether a chain that exists could have this candidate enacted: it is not paused or stopped, and it
        has money, credit of lanes and rails."""
        if self._registry.existing_chain(header.chain).closed(self.time_ms) is not None:
            return False
        if held_refusal(self, header.chain, len(header.outgoing), self.time_ms) is not None:
            return False
        balance = self._registry.existing_chain(header.chain).balance
        source = ChainEndpoint(chain=header.chain)
        return candidate_fee(self.parameters, header) <= balance and self._registry.lanes.has_credit(
            source, header.outgoing
        )

    def code(self, code_hash: Hash) -> bytes:
        """Code that a record names."""
        return self._registry.existing_code(code_hash)

    def messages(self, chain: ChainId, source: InboxSource, first: int, next: int) -> list[bytes]:
        """Messages that wait for a chain."""
        return self._registry.lanes.messages(source, ChainEndpoint(chain=chain), first, next)

    # --- validators

    def read(self, key: Hash) -> bytes | None:
        """The value under a tree key; with it a view is an `epochs.Reads`."""
        return self._ledger.read(key)

    def epoch_set(self, epoch: Epoch) -> EpochSetRecord | None:
        """Who is in an epoch; None for one that the state does not know (yet, or any more)."""
        return find_epoch_members(self, epoch)

    def oldest_epoch(self) -> Epoch:
        """The oldest epoch about which evidence may still count."""
        return oldest_epoch(self)

    def validator(self, account: PublicKey) -> ValidatorRecord | None:
        """A validator as of the next election."""
        return self.stakes.validator(account)

    def self_stake(self, account: PublicKey) -> int:
        """Units of its own that a validator has behind itself."""
        return self.stakes.self_stake(account)

    def roster(self) -> tuple[RosterEntry, ...]:
        """Who may be elected, the most stake first."""
        return self.stakes.roster()

    # --- for people

    @property
    def parameters(self) -> Parameters:
        """The network's parameters."""
        return self._ledger.parameters

    def account(self, account: PublicKey) -> AccountRecord:
        """Balance and next nonce; zero where the state has none."""
        record = self._ledger.record(AccountRecord, account_key(account))
        return record or AccountRecord(balance=0, nonce=0)

    def supply(self) -> Supply:
        """Units issued and burnt."""
        return self._ledger.existing(Supply, SUPPLY_KEY)

    def economy(self) -> Economy:
        """What is issued, staked, waiting, and what came of the latest epochs."""
        return economy(self._ledger, self.stakes)

    def exposure_report(self, epoch: Epoch, chains: Sequence[ChainRecord]) -> ExposureReport:
        """What validators have at risk in an epoch, and how secure these chains are."""
        return exposure_report(self, self.parameters, chains, epoch=epoch, last=self.last_block())

    def last_block(self) -> LastBlock:
        """The block, as its own post-state tells it."""
        return self._ledger.existing(LastBlock, LAST_BLOCK_KEY)

    def chain_record(self, chain: ChainId) -> ChainRecord | None:
        """A chain's terms and money."""
        return self._registry.chain(chain)

    def head(self, chain: ChainId) -> HeadRecord:
        """The enacted head of a chain that exists."""
        return self._registry.head(chain)

    def chains(self) -> Iterator[ChainRecord]:
        """All chains, by id."""
        for chain in range(1, self._registry.counts().chains + 1):
            yield self._registry.existing_chain(chain)

    def module(self, module: ModuleId) -> ModuleRecord | None:
        """A module's record."""
        return self._registry.module(module)

    def modules(self) -> Iterator[ModuleRecord]:
        """All modules, in order of deployment."""
        for index in range(self._registry.counts().modules):
            name = self._ledger.read(module_index_key(index))
            if name is not None:
                yield self._registry.existing_module(ModuleId(name))

    def instance(self, instance: InstanceEndpoint) -> InstanceRecord | None:
        """An instance's record; its `root` is the root of its tree."""
        return self._registry.instance(instance)

    def instance_state(self, instance: InstanceEndpoint, key: bytes) -> bytes | None:
        """The value of a raw key in an instance's tree; None where it or the instance is absent."""
        record = self._registry.instance(instance)
        return None if record is None else tree_get(self._nodes, record.root, guest_key(key))

    # --- proofs

    def prove(self, key: Hash) -> StateProof:
        """What `key` maps to in the relay tree (see `ledger`, `registry` and `lanes` for the keys)."""
        return StateProof(key=key, value=self._ledger.read(key), proof=prove(self._nodes, self.root, key))


def prove_guest_key(nodes: NodeStore, root: Hash, key: bytes) -> StateProof:
    """What a guest's raw `key` maps to in its own tree at `root`, a chain's or an instance's."""
    name = guest_key(key)
    return StateProof(key=name, value=tree_get(nodes, root, name), proof=prove(nodes, root, name))
