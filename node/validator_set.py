"""The validator set of a genesis: the one place where its parameters become agreement's terms."""

from typing import Final

from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import Validator, ValidatorSet
from consensus.primitives.ids import Epoch
from consensus.relay.genesis import Genesis

FIRST_EPOCH: Final = Epoch(1)
_MODES: Final = {0: Mode.OFF, 1: Mode.STRICT}  # `fast_mode` of the genesis parameters


def genesis_validators(genesis: Genesis) -> ValidatorSet:
    """The first epoch's validators, in the order of the genesis."""
    return ValidatorSet(
        [Validator(key=each.consensus_key, stake=each.stake) for each in genesis.validators],
        chain_id_hash=genesis.hash,
        epoch=FIRST_EPOCH,
        mode=_MODES[genesis.parameters.fast_mode],
        window=genesis.parameters.window,
    )
