"""One agent with a share of all stake among honest validators, and what it has in the end.

Whatever it does is compared with an honest agent of the same capital, in the same world, under the same
parameters: the difference is what the conduct brings, or what a bribe had to make up for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.economics import conduct, offending
from bench.economics.agents import START, Agent, Collector
from bench.economics.crowd import Crowd, Yields
from bench.economics.play import Play
from bench.economics.world import POCKET, STAKED, World, holder, seat
from consensus.primitives.ids import Amount
from consensus.relay.parameters import BILLION, Parameters
from consensus.relay.receipts import Code
from consensus.relay.stake.transactions import Delegate

RIVALS: Final = 8  # honest validators beside the agent's own
LARGEST: Final = BILLION // 10  # of all stake, behind one validator of the agent's
EPOCHS: Final = 45  # long enough to leave, wait and be paid out
SHARES: Final = tuple(BILLION * percent // 100 for percent in (1, 5, 10, 20, 33, 40))
AGENTS: Final[dict[str, type[Agent]]] = {
    each.name: each
    for each in (
        Agent,
        Collector,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is simulated. Shares are parts per billion of all stake."""

    agent: str = Agent.name
    share_ppb: int = LARGEST
    epochs: int = EPOCHS
    borrowed_ppb: int = 0  # of the share, its delegators' stake
    seats: int = 0  # validators of the agent; 0: as few as `LARGEST` allows
    rivals: int = RIVALS
    moving: bool = False  # whether delegators move
    watchful: bool = True  # whether they go by yields rather than by what is shown
    changes: tuple[tuple[str, int], ...] = ()  # parameters that differ from the default
    seed: int = 0

    @property
    def honest(self) -> "Case":
        """The same for an honest agent."""
        return replace(self, agent=Agent.name)

    @property
    def parameters(self) -> Parameters:
        """The defaults, with the changes."""
        return replace(Parameters(), **dict(self.changes))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a case, in units, from `START` on."""

    case: Case
    capital: int  # the agent's own units at the start
    profit: int
    rivals_profit: int  # of all honest validators together
    crowd_profit: int  # of the agent's delegators
    crowd_capital: int
    slashed: int  # cut from all that stood behind the agent
    undecided: int  # candidates that got no verdict
    refused: int  # transactions that failed
    wealth: tuple[int, ...]  # the agent's, at the end of every epoch

    @property
    def yearly(self) -> float:
        """The profit as a part of the capital, in a year; nothing compounds."""
        return self.profit / self.capital * 365.25 / self.case.epochs


def simulate(case: Case) -> Outcome:
    """Run a case to its end. Raises AssertionError if units are not conserved."""
    world, agent, rivals, crowds = _stage(case)
    play = Play(world, [agent, *rivals, *crowds], agent.invalid)
    play.to_epoch(START)
    mine = [each for each in crowds if each.home in agent.seats]
    capital, rival, crowd = agent.wealth(world), _wealth(rivals, world), _wealth(mine, world)
    wealth = [capital]
    for epoch in range(START, START + case.epochs):
        play.to_epoch(epoch + 1)
        wealth.append(agent.wealth(world))
    return Outcome(
        case=case,
        capital=capital,
        profit=wealth[-1] - capital,
        rivals_profit=_wealth(rivals, world) - rival,
        crowd_profit=_wealth(mine, world) - crowd,
        crowd_capital=crowd,
        slashed=sum(play.slashed.get(each.account, 0) for each in agent.seats),
        undecided=play.undecided,
        refused=sum(count for code, count in world.codes.items() if code is not Code.OK),
        wealth=tuple(wealth),
    )


def _wealth(agents: Sequence[Agent], world: World) -> int:
    return sum(each.wealth(world) for each in agents)


def _stage(case: Case) -> tuple[World, Agent, list[Agent], list[Crowd]]:
    kind = AGENTS[case.agent]
    count = case.seats or -(-case.share_ppb // LARGEST)
    each_ppb = case.share_ppb // count
    agent = kind([seat(f"agent-{number}") for number in range(count)], holder("agent-purse"))
    rivals = [
        Agent([seat(f"rival-{number}")], holder(f"rival-purse-{number}")) for number in range(case.rivals)
    ]
    stake, other = STAKED * each_ppb // BILLION, STAKED * (BILLION - case.share_ppb) // BILLION // case.rivals
    borrowed, stray = stake * case.borrowed_ppb // BILLION, stake * kind.stray_ppb // BILLION
    lent = other * case.borrowed_ppb // BILLION if case.moving else 0
    crowds = _crowds(case, agent, rivals, borrowed, lent)
    world = World(
        case.parameters,
        [(each.seats[0], other - lent) for each in rivals],
        [
            *((each.operator, stake - borrowed - stray + POCKET) for each in agent.seats),
            *((each.purse, POCKET) for each in rivals),
            *((each.purse, each.units + POCKET) for each in crowds),
            (agent.purse, stray * count + POCKET),
        ],
        case.seed,
    )
    for each in agent.seats:
        agent.bond(world, each, stake - borrowed - stray)
    world.block()
    for crowd in crowds:
        crowd.delegate(world)
    for each in agent.seats:
        if stray:
            world.submit(agent.purse, Delegate(validators=(each.account,), amount=Amount(stray)))
    world.block()
    return world, agent, rivals, crowds


def _crowds(case: Case, agent: Agent, rivals: Sequence[Agent], borrowed: int, lent: int) -> list[Crowd]:
    yields = Yields()
    homes = [(each, borrowed) for each in agent.seats] + [(each.seats[0], lent) for each in rivals]
    return [
        Crowd(
            home,
            holder(f"crowd-{number}"),
            units,
            yields,
            number=number,
            watchful=case.watchful,
            moves=case.moving,
        )
        for number, (home, units) in enumerate(homes)
        if units
    ]
