"""All agents on one chain for hundreds of epochs: who is the richer for it in the end.

What leaders earn beside their votes is taken out (`cases.WITHOUT_LUCK`), so that turns of the lead do not
hide a hundredth of a year's yield; withholding, which is about nothing else, is in the table alone.
"""

from dataclasses import dataclass
from typing import Final

from bench.economics import conduct, offending
from bench.economics.agents import START, Agent
from bench.economics.cases import WITHOUT_LUCK, parameters_with
from bench.economics.stage import Party, stage
from consensus.relay.parameters import BILLION

EPOCHS: Final = 365
SHARE: Final = BILLION * 5 // 200  # of all stake, of each agent
KINDS: Final = (
    Agent,
    conduct.Lazy,
    conduct.Idle,
    conduct.Blind,
    conduct.Stuffing,
    conduct.Greedy,
    conduct.Switching,
    offending.Doubling,
    offending.Confessing,
    offending.Leaving,
    offending.Spamming,
    offending.Accusing,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What became of one agent: its wealth at the end of every epoch, in parts of what it began with."""

    agent: str
    wealth: tuple[float, ...]
    slashed: int  # units, from all that stood behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What became of all of them. Units were conserved, or it would not be here."""

    epochs: int
    histories: tuple[History, ...]
    issued: int  # units, meanwhile
    burnt: int


def trade(epochs: int = EPOCHS, seed: int = 0) -> Market:
    """Run the market. Each agent has `SHARE` of all stake, half of it its delegators', who move."""
    parties = [Party(kind=kind, share_ppb=SHARE, borrowed_ppb=BILLION // 2) for kind in KINDS]
    staged = stage(parties, parameters_with(WITHOUT_LUCK), moving=True, watchful=True, seed=seed)
    play, world = staged.play, staged.world
    play.to_epoch(START)
    first, before = [each.wealth(world) for each in staged.agents], world.supply()
    wealth = [[1.0] for _ in parties]
    for epoch in range(START, START + epochs):
        play.to_epoch(epoch + 1)
        for line, agent, start in zip(wealth, staged.agents, first, strict=True):
            line.append(agent.wealth(world) / start)
    after = world.supply()
    return Market(
        epochs=epochs,
        histories=tuple(
            History(agent=agent.name, wealth=tuple(line), slashed=play.slashed(agent))
            for agent, line in zip(staged.agents, wealth, strict=True)
        ),
        issued=after.issued - before.issued,
        burnt=after.burnt - before.burnt,
    )
