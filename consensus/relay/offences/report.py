"""Offences as people ask for them: who stands convicted, what can be vetoed, what waits to be burnt."""

from dataclasses import dataclass
from typing import Final

from consensus.primitives.ids import Amount, Epoch, Hash, Height, Milliseconds, PublicKey
from consensus.relay.ledger import Ledger, Pot
from consensus.relay.offences.meter import MeterRecord
from consensus.relay.offences.records import METER_KEY, BurnRecord, OffenceRecord
from consensus.relay.offences.veto import open_cases, record_of
from consensus.relay.ring import Ring

MAX_REPORTED: Final = 256  # of each list


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvictedReport:
    """All that stands against a validator for one epoch."""

    account: PublicKey
    epoch: Epoch
    offences: tuple[str, ...]  # the gravest first
    fraction_ppb: int  # of its exposure
    slashed: Amount  # units that were cut for it
    tombstoned: bool
    case: int | None  # the number under which governance may veto it, or part of it
    height: Height  # of the block with the latest conviction


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReport:
    """Stake that was cut and that a veto gives back."""

    number: int
    account: PublicKey
    epoch: Epoch
    amount: Amount
    until_ms: Milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnReport:
    """Stake that waits for the slash meter."""

    account: PublicKey
    epoch: Epoch
    reporter: PublicKey | None
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class OffencesReport:
    """The newest convictions first; cases and what waits to be burnt, the oldest first."""

    convicted: tuple[ConvictedReport, ...]
    cases: tuple[CaseReport, ...]
    burning: tuple[BurnReport, ...]
    slashed: Amount  # units that are frozen and not burnt yet
    may_burn: Amount  # units that the meter would let through now, as of the latest block that burnt any


def offences_report(ledger: Ledger) -> OffencesReport:
    """What a state says of offences."""
    places = (
        (PublicKey(entry[:32]), Epoch(int.from_bytes(entry[32:], "big")))
        for entry in Ring(ledger, b"convictions").newest(MAX_REPORTED)
    )
    found = [record_of(ledger, *place) for place in dict.fromkeys(places)]  # one that was vetoed may be back
    waiting = (ledger.existing(BurnRecord, Hash(key)) for key in Ring(ledger, b"burns").entries(MAX_REPORTED))
    meter = ledger.record(MeterRecord, METER_KEY)
    return OffencesReport(
        convicted=tuple(_convicted(each) for each in found if each is not None),
        cases=tuple(
            CaseReport(
                number=each.number,
                account=each.account,
                epoch=each.epoch,
                amount=Amount(each.amount),
                until_ms=each.until_ms,
            )
            for each in open_cases(ledger, MAX_REPORTED)
        ),
        burning=tuple(
            BurnReport(
                account=each.account, epoch=each.epoch, reporter=each.reporter, amount=Amount(each.amount)
            )
            for each in waiting
        ),
        slashed=Amount(ledger.pot(Pot.SLASHED)),
        may_burn=Amount(0 if meter is None else meter.level),
    )


def _convicted(record: OffenceRecord) -> ConvictedReport:
    stands = [each for each in (record.firm, record.pending, *record.allocations) if each is not None]
    return ConvictedReport(
        account=record.account,
        epoch=record.epoch,
        offences=tuple(each.name.lower() for each in record.offences),
        fraction_ppb=record.fraction_ppb,
        slashed=Amount(record.taken),
        tombstoned=record.tombstones,
        case=record.case or None,
        height=max(each.height for each in stands),
    )
