"""What one run of a block carries from step to step."""

from collections.abc import Callable
from dataclasses import dataclass, field

from consensus.agreement.validators import ValidatorSet
from consensus.primitives.guest import GuestExecutor
from consensus.primitives.ids import (
    Epoch,
    Hash,
    Height,
    Milliseconds,
    PublicKey,
    Signature,
    ValidatorIndex,
    View,
)
from consensus.relay.elections.records import ElectionRecord
from consensus.relay.epochs import epoch_members
from consensus.relay.ledger import Ledger
from consensus.relay.offences.records import Convicted
from consensus.relay.parameters import Parameters
from consensus.relay.receipts import Receipt
from consensus.relay.registry import Registry
from consensus.relay.stake.stakes import Stakes


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockContext:
    """What execution may know of the block it is in. `verify` decides attestations; wrap it in a cache."""

    chain_id_hash: Hash
    height: Height
    time_ms: Milliseconds
    epoch: Epoch
    view: View
    parent_hash: Hash
    parent_view: View  # 0 where the parent is the last block of the epoch before
    proposer: ValidatorIndex
    validators: ValidatorSet
    verify: Callable[[PublicKey, bytes, Signature], bool]


@dataclass(slots=True, kw_only=True)
class Run:
    """The mutable side of `apply_block`: the overlay, and what the result will report."""

    context: BlockContext
    ledger: Ledger
    registry: Registry
    stakes: Stakes
    parameters: Parameters
    guests: GuestExecutor
    receipts: list[Receipt] = field(default_factory=list)
    void: dict[Hash, str] = field(default_factory=dict)
    enacted: list[Hash] = field(default_factory=list)
    rejected: list[Hash] = field(default_factory=list)
    offences: list[Convicted] = field(default_factory=list)
    raised: list[Convicted] = field(default_factory=list)  # convicted before, and cut further
    lifted: list[tuple[PublicKey, Epoch, int]] = field(default_factory=list)  # by veto: units given back
    pools_cut: int = 0  # that this block's convictions looked at
    transactions: int = 0
    enclave_calls: int = 0
    messages: int = 0
    election: ElectionRecord | None = None  # of the last block but one of an epoch

    @property
    def proposer(self) -> PublicKey:
        """The account of who proposed the block, paid for that and as reporter of what it proves."""
        return epoch_members(self.ledger, self.context.epoch).members[self.context.proposer].account
