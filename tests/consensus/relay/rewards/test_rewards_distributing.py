"""The end of an epoch and the claims that follow: every unit has a place, and no order or delay matters."""

import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import permutations

import pytest
from earning_world import STAKE, earning, pot, rewards_of, to_next_epoch, vote, waiting
from relay_fakes import ALL_ACCOUNTS, OPERATORS, USERS, Network, key, total_supply
from staking_world import evidence

from consensus.primitives.ids import Epoch, Hash
from consensus.relay.genesis import GenesisAccount, issuance
from consensus.relay.ledger import Pot
from consensus.relay.parameters import BILLION, DAY_MS
from consensus.relay.receipts import Code
from consensus.relay.rewards.distributing import commission
from consensus.relay.rewards.issuance import MAX_ISSUED
from consensus.relay.rewards.records import KEPT_EPOCHS, epoch_rewards_key
from consensus.relay.rewards.transactions import ClaimCommission
from consensus.relay.stake.records import main_pool, nomination_name
from consensus.relay.stake.stakes import Stakes
from consensus.relay.stake.transactions import (
    Claim,
    Delegate,
    Redelegate,
    SetCommission,
    Undelegate,
    Withdraw,
)
from consensus.relay.transactions import Transfer

ANN, BEN, CAT = USERS[:3]
VALIDATORS = [each.public for each in OPERATORS]


def conserved(network: Network) -> bool:
    return total_supply(network.view, ALL_ACCOUNTS) == network.view.supply().issued


def own_pool(index: int) -> Hash:
    return main_pool(Stakes.own(VALIDATORS[index]))


def claimed(receipt) -> int:
    assert receipt.code == Code.OK
    return int.from_bytes(receipt.output, "big")


# --- the end of an epoch


def test_an_epoch_shares_out_what_it_issued_and_what_was_paid() -> None:
    network = earning()
    vote(network, raws=[network.raw(ANN, Transfer(to=BEN.public, amount=5))])
    fee = 10**9 - 5 - network.view.account(ANN.public).balance
    kept = fee - fee // 2 - fee // 5
    before = network.view.supply()
    found = to_next_epoch(network)
    assert found.fees == kept
    assert found.circulating == before.issued - before.burnt
    assert found.staked == 4 * STAKE
    assert found.issued == network.view.supply().issued - before.issued
    assert found.issued == found.circulating * found.rate_ppb * found.elapsed_ms // (
        BILLION * 365_250 * 86_400
    )
    assert found.take_ppb == network.genesis.parameters.take_max_ppb  # the treasury was empty
    assert found.treasury == (found.issued + found.fees) * found.take_ppb // BILLION
    assert found.issued + found.fees + found.attesters == found.treasury + found.validators + found.burnt
    assert pot(network, Pot.TREASURY) == found.treasury
    assert pot(network, Pot.FEES) == 0
    assert conserved(network)
    assert to_next_epoch(network).take_ppb < found.take_ppb


def test_nobody_gets_what_an_absent_validator_did_not_earn() -> None:
    everybody, without = earning(), earning()
    full, less = to_next_epoch(everybody), to_next_epoch(without, who=(0, 1, 2))
    assert full.issued == less.issued
    assert less.burnt > full.burnt + less.issued // 10
    for index in range(3):
        pools = [each.view.stakes.pool(own_pool(index)) for each in (everybody, without)]
        assert pools[1].rewards <= pools[0].rewards
    assert (
        without.view.stakes.pool(own_pool(3)).rewards < everybody.view.stakes.pool(own_pool(3)).rewards // 2
    )


def test_an_operator_that_is_convicted_in_the_epoch_earns_nothing_of_it() -> None:
    network = earning()
    network.block(evidence=[evidence(network, 2)])
    found = to_next_epoch(network)
    rewards = [network.view.stakes.pool(own_pool(index)).rewards for index in range(4)]
    assert rewards[2] == 0
    assert all(rewards[index] for index in (0, 1, 3))
    assert found.burnt > found.issued // 10
    assert conserved(network)


def test_a_halt_is_paid_for_a_day_at_most() -> None:
    network, other = earning(), earning()
    assert to_next_epoch(network, span_ms=400 * DAY_MS).issued == to_next_epoch(other, span_ms=DAY_MS).issued


def test_no_more_is_issued_than_the_ledger_can_count() -> None:
    full = earning().genesis
    rich = GenesisAccount(key=key("rich").public, balance=MAX_ISSUED - issuance(full) - 3)
    network = Network(replace(full, accounts=(*full.accounts, rich)))
    assert to_next_epoch(network).issued == 3
    assert to_next_epoch(network).issued == 0
    assert network.view.supply().issued == MAX_ISSUED


