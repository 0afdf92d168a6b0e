"""A relay chain in memory for agents to act on: the real transition, one block after the other.

An epoch is a day of `EPOCH_BLOCKS` blocks, so that the windows, which count epochs and time, are what their
default values make of them. All that a block carries comes from the agents: who votes, which votes its
proposer includes, what is attested, evidence, transactions. Units are conserved to the last one, and that is
checked at the end of every epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.economics.keys import OracleKey, verify
from bench.no_guests import NoGuests
from bench.workload import RelayAccount, derived_seed
from consensus.agreement.evidence import Evidence
from consensus.agreement.validators import ValidatorSet
from consensus.candidates.receipts import Attestation, CandidateInclusion
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import (
    Amount,
    ChainId,
    Epoch,
    Hash,
    Height,
    Milliseconds,
    PublicKey,
    Stake,
    View,
)
from consensus.primitives.tree import MemoryStore
from consensus.relay.blocks import EMPTY_PAYLOAD, check_payload, encode_payload, limits_of
from consensus.relay.epochs import current_set, epoch_members, epoch_of
from consensus.relay.genesis import Genesis, GenesisAccount, GenesisChain, GenesisValidator, genesis_state
from consensus.relay.ledger import SUPPLY_KEY, Ledger, Pot, Supply
from consensus.relay.parameters import DAY_MS, Parameters
from consensus.relay.receipts import Code, TransactionReceipt
from consensus.relay.registry import Registry
from consensus.relay.rewards.distributing import commission
from consensus.relay.rewards.participation import open_sample
from consensus.relay.rewards.records import Sample
from consensus.relay.rewards.votes import VoteInclusion
from consensus.relay.run import BlockContext
from consensus.relay.stake.stakes import Stakes
from consensus.relay.transactions import Action
from consensus.relay.transition import BlockResult, apply_block

EPOCH_BLOCKS: Final = 18
INTERVAL: Final = 3  # blocks of a round: five are drawn in an epoch, votes for each fit into two blocks
BLOCK_MS: Final = DAY_MS // EPOCH_BLOCKS
SUPPLY: Final = 10**13  # units that exist at first
STAKED: Final = SUPPLY // 2  # of them; what the curve of issuance aims at
CHAIN: Final = ChainId(1)
CHAIN_FUNDS: Final = 10**9
POCKET: Final = 10**8  # for fees and bonds


@dataclass(frozen=True, slots=True)
class Holder:
    """An account and its key."""

    name: str
    key: OracleKey

    @property
    def account(self) -> PublicKey:
        """Where its units are."""
        return self.key.public


@dataclass(frozen=True, slots=True)
class Seat:
    """A validator: who operates it, and the keys that it signs and is known with."""

    operator: Holder
    consensus: OracleKey
    identity: OracleKey

    @property
    def account(self) -> PublicKey:
        """The operator's."""
        return self.operator.account


def holder(name: str) -> Holder:
    """The account of this name."""
    return Holder(name, OracleKey(derived_seed("economics", name, 0)))


def seat(name: str) -> Seat:
    """The validator of this name."""
    keys = (OracleKey(derived_seed("economics", f"{name}/{purpose}", 0)) for purpose in ("votes", "peers"))
    return Seat(holder(name), *keys)


