"""Votes of relay_fakes' validators for the block that the state asks about."""

from collections.abc import Iterable

from relay_fakes import Network

from consensus.primitives.ids import Height, ValidatorIndex, View
from consensus.relay.rewards.participation import open_sample
from consensus.relay.rewards.records import Sample
from consensus.relay.rewards.votes import VoteInclusion, vote_bytes, vote_inclusion


def asked(network: Network) -> Sample | None:
    """What the next block may carry votes for."""
    return open_sample(network.view, network.epoch, Height(network.height + 1))


def votes_of(network: Network, who: Iterable[int], sample: Sample, view: int | None = None) -> VoteInclusion:
    """Good votes of these members for the sample, in the view that its block was proposed in."""
    chosen = sample.height if view is None else view  # relay_fakes proposes block h in view h
    message = vote_bytes(network.hash, network.epoch, chosen, sample.block)
    signed = {ValidatorIndex(each): network.keys[network.validators.keys[each]].sign(message) for each in who}
    return vote_inclusion(sample.block, View(chosen), signed)


def to_open(network: Network) -> Sample:
    """Execute empty blocks until the next one may carry votes."""
    for _ in range(network.genesis.parameters.epoch_blocks * 2):
        sample = asked(network)
        if sample is not None:
            return sample
        network.block()
    raise AssertionError("no sample was ever opened")
