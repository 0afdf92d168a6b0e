"""Evening out support: exact, never worse for the weakest, the same whatever the order."""

from election_models import PROFILES, Profile, account, ballots, candidates, supports
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.relay.elections.balancing import PASSES, balance
from consensus.relay.elections.phragmen import elect


def squares(found: dict[str, int]) -> int:
    return sum(each * each for each in found.values())


@settings(max_examples=80, deadline=None)
@given(profile=PROFILES, seats=st.integers(1, 6))
def test_each_pass_keeps_all_stake_and_helps_the_weakest(profile: Profile, seats: int) -> None:
    outcome = elect(ballots(profile), candidates("abcdef"), seats=seats)
    before = supports(outcome.backing)
    for passes in range(1, 5):
        backing = balance(outcome.backing, outcome.elected, passes)
        assert backing.keys() == outcome.backing.keys()
        for name, parts in backing.items():
            assert parts.keys() == outcome.backing[name].keys()
            assert sum(parts.values()) == sum(outcome.backing[name].values())
            assert min(parts.values()) >= 0
        after = supports(backing)
        assert min(after.values()) >= min(before.values())
        assert squares(after) <= squares(before)
        before = after


@settings(max_examples=80, deadline=None)
@given(profile=PROFILES, seats=st.integers(1, 6))
def test_at_rest_no_ballot_has_stake_where_it_could_lower_the_difference(
    profile: Profile, seats: int
) -> None:
    outcome = elect(ballots(profile), candidates("abcdef"), seats=seats)
    backing = balance(outcome.backing, outcome.elected, 200)
    assert balance(backing, outcome.elected, 1) == backing
    found = supports(backing)
    for parts in backing.values():
        for each, amount in parts.items():
            for other in parts:
                if amount:
                    assert found[each.decode()[0]] - found[other.decode()[0]] <= 1


@settings(max_examples=50, deadline=None)
@given(profile=PROFILES, data=st.data())
def test_the_order_of_the_ballots_says_nothing(profile: Profile, data) -> None:
    outcome = elect(ballots(profile), candidates("abcdef"), seats=4)
    names = data.draw(st.permutations(sorted(outcome.backing)))
    shuffled = {name: outcome.backing[name] for name in names}
    assert balance(shuffled, outcome.elected) == balance(outcome.backing, outcome.elected)


def test_two_passes_bring_a_crowd_close() -> None:
    """Forty ballots in a ring, each approving three neighbours of ten, of very different stakes."""
    profile = [
        ((index * 7919) % 1000 + 1, "".join("abcdefghij"[(index + step) % 10] for step in (0, 1, 3)))
        for index in range(40)
    ]
    outcome = elect(ballots(profile), candidates("abcdefghij"), seats=10)
    before, after = (
        supports(each) for each in (outcome.backing, balance(outcome.backing, outcome.elected, PASSES))
    )
    spread = [max(each.values()) - min(each.values()) for each in (before, after)]
    assert spread[1] * 4 < spread[0]


def test_a_ballot_with_one_elected_stays_where_it_is() -> None:
    backing = {b"1" * 32: {account("a"): 9}, b"2" * 32: {account("a"): 4, account("b"): 0}}
    assert balance(backing, [account("a"), account("b")]) == {
        b"1" * 32: {account("a"): 9},
        b"2" * 32: {account("a"): 0, account("b"): 4},
    }
