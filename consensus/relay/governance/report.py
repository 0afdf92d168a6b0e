"""Governance in one state, for people: what is open, what came of the latest, and who may act."""

from dataclasses import dataclass

from consensus.primitives.ids import Amount, ChainId, Epoch, Milliseconds, PublicKey
from consensus.relay.governance.council import council
from consensus.relay.governance.proposals import find_proposal, proposal_count
from consensus.relay.governance.records import COMING_KEY, Pace, ProposalRecord, ProposalStage
from consensus.relay.governance.tally import VoteCount
from consensus.relay.governance.transactions import MEASURES
from consensus.relay.governance.versions import protocol
from consensus.relay.governance.votes import count
from consensus.relay.ledger import Ledger, Pot
from consensus.relay.parameters import Parameters
from consensus.relay.stake.stakes import Stakes

MAX_SHOWN = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalReport:
    """One proposal. The count is the last one; of an open vote `proposal` tells how it stands."""

    number: int
    title: str
    proposer: PublicKey
    measure: str
    summary: str
    pace: str
    stage: str
    epoch: Epoch
    opened_ms: Milliseconds
    closes_ms: Milliseconds
    due_ms: Milliseconds  # 0 while it is not decided
    deposit: Amount
    total: Amount
    yes: Amount
    no: Amount
    abstain: Amount
    veto: Amount
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComingChange:
    """A parameter that is another in the next epoch."""

    name: str
    now: Amount
    then: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class WishReport:
    """What a member of the council wants, and when it said so."""

    member: PublicKey
    chain: ChainId
    span_ms: int
    at_ms: Milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernanceReport:
    """All of it; proposals newest first."""

    version: int
    next_version: int  # 0: no switch is decided, now or before
    next_epoch: Epoch
    treasury: Amount
    council: tuple[PublicKey, ...]
    threshold: int
    acts_from_ms: Milliseconds
    wishes: tuple[WishReport, ...]
    coming: tuple[ComingChange, ...]
    proposals: tuple[ProposalReport, ...]


def governance_report(ledger: Ledger) -> GovernanceReport:
    """What the state says."""
    record, seats, opened = protocol(ledger), council(ledger), proposal_count(ledger)
    shown = (find_proposal(ledger, each) for each in range(opened, max(0, opened - MAX_SHOWN), -1))
    return GovernanceReport(
        version=record.version,
        next_version=record.next_version,
        next_epoch=record.next_epoch,
        treasury=Amount(ledger.pot(Pot.TREASURY)),
        council=seats.members,
        threshold=seats.threshold,
        acts_from_ms=seats.acts_from_ms,
        wishes=tuple(
            WishReport(member=each.member, chain=ChainId(each.chain), span_ms=each.span_ms, at_ms=each.at_ms)
            for each in seats.wishes
        ),
        coming=_coming(ledger),
        proposals=tuple(_report(each, each.tally) for each in shown if each is not None),
    )


def proposal_report(stakes: Stakes, number: int) -> ProposalReport | None:
    """One proposal, with its votes as they are now; None if it is not there (any more)."""
    record = find_proposal(stakes.ledger, number)
    if record is None:
        return None
    return _report(record, count(stakes, record) if record.stage == ProposalStage.VOTING else record.tally)


def _report(record: ProposalRecord, tally: VoteCount | None) -> ProposalReport:
    found = tally or VoteCount(total=0, yes=0, no=0, abstain=0, veto=0)
    return ProposalReport(
        number=record.number,
        title=record.title,
        proposer=record.proposer,
        measure=MEASURES[record.measure].__name__,
        summary=record.summary,
        pace=Pace(record.pace).name.lower(),
        stage=ProposalStage(record.stage).name.lower(),
        epoch=record.epoch,
        opened_ms=record.opened_ms,
        closes_ms=record.closes_ms,
        due_ms=record.due_ms,
        deposit=Amount(record.deposit),
        total=Amount(found.total),
        yes=Amount(found.yes),
        no=Amount(found.no),
        abstain=Amount(found.abstain),
        veto=Amount(found.veto),
        reason=record.reason,
    )


def _coming(ledger: Ledger) -> tuple[ComingChange, ...]:
    now, then = ledger.parameters, ledger.record(Parameters, COMING_KEY)
    if then is None:
        return ()
    return tuple(
        ComingChange(name=name, now=Amount(getattr(now, name)), then=Amount(getattr(then, name)))
        for name in Parameters.__slots__
        if getattr(now, name) != getattr(then, name)
    )
