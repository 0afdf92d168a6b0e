"""The end of an epoch: what it issues and what was paid in it is shared out (DESIGN.md section 8).

    income      = issued by the curve + fees of the epoch (Pot.FEES)
    treasury    = income x take rate, rounded down
    validators  = the rest, by what each did (`points`), and what chains paid their attesters on top
    burnt       = of the rest, what nobody earned

Of each validator's part the operator keeps its commission, which waits to be claimed; the remainder goes to
the nominations behind it, in proportion to what each had there when the set was elected, and raises what a
share of their pools has earned. It takes as many steps as there are members and nominations behind them,
however many hold stake in these. Units are split by largest remainders, so that not one is lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from consensus.primitives.codec import decode
from consensus.primitives.ids import Amount, Epoch, Hash, PublicKey
from consensus.relay.elections.records import exposure
from consensus.relay.epochs import EpochMember, Reads, epoch_members
from consensus.relay.ledger import SUPPLY_KEY, Pot, PotRecord, Supply
from consensus.relay.parameters import BILLION
from consensus.relay.rewards.attesting import MemberAttesting, attesting
from consensus.relay.rewards.issuance import (
    MAX_ISSUED,
    curve_of,
    issued_in,
    staking_ratio_ppb,
    yearly_rate_ppb,
)
from consensus.relay.rewards.participation import MemberParticipation, participation
from consensus.relay.rewards.points import Duties, Parts, share_out
from consensus.relay.rewards.records import (
    KEPT_EPOCHS,
    LATEST_REWARDS_KEY,
    EpochRewards,
    LatestRewards,
    attesting_key,
    commission_key,
    epoch_rewards_key,
    participation_key,
)
from consensus.relay.rewards.sharing import split
from consensus.relay.rewards.takerate import commission_of, take_rate_ppb
from consensus.relay.run import Run
from consensus.relay.stake.records import Standing

_DID_NOTHING: Final = MemberParticipation(expected=0, seen=0, proposed=0, missed_proposals=0, included=0)
_WAS_NOT_ASKED: Final = MemberAttesting(asked=0, attested=0, earned=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Income:
    """What an epoch has to share out, and the figures that decided it."""

    elapsed_ms: int
    staked: int
    circulating: int
    rate_ppb: int
    take_ppb: int
    issued: int
    fees: int


def end_epoch(run: Run) -> None:
    """In an epoch's last block, after all its fees are in and before its set makes way for the next."""
    epoch = run.context.epoch
    members = epoch_members(run.ledger, epoch).members
    income = _income(run)
    total = income.issued + income.fees
    treasury = total * income.take_ppb // BILLION
    run.ledger.pay_into(Pot.TREASURY, treasury)
    earned, nobody, attested = _earn(run, members, total - treasury)
    unplaced = _pay(run, members, earned)
    run.ledger.pay_into(Pot.TREASURY, unplaced)
    run.ledger.burn(nobody)
    run.ledger.put(
        epoch_rewards_key(epoch),
        EpochRewards(
            epoch=epoch,
            elapsed_ms=income.elapsed_ms,
            staked=Amount(income.staked),
            circulating=Amount(income.circulating),
            rate_ppb=income.rate_ppb,
            take_ppb=income.take_ppb,
            issued=Amount(income.issued),
            fees=Amount(income.fees),
            treasury=Amount(treasury + unplaced),
            validators=Amount(sum(earned) - unplaced),
            burnt=Amount(nobody),
            attesters=Amount(attested),
        ),
    )
    run.ledger.put(LATEST_REWARDS_KEY, LatestRewards(epoch=epoch))
    _forget(run, epoch - KEPT_EPOCHS)


