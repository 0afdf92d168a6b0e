"""One pool of stake by itself: its price, its rewards, its lives; against exact fractions."""

from dataclasses import dataclass, field, replace
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.primitives.ids import ZERO_HASH, Epoch
from consensus.relay.stake import pools
from consensus.relay.stake.records import GenerationRecord, PoolKind, PoolRecord, PositionRecord

EMPTY = PoolRecord(
    kind=int(PoolKind.MAIN),
    nomination=ZERO_HASH,
    to=ZERO_HASH,
    epoch=Epoch(0),
    tokens=0,
    shares=0,
    generation=0,
    reward_per_share=0,
    residue=0,
    rewards=0,
    merged=False,
)
UNITS = st.one_of(st.integers(1, 20), st.integers(1, 10**6), st.integers(1, 1 << 62))


def price(pool: PoolRecord) -> Fraction:
    return Fraction(pool.tokens, pool.shares)


@dataclass
class Book:
    """A pool and its positions, with what each holder put in, took out and was credited."""

    pool: PoolRecord = EMPTY
    positions: dict[int, PositionRecord] = field(default_factory=dict)
    ended: dict[int, GenerationRecord] = field(default_factory=dict)
    came: int = 0
    left: int = 0
    lost: int = 0
    paid: int = 0
    claimed: dict[int, int] = field(default_factory=dict)
    due: dict[int, Fraction] = field(default_factory=dict)  # of rewards, exactly

    def touch(self, who: int) -> PositionRecord:
        """A holder's position, with its rewards claimed."""
        position = self.positions.get(who)
        if position is None:
            position = PositionRecord(
                shares=0,
                generation=self.pool.generation,
                paid=self.pool.reward_per_share,
                carry=0,
            )
        over = position.generation != self.pool.generation
        ended = self.ended[position.generation] if over else None
        self.pool, position, units = pools.collect(self.pool, position, ended)
        self.claimed[who] = self.claimed.get(who, 0) + units
        self.positions[who] = position
        return position

    def join(self, who: int, amount: int) -> None:
        position = self.touch(who)
        before = self.pool
        self.pool, shares = pools.join(before, amount)
        assert shares >= amount  # nothing is ever minted for nothing
        if before.shares:
            assert price(self.pool) >= price(before)  # nobody who was there loses
        worth = pools.worth(self.pool, shares)
        assert amount - 1 <= worth <= amount
        self.positions[who] = replace(position, shares=position.shares + shares)
        self.came += amount

    def leave(self, who: int, part: Fraction) -> None:
        position = self.touch(who)
        worth = pools.worth(self.pool, position.shares)
        amount = int(worth * part)
        shares = position.shares if amount == worth else pools.shares_of(self.pool, amount)
        assert shares <= position.shares
        before = self.pool
        self.pool, units = pools.leave(before, shares)
        assert units == amount  # exactly what was asked for
        if self.pool.shares:
            assert price(self.pool) >= price(before)
        if position.shares == shares:
            self.pool = pools.close(self.pool, position)
            del self.positions[who]
        else:
            self.positions[who] = replace(position, shares=position.shares - shares)
        self.left += units

    def cut(self, amount: int) -> None:
        before = self.pool
        self.pool, taken = pools.cut(before, amount)
        assert taken >= min(amount, before.tokens)
        assert taken - min(amount, before.tokens) <= before.shares >> pools.MAX_DEPTH_BITS
        if self.pool.generation != before.generation:
            self.ended[before.generation] = pools.end_of(before)
        elif before.shares:
            assert price(self.pool) <= price(before)
        self.lost += taken

    def pay(self, amount: int) -> None:
        if not self.pool.shares:
            return
        for who, position in self.positions.items():
            if position.generation == self.pool.generation:
                part = Fraction(amount * position.shares, self.pool.shares)
                self.due[who] = self.due.get(who, Fraction(0)) + part
        self.pool = pools.pay(self.pool, amount)
        self.paid += amount

    def check(self) -> None:
        """What always holds."""
        pool = self.pool
        assert pool.tokens == self.came - self.left - self.lost
        assert (pool.tokens == 0) == (pool.shares == 0)
        assert pool.tokens <= pool.shares <= pool.tokens << pools.MAX_DEPTH_BITS
        live = [each for each in self.positions.values() if each.generation == pool.generation]
        assert sum(each.shares for each in live) == pool.shares
        assert sum(pools.worth(pool, each.shares) for each in live) <= pool.tokens
        assert pool.rewards == self.paid - sum(self.claimed.values())
        earned = 0
        for each in self.positions.values():
            over = each.generation != pool.generation
            upto = self.ended[each.generation].reward_per_share if over else pool.reward_per_share
            earned += each.shares * (upto - each.paid) + each.carry
        assert pool.rewards << pools.SCALE_BITS == earned + pool.residue


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(0, 4), UNITS),
        st.tuples(st.just("leave"), st.integers(0, 4), st.fractions(0, 1)),
        st.tuples(st.just("cut"), st.fractions(0, Fraction(11, 10)), st.just(0)),
        st.tuples(st.just("pay"), st.integers(0, 10**12), st.just(0)),
        st.tuples(st.just("claim"), st.integers(0, 4), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_a_pool_keeps_its_invariants_whatever_happens(steps) -> None:
    book = Book()
    for what, one, other in steps:
        if what == "join" and book.pool.tokens + other < 1 << 64:
            book.join(one, other)
        elif what == "leave" and one in book.positions:
            book.leave(one, other)
        elif what == "cut":
            book.cut(int(book.pool.tokens * one))
        elif what == "pay":
            book.pay(one)
        elif what == "claim":
            book.touch(one)
        book.check()
    everyone = list(book.positions)
    for who in everyone:
        book.touch(who)
    book.check()
    for who in book.due:  # a residue below a share's 2^-64 waits in the pool for the next payment
        owed = book.due[who] - book.claimed.get(who, 0)
        assert -1 < owed < 2


@settings(max_examples=60, deadline=None)
@given(st.lists(UNITS, min_size=1, max_size=6), st.integers(0, 10**15), st.randoms(use_true_random=False))
def test_who_claims_first_or_more_often_gets_neither_more_nor_less(stakes, amount: int, order) -> None:
    """Each gets the floor of all that its shares earned, in whatever order and however often it claims."""
    outcomes = []
    for often in (False, True, False):
        book = Book()
        for who, each in enumerate(stakes):
            book.join(who, each % (1 << 60) + 1)
        for turn in range(4):
            book.pay(amount // (turn + 1))
            for who in order.sample(range(len(stakes)), len(stakes) if often else turn % len(stakes)):
                book.touch(who)
        for who in order.sample(range(len(stakes)), len(stakes)):
            book.touch(who)
        book.check()
        outcomes.append({who: book.claimed[who] for who in range(len(stakes))})
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert 0 <= book.paid - sum(outcomes[0].values()) <= len(stakes)


@given(UNITS, st.integers(1, 10**9), st.fractions(0, 1))
def test_what_is_cut_and_given_back_is_as_it_was(first: int, second: int, part: Fraction) -> None:
    book = Book()
    book.join(0, first)
    book.join(1, second)
    before = book.pool
    amount = int(before.tokens * part)
    book.cut(amount)
    taken = before.tokens - book.pool.tokens
    if book.pool.generation == before.generation:
        assert pools.grant(book.pool, taken) == (before, taken)
    else:
        assert pools.revive(book.pool, book.ended[0], taken) == (before, taken)


@given(UNITS, UNITS)
def test_what_comes_back_is_worth_no_more_than_came_in(units: int, gift: int) -> None:
    """A gift to a pool that lost nothing is taken by nobody: there is no price to inflate for newcomers."""
    book = Book()
    book.join(0, units)
    assert pools.grant(book.pool, gift) == (book.pool, 0)


def test_a_generation_that_is_cut_to_nothing_keeps_what_it_earned_and_has_no_part_in_the_next() -> None:
    book = Book()
    book.join(0, 128)
    book.join(1, 384)
    book.pay(40)
    book.cut(512)
    assert (book.pool.generation, book.pool.tokens, book.pool.shares) == (1, 0, 0)
    book.join(2, 64)
    book.pay(7)
    book.check()
    for who in (0, 1, 2):
        book.touch(who)
    assert book.claimed == {0: 10, 1: 30, 2: 7}
    assert [book.positions[who].shares for who in (0, 1, 2)] == [0, 0, 64]
    book.leave(2, Fraction(1))
    assert book.left == 64
    book.check()


def test_of_a_generation_only_those_who_are_still_there_get_anything_back() -> None:
    """Half of the shares were given up meanwhile: half of what was cut finds its holders."""
    ended = GenerationRecord(reward_per_share=5, ended_shares=400, shares=200)
    pool, given_back = pools.revive(replace(EMPTY, generation=3), ended, 300)
    assert (pool.tokens, pool.shares, pool.generation, given_back) == (150, 200, 2, 150)


def test_a_cut_that_would_leave_next_to_nothing_takes_it_too() -> None:
    deep = replace(EMPTY, tokens=1 << 40, shares=1 << 40)
    assert pools.cut(deep, (1 << 40) - 256)[1] == (1 << 40) - 256
    assert pools.cut(deep, (1 << 40) - 255)[1] == 1 << 40


@given(st.integers(0, 10**30), st.lists(st.integers(0, 10**20), max_size=60))
def test_parts_sum_up_and_none_exceeds_its_weight(amount: int, weights: list[int]) -> None:
    amount = min(amount, sum(weights))
    parts = pools.shared_out(amount, weights)
    assert sum(parts) == amount
    for part, weight in zip(parts, weights, strict=True):
        assert part <= weight
        assert abs(part - Fraction(amount * weight, sum(weights) or 1)) < 1
