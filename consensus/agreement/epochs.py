"""Engine after engine: agreement over all epochs (CONSENSUS.md section 14), and what one needs to begin.

An `Engine` is the protocol of one epoch. `Agreement` drives one after the other and has an engine's outer
interface; it is what a node and the simulator hold. It numbers peers differently: to an engine peer `i` is
the validator of index `i`, which another epoch gives to somebody else; to an `Agreement` a peer is the node's
own number of an identity, which lasts. So a message that was queued before a boundary goes to whom it was
meant for.

    upon the boundary block being final: EpochEnding goes out; the engine signs no more, and still answers.
    upon EpochBegins: the next epoch's engine starts at view 1 on the boundary block.
    upon a message of the next epoch before that: it is kept, within bounds, and handled once that begins, a
        few in each turn (`early`).
    upon a message of the epoch before: who signed against itself in it is found all the same (`watch`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgpack

from consensus.agreement.certificates import SignatureChecker
from consensus.agreement.config import (
    LAN,
    VIEWS_AHEAD,
    AmnesiaPolicy,
    EngineConfig,
    Parameters,
    Restored,
    TimerSettings,
)
from consensus.agreement.early import EarlyMessages
from consensus.agreement.engine import Engine
from consensus.agreement.events import (
    Effect,
    EpochEnding,
    Event,
    EvidenceFound,
    Instant,
    Peer,
    PeerDown,
    PeerMisbehaved,
    PeerUp,
    Received,
    RoundTrip,
    Send,
    ServeChain,
    Start,
    Tick,
)
from consensus.agreement.journal_records import (
    AmnesiaMark,
    AmnesiaRecord,
    FloorRecord,
    JournalRecord,
    encode_record,
    record_epoch,
)
from consensus.agreement.messages import Header, Message, Status, block_hash, epoch_of
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.validators import ValidatorSet
from consensus.agreement.watch import BEHIND, RetiredWatch, Watch
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Height, PublicKey, Signature, View


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSetup:
    """All that the application says about one epoch.

    `validators` is made with the hash of the boundary block's parent as its leader seed (zero in epoch 1).
    `members` is the node's own number of every validator, by validator index, its own place included. `gate`
    is empty and made with the own index and key of this epoch; None if the node is no member, or an observer.
    `start` is the boundary header of the epoch before (the genesis header in epoch 1): the certified parent.
    Raises ValueError if these contradict each other.
    """

    epoch: Epoch
    validators: ValidatorSet
    members: tuple[Peer, ...]
    gate: SigningGate | None
    start: Header

    def __post_init__(self) -> None:
        if len(self.members) != len(self.validators) or len(set(self.members)) != len(self.members):
            raise ValueError("every validator of an epoch is one peer of its own")
        if self.gate is not None and self.gate.epoch != self.epoch:
            raise ValueError(f"a gate of epoch {self.gate.epoch} in epoch {self.epoch}")


@dataclass(frozen=True, slots=True)
class EpochBegins:
    """The application's answer to EpochEnding, after the boundary block is durable in its store."""

    setup: EpochSetup


@dataclass(slots=True)
class _Link:
    """What must be told to the next epoch's engine about a peer."""

    up: bool = False
    rtt_us: int | None = None


