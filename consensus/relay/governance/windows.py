"""Which parameters a vote may change, how long that takes, and which combinations nobody may make
(DESIGN.md section 4; docs/decisions/028).

Changes are judged as the whole that they would make with all other parameters, once when they are proposed
and again when they fall due; `Parameters` itself knows which windows contradict each other.

    FIXED      what a node, a light client or the numbering of epochs takes from the genesis
    ORDINARY   money, and the size of what is kept
    all else   the security model's own rules: windows, fractions, quorums, timelocks, who may be elected, how
               long execution may take

What is in neither list waits the longer time: a parameter that somebody adds is safe before it is filed.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from consensus.primitives.codec import encode
from consensus.relay.governance.records import Pace
from consensus.relay.governance.transactions import Change
from consensus.relay.parameters import DAY_MS, Parameters

MAX_SPAN_MS: Final = 100 * 365 * DAY_MS  # so that no time to come is beyond 64 bits
_NODES: Final = "nodes judge blocks by it before they have executed what came before"
FIXED: Final = {
    "epoch_blocks": "the number of an epoch is a height divided by it, for old ones and light clients too",
    "trusting_ms": "light clients carry that of the genesis, and would not hear of another",
    "relay_parent_window": "the ring of recent blocks is as long, and so is what signers remember",
    "precision_ms": _NODES,
    "message_delay_ms": _NODES,
    "idle_interval_ms": _NODES,
    "max_block_bytes": _NODES,
    "max_block_weight": _NODES,
    "max_transactions": _NODES,
    "max_candidates": _NODES,
    "max_evidence": _NODES,
}
ORDINARY: Final = frozenset(
    {
        "base_fee",
        "byte_fee",
        "fuel_price_ppb",
        "message_fee",
        "candidate_fee",
        "pov_kib_fee",
        "deposit_per_byte",
        "chain_deposit",
        "instance_deposit",
        "burn_share_ppb",
        "proposer_fee_ppb",
        "issuance_start_ppb",
        "issuance_ideal_ppb",
        "staking_target_ppb",
        "issuance_decay_ppb",
        "issuance_max_ms",
        "take_min_ppb",
        "take_max_ppb",
        "treasury_target_ppb",
        "commission_min_ppb",
        "commission_step_ppb",
        "reward_block_ppb",
        "reward_inclusion_ppb",
        "reward_attest_ppb",
        "participation_interval",
        "min_nomination",
        "evidence_bond",
        "submissions_per_epoch",
        "max_pov_bytes",
        "max_module_bytes",
        "lane_messages",
        "lane_bytes",
        "gov_deposit",
    }
)


def changed(parameters: Parameters, changes: Sequence[Change]) -> Parameters:
    """The parameters with these changes. Raises ValueError that says why there can be none such."""
    names = [each.name for each in changes]
    if not names or len(set(names)) < len(names):
        raise ValueError("a change names at least one parameter, and each of them once")
    for name in names:
        if name not in Parameters.__slots__:
            raise ValueError(f"there is no parameter {name!r}")
        if name in FIXED:
            raise ValueError(f"{name} is not governed: {FIXED[name]}")
    for each in changes:
        if each.name.endswith("_ms") and each.value > MAX_SPAN_MS:
            raise ValueError(f"{each.name} is at most {MAX_SPAN_MS}, a hundred years")
    whole = replace(parameters, **{each.name: each.value for each in changes})  # type: ignore[arg-type]
    encode(whole)  # each fits its width
    return whole


def pace_of_changes(changes: Sequence[Change]) -> Pace:
    """How long changing these takes: as long as the slowest of them."""
    return Pace.ORDINARY if all(each.name in ORDINARY for each in changes) else Pace.SECURITY
