"""The validator set of a genesis, for who has the file and no state yet."""

from consensus.agreement.messages import genesis_header
from consensus.agreement.validators import ValidatorSet
from consensus.light.proofs import Start
from consensus.primitives.ids import ZERO_HASH
from consensus.relay.epochs import FIRST_EPOCH, validator_set
from consensus.relay.genesis import Genesis, genesis_set

__all__ = ["FIRST_EPOCH", "genesis_start", "genesis_validators"]


def genesis_validators(genesis: Genesis) -> ValidatorSet:
    """The first epoch's validators, in the order of the genesis."""
    return validator_set(
        genesis_set(genesis),
        chain_id_hash=genesis.hash,
        epoch=FIRST_EPOCH,
        leader_seed=ZERO_HASH,
    )


def genesis_start(genesis: Genesis) -> Start:
    """The block of height 0 and the first epoch's set: where who has but the file may begin to verify."""
    validators = genesis_validators(genesis)
    header = genesis_header(
        chain_id_hash=genesis.hash,
        epoch=FIRST_EPOCH,
        time_ms=genesis.time_ms,
        validators_hash=validators.validators_hash,
    )
    return Start(header=header, validators=validators.record)
