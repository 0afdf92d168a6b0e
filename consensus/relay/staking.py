"""Validators in the state: who they are, what they have bonded, what is on its way out (DESIGN.md section 8).

    validator      account → ValidatorRecord, for ever: whoever bonded once stays answerable
    consensus-key  key → account, for ever: a key belongs to one validator, and is never taken up again
    identity-key   key → account
    roster         who may be elected, the most stake first
    leaving        epoch → the stake that stood in no set after that epoch's, until all of it is paid out
    offence        account and epoch → OffenceRecord, for ever

Stake that leaves may still be at fault for what its validator signed in the sets it stood in. It is paid
out once `unbonding_epochs` whole epochs *and* `unbonding_ms` have passed since the last of these ended:
evidence about that epoch does not count any longer then, and no light client trusts a header of it.

`Staking` reads and writes these leaves; its methods that write assume that their checks have passed.
`staking_actions` is what accounts may do, `slashing` what is done to them, `elections` who comes next.
"""

import enum
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Final

from consensus.agreement.messages import Kind, sign_bytes
from consensus.primitives.codec import U8, U32, U64, U128, MaxLength
from consensus.primitives.ids import ZERO_HASH, Amount, Epoch, Hash, Height, Milliseconds, PublicKey, Stake
from consensus.primitives.tree import tree_key
from consensus.relay.epochs import MAX_ADDRESS_BYTES, MAX_NAME_BYTES
from consensus.relay.ledger import Ledger
from consensus.relay.parameters import Parameters

MAX_UNBONDING: Final = 32  # entries of one validator: stake that left in as many different epochs
MAX_ROSTER: Final = 1_024
MAX_STAKE: Final = (1 << 64) - 1

ROSTER_KEY: Final = tree_key(b"relay", b"roster")


class Standing(enum.IntEnum):
    """What a validator may do."""

    ACTIVE = 1  # elected if its stake suffices
    JAILED = 2  # not elected until it asks to come back, which it may after `jail_epochs`
    TOMBSTONED = 3  # never elected again; its stake can only leave


