"""Counting against a model that looks at every delegator, in fractions; and what a count means."""

from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.primitives.ids import Hash
from consensus.relay.governance.tally import CHOICES, Decision, MemberVote, VoteCount, decide, tally
from consensus.relay.governance.transactions import Choice
from consensus.relay.stake.pools import shared_out


@dataclass(frozen=True)
class Election:
    """Delegators of each nomination, with their units and what they say themselves; the members behind whom
    it is, by weight; what members say."""

    delegators: tuple[tuple[tuple[int, Choice | None], ...], ...]
    weights: tuple[tuple[int, ...], ...]
    choices: tuple[Choice | None, ...]

    @property
    def edges(self) -> list[list[int]]:
        """Units of each nomination behind each member."""
        return [
            shared_out(sum(units for units, _ in group), list(weights))
            for group, weights in zip(self.delegators, self.weights, strict=True)
        ]


said = st.sampled_from([None, *CHOICES])


@st.composite
def elections(draw: st.DrawFn) -> Election:
    members, nominations = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    group = st.lists(st.tuples(st.integers(1, 10**12), said), min_size=1, max_size=6).map(tuple)
    weights = st.lists(st.integers(0, 1_000), min_size=members, max_size=members)
    return Election(
        delegators=tuple(draw(group) for _ in range(nominations)),
        weights=tuple(tuple(draw(weights.filter(any))) for _ in range(nominations)),
        choices=tuple(draw(st.lists(said, min_size=members, max_size=members))),
    )


def name_of(index: int) -> Hash:
    return Hash(index.to_bytes(32, "big"))


def counted(election: Election) -> VoteCount:
    """As the chain does it: by nomination, never by delegator."""
    members = [
        MemberVote(
            [(name_of(index), edges[place]) for index, edges in enumerate(election.edges) if edges[place]],
            choice,
        )
        for place, choice in enumerate(election.choices)
    ]
    own = {}
    for index, group in enumerate(election.delegators):
        sums = tuple(sum(units for units, choice in group if choice is each) for each in CHOICES)
        if any(sums):
            own[name_of(index)] = sums
    return tally(members, own)


def by_delegator(election: Election) -> dict[Choice | None, Fraction]:
    """Each delegator alone: what it says counts for all it has, else its members speak for it, each for the
    part of it that is behind that member."""
    found: dict[Choice | None, Fraction] = dict.fromkeys([None, *CHOICES], Fraction(0))
    for group, edges in zip(election.delegators, election.edges, strict=True):
        for units, choice in group:
            if choice is not None:
                found[choice] += units
                continue
            for edge, member in zip(edges, election.choices, strict=True):
                found[member] += Fraction(units * edge, sum(edges))
    return found


@given(election=elections())
def test_it_counts_what_each_delegator_alone_would_count_for(election: Election) -> None:
    count, model = counted(election), by_delegator(election)
    assert count.total == sum(model.values())
    slack = sum(1 for edges in election.edges for each in edges if each)  # a unit for each split
    for choice, units in zip(CHOICES, (count.yes, count.no, count.abstain, count.veto), strict=True):
        assert abs(units - model[choice]) < max(1, slack)


@given(election=elections())
def test_no_unit_is_lost_or_found(election: Election) -> None:
    count = counted(election)
    assert count.turnout <= count.total
    if None not in election.choices:
        assert count.turnout == count.total
    silent = Election(election.delegators, election.weights, (None,) * len(election.choices))
    own = sum(units for group in election.delegators for units, choice in group if choice is not None)
    assert counted(silent).turnout == own


@given(election=elections(), factor=st.integers(2, 10**6))
def test_own_votes_beyond_what_was_there_count_for_what_was_there(election: Election, factor: int) -> None:
    members = [MemberVote([(name_of(0), edge)], Choice.NO) for edge in election.edges[0]]
    there = sum(election.edges[0])
    count = tally(members, {name_of(0): (there * factor, 0, 0, there)})
    assert count.turnout == count.total == there
    assert count.yes == there * there * factor // (there * (factor + 1))
    assert count.no == 0


def test_an_own_vote_of_a_nomination_that_nobody_was_elected_with_counts_for_nothing() -> None:
    members = [MemberVote([(name_of(1), 10)], None)]
    assert tally(members, {name_of(2): (5, 0, 0, 0)}) == VoteCount(total=10, yes=0, no=0, abstain=0, veto=0)


def means(total: int, yes: int = 0, no: int = 0, abstain: int = 0, veto: int = 0) -> Decision:
    count = VoteCount(total=total, yes=yes, no=no, abstain=abstain, veto=veto)
    return decide(count, quorum_ppb=400_000_000, threshold_ppb=500_000_000, veto_ppb=250_000_000)


@pytest.mark.parametrize(
    ("votes", "decision"),
    [
        ({}, Decision.NO_QUORUM),
        ({"yes": 39}, Decision.NO_QUORUM),
        ({"yes": 40}, Decision.PASSED),
        ({"yes": 20, "no": 20}, Decision.REJECTED),
        ({"yes": 21, "no": 20}, Decision.PASSED),
        ({"yes": 1, "abstain": 39}, Decision.PASSED),
        ({"abstain": 100}, Decision.REJECTED),
        ({"yes": 75, "veto": 25}, Decision.PASSED),
        ({"yes": 74, "veto": 26}, Decision.VETOED),
    ],
)
def test_each_bound_is_where_it_says(votes: dict[str, int], decision: Decision) -> None:
    assert means(100, **votes) is decision
    scaled = {name: units * 10**30 for name, units in votes.items()}
    assert means(100 * 10**30, **scaled) is decision


def test_nothing_passes_where_nobody_has_stake() -> None:
    assert means(0) is Decision.NO_QUORUM
