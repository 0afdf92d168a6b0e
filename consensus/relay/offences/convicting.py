"""A conviction takes effect: the validator loses its seat, and the stake that stood behind it is cut
(`collecting`).

Exactly once for each unit and offence: of one validator and epoch everything is one record, what an edge
owes is a function of it (`records.owed`), and a change of the record cuts the difference. So a graver
offence costs what it costs on top of the lesser, and one that was convicted before its accomplices pays the
rest with them. What an edge no longer has, because another epoch's offence took it, is not taken from
anybody else.
"""

from dataclasses import replace
from typing import Final

from consensus.agreement.evidence import Evidence
from consensus.primitives.ids import ChainId, Epoch, PublicKey
from consensus.relay.elections.records import exposure
from consensus.relay.epochs import epoch_members
from consensus.relay.offences.collecting import collect, has_room
from consensus.relay.offences.correlation import correlated_ppb
from consensus.relay.offences.records import (
    MAX_ALLOCATION_FAULTS,
    AllocationFault,
    Convicted,
    Conviction,
    OffenceRecord,
    OffendersRecord,
    offenders_key,
)
from consensus.relay.offences.standing import punish
from consensus.relay.offences.table import TABLE, OffenceKind
from consensus.relay.offences.veto import record_of
from consensus.relay.parameters import BILLION
from consensus.relay.ring import Ring
from consensus.relay.run import Run
from consensus.relay.security.allocations import end_allocation
from consensus.relay.stake.records import RAISES

MAX_RAISES: Final = 4  # offenders whose debt one block looks at anew


def stands_against(record: OffenceRecord | None, kind: OffenceKind) -> bool:
    """Whether a validator is convicted, for the same epoch, of something that leaves `kind` without effect.

    What signatures prove is weighed only against what no veto can undo.
    """
    if record is None:
        return False
    row = TABLE[kind]
    held = (record.firm, record.pending) if row.vetoable else (record.firm,)
    return any(each is not None and each.gravity >= row.gravity for each in held)


def convict(
    run: Run,
    account: PublicKey,
    epoch: Epoch,
    kind: OffenceKind,
    *,
    reporter: PublicKey | None = None,
    evidence: Evidence | None = None,
) -> int:
    """Convict a member of an epoch's set of something graver than what stands against it (`stands_against`),
    in a block that has room; the units that it cuts for it."""
    row = TABLE[kind]
    before = _record(run, account, epoch)
    fraction = row.fraction_ppb(run.parameters)
    if row.correlated:
        fraction = max(fraction, _enlist(run, account, epoch))
    conviction = Conviction(
        offence=int(kind), fraction_ppb=fraction, height=run.context.height, reporter=reporter
    )
    if row.vetoable:
        after = replace(before, pending=_at_least(conviction, before.pending))
    else:
        after = replace(before, firm=_at_least(conviction, before.firm))
    return _take_effect(run, before, after, kind, reporter, evidence)


def convict_allocation(
    run: Run,
    account: PublicKey,
    epoch: Epoch,
    kind: OffenceKind,
    *,
    chain: ChainId,
    allocated: int,
    reporter: PublicKey | None = None,
) -> int | None:
    """Convict a validator for what it said under a policy that weighs only stake allocated to one chain.

    Takes the fraction of `kind` of the `allocated` units, never more, from the whole exposure in proportion,
    and never a unit that is taken already. The units cut; None where it has no effect, because the validator
    is convicted on that chain for that epoch, or on MAX_ALLOCATION_FAULTS others. `kind` rests on a verdict;
    the block has room.
    Its seat is not at risk there, only what it allocated; for a while it can not opt in to that chain again.
    """
    row = TABLE[kind]
    if not row.vetoable:
        raise AssertionError("what two signatures prove is an offence against all chains: convict")
    before = _record(run, account, epoch)
    if len(before.allocations) == MAX_ALLOCATION_FAULTS or any(
        each.chain == chain for each in before.allocations
    ):
        return None
    fault = AllocationFault(
        chain=chain,
        offence=int(kind),
        amount=allocated * row.fraction_ppb(run.parameters) // BILLION,
        firm=False,
        height=run.context.height,
        reporter=reporter,
    )
    after = replace(before, allocations=(*before.allocations, fault))
    end_allocation(run.ledger, account, chain)
    return _take_effect(run, before, after, kind, reporter, None)


