"""Stake without the rest of a block: the real actions on a real ledger, epochs that end when one says so."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from relay_fakes import OPERATORS, USERS, make_genesis
from staking_world import QUICK

from consensus.light.leaves import LAST_BLOCK_KEY, LastBlock
from consensus.primitives.ids import ZERO_HASH, Epoch, Height, Milliseconds
from consensus.primitives.tree import MemoryStore
from consensus.relay.epochs import (
    OLDEST_EPOCH_KEY,
    EpochSetRecord,
    OldestEpoch,
    epoch_set_key,
    is_answerable,
    oldest_epoch,
)
from consensus.relay.genesis import genesis_state
from consensus.relay.ledger import Ledger
from consensus.relay.receipts import Code
from consensus.relay.stake.actions import apply_staking
from consensus.relay.stake.stakes import Stakes

PEOPLE = [each.public for each in USERS + OPERATORS]


@dataclass
class StakeWorld:
    """A network's stake. `commit` ends a block: what is read afterwards comes from the tree."""

    parameters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        chosen = QUICK | {"epoch_blocks": 2, "unbonding_epochs": 2, "min_nomination": 20}
        genesis = make_genesis(stake=1_000, **(chosen | self.parameters))
        self.root, nodes = genesis_state(genesis)
        self.store = MemoryStore(dict(nodes))
        self.height = 0
        self.time_ms = genesis.time_ms
        self.open()

    @property
    def epoch(self) -> int:
        """Of the block under way: two blocks make an epoch."""
        return self.height // 2 + 1

    @property
    def newest(self) -> int:
        """The newest epoch whose set is written: that of the next in an epoch's second block."""
        return self.epoch + self.height % 2

    def open(self) -> None:
        """A block on the state of the last one."""
        self.ledger = Ledger(self.store, self.root)
        self.stakes = Stakes(self.ledger)
        self.run: Any = SimpleNamespace(
            ledger=self.ledger,
            stakes=self.stakes,
            parameters=self.ledger.parameters,
            context=SimpleNamespace(
                epoch=Epoch(self.epoch),
                height=Height(self.height + 1),
                time_ms=self.time_ms,
                chain_id_hash=ZERO_HASH,
                verify=lambda *_: True,
            ),
        )

    def do(self, sender: bytes, action: Any) -> tuple[Code, bytes]:
        """Carry out an action; if it fails it changes nothing."""
        before = self.snapshot()
        code, output = apply_staking(self.run, sender, action)
        if code is not Code.OK:
            assert self.snapshot() == before
        return code, output

    def snapshot(self) -> Any:
        """All that the block has changed so far."""
        balances = [self.ledger.account(each).balance for each in PEOPLE]
        return dict(self.ledger._changed), balances, self.stakes.totals()

    def convict(self, account: bytes, standing: int, jailed_until: int) -> None:
        """What a conviction does to a validator, its stake apart."""
        record = self.stakes.existing(account)
        changed = replace(record, standing=int(standing), jailed_until=Epoch(jailed_until))
        self.stakes.put(changed)

    def commit(self) -> None:
        """Write the block's changes, without going on to the next."""
        self.stakes.settle()
        self.root = self.ledger.commit()
        self.store.apply(self.ledger.added)
        self.open()

    def next_block(self, span_ms: int = 10) -> None:
        """End the block. An epoch's first writes the next set, its second begins it and drops old ones."""
        ledger, coming = self.ledger, Epoch(self.epoch + 1)
        if self.height % 2 == 0:
            record = EpochSetRecord(members=(), leader_seed=ZERO_HASH, began_ms=Milliseconds(0))
            ledger.put(epoch_set_key(coming), record)
        else:
            record = ledger.existing(EpochSetRecord, epoch_set_key(coming))
            ledger.put(epoch_set_key(coming), replace(record, began_ms=Milliseconds(self.time_ms)))
            oldest = oldest_epoch(ledger)
            if not is_answerable(ledger, oldest, now=coming, now_ms=self.time_ms):
                ledger.write(epoch_set_key(oldest), None)
                ledger.put(OLDEST_EPOCH_KEY, OldestEpoch(epoch=Epoch(oldest + 1)))
        self.stakes.settle()
        last = ledger.existing(LastBlock, LAST_BLOCK_KEY)
        self.height += 1
        ledger.put(LAST_BLOCK_KEY, replace(last, height=Height(self.height)))
        self.root = ledger.commit()
        self.store.apply(ledger.added)
        self.time_ms += span_ms
        self.open()

    def to_epoch(self, epoch: int, span_ms: int = 10) -> None:
        """End blocks until the one under way is the first of `epoch`."""
        while self.epoch < epoch:
            self.next_block(span_ms)
