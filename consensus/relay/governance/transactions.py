"""What accounts may ask for in governance (DESIGN.md section 8); wire tags 40 to 49.

A *measure* is what a proposal would do; its tags are their own. Amounts are in units, spans in milliseconds.
"""

import enum
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, get_args

from consensus.primitives.codec import U8, U32, U64, U128, MaxLength
from consensus.primitives.ids import Amount, ChainId, Epoch, Hash, PublicKey
from consensus.relay.parameters import MAX_CODE_BYTES, ChainTerms, Entry

MAX_TITLE_BYTES: Final = 128
MAX_CHANGES: Final = 64  # parameters that one measure sets
MAX_COUNCIL: Final = 16
PROPOSAL_WEIGHT: Final = 1_500  # microseconds on the reference machine; a chain's code is weighed apart
VOTE_WEIGHT: Final = 600


class Choice(enum.IntEnum):
    """What a vote says."""

    YES = 1
    NO = 2
    ABSTAIN = 3  # counts for the quorum alone
    VETO = 4  # no, and the proposer shall lose the deposit


# --- measures


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One parameter and its new value."""

    name: Annotated[str, MaxLength(64)]
    value: U128


@dataclass(frozen=True, slots=True, kw_only=True)
class SetParameters:
    """Change parameters, all together, from the first block of the epoch after they fall due."""

    WIRE_TAG: ClassVar[int] = 1
    changes: Annotated[tuple[Change, ...], MaxLength(MAX_CHANGES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """Pay `amount` units of the treasury to an account."""

    WIRE_TAG: ClassVar[int] = 2
    to: PublicKey
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class OnboardChain:
    """Register a consumer chain for `owner` without a deposit; `balance` units of the treasury become its
    relay balance."""

    WIRE_TAG: ClassVar[int] = 3
    name: Annotated[str, MaxLength(64)]
    owner: PublicKey
    code: Annotated[bytes, MaxLength(MAX_CODE_BYTES)]
    entries: Annotated[tuple[Entry, ...], MaxLength(1_024)]
    terms: ChainTerms
    balance: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTerms:
    """Give a consumer chain other terms."""

    WIRE_TAG: ClassVar[int] = 4
    chain: ChainId
    terms: ChainTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseChain:
    """Enact no candidate of a chain and deliver none of its messages, for at most `council_pause_ms`."""

    WIRE_TAG: ClassVar[int] = 5
    chain: ChainId
    span_ms: U64


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeChain:
    """End a chain's pause before its time."""

    WIRE_TAG: ClassVar[int] = 6
    chain: ChainId


@dataclass(frozen=True, slots=True, kw_only=True)
class StopChain:
    """Enact no candidate of a chain ever again."""

    WIRE_TAG: ClassVar[int] = 7
    chain: ChainId


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCouncil:
    """Who sits on the emergency council, and how many of them act together; nobody dissolves it."""

    WIRE_TAG: ClassVar[int] = 8
    members: Annotated[tuple[PublicKey, ...], MaxLength(MAX_COUNCIL)]  # sorted, distinct
    threshold: U8


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchVersion:
    """Run another version of the protocol from an epoch on: `epoch`, or the next one where that has begun."""

    WIRE_TAG: ClassVar[int] = 9
    version: U32
    epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class VetoSlash:
    """Undo the convictions that an open case is for: its stake goes back to whom it was cut from."""

    WIRE_TAG: ClassVar[int] = 10
    case: U64


Measure = (
    SetParameters
    | Spend
    | OnboardChain
    | SetTerms
    | PauseChain
    | ResumeChain
    | StopChain
    | SetCouncil
    | SwitchVersion
    | VetoSlash
)

MEASURES: Final = {each.WIRE_TAG: each for each in get_args(Measure)}


def summary(measure: Measure) -> str:
    """What a measure would do, in a line."""
    match measure:
        case SetParameters():
            return "set " + ", ".join(f"{each.name} = {each.value}" for each in measure.changes)
        case Spend():
            return f"pay {measure.amount} units of the treasury to {measure.to.hex()}"
        case OnboardChain():
            return f"register chain {measure.name!r} of {measure.owner.hex()} with {measure.balance} units"
        case SetTerms():
            return f"give chain {measure.chain} other terms"
        case PauseChain():
            return f"pause chain {measure.chain} for {measure.span_ms} ms"
        case ResumeChain():
            return f"end the pause of chain {measure.chain}"
        case StopChain():
            return f"stop chain {measure.chain} for good"
        case SetCouncil():
            return f"a council of {len(measure.members)} that acts by {measure.threshold}"
        case SwitchVersion():
            return f"run version {measure.version} of the protocol from epoch {measure.epoch} on"
        case VetoSlash():
            return f"veto case {measure.case}"


# --- actions


@dataclass(frozen=True, slots=True, kw_only=True)
class Propose:
    """Put a measure to the vote; locks `gov_deposit`. Answers with the proposal's number, 8 bytes big-endian,
    or with why the measure is refused."""

    WIRE_TAG: ClassVar[int] = 40
    title: Annotated[str, MaxLength(MAX_TITLE_BYTES)]
    measure: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteAsMember:
    """As a member of the set of the proposal's epoch: for all stake behind it that does not vote for itself.
    The latest vote counts."""

    WIRE_TAG: ClassVar[int] = 41
    proposal: U64
    choice: U8


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteStake:
    """With the sender's own position in a pool, instead of the validators behind whom it stands. The latest
    vote counts, with what the position is worth at that time. Answers with the units, 16 bytes big-endian."""

    WIRE_TAG: ClassVar[int] = 42
    proposal: U64
    pool: Hash
    choice: U8


@dataclass(frozen=True, slots=True, kw_only=True)
class CouncilPause:
    """As a member of the council: pause a chain for at most so long. Once enough members want the same chain
    paused it is, for the shortest of their spans. Answers with 1 where that happened, else with 0."""

    WIRE_TAG: ClassVar[int] = 43
    chain: ChainId
    span_ms: U64


GovernanceAction = Propose | VoteAsMember | VoteStake | CouncilPause
