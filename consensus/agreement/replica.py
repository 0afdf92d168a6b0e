"""The engine's mutable state, and the helpers of CONSENSUS.md section 5 that every rule uses.

`Replica` is the one mutable object; the rules in `voting`, `proposing`, `intake`, … are functions over it.
A rule changes the state, marks views `dirty` whose rules must run again, and appends effects; the engine
runs the rules until nothing is dirty. Everything is monotone within a view, so that ends.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from consensus.agreement.certificates import SignatureChecker
from consensus.agreement.config import VIEWS_AHEAD, EngineConfig, Experience
from consensus.agreement.events import Append, Effect, EvidenceFound, Instant, Peer, Send
from consensus.agreement.evidence import Evidence
from consensus.agreement.journal_records import JournalRecord
from consensus.agreement.messages import (
    FLAG_BOUNDARY,
    FLAG_TAIL,
    Certificate,
    CertificateType,
    Header,
    Message,
    Vote,
    block_hash,
)
from consensus.agreement.pacemaker import Pacemaker
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.tally import Tally
from consensus.agreement.watch import Watch
from consensus.primitives.ids import Hash, Height, Signature, ValidatorIndex, View

MAX_UNJOURNALED: Final = 64  # records that wait for a vote; a silent validator writes them in such lots


@dataclass(slots=True)
class Block:
    """A block as far as it is known. `valid` None: not judged yet."""

    hash: Hash
    header: Header
    leader_sig: Signature | None = None
    payload: bytes | None = None
    valid: bool | None = None
    asked: bool = False  # the application has been asked to validate it
    journaled: bool = False


@dataclass(slots=True)
class ViewState:
    """One unfinalised view: its tally, headers, certificates, and when this node acted in it."""

    tally: Tally
    proposals: list[Hash] = field(default_factory=list)  # in arrival order; 2 prove a fault
    notarization: Certificate | None = None
    fallbacks: dict[Hash, Certificate] = field(default_factory=dict)
    skip: Certificate | None = None
    skipped_us: int | None = None  # when the own SKIP was sent
    gossiped_fault: bool = False
    fault_journaled: bool = False

    def copy(self) -> "ViewState":
        """An independent copy."""
        return replace(
            self, tally=self.tally.copy(), proposals=list(self.proposals), fallbacks=dict(self.fallbacks)
        )

    @property
    def resolved(self) -> bool:
        """resolved(v), for a view above final_view."""
        return self.notarization is not None or self.skip is not None or bool(self.fallbacks)

    def certifies(self, block: Hash) -> bool:
        """Whether a Notarization or Fallback for `block` is held."""
        return block in self.fallbacks or (self.notarization is not None and self.notarization.block == block)

    def certified(self) -> Hash | None:
        """The block that a leader builds on: Notarization before Fallback, then the smaller hash."""
        if self.notarization is not None:
            return self.notarization.block
        return min(self.fallbacks, default=None)

    def certificates(self) -> list[Certificate]:
        """All that are held, in a fixed order."""
        held = [self.notarization, *(self.fallbacks[block] for block in sorted(self.fallbacks)), self.skip]
        return [each for each in held if each is not None]


@dataclass(slots=True)
class PullRequest:
    """Something that must be fetched; `final` if it lies on the way to a final block."""

    view: View
    due_us: int
    attempt: int = 0
    final: bool = False


@dataclass(slots=True)
class PeerState:
    """What is known of one peer."""

    up: bool = False
    down_since_us: int | None = None
    rtt_us: int | None = None
    final_height: int = 0
    answered_us: int | None = None  # when its Status was last answered


@dataclass(slots=True)
class Probe:
    """A search for the amnesia bar: views of the others' highest certificates."""

    nonce: Hash
    signature: Signature
    again_us: int  # when to ask again those who have not answered
    replies: dict[int, View] = field(default_factory=dict)
    within: set[int] = field(
        default_factory=set
    )  # who answered that no later epoch had begun, for all it knew


@dataclass(slots=True)
class ChainRequest:
    """The one outstanding GetChain."""

    peer: Peer
    first: Height
    due_us: int


PullKey = tuple[str, int, Hash]  # ("block", 0, hash), ("certificate", view, hash), ("skip", view, zero)


