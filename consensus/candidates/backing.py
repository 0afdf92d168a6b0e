"""What a validator does with candidates, as a machine without I/O (DESIGN.md section 6, `replicated`).

    upon a CandidateOffer(header, pov) from a collator or validator:
        check the header against the latest executed relay state;
        no PoV with it → RequestPov; a PoV → Execute, in a worker
    upon Executed(candidate, VALID or INVALID):
        SignStatement (to the engine): the signing gate journals the verdict, then signs
    upon StatementSigned(attestation):
        broadcast it; a VALID one is a promise to serve the PoV until the candidate is settled
    upon an Attestation of another validator:
        verify, collect; more than 2/3 of all stake on one verdict → the candidate can be included
    upon RelayAdvanced(view of the executed final state):
        forget what was enacted, rejected or superseded; look again at what waited
    upon PovRequest: serve what was attested

`includable` is what a leader puts into its block: per chain in order, from the enacted head on.
"""

from dataclasses import dataclass

from consensus.agreement.events import SignStatement, StatementRefused, StatementSigned
from consensus.agreement.statements import Verdict
from consensus.candidates.receipts import (
    Attestation,
    CandidateHeader,
    CandidateMessage,
    CandidateOffer,
    PovRequest,
)
from consensus.primitives.ids import Hash

Sender = int
"""Who sent a message: below the number of validators a validator's index, above it any other peer."""


# --- inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateReceived:
    """A decoded message about candidates arrived from `sender`."""

    sender: Sender
    message: CandidateMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """A worker re-executed a candidate. `verdict` None: a local fault, this machine abstains."""

    candidate: Hash
    verdict: Verdict | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayAdvanced:
    """A newer final relay block was executed; the machine reads its state through its `RelayView`."""


# --- effects


@dataclass(frozen=True, slots=True, kw_only=True)
class SendCandidateMessage:
    """Send to one peer."""

    receiver: Sender
    message: CandidateMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastAttestation:
    """Send to all validators."""

    attestation: Attestation


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteCandidate:
    """Re-execute in a worker (`execution.prepare`, `execution.judge`), then answer with `Executed`."""

    header: CandidateHeader
    pov: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateMisbehaviour:
    """A peer sent what no honest peer sends; the node scores it."""

    sender: Sender
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateStage:
    """A candidate reached a stage: for logs, metrics and the chain's receipts, not for consensus."""

    candidate: Hash
    header: CandidateHeader
    stage: str
    reason: str = ""


BackingEvent = CandidateReceived | Executed | StatementSigned | StatementRefused | RelayAdvanced
BackingEffect = (
    SendCandidateMessage
    | BroadcastAttestation
    | ExecuteCandidate
    | SignStatement
    | CandidateMisbehaviour
    | CandidateStage
)
__all__ = [
    "BackingEffect",
    "BackingEvent",
    "BroadcastAttestation",
    "CandidateMisbehaviour",
    "CandidateOffer",
    "CandidateReceived",
    "CandidateStage",
    "ExecuteCandidate",
    "Executed",
    "PovRequest",
    "RelayAdvanced",
    "SendCandidateMessage",
    "SignStatement",
    "StatementRefused",
    "StatementSigned",
]