class Agreement:
    """One node's part in agreement, from epoch to epoch; sans I/O, deterministic.

    Starts in `setup.epoch`: the epoch after `restored.final` if that is a boundary block, else its own.
    """

    __slots__ = (
        "_amnesia",
        "_chain_id_hash",
        "_early",
        "_early_due_us",
        "_ending",
        "_engine",
        "_inner",
        "_later",
        "_links",
        "_lost",
        "_marks",
        "_nonce",
        "_parameters",
        "_past",
        "_setup",
        "_timers",
        "_verify",
    )

    def __init__(
        self,
        setup: EpochSetup,
        restored: Restored,
        *,
        chain_id_hash: Hash,
        verify: Callable[[PublicKey, bytes, Signature], bool],
        parameters: Parameters,
        timers: TimerSettings = LAN,
        amnesia: AmnesiaPolicy = AmnesiaPolicy.PROBE,
        before: ValidatorSet | None = None,
    ) -> None:
        """`before`: who validated the epoch before `setup.epoch`, while evidence about that counts."""
        self._chain_id_hash = chain_id_hash
        self._verify = verify
        self._parameters = parameters
        self._timers = timers
        self._amnesia = amnesia
        self._setup = setup
        self._inner = _by_peer(setup.members)
        self._engine = self._make_engine(setup, restored)
        self._past = None if before is None else self._watch_again(before, setup)  # over the epoch before
        self._ending: EpochEnding | None = None  # the epoch is over, the next one is not known yet
        self._links: dict[Peer, _Link] = {}
        self._nonce: Hash | None = None  # of this process; None before Start
        self._early = EarlyMessages()
        self._early_due_us: int | None = None  # None as long as none are due
        # A lost journal stays lost until a key is there that could have signed what it held.
        self._lost = restored.records is None and setup.gate is None
        records = restored.records or ()
        self._later = _not_in_hand(records, setup)
        self._marks = tuple(each for each in records if isinstance(each, AmnesiaMark))

    def handle(self, event: Event | EpochBegins, now: Instant) -> list[Effect]:
        """One turn, as `Engine.handle`. Raises ValueError on an EpochBegins that does not follow."""
        if isinstance(event, Received):
            if self._keep_early(event.peer, event.message):
                return []
            effects = self._turn(event, now)
            if self._past is not None:
                effects += map(EvidenceFound, self._past.message(event.message))
            return effects
        if isinstance(event, EpochBegins):
            return self._begin(event.setup, now)
        self._note(event)
        effects = self._turn(event, now)
        return effects + self._take_early(now) if isinstance(event, Tick) else effects

    # --- what a node may ask

    @property
    def deadline_us(self) -> int | None:
        """When (monotonic) the driver must next call `handle(Tick(), …)`; None: never."""
        known = [each for each in (self._early_due_us, self._engine.deadline_us) if each is not None]
        return min(known, default=None)

    @property
    def epoch(self) -> Epoch:
        """The epoch this node is in."""
        return self._setup.epoch

    @property
    def cur_view(self) -> View:
        """The view of this epoch that this node is in."""
        return self._engine.cur_view

    @property
    def final_view(self) -> View:
        """The highest view of this epoch with a finality certificate."""
        return self._engine.final_view

    @property
    def final_height(self) -> Height:
        """The highest height that was handed out as final."""
        return self._engine.final_height

    @property
    def final_hash(self) -> Hash:
        """The block at that height."""
        return self._engine.final_hash

    @property
    def amnesic(self) -> bool:
        """Whether this validator signs nothing because its journal was lost."""
        return self._engine.amnesic

    @property
    def syncing(self) -> bool:
        """Whether blocks are known to be final that could not be handed out yet."""
        return self._engine.syncing

    def fork(self) -> "Agreement":
        """An independent copy: what happens to one does not touch the other."""
        twin = Agreement.__new__(Agreement)
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        twin._engine = self._engine.fork()
        twin._past = None if self._past is None else self._past.copy()
        twin._links = {peer: replace(link) for peer, link in self._links.items()}
        twin._early = self._early.copy()
        return twin

    def state_digest(self) -> Hash:
        """A hash of everything that decides how this node behaves from here on."""
        links = [(peer, link.up, link.rtt_us) for peer, link in sorted(self._links.items())]
        marks = [encode_record(each) for each in (*self._marks, *self._later)]
        rest = [self._early.state(), links, marks, self._lost, self._nonce, self._ending is not None]
        return hash_tagged(
            b"TALLY/state/1", self._engine.state_digest(), msgpack.packb(rest, use_bin_type=True)
        )

    def journal_snapshot(self) -> list[JournalRecord]:
        """Every record that is still needed, for a rewritten journal; those of later epochs included, which
        are there if the store was lost and the journal was not."""
        if self._setup.gate is None:
            # Records of earlier epochs go: the floor says that those are over, whatever becomes of the store.
            start = self._setup.start
            floor = FloorRecord(epoch=self.epoch, view=View(0), height=start.height, block=block_hash(start))
            lost = AmnesiaRecord(epoch=self.epoch, nonce=ZERO_HASH)
            return [floor, *((lost,) if self._lost else self._marks), *self._later]
        return [*self._engine.journal_snapshot(), *self._later]

    # --- from epoch to epoch

    def _turn(self, event: Event, now: Instant) -> list[Effect]:
        effects = self._engine.handle(self._inward(event), now)
        for effect in effects:
            if isinstance(effect, EpochEnding):
                self._ending = effect
        return [self._outward(effect) for effect in effects]

    def _begin(self, setup: EpochSetup, now: Instant) -> list[Effect]:
        """Start the next epoch's engine on the boundary block; tell it what is known of the peers."""
        ending = self._ending
        if ending is None or setup.epoch != ending.next_epoch:
            raise ValueError(f"epoch {setup.epoch} does not follow: epoch {self.epoch} is under way")
        if block_hash(setup.start) != ending.boundary_hash:
            raise ValueError("an epoch begins on the boundary block of the one before")
        if setup.validators.validators_hash != ending.boundary.next_validators_hash:
            raise ValueError("these are not the validators that the boundary block commits to")
        gate = self._setup.gate
        if gate is not None:
            self._marks = gate.marks
        learnt = self._engine.experience
        heights = {self._peer_out(Peer(peer)): height for peer, height in learnt.heights.items()}
        self._setup, self._ending, self._past = setup, None, self._engine.retire()
        self._inner = _by_peer(setup.members)
        restored = Restored(
            final=setup.start,
            proof=None,
            records=None if self._lost else (*self._marks, *self._later),
            experience=replace(
                learnt, heights={self._peer_in(peer): height for peer, height in sorted(heights.items())}
            ),
        )
        self._engine = self._make_engine(setup, restored)
        self._lost = self._lost and setup.gate is None
        self._later = _not_in_hand(self._later, setup)
        effects: list[Effect] = []
        for peer in [each for each, link in self._links.items() if not link.up and each not in self._inner]:
            del self._links[peer]  # it has left the set, and is gone
        for peer, link in sorted(self._links.items()):
            effects += self._turn(PeerUp(peer) if link.up else PeerDown(peer), now)
            if link.rtt_us is not None:
                effects += self._turn(RoundTrip(peer, link.rtt_us), now)
        if self._nonce is not None:
            effects += self._turn(Start(self._nonce_of(setup.epoch, self._nonce)), now)
        self._early.begin(self._inner)
        effects += self._take_early(now)
        return effects

    def _nonce_of(self, epoch: Epoch, nonce: Hash) -> Hash:
        """The nonce of this process for a probe in `epoch`: probes of two epochs have nothing in common."""
        return hash_tagged(b"TALLY/probe/1", nonce, epoch.to_bytes(8, "big"))

    def _keep_early(self, peer: Peer, message: Message) -> bool:
        """Keep a message of the next epoch; True if it is one, and not for this epoch."""
        if epoch_of(message) != self.epoch + 1 or isinstance(message, Status):
            return False
        self._early.keep(peer, message, self._inner)
        return True

    def _take_early(self, now: Instant) -> list[Effect]:
        """Handle some of what came before this epoch began; the rest is due in the next turn."""
        effects: list[Effect] = []
        for peer, message in self._early.take():
            effects += self._turn(Received(peer, message), now)
        self._early_due_us = now.mono_us if self._early.due else None
        return effects

    def _note(self, event: Event) -> None:
        match event:
            case Start(nonce):
                self._nonce = nonce
            case PeerUp(peer):
                self._links.setdefault(peer, _Link()).up = True
            case PeerDown(peer) if peer in self._inner:
                self._links.setdefault(peer, _Link()).up = False
            case PeerDown(peer):  # strangers come and go, each under a number of its own
                self._links.pop(peer, None)
                self._early.forget(peer)
            case RoundTrip(peer, rtt_us) if peer in self._links:
                self._links[peer].rtt_us = rtt_us

    def _watch_again(self, validators: ValidatorSet, setup: EpochSetup) -> RetiredWatch:
        """The same after a restart: what was seen before is forgotten, and a pair is found whole or not."""
        epoch, last = Epoch(setup.epoch - 1), setup.start.view
        check = SignatureChecker(
            chain_id_hash=self._chain_id_hash, epoch=epoch, keys=validators.keys, verify=self._verify
        )
        return RetiredWatch(Watch(validators, epoch, check), last, View(last + BEHIND + VIEWS_AHEAD))

    def _make_engine(self, setup: EpochSetup, restored: Restored) -> Engine:
        config = EngineConfig(
            chain_id_hash=self._chain_id_hash,
            epoch=setup.epoch,
            validators=setup.validators,
            verify=self._verify,
            parameters=self._parameters,
            timers=self._timers,
            start_height=setup.start.height,
            amnesia=self._amnesia,
        )
        return Engine(config, setup.gate, restored)

    # --- numbers of peers

    def _peer_in(self, peer: Peer) -> Peer:
        """The engine's number of a peer: its validator index, or one above all of them."""
        return self._inner.get(peer, Peer(len(self._setup.members) + peer))

    def _peer_out(self, peer: Peer) -> Peer:
        members = self._setup.members
        return members[peer] if peer < len(members) else Peer(peer - len(members))

    def _inward(self, event: Event) -> Event:
        match event:
            case Received(peer, message):
                return Received(self._peer_in(peer), message)
            case PeerUp(peer):
                return PeerUp(self._peer_in(peer))
            case PeerDown(peer):
                return PeerDown(self._peer_in(peer))
            case RoundTrip(peer, rtt_us):
                return RoundTrip(self._peer_in(peer), rtt_us)
            case _:
                return event

    def _outward(self, effect: Effect) -> Effect:
        match effect:
            case Send(peer, message):
                return Send(self._peer_out(peer), message)
            case ServeChain(peer, first, last):
                return ServeChain(self._peer_out(peer), first, last)
            case PeerMisbehaved(peer, reason):
                return PeerMisbehaved(self._peer_out(peer), reason)
            case _:
                return effect


def _not_in_hand(records: Sequence[JournalRecord], setup: EpochSetup) -> tuple[JournalRecord, ...]:
    """What a rewritten journal must hold beside what the epoch's engine remembers: records of later epochs,
    and of this one where it has no gate that could: a key that is missing now may be brought back."""
    known = setup.epoch if setup.gate is not None else setup.epoch - 1
    return tuple(each for each in records if record_epoch(each) > known)


def _by_peer(members: Sequence[Peer]) -> dict[Peer, Peer]:
    return {peer: Peer(index) for index, peer in enumerate(members)}
