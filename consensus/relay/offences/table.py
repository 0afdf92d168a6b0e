"""Every offence in one table (DESIGN.md section 8; the pairs E1 to E7: CONSENSUS.md section 17.1).

    offence                   grounds      fraction               standing     correlated  gravity
    E1 E2 E4 E6               signatures   slash_double_ppb       tombstoned   yes         5
    valid and invalid said    signatures   slash_double_ppb       tombstoned   yes         4
    E3 E5 E7                  signatures   slash_contradiction    jailed       yes         2
    attested what is invalid  verdict      slash_invalid_ppb      tombstoned   no          6
    accused what is valid     verdict      slash_accusation_ppb   jailed       no          3
    downtime                  record       slash_downtime_ppb     jailed       no          1

*Grounds*: signatures convict by themselves, and nobody can undo that. A verdict of more than 2/3 of all
stake, or the record of who took part, may be wrong for a reason that has nothing to do with whom it
convicts, a bug in what judged it say; governance may veto those, and no others.

*Gravity*: of what a validator did in one epoch the gravest counts, and costs once (as Polkadot's slashing
spans do): a graver offence replaces a lesser one, and only the difference is cut. So nobody is served by
reporting a mild fault of its own to hide a grave one behind it.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from consensus.relay.parameters import Parameters
from consensus.relay.stake.records import Standing


class OffenceKind(enum.IntEnum):
    """What a conviction is for; the first seven have the numbers of `agreement.evidence.Offence`."""

    DOUBLE_PROPOSAL = 1
    DOUBLE_NOTARIZE = 2
    NOTARIZE_AND_SKIP = 3
    DOUBLE_FINALIZE = 4
    FINALIZE_AND_FALLBACK = 5
    FINALIZE_AND_NOTARIZE_OTHER = 6
    FALSE_FIRST_VOTE = 7
    CONTRADICTORY_STATEMENTS = 8  # "valid" and "invalid" of one candidate, in one epoch
    ATTESTED_INVALID = 9  # "valid" of a candidate that was judged invalid
    FALSE_ACCUSATION = 10  # "invalid" of a candidate that was judged valid
    DOWNTIME = 11  # took part in too few blocks of too many epochs


class Grounds(enum.Enum):
    """What a conviction rests on."""

    SIGNATURES = "signatures"
    VERDICT = "verdict"
    RECORD = "record"


class Price(enum.Enum):
    """Which parameter is the fraction of an offence, before correlation."""

    DOUBLE = "slash_double_ppb"
    CONTRADICTION = "slash_contradiction_ppb"
    INVALID = "slash_invalid_ppb"
    ACCUSATION = "slash_accusation_ppb"
    DOWNTIME = "slash_downtime_ppb"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table."""

    grounds: Grounds
    price: Price
    standing: Standing
    correlated: bool
    gravity: int  # of two convictions of one validator and epoch, the greater counts

    @property
    def vetoable(self) -> bool:
        """Whether governance may undo a conviction, within the veto window."""
        return self.grounds is not Grounds.SIGNATURES

    def fraction_ppb(self, parameters: Parameters) -> int:
        """The least that the offence costs: the share of the offender's exposure, in parts per billion."""
        match self.price:
            case Price.DOUBLE:
                return parameters.slash_double_ppb
            case Price.CONTRADICTION:
                return parameters.slash_contradiction_ppb
            case Price.INVALID:
                return parameters.slash_invalid_ppb
            case Price.ACCUSATION:
                return parameters.slash_accusation_ppb
            case Price.DOWNTIME:
                return parameters.slash_downtime_ppb


_DOUBLE: Final = Row(Grounds.SIGNATURES, Price.DOUBLE, Standing.TOMBSTONED, True, 5)
_CONTRADICTION: Final = Row(Grounds.SIGNATURES, Price.CONTRADICTION, Standing.JAILED, True, 2)

TABLE: Final[Mapping[OffenceKind, Row]] = MappingProxyType(
    {
        OffenceKind.DOUBLE_PROPOSAL: _DOUBLE,
        OffenceKind.DOUBLE_NOTARIZE: _DOUBLE,
        OffenceKind.NOTARIZE_AND_SKIP: _CONTRADICTION,
        OffenceKind.DOUBLE_FINALIZE: _DOUBLE,
        OffenceKind.FINALIZE_AND_FALLBACK: _CONTRADICTION,
        OffenceKind.FINALIZE_AND_NOTARIZE_OTHER: _DOUBLE,
        OffenceKind.FALSE_FIRST_VOTE: _CONTRADICTION,
        OffenceKind.CONTRADICTORY_STATEMENTS: Row(
            Grounds.SIGNATURES, Price.DOUBLE, Standing.TOMBSTONED, True, 4
        ),
        OffenceKind.ATTESTED_INVALID: Row(Grounds.VERDICT, Price.INVALID, Standing.TOMBSTONED, False, 6),
        OffenceKind.FALSE_ACCUSATION: Row(Grounds.VERDICT, Price.ACCUSATION, Standing.JAILED, False, 3),
        OffenceKind.DOWNTIME: Row(Grounds.RECORD, Price.DOWNTIME, Standing.JAILED, False, 1),
    }
)
