"""Cutting and giving back, by examples that can be checked by hand; and what acts cost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_fakes import USERS
from stake_acts import ALICE, BOB, LAST, OWN, PAIR, V, delegated, done, moved, refused
from stake_world import StakeWorld

from consensus.primitives.ids import Epoch
from consensus.relay.ledger import Pot
from consensus.relay.receipts import Code
from consensus.relay.stake.records import (
    Standing,
    leaving_pool,
    main_pool,
    moving_pool,
)
from consensus.relay.stake.transactions import (
    BondMore,
    Claim,
    Redelegate,
    Unbond,
    Undelegate,
    Withdraw,
)


@pytest.fixture
def world() -> StakeWorld:
    """Four validators with a thousand units each; two blocks make an epoch, everything waits two epochs."""
    return StakeWorld()


def test_a_cut_takes_from_every_pool_that_answers_in_proportion_and_from_no_other(world) -> None:
    """Own stake, delegated, leaving and moved alike; what left an epoch before does not answer any more."""
    delegated(world, ALICE, V[:1], 1_000)
    done(world, ALICE, Undelegate(nomination=OWN[0], amount=500))  # last in epoch 1
    world.to_epoch(2)
    done(world, V[0], Unbond(amount=200))  # last in epoch 2
    done(world, ALICE, Redelegate(nomination=OWN[0], validators=(V[1],), amount=300))
    cuts = world.stakes.cut(OWN[0], Epoch(2), 150)
    assert {each.pool: each.amount for each in cuts} == {
        main_pool(OWN[0]): 100,
        leaving_pool(OWN[0], Epoch(2)): 20,
        moving_pool(OWN[0], OWN[1], Epoch(2)): 30,
    }
    assert world.stakes.self_stake(V[0]) == 720
    assert world.stakes.value(main_pool(OWN[0]), ALICE) == 180
    assert sum(each.amount for each in world.stakes.cut(OWN[0], Epoch(1), 185)) == 185
    assert world.stakes.value(leaving_pool(OWN[0], Epoch(1)), ALICE) < 500
    world.to_epoch(5, span_ms=60)
    paid = int.from_bytes(done(world, ALICE, Withdraw()), "big")
    assert paid == 500 - 500 * 185 // 1_850


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3), st.integers(0, 700)), max_size=12))
def test_no_unit_is_cut_twice_and_what_was_not_cut_is_paid_out(slashes) -> None:
    """However many cuts, of whichever nomination and epoch: of each pool they take at most what was in it,
    and all the rest comes out again."""
    world = moved(StakeWorld())
    delegated(world, BOB, V[:2], 500)
    done(world, BOB, Undelegate(nomination=PAIR, amount=200))
    there = {main_pool(PAIR): 400, leaving_pool(PAIR, Epoch(1)): 200, moving_pool(PAIR, LAST, Epoch(1)): 200}
    taken = dict.fromkeys(there, 0)
    for old, epoch, amount in slashes:
        for cut in world.stakes.cut(PAIR if old else LAST, Epoch(epoch), amount):
            taken[cut.pool] += cut.amount
    for pool, units in there.items():
        assert taken[pool] <= units
        assert world.stakes.pool(pool).tokens == units - taken[pool]
    assert world.ledger.pot(Pot.SLASHED) == sum(taken.values())
    before = sum(world.ledger.account(each).balance for each in (ALICE, BOB))
    for who in (ALICE, BOB):
        left = world.stakes.value(main_pool(PAIR), who)
        if left:
            done(world, who, Undelegate(nomination=PAIR, amount=left))
    world.to_epoch(5, span_ms=60)
    for who in (ALICE, BOB):
        world.do(who, Withdraw())
        left = world.stakes.value(main_pool(LAST), who)
        if left:
            done(world, who, Undelegate(nomination=LAST, amount=left))
    world.to_epoch(9, span_ms=60)
    for who in (ALICE, BOB):
        world.do(who, Withdraw())
    after = sum(world.ledger.account(each).balance for each in (ALICE, BOB))
    assert after - before == sum(there.values()) - sum(taken.values())
    assert world.stakes.total_bonded() == 4_000


def test_what_is_cut_to_nothing_has_no_part_in_what_comes_after(world) -> None:
    delegated(world, ALICE, V[:2], 64)
    world.ledger.debit(USERS[5].public, 32)
    world.stakes.pay(PAIR, Epoch(1), 32)
    assert sum(each.amount for each in world.stakes.cut(PAIR, Epoch(1), 10**6)) == 64
    delegated(world, BOB, V[:2], 128)
    assert world.stakes.value(main_pool(PAIR), ALICE) == 0
    assert world.stakes.value(main_pool(PAIR), BOB) == 128
    before = world.ledger.account(ALICE).balance
    assert done(world, ALICE, Claim(pool=main_pool(PAIR))) == (32).to_bytes(16, "big")
    assert world.ledger.account(ALICE).balance == before + 32
    assert world.stakes.held_by(ALICE) == ()
    assert refused(world, ALICE, Undelegate(nomination=PAIR, amount=1)) is Code.INSUFFICIENT_BALANCE


def test_what_is_given_back_reaches_who_is_still_there_and_else_the_treasury(world) -> None:
    delegated(world, ALICE, V[:2], 100)
    delegated(world, BOB, V[:2], 100)
    cuts = world.stakes.cut(PAIR, Epoch(1), 100)
    done(world, BOB, Undelegate(nomination=PAIR, amount=50))
    assert world.stakes.give_back(cuts) == 50
    assert world.stakes.value(main_pool(PAIR), ALICE) == 100
    assert (world.ledger.pot(Pot.SLASHED), world.ledger.pot(Pot.TREASURY)) == (0, 50)
    everything = world.stakes.cut(PAIR, Epoch(2), 10**6)
    assert done(world, ALICE, Claim(pool=main_pool(PAIR))) == bytes(16)  # gives its shares up
    assert world.stakes.give_back(everything) == 0
    assert world.ledger.pot(Pot.TREASURY) == 150


def test_a_whole_nomination_that_was_cut_to_nothing_can_be_given_back(world) -> None:
    delegated(world, ALICE, V[:2], 100)
    delegated(world, BOB, V[:2], 300)
    cuts = world.stakes.cut(PAIR, Epoch(1), 400)
    assert world.stakes.give_back(cuts) == 400
    assert [world.stakes.value(main_pool(PAIR), each) for each in (ALICE, BOB)] == [100, 300]


def test_self_stake_below_the_minimum_is_not_elected_and_may_be_raised_again(world) -> None:
    world.stakes.cut(OWN[0], Epoch(1), 995)
    assert V[0] not in [each.account for each in world.stakes.candidates(Epoch(2))]
    assert refused(world, V[0], BondMore(amount=4)) is Code.BELOW_MINIMUM
    world.convict(V[0], Standing.JAILED, 3)
    done(world, V[0], BondMore(amount=5))
    world.convict(V[0], Standing.ACTIVE, 0)
    assert V[0] in [each.account for each in world.stakes.candidates(Epoch(2))]


def test_delegated_stake_does_not_make_up_for_stake_of_its_own(world) -> None:
    delegated(world, ALICE, V[:1], 10**6)
    done(world, V[0], Unbond(amount=1_000))
    assert V[0] not in [each.account for each in world.stakes.candidates(Epoch(2))]


def crowded(holders: int) -> StakeWorld:
    """A nomination with so many holders, and some of them leave or move; every leaf that may exist exists."""
    world = StakeWorld()
    accounts = [b"%032d" % index for index in range(holders)]
    for each in accounts:
        world.ledger.credit(each, 10_000)
        delegated(world, each, V[:2], 1_000)
    for index, each in enumerate(accounts):
        if index % 3 == 0:
            done(world, each, Undelegate(nomination=PAIR, amount=300))
        elif index % 3 == 1:
            done(world, each, Redelegate(nomination=PAIR, validators=tuple(V[2:]), amount=300))
    delegated(world, ALICE, V[:2], 1_000)
    world.commit()
    return world


def touched(world: StakeWorld, act) -> tuple[int, int]:
    """How many leaves an act reads and writes."""
    act(world)
    return len(world.ledger._values), len(world.ledger._changed)


@pytest.mark.parametrize(
    "act",
    [
        lambda world: world.stakes.cut(PAIR, Epoch(1), 500),
        lambda world: world.stakes.give_back(world.stakes.cut(PAIR, Epoch(1), 10**12)),
        lambda world: world.stakes.pay(PAIR, Epoch(1), 500),
        lambda world: world.stakes.electoral_stake(PAIR, Epoch(2)),
        lambda world: world.stakes.candidates(Epoch(2)),
        lambda world: delegated(world, ALICE, V[:2], 500),
        lambda world: done(world, ALICE, Undelegate(nomination=PAIR, amount=500)),
        lambda world: done(world, ALICE, Redelegate(nomination=PAIR, validators=tuple(V[2:]), amount=500)),
        lambda world: done(world, ALICE, Claim(pool=main_pool(PAIR))),
    ],
    ids=["cut", "give back", "pay", "stake", "candidates", "delegate", "undelegate", "redelegate", "claim"],
)
def test_no_act_touches_more_leaves_where_there_are_more_holders(act) -> None:
    few, many = (touched(crowded(each), act) for each in (3, 60))
    assert few == many
