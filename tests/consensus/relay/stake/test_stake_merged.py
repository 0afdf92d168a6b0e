"""Stake that moved together and merged, and what becomes of its holders' parts when it is cut to nothing."""

import pytest
from relay_fakes import USERS
from stake_acts import ALICE, BOB, CAROL, LAST, PAIR, V, delegated, done, moved
from stake_world import StakeWorld

from consensus.primitives.ids import Epoch
from consensus.relay.ledger import Pot
from consensus.relay.stake.holdings import Cut
from consensus.relay.stake.records import main_pool, moving_pool
from consensus.relay.stake.transactions import Claim, Redelegate, Undelegate, Withdraw

POOL, MAIN = moving_pool(PAIR, LAST, Epoch(1)), main_pool(LAST)


def merged() -> StakeWorld:
    """Of 980 units behind the last two validators Alice has 200 and Bob 100, which moved there together and
    are one position still; Carol has the others."""
    world = moved(StakeWorld())
    delegated(world, BOB, V[:2], 100)
    done(world, BOB, Redelegate(nomination=PAIR, validators=tuple(V[2:]), amount=100))
    delegated(world, CAROL, V[2:], 700)
    world.to_epoch(4, span_ms=60)
    done(world, CAROL, Redelegate(nomination=LAST, validators=(V[0],), amount=20))  # tidies up
    assert world.stakes.pool(POOL).merged
    assert world.stakes.pool(MAIN).tokens == 980
    return world


def values(world: StakeWorld) -> tuple[int, int, int]:
    stakes = world.stakes
    return stakes.value(POOL, ALICE), stakes.value(POOL, BOB), stakes.value(MAIN, CAROL)


def test_a_claim_of_one_does_not_give_up_the_parts_of_the_others() -> None:
    """All of them lose all, and it may come back. Whoever moved one unit along with them could else have
    their part go to the treasury, by claiming its rewards."""
    world = merged()
    world.ledger.debit(USERS[5].public, 9_800)
    world.stakes.pay(LAST, Epoch(5), 9_800)
    cuts = world.stakes.cut(LAST, Epoch(5), 10**6)
    assert values(world) == (0, 0, 0)
    before = world.ledger.account(BOB).balance
    done(world, BOB, Claim(pool=POOL))
    assert world.ledger.account(BOB).balance - before in (999, 1_000)
    done(world, BOB, Claim(pool=POOL))
    world.commit()
    assert world.stakes.give_back(cuts) == 980
    assert values(world) == (200, 100, 680)
    assert world.ledger.pot(Pot.TREASURY) == 0
    before = world.ledger.account(ALICE).balance
    done(world, ALICE, Withdraw())
    assert world.ledger.account(ALICE).balance - before in (1_999, 2_000)
    done(world, BOB, Withdraw())
    assert [world.stakes.value(MAIN, each) for each in (ALICE, BOB, CAROL)] == [200, 100, 680]
    assert world.stakes.pool(POOL) is None


def test_who_takes_its_part_out_meanwhile_gives_up_that_and_no_more() -> None:
    world = merged()
    cuts = world.stakes.cut(LAST, Epoch(5), 10**6)
    done(world, BOB, Withdraw())
    assert POOL not in [each.pool for each in world.stakes.held_by(BOB)]
    world.commit()
    assert world.stakes.give_back(cuts) == 880
    assert values(world) == (200, 0, 680)
    assert world.ledger.pot(Pot.TREASURY) == 100
    done(world, ALICE, Withdraw())
    assert world.stakes.value(MAIN, ALICE) == 200


def test_when_all_have_taken_their_parts_out_nothing_is_left_to_come_back_to_them() -> None:
    world = merged()
    cuts = world.stakes.cut(LAST, Epoch(5), 10**6)
    done(world, BOB, Withdraw())
    done(world, ALICE, Withdraw())
    assert world.stakes.pool(POOL) is None
    assert world.stakes.position(MAIN, POOL) is None
    assert world.stakes.give_back(cuts) == 680
    assert values(world) == (0, 0, 680)


def left_behind() -> tuple[StakeWorld, tuple[Cut, ...]]:
    """What Alice moved is cut to nothing, what Bob moves along with it afterwards is not. He has long taken
    it out, and what it merged into has ended, when she comes. With it all that was cut."""
    world = StakeWorld()
    delegated(world, ALICE, V[:2], 100)
    delegated(world, BOB, V[:2], 1_000)
    done(world, ALICE, Redelegate(nomination=PAIR, validators=tuple(V[2:]), amount=20))
    cuts = world.stakes.cut(PAIR, Epoch(1), 1_050)  # of 1,100: rounded up it is all of so small a pool
    assert {each.pool: each.amount for each in cuts} == {main_pool(PAIR): 1_030, POOL: 20}
    done(world, BOB, Redelegate(nomination=PAIR, validators=tuple(V[2:]), amount=20))
    world.to_epoch(4, span_ms=60)
    done(world, BOB, Withdraw())
    done(world, BOB, Undelegate(nomination=LAST, amount=20))
    world.to_epoch(8, span_ms=60)
    done(world, BOB, Withdraw())
    assert world.stakes.nomination(LAST) is None
    assert world.stakes.pool(MAIN) is None
    assert POOL in [each.pool for each in world.stakes.held_by(ALICE)]
    return world, cuts


@pytest.mark.parametrize("act", [Withdraw(), Claim(pool=POOL)], ids=["withdraw", "claim"])
def test_a_part_that_is_worth_nothing_ends_though_all_that_it_merged_into_is_gone(act) -> None:
    """No validator could execute a block in which this failed."""
    world, _ = left_behind()
    assert done(world, ALICE, act) == bytes(16)
    assert POOL not in [each.pool for each in world.stakes.held_by(ALICE)]
    world.commit()


def test_what_comes_back_to_a_merged_pool_of_which_nobody_else_is_left_can_leave() -> None:
    world, cuts = left_behind()
    bonded = world.stakes.total_bonded()
    returned = world.stakes.give_back(each for each in cuts if each.pool == POOL)
    assert returned == 20
    assert world.stakes.value(POOL, ALICE) == 20
    done(world, ALICE, Withdraw())
    assert world.stakes.value(MAIN, ALICE) == 20
    assert world.stakes.total_bonded() == bonded + 20
    before = world.ledger.account(ALICE).balance
    done(world, ALICE, Undelegate(nomination=LAST, amount=20))
    assert world.ledger.account(ALICE).balance == before + 20
    assert world.stakes.total_bonded() == bonded
