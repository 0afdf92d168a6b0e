"""What an account can bring about by filling up what is limited."""

from stake_acts import ALICE, OWN, V, delegated, done
from stake_world import StakeWorld

from consensus.relay.stake.records import MAX_HOLDINGS, main_pool, nomination_name
from consensus.relay.stake.transactions import Redelegate, Undelegate, Withdraw


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
