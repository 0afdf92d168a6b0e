"""The economy of the relay chain at a glance, from one state: for RPC and the command line."""

from dataclasses import dataclass

from consensus.primitives.ids import Amount
from consensus.relay.ledger import SUPPLY_KEY, Ledger, Pot, Supply
from consensus.relay.rewards.issuance import curve_of, staking_ratio_ppb, yearly_rate_ppb
from consensus.relay.rewards.records import (
    KEPT_EPOCHS,
    LATEST_REWARDS_KEY,
    EpochRewards,
    LatestRewards,
    epoch_rewards_key,
)
from consensus.relay.rewards.takerate import take_rate_ppb
from consensus.relay.stake.stakes import Stakes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pots:
    """Units in nobody's account, as in `ledger.Pot`."""

    treasury: Amount
    slashed: Amount
    fees: Amount
    bonds: Amount
    deposits: Amount
    rewards: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Economy:
    """Amounts in units, rates in parts per billion. The rates are those of an epoch that would end now."""

    issued: Amount  # ever
    burnt: Amount
    staked: Amount  # in all pools, leaving ones included
    staking_ratio_ppb: int  # of what is not burnt
    inflation_ppb: int  # issued in a year, of what is not burnt
    take_rate_ppb: int  # of an epoch's income, to the treasury
    unclaimed: Amount  # earned by stake and not claimed: beside the pots
    pots: Pots
    epochs: tuple[EpochRewards, ...]  # what came of the latest, the newest first


def economy(ledger: Ledger, stakes: Stakes) -> Economy:
    """The economy as one state has it."""
    supply = ledger.existing(Supply, SUPPLY_KEY)
    circulating, staked = supply.issued - supply.burnt, stakes.total_bonded()
    ratio, treasury = staking_ratio_ppb(staked, circulating), ledger.pot(Pot.TREASURY)
    return Economy(
        issued=Amount(supply.issued),
        burnt=Amount(supply.burnt),
        staked=Amount(staked),
        staking_ratio_ppb=ratio,
        inflation_ppb=yearly_rate_ppb(curve_of(ledger.parameters), ratio),
        take_rate_ppb=take_rate_ppb(ledger.parameters, treasury, circulating),
        unclaimed=Amount(stakes.totals().rewards),
        pots=Pots(**{each.name.lower(): Amount(ledger.pot(each)) for each in Pot}),
        epochs=_latest(ledger),
    )


def _latest(ledger: Ledger) -> tuple[EpochRewards, ...]:
    latest = ledger.record(LatestRewards, LATEST_REWARDS_KEY)
    if latest is None:
        return ()
    kept = range(latest.epoch, max(0, latest.epoch - KEPT_EPOCHS), -1)
    found = (ledger.record(EpochRewards, epoch_rewards_key(epoch)) for epoch in kept)
    return tuple(each for each in found if each is not None)
