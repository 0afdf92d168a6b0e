"""What an account can bring about by filling up what is limited."""

import pytest
from stake_acts import ALICE, BOB, OWN, PAIR, V, delegated, done, refused
from stake_world import StakeWorld

from consensus.primitives.ids import Epoch
from consensus.relay.receipts import Code
from consensus.relay.stake.records import MAX_HOLDINGS, Standing, main_pool, nomination_name
from consensus.relay.stake.transactions import Delegate, Redelegate, Undelegate, Withdraw


def test_who_holds_as_many_pools_as_it_may_can_still_settle_a_move() -> None:
    """What moved takes the place of the pool that it moved by. Were both listed for a moment, the record
    would not fit, and no validator could execute the block."""
    world = StakeWorld(parameters={"unbonding_epochs": 8})
    delegated(world, ALICE, V[:1], 100)
    done(world, ALICE, Redelegate(nomination=OWN[0], validators=(V[1],), amount=100))
    names = [tuple(V[index] for index in range(4) if mask >> index & 1) for mask in range(1, 16)]
    names.remove((V[1],))
    for name in names:
        delegated(world, ALICE, name, 100)
    while len(world.stakes.held_by(ALICE)) < MAX_HOLDINGS:
        for name in names:
            world.do(ALICE, Undelegate(nomination=nomination_name(name), amount=1))
        world.to_epoch(world.epoch + 1)
    world.to_epoch(11, span_ms=50)
    assert len(world.stakes.held_by(ALICE)) == MAX_HOLDINGS
    done(world, ALICE, Withdraw())
    assert world.stakes.value(main_pool(OWN[1]), ALICE) == 100
    pools = [each.pool for each in world.stakes.held_by(ALICE)]
    assert len(pools) == len(set(pools)) < MAX_HOLDINGS
    assert main_pool(OWN[1]) in pools


def test_what_was_cut_and_may_come_back_keeps_its_room(monkeypatch) -> None:
    """All stake together is below 2^64, so that voting power can be written. What is slashed may be given
    back by a veto, on top of whatever came in its place."""
    world = StakeWorld()
    monkeypatch.setattr("consensus.relay.stake.delegating.MAX_STAKE", 4_500)
    cuts = world.stakes.cut(OWN[0], Epoch(1), 800)
    assert refused(world, ALICE, Delegate(validators=(V[1],), amount=501)) is Code.OVER_LIMIT
    delegated(world, ALICE, V[1:2], 500)
    assert world.stakes.give_back(cuts) == 800
    assert world.stakes.total_bonded() == 4_500


@pytest.mark.parametrize("jailed", [False, True])
def test_stake_that_a_veto_gives_back_after_its_nomination_has_ended_can_leave(jailed: bool) -> None:
    """Cut to nothing, the nomination ends as soon as anybody who left it before is paid out. What comes back
    then answers for nothing: its holders have it at once. Nobody could open the nomination anew for them
    while one of its validators is jailed."""
    world = StakeWorld()
    delegated(world, ALICE, V[:2], 100)
    delegated(world, BOB, V[:2], 60)
    done(world, ALICE, Undelegate(nomination=PAIR, amount=40))
    world.to_epoch(6, span_ms=60)
    cuts = world.stakes.cut(PAIR, Epoch(5), 1_000)
    assert sum(each.amount for each in cuts) == 120
    done(world, ALICE, Withdraw())
    assert world.stakes.nomination(PAIR) is None
    if jailed:
        world.convict(V[1], Standing.JAILED, 9)
    assert world.stakes.give_back(cuts) == 120
    balance = world.ledger.account(BOB).balance
    assert refused(world, BOB, Undelegate(nomination=PAIR, amount=61)) is Code.NO_SUCH_NOMINATION
    done(world, BOB, Undelegate(nomination=PAIR, amount=25))
    done(world, BOB, Undelegate(nomination=PAIR, amount=35))
    assert world.ledger.account(BOB).balance == balance + 60
    assert world.stakes.held_by(BOB) == ()
    done(world, ALICE, Undelegate(nomination=PAIR, amount=60))
    assert world.stakes.total_bonded() == 4_000
    world.next_block()