def test_reports_of_old_epochs_go() -> None:
    network = earning()
    for epoch in range(1, KEPT_EPOCHS + 3):
        to_next_epoch(network)
        assert rewards_of(network, epoch).epoch == epoch
    for epoch in (1, 2):
        assert network.view.read(epoch_rewards_key(epoch)) is None
    assert rewards_of(network, 3).epoch == 3


# --- commission


@pytest.mark.parametrize("least", [0, 200_000_000])
def test_an_operator_keeps_its_commission_and_never_less_than_the_governed_minimum(least: int) -> None:
    network = earning(commission_min_ppb=least)
    asked = 10_000_000  # the most that it may change in one epoch
    vote(network, raws=[network.raw(OPERATORS[0], SetCommission(commission_ppb=asked))])
    to_next_epoch(network)
    for index, rate in enumerate((max(asked, least), least)):
        kept = commission(network.view, VALIDATORS[index])
        total = kept + network.view.stakes.pool(own_pool(index)).rewards
        assert kept == total * rate // BILLION
        before = network.view.account(VALIDATORS[index]).balance
        (receipt,) = vote(network, raws=[network.raw(OPERATORS[index], ClaimCommission())]).receipts
        assert claimed(receipt) == kept
        assert commission(network.view, VALIDATORS[index]) == 0
        fees = before + kept - network.view.account(VALIDATORS[index]).balance
        assert 0 < fees <= receipt.fee  # what it earned as the proposer comes off
    (receipt,) = vote(network, raws=[network.raw(ANN, ClaimCommission())]).receipts
    assert receipt.code == Code.NO_SUCH_VALIDATOR
    assert conserved(network)


# --- claims


def test_delegators_share_by_stake_and_early_or_late_claims_pay_the_same() -> None:
    network = earning()
    approved = tuple(sorted(VALIDATORS[:2]))
    pool = main_pool(nomination_name(approved))
    amounts = {ANN: 3 * 10**6, BEN: 10**6, CAT: 10**6}
    vote(
        network,
        raws=[network.raw(who, Delegate(validators=approved, amount=n)) for who, n in amounts.items()],
    )
    to_next_epoch(network)
    early = 0
    for _ in range(3):
        for _ in range(5):
            (receipt,) = vote(network, raws=[network.raw(BEN, Claim(pool=pool))]).receipts
            early += claimed(receipt)
        to_next_epoch(network)
    receipts = vote(network, raws=[network.raw(who, Claim(pool=pool)) for who in amounts]).receipts
    ann, ben, cat = map(claimed, receipts)
    assert early > 1_000
    assert early + ben == cat
    assert abs(ann - 3 * cat) < 3
    assert network.view.stakes.pool(pool).rewards <= 3  # less than a unit of each holder
    assert conserved(network)


def test_claims_of_one_block_pay_the_same_in_any_order() -> None:
    network = earning()
    approved = (VALIDATORS[0],)
    vote(
        network,
        raws=[
            network.raw(who, Delegate(validators=approved, amount=10**6 + index))
            for index, who in enumerate((ANN, BEN, CAT))
        ],
    )
    to_next_epoch(network)
    to_next_epoch(network)
    claims = [network.raw(who, Claim(pool=own_pool(0))) for who in (ANN, BEN, CAT, OPERATORS[0])]
    outcomes = set()
    for order in permutations(claims):
        result = network.execute(order)
        outcomes.add(frozenset((each.transaction, claimed(each)) for each in result.receipts))
    assert len(outcomes) == 1
    assert all(units for _, units in next(iter(outcomes)))


def test_what_leaves_earns_while_it_stands_and_nothing_afterwards() -> None:
    network = earning()
    name = Stakes.own(VALIDATORS[0])
    vote(network, raws=[network.raw(ANN, Delegate(validators=(VALIDATORS[0],), amount=10**6))])
    to_next_epoch(network)
    vote(network, raws=[network.raw(ANN, Undelegate(nomination=name, amount=10**6))])
    (left,) = (each.pool for each in network.view.stakes.held_by(ANN.public) if each.last_epoch)
    to_next_epoch(network)
    earned = network.view.stakes.holdings.earned(left, ANN.public)
    assert earned > 0
    to_next_epoch(network)
    to_next_epoch(network)
    assert network.view.stakes.holdings.earned(left, ANN.public) == earned
    assert conserved(network)


