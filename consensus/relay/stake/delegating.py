"""What any holder of stake does: put it behind validators, move it, take it away, and what it earned.

Stake leaves in two steps (`leaving`): an exit takes it out of the next election, `withdraw` pays it out when
it answers for nothing any more. While nobody could be elected the set stays as it is, and no stake leaves at
all: it is what vouches for that set.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from consensus.primitives.ids import Epoch, Hash, PublicKey
from consensus.relay.ledger import Pot
from consensus.relay.receipts import Code
from consensus.relay.run import Run
from consensus.relay.stake.holdings import Place
from consensus.relay.stake.leaving import newest_epoch, queue, wait_is_over
from consensus.relay.stake.records import (
    MAX_NOMINATIONS,
    MAX_STAKE,
    Holding,
    Move,
    NominationRecord,
    PoolKind,
    Standing,
    main_pool,
    nomination_name,
)
from consensus.relay.stake.transactions import Delegate, Redelegate

MAX_WITHDRAWALS: Final = 8  # pools that one `Withdraw` settles


def delegate(run: Run, sender: PublicKey, action: Delegate) -> tuple[Code, bytes]:
    """Put units behind validators. Answers with the name of their nomination."""
    name = nomination_name(action.validators)
    code = _target_refusal(run, action.validators, action.amount)
    if code is Code.OK:
        code = deposit_refusal(run, sender, main_pool(name), action.amount)
    if code is not Code.OK:
        return code, b""
    run.ledger.debit(sender, action.amount)
    _open(run, action.validators)
    run.stakes.holdings.put_in(Place(kind=PoolKind.MAIN, nomination=name), sender, action.amount)
    return Code.OK, name


def undelegate(run: Run, sender: PublicKey, name: Hash, amount: int) -> tuple[Code, bytes]:
    """Let units leave a nomination. Answers with the last epoch in which they stand, 8 bytes big-endian; 0
    where they stand for nothing, because the nomination has ended: they are paid out then."""
    stakes = run.stakes
    code = _exit_refusal(run, sender, name, amount)
    if code is not Code.OK:
        return code, b""
    if stakes.nomination(name) is None:  # a veto gave them back, and the nomination went while they were cut
        run.ledger.credit(sender, stakes.holdings.take_out(main_pool(name), sender, amount))
        return Code.OK, bytes(8)
    filled = queue(stakes.totals(), amount, newest_epoch(run.ledger), run.parameters.exit_cap_ppb)
    nomination = _live(run, name)
    last_epoch = None
    if nomination is not None:
        last_epoch = stakes.nominated.leaving_epoch(nomination, filled.exit_epoch)
    if last_epoch is None:
        return Code.OVER_LIMIT, b""
    place = Place(kind=PoolKind.LEAVING, nomination=name, epoch=last_epoch)
    if not stakes.holdings.has_room(sender, place.pool):
        return Code.OVER_LIMIT, b""
    _tidy(run, name)
    totals = stakes.totals()
    stakes.holdings.totals = replace(totals, exit_epoch=filled.exit_epoch, exit_room=filled.exit_room)
    units = stakes.holdings.take_out(main_pool(name), sender, amount)
    stakes.holdings.put_in(place, sender, units)
    stakes.nominated.list_leaving(name, last_epoch)
    return Code.OK, last_epoch.to_bytes(8, "big")


def redelegate(run: Run, sender: PublicKey, action: Redelegate) -> tuple[Code, bytes]:
    """Let units move from a nomination behind other validators. Answers with the name of theirs."""
    stakes, name, to = run.stakes, action.nomination, nomination_name(action.validators)
    if name == to:
        return Code.ALREADY_EXISTS, b""
    code = _exit_refusal(run, sender, name, action.amount)
    if code is Code.OK:
        code = _target_refusal(run, action.validators, action.amount)
    if code is not Code.OK:
        return code, b""
    last_epoch = newest_epoch(run.ledger)
    source, target = _live(run, name), _live(run, to)
    move = Move(other=to, epoch=last_epoch)
    place = Place(kind=PoolKind.MOVING, nomination=name, to=to, epoch=last_epoch)
    if source is None or not stakes.nominated.has_room(source, target, move):
        return Code.OVER_LIMIT, b""
    if not stakes.holdings.has_room(sender, place.pool):
        return Code.OVER_LIMIT, b""
    if move not in source.outgoing and action.amount < run.parameters.min_nomination:
        return Code.BELOW_MINIMUM, b""
    _tidy(run, name)
    _tidy(run, to)
    _open(run, action.validators)
    units = stakes.holdings.take_out(main_pool(name), sender, action.amount)
    stakes.holdings.put_in(place, sender, units)
    stakes.nominated.list_move(name, to, last_epoch)
    return Code.OK, to


def withdraw(run: Run, sender: PublicKey) -> tuple[Code, bytes]:
    """Settle all that waited long enough, a few pools at a time; answers with the units paid out."""
    over = [each for each in run.stakes.held_by(sender) if each.last_epoch and _is_over(run, each.last_epoch)]
    if not over:
        return Code.NOT_YET, b""
    paid = sum(_settle(run, sender, each) for each in over[:MAX_WITHDRAWALS])
    return Code.OK, paid.to_bytes(16, "big")


def claim(run: Run, sender: PublicKey, pool: Hash) -> tuple[Code, bytes]:
    """Pay out what a position has earned; answers with the units. Shares that were cut to nothing go."""
    if run.stakes.position(pool, sender) is None:
        return Code.NO_SUCH_POSITION, b""
    return Code.OK, run.stakes.claim(pool, sender).to_bytes(16, "big")


def deposit_refusal(run: Run, sender: PublicKey, pool: Hash, amount: int) -> Code:
    """Why `sender` can not put `amount` units into a pool; OK if it can."""
    there = run.stakes.total_bonded() + run.ledger.pot(Pot.SLASHED)  # of which a veto may give back
    if there + amount > MAX_STAKE or not run.stakes.holdings.has_room(sender, pool):
        return Code.OVER_LIMIT
    if amount == 0:
        return Code.BELOW_MINIMUM
    if run.ledger.account(sender).balance < amount:
        return Code.INSUFFICIENT_BALANCE
    return Code.OK


def _target_refusal(run: Run, validators: Sequence[PublicKey], amount: int) -> Code:
    """Why `amount` units can not be put behind these validators; OK if they can."""
    if not validators or len(set(validators)) < len(validators):
        return Code.NO_SUCH_NOMINATION
    for each in validators:
        record = run.stakes.validator(each)
        if record is None:
            return Code.NO_SUCH_VALIDATOR
        if record.standing != Standing.ACTIVE or record.contested:
            return Code.NOT_ACTIVE
    if run.stakes.nomination(nomination_name(validators)) is not None:
        return Code.OK
    if amount < run.parameters.min_nomination:
        return Code.BELOW_MINIMUM
    return Code.OVER_LIMIT if run.stakes.totals().nominations >= MAX_NOMINATIONS else Code.OK


def _exit_refusal(run: Run, sender: PublicKey, name: Hash, amount: int) -> Code:
    """Why `sender` can not take `amount` units from behind a nomination; OK if it can. A validator takes all
    of its own stake, or leaves at least `min_stake`; nobody leaves the next election without anyone."""
    stakes, minimum = run.stakes, run.parameters.min_stake
    held = stakes.value(main_pool(name), sender)
    if amount > held:
        known = stakes.nomination(name) is not None
        return Code.INSUFFICIENT_BALANCE if known else Code.NO_SUCH_NOMINATION
    left = held - amount
    is_own = name == stakes.own(sender)
    if amount == 0 or (is_own and 0 < left < minimum):
        return Code.BELOW_MINIMUM
    if stakes.would_strand(sender if is_own and left < minimum else None):
        return Code.LAST_VALIDATOR
    return Code.OK


def _open(run: Run, validators: Sequence[PublicKey]) -> None:
    if run.stakes.nomination(nomination_name(validators)) is None:
        run.stakes.nominated.open_shared(validators)


def _is_over(run: Run, last_epoch: Epoch) -> bool:
    context = run.context
    return wait_is_over(run.ledger, last_epoch, run.parameters, now=context.epoch, now_ms=context.time_ms)


def _live(run: Run, name: Hash) -> NominationRecord | None:
    return run.stakes.nominated.live(name, now=run.context.epoch, now_ms=run.context.time_ms)


def _tidy(run: Run, name: Hash) -> None:
    run.stakes.nominated.tidy(name, now=run.context.epoch, now_ms=run.context.time_ms)


def _settle(run: Run, sender: PublicKey, holding: Holding) -> int:
    """Settle a position whose wait is over; the units that it pays out."""
    stakes = run.stakes
    record = stakes.pool(holding.pool)
    if record is None:
        raise AssertionError("a position in a pool that is not there")
    paid = 0
    if record.kind == PoolKind.LEAVING:
        paid = stakes.holdings.pay_out(holding.pool, sender)
    else:
        stakes.nominated.settle_move(record.nomination, record.to, record.epoch)
        merged = stakes.pool(holding.pool)
        if merged is not None and merged.merged:
            stakes.holdings.separate(holding.pool, sender)
        else:  # it was cut to nothing
            stakes.claim(holding.pool, sender)
    _tidy(run, record.nomination)
    return paid
