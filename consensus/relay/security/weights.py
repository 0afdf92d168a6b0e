"""From what is allocated to what each attester weighs: pure, in integers, the same in any order of input."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consensus.primitives.ids import PublicKey
from consensus.relay.parameters import BILLION
from consensus.relay.security.terms import SubsetTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """A member of an epoch's set and what it would have at risk on a chain, in units."""

    index: int  # in the set
    account: PublicKey
    allocated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """An attester: `allocated` is what a fault can cost it, `weight` what its statement counts."""

    index: int
    allocated: int
    weight: int


def choose(terms: SubsetTerms, applicants: Iterable[Applicant], stake_cap: int) -> tuple[Weighed, ...]:
    """Who attests under these terms, by index; empty where too few or too little applies.

    `stake_cap`, units, is the most that all together may have at risk; above it all are scaled down alike,
    each rounded down, and never to nothing.
    """
    found = [
        each for each in applicants if terms.admits(each.account) and each.allocated >= terms.min_allocation
    ]
    found.sort(key=lambda each: (-each.allocated, each.account))
    del found[terms.max_members :]
    total = sum(each.allocated for each in found)
    if len(found) < terms.min_members or total < terms.min_total:
        return ()
    risks = [each.allocated for each in found]
    if total > stake_cap:
        risks = [max(1, each * stake_cap // total) for each in risks]
    weights = capped(risks, terms.power_cap_ppb)
    chosen = (
        Weighed(index=each.index, allocated=risk, weight=weight)
        for each, risk, weight in zip(found, risks, weights, strict=True)
    )
    return tuple(sorted(chosen, key=lambda each: each.index))


def capped(amounts: Sequence[int], cap_ppb: int) -> list[int]:
    """min(amount, c) with the largest c such that nobody is above `cap_ppb` of what remains.

    With k amounts above c and a sum R of the others, c (10^9 - k cap) <= cap R. Where no c above 0 does it,
    for small numbers or small amounts, all weigh 1. Amounts are at least 1.
    """
    order = sorted(amounts, reverse=True)
    rest = sum(order)
    if order[0] * BILLION <= cap_ppb * rest:
        return list(amounts)
    cap = 0
    for above, largest in enumerate(order, start=1):
        rest -= largest
        left = BILLION - above * cap_ppb
        following = order[above] if above < len(order) else 0
        cap = largest if left <= 0 else min(largest, cap_ppb * rest // left)
        if cap >= following:
            break
    return [min(each, max(1, cap)) for each in amounts]


def top_members(powers: Sequence[int], top_ppb: int) -> list[int]:
    """Indices of the largest members that together first have `top_ppb` of all power; ties by index."""
    wanted = -(-sum(powers) * top_ppb // BILLION)
    chosen: list[int] = []
    for index in sorted(range(len(powers)), key=lambda each: (-powers[each], each)):
        if wanted <= 0:
            break
        chosen.append(index)
        wanted -= powers[index]
    return chosen
