"""Delegating and being paid: each rule by an example that can be checked by hand."""

import pytest
from relay_fakes import USERS
from stake_acts import ALICE, BOB, OWN, PAIR, TRIO, V, delegated, done, refused
from stake_world import StakeWorld

from consensus.primitives.ids import Epoch
from consensus.relay.receipts import Code
from consensus.relay.stake.records import (
    MAX_HOLDINGS,
    Standing,
    main_pool,
    nomination_name,
)
from consensus.relay.stake.transactions import (
    Claim,
    Delegate,
    Undelegate,
    Withdraw,
)


@pytest.fixture
def world() -> StakeWorld:
    """Four validators with a thousand units each; two blocks make an epoch, everything waits two epochs."""
    return StakeWorld()


def test_all_who_name_the_same_validators_share_a_pool_whatever_the_order(world) -> None:
    assert delegated(world, ALICE, [V[0], V[1]], 300) == PAIR
    assert delegated(world, BOB, [V[1], V[0]], 100) == PAIR
    record = world.stakes.nomination(PAIR)
    assert (record.validators, record.number) == (tuple(sorted(V[:2])), 1)
    assert world.stakes.electoral_stake(PAIR, Epoch(2)) == 400
    assert world.stakes.total_bonded() == 4_400
    names = [name for name, _ in world.stakes.nominations()]
    assert sorted(names[:4]) == sorted(OWN)
    assert names[4:] == [PAIR]


def test_to_name_several_validators_first_takes_a_minimum_and_to_follow_does_not(world) -> None:
    assert refused(world, ALICE, Delegate(validators=(V[0], V[1]), amount=19)) is Code.BELOW_MINIMUM
    delegated(world, ALICE, V[:2], 20)
    delegated(world, BOB, V[:2], 1)
    delegated(world, BOB, V[:1], 1)


@pytest.mark.parametrize(
    ("validators", "amount", "expected"),
    [
        ((), 50, Code.NO_SUCH_NOMINATION),
        ((V[0], V[0]), 50, Code.NO_SUCH_NOMINATION),
        ((V[0], ALICE), 50, Code.NO_SUCH_VALIDATOR),
        ((V[0],), 0, Code.BELOW_MINIMUM),
        ((V[0],), 10**9 + 1, Code.INSUFFICIENT_BALANCE),
        ((V[0],), 1 << 64, Code.OVER_LIMIT),
        ((V[3],), 50, Code.NOT_ACTIVE),
        ((V[0], V[2]), 50, Code.NOT_ACTIVE),
    ],
)
def test_what_can_not_be_delegated_is_refused(world, validators, amount: int, expected: Code) -> None:
    world.convict(V[2], Standing.JAILED, 3)
    world.convict(V[3], Standing.TOMBSTONED, 0)
    assert refused(world, ALICE, Delegate(validators=validators, amount=amount)) is expected


def test_a_shared_nomination_ends_with_its_last_unit_and_its_number_is_taken_by_the_last(world) -> None:
    delegated(world, ALICE, V[:2], 100)
    delegated(world, BOB, V[:3], 100)
    done(world, ALICE, Undelegate(nomination=PAIR, amount=100))
    world.to_epoch(4)
    assert [name for name, _ in world.stakes.nominated.shared()] == [PAIR, TRIO]
    world.to_epoch(8, span_ms=50)
    done(world, ALICE, Withdraw())
    assert world.stakes.nomination(PAIR) is None
    assert world.stakes.pool(main_pool(PAIR)) is None
    assert world.stakes.nomination(TRIO).number == 1
    assert [name for name, _ in world.stakes.nominated.shared()] == [TRIO]
    assert delegated(world, ALICE, V[:2], 100) == PAIR
    assert world.stakes.nomination(PAIR).number == 2


def test_an_account_holds_positions_in_a_limited_number_of_pools(world) -> None:
    names = [tuple(V[index] for index in range(4) if mask >> index & 1) for mask in range(1, 16)]
    for name in names:
        delegated(world, ALICE, name, 100)
    for epoch in range(1, 6):
        for name in names:
            code, _ = world.do(ALICE, Undelegate(nomination=nomination_name(name), amount=1))
            room = len(world.stakes.held_by(ALICE)) < MAX_HOLDINGS or code is Code.OK
            assert room or code is Code.OVER_LIMIT
        world.to_epoch(epoch + 1)
    assert len(world.stakes.held_by(ALICE)) == MAX_HOLDINGS
    assert refused(world, ALICE, Undelegate(nomination=PAIR, amount=1)) is Code.OVER_LIMIT
    delegated(world, ALICE, V[:2], 5)  # where it has a position already


def test_whatever_a_holder_does_with_a_position_first_pays_what_it_earned(world) -> None:
    delegated(world, ALICE, V[:2], 64)
    delegated(world, BOB, V[:2], 64)
    for act in (
        Delegate(validators=tuple(V[:2]), amount=64),
        Undelegate(nomination=PAIR, amount=64),
        Claim(pool=main_pool(PAIR)),
    ):
        shares = world.stakes.pool(main_pool(PAIR)).shares
        world.ledger.debit(USERS[5].public, shares)
        world.stakes.pay(PAIR, Epoch(9), shares)
        held = world.stakes.value(main_pool(PAIR), ALICE)
        before = world.ledger.account(ALICE).balance
        done(world, ALICE, act)
        spent = act.amount if isinstance(act, Delegate) else 0
        assert world.ledger.account(ALICE).balance == before + held - spent
    assert world.stakes.holdings.earned(main_pool(PAIR), BOB) == 3 * 64
    assert world.stakes.totals().rewards == 3 * 64


def test_rewards_that_nobody_answers_for_stay_with_who_pays(world) -> None:
    assert world.stakes.pay(PAIR, Epoch(1), 100) == 0
    assert world.stakes.totals().rewards == 0
    assert refused(world, ALICE, Claim(pool=main_pool(PAIR))) is Code.NO_SUCH_POSITION
