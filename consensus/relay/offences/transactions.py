"""Evidence by transaction; wire tags 30 to 32. Anybody may submit it, and risks `evidence_bond`.

Validators pass on what two votes prove for nothing, and a leader includes it; this is the way for everybody
else, and for what only a transaction carries.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from consensus.agreement.evidence import Evidence
from consensus.candidates.receipts import Attestation

REPORT_WEIGHT: Final = 5_000  # microseconds on the reference machine: a conviction cuts many pools


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitEvidence:
    """Two votes that contradict each other (CONSENSUS.md section 17.1)."""

    WIRE_TAG: ClassVar[int] = 30
    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStatement:
    """What a validator signed of a candidate, of which more than 2/3 of all stake said the contrary."""

    WIRE_TAG: ClassVar[int] = 31
    statement: Attestation


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContradiction:
    """Two statements of one validator and epoch on one candidate: that it is valid, and that it is not."""

    WIRE_TAG: ClassVar[int] = 32
    valid: Attestation
    invalid: Attestation


OffenceAction = SubmitEvidence | ReportStatement | ReportContradiction
