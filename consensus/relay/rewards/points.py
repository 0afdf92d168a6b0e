"""What each member of an epoch's set has earned of what there is to earn; plain numbers, no state.

The validators' part of an epoch's income is cut into four, for votes, attestations, blocks and the inclusion
of votes, by governed parts of a billion. Each of the four is shared out by points, and *to the points that
were to be had*, not to those that were made: what nobody earned is nobody's, and burnt. So nobody gains by
another's absence, whom a leader could leave out or an attacker cut off ("Discouragement Attacks", Buterin
2018); a validator that is away loses its own part and no more.

    votes         power x samples with its vote               of power x samples
    attestations  power x min(1, 3/2 x attested / asked)      of power
    blocks        blocks in the chain                         of views that brought one or were let pass
    inclusion     voting power that its blocks brought in     of all power, for each sample

An inclusion carries the attestations that made it, a little more than two thirds, and there is no second
chance for who was slower. So whoever is in two of three has done its part: in a network in which all are
alike everybody is, also where Byzantine leaders leave out whom they can.

Where nothing was asked for there is nothing to miss: without candidates, or in an epoch too short for a
sample, that part goes to the votes', and those by power alone. Who is not in good standing when the epoch
ends earns nothing of it.

The parts for blocks and inclusion together are an eighth by default, which is what a proposer gets in
Ethereum (consensus-specs, `PROPOSER_WEIGHT` 8 of 64).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.relay.parameters import BILLION
from consensus.relay.rewards.sharing import split


@dataclass(frozen=True, slots=True, kw_only=True)
class Duties:
    """What one member had to do in an epoch and did."""

    power: int  # voting power
    seen: int  # samples with its vote
    proposed: int
    missed: int  # views that it led and that brought no block
    included: int  # votes that its blocks brought in, parts per billion of all power
    asked: int = 0  # candidates that it was to attest
    attested: int = 0
    good: bool = True  # in good standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """How the whole is cut, in parts per billion; what these leave is for votes."""

    block_ppb: int
    inclusion_ppb: int
    attest_ppb: int


@dataclass(frozen=True, slots=True)
class Earned:
    """Units for each member, by index, and those that nobody earned; together they are the whole."""

    members: list[int]
    nobody: int


def share_out(amount: int, duties: Sequence[Duties], samples: int, parts: Parts) -> Earned:
    """Share `amount` units out among the members of an epoch in which `samples` blocks had votes counted."""
    asked = any(each.asked for each in duties)
    views = any(each.proposed or each.missed for each in duties)
    block = amount * parts.block_ppb // BILLION if views else 0
    inclusion = amount * parts.inclusion_ppb // BILLION if samples else 0
    attest = amount * parts.attest_ppb // BILLION if asked else 0
    votes = amount - block - inclusion - attest
    total = Earned([0] * len(duties), 0)
    total = _add(total, _by_points(votes, duties, *_vote_points(duties, samples)))
    if attest:
        total = _add(total, _by_points(attest, duties, *_attest_points(duties)))
    if block:
        points = [each.proposed for each in duties]
        total = _add(total, _by_points(block, duties, points, sum(each.missed for each in duties)))
    if inclusion:
        points = [each.included for each in duties]
        total = _add(total, _by_points(inclusion, duties, points, samples * BILLION - sum(points)))
    return total


def _vote_points(duties: Sequence[Duties], samples: int) -> tuple[list[int], int]:
    if not samples:
        return [each.power for each in duties], 0
    points = [each.power * each.seen for each in duties]
    return points, sum(each.power for each in duties) * samples - sum(points)


def _attest_points(duties: Sequence[Duties]) -> tuple[list[int], int]:
    points = [each.power * _attested_ppb(each) for each in duties]
    return points, sum(each.power for each in duties if each.asked) * BILLION - sum(points)


def _attested_ppb(duties: Duties) -> int:
    return min(BILLION, 3 * duties.attested * BILLION // (2 * duties.asked)) if duties.asked else 0


def _by_points(amount: int, duties: Sequence[Duties], points: Sequence[int], missed: int) -> Earned:
    """By points; what was missed, and what those not in good standing made, is nobody's."""
    good = [made if each.good else 0 for made, each in zip(points, duties, strict=True)]
    shares = split(amount, [*good, missed + sum(points) - sum(good)])
    return Earned(shares[:-1], shares[-1])


def _add(one: Earned, other: Earned) -> Earned:
    members = [mine + more for mine, more in zip(one.members, other.members, strict=True)]
    return Earned(members, one.nobody + other.nobody)
