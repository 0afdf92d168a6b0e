"""An agent operates validators. This one is honest; each attack overrides what it does otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from bench.economics.world import Holder, Seat, World
from consensus.agreement.statements import Verdict
from consensus.primitives.ids import Amount, PublicKey, ValidatorIndex
from consensus.relay.parameters import BILLION
from consensus.relay.rewards.transactions import ClaimCommission
from consensus.relay.stake.records import Standing, ValidatorRecord, possession_bytes
from consensus.relay.stake.transactions import (
    DEFAULT_COMMISSION_STEP_PPB,
    Bond,
    SetCommission,
    Unjail,
)

if TYPE_CHECKING:
    from bench.economics.play import Play

USUAL_COMMISSION_PPB: Final = 50_000_000  # what honest operators take, and raise it to step by step
START: Final = 8  # epoch from which on agents are measured, and attack


class Agent:
    """Operators of `seats` with a `purse` beside them. Honest: votes, attests, includes, reports."""

    name: ClassVar[str] = "honest"
    about: ClassVar[str] = "votes, attests the truth, includes all votes, reports offences"
    reports: ClassVar[bool] = True  # its leaders include evidence
    commission_ppb: ClassVar[int] = USUAL_COMMISSION_PPB  # what it bonds with
    commission_step_ppb: ClassVar[int] = DEFAULT_COMMISSION_STEP_PPB
    borrowed_ppb: ClassVar[int] = 0  # of the stake behind its seats, its delegators'
    moving: ClassVar[bool] = False  # whether delegators, everybody's, move
    watchful: ClassVar[bool] = True  # whether they go by yields rather than by what is shown
    stray_ppb: ClassVar[int] = 0  # of its capital, delegated to its seats by its purse
    beside: ClassVar[str] = "honest"  # the agent that it is compared with
    attacks: ClassVar[bool] = False  # whether it does what the rules are to make unprofitable
    invalid: ClassVar[tuple[int, ...]] = ()  # epochs in which a candidate is not valid

    def __init__(self, seats: Sequence[Seat], purse: Holder) -> None:
        self.seats: Final = seats
        self.purse: Final = purse

    @property
    def accounts(self) -> list[PublicKey]:
        """All that it owns."""
        return [self.purse.account, *(each.account for each in self.seats)]

    def wealth(self, world: World) -> int:
        """Units that are its own."""
        return sum(world.wealth(each) for each in self.accounts)

    # --- what honest ones do, too

    def bond(self, world: World, seat: Seat, units: int) -> None:
        """Become a validator with this stake."""
        message = possession_bytes(world.hash, seat.account)
        action = Bond(
            name=seat.operator.name,
            consensus_key=seat.consensus.public,
            identity_key=seat.identity.public,
            address="",
            amount=Amount(units),
            consensus_proof=seat.consensus.sign(message),
            identity_proof=seat.identity.sign(message),
            commission_ppb=self.commission_ppb,
            commission_step_ppb=self.commission_step_ppb,
        )
        world.submit(seat.operator, action)

    def act(self, play: Play) -> None:
        """Before each block. An operator raises its commission to the usual, and comes back from jail."""
        world = play.world
        if world.place != 1:
            return
        for each in self.seats:
            record = world.stakes.validator(each.account)
            if record is None:
                continue
            target = self.target_ppb(world)
            if record.commission_ppb < target:
                asked = min(target, record.commission_ppb + step_of(world, record))
                world.submit(each.operator, SetCommission(commission_ppb=asked))
            if record.standing == Standing.JAILED and world.epoch >= record.jailed_until:
                world.submit(each.operator, Unjail())

    def target_ppb(self, world: World) -> int:
        """The commission that it wants by now."""
        return self.commission_ppb

    def votes(self, play: Play, seat: Seat) -> bool:
        """Whether its vote for the block that is counted arrives."""
        return True

    def verdict(self, play: Play, truth: Verdict) -> Verdict | None:
        """What its validators sign of a candidate."""
        return truth

    def chosen(self, play: Play, offered: list[ValidatorIndex], *, first: bool) -> list[ValidatorIndex]:
        """Which of the votes on offer its leader includes; `first` before any are in."""
        return offered


def step_of(world: World, record: ValidatorRecord) -> int:
    """The most that a validator's commission may change in this epoch."""
    return min(record.commission_step_ppb, world.parameters.commission_step_ppb)


class Collector(Agent):
    """An honest operator that claims its commission at every turn: claiming costs its fee and no more."""

    name = "claiming"
    about = "claims its commission every epoch"

    def act(self, play: Play) -> None:
        """Claim, too."""
        super().act(play)
        if play.world.place == 2:
            for each in self.seats:
                play.world.submit(each.operator, ClaimCommission())


class Cheap(Agent):
    """An honest operator that takes a commission of 1 %, for all to see."""

    name = "cheap"
    about = "takes 1 % instead of 5 %"
    commission_ppb = 10_000_000
    borrowed_ppb = BILLION // 2
    moving = True
    watchful = False
