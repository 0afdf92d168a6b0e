"""Delegating, moving, leaving, being cut and paid: each rule by an example that can be checked by hand."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_fakes import OPERATORS, USERS, key
from stake_world import StakeWorld

from consensus.primitives.ids import Epoch
from consensus.relay.ledger import Pot
from consensus.relay.receipts import Code
from consensus.relay.stake.leaving import queue
from consensus.relay.stake.records import (
    MAX_HOLDINGS,
    MAX_LEAVING,
    MAX_MOVES,
    NominationRecord,
    Standing,
    TotalsRecord,
    leaving_pool,
    main_pool,
    moving_pool,
    nomination_name,
)
from consensus.relay.stake.stakes import Stakes
from consensus.relay.stake.transactions import (
    Bond,
    BondMore,
    Chill,
    Claim,
    Delegate,
    Redelegate,
    SetCommission,
    SetLabels,
    Unbond,
    Unchill,
    Undelegate,
    Withdraw,
)

ALICE, BOB, CAROL = (each.public for each in USERS[:3])
V = [each.public for each in OPERATORS]
OWN = [Stakes.own(each) for each in V]
PAIR = nomination_name(V[:2])
TRIO = nomination_name(V[:3])


@pytest.fixture
def world() -> StakeWorld:
    """Four validators with a thousand units each; two blocks make an epoch, everything waits two epochs."""
    return StakeWorld()


def done(world: StakeWorld, sender: bytes, action) -> bytes:
    code, output = world.do(sender, action)
    assert code is Code.OK, code
    return output


def refused(world: StakeWorld, sender: bytes, action) -> Code:
    code, output = world.do(sender, action)
    assert output == b""
    return code


def delegated(world: StakeWorld, who: bytes, validators, amount: int) -> bytes:
    return done(world, who, Delegate(validators=tuple(validators), amount=amount))


# --- nominations


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


# --- leaving


def test_stake_that_leaves_stands_to_the_end_of_its_last_epoch_and_is_paid_out_later(world) -> None:
    delegated(world, ALICE, V[:2], 300)
    assert done(world, ALICE, Undelegate(nomination=PAIR, amount=120)) == (1).to_bytes(8, "big")
    assert world.stakes.electoral_stake(PAIR, Epoch(1)) == 300
    assert world.stakes.electoral_stake(PAIR, Epoch(2)) == 180
    assert world.stakes.total_bonded() == 4_300  # it is stake until it is paid out
    assert refused(world, ALICE, Withdraw()) is Code.NOT_YET
    before = world.ledger.account(ALICE).balance
    world.to_epoch(4, span_ms=60)
    assert done(world, ALICE, Withdraw()) == (120).to_bytes(16, "big")
    assert world.ledger.account(ALICE).balance == before + 120
    assert world.stakes.total_bonded() == 4_180


def test_who_leaves_after_the_next_set_is_written_stands_in_it(world) -> None:
    delegated(world, ALICE, V[:2], 300)
    world.next_block()
    assert done(world, ALICE, Undelegate(nomination=PAIR, amount=300)) == (2).to_bytes(8, "big")
    assert world.stakes.electoral_stake(PAIR, Epoch(2)) == 300


def test_more_than_the_cap_waits_its_turn_and_is_electable_until_then() -> None:
    """A tenth of 5,000 units may leave with each epoch: 1,000 take two of them, 400 and 100 one more."""
    world = StakeWorld({"exit_cap_ppb": 10**8})
    delegated(world, ALICE, V[3:], 400)
    delegated(world, ALICE, V[:2], 600)
    assert done(world, V[0], Unbond(amount=1_000)) == (2).to_bytes(8, "big")
    assert done(world, ALICE, Undelegate(nomination=OWN[3], amount=400)) == (3).to_bytes(8, "big")
    assert done(world, ALICE, Undelegate(nomination=PAIR, amount=100)) == (3).to_bytes(8, "big")
    assert done(world, ALICE, Undelegate(nomination=PAIR, amount=1)) == (4).to_bytes(8, "big")
    assert world.stakes.self_stake(V[0]) == 0
    assert world.stakes.self_stake(V[0], Epoch(2)) == 1_000
    assert V[0] in [each.account for each in world.stakes.candidates(Epoch(2))]
    world.to_epoch(2)
    assert V[0] not in [each.account for each in world.stakes.candidates(Epoch(3))]


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 2)), max_size=40), st.integers(1, 10**9))
def test_the_queue_lets_no_more_leave_than_it_has_room_for(exits, cap: int) -> None:
    """Over any number of epochs, at most the cap for each, and what a single exit began before."""
    totals = TotalsRecord(bonded=10**6)
    cap = max(cap, 10**6)
    room = max(1, totals.bonded * cap // 10**9)
    epoch, left = 1, 0
    for amount, pause in exits:
        epoch += pause
        before = totals.exit_epoch
        totals = queue(totals, amount, Epoch(epoch), cap)
        assert totals.exit_epoch >= max(before, epoch)
        left += amount
        assert left <= room * totals.exit_epoch  # of which the first was 1
        assert 0 <= totals.exit_room < room or amount == 0


@given(st.integers(1, 3_000), st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_nobody_keeps_others_from_leaving(window: int, start: int) -> None:
    """Units leave in every epoch, and each waits for `window` epochs: there is room for the next, always, and
    nobody waits longer for it by more than half of that."""
    nominated = StakeWorld().stakes.nominated
    waiting: tuple[int, ...] = ()
    for epoch in range(start, start + 2 * window + 40):
        waiting = tuple(each for each in waiting if epoch <= each + window)
        record = NominationRecord(validators=(), number=0, leaving=waiting, outgoing=(), incoming=())
        last = nominated.leaving_epoch(record, Epoch(epoch))
        assert last is not None
        assert epoch <= last < epoch + max(1, window / 2 + 1)
        waiting = tuple(sorted({*waiting, last}))
    assert len(waiting) <= MAX_LEAVING


# --- moving


def moved(world: StakeWorld) -> StakeWorld:
    """Alice has 300 units behind the pair, and moves 200 of them behind the last two in epoch 1."""
    delegated(world, ALICE, V[:2], 300)
    action = Redelegate(nomination=PAIR, validators=tuple(V[2:]), amount=200)
    assert done(world, ALICE, action) == nomination_name(V[2:])
    return world


LAST = nomination_name(V[2:])


def test_stake_that_moves_counts_for_the_new_ones_and_answers_for_the_old(world) -> None:
    moved(world)
    for name, before, after in ((PAIR, 300, 100), (LAST, 0, 200)):
        assert world.stakes.electoral_stake(name, Epoch(1)) == before
        assert world.stakes.electoral_stake(name, Epoch(2)) == after
    pool = moving_pool(PAIR, LAST, Epoch(1))
    cuts = world.stakes.cut(PAIR, Epoch(1), 30)  # for what the old ones did in epoch 1
    assert {each.pool: each.amount for each in cuts} == {main_pool(PAIR): 10, pool: 20}
    assert world.stakes.value(pool, ALICE) == 180
    (cut,) = world.stakes.cut(LAST, Epoch(2), 18)  # and for what the new ones do later
    assert (cut.pool, cut.amount) == (pool, 18)
    assert world.stakes.cut(PAIR, Epoch(2), 1_000)[0].amount == 90
    assert world.stakes.value(pool, ALICE) == 162
    assert world.ledger.pot(Pot.SLASHED) == 30 + 18 + 90


def test_stake_that_moves_can_neither_move_on_nor_leave_before_its_wait_is_over(world) -> None:
    moved(world)
    for action in (
        Undelegate(nomination=LAST, amount=1),
        Redelegate(nomination=LAST, validators=(V[0],), amount=50),
    ):
        assert refused(world, ALICE, action) is Code.INSUFFICIENT_BALANCE
    world.to_epoch(4, span_ms=60)
    assert done(world, ALICE, Withdraw()) == bytes(16)
    assert world.stakes.value(main_pool(LAST), ALICE) == 200
    assert world.stakes.pool(moving_pool(PAIR, LAST, Epoch(1))) is None
    assert world.stakes.nomination(PAIR).outgoing == world.stakes.nomination(LAST).incoming == ()
    done(world, ALICE, Undelegate(nomination=LAST, amount=200))


def test_stake_that_moved_together_is_joined_to_the_rest_once_and_parted_by_whom_it_belongs_to(world) -> None:
    """Whoever comes first settles the move for all; rewards and cuts meanwhile reach everyone's part."""
    moved(world)
    delegated(world, BOB, V[:2], 100)
    done(world, BOB, Redelegate(nomination=PAIR, validators=tuple(V[2:]), amount=100))
    delegated(world, CAROL, V[2:], 700)
    world.to_epoch(4, span_ms=60)
    pool, main = moving_pool(PAIR, LAST, Epoch(1)), main_pool(LAST)
    done(world, CAROL, Redelegate(nomination=LAST, validators=(V[0],), amount=20))  # tidies up
    assert world.stakes.pool(pool).merged
    assert world.stakes.pool(main).tokens == 980
    assert world.stakes.electoral_stake(LAST, Epoch(3)) == 1_000
    world.ledger.debit(USERS[5].public, 9_800)
    assert world.stakes.pay(LAST, Epoch(5), 9_800) == 9_800
    before = world.ledger.account(BOB).balance
    done(world, BOB, Withdraw())
    assert world.ledger.account(BOB).balance - before in (999, 1_000)
    assert world.stakes.value(main, BOB) == 100
    world.stakes.cut(LAST, Epoch(5), 490)
    assert world.stakes.value(pool, ALICE) == 100
    done(world, ALICE, Withdraw())
    assert world.stakes.value(main, ALICE) == 100
    assert world.stakes.pool(pool) is None
    assert world.stakes.value(main, BOB) == 50
    world.commit()
    assert world.stakes.total_bonded() == 4_000 + 100 + 490 + 20