class Replica:
    """Everything a node knows in one epoch. Fields in the order of CONSENSUS.md section 4."""

    def __init__(
        self, config: EngineConfig, gate: SigningGate | None, final: Header, certificate: Certificate | None
    ) -> None:
        self.config = config
        self.gate = gate
        self.validators = config.validators
        self.check = SignatureChecker(
            chain_id_hash=config.chain_id_hash,
            epoch=config.epoch,
            keys=config.validators.keys,
            verify=config.verify,
        )
        self.watch = Watch(config.validators, config.epoch, self.check)
        # one turn
        self.now = Instant(0, 0)
        self.effects: list[Effect] = []
        self.dirty: set[View] = set()
        # views
        self.started = False
        self.cur_view = View(0)
        self.entry_us = 0
        self.entry_certificates: tuple[Certificate, ...] = ()
        self.views: dict[View, ViewState] = {}
        self.own_votes: dict[View, list[Vote]] = {}
        # finality: `final_*` by certificate, `tip` by what was handed to the application
        self.tip = final
        self.tip_hash = block_hash(final)
        self.final_view = self.view_of(final)
        self.final_hash = self.tip_hash
        self.final_certificate = certificate
        self.persisted_height = final.height
        self.recent: list[Block] = []  # the newest that were handed out: whoever lags asks for them by hash
        self.handed_out: list[Block] = []  # final, not yet durable in the store; ascending heights
        self.ended = False  # the boundary block was handed out: nothing more is signed in this epoch
        self.blocks: dict[Hash, Block] = {}
        # journal records that the next vote relies on
        self.unjournaled: list[JournalRecord] = []
        # proposing
        self.building: tuple[View, Hash] | None = None
        self.resend_us = 0
        self.stalls = 0
        # fetching
        self.pulls: dict[PullKey, PullRequest] = {}
        self.peers: dict[Peer, PeerState] = {}
        self.chain_request: ChainRequest | None = None
        self.chain_misses = 0  # requests that brought nothing
        # amnesia
        self.probe: Probe | None = None
        self.pending_probes: dict[int, tuple[Peer, Hash]] = {}
        self.pacemaker = Pacemaker(config.timers, len(config.validators))

    def recall(self, experience: Experience) -> None:
        """Take over what an earlier epoch's engine learnt."""
        for peer, height in experience.heights.items():
            self.peers[Peer(peer)] = PeerState(final_height=height)
        self.pacemaker.delay_us = experience.delay_us
        self.pacemaker.deviation_us = experience.deviation_us

    # --- helpers of section 5

    @property
    def index(self) -> ValidatorIndex | None:
        """The own index; None for an observer."""
        return None if self.gate is None else self.gate.index

    def tracked(self, view: View) -> bool:
        """Whether messages of this view are kept: above the final one, at most AHEAD of the current."""
        return self.final_view < view <= self.cur_view + VIEWS_AHEAD

    def view(self, view: View) -> ViewState:
        """The state of a tracked view, made on first use."""
        state = self.views.get(view)
        if state is None:
            state = self.views[view] = ViewState(Tally(self.validators, self.config.epoch, view))
        return state

    def certified(self, view: View, block: Hash) -> bool:
        """certified(v, B), genesis and the final block included."""
        if view <= self.final_view:
            return view == self.final_view and block == self.final_hash
        state = self.views.get(view)
        return state is not None and state.certifies(block)

    def skipped(self, view: View) -> bool:
        """Whether a SkipCert of an unfinalised view is held."""
        state = self.views.get(view)
        return state is not None and state.skip is not None

    def gap_missing(self, header: Header) -> tuple[View, bool] | None:
        """None if gap_ok; else a view whose certificate is missing, and whether a SkipCert is."""
        if not self.certified(header.parent_view, header.parent_hash):
            return header.parent_view, False
        for between in range(header.parent_view + 1, header.view):
            if not self.skipped(View(between)):
                return View(between), True
        return None

    def header_of(self, block: Hash) -> Header | None:
        """The header of a known block; that of the newest final one included."""
        if block == self.tip_hash:
            return self.tip
        found = self.blocks.get(block)
        return None if found is None else found.header

    def view_of(self, header: Header) -> View:
        """The view in which a block is certified here: 0 for the boundary block that the epoch starts on."""
        return header.view if header.epoch == self.config.epoch else View(0)

    def flags_at(self, height: Height) -> int:
        """What a block of this height is flagged as: BOUNDARY at the epoch's end, TAIL above it."""
        end = self.config.end_height
        if height == end:
            return FLAG_BOUNDARY
        return FLAG_TAIL if height > end else 0

    def not_future(self, header: Header, parent: Header) -> bool:
        """not_future(B): by this node's clock, or no later than its parent."""
        ahead = self.config.parameters.precision_ms
        return header.time_ms <= self.now.unix_ms + ahead or header.time_ms == parent.time_ms

    def timely(self, header: Header, parent: Header) -> bool:
        """timely(B): for first votes only."""
        late = self.config.parameters.precision_ms + self.config.parameters.message_delay_ms
        return self.not_future(header, parent) and header.time_ms >= self.now.unix_ms - late

    def highest_certified_view(self) -> View:
        """The highest view of any certificate held; 0 while there is but genesis."""
        return max((view for view, state in self.views.items() if state.resolved), default=self.final_view)

    # --- effects

    def accuse(self, found: Iterable[Evidence]) -> None:
        """Hand out evidence that the watch has found."""
        self.effects.extend(map(EvidenceFound, found))

    def peer(self, peer: Peer) -> PeerState:
        """What is known of a peer; of a stranger that has no session nothing is kept."""
        state = self.peers.get(peer)
        if state is None:
            state = PeerState()
            if peer < len(self.validators):
                self.peers[peer] = state
        return state

    def send(self, peer: Peer, message: Message) -> None:
        """Queue a message to one peer."""
        self.effects.append(Send(peer, message))

    def flush_journal(self, *records: JournalRecord) -> None:
        """Append what is due, then `records`, before whatever is sent next."""
        self.effects.append(Append((*self.unjournaled, *records)))
        self.unjournaled.clear()

    def note(self, record: JournalRecord) -> None:
        """Have a record written with the next vote, or when many wait; observers keep no journal."""
        if self.gate is not None:
            self.unjournaled.append(record)
            if len(self.unjournaled) >= MAX_UNJOURNALED:
                self.flush_journal()


def is_finality(certificate: Certificate) -> bool:
    """Whether a certificate makes its block final."""
    return certificate.ctype in (CertificateType.FAST_FINAL, CertificateType.FINAL)
