"""Values that a network fixes at its genesis and that the ledger keeps in its state."""

# ruff: noqa: RUF009  (the NewTypes called in defaults are the identity function)

from dataclasses import dataclass
from typing import Annotated, Final

from consensus.agreement.messages import MAX_BLOCK_BYTES
from consensus.agreement.statements import STATEMENT_WINDOW
from consensus.candidates.receipts import MAX_POV_BYTES
from consensus.primitives.codec import U8, U16, U32, U64, MaxLength
from consensus.primitives.guest import MAX_KEY_BYTES, MAX_VALUE_BYTES, Policy
from consensus.primitives.ids import Amount, Fuel
from consensus.relay.security.terms import RailTerms, SubsetTerms

MAX_CODE_BYTES: Final = 1024 * 1024
BILLION: Final = 1_000_000_000
MAX_SET: Final = 200  # validators in one epoch (CONSENSUS.md section 1)
MIN_EXIT_CAP_PPB: Final = 1_000_000  # all stake can leave within a thousand epochs
MAX_DOWNTIME_EPOCHS: Final = 7  # fewer than `rewards.records.KEPT_EPOCHS`
DAY_MS: Final = 24 * 60 * 60 * 1_000
MAX_BREAKER_MS: Final = 14 * DAY_MS
MAX_SPAN_MS: Final = 3_650 * DAY_MS  # any span after any time of a block is a time that 64 bits can write
_POSITIVE: Final = (
    "window",
    "max_block_bytes",
    "max_block_weight",
    "relay_parent_window",
    "lane_messages",
    "max_validators",
    "min_stake",
    "evidence_epochs",
    "slash_meter_ppb",
    "submissions_per_epoch",
    "verdict_epochs",
    "downtime_epochs",
    "opt_in_epochs",
    "opt_out_epochs",
    "breaker_ms",
)
_SPANS: Final = (
    "unbonding_ms",
    "veto_ms",
    "gov_vote_ms",
    "gov_timelock_ms",
    "gov_security_timelock_ms",
    "council_pause_ms",
    "council_window_ms",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What the members of a network agreed on at genesis (CONSENSUS.md section 23, DESIGN.md 4 to 8)."""

    # agreement
    fast_mode: U8 = 1  # 0 OFF, 1 STRICT (CONSENSUS.md section 18)
    window: U8 = 1  # consecutive views of one leader
    precision_ms: U32 = 500  # bound on the difference of two honest clocks
    message_delay_ms: U32 = 2_000
    idle_interval_ms: U32 = 1_000  # how long a leader with nothing to say may wait
    epoch_blocks: U64 = 10_000
    # stake; a window ends with the later of a count of epochs and a span of time
    max_validators: U16 = 100  # seats of an epoch's set
    min_stake: Amount = Amount(100)  # of its own: with less of it no validator is elected
    evidence_epochs: U32 = 14  # an offence can be proved for so long after its epoch, and for unbonding_ms
    unbonding_epochs: U32 = 21  # stake is paid out so long after its last epoch, and after unbonding_ms
    unbonding_ms: U64 = 21 * DAY_MS
    trusting_ms: U64 = 14 * DAY_MS  # how old a header may be that a light client trusts
    jail_epochs: U32 = 7  # before a jailed validator may ask to come back
    min_nomination: Amount = Amount(1_000)  # to name several validators first, or to begin a move to others
    exit_cap_ppb: U32 = 100_000_000  # of all stake that may leave after one epoch; the rest waits its turn
    # blocks
    max_block_bytes: U32 = 2 * 1024 * 1024
    max_block_weight: U32 = 50_000  # microseconds of execution on the reference machine
    max_transactions: U32 = 8_000
    max_candidates: U16 = 16  # quota of candidate inclusions, an inherent
    max_evidence: U16 = 8  # quota of evidence, an inherent
    relay_parent_window: U32 = STATEMENT_WINDOW  # blocks between a candidate's relay parent and its inclusion
    # money; a fee is `base + byte * length + fuel`
    base_fee: Amount = Amount(100)
    byte_fee: Amount = Amount(1)
    fuel_price_ppb: U64 = 1_000  # units per 10^9 fuel, rounded up to a whole unit per call
    message_fee: Amount = Amount(100)  # for each message to an instance: pays for its delivery
    candidate_fee: Amount = Amount(1_000)  # charged to the chain's relay balance at enactment
    pov_kib_fee: Amount = Amount(1)  # for each KiB of its PoV, begun ones count
    deposit_per_byte: Amount = Amount(10)
    chain_deposit: Amount = Amount(100_000)
    instance_deposit: Amount = Amount(1_000)
    burn_share_ppb: U32 = 500_000_000  # of every fee
    proposer_fee_ppb: U32 = 200_000_000  # of every fee, to its block's proposer; the rest is the epoch's
    # rewards: what a year issues, by the staking ratio (`rewards.issuance`), in parts of all units
    issuance_start_ppb: U32 = 25_000_000
    issuance_ideal_ppb: U32 = 100_000_000
    staking_target_ppb: U32 = 500_000_000
    issuance_decay_ppb: U32 = 50_000_000
    issuance_max_ms: U64 = DAY_MS  # an epoch that took longer issues no more
    # and how an epoch's income is shared out: the treasury's part of all (`rewards.takerate`) …
    take_min_ppb: U32 = 50_000_000
    take_max_ppb: U32 = 200_000_000
    treasury_target_ppb: U32 = 20_000_000  # of all units
    commission_min_ppb: U32 = 0  # least part of a validator's rewards that its operator keeps
    commission_step_ppb: U32 = 10_000_000  # the most that it changes in an epoch, whatever a bond fixed
    # … then the validators', by what they did (`rewards.points`); what these leave is for votes
    reward_block_ppb: U32 = 62_500_000  # for blocks proposed
    reward_inclusion_ppb: U32 = 62_500_000  # for putting others' votes into them
    reward_attest_ppb: U32 = 125_000_000  # for attesting candidates
    participation_interval: U16 = 16  # blocks of which one, drawn afterwards, has its votes counted
    # offences: the least that each costs, in parts of the offender's exposure (`offences.table`)
    slash_double_ppb: U32 = 50_000_000
    slash_contradiction_ppb: U32 = 10_000_000
    slash_invalid_ppb: U32 = 1_000_000_000
    slash_accusation_ppb: U32 = 20_000_000
    slash_downtime_ppb: U32 = 0
    correlation_factor: U8 = 3  # how steeply offenders of one epoch pay more together
    slash_burn_ppb: U32 = 700_000_000  # of what was slashed, at least half; and of a lost bond
    slash_reporter_ppb: U32 = (
        100_000_000  # of what was slashed, to whoever reported it; the rest to the treasury
    )
    slash_meter_ppb: U32 = 50_000_000  # the most of all stake that is burnt within any hour
    veto_ms: U64 = 3 * DAY_MS  # how long a slash can be vetoed that rests on a verdict or a record
    evidence_bond: Amount = Amount(10_000)  # whoever submits evidence risks it
    submissions_per_epoch: U16 = 16  # of one account
    verdict_epochs: U32 = 4  # how long statements against a candidate's verdict can be reported
    downtime_epochs: U8 = 3  # in a row, in each of which a member took part too little, before it is jailed
    downtime_ppb: U32 = 500_000_000  # of an epoch's counted blocks: below it, it was too little
    # guests and lanes
    call_fuel_limit: Fuel = Fuel(20_000_000)  # most that a user's call may ask for
    delivery_fuel_limit: Fuel = Fuel(2_000_000)  # most that delivering one message may burn
    chain_fuel_limit: Fuel = Fuel(2_000_000_000)  # most that a chain may ask for a candidate
    max_pov_bytes: U32 = 8 * 1024 * 1024
    max_module_bytes: U32 = 512 * 1024
    deliveries_per_block: U16 = 32  # quotas of an inherent, outside of max_block_weight
    delivery_fuel_per_block: Fuel = Fuel(20_000_000)
    lane_messages: U32 = 1_024  # credit of a lane: undelivered messages it may hold
    lane_bytes: U32 = 1024 * 1024
    # shared security (`security`): an allocation counts so many epochs after the newest set, and more by day
    opt_in_epochs: U8 = 1
    opt_out_epochs: U8 = 2
    chain_stake_start: Amount = Amount(10**12)  # units that may be at risk on a `subset` chain that is new …
    chain_stake_daily: Amount = Amount(10**11)  # … and more for each day of its age
    chain_value_start: Amount = Amount(10**12)  # units that may be paid into a new chain's relay balance …
    chain_value_daily: Amount = Amount(10**11)
    breaker_ms: U64 = DAY_MS  # how long a tripped circuit breaker holds a chain's messages back
    # governance: spans count from the block that opens, passes or acts; fractions as in `governance.tally`
    gov_deposit: Amount = Amount(100_000)
    gov_vote_ms: U64 = 7 * DAY_MS
    gov_timelock_ms: U64 = 2 * DAY_MS  # between a vote and its effect
    gov_security_timelock_ms: U64 = 14 * DAY_MS  # where the security model's own rules change
    gov_quorum_ppb: U32 = 334_000_000  # of all stake of the proposal's epoch
    gov_threshold_ppb: U32 = 500_000_000  # more than that, of what did not abstain, says yes
    gov_security_threshold_ppb: U32 = 667_000_000
    gov_veto_ppb: U32 = 334_000_000  # no more than that, of all votes, is a veto
    council_pause_ms: U64 = 3 * DAY_MS  # the longest that a chain is paused by one act
    council_window_ms: U64 = 14 * DAY_MS  # from one act of the council to its next

    def __post_init__(self) -> None:
        if self.fast_mode > 1:
            raise ValueError("fast_mode is 0 (OFF) or 1 (STRICT)")
        if self.burn_share_ppb > BILLION:
            raise ValueError("burn_share_ppb is a fraction: at most 1000000000")
        self._check_rewards()
        if self.max_module_bytes > MAX_CODE_BYTES:
            raise ValueError(f"max_module_bytes is at most {MAX_CODE_BYTES}")
        if self.max_block_bytes > MAX_BLOCK_BYTES:
            raise ValueError(f"max_block_bytes is at most {MAX_BLOCK_BYTES}, what a proposal can carry")
        if self.max_pov_bytes > MAX_POV_BYTES:
            raise ValueError(f"max_pov_bytes is at most {MAX_POV_BYTES}, what an offer can carry")
        for name in _POSITIVE:
            if getattr(self, name) == 0:
                raise ValueError(f"{name} must not be zero")
        if self.epoch_blocks < 2:
            raise ValueError("epoch_blocks is at least 2: the last block but one elects the next set")
        if self.max_validators > MAX_SET:
            raise ValueError(f"max_validators is at most {MAX_SET}")
        if self.min_stake >> 64:
            raise ValueError("min_stake is below 2^64, as every stake")
        if not MIN_EXIT_CAP_PPB <= self.exit_cap_ppb <= BILLION:
            raise ValueError(f"exit_cap_ppb is a fraction, from {MIN_EXIT_CAP_PPB} to {BILLION}")
        if not self.trusting_ms:
            raise ValueError("trusting_ms must not be zero: no light client could begin")
        if self.trusting_ms >= self.unbonding_ms:
            raise ValueError(
                "trusting_ms must be below unbonding_ms: whom a light client believes must still have stake"
            )
        if self.evidence_epochs > self.unbonding_epochs:
            raise ValueError(
                "evidence_epochs is at most unbonding_epochs: what convicts must find the stake still there"
            )
        if self.relay_parent_window > STATEMENT_WINDOW:
            raise ValueError(f"relay_parent_window is at most {STATEMENT_WINDOW}, what signers remember")
        if self.delivery_fuel_per_block < self.delivery_fuel_limit:
            raise ValueError("delivery_fuel_per_block must leave room for one delivery")
        if self.breaker_ms > MAX_BREAKER_MS:
            raise ValueError(f"breaker_ms is at most {MAX_BREAKER_MS}: a breaker is no way to stop a chain")
        self._check_offences()
        self._check_governance()
        for name in _SPANS:
            if getattr(self, name) > MAX_SPAN_MS:
                raise ValueError(f"{name} is at most {MAX_SPAN_MS} ms, ten years")

    def _check_governance(self) -> None:
        if not 0 < self.gov_vote_ms < self.unbonding_ms:
            raise ValueError(
                "gov_vote_ms is above 0 and below unbonding_ms: who votes bears what comes of it"
            )
        if self.gov_timelock_ms >= self.gov_security_timelock_ms:
            raise ValueError(
                "gov_timelock_ms must be below gov_security_timelock_ms: the rules of security change slower"
            )
        if not 0 < self.gov_quorum_ppb <= BILLION:
            raise ValueError("gov_quorum_ppb is a fraction: above 0 and at most 1000000000")
        if not BILLION // 2 <= self.gov_threshold_ppb <= self.gov_security_threshold_ppb < BILLION:
            raise ValueError(
                "gov_threshold_ppb is at least 500000000 and at most gov_security_threshold_ppb, and that is"
                " below 1000000000"
            )
        if not 0 < self.gov_veto_ppb < BILLION:
            raise ValueError("gov_veto_ppb is a fraction: above 0 and below 1000000000")
        if not 0 < self.council_pause_ms < self.council_window_ms:
            raise ValueError(
                "council_pause_ms is above 0 and below council_window_ms: else its pauses would never end"
            )

    def _check_offences(self) -> None:
        for name in (
            "slash_double_ppb",
            "slash_contradiction_ppb",
            "slash_invalid_ppb",
            "slash_accusation_ppb",
            "slash_downtime_ppb",
            "slash_meter_ppb",
            "downtime_ppb",
        ):
            if getattr(self, name) > BILLION:
                raise ValueError(f"{name} is a fraction: at most 1000000000")
        if not BILLION // 2 <= self.slash_burn_ppb <= BILLION:
            raise ValueError(
                "slash_burn_ppb is at least 500000000 and at most 1000000000: who reports itself must lose"
            )
        if self.slash_burn_ppb + self.slash_reporter_ppb > BILLION:
            raise ValueError(
                "slash_burn_ppb and slash_reporter_ppb are parts of one slash: together at most 1000000000"
            )
        if self.veto_ms >= self.unbonding_ms:
            raise ValueError("veto_ms must be below unbonding_ms: what is given back must find its pools")
        if self.verdict_epochs > self.evidence_epochs:
            raise ValueError("verdict_epochs is at most evidence_epochs: nobody would answer any more")
        if self.downtime_epochs > min(self.evidence_epochs, MAX_DOWNTIME_EPOCHS):
            raise ValueError(
                f"downtime_epochs is at most evidence_epochs and {MAX_DOWNTIME_EPOCHS}: for so long the state"
                " tells who took part"
            )

    def _check_rewards(self) -> None:
        if self.burn_share_ppb + self.proposer_fee_ppb > BILLION:
            raise ValueError(
                "burn_share_ppb and proposer_fee_ppb are parts of one fee: together at most 1000000000"
            )
        if self.proposer_fee_ppb == BILLION:
            raise ValueError(
                "proposer_fee_ppb is below 1000000000: else a proposer fills its blocks for nothing"
            )
        if not self.issuance_start_ppb <= self.issuance_ideal_ppb <= BILLION:
            raise ValueError("issuance_start_ppb is at most issuance_ideal_ppb, and that at most 1000000000")
        if not 0 < self.staking_target_ppb < BILLION:
            raise ValueError("staking_target_ppb is above 0 and below 1000000000")
        if not 0 < self.issuance_decay_ppb <= BILLION:
            raise ValueError("issuance_decay_ppb is above 0 and at most 1000000000")
        if not self.take_min_ppb <= self.take_max_ppb <= BILLION:
            raise ValueError("take_min_ppb is at most take_max_ppb, and that at most 1000000000")
        if self.treasury_target_ppb > BILLION:
            raise ValueError("treasury_target_ppb is a fraction: at most 1000000000")
        if not 0 < self.commission_step_ppb <= BILLION:
            raise ValueError("commission_step_ppb is above 0 and at most 1000000000")
        if self.commission_min_ppb > BILLION:
            raise ValueError("commission_min_ppb is a fraction: at most 1000000000")
        if self.reward_block_ppb + self.reward_inclusion_ppb + self.reward_attest_ppb > BILLION:
            raise ValueError("the parts of the reward for blocks, inclusion and attesting exceed the whole")
        if not 2 <= self.participation_interval <= self.relay_parent_window:
            raise ValueError("participation_interval is at least 2 and at most relay_parent_window")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One key and value of a guest's own tree, raw."""

    key: Annotated[bytes, MaxLength(MAX_KEY_BYTES)]
    value: Annotated[bytes, MaxLength(MAX_VALUE_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainTerms:
    """What a consumer chain asked for when it registered; part of its record (DESIGN.md section 6)."""

    policy: U8 = int(Policy.REPLICATED)
    fuel_limit: Fuel = Fuel(500_000_000)  # of one candidate
    max_pov_bytes: U32 = 2 * 1024 * 1024
    fee_share_ppb: U32 = 0  # of its candidates' fees, to those who attest them
    subset: SubsetTerms | None = None  # who attests under `subset`
    rails: RailTerms | None = None  # None: whatever it pays for may leave it

    def __post_init__(self) -> None:
        if self.fee_share_ppb > BILLION:
            raise ValueError("fee_share_ppb is a fraction: at most 1000000000")
        if self.policy not in set(Policy):
            raise ValueError(f"assurance policy {self.policy} is unknown; 1 is `replicated`, 2 `subset`")
        if (self.policy == Policy.SUBSET) != (self.subset is not None):
            raise ValueError("a `subset` chain's terms say who attests it, and no other chain's do")
