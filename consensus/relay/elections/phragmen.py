"""Sequential Phragmén over approval ballots that are weighted by stake.

The rule (E. Phragmén, Till frågan om en proportionell valmetod, 1899; M. Brill, R. Freeman, S. Janson and
M. Lackner, Phragmén's voting methods and justified representation, AAAI 2017, Mathematical Programming 2023):
electing a candidate costs its supporters one unit of load, which they share so that all of them then carry
the same load for each unit of their stake. Whoever can be elected at the least such load is next:

    score(c) = (1 + sum of stake(b) * load(b)) / sum of stake(b)        over the ballots b that approve c
    elect the least; load(b) = score(c) for its supporters

The committee satisfies proportional justified representation: ballots with the share l/k of all stake that
agree on l candidates are represented by l members of k. It does not depend on how the holders of a ballot
split it up, and electing more keeps whom fewer elect: so those who stand by are whom further seats would go
to. As an election of validators, with a ballot's stake behind its members in proportion to the load that
each caused: A. Cevallos and A. Stewart, A verifiably secure and proportional committee election rule, 2020.

Arithmetic: loads are integers in units of 1/scale, `scale` a power of two of at least 2^64 times all stake,
so that a score has 64 significant bits and more. Scores are rounded down: together the ballots never carry
more than the number elected. Equal scores go to the most approving stake, then to who joined first, then to
the least account. The order in which ballots and candidates are given has no influence on anything.

Cost: at most (seats + standing by) * candidates divisions and ballots * approvals^2 / 2 additions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from consensus.primitives.ids import Hash, PublicKey

SIGNIFICANT_BITS: Final = 64  # of a score; rounding never amounts to more than one part in 2^64

Backing = Mapping[Hash, Mapping[PublicKey, int]]
"""Ballot → its elected members → units behind each; a ballot that elected anybody is behind them with all of
its stake, one that did not is behind nobody."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """The stake of all who approve the same candidates. No stake, or nobody approved who stands: no vote."""

    name: Hash
    stake: int
    approved: tuple[PublicKey, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who may be elected; among equals the one that joined first, then the least account."""

    account: PublicKey
    joined_height: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Who is elected and who would be next, each in order, and the stake behind those elected."""

    elected: tuple[PublicKey, ...]
    standby: tuple[PublicKey, ...]
    backing: Backing


def elect(
    ballots: Iterable[Ballot], candidates: Iterable[Candidate], *, seats: int, standby: int = 0
) -> Outcome:
    """Elect at most `seats` of the candidates, and rank at most `standby` more. Who has no stake behind it is
    not elected. Names of ballots and accounts of candidates must each be distinct, else ValueError."""
    voters = sorted((each for each in ballots if each.stake), key=lambda each: each.name)
    stands = list(candidates)
    approving = {each.account: 0 for each in stands}
    if len(approving) != len(stands) or len({each.name for each in voters}) != len(voters):
        raise ValueError("two ballots of one name, or two candidates of one account")
    choices = [[each for each in dict.fromkeys(voter.approved) if each in approving] for voter in voters]
    for voter, choice in zip(voters, choices, strict=True):
        for account in choice:
            approving[account] += voter.stake
    stands = [each for each in stands if approving[each.account]]
    stands.sort(key=lambda each: (-approving[each.account], each.joined_height, each.account))
    count = _Count(
        accounts=[each.account for each in stands],
        approving=[approving[each.account] for each in stands],
        stakes=[each.stake for each in voters],
        choices=choices,
    )
    order = count.run(seats + standby)
    return Outcome(
        elected=tuple(order[:seats]),
        standby=tuple(order[seats:]),
        backing={
            voter.name: backing
            for index, voter in enumerate(voters)
            if (backing := count.backing(index, frozenset(order[:seats])))
        },
    )


class _Count:
    """The rounds of one election; ballots and candidates are known by index, the latter in order of ties."""

    def __init__(
        self,
        *,
        accounts: list[PublicKey],
        approving: list[int],
        stakes: list[int],
        choices: list[list[PublicKey]],
    ) -> None:
        self._accounts = accounts
        self._approving = approving  # stake, of all ballots that approve a candidate
        self._stakes = stakes
        self._scale = 1 << (SIGNIFICANT_BITS + sum(stakes).bit_length())
        self._loads = [0] * len(stakes)  # for each unit of a ballot's stake
        self._steps: list[list[tuple[PublicKey, int]]] = [
            [] for _ in stakes
        ]  # who was elected, load after it
        self._carried = [0] * len(accounts)  # by candidate: stake * load of all who approve it
        indices = {account: index for index, account in enumerate(accounts)}
        self._waiting = [
            [indices[each] for each in choice] for choice in choices
        ]  # approved, not yet elected
        self._supporters: list[list[int]] = [[] for _ in accounts]
        for ballot, waiting in enumerate(self._waiting):
            for candidate in waiting:
                self._supporters[candidate].append(ballot)

    def run(self, rounds: int) -> list[PublicKey]:
        """Elect one after the other."""
        remaining = list(range(len(self._accounts)))
        order: list[PublicKey] = []
        scale, carried, approving = self._scale, self._carried, self._approving
        while remaining and len(order) < rounds:
            scores = [(scale + carried[each]) // approving[each] for each in remaining]
            score = min(scores)
            chosen = remaining.pop(scores.index(score))
            order.append(self._accounts[chosen])
            self._elect(chosen, score)
        return order

    def _elect(self, chosen: int, score: int) -> None:
        """All supporters now carry `score`; a score never falls, so that none of them carried more."""
        account, carried, loads = self._accounts[chosen], self._carried, self._loads
        for ballot in self._supporters[chosen]:
            waiting = self._waiting[ballot]
            waiting.remove(chosen)
            rise = self._stakes[ballot] * (score - loads[ballot])
            loads[ballot] = score
            self._steps[ballot].append((account, score))
            for each in waiting:
                carried[each] += rise

    def backing(self, ballot: int, elected: frozenset[PublicKey]) -> dict[PublicKey, int]:
        """A ballot's stake behind the elected that it approved, in order of election.

        In proportion to the load that each of them caused. What the first i of them get together is rounded
        down: so the parts add up to the stake, and none is a whole unit off.
        """
        steps = [(account, load) for account, load in self._steps[ballot] if account in elected]
        if not steps:
            return {}
        stake, whole, given = self._stakes[ballot], steps[-1][1], 0
        parts: dict[PublicKey, int] = {}
        for account, load in steps:
            upto = stake * load // whole
            parts[account] = upto - given
            given = upto
        return parts
