"""What was cut for good: a queue behind the meter, then burnt and shared out (DESIGN.md section 8).

At least half is burnt, so that an offender that reports itself loses, whoever shares in it. The reporter gets
`slash_reporter_ppb`, but at most half of what the offender itself had at stake: else one with little of its
own could offend, report itself, and be paid from what others have behind it. The treasury has what is left.

Nothing is ever dropped: one entry for each offender, epoch and reporter takes up all that is added while it
waits, so that the queue is bounded by who was ever in a set that is still answerable.
"""

from dataclasses import replace
from typing import Final

from consensus.primitives.ids import Epoch, Hash, PublicKey
from consensus.relay.ledger import Pot
from consensus.relay.offences.meter import MeterRecord, draw, fill, full
from consensus.relay.offences.records import METER_KEY, BurnRecord, burn_key
from consensus.relay.parameters import BILLION, Parameters
from consensus.relay.ring import Ring
from consensus.relay.run import Run

MAX_BURNS: Final = 8  # entries that one block takes from the queue


def queue_burn(
    run: Run, account: PublicKey, epoch: Epoch, reporter: PublicKey | None, amount: int, own: int
) -> None:
    """Have units of Pot.SLASHED burnt and shared out as soon as the meter lets them; `own` of them were the
    offender's."""
    if not amount:
        return
    key = burn_key(account, epoch, reporter)
    waiting = run.ledger.record(BurnRecord, key)
    if waiting is None:
        _queue(run).push(key)
        waiting = BurnRecord(account=account, epoch=epoch, reporter=reporter, amount=0, own=0)
    run.ledger.put(key, replace(waiting, amount=waiting.amount + amount, own=waiting.own + own))


def burn_due(run: Run) -> int:
    """Burn what the meter lets through in this block; the units taken from Pot.SLASHED."""
    queue = _queue(run)
    if not len(queue):
        return 0
    stake = run.stakes.total_bonded() + run.ledger.pot(Pot.SLASHED)
    parameters, now_ms = run.parameters, run.context.time_ms
    meter = run.ledger.record(MeterRecord, METER_KEY) or full(stake, parameters.slash_meter_ppb, now_ms)
    meter = fill(meter, base=stake, rate_ppb=parameters.slash_meter_ppb, now_ms=now_ms)
    total = 0
    for entry in tuple(queue.entries(MAX_BURNS)):
        key = Hash(entry)
        waiting = run.ledger.existing(BurnRecord, key)
        meter, released = draw(meter, waiting.amount)
        own = waiting.own * released // waiting.amount
        share_out(run, released, waiting.reporter, own)
        total += released
        if released < waiting.amount:
            left = replace(waiting, amount=waiting.amount - released, own=waiting.own - own)
            run.ledger.put(key, left)
            break
        run.ledger.write(key, None)
        queue.pop()
    run.ledger.put(METER_KEY, meter if len(queue) else replace(meter, base=0))
    return total


def share_out(run: Run, amount: int, reporter: PublicKey | None, own: int) -> None:
    """Burn and pay out units of Pot.SLASHED, of which `own` were the offender's."""
    burnt, most = shares_of(run.parameters, amount, reported=reporter is not None)
    rewarded = min(most, own // 2)
    run.ledger.take_from(Pot.SLASHED, amount)
    run.ledger.burn(burnt)
    if reporter is not None:
        run.ledger.credit(reporter, rewarded)
    run.ledger.pay_into(Pot.TREASURY, amount - burnt - rewarded)


def shares_of(parameters: Parameters, amount: int, *, reported: bool) -> tuple[int, int]:
    """Of `amount` units: those burnt, rounded up, and the most that the reporter gets, rounded down."""
    burnt = -(-amount * parameters.slash_burn_ppb // BILLION)
    return burnt, amount * parameters.slash_reporter_ppb // BILLION if reported else 0


def _queue(run: Run) -> Ring:
    return Ring(run.ledger, b"burns")
