"""Who is kept when too few are electable: never one whose fault is proved, while anybody else is there."""

from hypothesis import given
from hypothesis import strategies as st

from consensus.relay.elections.seating import Blame, kept_members

ACCOUNTS = [bytes([each]) * 32 for each in range(10)]
BLAMES = st.lists(st.sampled_from(Blame), min_size=10, max_size=10)
GROUP = st.lists(st.sampled_from(ACCOUNTS), unique=True, max_size=8)


def kept(electable: str, previous: str, jailed: str = "", tombstoned: str = "", seats: int = 8) -> str:
    """With one letter for each account."""

    def blame(account: bytes) -> Blame:
        letter = account.decode()
        return Blame.JAILED if letter in jailed else Blame.TOMBSTONED if letter in tombstoned else Blame.NONE

    found = kept_members(
        [each.encode() for each in electable], [each.encode() for each in previous], blame, seats=seats
    )
    return b"".join(found).decode()


def test_the_ladder() -> None:
    assert kept("abcd", "abcdefg") == ""  # four suffice
    assert kept("xyz", "abcdefg") == "abcdefg"[:5]  # as far as there are seats
    assert kept("abc", "abcdefg") == "defg"
    assert kept("", "abcdefg", jailed="cd") == "abefg"
    assert kept("a", "abcd", jailed="bcd") == "bcd"  # just enough jailed ones, by index
    assert kept("ax", "abcd", jailed="bcd") == "bc"
    assert kept("x", "abcd", jailed="d", tombstoned="abc") == "d"  # two are better than a proved fault
    assert kept("", "abcd", tombstoned="abc") == "d"
    assert kept("", "abcd", tombstoned="abcd") == "abcd"  # nobody else at all
    assert kept("x", "abcd", tombstoned="abcd") == ""


def test_networks_of_fewer_than_four_keep_their_set_only_if_nobody_is_electable() -> None:
    assert kept("a", "abc") == ""
    assert kept("", "abc") == "abc"
    assert kept("", "abc", jailed="b") == "ac"
    assert kept("", "abc", jailed="bc", tombstoned="a") == "b"
    assert kept("", "a", tombstoned="a") == "a"
    assert kept("xy", "abcd", seats=3) == ""  # governance took the seats away


@given(GROUP, GROUP, BLAMES, st.integers(1, 8))
def test_nobody_tombstoned_sits_while_anybody_else_can(electable, previous, blames, seats) -> None:
    electable = electable[:seats]
    by_account = dict(zip(ACCOUNTS, blames, strict=True))
    found = kept_members(electable, previous, by_account.__getitem__, seats=seats)
    assert set(found) <= set(previous) - set(electable)
    assert len(found) + len(electable) <= seats
    assert list(found) == [each for each in previous if each in found]
    if any(by_account[each] is Blame.TOMBSTONED for each in found):
        assert not electable
        assert all(by_account[each] is Blame.TOMBSTONED for each in previous)
    if any(by_account[each] is Blame.JAILED for each in found):  # only as many as it takes
        needed = 4 if len(previous) >= 4 <= seats else 1
        assert len(found) + len(electable) <= needed
    if previous:
        assert electable or found
