"""Opting in and out: what a validator allocates to `subset` chains (DESIGN.md section 8, restaking).

An allocation counts `opt_in_epochs` after the newest epoch whose set is written, less of one
`opt_out_epochs`; until then the old one stands. A change that waits gives way to a later one, whose delay
begins anew. Whoever opts out answers for every epoch that it attested in, with what it had allocated then,
for as long as evidence about that epoch counts: `attesters` keeps that.
"""

from typing import Final

from consensus.primitives.codec import decode
from consensus.primitives.guest import Policy
from consensus.primitives.ids import ChainId, Epoch, PublicKey
from consensus.relay.epochs import Reads
from consensus.relay.ledger import RECORD_LIMIT, Ledger
from consensus.relay.receipts import Code
from consensus.relay.run import Run
from consensus.relay.security.attesters import silence
from consensus.relay.security.records import (
    MAX_ALLOCATIONS,
    Allocation,
    AllocationsRecord,
    allocations_key,
)
from consensus.relay.security.transactions import SecurityAction
from consensus.relay.stake.leaving import newest_epoch
from consensus.relay.stake.records import Standing

NOTHING: Final = AllocationsRecord(entries=())


def allocations(state: Reads, account: PublicKey) -> AllocationsRecord:
    """What a validator allocated; nothing for whoever never did."""
    raw = state.read(allocations_key(account))
    return NOTHING if raw is None else decode(AllocationsRecord, raw, limit=RECORD_LIMIT)


def apply_security(run: Run, sender: PublicKey, action: SecurityAction) -> Code:
    """Change an allocation of `sender`."""
    refusal = _refusal(run, sender, action)
    if refusal is not Code.OK:
        return refusal
    newest = newest_epoch(run.ledger)
    held = allocations(run.ledger, sender).of(action.chain)
    now = 0 if held is None else held.at(newest)
    delay = run.parameters.opt_out_epochs if action.amount < now else run.parameters.opt_in_epochs
    _put(
        run.ledger,
        sender,
        Allocation(
            chain=action.chain,
            amount=now,
            coming=action.amount,
            from_epoch=Epoch(newest + delay),
            barred_until=held.barred_until if held is not None else Epoch(0),
        ),
        newest,
    )
    return Code.OK


def end_allocation(ledger: Ledger, account: PublicKey, chain: ChainId) -> None:
    """A conviction on a chain: the validator has no say there from now on, and can not opt in again for
    `jail_epochs`."""
    held = allocations(ledger, account).of(chain)
    newest = newest_epoch(ledger)
    ended = Allocation(
        chain=chain,
        amount=0 if held is None else held.at(newest),
        coming=0,
        from_epoch=Epoch(newest + 1),
        barred_until=Epoch(newest + ledger.parameters.jail_epochs),
    )
    _put(ledger, account, ended, newest)
    for epoch in (Epoch(newest - 1), newest):  # the running one is one of them
        silence(ledger, chain, account, epoch)


def _refusal(run: Run, sender: PublicKey, action: SecurityAction) -> Code:
    validator = run.stakes.validator(sender)
    if validator is None:
        return Code.NO_SUCH_VALIDATOR
    record = run.registry.chain(action.chain)
    if record is None:
        return Code.NO_SUCH_CHAIN
    held = allocations(run.ledger, sender)
    found = held.of(action.chain)
    if not action.amount:
        return Code.OK if found is not None else Code.NOT_ALLOCATED
    if validator.standing == Standing.TOMBSTONED:
        return Code.TOMBSTONED
    terms = record.terms.subset
    if record.terms.policy != Policy.SUBSET or terms is None:
        return Code.NOT_SUBSET
    if not terms.admits(sender):
        return Code.NOT_ADMITTED_BY_CHAIN
    if action.amount < terms.min_allocation:
        return Code.BELOW_MINIMUM
    if found is not None and run.context.epoch < found.barred_until:
        return Code.NOT_YET
    if found is None and len(_kept(held, newest_epoch(run.ledger))) >= MAX_ALLOCATIONS:
        return Code.OVER_LIMIT
    return Code.OK


def _kept(record: AllocationsRecord, newest: int) -> tuple[Allocation, ...]:
    """Without what says nothing any more."""
    return tuple(
        each for each in record.entries if each.at(newest) or each.coming or each.barred_until > newest
    )


def _put(ledger: Ledger, account: PublicKey, entry: Allocation, newest: int) -> None:
    others = (each for each in _kept(allocations(ledger, account), newest) if each.chain != entry.chain)
    entries = sorted((*others, entry), key=lambda each: each.chain)
    if len(entries) > MAX_ALLOCATIONS:  # the entry only bars, or it would have been refused: one bar goes
        idle = (each for each in entries if not (each.at(newest) or each.coming))
        entries.remove(min(idle, key=lambda each: (each.barred_until, each.chain)))
    ledger.put(allocations_key(account), AllocationsRecord(entries=tuple(entries)))
