"""Byzantine behaviours, one a file; `BEHAVIOURS` names them all.

A Byzantine validator is a correct node whose traffic a behaviour rewrites: it may withhold, change, add and
sign whatever its own key can sign. That makes every behaviour as deep in the protocol as an honest node is.
"""

from typing import Final

from consensus.simulation.byzantine.base import Behaviour, Seat
from consensus.simulation.byzantine.equivocator import Equivocator
from consensus.simulation.byzantine.false_replies import FalseReplies
from consensus.simulation.byzantine.forged_certificates import ForgedCertificates
from consensus.simulation.byzantine.future_blocks import FutureBlocks
from consensus.simulation.byzantine.garbage import Garbage
from consensus.simulation.byzantine.invalid_blocks import InvalidBlocks
from consensus.simulation.byzantine.late_proposer import LateProposer
from consensus.simulation.byzantine.mixes_epochs import MixesEpochs
from consensus.simulation.byzantine.sfall_without_justification import SfallWithoutJustification
from consensus.simulation.byzantine.silent import Silent
from consensus.simulation.byzantine.votes_to_some import VotesToSome
from consensus.simulation.byzantine.withholds_body import WithholdsBody

BEHAVIOURS: Final[dict[str, type[Behaviour]]] = {
    "equivocator": Equivocator,
    "false_replies": FalseReplies,
    "forged_certificates": ForgedCertificates,
    "future_blocks": FutureBlocks,
    "garbage": Garbage,
    "invalid_blocks": InvalidBlocks,
    "late_proposer": LateProposer,
    "mixes_epochs": MixesEpochs,
    "sfall_without_justification": SfallWithoutJustification,
    "silent": Silent,
    "votes_to_some": VotesToSome,
    "withholds_body": WithholdsBody,
}

__all__ = ["BEHAVIOURS", "Behaviour", "Seat"]
