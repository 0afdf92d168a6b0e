"""No member has more power than F, and no more than that is cut off."""

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.agreement.thresholds import stake_thresholds
from consensus.relay.elections.caps import MAX_POWER, power_cap, voting_powers

SMALL = st.lists(st.integers(1, 40), min_size=4, max_size=8)


def holds(supports: list[int], cap: int) -> bool:
    powers = [min(each, cap) for each in supports]
    return max(powers) <= stake_thresholds(sum(powers)).faulty


@settings(max_examples=400, deadline=None)
@given(SMALL)
def test_the_cap_is_the_largest_that_holds(supports: list[int]) -> None:
    """By trying every one."""
    best = max(cap for cap in range(1, max(supports) + 1) if holds(supports, cap))
    cap = power_cap(supports)
    assert min(cap, max(supports)) == best
    assert (cap == MAX_POWER) == holds(supports, max(supports))


@given(st.lists(st.integers(0, 1 << 100), min_size=4, max_size=200))
def test_whatever_supports_them_nobody_is_above_a_third(supports: list[int]) -> None:
    powers = voting_powers(supports)
    assert max(powers) <= stake_thresholds(sum(powers)).faulty
    assert all(1 <= power <= MAX_POWER for power in powers)
    assert all(power <= max(1, each) for power, each in zip(powers, supports, strict=True))
    if sum(supports) < MAX_POWER:
        assert sum(power < each for each, power in zip(supports, powers, strict=True)) <= 2


@given(SMALL.flatmap(lambda each: st.tuples(st.just(each), st.permutations(each))))
def test_power_follows_support_whoever_has_it(pair: tuple[list[int], list[int]]) -> None:
    supports, shuffled = pair
    powers, again = voting_powers(supports), voting_powers(shuffled)
    assert dict(zip(supports, powers, strict=True)) == dict(zip(shuffled, again, strict=True))
    ranked = sorted(zip(supports, powers, strict=True))
    assert [power for _, power in ranked] == sorted(powers)


def test_at_most_two_are_cut_and_the_others_keep_what_they_have() -> None:
    assert voting_powers([100, 5, 5, 5, 5]) == (9, 5, 5, 5, 5)
    assert voting_powers([1000, 900, 5, 5, 5]) == (14, 14, 5, 5, 5)
    assert voting_powers([1000, 900, 800, 1]) == (800, 800, 800, 1)
    assert voting_powers([1000, 1, 1, 1]) == (1, 1, 1, 1)
    assert voting_powers([100, 100, 100, 0]) == (100, 100, 100, 1)


def test_three_or_fewer_go_uncapped() -> None:
    assert voting_powers([1000, 1, 0]) == (1000, 1, 1)
    assert voting_powers([7]) == (7,)
