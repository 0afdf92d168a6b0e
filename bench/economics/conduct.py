"""Agents that break no rule which two signatures or a verdict could prove, and take what they can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.economics.agents import START, Agent, Cheap, step_of
from bench.economics.world import EPOCH_BLOCKS, Seat, World
from consensus.agreement.statements import Verdict
from consensus.primitives.ids import Amount, ValidatorIndex
from consensus.relay.parameters import BILLION
from consensus.relay.stake.transactions import SetCommission
from consensus.relay.transactions import Transfer

if TYPE_CHECKING:
    from bench.economics.play import Play

STUFFED: Final = 50  # transfers that a stuffing leader puts into each of its blocks
_ROUNDS: Final = 5  # samples of an epoch


class Lazy(Agent):
    """Votes for three samples of five: just enough not to be jailed."""

    name = "lazy"
    attacks = True
    about = "votes 3 times of 5, attests nothing"
    of_five = 3

    def votes(self, play: Play, seat: Seat) -> bool:
        """The same of every five rounds."""
        return play.world.epoch < START or (play.world.height // 3) % _ROUNDS < self.of_five

    def verdict(self, play: Play, truth: Verdict) -> Verdict | None:
        """Attesting is work."""
        return truth if play.world.epoch < START else None


class Idle(Lazy):
    """Votes for one sample of five: jailed for downtime, comes back when it may, idles on."""

    name = "idle"
    about = "votes 1 time of 5, attests nothing; asks to come back from every jail"
    of_five = 1


class Copying(Agent):
    """Waits for others' attestations and signs what more than 2/3 of all stake said, without executing.

    Nothing in the rules tells it from a validator that executed: its signatures are those of an honest one.
    """

    name = "copying"
    attacks = True
    about = "signs the verdict that others reached, executes nothing"


class Blind(Agent):
    """Signs "valid" of everything without executing or waiting, and meets one invalid candidate."""

    name = "blind"
    attacks = True
    about = "signs 'valid' of everything unseen; one invalid candidate comes by"
    invalid = (START + 3,)

    def verdict(self, play: Play, truth: Verdict) -> Verdict | None:
        """Whatever it is."""
        return Verdict.VALID


class Withholding(Agent):
    """As a leader, includes its own votes and of others' no more than the first inclusion needs."""

    name = "withholding"
    attacks = True
    about = "as leader leaves out others' votes, as many as the rules let it"

    def chosen(self, play: Play, offered: list[ValidatorIndex], *, first: bool) -> list[ValidatorIndex]:
        """Own ones, and others' only up to the quorum."""
        world = play.world
        if world.epoch < START:
            return offered
        members, own = world.members, set(self.accounts)
        kept = [each for each in offered if members[each] in own]
        if first:
            for each in offered:
                if world.validators.weight(kept) >= world.validators.stake.quorum:
                    break
                if each not in kept:
                    kept.append(each)
        return kept


class Stuffing(Agent):
    """As a leader, fills its blocks with transfers to itself, to be paid the proposer's part of the fees."""

    name = "fee stuffing"
    attacks = True
    about = f"as leader adds {STUFFED} transfers of its own to each of its blocks"

    def act(self, play: Play) -> None:
        """Only where it leads."""
        super().act(play)
        world = play.world
        if world.epoch >= START and world.proposer in self.accounts:
            for _ in range(STUFFED):
                world.submit(self.purse, Transfer(to=self.purse.account, amount=Amount(1)))


class Greedy(Agent):
    """Raises its commission towards 100 % as fast as its terms and the network allow, for all to see."""

    name = "greedy"
    attacks = True
    about = "raises its commission to 100 % as fast as the rules allow; delegators leave"
    commission_step_ppb = BILLION
    borrowed_ppb = BILLION // 2
    moving = True

    def target_ppb(self, world: World) -> int:
        """Everything."""
        return BILLION if world.epoch >= START else self.commission_ppb


class Switching(Agent):
    """Shows no commission, takes as much as it can in the block that pays, and shows none in the next.

    Its terms, which it fixed for itself when it bonded, allow any step; the network's bound is what holds it.
    Its delegators go by the commission that is shown in the middle of an epoch.
    """

    name = "commission switch"
    attacks = True
    about = "shows 0 %, takes the most it may in the block that pays, and goes back in the next"
    commission_ppb = 0
    commission_step_ppb = BILLION
    borrowed_ppb = BILLION // 2
    moving = True
    watchful = False
    beside = Cheap.name

    def act(self, play: Play) -> None:
        """Up in the last block of an epoch, down in the first of the next: one change each epoch."""
        super().act(play)
        world = play.world
        if world.epoch < START:
            return
        for each in self.seats:
            record = world.stakes.existing(each.account)
            if world.place == EPOCH_BLOCKS and record.commission_epoch < world.epoch:
                world.submit(each.operator, SetCommission(commission_ppb=step_of(world, record)))
            elif world.place == 1 and record.commission_ppb:
                world.submit(each.operator, SetCommission(commission_ppb=0))
