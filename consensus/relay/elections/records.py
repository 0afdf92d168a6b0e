"""What an election leaves in the state beside the set (DESIGN.md section 8).

exposure    epoch and validator → ExposureRecord: whose stake stands behind it in that epoch, and with how
            much; there as long as the epoch's set, for as long as evidence about it counts
standby     who would be elected next, in order

An exposure's amounts are those at the election. What a nomination has left by the time that an offence is
judged may be less; which of its pools answer is `Stakes.cut`'s to say.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.primitives.codec import U128, MaxLength, decode
from consensus.primitives.ids import Epoch, Hash, PublicKey
from consensus.primitives.tree import tree_key
from consensus.relay.epochs import Reads
from consensus.relay.stake.records import MAX_NOMINATIONS

MAX_STANDBY: Final = 64
MAX_EXPOSURE_BYTES: Final = 128 * 1024

STANDBY_KEY: Final = tree_key(b"relay", b"standby")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What one nomination has behind a validator, in units: at least one."""

    nomination: Hash
    amount: U128


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureRecord:
    """All that stands behind a validator in one epoch, before the cap on voting power.

    `edges` are in order of the nominations' names; each nomination is there once, the validator's own one
    too. Nothing at all where an election kept a validator that nobody supports.
    """

    WIRE_VERSION: ClassVar[int] = 1
    total: U128  # units: the sum of the edges
    edges: Annotated[tuple[Exposure, ...], MaxLength(MAX_NOMINATIONS + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbyRecord:
    """Who the seats after the last would go to in `epoch`, in order."""

    WIRE_VERSION: ClassVar[int] = 1
    epoch: Epoch
    accounts: Annotated[tuple[PublicKey, ...], MaxLength(MAX_STANDBY)]


def exposure_key(epoch: Epoch, account: PublicKey) -> Hash:
    """Where the exposure of a validator in an epoch is in the relay tree."""
    return tree_key(b"exposure", epoch.to_bytes(8, "big") + account)


def exposure(state: Reads, epoch: Epoch, account: PublicKey) -> ExposureRecord | None:
    """Whose stake stands behind a validator in an epoch; None if it is not in that epoch's set, or the state
    does not know the set (yet, or any more)."""
    raw = state.read(exposure_key(epoch, account))
    return None if raw is None else decode(ExposureRecord, raw, limit=MAX_EXPOSURE_BYTES)


def standby(state: Reads) -> StandbyRecord | None:
    """Who stood by after the last election; None before the first."""
    raw = state.read(STANDBY_KEY)
    return None if raw is None else decode(StandbyRecord, raw, limit=MAX_STANDBY * 64)
