"""Random histories of stake against the plain model: every unit, every refusal, to the rounding allowed."""

import random
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from relay_fakes import key
from side_by_side import HOLDERS, PATRON, SideBySide, hashed
from stake_model import LEAVING, MAIN, MERGED, MOVING, Name, Place, Validator

from consensus.primitives.ids import Epoch
from consensus.relay.ledger import Pot
from consensus.relay.receipts import Code
from consensus.relay.stake.delegating import MAX_WITHDRAWALS
from consensus.relay.stake.records import (
    MAX_HOLDINGS,
    MAX_LEAVING,
    MAX_MOVES,
    Move,
    Standing,
    main_pool,
)
from consensus.relay.stake.transactions import (
    Bond,
    BondMore,
    Chill,
    Claim,
    Delegate,
    Redelegate,
    Unchill,
    Undelegate,
    Unjail,
    Withdraw,
)

SEASON = 40  # acts in a row
WHO = st.integers(0, len(HOLDERS) - 1).map(HOLDERS.__getitem__)
SETS = st.frozensets(st.integers(0, 4), min_size=1, max_size=3).map(
    lambda each: frozenset(HOLDERS[index] for index in each)
)
AMOUNT = st.one_of(st.integers(0, 25), st.integers(20, 100_000))
PART = st.sampled_from(
    [Fraction(0), Fraction(1, 7), Fraction(1, 2), Fraction(9, 10), Fraction(1), Fraction(2)]
)
USUAL = {
    Code.OK,
    Code.ALREADY_EXISTS,
    Code.NO_SUCH_VALIDATOR,
    Code.NOT_ACTIVE,
    Code.BELOW_MINIMUM,
    Code.LAST_VALIDATOR,
    Code.INSUFFICIENT_BALANCE,
    Code.NOT_YET,
    Code.NOT_JAILED,
}  # the others are rare


