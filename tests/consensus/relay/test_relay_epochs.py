"""The set of each epoch: when it is written, what it says, when it goes; and that it is never empty."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_fakes import OPERATORS, USERS, Network, block_hash, make_genesis
from staking_world import accounts, bond, code, quick, to_epoch

from consensus.primitives.ids import ZERO_HASH, Epoch
from consensus.relay.elections.turning import MAX_LAPSES
from consensus.relay.epochs import (
    boundary_height,
    current_set,
    epoch_members,
    epoch_of,
    epoch_set_key,
    is_answerable,
    is_boundary,
    next_set,
)
from consensus.relay.ledger import Ledger
from consensus.relay.parameters import Parameters
from consensus.relay.receipts import Code
from consensus.relay.stake.holdings import Place
from consensus.relay.stake.records import (
    MAX_ROSTER,
    ROSTER_KEY,
    PoolKind,
    RosterEntry,
    RosterRecord,
    main_pool,
    rank,
)
from consensus.relay.stake.stakes import Stakes
from consensus.relay.stake.transactions import BondMore, Unbond


@given(epoch_blocks=st.integers(2, 1_000), height=st.integers(0, 10**6))
def test_every_height_is_of_one_epoch_and_boundaries_are_their_last(epoch_blocks: int, height: int) -> None:
    epoch = epoch_of(height, epoch_blocks)
    assert boundary_height(epoch - 1, epoch_blocks) < max(1, height) <= boundary_height(epoch, epoch_blocks)
    assert is_boundary(height, epoch_blocks) == (height > 0 and epoch_of(height + 1, epoch_blocks) > epoch)


def test_the_next_set_is_in_the_state_of_the_boundarys_parent_and_in_no_earlier_one() -> None:
    network = quick()
    for height in range(1, 4):
        assert network.view.epoch_set(Epoch(2)) is None
        with pytest.raises(LookupError, match="epoch 2"):
            epoch_members(network.view, Epoch(2))
        network.block()
        assert network.height == height
    named = next_set(
        network.view, chain_id_hash=network.hash, epoch=Epoch(2), parent_hash=block_hash(network.height)
    )
    assert network.view.epoch_set(Epoch(2)).leader_seed == ZERO_HASH
    network.block()  # the boundary
    began = current_set(network.view, chain_id_hash=network.hash, epoch=Epoch(2))
    assert began.validators_hash == named.validators_hash
    assert began.record.leader_seed == block_hash(3)
    to_epoch(network, 3)
    assert current_set(network.view, chain_id_hash=network.hash, epoch=Epoch(2)).record == began.record


def test_the_boundary_block_itself_does_not_change_the_set_that_it_names() -> None:
    network = quick()
    while network.height < 3:
        network.block()
    assert code(network, OPERATORS[0], BondMore(amount=7)) == Code.OK
    assert network.height == 4
    assert network.validators.stakes == (100, 100, 100, 100)
    to_epoch(network, 3)
    assert network.validators.stakes == (107, 100, 100, 100)


@pytest.mark.parametrize(("epochs", "span_ms"), [(2, 2), (1, 100), (2, 200)])
def test_sets_are_kept_exactly_as_long_as_evidence_about_them_counts(epochs: int, span_ms: int) -> None:
    network = quick(evidence_epochs=epochs, unbonding_ms=span_ms, trusting_ms=1)
    for _ in range(50):
        network.block()
        view, context = network.view, network.context()
        known = [each for each in range(1, 20) if view.epoch_set(Epoch(each)) is not None]
        assert known == list(range(view.oldest_epoch(), network.epoch + 1 + (network.height % 4 == 3)))

        def counts(epoch: int, now_ms: int, state=view, now=context.epoch) -> bool:
            return is_answerable(state, Epoch(epoch), now=now, now_ms=now_ms)

        assert all(each in known for each in range(1, 20) if counts(each, context.time_ms))
        if network.height % 4 == 0:  # a boundary: what does not count from here on is gone
            assert counts(known[0], view.time_ms)


def test_after_a_halt_the_sets_that_lapsed_go_a_few_at_a_time() -> None:
    network = quick(unbonding_ms=10_000)
    to_epoch(network, 10)
    assert network.view.oldest_epoch() == 1
    network.halted_ms = 10**6
    for epoch, oldest in ((11, 1 + MAX_LAPSES), (12, 1 + 2 * MAX_LAPSES), (13, 10), (14, 10)):
        to_epoch(network, epoch)
        assert network.view.oldest_epoch() == oldest
        assert network.view.epoch_set(Epoch(oldest)) is not None
        assert network.view.epoch_set(Epoch(oldest - 1)) is None


def test_members_keep_their_order_and_newcomers_follow_by_stake() -> None:
    network = quick()
    before = accounts(network)
    for name, user, amount in (("poor", 0, 100), ("rich", 1, 300), ("rich too", 2, 300)):
        assert code(network, USERS[user], bond(network, USERS[user], name, amount)) == Code.OK
    assert code(network, OPERATORS[1], Unbond(amount=100)) == Code.OK  # in the boundary block
    to_epoch(network, 2)
    rich = [USERS[1].public, USERS[2].public]  # who joined first comes first
    assert accounts(network) == [*before, *rich, USERS[0].public]
    to_epoch(network, 3)
    assert accounts(network) == [before[0], *before[2:], *rich, USERS[0].public]


def test_seats_go_to_the_most_stake() -> None:
    network = quick(max_validators=4)
    assert code(network, USERS[0], bond(network, USERS[0], "equal", 100)) == Code.OK
    to_epoch(network, 2)
    assert USERS[0].public not in accounts(network)  # as much stake, but it came later
    assert code(network, USERS[0], BondMore(amount=1)) == Code.OK
    to_epoch(network, 3)
    assert accounts(network)[-1] == USERS[0].public
    assert len(accounts(network)) == 4


def replace_roster(network: Network, entries: Sequence[RosterEntry]) -> None:
    """Write a roster by hand, for what would take a thousand bonds."""
    ledger = Ledger(network.store, network.root)
    ledger.put(ROSTER_KEY, RosterRecord(entries=tuple(entries)))
    network.root = ledger.commit()
    network.store.apply(ledger.added)
    network.references = dict.fromkeys(network.store.nodes, 1_000)  # both states stay


def test_if_nobody_is_eligible_the_set_stays() -> None:
    """It can not happen by unbonding; convictions may come to it. The roster is emptied by hand here."""
    network = quick()
    before = accounts(network)
    replace_roster(network, ())
    to_epoch(network, 3)
    assert accounts(network) == before


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-60, 60)), max_size=30))
def test_the_roster_is_those_who_are_eligible_in_order_of_rank(changes: list[tuple[int, int]]) -> None:
    """Whatever the order of changes; what a validator was before leaves no trace."""
    network = quick()
    ledger = Ledger(network.store, network.root)
    stakes = Stakes(ledger)
    everyone = [*(each.public for each in OPERATORS), *(b"%032d" % index for index in range(6))]
    template = stakes.existing(everyone[0])
    for index, account in enumerate(everyone[4:]):
        stakes.create(replace(template, account=account, name=f"n{index}", joined_height=index % 3), 8)
    for who, change in changes:
        pool = main_pool(stakes.own(everyone[who]))
        held = stakes.self_stake(everyone[who])
        if change > 0:
            place = Place(kind=PoolKind.MAIN, nomination=stakes.own(everyone[who]))
            stakes.holdings.put_in(place, everyone[who], change)
        elif min(-change, held):
            stakes.holdings.take_out(pool, everyone[who], min(-change, held))
        if who % 2:
            assert stakes.roster()  # read in between or not
    expected = [
        RosterEntry(account=account, stake=stakes.self_stake(account), joined_height=record.joined_height)
        for account, record in ((each, stakes.existing(each)) for each in everyone)
        if stakes.self_stake(account) >= 10
    ]
    assert list(stakes.roster()) == sorted(expected, key=rank)


def test_a_full_roster_drops_the_least_and_takes_it_back_when_it_bonds_more() -> None:
    network = quick()
    ledger = Ledger(network.store, network.root)
    crowd = [
        RosterEntry(account=b"%032d" % index, stake=1_000, joined_height=0) for index in range(MAX_ROSTER - 4)
    ]
    entries = sorted([*crowd, *Stakes(ledger).roster()], key=rank)
    ledger.put(ROSTER_KEY, RosterRecord(entries=tuple(entries)))
    network.root = ledger.commit()
    network.store.apply(ledger.added)
    network.references = dict.fromkeys(network.store.nodes, 1000)
    last = entries[-1].account
    assert code(network, USERS[0], bond(network, USERS[0], "richer", 500)) == Code.OK
    roster = [each.account for each in network.view.roster()]
    assert len(roster) == MAX_ROSTER
    assert USERS[0].public in roster
    assert last not in roster
    (operator,) = (each for each in OPERATORS if each.public == last)
    assert code(network, operator, BondMore(amount=1)) == Code.OK
    assert last in [each.account for each in network.view.roster()]


def test_independent_senders_may_come_in_any_order() -> None:
    """Receipts apart, a block's staking has one outcome: the same roster, records and sets."""
    outcomes = set()
    for order in ((0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0), (2, 5, 0, 3, 1, 4)):
        network = quick()
        raws = [
            network.raw(USERS[0], bond(network, USERS[0], "a", 200)),
            network.raw(USERS[1], bond(network, USERS[1], "b", 200)),
            network.raw(OPERATORS[0], BondMore(amount=100)),
            network.raw(OPERATORS[1], Unbond(amount=100)),
            network.raw(OPERATORS[2], Unbond(amount=50)),
            network.raw(OPERATORS[3], BondMore(amount=100)),
        ]
        result = network.block([raws[index] for index in order])
        assert {receipt.code for receipt in result.receipts} == {Code.OK}
        to_epoch(network, 2)
        view = network.view
        everyone = [view.validator(each.public) for each in (*USERS, *OPERATORS)]
        outcomes.add((view.roster(), tuple(everyone), view.read(epoch_set_key(Epoch(2)))))
    assert len(outcomes) == 1


def test_a_block_is_of_the_epoch_of_its_height() -> None:
    network = Network(make_genesis(epoch_blocks=2))
    right = network.context()
    network.context = lambda: replace(right, epoch=Epoch(2))  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="not of epoch 2"):
        network.execute()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trusting_ms": 21 * 86_400_000}, "trusting_ms must be below unbonding_ms"),
        ({"trusting_ms": 0}, "trusting_ms must not be zero"),
        ({"unbonding_epochs": 13}, "evidence_epochs is at most unbonding_epochs"),
        ({"evidence_epochs": 22}, "evidence_epochs is at most unbonding_epochs"),
        ({"evidence_epochs": 0}, "evidence_epochs must not be zero"),
        ({"epoch_blocks": 1}, "epoch_blocks is at least 2"),
        ({"max_validators": 0}, "max_validators must not be zero"),
        ({"max_validators": 201}, "max_validators is at most 200"),
        ({"min_stake": 0}, "min_stake must not be zero"),
        ({"min_stake": 1 << 64}, "min_stake"),
    ],
)
def test_windows_and_sets_that_contradict_are_refused(changes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Parameters(**changes)
