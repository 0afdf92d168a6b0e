"""Who counts for how much in a vote, and what was decided: plain numbers, in units of stake (DESIGN.md 8).

A member of the proposal's epoch speaks for all stake that its exposure of that epoch says is behind it.
A delegator that votes for itself takes its tokens out of what its nomination gives to members:

    taken(n)        min(own votes of n, edges of n)              so nobody finds more than there was
    from a member   the running-sum split of taken(n) over n's edges: together exactly taken(n)
    to the choices  the running-sum split of taken(n) over n's own votes

Every split is a difference of rounded-down running sums (`pools.shared_out`), so that

    yes + no + abstain + veto + silent = total                   to the unit, always.

What passes is Cosmos's rule (Cosmos SDK, x/gov, "Tally"): a quorum of all stake; more than the threshold of
what did not abstain says yes; no more than the veto's part of all votes is a veto. Fractions are compared by
cross-multiplying: nothing is rounded.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from consensus.primitives.codec import U128
from consensus.primitives.ids import Hash
from consensus.relay.governance.transactions import Choice
from consensus.relay.parameters import BILLION
from consensus.relay.stake.pools import shared_out

CHOICES: Final = tuple(Choice)
Sums = tuple[int, int, int, int]  # units for each choice, in their order
NOTHING: Final[Sums] = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteCount:
    """Units of stake by what they said; the rest of `total` said nothing."""

    total: U128
    yes: U128
    no: U128
    abstain: U128
    veto: U128

    @property
    def turnout(self) -> int:
        """Units that said anything."""
        return self.yes + self.no + self.abstain + self.veto


class Decision(enum.IntEnum):
    """What a vote decided. Only the first takes effect; the last two cost the deposit."""

    PASSED = 1
    REJECTED = 2
    NO_QUORUM = 3
    VETOED = 4

    @property
    def burns_deposit(self) -> bool:
        """Whether the proposer loses the deposit: it asked for what nobody cared about, or worse."""
        return self in (Decision.NO_QUORUM, Decision.VETOED)


@dataclass(frozen=True, slots=True)
class MemberVote:
    """One member: the stake behind it, by nomination, and what it said, if it did."""

    edges: Sequence[tuple[Hash, int]]
    choice: Choice | None


def tally(members: Sequence[MemberVote], own_votes: Mapping[Hash, Sums]) -> VoteCount:
    """Count. `own_votes`: units for each choice that delegators of a nomination cast themselves."""
    edges: dict[Hash, list[int]] = {}
    for member in members:
        for name, amount in member.edges:
            edges.setdefault(name, []).append(amount)
    parts = {name: iter(_taken(edges[name], sums)) for name, sums in own_votes.items() if name in edges}
    counted = dict.fromkeys(CHOICES, 0)
    for name in parts:
        taken = min(sum(own_votes[name]), sum(edges[name]))
        for choice, units in zip(CHOICES, shared_out(taken, list(own_votes[name])), strict=True):
            counted[choice] += units
    for member in members:
        left = sum(amount - (next(parts[name]) if name in parts else 0) for name, amount in member.edges)
        if member.choice is not None:
            counted[member.choice] += left
    return VoteCount(
        total=sum(sum(each) for each in edges.values()),
        yes=counted[Choice.YES],
        no=counted[Choice.NO],
        abstain=counted[Choice.ABSTAIN],
        veto=counted[Choice.VETO],
    )


def _taken(edges: list[int], sums: Sums) -> list[int]:
    """What each edge of a nomination loses to those who vote for themselves."""
    return shared_out(min(sum(sums), sum(edges)), edges)


def decide(tally: VoteCount, *, quorum_ppb: int, threshold_ppb: int, veto_ppb: int) -> Decision:
    """What a count means."""
    if tally.turnout * BILLION < quorum_ppb * tally.total or not tally.turnout:
        return Decision.NO_QUORUM
    if tally.veto * BILLION > veto_ppb * tally.turnout:
        return Decision.VETOED
    decisive = tally.turnout - tally.abstain
    return Decision.PASSED if tally.yes * BILLION > threshold_ppb * decisive else Decision.REJECTED
