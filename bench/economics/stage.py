"""Sets a scene: agents with their capital among honest validators, and delegators behind both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.economics.agents import Agent
from bench.economics.crowd import Crowd, Yields
from bench.economics.play import Play
from bench.economics.world import POCKET, STAKED, World, holder, seat
from consensus.primitives.ids import Amount
from consensus.relay.parameters import BILLION, Parameters
from consensus.relay.stake.transactions import Delegate

RIVALS: Final = 8  # honest validators beside the agents' own


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """An agent to be, and what it begins with."""

    kind: type[Agent]
    share_ppb: int  # of all stake, behind its seats
    seats: int = 1
    borrowed_ppb: int = 0  # of the share, its delegators'

    @property
    def stake(self) -> int:
        """Units behind each of its seats."""
        return STAKED * self.share_ppb // BILLION // self.seats

    @property
    def borrowed(self) -> int:
        """Of these, its delegators'."""
        return self.stake * self.borrowed_ppb // BILLION

    @property
    def stray(self) -> int:
        """Of these, its own purse's."""
        return self.stake * self.kind.stray_ppb // BILLION

    @property
    def bonded(self) -> int:
        """Of these, the seat's own."""
        return self.stake - self.borrowed - self.stray


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A scene that is set: two blocks old."""

    world: World
    play: Play
    agents: Sequence[Agent]  # of the parties, in their order
    rivals: Sequence[Agent]
    crowds: Sequence[Crowd]

    def behind(self, agent: Agent) -> list[Crowd]:
        """The delegators who came to an agent."""
        return [each for each in self.crowds if each.home in agent.seats]

    def wealth(self, agents: Sequence[Agent]) -> int:
        """Units that are theirs."""
        return sum(each.wealth(self.world) for each in agents)


def stage(
    parties: Sequence[Party], parameters: Parameters, *, moving: bool, watchful: bool, seed: int
) -> Stage:
    """Bond the parties' seats beside RIVALS honest ones that share what is left of all stake. If delegators
    are `moving`, half of an honest validator's stake is theirs, too."""
    agents = [
        party.kind(
            [seat(f"agent-{number}-{index}") for index in range(party.seats)], holder(f"purse-{number}")
        )
        for number, party in enumerate(parties)
    ]
    rivals = [Agent([seat(f"rival-{number}")], holder(f"rival-purse-{number}")) for number in range(RIVALS)]
    each_rival = (STAKED - sum(party.stake * party.seats for party in parties)) // RIVALS
    lent = each_rival // 2 if moving else 0
    yields = Yields()
    homes = [
        (each, party.borrowed) for agent, party in zip(agents, parties, strict=True) for each in agent.seats
    ]
    homes += [(each.seats[0], lent) for each in rivals]
    crowds = [
        Crowd(
            home,
            holder(f"crowd-{number}"),
            units,
            yields,
            watchful=watchful,
            moves=moving,
        )
        for number, (home, units) in enumerate(homes)
        if units
    ]
    purses = [(each.purse, each.units + POCKET) for each in crowds]
    for agent, party in zip(agents, parties, strict=True):
        purses += [(each.operator, party.bonded + POCKET) for each in agent.seats]
        purses.append((agent.purse, party.stray * party.seats + POCKET))
    world = World(parameters, [(each.seats[0], each_rival - lent) for each in rivals], purses, seed)
    _bond(world, agents, parties, crowds)
    invalid = {epoch for agent in agents for epoch in agent.invalid}
    play = Play(world, [*agents, *rivals, *crowds], invalid)
    return Stage(world=world, play=play, agents=agents, rivals=rivals, crowds=crowds)


def _bond(world: World, agents: Sequence[Agent], parties: Sequence[Party], crowds: Sequence[Crowd]) -> None:
    for agent, party in zip(agents, parties, strict=True):
        for each in agent.seats:
            agent.bond(world, each, party.bonded)
    world.block()
    for crowd in crowds:
        crowd.delegate(world)
    for agent, party in zip(agents, parties, strict=True):
        for each in agent.seats if party.stray else ():
            world.submit(agent.purse, Delegate(validators=(each.account,), amount=Amount(party.stray)))
    world.block()
