"""The leaves of governance, and where each is in the relay tree (DESIGN.md section 8).

agenda       singleton: what falls due, and when: votes that end, measures that wait
proposal     number → ProposalRecord, while it is open and for the latest that are over
measure      number → the measure, while it may still be carried out
members      number → what members of the proposal's epoch said, while its vote is open
own-votes    number and nomination → units cast by delegators themselves, while its vote is open
voter        number and index → a nomination that has own votes
own-vote     pool and holder → what a position was cast for, in votes that are open
coming       singleton: the parameters of the next epoch, if they are decided to differ
council      singleton: who sits on the council, what they want, when it acted
protocol     singleton: the version of the protocol, and the next one
"""

import enum
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.primitives.codec import U8, U32, U64, U128, MaxLength
from consensus.primitives.ids import ChainId, Epoch, Hash, Height, Milliseconds, PublicKey
from consensus.primitives.tree import tree_key
from consensus.relay.governance.tally import VoteCount
from consensus.relay.governance.transactions import MAX_COUNCIL, MAX_TITLE_BYTES
from consensus.relay.parameters import MAX_SET

MAX_AGENDA: Final = 64  # proposals whose vote or wait is not over
URGENT_PLACES: Final = 8  # of these, for what can not wait
KEPT_PROPOSALS: Final = 256  # that are over
MAX_REASON_BYTES: Final = 256
FIRST_VERSION: Final = 1

AGENDA_KEY: Final = tree_key(b"gov", b"agenda")
COMING_KEY: Final = tree_key(b"gov", b"coming")
COUNCIL_KEY: Final = tree_key(b"gov", b"council")
PROTOCOL_KEY: Final = tree_key(b"gov", b"protocol")
PROPOSALS_KEY: Final = tree_key(b"gov", b"proposals")


class Pace(enum.IntEnum):
    """How long a measure takes."""

    URGENT = 1  # it only holds back, or gives back: half of `veto_ms` at most, and no wait
    ORDINARY = 2  # `gov_vote_ms`, then `gov_timelock_ms`
    SECURITY = 3  # `gov_vote_ms`, then `gov_security_timelock_ms`


class ProposalStage(enum.IntEnum):
    """What became of a proposal."""

    VOTING = 1
    WAITING = 2  # passed: its measure is carried out once its wait is over
    DONE = 3
    FAILED = 4  # passed, and could not be carried out: `reason` says why; nothing has changed
    REJECTED = 5
    NO_QUORUM = 6  # the deposit is burnt
    VETOED = 7  # the deposit is burnt
    LAPSED = 8  # the set of its epoch was forgotten before the votes were counted; nobody decided


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRecord:
    """One proposal."""

    WIRE_VERSION: ClassVar[int] = 1
    number: U64
    title: Annotated[str, MaxLength(MAX_TITLE_BYTES)]
    proposer: PublicKey
    measure: U8  # its tag
    summary: Annotated[str, MaxLength(MAX_REASON_BYTES)]  # what it would do
    pace: U8
    stage: U8
    epoch: Epoch  # whose set and exposures decide who counts for how much
    height: Height  # of the block that opened it
    opened_ms: Milliseconds
    closes_ms: Milliseconds  # votes count in blocks before that time
    due_ms: Milliseconds  # its measure is carried out from then on; 0 while it is not decided
    deposit: U128  # units in Pot.DEPOSITS; 0 once they are returned or burnt
    voters: U32  # nominations that have own votes
    tally: VoteCount | None  # once counted
    reason: Annotated[str, MaxLength(MAX_REASON_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgendaEntry:
    """A proposal on which something falls due."""

    due_ms: Milliseconds
    number: U64


@dataclass(frozen=True, slots=True, kw_only=True)
class AgendaRecord:
    """What falls due, the earliest first; and the votes that are counted, whose leaves are not all gone."""

    entries: Annotated[tuple[AgendaEntry, ...], MaxLength(MAX_AGENDA)] = ()
    swept: Annotated[tuple[U64, ...], MaxLength(2 * MAX_AGENDA)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalCounter:
    """How many proposals there ever were: a number is used once, from 1."""

    opened: U64 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MembersRecord:
    """What each member said, by index: a Choice, or 0."""

    choices: Annotated[bytes, MaxLength(MAX_SET)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnVotesRecord:
    """Units that delegators of one nomination cast themselves."""

    yes: U128 = 0
    no: U128 = 0
    abstain: U128 = 0
    veto: U128 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnVote:
    """What a position was cast for."""

    proposal: U64
    choice: U8
    amount: U128


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnVoteRecord:
    """What a position was cast for, in each vote that was open when it last voted."""

    votes: Annotated[tuple[OwnVote, ...], MaxLength(MAX_AGENDA)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a member of the council wants: a chain paused."""

    member: PublicKey
    chain: ChainId
    span_ms: U64
    at_ms: Milliseconds  # of the block in which it said so


@dataclass(frozen=True, slots=True, kw_only=True)
class CouncilRecord:
    """The emergency council. Before governance elects one, it has no members."""

    WIRE_VERSION: ClassVar[int] = 1
    members: Annotated[tuple[PublicKey, ...], MaxLength(MAX_COUNCIL)] = ()
    threshold: U8 = 0
    acts_from_ms: Milliseconds = Milliseconds(0)  # noqa: RUF009  before that time it has spent its act
    wishes: Annotated[tuple[Wish, ...], MaxLength(MAX_COUNCIL)] = ()  # the latest of each, by member


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolRecord:
    """The version of the protocol that epochs run, and the next one from `next_epoch` on (0: none)."""

    WIRE_VERSION: ClassVar[int] = 1
    version: U32 = FIRST_VERSION
    next_version: U32 = 0
    next_epoch: Epoch = Epoch(0)  # noqa: RUF009  (a NewType)


def proposal_key(number: int) -> Hash:
    """Where a proposal is in the relay tree."""
    return tree_key(b"gov-proposal", number.to_bytes(8, "big"))


def measure_key(number: int) -> Hash:
    """Where it is what a proposal would do."""
    return tree_key(b"gov-measure", number.to_bytes(8, "big"))


def members_key(number: int) -> Hash:
    """Where it is what members say to a proposal."""
    return tree_key(b"gov-members", number.to_bytes(8, "big"))


def own_votes_key(number: int, nomination: Hash) -> Hash:
    """Where the own votes of a nomination's delegators are added up."""
    return tree_key(b"gov-own-votes", number.to_bytes(8, "big") + nomination)


def voter_key(number: int, index: int) -> Hash:
    """Where the name of the `index`-th nomination is that has own votes."""
    return tree_key(b"gov-voter", number.to_bytes(8, "big") + index.to_bytes(4, "big"))


def own_vote_key(pool: Hash, holder: PublicKey) -> Hash:
    """Where it is what a position was cast for."""
    return tree_key(b"gov-own-vote", pool + holder)
