"""What enters and leaves the backing machine (`backing.Backing`)."""

from dataclasses import dataclass

from consensus.agreement.events import SignStatement, StatementRefused, StatementSigned
from consensus.agreement.statements import Verdict
from consensus.agreement.validators import ValidatorSet
from consensus.candidates.execution import CandidateTask
from consensus.candidates.lifecycle import Stage
from consensus.candidates.receipts import Attestation, CandidateHeader, CandidateMessage
from consensus.candidates.view import RelayView
from consensus.primitives.ids import Epoch, Hash, ValidatorIndex

Sender = int
"""Who sent a message: the node's own number for a peer, which outlives epochs; never a validator's index."""


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
    """A newer final relay block was executed; `view` reads its state."""

    view: RelayView


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConnected:
    """A validator (re)connected: it may lack what was said meanwhile."""

    sender: Sender


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochBegan:
    """Another set attests from now on. `own` is this validator's place in it, None if it has none.

    Comes after agreement's `EpochBegins`: what is asked to be signed now is signed in the new epoch.
    """

    epoch: Epoch
    own: ValidatorIndex | None
    validators: ValidatorSet


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
    """Re-execute in a worker (`execution.prepare`, run, `execution.judge`), then answer with `Executed`."""

    candidate: Hash
    task: CandidateTask


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
    stage: Stage
    reason: str = ""


BackingEvent = (
    CandidateReceived
    | Executed
    | StatementSigned
    | StatementRefused
    | RelayAdvanced
    | PeerConnected
    | EpochBegan
)
BackingEffect = (
    SendCandidateMessage
    | BroadcastAttestation
    | ExecuteCandidate
    | SignStatement
    | CandidateMisbehaviour
    | CandidateStage
)
