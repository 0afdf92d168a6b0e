"""What a validator does with candidates, as a machine without I/O (DESIGN.md section 6, `replicated`).

    upon a CandidateOffer(header, pov) from a collator or validator:
        check the header against the latest executed relay state;
        no PoV with it → RequestPov; a PoV → Execute, in a worker
    upon Executed(candidate, VALID or INVALID):
        RequestStatement: the signing gate journals the verdict, then signs
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

from consensus.candidates.receipts import (
    Attestation,
    CandidateHeader,
    CandidateMessage,
    CandidateOffer,
    PovRequest,
    PovResponse,
    Verdict,
)
from consensus.primitives.ids import Epoch, Hash

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
    """A worker re-executed a candidate. `verdict` None: this machine could not (a local fault); it abstains."""

    candidate: Hash
    verdict: Verdict | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementSigned:
    """The gate signed what `RequestStatement` asked for, and it is durable."""

    attestation: Attestation


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementRefused:
    """The gate refused: another verdict on this candidate was signed before."""

    candidate: Hash


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
class RequestStatement:
    """Have the signing gate journal and sign a verdict, then answer `StatementSigned` or `StatementRefused`."""

    epoch: Epoch
    header: CandidateHeader
    candidate: Hash
    verdict: Verdict


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
    | RequestStatement
    | CandidateMisbehaviour
    | CandidateStage
)
__all__ = [
    "BackingEffect", "BackingEvent", "BroadcastAttestation", "CandidateMisbehaviour", "CandidateOffer",
    "CandidateReceived", "CandidateStage", "Executed", "ExecuteCandidate", "PovRequest", "PovResponse",
    "RelayAdvanced", "RequestStatement", "SendCandidateMessage", "StatementRefused", "StatementSigned",
]
