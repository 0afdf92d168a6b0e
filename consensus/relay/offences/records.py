"""What the state keeps of offences, and where each leaf is.

    offence       account and epoch → OffenceRecord, while anything stands against the validator
    convict       account → ConvictRecord: how many of them tombstone
    offenders     epoch → OffendersRecord: who is convicted of a correlated offence of it
    case          number → CaseRecord: what can still be vetoed
    case-cut      case and edge → CutsRecord: from which pools its stake came
    relay         "unfinished-cut" → UnfinishedCut: what later blocks cut on for, if there is anything
    burn          account, epoch, reporter → BurnRecord: what waits for the meter
    verdict       candidate → VerdictRecord
    submitter     account → SubmitterRecord
    ring          "cases", "sweeps", "burns", "raises", "verdicts": queues of the above; "convictions": all

All that one validator did in one epoch is one record. What it owes is a function of the record alone, by
edge of its exposure (`owed`): so nothing is ever taken twice, and a veto gives back just what is no longer
owed.
"""

import enum
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.agreement.evidence import Evidence
from consensus.primitives.codec import U8, U16, U32, U64, U128, MaxLength
from consensus.primitives.ids import ChainId, Epoch, Hash, Height, Milliseconds, PublicKey
from consensus.primitives.tree import tree_key
from consensus.relay.offences.table import TABLE, OffenceKind
from consensus.relay.parameters import BILLION, MAX_SET
from consensus.relay.stake.records import Standing


class CaseState(enum.IntEnum):
    """What becomes of a case."""

    OPEN = 1  # may be vetoed
    LAPSED = 2  # was not: its stake waits for the meter, its leaves are being removed
    VETOED = 3  # its stake is being given back


MAX_ALLOCATION_FAULTS: Final = 16  # chains on which one validator is convicted in one epoch
MAX_CUT_POOLS: Final = 4_096  # a nomination has 65 pools; of each conviction they count anew if they were
# cut to nothing by the one before, and there are MAX_ALLOCATION_FAULTS and a few of one validator and epoch

METER_KEY: Final = tree_key(b"relay", b"slash-meter")
CASES_KEY: Final = tree_key(b"relay", b"slash-cases")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conviction:
    """The gravest offence of a validator in an epoch, and what it costs."""

    offence: U8  # of `table.OffenceKind`
    fraction_ppb: U32  # of every edge of the exposure, together with all lesser offences
    height: Height  # of the block that convicted
    reporter: PublicKey | None  # who gets part of what is taken

    @property
    def gravity(self) -> int:
        """Of the offence."""
        return TABLE[OffenceKind(self.offence)].gravity


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationFault:
    """An offence on a chain that the validator had allocated stake to: it costs of that stake alone."""

    chain: ChainId
    offence: U8
    amount: U128  # units, at most what was allocated
    firm: bool  # no veto reaches it any more
    height: Height
    reporter: PublicKey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OffenceRecord:
    """All that stands against a validator for one epoch."""

    WIRE_VERSION: ClassVar[int] = 2
    account: PublicKey
    epoch: Epoch
    firm: Conviction | None  # by signatures, or past its veto window
    pending: Conviction | None  # by a verdict or a record, as long as governance may veto it
    allocations: Annotated[tuple[AllocationFault, ...], MaxLength(MAX_ALLOCATION_FAULTS)]
    case: U64  # number of the open case; 0 where none is
    taken: U128  # units that were cut for it and not given back

    @property
    def fraction_ppb(self) -> int:
        """The part of the whole exposure that is owed."""
        return max((each.fraction_ppb for each in (self.firm, self.pending) if each is not None), default=0)

    @property
    def firm_ppb(self) -> int:
        """The part that is owed whatever governance says."""
        return 0 if self.firm is None else self.firm.fraction_ppb

    @property
    def offences(self) -> tuple[OffenceKind, ...]:
        """What stands, the gravest first; not more than one of each."""
        found = {each.offence for each in (self.firm, self.pending) if each is not None}
        found |= {each.offence for each in self.allocations}
        return tuple(sorted(map(OffenceKind, found), key=lambda kind: (-TABLE[kind].gravity, kind)))

    @property
    def tombstones(self) -> bool:
        """Whether anything in it keeps the validator out for good: what it did on single chains does not."""
        stands = (each for each in (self.firm, self.pending) if each is not None)
        return any(TABLE[OffenceKind(each.offence)].standing is Standing.TOMBSTONED for each in stands)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvictRecord:
    """Of one validator: OffenceRecords that tombstone."""

    tombstones: U32