def _income(run: Run) -> _Income:
    """Mint what the curve says and empty the pot of fees: the caller places both."""
    ledger, parameters = run.ledger, run.parameters
    supply = ledger.existing(Supply, SUPPLY_KEY)
    circulating, staked = supply.issued - supply.burnt, run.stakes.total_bonded()
    began_ms = epoch_members(ledger, run.context.epoch).began_ms
    elapsed_ms = max(0, run.context.time_ms - began_ms)
    curve = curve_of(parameters)
    due = issued_in(
        curve,
        staked=staked,
        circulating=circulating,
        elapsed_ms=elapsed_ms,
        max_ms=parameters.issuance_max_ms,
    )
    issued = max(0, min(due, MAX_ISSUED - supply.issued))
    if issued:
        ledger.mint(issued)
    fees = ledger.pot(Pot.FEES)
    ledger.take_from(Pot.FEES, fees)
    return _Income(
        elapsed_ms=elapsed_ms,
        staked=staked,
        circulating=circulating,
        rate_ppb=yearly_rate_ppb(curve, staking_ratio_ppb(staked, circulating)),
        take_ppb=take_rate_ppb(parameters, ledger.pot(Pot.TREASURY), circulating),
        issued=issued,
        fees=fees,
    )


def _earn(run: Run, members: Sequence[EpochMember], amount: int) -> tuple[list[int], int, int]:
    """Units for each member, units that nobody earned, and how many of both are from chains' shared fees."""
    epoch, parameters = run.context.epoch, run.parameters
    took_part = participation(run.ledger, epoch) or (_DID_NOTHING,) * len(members)
    attested = attesting(run.ledger, epoch) or (_WAS_NOT_ASKED,) * len(members)
    duties = [
        Duties(
            power=member.stake,
            seen=part.seen,
            proposed=part.proposed,
            missed=part.missed_proposals,
            included=part.included,
            asked=attest.asked,
            attested=attest.attested,
            good=run.stakes.existing(member.account).standing == Standing.ACTIVE,
        )
        for member, part, attest in zip(members, took_part, attested, strict=True)
    ]
    parts = Parts(
        block_ppb=parameters.reward_block_ppb,
        inclusion_ppb=parameters.reward_inclusion_ppb,
        attest_ppb=parameters.reward_attest_ppb,
    )
    found = share_out(amount, duties, took_part[0].expected, parts)
    paid_by_chains = sum(each.earned for each in attested)
    run.ledger.take_from(Pot.REWARDS, paid_by_chains)
    nobody = found.nobody
    units = []
    for base, attest, duty in zip(found.members, attested, duties, strict=True):
        units.append(base + attest.earned if duty.good else base)
        nobody += 0 if duty.good else attest.earned
    return units, nobody, paid_by_chains


def _pay(run: Run, members: Sequence[EpochMember], earned: Sequence[int]) -> int:
    """To operators and to the nominations behind each member; the units that found nobody there."""
    by_nomination: dict[Hash, int] = {}
    for member, units in zip(members, earned, strict=True):
        commission = commission_of(units, run.stakes.existing(member.account).commission_ppb, run.parameters)
        add_commission(run, member.account, commission)
        for name, part in _behind(run, member.account, units - commission):
            by_nomination[name] = by_nomination.get(name, 0) + part
    unplaced = 0
    for name in sorted(by_nomination):
        part = by_nomination[name]
        unplaced += part - (run.stakes.pay(name, run.context.epoch, part) if part else 0)
    return unplaced


def _behind(run: Run, account: PublicKey, units: int) -> list[tuple[Hash, int]]:
    """The units of each nomination behind a member; its own gets all where no election says more."""
    record = exposure(run.ledger, run.context.epoch, account)
    if record is None or not record.edges:
        return [(run.stakes.own(account), units)]
    parts = split(units, [each.amount for each in record.edges])
    return [(each.nomination, part) for each, part in zip(record.edges, parts, strict=True)]


def add_commission(run: Run, account: PublicKey, units: int) -> None:
    """Let an operator claim so many units more, which the caller took from somewhere."""
    if units:
        key = commission_key(account)
        held = run.ledger.record(PotRecord, key) or PotRecord(amount=0)
        run.ledger.put(key, PotRecord(amount=held.amount + units))
        run.ledger.pay_into(Pot.REWARDS, units)


def commission(state: Reads, account: PublicKey) -> int:
    """Units that an operator can claim."""
    raw = state.read(commission_key(account))
    return 0 if raw is None else decode(PotRecord, raw, limit=64).amount


def _forget(run: Run, epoch: int) -> None:
    if epoch > 0:
        old = Epoch(epoch)
        for key in (participation_key(old), attesting_key(old), epoch_rewards_key(old)):
            if run.ledger.read(key) is not None:
                run.ledger.write(key, None)
