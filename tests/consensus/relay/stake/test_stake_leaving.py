"""Leaving and moving: until when stake stands where, and when it is free."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_fakes import USERS
from stake_acts import ALICE, BOB, CAROL, LAST, OWN, PAIR, V, delegated, done, moved, refused
from stake_world import StakeWorld

from consensus.primitives.ids import Epoch
from consensus.relay.ledger import Pot
from consensus.relay.receipts import Code
from consensus.relay.stake.leaving import queue
from consensus.relay.stake.records import (
    MAX_LEAVING,
    MAX_MOVES,
    NominationRecord,
    TotalsRecord,
    main_pool,
    moving_pool,
    nomination_name,
)
from consensus.relay.stake.transactions import (
    Redelegate,
    Unbond,
    Undelegate,
    Withdraw,
)


@pytest.fixture
def world() -> StakeWorld:
    """Four validators with a thousand units each; two blocks make an epoch, everything waits two epochs."""
    return StakeWorld()


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
