"""Relay-chain transactions: signed by an account, protected by its nonce, paid by it (DESIGN.md section 3).

An account *is* an Ed25519 key. The signature covers `PHALANX/transaction/1`, a zero byte and the encoded
body, which carries the genesis hash: a transaction is valid on one network only, once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.primitives import crypto
from consensus.primitives.codec import MaxLength, decode, encode
from consensus.primitives.crypto import SigningKey, hash_tagged
from consensus.primitives.errors import DecodeError, InvalidTransaction
from consensus.primitives.guest import MAX_MESSAGE_BYTES, InstanceEndpoint
from consensus.primitives.ids import Amount, ChainId, Fuel, Hash, ModuleId, Nonce, PublicKey, Signature
from consensus.relay.governance.transactions import (
    PROPOSAL_WEIGHT,
    VOTE_WEIGHT,
    CouncilPause,
    GovernanceAction,
    OnboardChain,
    Propose,
    VoteAsMember,
    VoteStake,
)
from consensus.relay.offences.transactions import (
    REPORT_WEIGHT,
    OffenceAction,
    ReportContradiction,
    ReportStatement,
    SubmitEvidence,
)
from consensus.relay.parameters import MAX_CODE_BYTES, ChainTerms, Entry
from consensus.relay.rewards.transactions import ClaimCommission, ReleasePayment, RewardAction
from consensus.relay.security.transactions import Allocate, SecurityAction
from consensus.relay.stake.transactions import (
    Bond,
    BondMore,
    Claim,
    Delegate,
    RotateKey,
    StakingAction,
    Withdraw,
)

DOMAIN: Final = b"PHALANX/transaction/1\x00"
MAX_TRANSACTION_BYTES: Final = MAX_CODE_BYTES + 256 * 1024
MAX_CALL_INPUT_BYTES: Final = 2 * MAX_MESSAGE_BYTES
TRANSFER_WEIGHT: Final = 50  # microseconds on the reference machine
RELEASE_WEIGHT: Final = 500  # reading who attested, of a full set
CALL_WEIGHT: Final = 800  # one entry into a sandbox and one update of an instance's tree
ADMISSION_WEIGHT: Final = 20_000  # compiling a module, at its size limit
STAKING_WEIGHT: Final = 1_000  # changing two pools; writing a full roster, once a block, is as much
DEPOSIT_WEIGHT: Final = 600  # changing one pool
WITHDRAWAL_WEIGHT: Final = 6_000  # up to eight pools
SIGNATURE_WEIGHT: Final = 90  # verifying one
FUEL_PER_WEIGHT: Final = 1_000  # fuel burnt in a microsecond by slow code; a tight loop burns 6,000

VerifySignature = Callable[[PublicKey, bytes, Signature], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Move `amount` units from the sender to `to`."""

    WIRE_TAG: ClassVar[int] = 1
    to: PublicKey
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterChain:
    """Create a consumer chain owned by the sender; it gets the next free id.

    Locks `chain_deposit + deposit_per_byte * (code and entries)`; `balance` units of the sender become the
    chain's relay balance.
    """

    WIRE_TAG: ClassVar[int] = 2
    name: Annotated[str, MaxLength(64)]
    code: Annotated[bytes, MaxLength(MAX_CODE_BYTES)]
    entries: Annotated[tuple[Entry, ...], MaxLength(1_024)]
    terms: ChainTerms
    balance: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUpChain:
    """Move `amount` units to a chain's relay balance, from which its candidates and messages are paid."""

    WIRE_TAG: ClassVar[int] = 3
    chain: ChainId
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployEnclave:
    """Admit an enclave for ever under the hash of its content; locks `deposit_per_byte` for each byte."""

    WIRE_TAG: ClassVar[int] = 4
    code: Annotated[bytes, MaxLength(MAX_CODE_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnclave:
    """Call an instance as this account. A call that fails is rolled back, pays its fuel, leaves a receipt."""

    WIRE_TAG: ClassVar[int] = 5
    instance: InstanceEndpoint
    input: Annotated[bytes, MaxLength(MAX_CALL_INPUT_BYTES)]
    fuel_limit: Fuel


@dataclass(frozen=True, slots=True, kw_only=True)
class OptIn:
    """The owner of `chain` lets its candidates call `module`: creates the instance (module, chain)."""

    WIRE_TAG: ClassVar[int] = 6
    chain: ChainId
    module: ModuleId


Action = (
    Transfer
    | RegisterChain
    | TopUpChain
    | DeployEnclave
    | CallEnclave
    | OptIn
    | StakingAction
    | OffenceAction
    | RewardAction
    | GovernanceAction
    | SecurityAction
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionBody:
    """What is signed. `max_fee` bounds what executing it may cost, in units, deposits not counted."""

    WIRE_VERSION: ClassVar[int] = 1
    chain_id_hash: Hash
    sender: PublicKey
    nonce: Nonce
    max_fee: Amount
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTransaction:
    """A body and its sender's signature."""

    body: TransactionBody
    signature: Signature


_CHECKING: Final = object()


class CheckedTransaction:
    """A transaction whose encoding, network and signature were found good; `check_transaction` makes it."""

    __slots__ = ("body", "hash", "raw", "weight")

    def __init__(self, hash: Hash, raw: bytes, body: TransactionBody, *, witness: object) -> None:
        if witness is not _CHECKING:
            raise TypeError("a CheckedTransaction comes from check_transaction")
        self.hash: Final = hash
        self.raw: Final = raw
        self.body: Final = body
        self.weight: Final = weight_of(body.action)


def sign_transaction(key: SigningKey, body: TransactionBody) -> bytes:
    """The wire bytes of `body` signed by `key`. Raises ValueError if the body names another sender."""
    if key.public != body.sender:
        raise ValueError("the key is not the sender's")
    signature = key.sign(DOMAIN + encode(body))
    return encode(SignedTransaction(body=body, signature=signature))


def transaction_hash(raw: bytes) -> Hash:
    """The hash by which a transaction's receipt is found; of the signed bytes."""
    return hash_tagged(b"PHALANX/transaction-hash/1", raw)


def check_transaction(
    raw: bytes, chain_id_hash: Hash, verify: VerifySignature = crypto.verify
) -> CheckedTransaction:
    """Check all that needs no state: form, network, signature. Raises InvalidTransaction with the reason."""
    try:
        signed = decode(SignedTransaction, raw, limit=MAX_TRANSACTION_BYTES)
    except DecodeError as error:
        raise InvalidTransaction(f"malformed transaction: {error}") from None
    body = signed.body
    if body.chain_id_hash != chain_id_hash:
        raise InvalidTransaction("the transaction was signed for another network (its genesis hash differs)")
    if not verify(body.sender, DOMAIN + encode(body), signed.signature):
        raise InvalidTransaction("the signature is not the sender's")
    return CheckedTransaction(transaction_hash(raw), raw, body, witness=_CHECKING)


def weight_of(action: Action) -> int:
    """Microseconds that executing `action` may take on the reference machine (DESIGN.md section 4)."""
    match action:
        case CallEnclave():
            return CALL_WEIGHT + action.fuel_limit // FUEL_PER_WEIGHT
        case ReleasePayment():
            return RELEASE_WEIGHT + CALL_WEIGHT + action.fuel_limit // FUEL_PER_WEIGHT
        case DeployEnclave():
            return ADMISSION_WEIGHT + len(action.code) // 100
        case RegisterChain():
            return ADMISSION_WEIGHT + len(action.code) // 100 + TRANSFER_WEIGHT * len(action.entries)
        case Propose(measure=OnboardChain() as measure):
            return ADMISSION_WEIGHT + len(measure.code) // 100 + TRANSFER_WEIGHT * len(measure.entries)
        case Propose():
            return PROPOSAL_WEIGHT
        case VoteAsMember() | VoteStake() | CouncilPause():
            return VOTE_WEIGHT
        case Transfer() | TopUpChain() | OptIn() | ClaimCommission() | Allocate():
            return TRANSFER_WEIGHT
        case Bond():
            return STAKING_WEIGHT + 2 * SIGNATURE_WEIGHT
        case RotateKey():
            return STAKING_WEIGHT + SIGNATURE_WEIGHT
        case SubmitEvidence() | ReportStatement() | ReportContradiction():
            return REPORT_WEIGHT + 2 * SIGNATURE_WEIGHT
        case Withdraw():
            return WITHDRAWAL_WEIGHT
        case Delegate() | BondMore() | Claim():
            return DEPOSIT_WEIGHT
        case _:  # mypy: a StakingAction
            return STAKING_WEIGHT