def test_a_nomination_has_room_for_so_many_moves_and_small_ones_open_none(world) -> None:
    delegated(world, ALICE, V[:2], 10_000)
    opened = 0
    for mask in range(1, 16):
        to = tuple(V[index] for index in range(4) if mask >> index & 1)
        if nomination_name(to) == PAIR:
            continue
        small = Redelegate(nomination=PAIR, validators=to, amount=19)
        assert refused(world, ALICE, small) is Code.BELOW_MINIMUM
        done(world, ALICE, replace(small, amount=20))
        done(world, ALICE, replace(small, amount=1))  # with those that move already
        opened += 1
    assert opened == MAX_MOVES - 2
    world.to_epoch(2)
    last = Redelegate(nomination=PAIR, validators=(V[0],), amount=20)
    for to, expected in (((V[0],), Code.OK), ((V[1],), Code.OK), ((V[3],), Code.OVER_LIMIT)):
        assert world.do(ALICE, replace(last, validators=to))[0] is expected
    world.to_epoch(4, span_ms=60)  # those of epoch 1 are settled, at either end four at a time
    done(world, ALICE, replace(last, validators=(V[3],)))
    assert MAX_MOVES - 8 < len(world.stakes.nomination(PAIR).outgoing) <= MAX_MOVES - 4 + 1


# --- cuts


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


# --- rewards


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


# --- validators


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


def bond(name: str, amount: int, **changes) -> Bond:
    return Bond(
        name=name,
        consensus_key=key(f"{name} consensus").public,
        identity_key=key(f"{name} identity").public,
        address="",
        amount=amount,
        consensus_proof=bytes(64),
        identity_proof=bytes(64),
        **changes,
    )


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
    """Or its holder shows nothing, and takes everything in the one block that pays (docs/decisions/032)."""
    world = StakeWorld({"commission_step_ppb": governed})
    done(world, ALICE, bond("a", 100, commission_step_ppb=10**9))
    assert world.do(ALICE, SetCommission(commission_ppb=asked))[0] is code


def test_labels_are_as_declared(world) -> None:
    done(world, V[0], SetLabels(operator="acme", region="eu", client="phalanx"))
    record = world.stakes.validator(V[0])
    assert (record.operator, record.region, record.client) == ("acme", "eu", "phalanx")


# --- cost


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
