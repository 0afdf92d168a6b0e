"""Delegators: one account stands for all who back one validator, and moves to where more is earned.

A crowd moves a part of its stake each epoch, which bounds its speed, and goes by what it saw: the yield of
the last epoch, or only the commission that validators show. What has moved is bound for three weeks, as the
chain has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from bench.economics.agents import START, Agent
from bench.economics.world import Holder, Seat, World
from consensus.primitives.ids import Amount, PublicKey
from consensus.relay.parameters import BILLION
from consensus.relay.stake.records import Standing, main_pool
from consensus.relay.stake.stakes import Stakes
from consensus.relay.stake.transactions import Delegate, Redelegate

if TYPE_CHECKING:
    from bench.economics.play import Play

PACE: Final = 0.1  # of what is behind a validator, the part that may move in one epoch
PATIENCE: Final = 1.02  # how much more another has to yield
_MOVES: Final = 14  # epochs in which a crowd moves: a nomination lists no more moves than some


class Yields:
    """What a unit behind each validator has earned in the last epoch; looked at once an epoch by anybody."""

    def __init__(self) -> None:
        self._seen: dict[PublicKey, int] = {}
        self._epoch = 0
        self.last: Mapping[PublicKey, float] = {}

    def observe(self, world: World) -> Mapping[PublicKey, float]:
        """Yield of the last epoch by validator, as its main pool has it."""
        if world.epoch != self._epoch:
            self._epoch = world.epoch
            seen, last = {}, {}
            for account in world.members:
                pool = world.stakes.pool(main_pool(Stakes.own(account)))
                if pool is None or not pool.tokens:
                    continue
                seen[account] = pool.reward_per_share
                grown = (pool.reward_per_share - self._seen.get(account, pool.reward_per_share)) / 2**64
                last[account] = grown * pool.shares / pool.tokens
            self._seen, self.last = seen, last
        return self.last


class Crowd(Agent):
    """Those who back `home` with `units`. `watchful`: they go by yields, otherwise by what is shown."""

    name = "delegators"
    about = "follow the best net yield, a tenth of their stake an epoch"

    def __init__(
        self,
        home: Seat,
        purse: Holder,
        units: int,
        yields: Yields,
        *,
        number: int,
        watchful: bool,
        moves: bool,
    ) -> None:
        super().__init__((), purse)
        self.home: Final = home
        self.units: Final = units
        self._yields = yields
        self._number = number
        self._watchful = watchful
        self._left = _MOVES if moves else 0

    def delegate(self, world: World) -> None:
        """Come to their validator."""
        action = Delegate(validators=(self.home.account,), amount=Amount(self.units))
        world.submit(self.purse, action)

    def act(self, play: Play) -> None:
        """In the middle of an epoch, once all is over that its turn has changed."""
        world = play.world
        if world.place != 9:
            return
        seen = self._yields.observe(world)
        if world.epoch < START or not self._left:
            return
        if not self._watchful:
            seen = {each: _shown(world, each) for each in seen}
        here = seen.get(self.home.account, 0.0)
        active = {
            each: value
            for each, value in seen.items()
            if world.stakes.existing(each).standing == Standing.ACTIVE
        }
        best = max(active.values(), default=0.0)
        if best <= here * PATIENCE:
            return
        choice = sorted(each for each, value in active.items() if value * PATIENCE >= best)
        self._move(world, choice[self._number % len(choice)])

    def _move(self, world: World, to: PublicKey) -> None:
        own = Stakes.own(self.home.account)
        units = int(world.stakes.value(main_pool(own), self.purse.account) * PACE)
        if units >= world.parameters.min_nomination and to != self.home.account:
            self._left -= 1
            action = Redelegate(nomination=own, validators=(to,), amount=Amount(units))
            world.submit(self.purse, action)


def _shown(world: World, account: PublicKey) -> float:
    return 1 - world.stakes.existing(account).commission_ppb / BILLION
