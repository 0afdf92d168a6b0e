"""One agent with a share of all stake among honest validators, and what it has in the end.

Whatever it does is compared with an honest agent of the same capital, in the same world, under the same
parameters: the difference is what the conduct brings, or what a bribe had to make up for.
"""

from dataclasses import dataclass, replace
from typing import Final

from bench.economics import conduct, offending
from bench.economics.agents import START, Agent, Cheap, Collector
from bench.economics.stage import Party, stage
from consensus.relay.parameters import BILLION, Parameters
from consensus.relay.receipts import Code

LARGEST: Final = BILLION // 10  # of all stake, behind one validator of an agent's
EPOCHS: Final = 45  # long enough to leave, wait and be paid out
SHARES: Final = tuple(BILLION * percent // 100 for percent in (1, 5, 10, 20, 33, 40))
Changes = tuple[tuple[str, int], ...]  # names and values of parameters
WITHOUT_LUCK: Final = (("reward_block_ppb", 0), ("reward_inclusion_ppb", 0))
AGENTS: Final[dict[str, type[Agent]]] = {
    each.name: each
    for each in (
        Agent,
        Collector,
        Cheap,
        conduct.Lazy,
        conduct.Idle,
        conduct.Copying,
        conduct.Blind,
        conduct.Withholding,
        conduct.Stuffing,
        conduct.Greedy,
        conduct.Switching,
        offending.Doubling,
        offending.Borrowing,
        offending.Confessing,
        offending.Softening,
        offending.Leaving,
        offending.Moving,
        offending.LastMoment,
        offending.Spamming,
        offending.Accusing,
        offending.Stalling,
    )
}


def parameters_with(changes: Changes) -> Parameters:
    """The default parameters with some changes."""
    return replace(Parameters(), **dict(changes))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is simulated. Shares are parts per billion of all stake."""

    agent: str
    share_ppb: int = LARGEST
    epochs: int = EPOCHS
    seats: int = 0  # validators of the agent; 0: as few as `LARGEST` allows
    borrowed_ppb: int = 0  # of the share, its delegators' stake
    moving: bool = False  # whether delegators move
    watchful: bool = True  # whether they go by yields rather than by what is shown
    changes: Changes = ()  # parameters that differ from the default
    seed: int = 0

    @property
    def honest(self) -> "Case":
        """The same for the honest agent that it is compared with."""
        return replace(self, agent=AGENTS[self.agent].beside)

    @property
    def parameters(self) -> Parameters:
        """The defaults, with the changes."""
        return parameters_with(self.changes)


def case_of(agent: str, share_ppb: int, **terms: object) -> Case:
    """A case of one of AGENTS, with the delegators that it needs.

    Where these move, so does voting power, and with it the leaders' turns. What leaders earn beside their
    votes is then taken out, `WITHOUT_LUCK`: it has nothing to do with commissions, and would drown them.
    """
    kind = AGENTS[agent]
    if kind.moving:
        terms["changes"] = (*WITHOUT_LUCK, *terms.get("changes", ()))  # type: ignore[misc]
    case = Case(
        agent=agent,
        share_ppb=share_ppb,
        borrowed_ppb=kind.borrowed_ppb,
        moving=kind.moving,
        watchful=kind.watchful,
    )
    return replace(case, **terms)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a case, in units, from `START` on."""

    case: Case
    capital: int  # the agent's own units at the start
    profit: int
    rivals_profit: int  # of all honest validators together
    delegators_profit: int  # of those behind the agent
    slashed: int  # cut from all that stood behind the agent
    undecided: int  # candidates that got no verdict
    halted: int  # counted blocks that a real chain would not have had: too few voted
    refused: int  # transactions that failed

    @property
    def yearly(self) -> float:
        """The profit as a part of the capital, in a year; nothing compounds."""
        return self.profit / self.capital * 365.25 / self.case.epochs


def simulate(case: Case) -> Outcome:
    """Run a case to its end. Raises AssertionError if units are not conserved."""
    party = Party(
        kind=AGENTS[case.agent],
        share_ppb=case.share_ppb,
        seats=case.seats or -(-case.share_ppb // LARGEST),
        borrowed_ppb=case.borrowed_ppb,
    )
    staged = stage([party], case.parameters, moving=case.moving, watchful=case.watchful, seed=case.seed)
    play, world, (agent,) = staged.play, staged.world, staged.agents
    play.to_epoch(START)
    behind = staged.behind(agent)
    before = agent.wealth(world), staged.wealth(staged.rivals), staged.wealth(behind)
    play.to_epoch(START + case.epochs)
    after = agent.wealth(world), staged.wealth(staged.rivals), staged.wealth(behind)
    profits = [late - early for late, early in zip(after, before, strict=True)]
    return Outcome(
        case=case,
        capital=before[0],
        profit=profits[0],
        rivals_profit=profits[1],
        delegators_profit=profits[2],
        slashed=play.slashed(agent),
        undecided=play.undecided,
        halted=play.halted,
        refused=sum(count for code, count in world.codes.items() if code is not Code.OK),
    )
