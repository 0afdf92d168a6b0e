"""Statements against the verdict: what a validator signed that more than 2/3 of all stake contradicted.

Whoever signed one can be convicted by it as soon as the verdict is in a block (DESIGN.md section 6). They are
collected from what was counted, from second statements of the same validator, which are not, and from what
comes in after the candidate was settled; each was verified. A leader offers them until they have convicted.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from consensus.agreement.statements import Verdict
from consensus.candidates.receipts import Attestation, CandidateHeader
from consensus.primitives.ids import Epoch, Hash, Signature, ValidatorIndex

MAX_CONTRARY: Final = 256  # statements that are kept
MAX_SETTLED: Final = 256  # candidates whose late statements are looked at

Votes = Mapping[Verdict, Mapping[ValidatorIndex, Signature]]


@dataclass(frozen=True, slots=True)
class _Settled:
    header: CandidateHeader
    verdict: Verdict
    epoch: Epoch


class ContraryStatements:
    """The latest MAX_CONTRARY of them, by candidate and validator; the oldest go first."""

    def __init__(self) -> None:
        self._settled: OrderedDict[Hash, _Settled] = OrderedDict()
        self._kept: OrderedDict[tuple[Hash, ValidatorIndex], Attestation] = OrderedDict()

    def settle(
        self, candidate: Hash, header: CandidateHeader, verdict: Verdict, epoch: Epoch, *said: Votes
    ) -> None:
        """A block carries the verdict on a candidate; `said`: what validators of this epoch signed of it."""
        self._settled[candidate] = _Settled(header, verdict, epoch)
        if len(self._settled) > MAX_SETTLED:
            self._settled.popitem(last=False)
        for votes in said:
            for index, signature in sorted(votes[Verdict(1 - verdict)].items()):
                self._keep(
                    Attestation(
                        epoch=epoch,
                        chain=header.chain,
                        relay_parent=header.relay_parent,
                        candidate=candidate,
                        verdict=1 - verdict,
                        validator=index,
                        signature=signature,
                    )
                )

    def is_late(self, attestation: Attestation) -> bool:
        """Whether a statement, not verified yet, is about a settled candidate, contrary, and not kept."""
        settled = self._settled.get(attestation.candidate)
        return (
            settled is not None
            and attestation.epoch == settled.epoch
            and attestation.relay_parent == settled.header.relay_parent
            and attestation.verdict != settled.verdict
            and (attestation.candidate, attestation.validator) not in self._kept
        )

    def keep_late(self, attestation: Attestation) -> None:
        """Keep one that `is_late` and was verified."""
        self._keep(attestation)

    def all(self) -> tuple[Attestation, ...]:
        """What is kept, the oldest first."""
        return tuple(self._kept.values())

    def _keep(self, attestation: Attestation) -> None:
        self._kept[attestation.candidate, attestation.validator] = attestation
        if len(self._kept) > MAX_CONTRARY:
            self._kept.popitem(last=False)
