"""Pools and positions in a ledger: units come in, move between pools and go out again.

Each method touches the leaves of one pool or two, however many have positions in it. Who holds a position
is an account, or a MOVING pool that merged: it then has one position in its target's main pool, and those
who hold its shares hold parts of that position, until each takes its part out for itself.

Whatever touches a position first collects what it has earned: for an account to its balance, for a merged
pool to the pool's own rewards. Methods that write assume that their checks have passed.
"""

from dataclasses import dataclass, replace
from typing import Final

from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, PublicKey
from consensus.relay.ledger import Ledger, Pot
from consensus.relay.stake import pools
from consensus.relay.stake.leaving import newest_epoch
from consensus.relay.stake.records import (
    MAX_HOLDINGS,
    TOTALS_KEY,
    GenerationRecord,
    Holding,
    HoldingsRecord,
    PoolKind,
    PoolRecord,
    PositionRecord,
    TotalsRecord,
    generation_key,
    holdings_key,
    leaving_pool,
    main_pool,
    moving_pool,
    position_key,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Units that were taken from one pool, in one generation of it."""

    pool: Hash
    generation: int
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A pool that exists, or would if stake came into it."""

    kind: PoolKind
    nomination: Hash
    to: Hash = ZERO_HASH
    epoch: Epoch = Epoch(0)  # noqa: RUF009  (a NewType)

    @property
    def pool(self) -> Hash:
        """What the pool is called."""
        match self.kind:
            case PoolKind.MAIN:
                return main_pool(self.nomination)
            case PoolKind.LEAVING:
                return leaving_pool(self.nomination, self.epoch)
            case PoolKind.MOVING:
                return moving_pool(self.nomination, self.to, self.epoch)


class Holdings:
    """The pools and positions of a ledger. `settle` writes the totals, once for all changes of a block;
    `touched` collects the nominations whose pools have changed."""

    __slots__ = ("_stored", "_totals", "ledger", "touched")

    def __init__(self, ledger: Ledger) -> None:
        self.ledger: Final = ledger
        self.touched: Final[set[Hash]] = set()
        self._stored: TotalsRecord | None = None  # as the ledger has it, once it was read
        self._totals = TotalsRecord()

    # --- reading

    @property
    def totals(self) -> TotalsRecord:
        """All stake together, as the block has it now."""
        if self._stored is None:
            self._stored = self._totals = self.ledger.record(TotalsRecord, TOTALS_KEY) or TotalsRecord()
        return self._totals

    @totals.setter
    def totals(self, totals: TotalsRecord) -> None:
        if self._stored is None:
            self._stored = self.ledger.record(TotalsRecord, TOTALS_KEY) or TotalsRecord()
        self._totals = totals

    def pool(self, pool: Hash) -> PoolRecord | None:
        """A pool by its name."""
        return self.ledger.record(PoolRecord, pool)

    def position(self, pool: Hash, holder: bytes) -> PositionRecord | None:
        """What a holder has in a pool."""
        return self.ledger.record(PositionRecord, position_key(pool, holder))

    def holdings(self, account: PublicKey) -> tuple[Holding, ...]:
        """The pools that an account has positions in."""
        found = self.ledger.record(HoldingsRecord, holdings_key(account))
        return () if found is None else found.holdings

    def value(self, pool: Hash, holder: bytes) -> int:
        """The whole units that a holder's position would be paid now; 0 without one."""
        record, position = self.pool(pool), self.position(pool, holder)
        if record is None or position is None or position.generation != record.generation:
            return 0
        if not record.merged:
            return pools.worth(record, position.shares)
        found = self._whole(pool, record)
        if found is None:
            return 0
        main, whole = found
        shares = whole.shares if whole.generation == main.generation else 0
        return pools.worth(main, position.shares * shares // record.shares)

    def earned(self, pool: Hash, holder: bytes) -> int:
        """The whole units that `collect` would pay a holder now, what a merged pool draws apart."""
        record, position = self.pool(pool), self.position(pool, holder)
        if record is None or position is None:
            return 0
        return pools.collect(record, position, self._ended(pool, record, position))[2]

    def has_room(self, account: PublicKey, pool: Hash) -> bool:
        """Whether an account may have a position in a pool."""
        holdings = self.holdings(account)
        return len(holdings) < MAX_HOLDINGS or any(each.pool == pool for each in holdings)

    # --- writing

    def settle(self) -> None:
        """Write the totals if they changed; after the last change of a block."""
        if self._stored is not None and self._totals != self._stored:
            self.ledger.put(TOTALS_KEY, self._totals)
            self._stored = self._totals

    def put_in(self, place: Place, holder: PublicKey, amount: int) -> None:
        """Add units, at least one, that come from somewhere, to an account's position."""
        self._join(place, holder, amount)
        self._list(place, holder)

    def take_out(self, pool: Hash, holder: PublicKey, amount: int) -> int:
        """Take units out of an account's position, which is in the running generation and worth as much; all
        shares where it is worth no more. The units, which the caller places: `amount`, exactly."""
        record, position = self._collected(pool, holder)
        shares = pools.shares_of(record, amount)
        if amount >= pools.worth(record, position.shares):
            shares = position.shares
        record, units = pools.leave(record, shares)
        self._store(pool, record, holder, replace(position, shares=position.shares - shares))
        return units

    def collect(self, pool: Hash, holder: PublicKey) -> int:
        """Pay an account what its position has earned; the units. Shares that were cut to nothing go."""
        before = self.ledger.account(holder).balance
        record, position = self._collected(pool, holder)
        self._store(pool, record, holder, position)
        return self.ledger.account(holder).balance - before

    def pay_out(self, pool: Hash, holder: PublicKey) -> int:
        """Take all of an account's position in a LEAVING pool and credit it; the units of stake."""
        units = self.take_out(pool, holder, self.value(pool, holder))
        self.ledger.credit(holder, units)
        return units

    def merge(self, pool: Hash) -> None:
        """All stake of a MOVING pool joins the main pool of where it goes, as one position."""
        record = self.ledger.existing(PoolRecord, pool)
        if record.merged or not record.tokens:
            return
        self._put(pool, replace(record, tokens=0, merged=True))
        self._join(Place(kind=PoolKind.MAIN, nomination=record.to), pool, record.tokens)

    def separate(self, pool: Hash, holder: PublicKey) -> None:
        """Make an account's part of a merged pool a position of its own in the main pool."""
        record, position = self._collected(pool, holder)
        target = Place(kind=PoolKind.MAIN, nomination=record.to)
        found = self._whole(pool, record)
        if found is not None and position.shares:
            main, whole = found
            part = whole.shares * position.shares // record.shares
            if whole.generation == main.generation:
                main, own = self._collected(target.pool, holder)
                grown = replace(own, shares=own.shares + part, since=self._coming())
                self._store(target.pool, main, holder, grown)
                main = self.ledger.existing(PoolRecord, target.pool)
            else:
                self._give_up(target.pool, whole.generation, part)
            self._store(target.pool, main, pool, replace(whole, shares=whole.shares - part))
        left = replace(record, shares=record.shares - position.shares)
        self._store(pool, left, holder, replace(position, shares=0))
        if self.position(target.pool, holder) is not None:  # last: an account may hold MAX_HOLDINGS pools
            self._list(target, holder)

    def cut(self, pool: Hash, amount: int) -> Cut:
        """Take units out of a pool, of all its holders alike; the caller places them."""
        record = self.ledger.existing(PoolRecord, pool)
        after, taken = pools.cut(record, amount)
        if after.generation != record.generation:
            self.ledger.put(generation_key(pool, record.generation), pools.end_of(record))
        self._put(pool, after)
        return Cut(pool=pool, generation=record.generation, amount=taken)

    def give_back(self, cut: Cut) -> int:
        """Put units that were cut back to those who bore it and are still there; those that they took."""
        record = self.pool(cut.pool)
        if record is None:
            return 0
        given = 0
        if record.generation == cut.generation:
            if record.merged and record.shares:
                self._drawn(cut.pool, record)
                self._join(Place(kind=PoolKind.MAIN, nomination=record.to), cut.pool, cut.amount)
                return cut.amount
            record, given = pools.grant(record, cut.amount)
        elif record.generation == cut.generation + 1 and not record.shares:
            key = generation_key(cut.pool, cut.generation)
            ended = self.ledger.existing(GenerationRecord, key)
            record, given = pools.revive(replace(record, merged=False), ended, cut.amount)
            if given:
                self.ledger.write(key, None)
        self._put(cut.pool, record)
        return given

    def pay(self, pool: Hash, amount: int) -> None:
        """Pay rewards, which come from somewhere, to the holders of a pool that has any."""
        self._put(pool, pools.pay(self.ledger.existing(PoolRecord, pool), amount))

    def forget_main(self, nomination: Hash) -> None:
        """Remove the empty main pool of a nomination that goes."""
        name = main_pool(nomination)
        record = self.pool(name)
        if record is not None and not record.generation:
            self._remove(name, record)

    # --- inside

    def _put(self, name: Hash, record: PoolRecord) -> None:
        """Write a pool, and what it changes in the totals. A pool for a while goes with its last share, if
        no position of an earlier generation could be taken for one of its successor's."""
        before = self.pool(name)
        self._count(before, record.tokens, record.rewards)
        self.touched.add(record.nomination)
        self.ledger.put(name, record)
        if not (record.shares or record.kind == PoolKind.MAIN or record.generation or before is None):
            self._remove(name, record)

    def _remove(self, name: Hash, record: PoolRecord) -> None:
        """What nobody can claim any more, which is below a unit for each position there was, is public."""
        self._count(record, 0, 0)
        self.ledger.pay_into(Pot.TREASURY, record.rewards)
        self.ledger.write(name, None)

    def _count(self, before: PoolRecord | None, tokens: int, rewards: int) -> None:
        tokens_before, rewards_before = (0, 0) if before is None else (before.tokens, before.rewards)
        totals = self.totals
        self.totals = replace(
            totals,
            bonded=totals.bonded + tokens - tokens_before,
            rewards=totals.rewards + rewards - rewards_before,
        )

    def _store(self, name: Hash, record: PoolRecord, holder: bytes, position: PositionRecord) -> None:
        """Write a pool and a position in it, or its end."""
        key = position_key(name, holder)
        if position.shares:
            self.ledger.put(key, position)
        else:
            record = pools.close(record, position)
            self.ledger.write(key, None)
            self._unlist(name, holder)
        self._put(name, record)

    def _list(self, place: Place, holder: PublicKey) -> None:
        holdings = self.holdings(holder)
        if all(each.pool != place.pool for each in holdings):
            added = Holding(pool=place.pool, last_epoch=place.epoch)
            self.ledger.put(holdings_key(holder), HoldingsRecord(holdings=(*holdings, added)))

    def _unlist(self, pool: Hash, holder: bytes) -> None:
        holdings = self.holdings(PublicKey(holder))
        left = tuple(each for each in holdings if each.pool != pool)
        if left != holdings:
            key = holdings_key(PublicKey(holder))
            if left:
                self.ledger.put(key, HoldingsRecord(holdings=left))
            else:
                self.ledger.write(key, None)

    def _join(self, place: Place, holder: bytes, amount: int) -> None:
        name = place.pool
        if self.pool(name) is None:
            self._put(name, _empty(place))
        record, position = self._collected(name, holder)
        record, shares = pools.join(record, amount)
        grown = replace(position, shares=position.shares + shares, since=self._coming())
        self._store(name, record, holder, grown)

    def _coming(self) -> Epoch:
        """The first epoch whose election is still to come."""
        return Epoch(newest_epoch(self.ledger) + 1)

    def _whole(self, pool: Hash, record: PoolRecord) -> tuple[PoolRecord, PositionRecord] | None:
        """The main pool that a pool merged into, and its position there; None if that is gone: so may be the
        main pool, though holders remain whose shares were cut to nothing before."""
        name = main_pool(record.to)
        whole = self.position(name, pool)
        return None if whole is None else (self.ledger.existing(PoolRecord, name), whole)

    def _collected(self, name: Hash, holder: bytes) -> tuple[PoolRecord, PositionRecord]:
        """A pool, and a position in it with all that it has earned paid to the account that holds it; an
        empty one if need be. The caller stores both."""
        record = self.ledger.existing(PoolRecord, name)
        if record.merged:
            record = self._drawn(name, record)
        position = self.position(name, holder)
        if position is None:
            position = PositionRecord(
                shares=0, generation=record.generation, paid=record.reward_per_share, carry=0
            )
        ended = self._ended(name, record, position)
        if ended is not None:
            self._give_up(name, position.generation, position.shares)
        record, position, units = pools.collect(record, position, ended)
        if units:
            self.ledger.credit(PublicKey(holder), units)
        return record, position

    def _give_up(self, name: Hash, generation: int, shares: int) -> None:
        """Shares of a generation that is over have no part any more in what a veto gives back to it."""
        key = generation_key(name, generation)
        ended = self.ledger.existing(GenerationRecord, key)
        self.ledger.put(key, replace(ended, shares=ended.shares - shares))

    def _drawn(self, name: Hash, record: PoolRecord) -> PoolRecord:
        """A merged pool, with what its position has earned paid to its holders. What of it was cut to nothing
        stays: it is many holders', and each of them gives up its own part when it takes that out."""
        found = self._whole(name, record)
        if found is None:
            return record
        main, whole = found
        main_name = main_pool(record.to)
        ended = self._ended(main_name, main, whole)
        main, drawn, units = pools.collect(main, whole, ended)
        if ended is not None:
            drawn = replace(whole, paid=ended.reward_per_share, carry=drawn.carry)
        self._store(main_name, main, name, drawn)
        record = pools.pay(record, units)
        self._put(name, record)
        return record

    def _ended(self, name: Hash, record: PoolRecord, position: PositionRecord) -> GenerationRecord | None:
        """How a position's generation ended; None if it is the running one."""
        if position.generation == record.generation:
            return None
        return self.ledger.existing(GenerationRecord, generation_key(name, position.generation))


def _empty(place: Place) -> PoolRecord:
    return PoolRecord(
        kind=int(place.kind),
        nomination=place.nomination,
        to=place.to,
        epoch=place.epoch,
        tokens=0,
        shares=0,
        generation=0,
        reward_per_share=0,
        residue=0,
        rewards=0,
        merged=False,
    )
