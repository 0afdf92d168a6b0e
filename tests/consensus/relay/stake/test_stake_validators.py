"""What only validators do: names, commissions, resting; and that somebody always stays."""

from dataclasses import replace

import pytest
from stake_acts import ALICE, BOB, PAIR, V, bond, delegated, done, refused
from stake_world import StakeWorld

from consensus.primitives.ids import Epoch
from consensus.relay.receipts import Code
from consensus.relay.stake.records import Standing
from consensus.relay.stake.transactions import (
    Chill,
    Redelegate,
    SetCommission,
    SetLabels,
    Unbond,
    Unchill,
    Undelegate,
)


@pytest.fixture
def world() -> StakeWorld:
    """Four validators with a thousand units each; two blocks make an epoch, everything waits two epochs."""
    return StakeWorld()


def test_nobody_leaves_while_nobody_could_be_elected(world) -> None:
    """The set stays as it is then, and all stake vouches for it: its validators' own and everybody else's."""
    delegated(world, ALICE, V[:2], 300)
    for each in V:
        world.convict(each, Standing.TOMBSTONED, 0)
    for sender, action in (
        (V[0], Unbond(amount=1_000)),
        (ALICE, Undelegate(nomination=PAIR, amount=300)),
        (ALICE, Redelegate(nomination=PAIR, validators=(V[2],), amount=300)),
    ):
        assert refused(world, sender, action) is Code.LAST_VALIDATOR
    done(world, BOB, bond("new", 100))
    done(world, V[0], Unbond(amount=1_000))
    done(world, ALICE, Undelegate(nomination=PAIR, amount=300))
    assert refused(world, BOB, Unbond(amount=100)) is Code.LAST_VALIDATOR


def test_two_validators_never_have_one_name(world) -> None:
    assert refused(world, ALICE, bond("v0", 100)) is Code.NAME_IN_USE
    done(world, ALICE, bond("alice", 100))
    assert refused(world, BOB, replace(bond("bob", 100), name="alice")) is Code.NAME_IN_USE


def test_the_last_who_stays_can_not_rest_either(world) -> None:
    for each in V[:3]:
        done(world, each, Chill())
    assert refused(world, V[3], Chill()) is Code.LAST_VALIDATOR
    assert refused(world, V[3], Unbond(amount=1_000)) is Code.LAST_VALIDATOR
    assert [each.account for each in world.stakes.candidates(Epoch(2))] == [V[3]]
    done(world, V[0], Unchill())
    done(world, V[3], Chill())
    assert [each.account for each in world.stakes.candidates(Epoch(2))] == [V[0]]


@pytest.mark.parametrize(
    ("commission", "most", "code"),
    [
        (0, 10**9, Code.OK),
        (5, 4, Code.OVER_COMMISSION),
        (0, 10**9 + 1, Code.OVER_COMMISSION),
        (4, 4, Code.OK),
    ],
)
def test_a_bond_fixes_how_high_its_commission_may_be(world, commission: int, most: int, code: Code) -> None:
    action = bond("alice", 100, commission_ppb=commission, commission_max_ppb=most)
    assert world.do(ALICE, action)[0] is code


def test_a_commission_changes_once_an_epoch_by_a_step_up_to_its_maximum(world) -> None:
    done(world, ALICE, bond("a", 100, commission_ppb=10, commission_max_ppb=25, commission_step_ppb=10))
    for epoch, asked, code in (
        (1, 21, Code.OVER_COMMISSION),
        (1, 20, Code.OK),
        (1, 20, Code.NOT_YET),
        (2, 30, Code.OVER_COMMISSION),
        (2, 26, Code.OVER_COMMISSION),
        (2, 25, Code.OK),
        (3, 14, Code.OVER_COMMISSION),
        (3, 15, Code.OK),
    ):
        world.to_epoch(epoch)
        assert world.do(ALICE, SetCommission(commission_ppb=asked))[0] is code
    assert world.stakes.validator(ALICE).commission_ppb == 15
    assert refused(world, BOB, SetCommission(commission_ppb=1)) is Code.NO_SUCH_VALIDATOR


@pytest.mark.parametrize(("governed", "asked", "code"), [(7, 8, Code.OVER_COMMISSION), (7, 7, Code.OK)])
def test_no_bond_lets_a_commission_change_faster_than_the_network(governed: int, asked: int, code) -> None:
    """Or its holder shows nothing, and takes everything in the one block that pays (docs/decisions/033)."""
    world = StakeWorld({"commission_step_ppb": governed})
    done(world, ALICE, bond("a", 100, commission_step_ppb=10**9))
    assert world.do(ALICE, SetCommission(commission_ppb=asked))[0] is code


def test_labels_are_as_declared(world) -> None:
    done(world, V[0], SetLabels(operator="acme", region="eu", client="phalanx"))
    record = world.stakes.validator(V[0])
    assert (record.operator, record.region, record.client) == ("acme", "eu", "phalanx")