@dataclass(frozen=True, slots=True, kw_only=True)
class OffendersRecord:
    """Who offended in one epoch in a way that is correlated."""

    power: U64  # voting power of all of them together
    accounts: Annotated[tuple[PublicKey, ...], MaxLength(MAX_SET)]  # in the order of their convictions
    cursor: U16  # those before it owe what the latest conviction made of it; the others will be raised


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """Stake that was cut for what can be vetoed. Counts from 1; a number is used once."""

    number: U64
    account: PublicKey
    epoch: Epoch
    until_ms: Milliseconds  # governance may veto it in blocks before that time
    amount: U128  # units that a veto would give back
    edges: U32  # of the exposure; those from `swept` on may have a CutsRecord
    swept: U32
    state: U8  # of CaseState
    reporter: PublicKey | None
    own: U128  # of `amount`, what the offender itself had at stake


@dataclass(frozen=True, slots=True, kw_only=True)
class CutEntry:
    """Units that were taken from one generation of one pool."""

    pool: Hash
    generation: U32
    amount: U128


@dataclass(frozen=True, slots=True, kw_only=True)
class CutsRecord:
    """What a case took of one edge: a veto gives back just this."""

    cuts: Annotated[tuple[CutEntry, ...], MaxLength(MAX_CUT_POOLS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedCut:
    """A conviction for which not all is cut: its exposure had more pools than the block had room for."""

    account: PublicKey
    epoch: Epoch
    before: OffenceRecord  # what it owes beyond this is cut; what it owes now is its OffenceRecord's to say
    offence: U8  # that it was convicted of last
    reporter: PublicKey | None
    edge: U16  # of the exposure: the first that is not cut
    contested: bool  # whether any of it may be vetoed
    taken: U128  # units, since the block that convicted


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseCounter:
    """How many cases there ever were."""

    opened: U64


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnRecord:
    """Units in the pot of slashed stake that are the next to be burnt and shared out."""

    account: PublicKey
    epoch: Epoch
    reporter: PublicKey | None
    amount: U128
    own: U128  # of these, what the offender itself had at stake


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRecord:
    """What was decided of a candidate, for as long as the contrary can be reported."""

    chain: ChainId
    policy: U8  # of its chain
    verdict: U8  # of statements.Verdict
    whole: bool  # more than 2/3 of all stake said so, not only of those who attest the chain: it convicts
    epoch: Epoch  # of the block that it is in
    height: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitterRecord:
    """How often an account submitted evidence in the latest epoch in which it did."""

    epoch: Epoch
    count: U16


@dataclass(frozen=True, slots=True, kw_only=True)
class Convicted:
    """What a block did to a validator; for people and for the node, not in the state."""

    account: PublicKey
    epoch: Epoch
    offence: OffenceKind
    height: Height
    slashed: int  # units cut for it and not published yet
    evidence: Evidence | None  # the two votes that convict, if it was by such


def owed(edge: int, total: int, fraction_ppb: int, allocated: tuple[int, ...]) -> int:
    """What one edge of an exposure owes: its part of everything, each part rounded down, at most all of it.

    `edge` of `total` units; `allocated`, units owed of the whole exposure for single chains.
    """
    chains = sum(edge * each // total for each in allocated) if total else 0
    return min(edge, edge * fraction_ppb // BILLION + chains)


def offence_key(account: PublicKey, epoch: Epoch) -> Hash:
    """Where all convictions of a validator for one epoch are."""
    return tree_key(b"offence", account + epoch.to_bytes(8, "big"))


def convict_key(account: PublicKey) -> Hash:
    """Where a validator's tombstones are counted."""
    return tree_key(b"convict", account)


def offenders_key(epoch: Epoch) -> Hash:
    """Where an epoch's offenders are listed."""
    return tree_key(b"offenders", epoch.to_bytes(8, "big"))


def case_key(number: int) -> Hash:
    """Where a case is."""
    return tree_key(b"case", number.to_bytes(8, "big"))


def case_cut_key(number: int, edge: int) -> Hash:
    """Where it is kept from which pools a case took, of one edge."""
    return tree_key(b"case-cut", number.to_bytes(8, "big") + edge.to_bytes(4, "big"))


def burn_key(account: PublicKey, epoch: Epoch, reporter: PublicKey | None) -> Hash:
    """Where it is counted what waits to be burnt."""
    return tree_key(b"burn", account + epoch.to_bytes(8, "big") + (reporter or b""))


def verdict_key(candidate: Hash) -> Hash:
    """Where the verdict on a candidate is."""
    return tree_key(b"verdict", candidate)


def submitter_key(account: PublicKey) -> Hash:
    """Where an account's submissions are counted."""
    return tree_key(b"submitter", account)