def _record(run: Run, account: PublicKey, epoch: Epoch) -> OffenceRecord:
    held = record_of(run.ledger, account, epoch)
    return held or OffenceRecord(
        account=account, epoch=epoch, firm=None, pending=None, allocations=(), case=0, taken=0
    )


def _at_least(conviction: Conviction, lesser: Conviction | None) -> Conviction:
    fraction = 0 if lesser is None else lesser.fraction_ppb
    return replace(conviction, fraction_ppb=max(conviction.fraction_ppb, fraction))


def _take_effect(
    run: Run,
    before: OffenceRecord,
    after: OffenceRecord,
    kind: OffenceKind,
    reporter: PublicKey | None,
    evidence: Evidence | None,
) -> int:
    if before.firm is None and before.pending is None and not before.allocations:
        Ring(run.ledger, b"convictions").push(after.account + after.epoch.to_bytes(8, "big"))
    slashed = collect(run, before, after, kind, reporter)
    if after.allocations == before.allocations:
        punish(run, before, after, TABLE[kind])
    run.offences.append(
        Convicted(
            account=after.account,
            epoch=after.epoch,
            offence=kind,
            height=run.context.height,
            slashed=slashed,
            evidence=evidence,
        )
    )
    return slashed


# --- correlation


def _enlist(run: Run, account: PublicKey, epoch: Epoch) -> int:
    """Count a validator among the epoch's offenders; what each of them owes by now, in parts per billion."""
    key = offenders_key(epoch)
    held = run.ledger.record(OffendersRecord, key) or OffendersRecord(power=0, accounts=(), cursor=0)
    if account not in held.accounts:
        members = epoch_members(run.ledger, epoch).members
        power = next(each.stake for each in members if each.account == account)
        if held.accounts and held.cursor == len(held.accounts):
            _raises(run).push(epoch.to_bytes(8, "big"))
        held = OffendersRecord(
            power=held.power + power,
            accounts=(*held.accounts, account),
            cursor=0 if held.accounts else 1,
        )
        run.ledger.put(key, held)
    return _fraction(run, epoch, held)


def _fraction(run: Run, epoch: Epoch, offenders: OffendersRecord) -> int:
    total = sum(each.stake for each in epoch_members(run.ledger, epoch).members)
    return correlated_ppb(offenders.power, total, run.parameters.correlation_factor)


def raise_correlated(run: Run) -> None:
    """Have offenders who were convicted before others of their epoch owe what all of them owe now, a bounded
    number of them in each block."""
    raises = _raises(run)
    for _ in range(MAX_RAISES):
        entry = raises.first()
        if entry is None or not has_room(run):
            return
        epoch = Epoch(int.from_bytes(entry, "big"))
        held = run.ledger.existing(OffendersRecord, offenders_key(epoch))
        _raise(run, epoch, held.accounts[held.cursor], held)
        held = replace(held, cursor=held.cursor + 1)
        run.ledger.put(offenders_key(epoch), held)
        if held.cursor == len(held.accounts):
            raises.pop()


def _raise(run: Run, epoch: Epoch, account: PublicKey, offenders: OffendersRecord) -> None:
    before = _record(run, account, epoch)
    if before.firm is None or exposure(run.ledger, epoch, account) is None:
        return
    after = replace(before, firm=replace(before.firm, fraction_ppb=_fraction(run, epoch, offenders)))
    if after.firm_ppb > before.firm_ppb:
        kind = OffenceKind(before.firm.offence)
        slashed = collect(run, before, after, kind, before.firm.reporter)
        run.raised.append(
            Convicted(
                account=account,
                epoch=epoch,
                offence=kind,
                height=run.context.height,
                slashed=slashed,
                evidence=None,
            )
        )


def _raises(run: Run) -> Ring:
    return Ring(run.ledger, RAISES)