@dataclass(frozen=True, slots=True, kw_only=True)
class UnbondingEntry:
    """Stake on its way out. `last_epoch` is the last epoch in whose set it may have stood."""

    amount: U128
    last_epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorRecord:
    """A validator, found by the account that operates it.

    Name, keys and address are those of the next election; an epoch's own are in its `EpochSetRecord`, so
    that a key which was rotated away is still answerable for the epochs it signed in.
    """

    WIRE_VERSION: ClassVar[int] = 1
    name: Annotated[str, MaxLength(MAX_NAME_BYTES)]
    account: PublicKey
    consensus_key: PublicKey
    identity_key: PublicKey
    address: Annotated[str, MaxLength(MAX_ADDRESS_BYTES)]
    bonded: Stake
    standing: U8
    jailed_until: Epoch  # the first epoch in which a jailed one may come back; else 0
    joined_height: Height
    unbonding: Annotated[tuple[UnbondingEntry, ...], MaxLength(MAX_UNBONDING)]  # by last_epoch, distinct


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterEntry:
    """An eligible validator: active, with at least `min_stake`."""

    account: PublicKey
    stake: Stake
    joined_height: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterRecord:
    """Who may be elected, in order of `rank`. Beyond MAX_ROSTER the least falls off; its next bond brings
    it back if it then ranks high enough."""

    entries: Annotated[tuple[RosterEntry, ...], MaxLength(MAX_ROSTER)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeavingRecord:
    """All stake that stood in no set after one epoch's, while any of it is not paid out.

    The total is what a limit on stake leaving an epoch would look at.
    """

    entries: U32
    amount: U128
    ended_ms: U64  # when the epoch ended: the time of its boundary block; 0 while it lasts


@dataclass(frozen=True, slots=True, kw_only=True)
class OffenceRecord:
    """A conviction: there for ever, under the validator's account and the epoch it offended in."""

    WIRE_VERSION: ClassVar[int] = 1
    account: PublicKey
    epoch: Epoch
    offence: U8  # of evidence.Offence, by the piece that came first
    height: Height  # of the block that convicted


def validator_key(account: PublicKey) -> Hash:
    """Where a validator's record is in the relay tree."""
    return tree_key(b"validator", account)


def consensus_key_key(key: PublicKey) -> Hash:
    """Where the account is found that a consensus key belongs to."""
    return tree_key(b"consensus-key", key)


def identity_key_key(key: PublicKey) -> Hash:
    """Where the account is found that an identity key belongs to."""
    return tree_key(b"identity-key", key)


def leaving_key(epoch: Epoch) -> Hash:
    """Where the stake that left after an epoch is summed up."""
    return tree_key(b"leaving", epoch.to_bytes(8, "big"))


def offence_key(account: PublicKey, epoch: Epoch) -> Hash:
    """Where a conviction is in the relay tree."""
    return tree_key(b"offence", account + epoch.to_bytes(8, "big"))


def possession_bytes(chain_id_hash: Hash, account: PublicKey) -> bytes:
    """What a key signs to show that whoever bonds `account` holds it: KEY_POP of CONSENSUS.md section 2,
    epoch and view zero, the account in the place of the block. Nobody can use it for another account."""
    return sign_bytes(chain_id_hash, Kind.KEY_POP, 0, 0, account, ZERO_HASH)


def rank(entry: RosterEntry) -> tuple[int, int, bytes]:
    """The order of election: the most stake, then who joined first, then the account."""
    return -entry.stake, entry.joined_height, entry.account


class Staking:
    """The leaves above, in a ledger. The roster is written by `settle`, once for all changes of a block: a
    full one takes milliseconds to encode."""

    __slots__ = ("_entries", "_stored", "ledger")

    def __init__(self, ledger: Ledger) -> None:
        self.ledger: Final = ledger
        self._stored: tuple[RosterEntry, ...] | None = None  # as the ledger has it, once it was read
        self._entries: list[RosterEntry] = []

    # --- reading

    def validator(self, account: PublicKey) -> ValidatorRecord | None:
        """A validator's record."""
        return self.ledger.record(ValidatorRecord, validator_key(account))

    def existing(self, account: PublicKey) -> ValidatorRecord:
        """The record of a validator that the state names elsewhere."""
        return self.ledger.existing(ValidatorRecord, validator_key(account))

    def roster(self) -> tuple[RosterEntry, ...]:
        """Who may be elected, in order."""
        return tuple(self._roster())

    def _roster(self) -> list[RosterEntry]:
        if self._stored is None:
            self._stored = (self.ledger.record(RosterRecord, ROSTER_KEY) or RosterRecord()).entries
            self._entries = list(self._stored)
        return self._entries

    def leaving(self, epoch: Epoch) -> LeavingRecord | None:
        """What left after an epoch."""
        return self.ledger.record(LeavingRecord, leaving_key(epoch))

    def key_is_taken(self, consensus_key: PublicKey) -> bool:
        """Whether a consensus key is, or ever was, a validator's."""
        return self.ledger.read(consensus_key_key(consensus_key)) is not None

    def identity_is_taken(self, identity_key: PublicKey) -> bool:
        """Whether an identity key is a validator's."""
        return self.ledger.read(identity_key_key(identity_key)) is not None

    def is_payable(self, entry: UnbondingEntry, epoch: Epoch, time_ms: int) -> bool:
        """Whether the wait of an entry is over in a block of this epoch and time."""
        parameters = self.ledger.parameters
        left = self.leaving(entry.last_epoch)
        return (
            left is not None
            and left.ended_ms > 0
            and epoch > entry.last_epoch + parameters.unbonding_epochs
            and time_ms >= left.ended_ms + parameters.unbonding_ms
        )

    # --- writing

    def create(self, record: ValidatorRecord) -> None:
        """Enter a validator with its keys."""
        self.ledger.write(identity_key_key(record.identity_key), record.account)
        self.claim_key(record.consensus_key, record.account)
        self.put(record)

    def claim_key(self, consensus_key: PublicKey, account: PublicKey) -> None:
        """Give a fresh consensus key to a validator for ever."""
        self.ledger.write(consensus_key_key(consensus_key), account)

    def put(self, record: ValidatorRecord) -> None:
        """Write a validator, and its place in the roster."""
        self.ledger.put(validator_key(record.account), record)
        entries = [each for each in self._roster() if each.account != record.account]
        if is_eligible(record, self.ledger.parameters):
            insort(entries, _entry_of(record), key=rank)
        self._entries = entries[:MAX_ROSTER]

    def settle(self) -> None:
        """Write the roster if it changed; after the last change of a block."""
        changed = tuple(self._entries)
        if self._stored is not None and changed != self._stored:
            self.ledger.put(ROSTER_KEY, RosterRecord(entries=changed))
            self._stored = changed

    def begin_unbonding(self, record: ValidatorRecord, amount: int, last_epoch: Epoch) -> None:
        """Move bonded stake to the entry of `last_epoch`."""
        left = self.leaving(last_epoch) or LeavingRecord(entries=0, amount=0, ended_ms=0)
        entries = list(record.unbonding)
        new = not entries or entries[-1].last_epoch != last_epoch
        if new:
            entries.append(UnbondingEntry(amount=amount, last_epoch=last_epoch))
        else:
            entries[-1] = replace(entries[-1], amount=entries[-1].amount + amount)
        self.ledger.put(
            leaving_key(last_epoch),
            replace(left, entries=left.entries + int(new), amount=left.amount + amount),
        )
        self.put(replace(record, bonded=Stake(record.bonded - amount), unbonding=tuple(entries)))

    def pay_out(self, record: ValidatorRecord, payable: Iterable[UnbondingEntry]) -> Amount:
        """Credit these entries of a validator to its account; the units paid."""
        paid = tuple(payable)
        for entry in paid:
            self._forget_leaving(entry)
        total = sum(entry.amount for entry in paid)
        self.ledger.credit(record.account, total)
        self.put(replace(record, unbonding=tuple(each for each in record.unbonding if each not in paid)))
        return Amount(total)

    def _forget_leaving(self, entry: UnbondingEntry) -> None:
        key = leaving_key(entry.last_epoch)
        left = self.ledger.existing(LeavingRecord, key)
        if left.entries == 1:
            self.ledger.write(key, None)
        else:
            self.ledger.put(key, replace(left, entries=left.entries - 1, amount=left.amount - entry.amount))

    def stamp_leaving(self, epoch: Epoch, time_ms: Milliseconds) -> None:
        """The epoch ends now: the wait of the stake that stood in its set for the last time begins."""
        left = self.leaving(epoch)
        if left is not None:
            self.ledger.put(leaving_key(epoch), replace(left, ended_ms=time_ms))


def is_eligible(record: ValidatorRecord, parameters: Parameters) -> bool:
    """Whether a validator may be elected."""
    return record.standing == Standing.ACTIVE and record.bonded >= parameters.min_stake


def _entry_of(record: ValidatorRecord) -> RosterEntry:
    return RosterEntry(account=record.account, stake=record.bonded, joined_height=record.joined_height)
