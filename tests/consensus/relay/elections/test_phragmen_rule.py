"""Sequential Phragmén in integers: the same as in fractions, proportional, and blind to order."""

from fractions import Fraction

import pytest
from election_models import (
    PROFILES,
    Profile,
    account,
    ballots,
    candidates,
    exact_backing,
    exact_scores,
    letters,
    supports,
    unrepresented,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.relay.elections.phragmen import Ballot, Candidate, elect

ALL = "abcdef"
SEATS = st.integers(1, 6)


def run(profile: Profile, seats: int, standby: int = 0):
    return elect(ballots(profile), candidates(ALL), seats=seats, standby=standby)


@settings(max_examples=150, deadline=None)
@given(profile=PROFILES, seats=SEATS)
def test_every_round_elects_whom_exact_fractions_would(profile: Profile, seats: int) -> None:
    """Whoever is elected has the least exact score of that round; with equal ones, either is right."""
    elected = letters(run(profile, seats).elected)
    for place, each in enumerate(elected):
        scores, _ = exact_scores(profile, elected[:place], ALL)
        assert scores[each] == min(scores.values())
    scores, _ = exact_scores(profile, elected, ALL)
    assert len(elected) == seats or not scores


@settings(max_examples=100, deadline=None)
@given(profile=PROFILES, seats=SEATS)
def test_a_ballot_backs_its_elected_in_proportion_to_their_load_and_to_the_unit(profile, seats) -> None:
    outcome = run(profile, seats)
    elected = letters(outcome.elected)
    for ballot, (stake, _), exact in zip(
        ballots(profile), profile, exact_backing(profile, elected), strict=True
    ):
        parts = {letters([each]): amount for each, amount in outcome.backing.get(ballot.name, {}).items()}
        assert parts.keys() == exact.keys()
        assert sum(parts.values()) == (stake if exact else 0)
        for each, amount in parts.items():
            assert abs(amount - exact[each]) <= Fraction(1) + Fraction(stake, 1 << 60)


@settings(max_examples=100, deadline=None)
@given(profile=PROFILES, seats=SEATS)
def test_the_elected_represent_every_group_that_agrees_by_its_share(profile: Profile, seats: int) -> None:
    """Proportional justified representation, by trying every group. With as many candidates as seats or fewer
    who have any stake, all of them are elected."""
    elected = letters(run(profile, seats).elected)
    assert unrepresented(profile, elected, seats, ALL) is None


def test_the_search_for_the_unrepresented_finds_them() -> None:
    profile = [(2, "ab"), (1, "c"), (1, "d")]
    assert unrepresented(profile, "cd", 2, "abcd") == ("ab", 1)
    assert unrepresented(profile, "acd", 4, "abcd") == ("ab", 2)
    assert unrepresented(profile, "abcd", 4, "abcd") is None


@settings(max_examples=100, deadline=None)
@given(profile=PROFILES, seats=SEATS, data=st.data())
def test_the_order_of_ballots_candidates_and_approvals_says_nothing(profile, seats, data) -> None:
    outcome = run(profile, seats, 2)
    shuffled = [
        Ballot(each.name, each.stake, tuple(data.draw(st.permutations(each.approved))))
        for each in data.draw(st.permutations(ballots(profile)))
    ]
    again = elect(shuffled, data.draw(st.permutations(candidates(ALL))), seats=seats, standby=2)
    assert again == outcome
    assert [list(parts) for _, parts in sorted(again.backing.items())] == [
        list(parts) for _, parts in sorted(outcome.backing.items())
    ]


@settings(max_examples=100, deadline=None)
@given(profile=PROFILES, seats=SEATS, data=st.data())
def test_splitting_a_ballot_among_its_holders_elects_the_same(profile, seats, data) -> None:
    """So a nomination may stand for all who approve the same validators."""
    stake, approved = profile[0]
    part = data.draw(st.integers(0, stake))
    split = [(part, approved), (stake - part, approved), *profile[1:]]
    assert run(split, seats).elected == run(profile, seats).elected


@settings(max_examples=100, deadline=None)
@given(profile=PROFILES, seats=SEATS, more=st.integers(0, 5))
def test_further_seats_go_to_those_who_stand_by(profile: Profile, seats: int, more: int) -> None:
    outcome = run(profile, seats, more)
    assert run(profile, seats + more).elected == (*outcome.elected, *outcome.standby)
    assert run(profile, seats).backing == outcome.backing


@settings(max_examples=100, deadline=None)
@given(profile=PROFILES, seats=SEATS, extra=st.integers(1, 12), who=st.sampled_from(ALL))
def test_more_stake_of_its_own_never_costs_a_candidate_its_seat(profile, seats, extra, who) -> None:
    """A ballot that approves nobody else can only help (candidate monotonicity, for such ballots)."""
    if who in letters(run(profile, seats).elected):
        assert who in letters(run([*profile, (extra, who)], seats).elected)


@given(scale=st.sampled_from([1, 10**9, 1 << 64, 1 << 100]), profile=PROFILES, seats=SEATS)
@settings(max_examples=100, deadline=None)
def test_the_unit_of_stake_does_not_matter(scale: int, profile: Profile, seats: int) -> None:
    scaled = [(stake * scale, approved) for stake, approved in profile]
    elected = letters(run(scaled, seats).elected)
    for place, each in enumerate(elected):
        scores, _ = exact_scores(profile, elected[:place], ALL)
        assert scores[each] == min(scores.values())


def test_equals_are_elected_by_stake_then_by_who_came_first_then_by_account() -> None:
    own = [Ballot(b"%032d" % index, 5, (account(each),)) for index, each in enumerate("zyxw")]
    stands = [
        Candidate(account("z"), 1),
        Candidate(account("y"), 3),
        Candidate(account("x"), 2),
        Candidate(account("w"), 3),
    ]
    assert letters(elect(own, stands, seats=4).elected) == "zxwy"
    # all three at the load 1/4: b was elected at it, c after it has as much load to share among more
    profile = [(4, "b"), (4, "c"), (4, "bc")]
    outcome = elect(ballots(profile), candidates("abc"), seats=2)
    assert letters(outcome.elected) == "bc"


def test_nobody_is_elected_by_nothing() -> None:
    outcome = elect(ballots([(0, "a"), (3, "b"), (2, "x")]), candidates("abc"), seats=3, standby=3)
    assert (letters(outcome.elected), outcome.standby) == ("b", ())
    assert supports(outcome.backing) == {"b": 3}
    assert elect([], candidates("ab"), seats=2).elected == ()
    assert elect(ballots([(1, "a")]), [], seats=2).elected == ()


def test_names_that_repeat_are_refused() -> None:
    ballot = Ballot(b"n" * 32, 1, (account("a"),))
    with pytest.raises(ValueError, match="two ballots of one name"):
        elect([ballot, ballot], candidates("a"), seats=1)
    with pytest.raises(ValueError, match="two candidates of one account"):
        elect([ballot], candidates("a") * 2, seats=1)


def test_a_ballot_counts_whom_it_names_twice_once() -> None:
    twice = [Ballot(b"1" * 32, 3, (account("a"), account("a"))), Ballot(b"2" * 32, 4, (account("b"),))]
    assert letters(elect(twice, candidates("ab"), seats=1).elected) == "b"
