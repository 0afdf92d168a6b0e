"""What a conviction takes from the stake behind a validator, in as many blocks as that needs.

What the validator owes is its exposure in the epoch of the offence, times a fraction. Each edge of the
exposure, a nomination and the units that it had behind this validator, owes its own part, rounded down, and
`Stakes.cut` takes it from all pools that answer for that nomination and epoch: own stake, delegated, leaving
and moved alike. It is in Pot.SLASHED then; `veto` and `meter` delay only what becomes of it there.

An exposure has up to 2,049 edges, and up to 65 pools answer for each: more than a block has time for. A block
cuts MAX_POOLS of them, the next one goes on with the next edge (`go_on`), one validator after the other. All
that is owed is frozen with the first block nevertheless. While a cut is unfinished

    none of the stake gets away     no wait ends (`leaving.wait_is_over`) and no exposure is forgotten, nor
                                    before accomplices were cut for what they owe with it: what leaves or
                                    moves meanwhile is in a pool that answers
    nothing changes what is owed    nobody else is convicted (`has_room`), no debt is raised, no window of a
                                    veto ends; a veto takes what it undoes from both sides of the difference
    none of it elects anybody       an election counts what is still due as gone (`outstanding`)
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from consensus.primitives.ids import Hash, PublicKey
from consensus.relay.elections.records import exposure
from consensus.relay.ledger import Ledger
from consensus.relay.offences.burning import queue_burn
from consensus.relay.offences.records import (
    Convicted,
    OffenceRecord,
    UnfinishedCut,
    case_key,
    offence_key,
    owed,
)
from consensus.relay.offences.table import OffenceKind
from consensus.relay.offences.veto import (
    find_case,
    is_sweeping,
    keep_cuts,
    make_firm,
    open_case,
    prolong,
    record_of,
)
from consensus.relay.run import Run
from consensus.relay.stake.holdings import Cut
from consensus.relay.stake.records import UNFINISHED_CUT_KEY

MAX_POOLS: Final = 512  # that one block cuts, beside the others of the last edge: its time is bounded


def has_room(run: Run) -> bool:
    """Whether the running block may convict once more. What it may not can come again in the next one."""
    return run.pools_cut < MAX_POOLS and _unfinished(run.ledger) is None


def collect(
    run: Run, before: OffenceRecord, after: OffenceRecord, kind: OffenceKind, reporter: PublicKey | None
) -> int:
    """Store `after` and cut what it owes beyond `before`, as far as this block goes; the units. None while a
    veto still gives back: what it undid is to be found there, so all of it is for `go_on`."""
    if _unfinished(run.ledger) is not None:
        raise AssertionError("nobody is convicted before the cut for the last one is finished: has_room")
    cut = UnfinishedCut(
        account=after.account,
        epoch=after.epoch,
        before=before,
        offence=int(kind),
        reporter=reporter,
        edge=0,
        contested=False,
        taken=0,
    )
    if is_sweeping(run):
        run.ledger.put(offence_key(after.account, after.epoch), after)
        run.ledger.put(UNFINISHED_CUT_KEY, cut)
        return 0
    rest, slashed = _take(run, cut, after)
    if rest is not None:
        run.ledger.put(UNFINISHED_CUT_KEY, rest)
    return slashed


def go_on(run: Run) -> None:
    """Cut what earlier blocks had no room for. Not before all is back that a veto undid: what the same
    validator owes on signatures is to be found there."""
    cut = _unfinished(run.ledger)
    if cut is None or is_sweeping(run) or run.pools_cut >= MAX_POOLS:
        return
    after = record_of(run.ledger, cut.account, cut.epoch)
    rest, slashed = (None, 0) if after is None else _take(run, cut, after)
    taken = cut.taken + slashed
    if rest is not None:
        run.ledger.put(UNFINISHED_CUT_KEY, replace(rest, taken=taken))
        return
    run.ledger.write(UNFINISHED_CUT_KEY, None)
    if taken:
        run.raised.append(
            Convicted(
                account=cut.account,
                epoch=cut.epoch,
                offence=OffenceKind(cut.offence),
                height=run.context.height,
                slashed=taken,
                evidence=None,
            )
        )


def outstanding(ledger: Ledger) -> dict[Hash, int]:
    """Units that are still to be cut, by nomination."""
    cut = _unfinished(ledger)
    after = None if cut is None else record_of(ledger, cut.account, cut.epoch)
    exposed = None if cut is None else exposure(ledger, cut.epoch, cut.account)
    if cut is None or after is None or exposed is None:
        return {}
    return {
        edge.nomination: _owed(after, edge.amount, exposed.total)
        - _owed(cut.before, edge.amount, exposed.total)
        for edge in exposed.edges[cut.edge :]
    }


def _unfinished(ledger: Ledger) -> UnfinishedCut | None:
    return ledger.record(UnfinishedCut, UNFINISHED_CUT_KEY)


def _take(run: Run, cut: UnfinishedCut, after: OffenceRecord) -> tuple[UnfinishedCut | None, int]:
    """Cut, from an edge on, what `after` owes beyond `cut.before`, and store it: what is left to do if the
    block is full, and the units."""
    before, exposed = cut.before, exposure(run.ledger, after.epoch, after.account)
    edges, whole = ((), 0) if exposed is None else (exposed.edges, exposed.total)
    case = find_case(run.ledger, after.case) if after.case else None
    contestable = after.pending is not None or not all(each.firm for each in after.allocations)
    for_good, moved_own, total, contested_units = 0, 0, 0, 0
    own_before = run.stakes.self_stake(after.account, after.epoch)
    upto = len(edges)
    for index, edge in enumerate(edges[cut.edge :], start=cut.edge):
        due = _owed(after, edge.amount, whole) - _owed(before, edge.amount, whole)
        firm = _firmly(after, edge.amount, whole) - _firmly(before, edge.amount, whole)
        if not due and not firm:
            continue
        if run.pools_cut >= MAX_POOLS:
            upto = index
            break
        run.pools_cut += run.stakes.pools_of(edge.nomination)
        cuts = run.stakes.cut(edge.nomination, after.epoch, due) if due else ()
        total += sum(each.amount for each in cuts)
        settled, contested = _split(cuts, firm) if contestable else (tuple(cuts), ())
        gained = sum(each.amount for each in settled)
        if case is not None and gained < firm:
            held = case.own
            case, moved = make_firm(run, case, index, firm - gained)
            gained += moved
            moved_own += held - case.own
        if contested:
            contested_units += sum(each.amount for each in contested)
            case = keep_cuts(run, case or open_case(run, after, cut.reporter), index, contested)
        for_good += gained
    own = own_before - run.stakes.self_stake(after.account, after.epoch)
    contested_own = own * contested_units // total if total else 0
    rest = replace(cut, edge=upto, contested=cut.contested or contested_units > 0)
    finished = upto == len(edges)
    if case is not None and finished and rest.contested and (before.case or cut.edge):
        case = prolong(run, case)
    if case is not None:
        run.ledger.put(case_key(case.number), replace(case, own=case.own + contested_own))
        after = replace(after, case=case.number)
    run.ledger.put(offence_key(after.account, after.epoch), replace(after, taken=after.taken + total))
    queue_burn(run, after.account, after.epoch, cut.reporter, for_good, own - contested_own + moved_own)
    return None if finished else rest, total


def _owed(record: OffenceRecord, edge: int, total: int) -> int:
    return owed(edge, total, record.fraction_ppb, tuple(each.amount for each in record.allocations))


def _firmly(record: OffenceRecord, edge: int, total: int) -> int:
    return owed(edge, total, record.firm_ppb, tuple(each.amount for each in record.allocations if each.firm))


def _split(cuts: Sequence[Cut], amount: int) -> tuple[tuple[Cut, ...], tuple[Cut, ...]]:
    """The first `amount` units of cuts, and the others."""
    first, rest = [], []
    for each in cuts:
        taken = min(amount, each.amount)
        amount -= taken
        if taken:
            first.append(replace(each, amount=taken))
        if taken < each.amount:
            rest.append(replace(each, amount=each.amount - taken))
    return tuple(first), tuple(rest)
