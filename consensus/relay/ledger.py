"""The relay state as one block sees it: accounts, records and supply over an overlay of the tree.

Everything a block reads or changes goes through a `Ledger`; `commit` turns the changes into one batch update
of the tree. Money is conserved: `issued = balances + chains' relay balances + deposits + stake in pools and
what it has earned + pots + burnt`, always.
Fees leave the payer and are, at the end of the block, burnt by `burn_share_ppb`, paid to the proposer's
account by `proposer_fee_ppb`, and else kept for all validators of the epoch (`rewards.distributing`): a
proposer that fills its own blocks with its own fees loses the burnt part and most of the kept one.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, TypeVar

from consensus.light.leaves import (
    guest_key,
)
from consensus.primitives.codec import U32, U64, U128, decode, encode
from consensus.primitives.ids import Hash, Height, Milliseconds, PublicKey
from consensus.primitives.tree import NodeStore, OverlayStore, Update, get_many, tree_key, update
from consensus.primitives.tree import get as tree_get
from consensus.relay.parameters import BILLION, Parameters

T = TypeVar("T")
RECORD_LIMIT: Final = 1024 * 1024
MAX_NONCE: Final = (1 << 64) - 1

PARAMETERS_KEY: Final = tree_key(b"relay", b"parameters")
SUPPLY_KEY: Final = tree_key(b"relay", b"supply")
COUNTS_KEY: Final = tree_key(b"relay", b"counts")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRecord:
    """A leaf of the tree: an account that ever held or moved anything."""

    balance: U128
    nonce: U64


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """All units ever issued, and those burnt since."""

    issued: U128
    burnt: U128


class Pot(enum.IntEnum):
    """Units that belong to nobody's account: each pot is one leaf."""

    TREASURY = 1  # governance spends it
    SLASHED = 2  # taken for offences, until it is burnt, shared out or given back
    FEES = 3  # of the running epoch, until they are shared out
    BONDS = 4  # of those who submit evidence, until it is judged
    DEPOSITS = 5  # of proposals, until their votes close
    REWARDS = 6  # earned, and waiting to be claimed or to be shared out


@dataclass(frozen=True, slots=True, kw_only=True)
class PotRecord:
    """What is in a pot."""

    amount: U128


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many chains and modules exist: ids of chains are 1 … chains, indices of modules 0 … modules - 1."""

    chains: U32 = 0
    modules: U32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentBlock:
    """A final ancestor, in the ring that candidates' relay parents are looked up in."""

    height: Height
    hash: Hash
    time_ms: Milliseconds


def account_key(account: PublicKey) -> Hash:
    """Where an account is in the relay tree."""
    return tree_key(b"account", account)


def recent_key(slot: int) -> Hash:
    """Where the ring of recent blocks keeps the block with height % window == slot."""
    return tree_key(b"recent", slot.to_bytes(4, "big"))


def pot_key(pot: Pot) -> Hash:
    """Where a pot is in the relay tree."""
    return tree_key(b"pot", pot.to_bytes(1, "big"))


class Account:
    """An account within one block; mutable."""

    __slots__ = ("balance", "nonce", "stored")

    def __init__(self, balance: int, nonce: int, stored: bytes | None) -> None:
        self.balance = balance
        self.nonce = nonce
        self.stored = stored