class StakeMachine(SideBySide):
    """What people do, and what is done to them."""

    # --- what people do

    @rule(who=WHO, amount=AMOUNT, name=st.integers(0, 5))
    def bond(self, who: bytes, amount: int, name: int) -> None:
        """Become a validator, perhaps with a name that is taken."""
        consensus, identity = key(f"{who.hex()} c"), key(f"{who.hex()} i")
        place = self.note(Place(MAIN, frozenset({who})))
        names = {each.name for each in self.model.validators.values()}
        if who in self.model.validators:
            expected = Code.ALREADY_EXISTS
        elif amount < 10:
            expected = Code.BELOW_MINIMUM
        elif f"v{name}" in names:
            expected = Code.NAME_IN_USE
        else:
            expected = self.into(place, who) or Code.OK
        code, _ = self.act(
            who,
            Bond(
                name=f"v{name}",
                consensus_key=consensus.public,
                identity_key=identity.public,
                address="",
                amount=amount,
                consensus_proof=bytes(64),
                identity_proof=bytes(64),
            ),
            expected,
        )
        if code is Code.OK:
            self.model.validators[who] = Validator(f"v{name}")
            self.model.put(place, who, amount)
            self.credited(who, -amount)

    @rule(who=WHO, amount=AMOUNT)
    def bond_more(self, who: bytes, amount: int) -> None:
        place = Place(MAIN, frozenset({who}))
        record = self.model.validators.get(who)
        if record is None:
            expected = Code.NO_SUCH_VALIDATOR
        elif record.standing == Standing.TOMBSTONED:
            expected = Code.TOMBSTONED
        elif amount == 0 or self.held(place, who) + amount < 10:
            expected = Code.BELOW_MINIMUM
        else:
            expected = self.into(place, who) or Code.OK
        code, _ = self.act(who, BondMore(amount=amount), expected)
        if code is Code.OK:
            self.model.put(place, who, amount)
            self.credited(who, -amount)

    @rule(who=WHO, name=SETS, amount=st.one_of(AMOUNT, st.just(10**10)))
    def delegate(self, who: bytes, name: Name, amount: int) -> None:
        place = self.note(Place(MAIN, name))
        expected = self.target(name, amount) or self.into(place, who)
        if expected is None:
            short = Code.INSUFFICIENT_BALANCE if amount == 10**10 else Code.OK
            expected = Code.BELOW_MINIMUM if amount == 0 else short
        code, output = self.act(who, Delegate(validators=tuple(sorted(name)), amount=amount), expected)
        if code is Code.OK:
            assert output == hashed(name)
            self.model.put(place, who, amount)
            self.credited(who, -amount)

    @rule(who=WHO, pick=st.integers(0, 20), part=PART)
    def undelegate(self, who: bytes, pick: int, part: Fraction) -> None:
        name = self.where(who, pick)
        source = Place(MAIN, name)
        held = self.held(source, who)
        amount = int(held * part) + (5 if part > 1 else 0)
        expected = self.leaves(who, name, amount, held)
        bonded = self.world.stakes.total_bonded()
        code, output = self.act(who, Undelegate(nomination=hashed(name), amount=amount), expected)
        if code is Code.OVER_LIMIT:
            record = self.world.stakes.nomination(hashed(name))
            assert len(record.leaving) == MAX_LEAVING or len(self.world.stakes.held_by(who)) == MAX_HOLDINGS
        elif code is Code.OK:
            last = self.model.leaves_with(name, self.model.queued(amount, bonded))
            assert int.from_bytes(output, "big") == last
            self.model.take(source, who, amount, whole=amount == held)
            self.model.put(self.note(Place(LEAVING, name, last=last)), who, amount)
            self.credited(who)

    @rule(who=WHO, pick=st.integers(0, 20), part=PART, to=SETS)
    def redelegate(self, who: bytes, pick: int, part: Fraction, to: Name) -> None:
        name = self.where(who, pick)
        source = Place(MAIN, name)
        held = self.held(source, who)
        amount = int(held * part) + (5 if part > 1 else 0)
        if name == to:
            expected: Code | None = Code.ALREADY_EXISTS
        else:
            expected = self.leaves(who, name, amount, held) or self.target(to, amount)
        place = self.note(Place(MOVING, name, to, self.model.newest))
        record = self.world.stakes.nomination(hashed(name))
        listed = record is not None and Move(other=hashed(to), epoch=Epoch(place.last)) in record.outgoing
        if expected is None and not listed and amount < 20:
            target = self.world.stakes.nomination(hashed(to))
            moves = len(record.outgoing), 0 if target is None else len(target.incoming)
            expected = Code.BELOW_MINIMUM if max(moves) < MAX_MOVES else None
        action = Redelegate(nomination=hashed(name), validators=tuple(sorted(to)), amount=amount)
        code, output = self.act(who, action, expected)
        if code is Code.OK:
            assert output == hashed(to)
            self.note(Place(MAIN, to))
            self.model.take(source, who, amount, whole=amount == held)
            self.model.put(place, who, amount)
            self.credited(who)

    @rule(who=WHO)
    def withdraw(self, who: bytes) -> None:
        """What waited long enough comes out: eight pools at a time."""
        held = [self.places[each.pool] for each in self.world.stakes.held_by(who) if each.last_epoch]
        over = [each for each in held if self.model.is_past(each.last)][:MAX_WITHDRAWALS]
        values = [self.held(each, who) for each in over]
        code, output = self.act(who, Withdraw(), Code.OK if over else Code.NOT_YET)
        if code is not Code.OK:
            return
        paid = sum(units for place, units in zip(over, values, strict=True) if place.kind == LEAVING)
        assert int.from_bytes(output, "big") == paid
        for place, units in zip(over, values, strict=True):
            if place.kind == LEAVING:
                self.model.take(place, who, units, whole=True)
                del self.model.lots[place, who]
                continue
            for at in (place, Place(MERGED, place.name, place.to, place.last)):
                units_moved = self.model.lots.pop((at, who), None)
                if units_moved is not None:
                    self.model.put(Place(MAIN, place.to), who, units_moved)
        self.credited(who, paid)

    @rule(who=WHO, pick=st.integers(0, 20))
    def claim(self, who: bytes, pick: int) -> None:
        held = self.world.stakes.held_by(who)
        if not held:
            self.act(who, Claim(pool=main_pool(hashed(frozenset({who})))), Code.NO_SUCH_POSITION)
            return
        before = self.world.ledger.account(who).balance
        _, output = self.act(who, Claim(pool=held[pick % len(held)].pool), Code.OK)
        assert int.from_bytes(output, "big") == self.world.ledger.account(who).balance - before
        self.credited(who)

    @rule(who=WHO, back=st.booleans())
    def chill(self, who: bytes, back: bool) -> None:
        record = self.model.validators.get(who)
        if record is None:
            self.act(who, Unchill() if back else Chill(), Code.NO_SUCH_VALIDATOR)
            return
        eligible = self.eligible()
        last = not back and who in eligible and eligible == {who}
        code, _ = self.act(who, Unchill() if back else Chill(), Code.LAST_VALIDATOR if last else Code.OK)
        if code is Code.OK:
            record.chilled = not back

    @rule(who=WHO)
    def unjail(self, who: bytes) -> None:
        record = self.model.validators.get(who)
        if record is None:
            expected = Code.NO_SUCH_VALIDATOR
        elif record.standing == Standing.JAILED:
            expected = Code.OK if self.world.epoch >= record.jailed_until else Code.NOT_YET
        else:
            expected = Code.TOMBSTONED if record.standing == Standing.TOMBSTONED else Code.NOT_JAILED
        code, _ = self.act(who, Unjail(), expected)
        if code is Code.OK:
            record.standing = Standing.ACTIVE

    # --- what is done to them

    @rule(who=WHO, for_ever=st.sampled_from([False, False, False, True]))
    def convict(self, who: bytes, for_ever: bool) -> None:
        record = self.model.validators.get(who)
        if record is None or record.standing == Standing.TOMBSTONED:
            return
        record.standing = Standing.TOMBSTONED if for_ever else Standing.JAILED
        record.jailed_until = 0 if for_ever else self.world.epoch + 2
        self.world.convict(who, record.standing, record.jailed_until)

    @rule(pick=st.integers(0, 50), ago=st.integers(0, 3), part=PART, regret=st.booleans())
    def cut(self, pick: int, ago: int, part: Fraction, regret: bool) -> None:
        """Stake behind some is cut, for an epoch about which evidence counts; or that is taken back."""
        found = self.nominations()
        name, epoch = found[pick % len(found)], Epoch(max(1, self.world.epoch - ago))
        if ago and self.model.is_past(epoch):
            return
        stakes = self.world.stakes
        values = self.all_values()
        before = stakes.electoral_stake(hashed(name), epoch)
        slashed = self.world.ledger.pot(Pot.SLASHED)
        amount = int(before * part)
        cuts = stakes.cut(hashed(name), epoch, amount)
        taken = sum(each.amount for each in cuts)
        assert min(amount, before) == taken == self.world.ledger.pot(Pot.SLASHED) - slashed
        assert stakes.electoral_stake(hashed(name), epoch) == before - taken
        if regret:
            assert stakes.give_back(cuts) == taken
            assert self.all_values() == values
            assert self.world.ledger.pot(Pot.SLASHED) == slashed
        elif taken:
            self.model.cut(name, epoch, amount, taken)

    @rule(pick=st.integers(0, 50), ago=st.integers(0, 1), amount=st.integers(1, 10**6))
    def pay(self, pick: int, ago: int, amount: int) -> None:
        found = self.nominations()
        name, epoch = found[pick % len(found)], Epoch(max(1, self.world.epoch - ago))
        answering = self.world.stakes.electoral_stake(hashed(name), epoch)
        amount = min(amount, answering, self.world.ledger.account(PATRON).balance)
        if amount or not answering:
            paid = self.world.stakes.pay(hashed(name), epoch, amount)
            assert paid == (amount if answering else 0)
            self.world.ledger.debit(PATRON, paid)
            self.model.balances[PATRON] -= paid
            if paid:
                self.model.pay(name, epoch, paid)

    @rule(blocks=st.integers(1, 5), span_ms=st.sampled_from([1, 10, 200]))
    def next_block(self, blocks: int, span_ms: int) -> None:
        for _ in range(blocks):
            if self.world.height % 2:
                self.model.ended_ms[self.world.epoch] = self.world.time_ms
            else:
                self.check_candidates()
            self.world.next_block(span_ms)
            self.model.epoch, self.model.newest = self.world.epoch, self.world.newest
            self.model.time_ms = self.world.time_ms

    @rule(seed=st.integers(0, 2**32))
    def busy_season(self, seed: int) -> None:
        """Many acts in a row, of such a mix that most of them succeed: hypothesis prefers to repeat a few."""
        chance = random.Random(seed)
        validators = [each for each in self.model.validators if each in HOLDERS[:5]]

        def some() -> Name:
            return frozenset(chance.sample(validators, min(len(validators), chance.choice((1, 1, 2, 3)))))

        def part() -> Fraction:
            return chance.choice((Fraction(1, 7), Fraction(1, 2), Fraction(9, 10), Fraction(1)))

        for turn in range(SEASON):
            who, pick = chance.choice(HOLDERS), chance.randrange(50)
            operator = chance.choice(sorted(self.model.validators))
            amount = chance.choice((chance.randint(1, 30), chance.randint(20, 100_000)))
            acts: list[tuple[int, Callable[[], None]]] = [
                (6, partial(self.delegate, who, some(), amount)),
                (4, partial(self.undelegate, who, pick, part())),
                (4, partial(self.redelegate, who, pick, part(), some())),
                (4, partial(self.withdraw, who)),
                (1, partial(self.claim, who, pick)),
                (1, partial(self.bond, who, amount, pick)),
                (1, partial(self.bond_more, operator, amount)),
                (
                    1,
                    partial(self.convict, operator, pick % 9 == 0)
                    if pick % 4 == 0
                    else partial(self.unjail, operator),
                ),
                (2, partial(self.cut, pick, pick % 3, part() / 2, pick % 4 == 0)),
                (2, partial(self.pay, pick, pick % 2, amount)),
                (4, partial(self.next_block, chance.randint(1, 3), chance.choice((10, 200)))),
            ]
            chance.choices([act for _, act in acts], [weight for weight, _ in acts])[0]()
            if turn % 4 == 0:
                self.check()

    def teardown(self) -> None:
        """In the end everybody leaves who can, and has all out that was not slashed."""
        for who in HOLDERS:
            for place, each in list(self.model.lots):
                if each == who and place.kind == MAIN and self.held(place, who):
                    self.leave_all(who, place)
        for _ in range(90):
            self.next_block(2, 200)
        for who in HOLDERS:
            for _ in range(10):
                self.withdraw(who)
            assert not any(each.last_epoch for each in self.world.stakes.held_by(who))
            for each in self.world.stakes.held_by(who):
                self.world.do(who, Claim(pool=each.pool))
            self.credited(who)
            assert abs(self.model.due.get(who, 0)) <= self.model.reward_slack
        self.check()

    def leave_all(self, who: bytes, place: Place) -> None:
        held = self.held(place, who)
        expected = self.leaves(who, place.name, held, held)
        bonded = self.world.stakes.total_bonded()
        code, _ = self.act(who, Undelegate(nomination=hashed(place.name), amount=held), expected)
        if code is Code.OK:
            last = self.model.leaves_with(place.name, self.model.queued(held, bonded))
            self.model.take(place, who, held, whole=True)
            self.model.put(self.note(Place(LEAVING, place.name, last=last)), who, held)
            self.credited(who)


def run(examples: int, steps: int) -> Counter[Code]:
    """What became of all actions."""
    StakeMachine.codes = Counter()
    run_state_machine_as_test(
        StakeMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking a history takes minutes
        ),
    )
    return StakeMachine.codes


def test_random_histories_agree_with_the_model() -> None:
    codes = run(examples=4, steps=6)
    assert codes[Code.OK] > 20


@pytest.mark.slow
def test_many_random_histories_agree_with_the_model() -> None:
    codes = run(examples=40, steps=25)
    assert codes.total() > 4_000
    assert set(codes) >= USUAL
