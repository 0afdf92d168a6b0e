"""Delegators: one account stands for all who back one validator, and moves to where more is earned.

A crowd moves a part of its stake each epoch, which bounds its speed, and goes by what it saw: the yield of
the last epoch, or only the commission that validators show. What has moved is bound for three weeks, as the
chain has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from bench.economics.agents import START, Agent
from bench.economics.world import EPOCH_BLOCKS, Holder, Seat, World
from consensus.primitives.ids import Amount, Epoch, PublicKey
from consensus.relay.epochs import find_epoch_members
from consensus.relay.parameters import BILLION
from consensus.relay.rewards.participation import participation
from consensus.relay.stake.records import MAX_MOVES, Standing, main_pool
from consensus.relay.stake.stakes import Stakes
from consensus.relay.stake.transactions import Delegate, Redelegate, Withdraw

if TYPE_CHECKING:
    from bench.economics.play import Play

PACE: Final = 0.25  # of what is behind a validator, the part that may move in one epoch
PATIENCE: Final = 1.02  # how much more another has to yield
_BUSY: Final = MAX_MOVES // 2  # moves that a validator has coming: others of the same epoch come on top
_MIDDLE: Final = EPOCH_BLOCKS // 2


class Yields:
    """What a unit behind each validator could expect of the last epoch: what the commission that was taken
    left, in the part of the votes that were cast. A leader's luck evens out, and is left out."""

    def __init__(self) -> None:
        self._epoch = 0
        self.last: Mapping[PublicKey, float] = {}

    def observe(self, world: World) -> None:
        """Look at the state after an epoch's last block; looked at once, by whoever is first."""
        if world.epoch == self._epoch:
            return
        self._epoch = world.epoch
        ended = Epoch(world.epoch - 1)
        members = find_epoch_members(world.ledger, ended)
        counted = participation(world.ledger, ended)
        if members is None or counted is None:
            return
        self.last = {
            each.account: shown(world, each.account) * (part.seen / part.expected if part.expected else 1)
            for each, part in zip(members.members, counted, strict=True)
        }


class Crowd(Agent):
    """Those who back `home` with `units`. `watchful`: they go by yields, otherwise by what is shown."""

    name = "delegators"
    about = "follow the best net yield, a quarter of their stake an epoch"

    def __init__(
        self,
        home: Seat,
        purse: Holder,
        units: int,
        yields: Yields,
        *,
        watchful: bool,
        moves: bool,
    ) -> None:
        super().__init__((), purse)
        self.home: Final = home
        self.units: Final = units
        self._yields = yields
        self._watchful = watchful
        self._moves = moves

    def delegate(self, world: World) -> None:
        """Come to their validator."""
        action = Delegate(validators=(self.home.account,), amount=Amount(self.units))
        world.submit(self.purse, action)

    def act(self, play: Play) -> None:
        """Look back in an epoch's first block; move in the middle, when all show what they want seen."""
        world = play.world
        if world.place == 1:
            self._yields.observe(world)
        if world.place != _MIDDLE or world.epoch < START or not self._moves:
            return
        now = {each: shown(world, each) for each in self._yields.last}
        seen = self._yields.last if self._watchful else now
        active = {
            each: seen[each] for each in seen if world.stakes.existing(each).standing == Standing.ACTIVE
        }
        held = {each.pool for each in world.stakes.held_by(self.purse.account)}
        for here in sorted(seen):
            if main_pool(Stakes.own(here)) in held:
                self._move(world, here, self._better(world, active, active.get(here, 0.0) * PATIENCE))
        if any(each.last_epoch for each in world.stakes.held_by(self.purse.account)):
            world.submit(self.purse, Withdraw())  # what moved long enough ago may move again

    @staticmethod
    def _better(world: World, active: Mapping[PublicKey, float], least: float) -> PublicKey | None:
        """The best that takes anybody in: a nomination lists no more than MAX_MOVES moves into it."""
        found = [each for each, value in active.items() if value > least and _moves_into(world, each) < _BUSY]
        return min(found, key=lambda each: (-active[each], _moves_into(world, each), each), default=None)

    def _move(self, world: World, here: PublicKey, to: PublicKey | None) -> None:
        own = Stakes.own(here)
        units = int(world.stakes.value(main_pool(own), self.purse.account) * PACE)
        if to is not None and units >= world.parameters.min_nomination:
            action = Redelegate(nomination=own, validators=(to,), amount=Amount(units))
            world.submit(self.purse, action)


def _moves_into(world: World, account: PublicKey) -> int:
    name = Stakes.own(account)
    record = world.stakes.nominated.live(name, now=world.epoch, now_ms=world.now_ms)
    return 0 if record is None else len(record.incoming)


def shown(world: World, account: PublicKey) -> float:
    """The part that a validator's commission leaves to delegators, as its record has it now."""
    return 1 - world.stakes.existing(account).commission_ppb / BILLION
