"""Concentration in integers: the same as the definitions in fractions, by brute force where there is one."""

from fractions import Fraction
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.agreement.thresholds import stake_thresholds
from consensus.relay.elections.concentration import Holder, concentration, gini_ppb, nakamoto

POWERS = st.lists(st.integers(1, 50), min_size=1, max_size=8)


@given(POWERS)
def test_gini_is_the_mean_difference_over_twice_the_mean(powers: list[int]) -> None:
    differences = sum(abs(a - b) for a in powers for b in powers)
    exact = Fraction(differences, 2 * len(powers) * sum(powers))
    assert gini_ppb(powers) == exact * 10**9 // 1


def test_gini_ends() -> None:
    assert gini_ppb([3] * 100) == 0
    assert gini_ppb([1, 0, 0, 0]) == 750_000_000
    assert gini_ppb([5]) == 0


@settings(max_examples=200)
@given(POWERS, st.data())
def test_nakamoto_is_the_smallest_coalition(powers: list[int], data) -> None:
    needed = data.draw(st.integers(1, sum(powers)))
    smallest = next(
        size
        for size in range(1, len(powers) + 1)
        if any(sum(group) >= needed for group in combinations(powers, size))
    )
    assert nakamoto(powers, needed) == smallest


@given(st.lists(st.tuples(st.integers(1, 50), st.sampled_from(["", "x", "y", "z"])), min_size=1, max_size=9))
def test_a_group_is_all_who_declare_the_same_and_all_who_declare_nothing(members) -> None:
    report = concentration([Holder(power=power, region=region) for power, region in members])
    groups: dict[str, int] = {}
    for power, region in members:
        groups[region] = groups.get(region, 0) + power
    total = sum(power for power, _ in members)
    thresholds = stake_thresholds(total)
    assert report.power_total == total
    assert report.validators.groups == len(members)
    assert report.regions.groups == len(groups)
    assert report.regions.gini_ppb == gini_ppb(list(groups.values()))
    assert report.regions.nakamoto_halt == nakamoto(list(groups.values()), thresholds.faulty + 1)
    assert report.regions.nakamoto_rule == nakamoto(list(groups.values()), total - thresholds.faulty)
    assert report.regions.undeclared_ppb == groups.get("", 0) * 10**9 // total
    assert report.regions.largest_ppb == max(groups.values()) * 10**9 // total
    assert report.operators.undeclared_ppb == report.clients.undeclared_ppb == 10**9
    assert report.operators.nakamoto_halt == report.operators.nakamoto_rule == 1
