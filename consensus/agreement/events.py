"""The engine's inputs and outputs: everything between it and the world is one of these.

A driver feeds events to `handle` and carries the effects out in order, with one rule: an `Append` must be
durable before any `Send` or `Broadcast` *after it in the same list* leaves, and before a `Finalized` or
`EpochEnding` after it is acted upon, whose proof may hold the vote just signed. It commits all of a turn's
records at once, then goes on.
"""

from dataclasses import dataclass
from typing import NewType

from consensus.agreement.evidence import Evidence
from consensus.agreement.journal_records import JournalRecord
from consensus.agreement.messages import Certificate, FinalityProof, Header, Message
from consensus.agreement.statements import Statement
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Height, Milliseconds, Signature, View

Peer = NewType("Peer", int)
"""To an `Engine`: 0 … n-1 are the epoch's validators by index, n and above all others. To an `Agreement`,
which outlives epochs: the node's own number of an identity, the same for as long as the process lives."""


@dataclass(frozen=True, slots=True)
class Instant:
    """Now, as the driver sees it."""

    mono_us: int  # monotonic, microseconds: timers
    unix_ms: int  # wall clock, milliseconds: block times only


# --- events


@dataclass(frozen=True, slots=True)
class Start:
    """The first event. `nonce`: 32 fresh random bytes, used only if the journal is lost."""

    nonce: Hash


@dataclass(frozen=True, slots=True)
class Tick:
    """`deadline_us` has passed. An early or spurious tick is harmless."""


@dataclass(frozen=True, slots=True)
class Received:
    """A decoded message, over the authenticated link of `peer`."""

    peer: Peer
    message: Message


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A session with `peer` stands."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The session with `peer` is gone."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """A fresh measurement of the link to `peer`, in microseconds."""

    peer: Peer
    rtt_us: int


@dataclass(frozen=True, slots=True)
class PayloadBuilt:
    """The application's answer to BuildPayload: `state_root` is the state after `parent_hash`.

    For a boundary `next_validators_hash` is that of the set of the next epoch, read from that same state,
    with `parent_hash` as its leader seed; zero otherwise. For a tail the payload is the empty string and
    `tx_count` 0."""

    view: View
    parent_hash: Hash
    payload: bytes
    tx_count: int
    state_root: Hash
    next_validators_hash: Hash = ZERO_HASH


@dataclass(frozen=True, slots=True)
class BlockValidated:
    """The application's answer to ValidateBlock. `valid` is the same at every honest node; on a local
    fault the application stays silent. `reason` is for people."""

    block_hash: Hash
    valid: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Persisted:
    """Final blocks up to `height`, and their state, are durable in the store."""

    height: Height


@dataclass(frozen=True, slots=True)
class SignStatement:
    """Sign a verdict on a candidate; answered by StatementSigned in the same turn, or refused silently with
    a StatementRefused."""

    statement: Statement


Event = (
    Start
    | Tick
    | Received
    | PeerUp
    | PeerDown
    | RoundTrip
    | PayloadBuilt
    | BlockValidated
    | Persisted
    | SignStatement
)

# --- effects


@dataclass(frozen=True, slots=True)
class Append:
    """Make these records durable, in order, before any later send of this turn leaves."""

    records: tuple[JournalRecord, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """To one peer, best effort."""

    peer: Peer
    message: Message


@dataclass(frozen=True, slots=True)
class Broadcast:
    """To all validators but oneself, and all observers; best effort."""

    message: Message


@dataclass(frozen=True, slots=True)
class BuildPayload:
    """This node leads `view`: build on `parent` (a genesis header has height 0) for a block at `time_ms`.

    Answer with PayloadBuilt once the parent is executed, at most `idle_interval` later than that. The header
    will carry the time of that answer, if it is later than `time_ms`. `empty`: finality lags too far behind,
    so put no transactions in (CONSENSUS.md section 21).

    `boundary`: the epoch's last block; the answer names the next epoch's set. `tail`: a block above the
    boundary, which only helps it to become final (section 14): no payload at all, no effect on the state,
    and no reason to idle."""

    view: View
    parent: Header
    parent_hash: Hash
    time_ms: Milliseconds
    empty: bool = False
    boundary: bool = False
    tail: bool = False


@dataclass(frozen=True, slots=True)
class ValidateBlock:
    """Check this payload and that `header.state_root` is the parent's post-state; answer BlockValidated.

    The parent is certified, its header and body have been handed out before (here, or in Finalized). The own
    proposal comes here too, so that the application knows every block it may have to build on. Some blocks
    are handed out only because a certified child needs them; answering for those changes nothing.

    Flags are checked by the engine. Of a boundary block (FLAG_BOUNDARY) the application also checks that
    `header.next_validators_hash` is what the parent's post-state and `header.parent_hash` give. A tail
    (FLAG_TAIL) changes nothing: its post-state is its parent's."""

    block_hash: Hash
    header: Header
    payload: bytes


@dataclass(frozen=True, slots=True)
class Certified:
    """A block is notarised, speculatively: it may yet be skipped (CONSENSUS.md section 15.2). Once a block.

    `header` is None while only its hash is known."""

    block_hash: Hash
    header: Header | None
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Finalized:
    """Exactly once a height, in height order. `one_round`: by FAST_FINAL of the block itself.

    Tails are never handed out; a boundary that became final through them has their headers in the path of
    its proof."""

    block_hash: Hash
    header: Header
    payload: bytes
    proof: FinalityProof
    one_round: bool


@dataclass(frozen=True, slots=True)
class EpochEnding:
    """The boundary block is final (CONSENSUS.md section 14): right after its Finalized, once an epoch.

    Nothing more is signed in the epoch that ends. The application makes the boundary durable, computes the
    set of `next_epoch` from the state, and answers with `EpochBegins`. A process that dies in between starts
    in `next_epoch`, because the newest block of its store is the boundary."""

    next_epoch: Epoch
    boundary: Header
    boundary_hash: Hash
    proof: FinalityProof


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    """Two signatures that prove a validator's fault by themselves."""

    evidence: Evidence


@dataclass(frozen=True, slots=True)
class ServeChain:
    """Send `peer` a Chain of final blocks `first` to `last` from the store, as many as fit its caps,
    the last with its proof; an empty Chain if it has none of them."""

    peer: Peer
    first: Height
    last: Height


@dataclass(frozen=True, slots=True)
class PeerMisbehaved:
    """No honest, correct node sends what `peer` sent. The node disconnects and bans it for a while."""

    peer: Peer
    reason: str


@dataclass(frozen=True, slots=True)
class StatementSigned:
    """A verdict, signed; its record is in an Append before this effect."""

    statement: Statement
    signature: Signature


@dataclass(frozen=True, slots=True)
class StatementRefused:
    """The gate refused: another verdict stands, the node is amnesic or an observer, or it is too late."""

    statement: Statement
    reason: str


Effect = (
    Append
    | Send
    | Broadcast
    | BuildPayload
    | ValidateBlock
    | Certified
    | Finalized
    | EpochEnding
    | EvidenceFound
    | ServeChain
    | PeerMisbehaved
    | StatementSigned
    | StatementRefused
)
