"""The ledger and the plain model side by side: what both are told, and what must always be the same."""

from collections import Counter
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from relay_fakes import OPERATORS, USERS
from stake_model import LEAVING, MAIN, MOVING, Model, Name, Place, Terms, Validator
from stake_world import PEOPLE, StakeWorld

from consensus.primitives.ids import Epoch, Hash
from consensus.relay.ledger import Pot
from consensus.relay.receipts import Code
from consensus.relay.stake.records import (
    MAX_HOLDINGS,
    Standing,
    leaving_pool,
    main_pool,
    moving_pool,
    nomination_name,
    rank,
)
from consensus.relay.stake.stakes import Stakes

HOLDERS = [each.public for each in (*OPERATORS, *USERS[:4])]
PATRON = USERS[5].public  # whose units are paid as rewards


def hashed(name: Name) -> Hash:
    return nomination_name(name)


def pool_of(place: Place) -> Hash:
    if place.kind == MAIN:
        return main_pool(hashed(place.name))
    if place.kind == LEAVING:
        return leaving_pool(hashed(place.name), Epoch(place.last))
    return moving_pool(hashed(place.name), hashed(place.to), Epoch(place.last))


class SideBySide(RuleBasedStateMachine):
    """A ledger and the model."""

    codes: ClassVar[Counter[Code]] = Counter()

    @initialize(cap=st.sampled_from([10**9, 3 * 10**8, 5 * 10**7]), span_ms=st.sampled_from([2, 100, 400]))
    def begin(self, cap: int, span_ms: int) -> None:
        """Four validators with a thousand units each; stake leaves at once, or by a queue."""
        self.world = StakeWorld({"exit_cap_ppb": cap, "unbonding_ms": span_ms, "trusting_ms": 1})
        terms = Terms(
            min_stake=10, min_nomination=20, exit_cap_ppb=cap, unbonding_epochs=2, unbonding_ms=span_ms
        )
        balances = {each: self.world.ledger.account(each).balance for each in PEOPLE}
        self.model = Model(terms, balances, time_ms=self.world.time_ms)
        self.places: dict[Hash, Place] = {}
        for index, each in enumerate(OPERATORS):
            self.model.validators[each.public] = Validator(f"v{index}")
            self.note(Place(MAIN, frozenset({each.public})))
            self.model.put(Place(MAIN, frozenset({each.public})), each.public, 1_000)
        self.issued = self.total()

    def note(self, place: Place) -> Place:
        """Remember what a pool is."""
        self.places.setdefault(pool_of(place), place)
        return place

    def total(self) -> int:
        """All units that there are, the ledger's word for it."""
        ledger, totals = self.world.ledger, self.world.stakes.totals()
        held = sum(ledger.account(each).balance for each in PEOPLE)
        return held + totals.bonded + totals.rewards + sum(ledger.pot(each) for each in Pot)

    def held(self, place: Place, who: bytes) -> int:
        return self.world.stakes.value(pool_of(place), who)

    def eligible(self, epoch: int | None = None) -> set[bytes]:
        """By looking at everybody; that `self_stake` is right is an invariant."""
        return {
            account
            for account, each in self.model.validators.items()
            if each.standing == Standing.ACTIVE
            and not each.chilled
            and self.world.stakes.self_stake(account, None if epoch is None else Epoch(epoch)) >= 10
        }

    def act(self, who: bytes, action: Any, expected: Code | None) -> tuple[Code, bytes]:
        """Carry it out. `expected` None: the ledger has the last word, which is OK or OVER_LIMIT."""
        code, output = self.world.do(who, action)
        self.codes[code] += 1
        if expected is None:
            assert code in (Code.OK, Code.OVER_LIMIT)
        else:
            assert code == expected, (code, expected, action)
        self.merged()
        return code, output

    def merged(self) -> None:
        """What the ledger noted along the way."""
        for pool, place in self.places.items():
            if place.kind == MOVING:
                record = self.world.stakes.pool(pool)
                if record is not None and record.merged and self.has(place):
                    self.model.merge(place)

    def has(self, place: Place) -> bool:
        return any(at == place for at, _ in self.model.lots)

    def credited(self, who: bytes, rest: int = 0) -> None:
        """Whatever else an account got are rewards; `rest` is what it got beside them."""
        self.model.balances[who] += rest
        units = self.world.ledger.account(who).balance - self.model.balances[who]
        self.model.credit(who, units)

    def into(self, place: Place, who: bytes) -> Code | None:
        """Whether a holder has room for another position."""
        held = self.world.stakes.held_by(who)
        known = any(each.pool == pool_of(place) for each in held)
        return Code.OVER_LIMIT if len(held) == MAX_HOLDINGS and not known else None

    def target(self, name: Name, amount: int) -> Code | None:
        """Why nothing can be put behind these, by their standings in the order of their keys' places."""
        for each in sorted(name):
            record = self.model.validators.get(each)
            if record is None:
                return Code.NO_SUCH_VALIDATOR
            if record.standing != Standing.ACTIVE:
                return Code.NOT_ACTIVE
        known = self.world.stakes.nomination(hashed(name)) is not None
        return None if known or amount >= 20 else Code.BELOW_MINIMUM

    def leaves(self, who: bytes, name: Name, amount: int, held: int) -> Code | None:
        """Why units can not leave a nomination."""
        if amount > held:
            known = self.world.stakes.nomination(hashed(name)) is not None
            return Code.INSUFFICIENT_BALANCE if known else Code.NO_SUCH_NOMINATION
        own, left = name == frozenset({who}), held - amount
        if amount == 0 or (own and 0 < left < 10):
            return Code.BELOW_MINIMUM
        leaver = {who} if own and left < 10 else set()
        return None if self.eligible() - leaver else Code.LAST_VALIDATOR

    def where(self, who: bytes, pick: int) -> Name:
        """A nomination that a holder has units behind, or else its own."""
        mine = sorted(
            sorted(place.name)
            for (place, each), units in self.model.lots.items()
            if each == who and place.kind == MAIN and units >= 1
        )
        return frozenset(mine[pick % len(mine)]) if mine else frozenset({who})

    def nominations(self) -> list[Name]:
        return sorted({place.name for place, _ in self.model.lots} | {frozenset()}, key=sorted)

    def all_values(self) -> dict[tuple[Hash, bytes], int]:
        stakes = self.world.stakes
        return {
            (each.pool, who): stakes.value(each.pool, who) for who in HOLDERS for each in stakes.held_by(who)
        }

    def check_candidates(self) -> None:
        """Before a set is written: exactly those who may be elected, in order; asked of what the tree has."""
        self.world.commit()
        coming = Epoch(self.world.epoch + 1)
        candidates = Stakes(self.world.ledger).candidates(coming)
        assert {each.account for each in candidates} == self.eligible(coming)
        assert list(candidates) == sorted(candidates, key=rank)
        for each in candidates:
            assert each.stake == self.world.stakes.pool(main_pool(self.world.stakes.own(each.account))).tokens

    def check(self) -> None:
        """All that always holds."""
        self.no_unit_comes_or_goes()
        self.every_position_is_worth_what_the_model_says()
        self.the_totals_are_the_sums()
        self.what_answers_is_what_the_model_says()
        self.the_index_is_whole()

    # --- what always holds

    @invariant()
    def no_unit_comes_or_goes(self) -> None:
        assert self.total() == self.issued
        for who in PEOPLE:
            assert self.world.ledger.account(who).balance == self.model.balances[who] >= 0

    @invariant()
    def every_position_is_worth_what_the_model_says(self) -> None:
        stakes, slack = self.world.stakes, self.model.slack
        for (place, who), units in self.model.lots.items():
            assert -slack - 1 < stakes.value(pool_of(place), who) - units <= slack, (place, units)
        for who in self.model.validators:
            for epoch in (None, self.world.newest + 1):
                own = stakes.self_stake(who, None if epoch is None else Epoch(epoch))
                assert -slack - 1 < own - self.model.self_stake(who, epoch) <= slack

    @invariant()
    def the_totals_are_the_sums(self) -> None:
        stakes = self.world.stakes
        records = [record for record in map(stakes.pool, self.places) if record is not None]
        assert sum(each.tokens for each in records) == stakes.total_bonded()
        assert sum(each.rewards for each in records) == stakes.totals().rewards
        for pool, record in ((each, stakes.pool(each)) for each in self.places):
            if record is not None and not record.merged:
                assert record.tokens <= record.shares <= record.tokens << 32
                shares = [stakes.position(pool, who) for who in (*HOLDERS, *self.places)]
                live = [each for each in shares if each and each.generation == record.generation]
                assert sum(each.shares for each in live) == record.shares

    @invariant()
    def what_answers_is_what_the_model_says(self) -> None:
        stakes, newest = self.world.stakes, self.world.newest
        for name in self.nominations():
            for epoch in range(max(1, newest - 2), newest + 2):
                if not self.model.is_past(epoch):
                    behind = stakes.electoral_stake(hashed(name), Epoch(epoch))
                    assert abs(behind - self.model.behind(name, epoch)) <= self.model.slack

    @invariant()
    def the_index_is_whole(self) -> None:
        shared = list(self.world.stakes.nominated.shared())
        assert [record.number for _, record in shared] == list(range(1, len(shared) + 1))
        assert len({name for name, _ in shared}) == len(shared)
