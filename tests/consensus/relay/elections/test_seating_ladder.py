"""Who is kept when too few are electable: never one whose fault is proved, while anybody else is there."""

from hypothesis import given
from hypothesis import strategies as st

from consensus.relay.elections.seating import Blame, kept_members

ACCOUNTS = [bytes([each]) * 32 for each in range(10)]
BLAMES = st.lists(st.sampled_from(Blame), min_size=10, max_size=10)
GROUP = st.lists(st.sampled_from(ACCOUNTS), unique=True, max_size=8)


def kept(
    electable: str,
    previous: str,
    *,
    away: str = "",
    jailed: str = "",
    tombstoned: str = "",
    left: str = "",
    seats: int = 8,
) -> str:
    """With one letter for each account."""
    barred = {
        **dict.fromkeys(away, Blame.AWAY),
        **dict.fromkeys(jailed, Blame.JAILED),
        **dict.fromkeys(tombstoned, Blame.TOMBSTONED),
    }
    found = kept_members(
        [each.encode() for each in electable],
        [each.encode() for each in previous],
        backed={each.encode() for each in previous if each not in left},
        blame=lambda account: barred.get(account.decode(), Blame.NONE),
        seats=seats,
    )
    return b"".join(found).decode()


def test_the_ladder() -> None:
    assert kept("abcd", "abcdefg") == ""  # four suffice
    assert kept("xyz", "abcdefg") == "abcde"  # as far as there are seats
    assert kept("abc", "abcdefg") == "defg"
    assert kept("abc", "abcdefg", left="ef") == "dg"
    assert kept("", "abcdefg", away="cd") == "abefg"
    assert kept("a", "abcd", away="bcd") == "bcd"  # just enough of those who were away, by index
    assert kept("ax", "abcd", away="bcd") == "bc"
    assert kept("ax", "abcd", away="bcd", left="b") == "cd"
    assert kept("abc", "abcd", jailed="d") == ""  # three are better than a proved fault
    assert kept("x", "abcd", away="d", jailed="a", tombstoned="bc") == "d"
    assert kept("", "abcd", tombstoned="abc") == "d"


def test_if_nobody_else_is_there() -> None:
    assert kept("", "abcd", jailed="b", tombstoned="ac", left="d") == "d"
    assert kept("", "abcd", jailed="bd", tombstoned="ac") == "bd"
    assert kept("", "abcd", tombstoned="abcd") == "abcd"
    assert kept("x", "abcd", tombstoned="abcd") == ""


def test_networks_of_fewer_than_four_keep_their_set_only_if_nobody_is_electable() -> None:
    assert kept("a", "abc") == ""
    assert kept("", "abc") == "abc"
    assert kept("", "abc", away="b") == "ac"
    assert kept("", "abc", away="bc", tombstoned="a") == "b"
    assert kept("", "abc", jailed="bc", tombstoned="a") == "bc"
    assert kept("", "a", tombstoned="a") == "a"
    assert kept("xy", "abcd", seats=3) == ""  # governance took the seats away


@given(GROUP, GROUP, GROUP, BLAMES, st.integers(1, 8))
def test_nobody_convicted_sits_while_anybody_else_can(electable, previous, left, blames, seats) -> None:
    electable = electable[:seats]
    by_account = dict(zip(ACCOUNTS, blames, strict=True))
    backed = set(ACCOUNTS) - set(left)
    needed = 4 if len(previous) >= 4 <= seats else 1
    found = kept_members(electable, previous, backed=backed, blame=by_account.__getitem__, seats=seats)
    barred = {by_account[each] for each in found}
    others = [each for each in previous if each not in electable]
    assert set(found) <= set(others)
    assert len(found) + len(electable) <= seats
    assert list(found) == [each for each in previous if each in found]
    assert not found or len(electable) < needed
    if barred & {Blame.JAILED, Blame.TOMBSTONED}:
        assert not electable
        assert len(barred) == 1
        assert all(by_account[each] >= min(barred) for each in previous)
    if not backed.issuperset(found):
        assert not electable
        assert not any(by_account[each] is Blame.NONE for each in previous if each in backed)
    if Blame.AWAY in barred and backed.issuperset(found):  # only as many as it takes
        assert len(found) + len(electable) <= needed
    assert electable or found or not previous
