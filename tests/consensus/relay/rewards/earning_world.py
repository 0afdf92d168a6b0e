"""Epochs in which something is earned: days long, with votes, and users who stand behind validators."""

from relay_fakes import Network, make_genesis
from voting_world import asked, votes_of

from consensus.primitives.ids import Epoch
from consensus.relay.ledger import Pot
from consensus.relay.parameters import DAY_MS
from consensus.relay.rewards.attesting import attesting
from consensus.relay.rewards.distributing import commission
from consensus.relay.rewards.records import EpochRewards, epoch_rewards_key

STAKE = 10**8


def earning(**parameters: object) -> Network:
    """Epochs of eight blocks; four validators of equal stake, ten accounts of 10**9 units."""
    chosen = {
        "epoch_blocks": 8,
        "min_stake": 10,
        "evidence_epochs": 2,
        "unbonding_epochs": 2,
        "unbonding_ms": DAY_MS,
        "trusting_ms": 50,
        "jail_epochs": 2,
        "min_nomination": 20,
        "exit_cap_ppb": 10**9,
        "veto_ms": 1,
        "verdict_epochs": 1,
        "gov_vote_ms": 1,
        "downtime_epochs": 1,
        "participation_interval": 4,
    }
    return Network(make_genesis(stake=STAKE, **(chosen | parameters)))


def vote(network: Network, who=range(4), raws=(), inclusions=()):
    """Execute a block in which these members' votes are, if any are asked for."""
    sample = asked(network)
    voters = [each for each in who if each < len(network.validators)]
    new = [each for each in voters if sample is not None and not _is_seen(sample.seen, each)]
    votes = votes_of(network, new, sample) if sample is not None and new else None
    return network.block(raws, inclusions, votes=votes)


def _is_seen(bitmap: bytes, index: int) -> bool:
    return bool(int.from_bytes(bitmap, "little") >> index & 1)


def to_next_epoch(network: Network, who=range(4), span_ms: int = DAY_MS // 2) -> EpochRewards:
    """Go on, with these members' votes, to the end of the running epoch, half a day later; its report."""
    epoch = network.epoch
    network.halted_ms += span_ms
    while network.epoch == epoch:
        vote(network, who)
    return rewards_of(network, epoch)


def rewards_of(network: Network, epoch: int) -> EpochRewards:
    record = network.view.stakes.ledger.record(EpochRewards, epoch_rewards_key(epoch))
    assert record is not None
    return record


def pot(network: Network, which: Pot) -> int:
    return network.view.stakes.ledger.pot(which)


def waiting(network: Network, validators: list[bytes]) -> int:
    """All that is in Pot.REWARDS, found by looking: commissions, and what chains paid in this epoch."""
    paid = attesting(network.view, Epoch(network.epoch)) or ()
    return sum(commission(network.view, each) for each in validators) + sum(each.earned for each in paid)
