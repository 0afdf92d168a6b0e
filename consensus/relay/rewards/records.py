"""The leaves of rewards, and where each is in the relay tree (DESIGN.md section 8).

participation  epoch → ParticipationRecord: votes and proposals, counted block by block
attesting      epoch → AttestingRecord: attestations, and what chains paid for them; only if there were any
attested       chain and slot → ChainAttestingRecord: who attested a chain's candidates, for the latest epochs
epoch-rewards  epoch → EpochRewards: what an epoch issued, and where it went
commission     account → PotRecord: what a validator's operator has earned and not claimed

Those of an epoch stay for KEPT_EPOCHS after it. Counters are packed, fixed widths big-endian, because one
such leaf is written in every block.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.agreement.validators import MAX_VALIDATORS
from consensus.primitives.codec import U32, U64, MaxLength
from consensus.primitives.ids import Amount, Epoch, Hash, Height, PublicKey, View
from consensus.primitives.tree import tree_key

KEPT_EPOCHS: Final = 8
PARTICIPATION_BYTES: Final = 20  # of one member in ParticipationRecord.members
ATTESTING_BYTES: Final = 24  # of one member in AttestingRecord.members


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The block whose votes are being collected. `view` is 0, and `seen` empty, until the first are in."""

    height: Height
    block: Hash
    view: View
    opens: Height  # of the first block that may carry votes for it
    closes: Height  # and of the last
    seen: Annotated[bytes, MaxLength(MAX_VALIDATORS // 8)]  # bit i % 8 of byte i // 8: member i is counted


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipationRecord:
    """Who voted and who proposed in one epoch."""

    WIRE_VERSION: ClassVar[int] = 1
    samples: U32  # blocks whose votes were counted
    open: Sample | None
    # for each member: seen u32, proposed u32, missed u32, included u64 (parts per billion of all stake)
    members: Annotated[bytes, MaxLength(PARTICIPATION_BYTES * MAX_VALIDATORS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestingRecord:
    """Who attested the candidates that were decided in one epoch."""

    WIRE_VERSION: ClassVar[int] = 1
    # for each member: asked u32, attested u32, earned u128 (units)
    members: Annotated[bytes, MaxLength(ATTESTING_BYTES * MAX_VALIDATORS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainAttestingRecord:
    """Who attested the candidates of one chain that were decided in one epoch. In the slot of the epoch's
    number modulo KEPT_EPOCHS, until a later epoch takes that."""

    WIRE_VERSION: ClassVar[int] = 1
    epoch: Epoch
    members: Annotated[bytes, MaxLength(4 * MAX_VALIDATORS)]  # for each member: attested u32


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRewards:
    """What came of one epoch, in units: issued + fees = treasury + validators + burnt; `attesters` is beside
    that, what chains paid for attestations. Rates are parts per billion."""

    WIRE_VERSION: ClassVar[int] = 1
    epoch: Epoch
    elapsed_ms: U64
    staked: Amount
    circulating: Amount
    rate_ppb: U32  # issued in a year, of all units
    take_ppb: U32  # of the income, to the treasury
    issued: Amount
    fees: Amount
    treasury: Amount
    validators: Amount  # commissions and rewards of nominations
    burnt: Amount  # for what was not done
    attesters: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestRewards:
    """The newest epoch that was shared out."""

    epoch: Epoch


LATEST_REWARDS_KEY: Final = tree_key(b"relay", b"latest-rewards")


def participation_key(epoch: int) -> Hash:
    """Where an epoch's votes and proposals are counted."""
    return tree_key(b"participation", epoch.to_bytes(8, "big"))


def attesting_key(epoch: int) -> Hash:
    """Where an epoch's attestations are counted."""
    return tree_key(b"attesting", epoch.to_bytes(8, "big"))


def chain_attesting_key(chain: int, epoch: int) -> Hash:
    """Where it is who attested a chain's candidates in an epoch, if no later epoch has taken the slot."""
    slot = (epoch % KEPT_EPOCHS).to_bytes(1, "big")
    return tree_key(b"attested", chain.to_bytes(4, "big") + slot)


def epoch_rewards_key(epoch: int) -> Hash:
    """Where it is what an epoch issued."""
    return tree_key(b"epoch-rewards", epoch.to_bytes(8, "big"))


def commission_key(account: PublicKey) -> Hash:
    """Where an operator's commission is that it has not claimed."""
    return tree_key(b"commission", account)
