"""Cases: stake that was cut for something that governance may still undo (DESIGN.md section 8).

Only convictions by a verdict or a record open one (`table.Row.vetoable`). The stake is in Pot.SLASHED from
the conviction on, and no meter reaches it before `veto_ms` has passed. A veto gives every pool back what was
taken from it for the case, to the unit; what the same validator owes for the same epoch on signatures stays
taken. A seat that was lost meanwhile is not given back: who was tombstoned by nothing else may unjail at
once.

Which pools a case took from is a leaf for each edge of the exposure. They are removed or given back a bounded
number at a time, in later blocks.

A cut that takes more than a block (`collecting`) may be vetoed before it is finished: what is not cut for the
case by then never will be.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from consensus.primitives.codec import decode
from consensus.primitives.ids import Epoch, Hash, Milliseconds, PublicKey
from consensus.relay.epochs import Reads
from consensus.relay.ledger import RECORD_LIMIT, Ledger
from consensus.relay.offences.burning import queue_burn
from consensus.relay.offences.records import (
    CASES_KEY,
    CaseCounter,
    CaseRecord,
    CaseState,
    Conviction,
    CutEntry,
    CutsRecord,
    OffenceRecord,
    UnfinishedCut,
    case_cut_key,
    case_key,
    offence_key,
)
from consensus.relay.offences.standing import count_tombstones
from consensus.relay.receipts import Code
from consensus.relay.ring import Ring
from consensus.relay.run import Run
from consensus.relay.stake.holdings import Cut
from consensus.relay.stake.leaving import is_frozen
from consensus.relay.stake.records import UNFINISHED_CUT_KEY

MAX_LAPSES: Final = 8  # cases whose window ends in one block
MAX_SWEPT: Final = 512  # pools that one block gives back to, or edges that it forgets


# --- taking


def open_case(run: Run, record: OffenceRecord, reporter: PublicKey | None) -> CaseRecord:
    """A fresh case for what is about to be cut."""
    number = case_count(run.ledger) + 1
    run.ledger.put(CASES_KEY, CaseCounter(opened=number))
    until_ms = _open_window(run, number)
    _count_contested(run, record.account, 1)
    return CaseRecord(
        number=number,
        account=record.account,
        epoch=record.epoch,
        until_ms=until_ms,
        amount=0,
        edges=0,
        swept=0,
        state=int(CaseState.OPEN),
        reporter=reporter,
        own=0,
    )


def _count_contested(run: Run, account: PublicKey, change: int) -> None:
    """Until the last unit is where it belongs nobody may join the pools that were cut: who did would share
    in what comes back to those who were there."""
    record = run.stakes.existing(account)
    run.stakes.put(replace(record, contested=record.contested + change))


def prolong(run: Run, case: CaseRecord) -> CaseRecord:
    """The case, to which was added: there is as long to veto what came last as what came first."""
    return replace(case, until_ms=_open_window(run, case.number))


def _open_window(run: Run, number: int) -> Milliseconds:
    until_ms = Milliseconds(run.context.time_ms + run.parameters.veto_ms)
    _windows(run).push(number.to_bytes(8, "big") + until_ms.to_bytes(8, "big"))
    return until_ms


def keep_cuts(run: Run, case: CaseRecord, edge: int, cuts: Sequence[Cut]) -> CaseRecord:
    """Remember what was taken of an edge; the case with it."""
    key = case_cut_key(case.number, edge)
    held = run.ledger.record(CutsRecord, key)
    amounts = {(each.pool, each.generation): each.amount for each in (() if held is None else held.cuts)}
    for each in cuts:
        place = (each.pool, each.generation)
        amounts[place] = amounts.get(place, 0) + each.amount
    _write_cuts(run, key, amounts)
    total = sum(each.amount for each in cuts)
    return replace(case, amount=case.amount + total, edges=max(case.edges, edge + 1))


def make_firm(run: Run, case: CaseRecord, edge: int, amount: int) -> tuple[CaseRecord, int]:
    """At most `amount` units of an edge are owed on signatures now: no veto gives them back. The case without
    them, and how many; of what the offender itself had at stake its part goes with them."""
    key = case_cut_key(case.number, edge)
    held = run.ledger.record(CutsRecord, key)
    amounts, left = {}, amount
    for each in () if held is None else held.cuts:
        gone = min(left, each.amount)
        left -= gone
        amounts[each.pool, each.generation] = each.amount - gone
    _write_cuts(run, key, amounts)
    moved = amount - left
    own = case.own * moved // case.amount if moved else 0
    return replace(case, amount=case.amount - moved, own=case.own - own), moved


def _write_cuts(run: Run, key: Hash, amounts: dict[tuple[Hash, int], int]) -> None:
    cuts = tuple(
        CutEntry(pool=pool, generation=generation, amount=amount)
        for (pool, generation), amount in sorted(amounts.items())
        if amount
    )
    if cuts:
        run.ledger.put(key, CutsRecord(cuts=cuts))
    else:
        run.ledger.write(key, None)


# --- deciding


def veto(run: Run, number: int) -> Code:
    """Undo the convictions that a case is for. NO_SUCH_CASE if it was never there, or its window is over."""
    case = find_case(run.ledger, number)
    if case is None or case.state != CaseState.OPEN or run.context.time_ms >= case.until_ms:
        return Code.NO_SUCH_CASE
    before = run.ledger.existing(OffenceRecord, offence_key(case.account, case.epoch))
    after = replace(_undone(before), taken=before.taken - case.amount)
    _store(run, after)
    cut = run.ledger.record(UnfinishedCut, UNFINISHED_CUT_KEY)
    if cut is not None and (cut.account, cut.epoch) == (case.account, case.epoch):
        run.ledger.put(UNFINISHED_CUT_KEY, replace(cut, before=_undone(cut.before)))
    count_tombstones(run, before, after)
    _close(run, case, CaseState.VETOED)
    run.lifted.append((case.account, case.epoch, case.amount))
    sweep(run)  # as far as one block goes: what an offence costs that is judged next is cut when all is back
    return Code.OK


def _undone(record: OffenceRecord) -> OffenceRecord:
    """What stands when a veto has undone what it may."""
    firm = tuple(each for each in record.allocations if each.firm)
    return replace(record, pending=None, allocations=firm, case=0)


def lapse_due(run: Run) -> None:
    """Cases whose window is over: their stake goes to the meter. While a cut goes on they wait."""
    if is_frozen(run.ledger):
        return
    windows = _windows(run)
    for _ in range(MAX_LAPSES):
        entry = windows.first()
        if entry is None or int.from_bytes(entry[8:], "big") > run.context.time_ms:
            return
        windows.pop()
        case = find_case(run.ledger, int.from_bytes(entry[:8], "big"))
        if case is not None and case.state == CaseState.OPEN and case.until_ms <= run.context.time_ms:
            _lapse(run, case)


def _lapse(run: Run, case: CaseRecord) -> None:
    record = run.ledger.existing(OffenceRecord, offence_key(case.account, case.epoch))
    after = replace(
        record,
        firm=_graver(record.firm, record.pending),
        pending=None,
        allocations=tuple(replace(each, firm=True) for each in record.allocations),
        case=0,
    )
    _store(run, after)
    queue_burn(run, case.account, case.epoch, case.reporter, case.amount, case.own)
    _close(run, case, CaseState.LAPSED)


def _graver(firm: Conviction | None, pending: Conviction | None) -> Conviction | None:
    """The two as one: the offence of the graver, the fraction of the dearer."""
    if firm is None or pending is None:
        return firm or pending
    graver = max(firm, pending, key=lambda each: each.gravity)
    return replace(graver, fraction_ppb=max(firm.fraction_ppb, pending.fraction_ppb))


def _store(run: Run, record: OffenceRecord) -> None:
    stands = record.firm is not None or record.pending is not None or record.allocations
    key = offence_key(record.account, record.epoch)
    if stands:
        run.ledger.put(key, record)
    else:
        run.ledger.write(key, None)


def _close(run: Run, case: CaseRecord, state: CaseState) -> None:
    run.ledger.put(case_key(case.number), replace(case, state=int(state)))
    _sweeps(run).push(case.number.to_bytes(8, "big"))


# --- sweeping


def sweep(run: Run) -> None:
    """Remove or give back what closed cases remember, until a block did MAX_SWEPT."""
    sweeps, left = _sweeps(run), MAX_SWEPT
    while left > 0 and (entry := sweeps.first()) is not None:
        case = run.ledger.existing(CaseRecord, case_key(int.from_bytes(entry, "big")))
        edge = case.swept
        while left > 0 and edge < case.edges:
            left -= _sweep_edge(run, case, edge)
            edge += 1
        if edge < case.edges:
            run.ledger.put(case_key(case.number), replace(case, swept=edge))
            return
        run.ledger.write(case_key(case.number), None)
        _count_contested(run, case.account, -1)
        sweeps.pop()


def _sweep_edge(run: Run, case: CaseRecord, edge: int) -> int:
    """Forget what a case took of an edge, or give it back; to how many pools, at least 1."""
    key = case_cut_key(case.number, edge)
    held = run.ledger.record(CutsRecord, key)
    if held is None:
        return 1
    run.ledger.write(key, None)
    if case.state != CaseState.VETOED:
        return 1
    run.stakes.give_back(
        Cut(pool=each.pool, generation=each.generation, amount=each.amount) for each in held.cuts
    )
    return len(held.cuts)


def is_sweeping(run: Run) -> bool:
    """Whether any closed case still remembers something."""
    return len(_sweeps(run)) > 0


# --- questions


def find_case(ledger: Ledger, number: int) -> CaseRecord | None:
    """A case that is not swept away yet."""
    return ledger.record(CaseRecord, case_key(number))


def case_count(ledger: Ledger) -> int:
    """How many cases there ever were."""
    counter = ledger.record(CaseCounter, CASES_KEY)
    return 0 if counter is None else counter.opened


def open_cases(ledger: Ledger, limit: int) -> tuple[CaseRecord, ...]:
    """The oldest cases that may still be vetoed, of the first `limit` that had a window."""
    numbers = {int.from_bytes(entry[:8], "big"): None for entry in Ring(ledger, b"cases").entries(limit)}
    found = (find_case(ledger, number) for number in numbers)
    return tuple(each for each in found if each is not None and each.state == CaseState.OPEN)


def record_of(state: Reads, account: PublicKey, epoch: Epoch) -> OffenceRecord | None:
    """All that stands against a validator for an epoch."""
    raw = state.read(offence_key(account, epoch))
    return None if raw is None else decode(OffenceRecord, raw, limit=RECORD_LIMIT)


def _windows(run: Run) -> Ring:
    return Ring(run.ledger, b"cases")


def _sweeps(run: Run) -> Ring:
    return Ring(run.ledger, b"sweeps")