def random_actions(network: Network, dice: random.Random) -> list[bytes]:
    """What a few accounts do in one block, sensible or not."""
    raws = []
    for user in dice.sample(USERS + OPERATORS, 3):
        approved = tuple(sorted(dice.sample(VALIDATORS, dice.choice((1, 1, 2, 3)))))
        elsewhere = tuple(sorted(dice.sample(VALIDATORS, dice.choice((1, 2)))))
        held = network.view.stakes.held_by(user.public)
        pool = dice.choice(held).pool if held else own_pool(0)
        amount = dice.randrange(20, 10**7)
        action = dice.choice(
            (
                Delegate(validators=approved, amount=amount),
                Delegate(validators=approved, amount=amount),
                Undelegate(nomination=nomination_name(approved), amount=amount),
                Redelegate(nomination=nomination_name(approved), validators=elsewhere, amount=amount),
                Claim(pool=pool),
                Withdraw(),
                ClaimCommission(),
                SetCommission(commission_ppb=dice.randrange(10**7)),
            )
        )
        raws.append(network.raw(user, action))
    return raws


@pytest.mark.parametrize("seed", [1, 2])
def test_a_random_history_loses_no_unit_and_leaks_none(seed: int) -> None:
    dice = random.Random(seed)
    network = earning(commission_min_ppb=30_000_000)
    paid = 0
    for block in range(90):
        network.halted_ms += dice.randrange(DAY_MS // 4)
        if block == 40:
            network.block(evidence=[evidence(network, 3, epoch=network.epoch)])
        who = dice.sample(range(4), dice.choice((3, 4, 4)))
        result = vote(network, who, random_actions(network, dice))
        paid += sum(each.code == Code.OK for each in result.receipts)
        assert conserved(network)
        assert pot(network, Pot.REWARDS) == waiting(network, VALIDATORS)
        check_pools(network)
    assert paid > 60
    claims: Sequence[tuple[object, Hash]] = [
        (user, each.pool) for user in USERS + OPERATORS for each in network.view.stakes.held_by(user.public)
    ]
    for user, pool in claims:
        vote(network, raws=[network.raw(user, Claim(pool=pool))])
    assert network.view.stakes.totals().rewards > 0  # of those who merged, and dust
    assert conserved(network)


def check_pools(network: Network) -> None:
    """What holders of a main pool could claim, and the dust of each, are all that was paid in."""
    stakes = network.view.stakes
    held: dict[Hash, list[bytes]] = {}
    for account in ALL_ACCOUNTS:
        for each in stakes.held_by(account):
            held.setdefault(each.pool, []).append(account)
    total = 0
    for pool, holders in held.items():
        claimable = sum(stakes.holdings.earned(pool, each) for each in holders)
        record = stakes.pool(pool)
        assert claimable <= record.rewards
        shares = sum(
            position.shares
            for position in (stakes.position(pool, each) for each in holders)
            if position is not None and position.generation == record.generation
        )
        if shares == record.shares:  # no merged pool has a position in it
            assert record.rewards - claimable <= len(holders)
        total += record.rewards
    assert total == stakes.totals().rewards


# --- who fills its own blocks


@pytest.mark.parametrize(
    ("burn", "proposer"), [(500_000_000, 200_000_000), (0, 200_000_000), (0, 999_999_999), (0, 0)]
)
def test_a_proposer_that_fills_its_own_blocks_with_its_own_fees_loses(burn: int, proposer: int) -> None:
    """Even one that holds nearly all stake, proposes every block, and whatever is burnt of fees."""
    parameters = {"issuance_start_ppb": 0, "issuance_ideal_ppb": 0}
    network = earning(burn_share_ppb=burn, proposer_fee_ppb=proposer, epoch_blocks=2, **parameters)
    spent = 0
    attacker = [OPERATORS[index] for index in (0, 1, 2)]
    for _ in range(8):
        raws = [network.raw(each, Transfer(to=each.public, amount=0)) for each in attacker]
        spent += sum(each.fee for each in network.block(raws).receipts)
    back = sum(network.view.account(each.public).balance - 10**9 for each in attacker) + spent
    back += sum(network.view.stakes.pool(own_pool(index)).rewards for index in (0, 1, 2))
    assert spent > 0
    assert Fraction(back, spent) < 1
    assert conserved(network)


def test_a_claim_of_a_stranger_fails() -> None:
    network = earning()
    (receipt,) = vote(network, raws=[network.raw(ANN, Claim(pool=own_pool(0)))]).receipts
    assert receipt.code == Code.NO_SUCH_POSITION
    assert key("nobody").public not in network.view.stakes.held_by(ANN.public)
    assert network.epoch == Epoch(1)
