"""What an election leaves in the state beside the set (DESIGN.md section 8).

exposure    epoch and validator → ExposureRecord: whose stake stands behind it in that epoch, and with how
            much; there as long as the epoch's set, for as long as evidence about it counts
election    the latest one: who stands by, and whether anybody had to be kept

An exposure's amounts are those at the election. What a nomination has left by the time that an offence is
judged may be less; which of its pools answer is `Stakes.cut`'s to say.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.primitives.codec import U16, U128, MaxLength, decode
from consensus.primitives.ids import Epoch, Hash, PublicKey
from consensus.primitives.tree import tree_key
from consensus.relay.epochs import Reads
from consensus.relay.parameters import MAX_SET
from consensus.relay.stake.records import MAX_NOMINATIONS

MAX_STANDBY: Final = 64
MAX_EXPOSURE_BYTES: Final = 128 * 1024
MAX_ELECTION_BYTES: Final = 16 * 1024

ELECTION_KEY: Final = tree_key(b"relay", b"election")


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
class ElectionRecord:
    """The latest election, beside the set that it wrote."""

    WIRE_VERSION: ClassVar[int] = 1
    epoch: Epoch  # that it is for
    electable: U16  # how many stood
    kept: Annotated[tuple[PublicKey, ...], MaxLength(MAX_SET)]
    """Members of the set before that were not electable, and are seated for lack of others: something is
    badly wrong with the network."""
    standby: Annotated[tuple[PublicKey, ...], MaxLength(MAX_STANDBY)]  # whom further seats would go to


def exposure_key(epoch: Epoch, account: PublicKey) -> Hash:
    """Where the exposure of a validator in an epoch is in the relay tree."""
    return tree_key(b"exposure", epoch.to_bytes(8, "big") + account)


def exposure(state: Reads, epoch: Epoch, account: PublicKey) -> ExposureRecord | None:
    """Whose stake stands behind a validator in an epoch; None if it is not in that epoch's set, or the state
    does not know the set (yet, or any more)."""
    raw = state.read(exposure_key(epoch, account))
    return None if raw is None else decode(ExposureRecord, raw, limit=MAX_EXPOSURE_BYTES)


def latest_election(state: Reads) -> ElectionRecord | None:
    """The latest election; None before the first."""
    raw = state.read(ELECTION_KEY)
    return None if raw is None else decode(ElectionRecord, raw, limit=MAX_ELECTION_BYTES)