class Ledger:
    """A block-scoped overlay of the relay tree at `root`."""

    def __init__(self, nodes: NodeStore, root: Hash) -> None:
        self.root: Final = root
        self.added: dict[Hash, bytes] = {}
        self.references: dict[Hash, int] = {}
        self.nodes: Final = OverlayStore(nodes, self.added)
        self.fees = 0
        self._base = nodes
        self._accounts: dict[PublicKey, Account] = {}
        self._values: dict[Hash, bytes | None] = {}
        self._changed: dict[Hash, bytes | None] = {}
        self._decoded: dict[Hash, tuple[bytes, object]] = {}  # with the bytes that it was decoded from
        self._parameters: Parameters | None = None

    # --- raw records

    def read(self, key: Hash) -> bytes | None:
        """The value under a tree key, as the block has it now. Accounts have accessors of their own."""
        if key in self._changed:
            return self._changed[key]
        if key not in self._values:
            self._values[key] = tree_get(self._base, self.root, key)
        return self._values[key]

    def write(self, key: Hash, value: bytes | None) -> None:
        """Set the value under a tree key, or delete it."""
        self._changed[key] = value

    def record(self, kind: type[T], key: Hash) -> T | None:
        """The record of `kind` under a tree key."""
        raw = self.read(key)
        if raw is None:
            return None
        known = self._decoded.get(key)
        if known is not None and known[0] is raw and type(known[1]) is kind:
            return known[1]
        record = decode(kind, raw, limit=RECORD_LIMIT)
        self._decoded[key] = (raw, record)
        return record

    def existing(self, kind: type[T], key: Hash) -> T:
        """A record that the state always holds."""
        value = self.record(kind, key)
        if value is None:
            raise AssertionError(f"ledger: the state has no {kind.__name__}")
        return value

    def put(self, key: Hash, record: object) -> None:
        """Write a record."""
        self._changed[key] = encode(record)

    # --- singletons

    @property
    def parameters(self) -> Parameters:
        """The network's parameters."""
        if self._parameters is None:
            raw = self.read(PARAMETERS_KEY)
            if raw is None:
                raise AssertionError("ledger: the state has no Parameters")
            self._parameters = decode_parameters(raw)
        return self._parameters

    # --- accounts

    def load_accounts(self, accounts: Iterable[PublicKey]) -> None:
        """Read many accounts in one descent of the tree; the rest of the block finds them in memory."""
        missing = sorted({each for each in accounts if each not in self._accounts})
        values = get_many(self._base, self.root, [account_key(each) for each in missing])
        for each, raw in zip(missing, values, strict=True):
            self._accounts[each] = _account(raw)

    def account(self, account: PublicKey) -> Account:
        """The account, empty where the state has none. Change it through the methods below."""
        found = self._accounts.get(account)
        if found is None:
            raw = tree_get(self._base, self.root, account_key(account))
            found = self._accounts[account] = _account(raw)
        return found

    def credit(self, account: PublicKey, amount: int) -> None:
        """Add `amount` units to an account; they must come from somewhere."""
        self.account(account).balance += amount

    def debit(self, account: PublicKey, amount: int) -> None:
        """Take `amount` units from an account that was checked to have them."""
        holder = self.account(account)
        if not 0 <= amount <= holder.balance:
            raise AssertionError("ledger: a debit that was not checked")
        holder.balance -= amount

    # --- pots and supply

    def pot(self, pot: Pot) -> int:
        """The units in a pot."""
        record = self.record(PotRecord, pot_key(pot))
        return 0 if record is None else record.amount

    def pay_into(self, pot: Pot, amount: int) -> None:
        """Add units, which must come from somewhere, to a pot."""
        if amount:
            self.put(pot_key(pot), PotRecord(amount=self.pot(pot) + amount))

    def take_from(self, pot: Pot, amount: int) -> None:
        """Take units out of a pot that was checked to have them."""
        held = self.pot(pot)
        if not 0 <= amount <= held:
            raise AssertionError(f"ledger: {amount} units taken from pot {pot.name}, which has {held}")
        if amount:
            self.put(pot_key(pot), PotRecord(amount=held - amount))

    def mint(self, amount: int) -> None:
        """Issue new units; the caller places them."""
        supply = self.existing(Supply, SUPPLY_KEY)
        self.put(SUPPLY_KEY, replace(supply, issued=supply.issued + amount))

    def burn(self, amount: int) -> None:
        """Count units as burnt, which the caller has taken from where they were."""
        if amount:
            supply = self.existing(Supply, SUPPLY_KEY)
            self.put(SUPPLY_KEY, replace(supply, burnt=supply.burnt + amount))

    # --- guests' trees

    def update_guest(self, root: Hash, writes: Iterable[tuple[bytes, bytes | None]]) -> Hash:
        """Apply a guest's writes to its tree at `root`; the new nodes become this block's."""
        changes = {guest_key(key): value for key, value in writes}
        if not changes:
            return root
        result = update(self.nodes, root, changes)
        self._note(result)
        return result.root

    # --- the end

    def settle_fees(self, proposer: PublicKey) -> None:
        """Burn the burnt share of the block's fees, pay its own to `proposer`, keep the rest for the epoch;
        the first two are rounded down."""
        burnt = self.fees * self.parameters.burn_share_ppb // BILLION
        paid = self.fees * self.parameters.proposer_fee_ppb // BILLION
        self.burn(burnt)
        self.credit(proposer, paid)
        self.pay_into(Pot.FEES, self.fees - burnt - paid)
        self.fees = 0

    def commit(self) -> Hash:
        """Write everything into the tree, once; the post-root. The ledger is spent afterwards."""
        changes: dict[Hash, bytes | None] = dict(self._changed)
        for name, account in self._accounts.items():
            if account.stored is None and not account.balance and not account.nonce:
                continue
            raw = encode(AccountRecord(balance=account.balance, nonce=account.nonce))
            if raw != account.stored:
                changes[account_key(name)] = raw
        result = update(self.nodes, self.root, changes)
        self._note(result)
        return result.root

    def _note(self, result: Update) -> None:
        references = self.references
        for node in result.added:
            references[node] = references.get(node, 0) + 1
        for node in result.removed:
            references[node] = references.get(node, 0) - 1
        self.added.update(result.added)

    def reference_changes(self) -> Mapping[Hash, int]:
        """Net change in how many trees contain each node; zeros left out."""
        return {node: change for node, change in self.references.items() if change}


@lru_cache(maxsize=8)
def decode_parameters(raw: bytes) -> Parameters:
    """The parameters of their leaf. Every block reads them: decoding is a fifth of an empty block's time."""
    return decode(Parameters, raw, limit=RECORD_LIMIT)


def _account(raw: bytes | None) -> Account:
    if raw is None:
        return Account(0, 0, None)
    record = decode(AccountRecord, raw, limit=RECORD_LIMIT)
    return Account(record.balance, record.nonce, raw)
