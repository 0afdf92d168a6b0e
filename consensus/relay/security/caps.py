"""What a young chain may hold and put at risk: both grow with its age, by the block's time.

A chain that nobody knows yet can be wrong in ways that cost those who secure it, and those who fund it: both
begin small. The caps are the network's, not the chain's own.
"""

from typing import Final

from consensus.relay.parameters import DAY_MS, Parameters
from consensus.relay.registry import ChainRecord

GENESIS_HEIGHT: Final = 0  # of chains that all members of the network agreed on beforehand: no cap
MAX_UNITS: Final = (1 << 128) - 1


def stake_cap(parameters: Parameters, chain: ChainRecord, now_ms: int) -> int:
    """The most units that validators together have at risk on a `subset` chain."""
    return _cap(chain, now_ms, parameters.chain_stake_start, parameters.chain_stake_daily)


def value_cap(parameters: Parameters, chain: ChainRecord, now_ms: int) -> int:
    """The most units that can be paid into a chain's relay balance."""
    return _cap(chain, now_ms, parameters.chain_value_start, parameters.chain_value_daily)


def is_capped(chain: ChainRecord) -> bool:
    """Whether the caps hold for a chain: for all that were registered since the genesis."""
    return chain.registered_height != GENESIS_HEIGHT


def _cap(chain: ChainRecord, now_ms: int, start: int, daily: int) -> int:
    """`start`, and `daily` more for each day of age, rounded down."""
    if not is_capped(chain):
        return MAX_UNITS
    return start + daily * (now_ms - chain.registered_ms) // DAY_MS
