"""Agents that sign what convicts them, run from it, report it, or accuse others falsely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.economics.agents import START, Agent
from bench.economics.world import Seat, World
from consensus.agreement.evidence import Evidence, SignedStatement, evidence_from
from consensus.agreement.messages import Kind
from consensus.agreement.statements import Verdict
from consensus.primitives.ids import ZERO_HASH, Amount, Epoch, Hash, Signature, ValidatorIndex, View
from consensus.relay.offences.transactions import SubmitEvidence
from consensus.relay.parameters import BILLION
from consensus.relay.stake.records import main_pool
from consensus.relay.stake.stakes import Stakes
from consensus.relay.stake.transactions import Redelegate, Unbond, Withdraw

if TYPE_CHECKING:
    from bench.economics.play import Play

OFFENCE: Final = START + 2  # the epoch in which an agent offends
_PLACE: Final = 5  # of the block before which it does
LATE: Final = 13  # epochs that evidence takes to come to light where it comes late


def at(world: World, epoch: int, place: int) -> bool:
    """Whether the next block is this one."""
    return (world.epoch, world.place) == (epoch, place)


class Doubling(Agent):
    """All its validators sign for two blocks of one view; honest leaders have the proof an epoch later."""

    name = "double signing"
    attacks = True
    about = "all its validators vote twice in one view; proved an epoch later"
    reports = False

    def act(self, play: Play) -> None:
        """Once."""
        super().act(play)
        if at(play.world, OFFENCE, _PLACE):
            for each in self.seats:
                self.offend(play, each)

    def offend(self, play: Play, seat: Seat) -> None:
        """Sign twice."""
        play.reveal(play.double_vote(seat), OFFENCE + 1)


class Borrowing(Doubling):
    """Signs twice with voting power nine tenths of which is its delegators' stake."""

    name = "double signing, 90 % delegated"
    about = "as before, with nine tenths of the stake its delegators'"
    borrowed_ppb = BILLION * 9 // 10


class Confessing(Doubling):
    """Signs twice, and has its own purse submit the proof at once, for the reporter's reward."""

    name = "self-reporting"
    about = "votes twice, and its own second account reports it at once"

    def offend(self, play: Play, seat: Seat) -> None:
        """And report."""
        proof = play.double_vote(seat)
        if proof is not None:
            play.world.submit(self.purse, SubmitEvidence(evidence=proof))


class Softening(Doubling):
    """Signs twice, and first reports a milder offence of the same epoch itself, to hide the grave one."""

    name = "mild report first"
    about = "reports a milder offence of its own first; the grave one is proved an epoch later"

    def offend(self, play: Play, seat: Seat) -> None:
        """The mild one at once, the grave one later."""
        play.reveal(play.double_vote(seat), OFFENCE + 1)
        proof = play.double_vote(seat, mild=True)
        if proof is not None:
            play.world.submit(self.purse, SubmitEvidence(evidence=proof))


class Leaving(Doubling):
    """Signs twice, unbonds everything in the same block; the proof comes late, but within its window."""

    name = "offend, then leave"
    about = f"votes twice and unbonds all at once; proved {LATE} epochs later"

    def offend(self, play: Play, seat: Seat) -> None:
        """And go."""
        play.reveal(play.double_vote(seat), OFFENCE + LATE)
        unbond_all(play.world, seat)

    def act(self, play: Play) -> None:
        """Fetch what can be had, whenever it can."""
        super().act(play)
        withdraw_when_due(play.world, self)


class Moving(Doubling):
    """Has half of its stake delegated by its own purse, which moves it behind others after the offence."""

    name = "offend, then redelegate"
    about = f"half of its stake is its purse's, moved to others at once; proved {LATE} epochs later"
    stray_ppb = BILLION // 2

    def offend(self, play: Play, seat: Seat) -> None:
        """And move."""
        world = play.world
        play.reveal(play.double_vote(seat), OFFENCE + LATE)
        own = Stakes.own(seat.account)
        units = world.stakes.value(main_pool(own), self.purse.account)
        other = next(each for each in world.members if each not in self.accounts)
        world.submit(self.purse, Redelegate(nomination=own, validators=(other,), amount=Amount(units)))


class LastMoment(Agent):
    """Unbonds everything, offends in the last epoch in which its stake counts, and is proved guilty on the
    last day on which evidence does; asks for its stake every day."""

    name = "offend in the last epoch"
    attacks = True
    about = "unbonds, votes twice in its last epoch; proved on the last day that evidence counts"
    reports = False

    def act(self, play: Play) -> None:
        """Leave, wait for the last epoch, offend."""
        super().act(play)
        world = play.world
        if at(world, OFFENCE, _PLACE):
            for each in self.seats:
                unbond_all(world, each)
        if world.epoch >= OFFENCE and world.place == _PLACE + 1:
            for each in self.seats:
                if self._last_epoch(world, each) == world.epoch:
                    play.reveal_at_last(play.double_vote(each))
        withdraw_when_due(world, self)

    @staticmethod
    def _last_epoch(world: World, seat: Seat) -> Epoch | None:
        nomination = world.stakes.nomination(Stakes.own(seat.account))
        return nomination.leaving[-1] if nomination is not None and nomination.leaving else None


class Spamming(Agent):
    """Submits four invented proofs against honest validators in every epoch."""

    name = "evidence spam"
    attacks = True
    about = "submits four invented proofs against others in every epoch"

    def act(self, play: Play) -> None:
        """By its purse."""
        super().act(play)
        world = play.world
        if world.epoch < START or world.place != 2:
            return
        others = [index for index, each in enumerate(world.members) if each not in self.accounts]
        for index in others[:4]:
            world.submit(self.purse, SubmitEvidence(evidence=_invented(world, ValidatorIndex(index))))


class Accusing(Agent):
    """Signs "invalid" of a valid candidate, once."""

    name = "false accusation"
    attacks = True
    about = "signs 'invalid' of one valid candidate"

    def verdict(self, play: Play, truth: Verdict) -> Verdict | None:
        """A lie, once."""
        return Verdict.INVALID if play.world.epoch == OFFENCE else truth


class Stalling(Agent):
    """Signs nothing about any candidate, so that none is decided if it has the stake for that."""

    name = "stalling a chain"
    attacks = True
    about = "attests no candidate at all; votes as an honest one"

    def verdict(self, play: Play, truth: Verdict) -> Verdict | None:
        """Silence."""
        return truth if play.world.epoch < START else None


def unbond_all(world: World, seat: Seat) -> None:
    """Let all of a validator's own stake leave."""
    units = world.stakes.self_stake(seat.account)
    if units:
        world.submit(seat.operator, Unbond(amount=Amount(units)))


def withdraw_when_due(world: World, agent: Agent) -> None:
    """Ask for what left, in the second block of every epoch."""
    if world.epoch > OFFENCE and world.place == 2:
        for each in agent.seats:
            if any(holding.last_epoch for holding in world.stakes.held_by(each.account)):
                world.submit(each.operator, Withdraw())


def _invented(world: World, signer: ValidatorIndex) -> Evidence:
    """Two votes that nobody signed."""
    first, second = (
        SignedStatement(
            kind=int(Kind.NOTARIZE),
            block=Hash(bytes([mark]) * 32),
            aux=ZERO_HASH,
            sig=Signature(bytes(64)),
        )
        for mark in (1, 2)
    )
    return evidence_from(epoch=world.epoch, view=View(1), signer=signer, a=first, b=second)
