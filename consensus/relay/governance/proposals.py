"""Opening a proposal, and what falls due on it (DESIGN.md section 8).

    VOTING ─► counted ─► WAITING ─► DONE | FAILED
                    └─► REJECTED | NO_QUORUM | VETOED | LAPSED

The deposit waits in Pot.DEPOSITS until the votes are counted. As in Cosmos (x/gov, `burn_vote_veto` and
`burn_vote_quorum`), it is burnt where the quorum is missed or the proposal vetoed, else returned.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Final

from consensus.primitives.codec import decode
from consensus.primitives.ids import Epoch, Milliseconds, PublicKey
from consensus.relay.governance.executing import carry_out, pace_of, proposal_refusal, vote_ms, wait_ms
from consensus.relay.governance.records import (
    AGENDA_KEY,
    KEPT_PROPOSALS,
    MAX_AGENDA,
    MAX_REASON_BYTES,
    PROPOSALS_KEY,
    URGENT_PLACES,
    AgendaEntry,
    AgendaRecord,
    Pace,
    ProposalCounter,
    ProposalRecord,
    ProposalStage,
    measure_key,
    proposal_key,
)
from consensus.relay.governance.tally import Decision, decide
from consensus.relay.governance.transactions import Measure, Propose, summary
from consensus.relay.governance.votes import count
from consensus.relay.ledger import RECORD_LIMIT, Ledger, Pot
from consensus.relay.receipts import Code
from consensus.relay.ring import Ring
from consensus.relay.run import Run

MAX_MEASURE_BYTES: Final = 2 * RECORD_LIMIT
STAGES: Final = {
    Decision.PASSED: ProposalStage.WAITING,
    Decision.REJECTED: ProposalStage.REJECTED,
    Decision.NO_QUORUM: ProposalStage.NO_QUORUM,
    Decision.VETOED: ProposalStage.VETOED,
}


# --- questions


def agenda(ledger: Ledger) -> AgendaRecord:
    """What falls due, the earliest first."""
    raw = ledger.read(AGENDA_KEY)
    return AgendaRecord() if raw is None else _decode_agenda(raw)


def find_proposal(ledger: Ledger, number: int) -> ProposalRecord | None:
    """A proposal that is open, or among the latest that are over."""
    return ledger.record(ProposalRecord, proposal_key(number))


def proposal_count(ledger: Ledger) -> int:
    """How many proposals there ever were."""
    return (ledger.record(ProposalCounter, PROPOSALS_KEY) or ProposalCounter()).opened


def find_measure(ledger: Ledger, number: int) -> Measure | None:
    """What an open proposal would do."""
    raw = ledger.read(measure_key(number))
    return None if raw is None else decode(Measure, raw, limit=MAX_MEASURE_BYTES)  # type: ignore[arg-type]


# --- opening


def propose(run: Run, sender: PublicKey, action: Propose) -> tuple[Code, bytes]:
    """Put a measure to the vote."""
    deposit = run.parameters.gov_deposit
    pace, waiting = pace_of(action.measure), agenda(run.ledger)
    places = MAX_AGENDA if pace is Pace.URGENT else MAX_AGENDA - URGENT_PLACES
    if max(len(waiting.entries), len(waiting.swept)) >= places:
        return Code.OVER_LIMIT, b""
    if run.ledger.account(sender).balance < deposit:
        return Code.INSUFFICIENT_BALANCE, b""
    refusal = proposal_refusal(run, action.measure)
    if refusal is not None:
        return Code.MEASURE_REFUSED, refusal.encode()[:1024]
    run.ledger.debit(sender, deposit)
    run.ledger.pay_into(Pot.DEPOSITS, deposit)
    number = proposal_count(run.ledger) + 1
    now_ms = run.context.time_ms
    closes_ms = Milliseconds(now_ms + vote_ms(run.parameters, pace))
    run.ledger.put(PROPOSALS_KEY, ProposalCounter(opened=number))
    run.ledger.put(measure_key(number), action.measure)
    run.ledger.put(
        proposal_key(number),
        ProposalRecord(
            number=number,
            title=action.title,
            proposer=sender,
            measure=action.measure.WIRE_TAG,
            summary=_clipped(summary(action.measure)),
            pace=int(pace),
            stage=int(ProposalStage.VOTING),
            epoch=Epoch(run.context.epoch),
            height=run.context.height,
            opened_ms=now_ms,
            closes_ms=closes_ms,
            due_ms=Milliseconds(0),
            deposit=deposit,
            voters=0,
            tally=None,
            reason="",
        ),
    )
    _schedule(run.ledger, number, closes_ms)
    return Code.OK, number.to_bytes(8, "big")


def _schedule(ledger: Ledger, number: int, due_ms: int) -> None:
    waiting = agenda(ledger)
    entry = AgendaEntry(due_ms=Milliseconds(due_ms), number=number)
    entries = tuple(sorted((*waiting.entries, entry), key=lambda each: (each.due_ms, each.number)))
    ledger.put(AGENDA_KEY, replace(waiting, entries=entries))


# --- falling due


def fall_due(run: Run, number: int) -> None:
    """Count the votes on a proposal, or carry out its measure: whichever it waited for."""
    record = run.ledger.existing(ProposalRecord, proposal_key(number))
    if record.stage == ProposalStage.VOTING:
        record = _close(run, record)
    if record.stage == ProposalStage.WAITING:
        if record.due_ms > run.context.time_ms:
            run.ledger.put(proposal_key(number), record)
            _schedule(run.ledger, number, record.due_ms)
            return
        record = _carry_out(run, record)
    _finish(run, record)


def _close(run: Run, record: ProposalRecord) -> ProposalRecord:
    """The proposal with its votes counted and its deposit gone."""
    parameters, pace = run.parameters, Pace(record.pace)
    tally = count(run.stakes, record)
    waiting = agenda(run.ledger)
    run.ledger.put(AGENDA_KEY, replace(waiting, swept=(*waiting.swept, record.number)))
    run.ledger.take_from(Pot.DEPOSITS, record.deposit)
    security = pace is Pace.SECURITY
    decision = None
    if tally is not None:
        decision = decide(
            tally,
            quorum_ppb=parameters.gov_quorum_ppb,
            threshold_ppb=(
                parameters.gov_security_threshold_ppb if security else parameters.gov_threshold_ppb
            ),
            veto_ppb=parameters.gov_veto_ppb,
        )
    if decision is not None and decision.burns_deposit:
        run.ledger.burn(record.deposit)
    else:
        run.ledger.credit(record.proposer, record.deposit)
    due_ms = run.context.time_ms + wait_ms(parameters, pace)
    return replace(
        record,
        stage=int(ProposalStage.LAPSED if decision is None else STAGES[decision]),
        due_ms=Milliseconds(due_ms if decision is Decision.PASSED else 0),
        deposit=0,
        tally=tally,
    )


def _carry_out(run: Run, record: ProposalRecord) -> ProposalRecord:
    measure = find_measure(run.ledger, record.number)
    if measure is None:
        raise AssertionError("a proposal that is open has no measure")
    reason = carry_out(run, measure)
    if reason is None:
        return replace(record, stage=int(ProposalStage.DONE))
    return replace(record, stage=int(ProposalStage.FAILED), reason=_clipped(reason))


def _finish(run: Run, record: ProposalRecord) -> None:
    """Keep what became of it, for a while."""
    run.ledger.write(measure_key(record.number), None)
    run.ledger.put(proposal_key(record.number), record)
    over = Ring(run.ledger, b"proposals")
    over.push(record.number.to_bytes(8, "big"))
    if len(over) > KEPT_PROPOSALS:
        run.ledger.write(proposal_key(int.from_bytes(over.pop(), "big")), None)


def _clipped(text: str) -> str:
    return text.encode()[:MAX_REASON_BYTES].decode(errors="ignore")


@lru_cache(maxsize=8)
def _decode_agenda(raw: bytes) -> AgendaRecord:
    """Read in every block, and the same for thousands of them."""
    return decode(AgendaRecord, raw, limit=RECORD_LIMIT)
