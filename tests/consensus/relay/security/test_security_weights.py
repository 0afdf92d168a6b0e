"""Weights of attesters: the cap holds, is the largest, and no order of input matters."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.relay.security.terms import MAX_ATTESTERS, RailTerms, SubsetTerms
from consensus.relay.security.weights import Applicant, capped, choose, top_members

BILLION = 10**9
AMOUNTS = st.lists(st.integers(1, 10**6), min_size=1, max_size=12)


@given(AMOUNTS, st.integers(1, BILLION))
def test_the_cap_is_the_largest_that_keeps_everybody_below_its_part(amounts: list[int], ppb: int) -> None:
    weights = capped(amounts, ppb)
    assert all(1 <= weight <= amount for weight, amount in zip(weights, amounts, strict=True))
    if ppb * len(amounts) < BILLION:  # impossible: all are alike
        assert max(weights) * BILLION <= ppb * sum(weights) or max(weights) == min(weights)
        return
    assert max(weights) * BILLION <= ppb * sum(weights)
    higher = [min(each, max(weights) + 1) for each in amounts]
    assert higher == weights or max(higher) * BILLION > ppb * sum(higher)


@given(AMOUNTS, st.integers(BILLION // 4, BILLION), st.integers(1, 10**6), st.randoms())
def test_who_is_chosen_depends_on_no_order_and_nobody_risks_more_than_it_allocated(
    amounts: list[int], ppb: int, stake_cap: int, random
) -> None:
    terms = SubsetTerms(power_cap_ppb=ppb, min_members=4, max_members=8, min_allocation=2, min_total=10)
    applicants = [
        Applicant(index=index, account=bytes([index]) * 32, allocated=each)
        for index, each in enumerate(amounts)
    ]
    chosen = choose(terms, applicants, stake_cap)
    random.shuffle(applicants)
    assert choose(terms, applicants, stake_cap) == chosen
    assert len(chosen) in range(4, 9) or not chosen
    assert [each.index for each in chosen] == sorted({each.index for each in chosen})
    assert all(1 <= each.weight <= each.allocated <= amounts[each.index] for each in chosen)
    assert sum(each.allocated for each in chosen) < stake_cap + max(1, len(chosen))
    total = sum(each.weight for each in chosen)
    assert all(each.weight * BILLION <= ppb * total for each in chosen)


def test_lists_and_minimum_decide_who_may() -> None:
    names = [bytes([each]) * 32 for each in range(4)]
    four = [Applicant(index=index, account=names[index], allocated=10 + index) for index in range(4)]

    def indices(**terms: object) -> list[int]:
        return [each.index for each in choose(SubsetTerms(**terms), four, 10**9)]

    assert indices() == [0, 1, 2, 3]
    assert indices(allow=(names[2], names[0])) == [0, 2]
    assert indices(deny=(names[3],)) == [0, 1, 2]
    assert indices(max_members=2) == [2, 3]
    assert indices(min_allocation=12) == [2, 3]
    assert indices(min_members=3, min_allocation=12) == []
    assert indices(min_total=47) == []


@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=20), st.integers(1, BILLION))
def test_the_top_is_the_fewest_that_hold_the_part(powers: list[int], ppb: int) -> None:
    top = top_members(powers, ppb)
    held = [powers[each] for each in top]
    wanted = Fraction(ppb, BILLION) * sum(powers)
    assert sum(held) >= wanted > sum(held[:-1])
    assert min(held) >= max((each for index, each in enumerate(powers) if index not in top), default=0)
    assert top_members(powers, 0) == []


@pytest.mark.parametrize(
    "terms",
    [
        {"min_members": 0},
        {"min_members": 5, "max_members": 4},
        {"max_members": MAX_ATTESTERS + 1},
        {"min_total": 0},
        {"power_cap_ppb": BILLION // 4, "min_members": 3},
        {"top_ppb": 1},
        {"top_allocation_ppb": 1},
        {"allow": (bytes(32), bytes(32))},
        {"allow": (bytes(32),), "deny": (bytes(32),)},
    ],
)
def test_terms_that_can_not_be_met_are_refused(terms: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (each says its own)
        SubsetTerms(**terms)
    with pytest.raises(ValueError, match="above 0"):
        RailTerms(messages=0, units=1, window_ms=1)
