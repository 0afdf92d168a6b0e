"""Elections told slowly and exactly, to compare with: fractions for integers, subsets for rules."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import chain, combinations

from hypothesis import strategies as st

from consensus.relay.elections.phragmen import Ballot, Candidate

Profile = Sequence[tuple[int, str]]  # stake and whom it approves, one letter each


def account(letter: str) -> bytes:
    return letter.encode().ljust(32, b".")


def ballots(profile: Profile) -> list[Ballot]:
    return [
        Ballot(b"%032d" % index, stake, tuple(account(each) for each in sorted(approved)))
        for index, (stake, approved) in enumerate(profile)
    ]


def candidates(letters: str) -> list[Candidate]:
    """In the order in which ties are broken."""
    return [Candidate(account(each), index) for index, each in enumerate(letters)]


def letters(accounts: Sequence[bytes]) -> str:
    return "".join(each[:1].decode() for each in accounts)


def exact_scores(profile: Profile, elected: str, open_to: str) -> tuple[dict[str, Fraction], list[Fraction]]:
    """The score of everybody else once `elected` are, in that order, and the loads of the ballots."""
    loads = [Fraction(0)] * len(profile)

    def score(candidate: str) -> Fraction:
        supporters = [index for index, (_, approved) in enumerate(profile) if candidate in approved]
        stake = sum(profile[index][0] for index in supporters)
        carried = sum(profile[index][0] * loads[index] for index in supporters)
        return (1 + carried) / Fraction(stake)

    for each in elected:
        reached = score(each)
        for index, (_, approved) in enumerate(profile):
            if each in approved:
                loads[index] = reached
    standing = [
        each
        for each in open_to
        if each not in elected and any(stake and each in who for stake, who in profile)
    ]
    return {each: score(each) for each in standing}, loads


def exact_backing(profile: Profile, elected: str) -> list[dict[str, Fraction]]:
    """Each ballot's stake behind the elected, in proportion to the load that each of them caused it."""
    result = []
    for index, (stake, approved) in enumerate(profile):
        steps, before = {}, Fraction(0)
        for place, each in enumerate(elected, start=1):
            if each in approved and stake:
                after = exact_scores(profile, elected[:place], "")[1][index]
                steps[each], before = after - before, after
        result.append({each: stake * step / before for each, step in steps.items()})
    return result


def unrepresented(profile: Profile, elected: str, seats: int, open_to: str) -> tuple[str, int] | None:
    """A breach of proportional justified representation: candidates and a number l such that ballots with
    l / seats of all stake agree on l of them, and fewer than l of the elected are approved by any of these
    ballots. Every group of ballots is tried."""
    total = sum(stake for stake, _ in profile)
    indices = range(len(profile))
    for group in chain.from_iterable(combinations(indices, size) for size in range(1, len(profile) + 1)):
        stake = sum(profile[index][0] for index in group)
        common = set(open_to).intersection(*(profile[index][1] for index in group))
        deserved = min(len(common), stake * seats // total)
        approved = set("".join(profile[index][1] for index in group))
        if len(approved & set(elected)) < deserved:
            return "".join(sorted(common)), deserved
    return None


PROFILES = st.lists(
    st.tuples(
        st.integers(0, 12), st.sets(st.sampled_from("abcdef"), max_size=4).map(lambda s: "".join(sorted(s)))
    ),
    min_size=1,
    max_size=7,
).filter(lambda profile: any(stake and approved for stake, approved in profile))


def supports(backing: Mapping[bytes, Mapping[bytes, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for parts in backing.values():
        for each, amount in parts.items():
            letter = letters([each])
            found[letter] = found.get(letter, 0) + amount
    return found