class World:
    """The chain. `submit` queues transactions for the next block; `block` executes it."""

    def __init__(
        self,
        parameters: Parameters,
        founders: Sequence[tuple[Seat, int]],
        purses: Sequence[tuple[Holder, int]],
        seed: int = 0,
    ) -> None:
        """`founders` are validators with their stakes in units; `purses` are accounts with their balances.
        What is left of `SUPPLY` is in an account that does nothing. The seed decides who leads when."""
        self.parameters: Final = replace(
            parameters,
            epoch_blocks=EPOCH_BLOCKS,
            participation_interval=INTERVAL,
            max_block_weight=10**9,
        )
        rest = SUPPLY - CHAIN_FUNDS - sum(units for _, units in (*founders, *purses))
        rest -= POCKET * len(founders)
        funded = [(each.operator, POCKET) for each, _ in founders] + list(purses) + [(holder("rest"), rest)]
        self._genesis = Genesis(
            network=f"economics-{seed}",
            time_ms=Milliseconds(1),
            parameters=self.parameters,
            validators=tuple(
                GenesisValidator(
                    name=each.operator.name,
                    consensus_key=each.consensus.public,
                    identity_key=each.identity.public,
                    account=each.account,
                    stake=Stake(units),
                )
                for each, units in founders
            ),
            accounts=tuple(GenesisAccount(key=who.account, balance=Amount(units)) for who, units in funded),
            chains=(
                GenesisChain(
                    name="consumer", owner=funded[-1][0].account, code=b"\0asm", balance=Amount(CHAIN_FUNDS)
                ),
            ),
        )
        self.hash: Final = self._genesis.hash
        self.root, nodes = genesis_state(self._genesis)
        self._store = MemoryStore(dict(nodes))
        self._references = dict.fromkeys(nodes, 1)
        self._accounts = [who.account for who, _ in funded]
        self._signers: dict[PublicKey, RelayAccount] = {}  # of all who ever submitted
        self._raws: list[bytes] = []
        self._guests = NoGuests()  # candidates come with their attestations
        self.height = 0
        self.codes: dict[Code, int] = {}  # of all transactions
        self.open()

    # --- reading: the state after the last block

    def open(self) -> None:
        """Read from the newest state."""
        self.ledger = Ledger(self._store, self.root)
        self.stakes = Stakes(self.ledger)
        self.registry = Registry(self.ledger)

    @property
    def epoch(self) -> Epoch:
        """Of the next block."""
        return epoch_of(self.height + 1, EPOCH_BLOCKS)

    @property
    def place(self) -> int:
        """Of the next block in its epoch, from 1."""
        return self.height % EPOCH_BLOCKS + 1

    @property
    def now_ms(self) -> Milliseconds:
        """The time of the next block."""
        return self.time_ms(self.height + 1)

    @staticmethod
    def time_ms(height: int) -> Milliseconds:
        """The time of a block; genesis is at 1."""
        return Milliseconds(1 + height * BLOCK_MS)

    @property
    def validators(self) -> ValidatorSet:
        """Of the next block's epoch."""
        return current_set(self.ledger, chain_id_hash=self.hash, epoch=self.epoch)

    @property
    def members(self) -> list[PublicKey]:
        """The accounts of the next block's epoch, by validator index."""
        return [each.account for each in epoch_members(self.ledger, self.epoch).members]

    @property
    def proposer(self) -> PublicKey:
        """The account of who leads the next block."""
        return self.members[self.validators.leader(View(self.place))]

    @property
    def sample(self) -> Sample | None:
        """The block that the next one may carry votes for."""
        return open_sample(self.ledger, self.epoch, Height(self.height + 1))

    def wealth(self, account: PublicKey) -> int:
        """Units that are an account's: its balance, its stake wherever it is, what both have earned."""
        positions = (
            self.stakes.value(each.pool, account) + self.stakes.holdings.earned(each.pool, account)
            for each in self.stakes.held_by(account)
        )
        return self.ledger.account(account).balance + sum(positions) + commission(self.ledger, account)

    def held(self) -> int:
        """Every unit there is, found by looking: what `Supply.issued` must be."""
        totals = self.stakes.totals()
        record = self.registry.existing_chain(CHAIN)
        return (
            self.supply().burnt
            + sum(self.ledger.account(each).balance for each in self._accounts)
            + totals.bonded
            + totals.rewards
            + sum(self.ledger.pot(each) for each in Pot)
            + record.balance
            + record.deposit
        )

    def supply(self) -> Supply:
        """Units issued and burnt."""
        return self.ledger.existing(Supply, SUPPLY_KEY)

    # --- acting

    def submit(self, sender: Holder, action: Action) -> None:
        """Have a transaction in the next block."""
        signer = self._signers.setdefault(sender.account, RelayAccount(sender.key, self.hash))
        self._raws.append(signer.sign(action))

    def block(
        self,
        *,
        votes: VoteInclusion | None = None,
        evidence: Sequence[Evidence] = (),
        statements: Sequence[Attestation] = (),
        candidates: Sequence[CandidateInclusion] = (),
    ) -> BlockResult:
        """Execute the next block with what was submitted; an epoch's last one checks conservation.

        Raises AssertionError if a unit appeared or vanished.
        """
        raws, self._raws = self._raws, []
        empty = not (raws or votes or evidence or statements or candidates)
        payload = EMPTY_PAYLOAD if empty else encode_payload(raws, candidates, evidence, votes, statements)
        checked = check_payload(payload, limits_of(self.parameters, self.hash), lambda _: None, verify)
        result = apply_block(self.root, self._context(), checked, self._store, self._guests)
        self._keep(result)
        for each in result.receipts:
            if isinstance(each, TransactionReceipt):
                self.codes[Code(each.code)] = self.codes.get(Code(each.code), 0) + 1
        if self.height % EPOCH_BLOCKS == 0 and self.held() != self.supply().issued:
            raise AssertionError(f"{self.held()} units are there, and {self.supply().issued} were issued")
        return result

    def block_hash(self, height: int) -> Hash:
        """What a block is called."""
        return Hash(hash_tagged(b"PHALANX/economics-block", self.hash, height.to_bytes(8, "big")))

    def _context(self) -> BlockContext:
        validators = self.validators
        return BlockContext(
            chain_id_hash=self.hash,
            height=Height(self.height + 1),
            time_ms=self.now_ms,
            epoch=self.epoch,
            view=View(self.place),
            parent_hash=self.block_hash(self.height),
            parent_view=View(self.place - 1),
            proposer=validators.leader(View(self.place)),
            validators=validators,
            verify=verify,
        )

    def _keep(self, result: BlockResult) -> None:
        """Go on to the block's state, and forget what only older ones have."""
        self.root = result.post_root
        self._store.apply(dict(result.new_nodes))
        for node, change in result.reference_changes.items():
            left = self._references.get(node, 0) + change
            if left:
                self._references[node] = left
            else:
                del self._references[node], self._store.nodes[node]
        self.height += 1
        self.open()
