"""The pure parts of the rewards, against references that were made another way."""

from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.relay.parameters import BILLION, DAY_MS, Parameters
from consensus.relay.rewards.issuance import (
    YEAR_MS,
    Curve,
    curve_of,
    issued_in,
    staking_ratio_ppb,
    yearly_rate_ppb,
)
from consensus.relay.rewards.sharing import split
from consensus.relay.rewards.takerate import commission_of, take_rate_ppb

PPB = st.integers(0, BILLION)
AMOUNTS = st.integers(0, (1 << 100) - 1)
POLKADOT = Curve(start_ppb=25_000_000, ideal_ppb=100_000_000, target_ppb=500_000_000, decay_ppb=50_000_000)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    low, high = sorted((draw(PPB), draw(PPB)))
    return Curve(
        start_ppb=low,
        ideal_ppb=high,
        target_ppb=draw(st.integers(1, BILLION - 1)),
        decay_ppb=draw(st.integers(1, BILLION)),
    )


def exact_rate(curve: Curve, ratio: int) -> Decimal:
    """The curve of the paper, to fifty digits."""
    with localcontext() as context:
        context.prec = 50
        above = Decimal(curve.ideal_ppb - curve.start_ppb)
        if ratio <= curve.target_ppb:
            return curve.start_ppb + above * ratio / curve.target_ppb
        exponent = Decimal(ratio - curve.target_ppb) / curve.decay_ppb
        return curve.start_ppb + above * (-exponent * Decimal(2).ln()).exp()


@given(curves(), PPB)
def test_the_rate_is_that_of_the_paper_within_one_part_per_billion(curve: Curve, ratio: int) -> None:
    exact = exact_rate(curve, ratio)
    assert -1 < yearly_rate_ppb(curve, ratio) - exact < Decimal("0.2")
    # above by the exponent's own rounding alone: 2**-32 of it, of at most 10**9 parts


@given(curves(), PPB, PPB)
def test_the_rate_rises_to_the_target_and_falls_beyond_it(curve: Curve, one: int, other: int) -> None:
    low, high = sorted((one, other))
    first, second = yearly_rate_ppb(curve, low), yearly_rate_ppb(curve, high)
    assert curve.start_ppb <= min(first, second)
    assert max(first, second) <= curve.ideal_ppb
    if high <= curve.target_ppb:
        assert first <= second
    if low >= curve.target_ppb:
        assert first >= second


@given(curves(), st.integers(1, BILLION - 1))
def test_the_rate_never_grows_from_one_part_to_the_next_beyond_the_target(curve: Curve, ratio: int) -> None:
    ratio = max(ratio, curve.target_ppb)
    assert yearly_rate_ppb(curve, ratio) >= yearly_rate_ppb(curve, min(BILLION, ratio + 1))


def test_the_curve_passes_through_its_named_points() -> None:
    """The numbers that the Web3 Foundation's page gives for a year: 2.5 % with nothing staked, 10 % at the
    target, and half of what is above 2.5 % for every 5 % more."""
    points = {0: 25_000_000, 250_000_000: 62_500_000, 500_000_000: 100_000_000}
    points |= {550_000_000: 62_500_000, 600_000_000: 43_750_000, 1_000_000_000: 25_073_242}
    assert {ratio: yearly_rate_ppb(POLKADOT, ratio) for ratio in points} == points
    assert curve_of(Parameters()) == POLKADOT


@given(curves(), AMOUNTS, AMOUNTS, st.integers(0, 10 * YEAR_MS), st.integers(0, 10 * YEAR_MS))
def test_an_epoch_issues_its_part_of_a_year_and_never_more_than_the_cap(
    curve: Curve, staked: int, liquid: int, elapsed: int, most: int
) -> None:
    circulating = staked + liquid
    issued = issued_in(curve, staked=staked, circulating=circulating, elapsed_ms=elapsed, max_ms=most)
    rate = yearly_rate_ppb(curve, staking_ratio_ppb(staked, circulating))
    exact = Fraction(circulating) * rate / BILLION * min(elapsed, most) / YEAR_MS
    assert issued <= exact < issued + 1
    assert issued <= issued_in(
        curve, staked=staked, circulating=circulating, elapsed_ms=elapsed + 1, max_ms=most + 1
    )


def test_a_halt_issues_no_windfall() -> None:
    def issued(elapsed: int) -> int:
        return issued_in(POLKADOT, staked=10**15, circulating=2 * 10**15, elapsed_ms=elapsed, max_ms=DAY_MS)

    assert issued(400 * DAY_MS) == issued(DAY_MS) == 2 * 10**14 * DAY_MS // YEAR_MS


@pytest.mark.parametrize(
    "wrong",
    [
        {"start_ppb": 2},
        {"ideal_ppb": BILLION + 1},
        {"target_ppb": 0},
        {"target_ppb": BILLION},
        {"decay_ppb": 0},
        {"decay_ppb": BILLION + 1},
    ],
)
def test_what_is_no_curve_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"issu|target"):
        Curve(**({"start_ppb": 0, "ideal_ppb": 1, "target_ppb": 1, "decay_ppb": 1} | wrong))


@given(AMOUNTS, st.lists(st.integers(0, 1 << 70), min_size=1, max_size=40).filter(any))
def test_a_split_is_whole_and_nobody_is_a_unit_away_from_its_due(amount: int, weights: list[int]) -> None:
    shares = split(amount, weights)
    total = sum(weights)
    assert sum(shares) == amount
    floors = [amount * each // total for each in weights]
    assert all(0 <= share - floor <= 1 for share, floor in zip(shares, floors, strict=True))
    assert all(share == 0 for share, weight in zip(shares, weights, strict=True) if not weight)
    raised = [i for i, share in enumerate(shares) if share > floors[i]]
    for index in raised:  # whoever got a unit more had the larger remainder, or came first
        for other in set(range(len(weights))) - set(raised):
            mine, theirs = (amount * weights[each] % total for each in (index, other))
            assert (mine, other) > (theirs, index)


@pytest.mark.parametrize(("amount", "weights"), [(1, []), (1, [0, 0]), (-1, [1]), (1, [2, -1])])
def test_a_split_that_makes_no_sense_is_refused(amount: int, weights: list[int]) -> None:
    with pytest.raises(ValueError, match=r"negative|all zero"):
        split(amount, weights)


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_the_take_falls_as_the_treasury_fills_and_keeps_its_bounds(
    first: int, second: int, circulating: int
) -> None:
    parameters = Parameters()
    low, high = sorted((first, second))
    rates = [take_rate_ppb(parameters, each, circulating) for each in (low, high)]
    assert parameters.take_max_ppb >= rates[0] >= rates[1] >= parameters.take_min_ppb


def test_the_take_at_its_ends_and_half_way() -> None:
    parameters = Parameters()
    target = 10**12 * parameters.treasury_target_ppb // BILLION
    rates = [take_rate_ppb(parameters, part * target // 2, 10**12) for part in range(3)]
    assert rates == [200_000_000, 125_000_000, 50_000_000]


@given(AMOUNTS, PPB, PPB)
def test_an_operator_keeps_at_least_the_governed_minimum(amount: int, asked: int, least: int) -> None:
    kept = commission_of(amount, asked, Parameters(commission_min_ppb=least))
    assert kept == amount * max(asked, least) // BILLION <= amount
