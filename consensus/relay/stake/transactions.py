"""What accounts may ask for with stake (DESIGN.md section 8); wire tags 7 to 13 and 20 to 29.

Amounts are in units. All of it counts from the next election on: a running epoch's set never changes.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.primitives.codec import U32, MaxLength
from consensus.primitives.ids import Amount, Hash, PublicKey, Signature
from consensus.relay.epochs import MAX_ADDRESS_BYTES, MAX_NAME_BYTES
from consensus.relay.parameters import BILLION

MAX_APPROVALS: Final = 16  # validators of one nomination
MAX_LABEL_BYTES: Final = 32
DEFAULT_COMMISSION_STEP_PPB: Final = 10_000_000

Validators = Annotated[tuple[PublicKey, ...], MaxLength(MAX_APPROVALS)]
Label = Annotated[str, MaxLength(MAX_LABEL_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bond:
    """Become a validator: lock `amount` units of the sender as stake of its own. An account does so once.

    Name and keys are new to the network; both keys sign `possession_bytes` of the sender, so that nobody can
    take up a key that another holds. `address` is IP:PORT, or empty for one that others need not dial.
    The commission can never rise above its maximum, nor change by more than its step in one epoch.
    """

    WIRE_TAG: ClassVar[int] = 7
    name: Annotated[str, MaxLength(MAX_NAME_BYTES)]
    consensus_key: PublicKey
    identity_key: PublicKey
    address: Annotated[str, MaxLength(MAX_ADDRESS_BYTES)]
    amount: Amount
    consensus_proof: Signature
    identity_proof: Signature
    commission_ppb: U32 = 0
    commission_max_ppb: U32 = BILLION
    commission_step_ppb: U32 = DEFAULT_COMMISSION_STEP_PPB
    operator: Label = ""
    region: Label = ""
    client: Label = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BondMore:
    """Add to the sender's own stake as a validator."""

    WIRE_TAG: ClassVar[int] = 8
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Unbond:
    """Take own stake of a validator out of the next election: all, or so much that `min_stake` is left. It
    stays at risk until `Withdraw` pays it out."""

    WIRE_TAG: ClassVar[int] = 9
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """Have all that waited long enough, of at most `MAX_WITHDRAWALS` pools: what left is paid out, what
    moved is no longer bound to where it came from. Answers with the units paid out, 16 bytes big-endian."""

    WIRE_TAG: ClassVar[int] = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateKey:
    """Sign with another consensus key from the next election on; `proof` as in `Bond`."""

    WIRE_TAG: ClassVar[int] = 11
    consensus_key: PublicKey
    proof: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAddress:
    """Be dialled at another address from the next election on."""

    WIRE_TAG: ClassVar[int] = 12
    address: Annotated[str, MaxLength(MAX_ADDRESS_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjail:
    """A jailed validator asks to be elected again."""

    WIRE_TAG: ClassVar[int] = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegate:
    """Put units behind validators, 1 to MAX_APPROVALS of them, all active. The first to name several of them
    together puts in at least `min_nomination`."""

    WIRE_TAG: ClassVar[int] = 20
    validators: Validators
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelegate:
    """Take units from behind a nomination, which `Withdraw` pays out later; they are at risk till then."""

    WIRE_TAG: ClassVar[int] = 21
    nomination: Hash
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelegate:
    """Put units that are behind a nomination behind other validators instead. They answer for the old ones as
    long as if they had left, and can not move on or leave before that."""

    WIRE_TAG: ClassVar[int] = 22
    nomination: Hash
    validators: Validators
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Have what the sender's position in a pool has earned. Answers with the units, 16 bytes big-endian.
    Gives up shares that were cut to nothing, and with them what a veto would give back."""

    WIRE_TAG: ClassVar[int] = 23
    pool: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCommission:
    """Take another share of what delegators earn; once an epoch, within what the bond fixed, and by no more
    than `commission_step_ppb`."""

    WIRE_TAG: ClassVar[int] = 24
    commission_ppb: U32


@dataclass(frozen=True, slots=True, kw_only=True)
class Chill:
    """Stand in no election from the next on, with the stake left as it is."""

    WIRE_TAG: ClassVar[int] = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchill:
    """Stand in elections again."""

    WIRE_TAG: ClassVar[int] = 26


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLabels:
    """Declare who operates a validator, where, with which software: for the concentration report."""

    WIRE_TAG: ClassVar[int] = 27
    operator: Label
    region: Label
    client: Label


ValidatorAction = (
    BondMore | Unbond | RotateKey | SetAddress | Unjail | SetCommission | Chill | Unchill | SetLabels
)
HolderAction = Withdraw | Delegate | Undelegate | Redelegate | Claim
StakingAction = Bond | ValidatorAction | HolderAction
