"""How concentrated voting power is, as numbers that a person can follow from epoch to epoch.

* Gini coefficient, in parts per billion: 0 if all have the same, near a billion if one has all. With x
  ascending, i from 1: (2 * sum i * x_i - (n + 1) * sum x) / (n * sum x), rounded down.
* Nakamoto coefficients (B. Srinivasan and L. Lee, Quantifying decentralization, 2017): how few together hold
  more than F, and could stop the network; and how few hold a quorum, and could rule it.

Both by validator, and by what the validators declare: operator, region, client. Declarations prove nothing;
they say what would fail together if they are true. Those who declare nothing count as one group, which is
the worst that can be true of them: its share is stated beside it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consensus.agreement.thresholds import stake_thresholds
from consensus.primitives.ids import Stake
from consensus.relay.parameters import BILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """One member's voting power and what it declares of itself; an empty label is no declaration."""

    power: int
    operator: str = ""
    region: str = ""
    client: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How power is spread over the groups of one kind."""

    groups: int
    gini_ppb: int
    nakamoto_halt: int  # fewest groups with more than F together
    nakamoto_rule: int  # fewest groups with a quorum, more than two thirds
    largest_ppb: int  # share of the largest
    undeclared_ppb: int  # share of those who declared nothing, counted as one group


@dataclass(frozen=True, slots=True, kw_only=True)
class Concentration:
    """The report on one set."""

    power_total: Stake
    validators: Spread
    operators: Spread
    regions: Spread
    clients: Spread


def concentration(members: Sequence[Holder]) -> Concentration:
    """The report on a set of at least one member, each of a power of at least 1."""
    return Concentration(
        power_total=Stake(sum(each.power for each in members)),
        validators=_spread([(str(index), each.power) for index, each in enumerate(members)]),
        operators=_spread((each.operator, each.power) for each in members),
        regions=_spread((each.region, each.power) for each in members),
        clients=_spread((each.client, each.power) for each in members),
    )


def gini_ppb(powers: Sequence[int]) -> int:
    """The Gini coefficient of at least one power, in parts per billion, rounded down."""
    count, total = len(powers), sum(powers)
    ranked = sum(index * each for index, each in enumerate(sorted(powers), start=1))
    return (2 * ranked - (count + 1) * total) * BILLION // (count * total)


def nakamoto(powers: Sequence[int], needed: int) -> int:
    """The fewest that together have at least `needed`, which is at most what all have."""
    held = 0
    for count, each in enumerate(sorted(powers, reverse=True), start=1):
        held += each
        if held >= needed:
            return count
    raise ValueError(f"all together have {held}, not {needed}")


def _spread(labelled: Iterable[tuple[str, int]]) -> Spread:
    groups: dict[str, int] = {}
    for label, power in labelled:
        groups[label] = groups.get(label, 0) + power
    powers = list(groups.values())
    thresholds = stake_thresholds(sum(powers))
    return Spread(
        groups=len(powers),
        gini_ppb=gini_ppb(powers),
        nakamoto_halt=nakamoto(powers, thresholds.faulty + 1),
        nakamoto_rule=nakamoto(powers, thresholds.quorum),
        largest_ppb=max(powers) * BILLION // thresholds.total,
        undeclared_ppb=groups.get("", 0) * BILLION // thresholds.total,
    )
