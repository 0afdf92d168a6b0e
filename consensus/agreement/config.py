"""What an engine is told at birth: the chain's parameters, this node's timers, what survived a restart."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from consensus.agreement.journal_records import JournalRecord
from consensus.agreement.messages import MAX_BLOCK_BYTES, FinalityProof, Header
from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.ids import Epoch, Hash, PublicKey, Signature

VIEWS_AHEAD: Final = 8  # AHEAD: views above the current one that are tracked
MAX_UNPERSISTED: Final = 256  # final blocks handed out and not yet durable in the store
EMPTY_ONLY_AFTER: Final = 64  # unfinalised views, above which a leader proposes empty blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Genesis parameters of agreement (CONSENSUS.md section 23); milliseconds and bytes."""

    precision_ms: int = 500
    message_delay_ms: int = 2_000
    max_block_bytes: int = MAX_BLOCK_BYTES
    min_block_interval_ms: int = 0
    idle_interval_ms: int = 0  # a leader with nothing to say may wait that long; t_skip grows by it


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
    rtt_us: int = 1_000  # assumed before anything is measured


LAN: Final = TimerSettings()
WAN: Final = TimerSettings(min_us=300_000, resend_min_us=200_000, rtt_us=100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """One epoch of one chain, as this node sees it.

    `verify` is the signature predicate: `crypto.verify`, or the simulator's oracle.
    """

    chain_id_hash: Hash
    epoch: Epoch
    validators: ValidatorSet
    verify: Callable[[PublicKey, bytes, Signature], bool]
    parameters: Parameters = Parameters()
    timers: TimerSettings = LAN

    @property
    def mode(self) -> Mode:
        """STRICT or OFF: part of the validator set, because validators_hash commits to it."""
        return self.validators.mode


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
