"""Fewer edges, the same sums."""

from election_models import PROFILES, Profile, ballots, candidates, supports
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.relay.elections.phragmen import elect
from consensus.relay.elections.thinning import thin

BACKING = st.dictionaries(
    st.integers(0, 9).map(lambda each: b"%032d" % each),
    st.dictionaries(st.sampled_from("abcdefgh").map(str.encode), st.integers(0, 6), max_size=8),
    max_size=10,
)


def edges(backing) -> list[tuple[bytes, bytes]]:
    return [(name, member) for name, parts in backing.items() for member in parts]


def trees(backing) -> int:
    """How many parts of the graph hang together, by merging."""
    merged: list[set[bytes]] = []
    for edge in edges(backing):
        touching = [each for each in merged if each & set(edge)]
        merged = [each for each in merged if each not in touching]
        merged.append(set(edge).union(*touching))
    return len(merged)


@settings(max_examples=80, deadline=None)
@given(BACKING)
def test_a_forest_with_the_same_sums_remains(backing) -> None:
    thinned = thin(backing)
    assert thinned.keys() == backing.keys()
    assert {name: sum(parts.values()) for name, parts in thinned.items()} == {
        name: sum(parts.values()) for name, parts in backing.items()
    }
    before, after = ({k: v for k, v in supports(each).items() if v} for each in (backing, thinned))
    assert after == before
    assert all(amount > 0 for parts in thinned.values() for amount in parts.values())
    assert set(edges(thinned)) <= {edge for edge in edges(backing) if backing[edge[0]][edge[1]]}
    nodes = {end for edge in edges(thinned) for end in edge}
    assert len(edges(thinned)) == len(nodes) - trees(thinned)  # no cycles


@settings(max_examples=100, deadline=None)
@given(BACKING, st.data())
def test_the_order_of_ballots_and_members_says_nothing(backing, data) -> None:
    shuffled = {
        name: dict(data.draw(st.permutations(list(backing[name].items()))))
        for name in data.draw(st.permutations(sorted(backing)))
    }
    assert thin(shuffled) == thin(backing)


@settings(max_examples=50, deadline=None)
@given(profile=PROFILES, seats=st.integers(1, 6))
def test_what_an_election_leaves_is_thin(profile: Profile, seats: int) -> None:
    outcome = elect(ballots(profile), candidates("abcdef"), seats=seats)
    thinned = thin(outcome.backing)
    assert len(edges(thinned)) <= max(0, len(thinned) + len(outcome.elected) - 1)
    assert thin(thinned) == thinned
