"""Offences as people ask for them: who stands convicted, what can be vetoed, what waits to be burnt."""

from dataclasses import dataclass
from typing import Final

from consensus.primitives.ids import Epoch, PublicKey
from consensus.relay.ledger import Ledger, Pot
from consensus.relay.offences.meter import MeterRecord
from consensus.relay.offences.records import METER_KEY, CaseRecord, OffenceRecord
from consensus.relay.offences.veto import open_cases, record_of
from consensus.relay.ring import Ring

MAX_REPORTED: Final = 256  # of each list


@dataclass(frozen=True, slots=True, kw_only=True)
class OffenceOverview:
    """The newest convictions first, the oldest cases first; amounts in units."""

    convictions: tuple[OffenceRecord, ...]
    cases: tuple[CaseRecord, ...]
    slashed: int  # in Pot.SLASHED: frozen, not burnt
    queued: int  # entries that wait for the meter
    meter: MeterRecord | None  # None before anything was burnt


def overview(ledger: Ledger) -> OffenceOverview:
    """What a state says of offences."""
    found = (
        record_of(ledger, PublicKey(entry[:32]), Epoch(int.from_bytes(entry[32:], "big")))
        for entry in Ring(ledger, b"convictions").newest(MAX_REPORTED)
    )
    seen = {(each.account, each.epoch): each for each in found if each is not None}  # one vetoed may be back
    return OffenceOverview(
        convictions=tuple(seen.values()),
        cases=open_cases(ledger, MAX_REPORTED),
        slashed=ledger.pot(Pot.SLASHED),
        queued=len(Ring(ledger, b"burns")),
        meter=ledger.record(MeterRecord, METER_KEY),
    )
