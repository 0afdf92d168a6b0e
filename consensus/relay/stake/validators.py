"""Validators in a ledger, and the roster of those who may be elected."""

from collections.abc import Iterable
from typing import Final

from consensus.primitives.ids import PublicKey, Stake
from consensus.relay.ledger import Ledger
from consensus.relay.stake.records import (
    MAX_ROSTER,
    ROSTER_KEY,
    RosterEntry,
    RosterRecord,
    ValidatorRecord,
    consensus_key_key,
    identity_key_key,
    rank,
    validator_key,
    validator_name_key,
)


class Validators:
    """The validators of a ledger: records, names and keys. `touched` collects who has changed."""

    __slots__ = ("_ledger", "touched")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.touched: Final[set[PublicKey]] = set()

    def get(self, account: PublicKey) -> ValidatorRecord | None:
        """A validator's record."""
        return self._ledger.record(ValidatorRecord, validator_key(account))

    def existing(self, account: PublicKey) -> ValidatorRecord:
        """The record of a validator that the state names elsewhere."""
        return self._ledger.existing(ValidatorRecord, validator_key(account))

    def name_is_taken(self, name: str) -> bool:
        """Whether a validator is called so."""
        return self._ledger.read(validator_name_key(name)) is not None

    def key_is_taken(self, consensus_key: PublicKey) -> bool:
        """Whether a consensus key is, or ever was, a validator's."""
        return self._ledger.read(consensus_key_key(consensus_key)) is not None

    def identity_is_taken(self, identity_key: PublicKey) -> bool:
        """Whether an identity key is a validator's."""
        return self._ledger.read(identity_key_key(identity_key)) is not None

    def create(self, record: ValidatorRecord) -> None:
        """Enter a validator with its name and keys."""
        self._ledger.write(validator_name_key(record.name), record.account)
        self._ledger.write(identity_key_key(record.identity_key), record.account)
        self.claim_key(record.consensus_key, record.account)
        self.put(record)

    def claim_key(self, consensus_key: PublicKey, account: PublicKey) -> None:
        """Give a fresh consensus key to a validator for ever."""
        self._ledger.write(consensus_key_key(consensus_key), account)

    def put(self, record: ValidatorRecord) -> None:
        """Write a validator."""
        self._ledger.put(validator_key(record.account), record)
        self.touched.add(record.account)


class Roster:
    """The roster of a ledger. Written by `settle`, once for all changes of a block: a full one takes
    milliseconds to encode."""

    __slots__ = ("_entries", "_ledger", "_stored")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._stored: tuple[RosterEntry, ...] | None = None  # as the ledger has it, once it was read
        self._entries: tuple[RosterEntry, ...] = ()

    def entries(self) -> tuple[RosterEntry, ...]:
        """Who is in it, in order of rank."""
        if self._stored is None:
            record = self._ledger.record(RosterRecord, ROSTER_KEY) or RosterRecord()
            self._stored = self._entries = record.entries
        return self._entries

    def update(self, changed: Iterable[PublicKey], entries: Iterable[RosterEntry]) -> None:
        """Replace the entries of the validators in `changed` by `entries`, which has those who may stay."""
        gone = set(changed)
        kept = [each for each in self.entries() if each.account not in gone]
        self._entries = tuple(sorted((*kept, *entries), key=rank)[:MAX_ROSTER])

    def settle(self) -> None:
        """Write it if it changed."""
        if self._stored is not None and self._entries != self._stored:
            self._ledger.put(ROSTER_KEY, RosterRecord(entries=self._entries))
            self._stored = self._entries


def entry_of(record: ValidatorRecord, stake: int) -> RosterEntry:
    """A validator in the roster, with what is in its own nomination's main pool."""
    return RosterEntry(account=record.account, stake=Stake(stake), joined_height=record.joined_height)
