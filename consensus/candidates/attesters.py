"""Who attests a chain's candidates in an epoch, and with what weight (DESIGN.md section 6).

The one rule that a leader, a validator and the transition apply, each to the state that it has: a verdict
takes more than 2/3 of the weight of those who are asked.

    replicated    every validator of the epoch, by voting power
    subset        who opted in, by allocated stake; `relay.security.attesters` froze it before the epoch began

Whoever is not asked does not execute, and its statement weighs nothing. Unless those who are asked disagree:
then there is a dispute, all validators execute, and more than 2/3 of all stake decide (DESIGN.md section 6,
"one judge"). `RelayView.attesters` says who is asked, by the state.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from consensus.agreement.thresholds import stake_thresholds
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.ids import ValidatorIndex


@dataclass(frozen=True, slots=True)
class Attesters:
    """Weights by validator index of the epoch's set, 0 for who is not asked; at least one is above 0."""

    weights: tuple[int, ...]
    quorum: int  # strictly more than 2/3 of all weights

    def __contains__(self, index: int) -> bool:
        return 0 <= index < len(self.weights) and self.weights[index] > 0

    def weight(self, members: Iterable[int]) -> int:
        """The weight of a set of indices; each must be named once."""
        weights = self.weights
        return sum(weights[index] for index in members)

    @property
    def members(self) -> tuple[ValidatorIndex, ...]:
        """Who is asked, in the order of indices."""
        return tuple(ValidatorIndex(index) for index, weight in enumerate(self.weights) if weight)


def everyone(validators: ValidatorSet) -> Attesters:
    """All validators of an epoch, by voting power."""
    return Attesters(validators.stakes, validators.stake.quorum)


def weighed(weights: Iterable[int]) -> Attesters:
    """Those with a weight above 0. Raises ValueError if nobody has one."""
    found = tuple(weights)
    return Attesters(found, stake_thresholds(sum(found)).quorum)
