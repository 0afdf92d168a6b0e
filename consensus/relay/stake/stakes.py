"""`Stakes`: all that a block does with stake, and what elections, offences and rewards ask (DESIGN.md 8).

    nomination      a set of validators; all stake behind the same set is one voter in elections
    pool            stake with one fate, of any number of holders; `nominations` says what each answers for
    position        what one holder has in one pool

A validator's own nomination exists from its bond on; its own stake is a position in it. Nothing here depends
on how many holders there are: every method touches at most the pools of one nomination.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from consensus.primitives.ids import Epoch, Hash, PublicKey
from consensus.relay.ledger import Ledger, Pot
from consensus.relay.parameters import Parameters
from consensus.relay.stake.holdings import Cut, Holdings, Place
from consensus.relay.stake.leaving import newest_epoch
from consensus.relay.stake.nominations import Nominations
from consensus.relay.stake.pools import shared_out
from consensus.relay.stake.records import (
    Holding,
    NominationRecord,
    PoolKind,
    PoolRecord,
    PositionRecord,
    RosterEntry,
    Standing,
    TotalsRecord,
    ValidatorRecord,
    leaving_pool,
    main_pool,
    nomination_name,
)
from consensus.relay.stake.validators import Roster, Validators, entry_of


class Stakes:
    """The stake in a ledger. After the last change of a block `settle` writes what is written once."""

    __slots__ = ("_roster", "holdings", "ledger", "nominated", "validators")

    def __init__(self, ledger: Ledger) -> None:
        self.ledger: Final = ledger
        self.holdings: Final = Holdings(ledger)
        self.nominated: Final = Nominations(ledger, self.holdings)
        self.validators: Final = Validators(ledger)
        self._roster: Final = Roster(ledger)

    # --- validators

    def validator(self, account: PublicKey) -> ValidatorRecord | None:
        """A validator's record."""
        return self.validators.get(account)

    def existing(self, account: PublicKey) -> ValidatorRecord:
        """The record of a validator that the state names elsewhere."""
        return self.validators.existing(account)

    def create(self, record: ValidatorRecord, amount: int) -> None:
        """Enter a validator, its own nomination, and its stake in it: units that come from somewhere."""
        self.validators.create(record)
        self.nominated.open_own(record.account)
        place = Place(kind=PoolKind.MAIN, nomination=self.own(record.account))
        self.holdings.put_in(place, record.account, amount)

    def put(self, record: ValidatorRecord) -> None:
        """Write a validator that exists."""
        self.validators.put(record)

    def self_stake(self, account: PublicKey, epoch: Epoch | None = None) -> int:
        """Units of its own that a validator has in its own nomination: in the main pool, and, if an epoch is
        given, in what leaves and still stands in that epoch."""
        name = self.own(account)
        found = self.holdings.value(main_pool(name), account)
        record = None if epoch is None else self.nomination(name)
        if epoch is None or record is None:
            return found
        queued = (leaving_pool(name, each) for each in record.leaving if epoch <= each)
        return found + sum(self.holdings.value(pool, account) for pool in queued)

    def is_eligible(self, account: PublicKey, epoch: Epoch | None = None) -> bool:
        """Whether a validator may be elected for an epoch that has no set yet; without one, whether it may be
        for any to come, as things stand."""
        record = self.validator(account)
        return (
            record is not None
            and record.standing == Standing.ACTIVE
            and not record.chilled
            and self.self_stake(account, epoch) >= self._parameters.min_stake
        )

    def roster(self) -> tuple[RosterEntry, ...]:
        """Who may be elected, the most stake first; with them who has left and waits in the queue."""
        self._refresh()
        return self._roster.entries()

    def candidates(self, epoch: Epoch) -> tuple[RosterEntry, ...]:
        """Who may be elected for `epoch`, which has no set yet, by rank; the others are struck off."""
        found = tuple(each for each in self.roster() if self.is_eligible(each.account, epoch))
        if len(found) < len(self.roster()):
            eligible = {each.account for each in found}
            gone = [each.account for each in self.roster() if each.account not in eligible]
            self._roster.update(gone, ())
        return found

    def would_strand(self, leaver: PublicKey | None = None) -> bool:
        """Whether nobody could be elected for good, as things stand, without `leaver`."""
        return not (self._any_stays(leaver, self._roster.entries()) or self._any_stays(leaver, self.roster()))

    # --- nominations

    @staticmethod
    def own(account: PublicKey) -> Hash:
        """The nomination of a validator alone."""
        return nomination_name((account,))

    def nomination(self, name: Hash) -> NominationRecord | None:
        """A nomination by its name."""
        return self.nominated.get(name)

    def nominations(self) -> Iterator[tuple[Hash, NominationRecord]]:
        """All that may vote: those of the validators in the roster, in its order, then the shared ones, in
        the order of their numbers."""
        for each in self.roster():
            name = self.own(each.account)
            yield name, self.nominated.existing(name)
        yield from self.nominated.shared()

    def electoral_stake(self, name: Hash, epoch: Epoch) -> int:
        """Units that stand behind a nomination in an epoch, as things stand."""
        return sum(record.tokens for _, record in self._answering(name, epoch))

    # --- pools

    def pool(self, pool: Hash) -> PoolRecord | None:
        """A pool by its name."""
        return self.holdings.pool(pool)

    def position(self, pool: Hash, holder: bytes) -> PositionRecord | None:
        """What a holder, an account or a merged pool, has in a pool."""
        return self.holdings.position(pool, holder)

    def held_by(self, account: PublicKey) -> tuple[Holding, ...]:
        """The pools that an account has positions in."""
        return self.holdings.holdings(account)

    def value(self, pool: Hash, holder: bytes) -> int:
        """The whole units that a holder's position would be paid now; 0 without one."""
        return self.holdings.value(pool, holder)

    def total_bonded(self) -> int:
        """Units in all pools, leaving ones included."""
        return self.holdings.totals.bonded

    def totals(self) -> TotalsRecord:
        """All stake together."""
        return self.holdings.totals

    def pools_of(self, name: Hash) -> int:
        """How many pools a nomination has listed, its main one included: no more answer for it."""
        record = self.nomination(name)
        return 1 if record is None else 1 + len(record.leaving) + len(record.outgoing) + len(record.incoming)

    # --- what offences and rewards do

    def cut(self, name: Hash, epoch: Epoch, amount: int) -> tuple[Cut, ...]:
        """Take `amount` units, or all there are, from the pools that answer for a nomination in an epoch, in
        proportion to what is in them; they are in Pot.SLASHED then, and out of the next election.

        What was taken from each pool: together `amount`, and more only where a pool would have been left
        with less than 2^-32 of its shares (see `pools.cut`).
        """
        answering = self._answering(name, epoch)
        weights = [record.tokens for _, record in answering]
        parts = shared_out(min(amount, sum(weights)), weights)
        cuts = tuple(
            self.holdings.cut(pool, part) for (pool, _), part in zip(answering, parts, strict=True) if part
        )
        self.ledger.pay_into(Pot.SLASHED, sum(each.amount for each in cuts))
        return cuts

    def give_back(self, cuts: Iterable[Cut]) -> int:
        """Return units from Pot.SLASHED to the holders that `cut` took them from, who are still there; the
        part of those who are not goes to Pot.TREASURY. The units that found their holders."""
        returned = 0
        for each in cuts:
            given = self.holdings.give_back(each)
            self.ledger.take_from(Pot.SLASHED, each.amount)
            self.ledger.pay_into(Pot.TREASURY, each.amount - given)
            returned += given
        return returned

    def pay(self, name: Hash, epoch: Epoch, amount: int) -> int:
        """Share out rewards, which the caller took from somewhere, among the pools that answer for a
        nomination in an epoch, in proportion to what is in them. The units placed: 0 if there are none."""
        answering = self._answering(name, epoch)
        for (pool, _), part in zip(
            answering, shared_out(amount, [record.tokens for _, record in answering]), strict=True
        ):
            if part:
                self.holdings.pay(pool, part)
        return amount if answering else 0

    def claim(self, pool: Hash, holder: PublicKey) -> int:
        """Credit an account with what its position in a pool has earned; the units."""
        return self.holdings.collect(pool, holder)

    # --- the end

    def settle(self) -> None:
        """Write the roster and the totals if they changed; after the last change of a block."""
        self._refresh()
        self._roster.settle()
        self.holdings.settle()

    # --- inside

    @property
    def _parameters(self) -> Parameters:
        return self.ledger.parameters

    def _any_stays(self, leaver: PublicKey | None, entries: Iterable[RosterEntry]) -> bool:
        return any(each.account != leaver and self.is_eligible(each.account) for each in entries)

    def _answering(self, name: Hash, epoch: Epoch) -> list[tuple[Hash, PoolRecord]]:
        """The pools with stake that answer for a nomination in an epoch."""
        found = ((pool, self.holdings.pool(pool)) for pool in self.nominated.answering(name, epoch))
        return [(pool, record) for pool, record in found if record is not None and record.tokens]

    def _refresh(self) -> None:
        """Take up into the roster whoever has changed since."""
        changed = self._take_touched()
        if not changed:
            return
        epoch = Epoch(newest_epoch(self.ledger) + 1)
        entries = []
        for account in changed:
            if self.is_eligible(account, epoch):
                main = self.pool(main_pool(self.own(account)))
                entries.append(entry_of(self.existing(account), 0 if main is None else main.tokens))
        self._roster.update(changed, entries)

    def _take_touched(self) -> list[PublicKey]:
        changed = set(self.validators.touched)
        for name in self.holdings.touched:
            record = self.nomination(name)
            if record is not None and not record.number:
                changed.add(record.validators[0])
        self.validators.touched.clear()
        self.holdings.touched.clear()
        return sorted(changed)
