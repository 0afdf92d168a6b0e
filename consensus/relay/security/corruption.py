"""What it costs to have a false candidate of a chain enacted: a lower bound, in integers (DESIGN.md 8).

More than 2/3 of the weight must sign "valid". Each signer then owes `slash_invalid_ppb` of what it had at
risk: of its exposure under `replicated`, of what it allocated under `subset`. The cheapest such coalition is
a knapsack; taking members by what a unit of weight costs, the last one in part, bounds it from below.

What the rules give back is not lost: who reports itself gets `slash_reporter_ppb` of the slash. What
governance vetoes is not counted, because it takes the honest to vote for it.

*Who convicts them.* A conviction takes a verdict of more than 2/3 of all stake. Where the coalition leaves
that much to others, and one attester says "invalid" before the candidate is enacted, it is lost on this
chain: `convictable`. Where it does not, as always under `replicated`, the same signatures prove the lie, but
only to a network that the honest restart without the coalition. Nobody can say "invalid" of a candidate whose
PoV was kept from all honest attesters; availability before approval is not built yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cmp_to_key

from consensus.relay.parameters import BILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """One attester: what its statement counts, what it has at risk in units, its voting power."""

    weight: int  # at least 1
    risk: int
    power: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Coalition:
    """The cheapest that can have a lie enacted, bounded from below."""

    members: int  # of the set by which the bound was found
    risk: int  # units that it has at risk, at least
    power: int  # voting power of the members together


def cheapest(signers: Sequence[Signer], quorum: int) -> Coalition:
    """The coalition of more than 2/3 that has the least at risk; `quorum` is at most all weight.

    The risk of the last member, which is needed in part only, counts for that part, rounded down.
    """
    order = sorted(signers, key=cmp_to_key(_dearer))
    members, risk, power, missing = 0, 0, 0, quorum
    for each in order:
        if missing <= 0:
            break
        used = min(each.weight, missing)
        members += 1
        risk += each.risk * used // each.weight
        power += each.power
        missing -= used
    return Coalition(members=members, risk=risk, power=power)


def lost(risk: int, fraction_ppb: int, reporter_ppb: int) -> int:
    """Units that are gone for good of `risk`: slashed, less what a reporter of one's own gets back, which is
    rounded up."""
    slashed = risk * fraction_ppb // BILLION
    return slashed + -slashed * reporter_ppb // BILLION


def _dearer(one: Signer, other: Signer) -> int:
    """By units at risk for a unit of weight; the order among equals does not change the bound."""
    return one.risk * other.weight - other.risk * one.weight
