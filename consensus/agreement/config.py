"""What an engine is told at birth: the chain's parameters, this node's timers, what survived a restart."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from consensus.agreement.journal_records import JournalRecord
from consensus.agreement.messages import MAX_BLOCK_BYTES, FinalityProof, Header
from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.ids import Epoch, Hash, Height, PublicKey, Signature

VIEWS_AHEAD: Final = 8  # AHEAD: views above the current one that are tracked
MAX_UNPERSISTED: Final = 256  # final blocks handed out and not yet durable in the store
FIRST_HEIGHT: Final = Height(0)  # of genesis, on which epoch 1 begins
EMPTY_ONLY_AFTER: Final = 64  # unfinalised views, above which a leader proposes empty blocks


class AmnesiaPolicy(enum.Enum):
    """What a validator does whose journal is lost (CONSENSUS.md section 13.4). To refuse is the node's."""

    NEXT_EPOCH = "next_epoch"  # sign nothing, until an epoch in which a key takes effect that is new
    PROBE = "probe"  # ask the others from which view on it may vote; for tests and networks at play


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Genesis parameters of agreement (CONSENSUS.md section 23); milliseconds and bytes."""

    precision_ms: int = 500
    message_delay_ms: int = 2_000
    max_block_bytes: int = MAX_BLOCK_BYTES
    min_block_interval_ms: int = 0
    idle_interval_ms: int = 0  # a leader with nothing to say may wait that long; t_skip grows by it
    epoch_blocks: int = 10_000  # EPOCH_BLOCKS: final heights of one epoch, its boundary block included


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerSettings:
    """Local timers (CONSENSUS.md section 11.1), in microseconds. They never affect safety."""

    min_us: int = 30_000  # T_MIN
    start_us: int = 1_000_000
    cap_us: int = 5_000_000  # T_CAP
    max_us: int = 60_000_000  # T_MAX
    grace: int = 4  # unfinalised views before back-off begins
    fallback_min_us: int = 10_000  # least t_nf
    suspect_min_us: int = 20_000  # least t_susp
    floor_min_us: int = 5_000  # least t_floor
    resend_min_us: int = 20_000  # least t_resend and first pull retry
    chain_us: int = 1_000_000  # least wait for a piece of the chain: a busy peer reads it from its disk
    rtt_us: int = 1_000  # assumed before anything is measured


LAN: Final = TimerSettings()
WAN: Final = TimerSettings(min_us=300_000, resend_min_us=200_000, rtt_us=100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """One epoch of one chain, as this node sees it.

    `verify` is the signature predicate: `crypto.verify`, or the simulator's oracle. The epoch's blocks are
    those above `start_height`, at which the boundary block of the epoch before stands (or genesis).
    """

    chain_id_hash: Hash
    epoch: Epoch
    validators: ValidatorSet
    verify: Callable[[PublicKey, bytes, Signature], bool]
    parameters: Parameters = Parameters()
    timers: TimerSettings = LAN
    start_height: Height = FIRST_HEIGHT
    amnesia: AmnesiaPolicy = AmnesiaPolicy.PROBE

    @property
    def end_height(self) -> Height:
        """Where the boundary block stands: the epoch's last height in the ledger."""
        return Height(self.start_height + self.parameters.epoch_blocks)

    @property
    def mode(self) -> Mode:
        """STRICT or OFF: part of the validator set, because validators_hash commits to it."""
        return self.validators.mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What an engine learnt that serves the next epoch's: how far peers are, how long proposals take.

    Nothing of it affects safety. Times in microseconds; `delay_us` None: nothing was measured.
    """

    heights: Mapping[int, Height] = field(default_factory=dict)  # final height by peer
    delay_us: int | None = None
    deviation_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """Where an engine starts: the store's highest final block, and the journal.

    `final` is the genesis header on a first start, then without `proof`. `records` is None when the journal
    is lost, which is amnesia (section 13.4); an empty journal, made together with the key, is `()`. After
    None the new journal must come into being with its first group in it, never empty.
    """

    final: Header
    proof: FinalityProof | None
    records: tuple[JournalRecord, ...] | None
    experience: Experience = Experience()
