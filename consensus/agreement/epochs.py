"""Engine after engine: agreement over all epochs (CONSENSUS.md section 14), and what one needs to begin.

An `Engine` is the protocol of one epoch. `Agreement` drives one after the other and has an engine's outer
interface; it is what a node and the simulator hold. It numbers peers differently: to an engine peer `i` is
the validator of index `i`, which another epoch gives to somebody else; to an `Agreement` a peer is the node's
own number of an identity, which lasts. So a message that was queued before a boundary goes to whom it was
meant for.

    upon the boundary block being final: EpochEnding goes out; the engine signs no more, and still answers.
    upon EpochBegins: the next epoch's engine starts at view 1 on the boundary block.
    upon a message of the next epoch before that: it is kept, within bounds, and handled at the beginning.
"""

from collections.abc import Callable
from dataclasses import dataclass

from consensus.agreement.config import (
    LAN,
    AmnesiaPolicy,
    EngineConfig,
    Parameters,
    Restored,
    TimerSettings,
)
from consensus.agreement.engine import Engine
from consensus.agreement.events import (
    Effect,
    Event,
    Instant,
    Peer,
    PeerDown,
    PeerMisbehaved,
    PeerUp,
    Received,
    RoundTrip,
    Send,
    ServeChain,
)
from consensus.agreement.journal_records import JournalRecord
from consensus.agreement.messages import Header
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.ids import Epoch, Hash, Height, PublicKey, Signature, View


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSetup:
    """All that the application says about one epoch.

    `validators` is made with the hash of the boundary block's parent as its leader seed (zero in epoch 1).
    `members` is the node's own number of every validator, by validator index, its own place included. `gate`
    is empty and made with the own index and key of this epoch; None if the node is no member, or an observer.
    `start` is the boundary header of the epoch before (the genesis header in epoch 1): the certified parent.
    """

    epoch: Epoch
    validators: ValidatorSet
    members: tuple[Peer, ...]
    gate: SigningGate | None
    start: Header


@dataclass(frozen=True, slots=True)
class EpochBegins:
    """The application's answer to EpochEnding, after the boundary block is durable in its store."""

    setup: EpochSetup


class Agreement:
    """One node's part in agreement, from epoch to epoch; sans I/O, deterministic.

    Starts in `setup.epoch`: the epoch after `restored.final` if that is a boundary block, else its own.
    Raises ValueError on a setup that contradicts itself.
    """

    __slots__ = (
        "_amnesia",
        "_chain_id_hash",
        "_engine",
        "_inner",
        "_parameters",
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
    ) -> None:
        self._chain_id_hash = chain_id_hash
        self._verify = verify
        self._parameters = parameters
        self._timers = timers
        self._amnesia = amnesia
        self._setup = setup
        self._inner = {peer: Peer(index) for index, peer in enumerate(setup.members)}
        self._engine = self._make_engine(setup, restored)

    def handle(self, event: Event | EpochBegins, now: Instant) -> list[Effect]:
        """One turn, as `Engine.handle`. Raises ValueError on an EpochBegins that does not follow."""
        if isinstance(event, EpochBegins):
            raise ValueError(f"epoch {self.epoch} has not ended")
        return [self._outward(effect) for effect in self._engine.handle(self._inward(event), now)]

    # --- what a node may ask

    @property
    def deadline_us(self) -> int | None:
        """When (monotonic) the driver must next call `handle(Tick(), …)`; None: never."""
        return self._engine.deadline_us

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
        return twin

    def state_digest(self) -> Hash:
        """A hash of everything that decides how this node behaves from here on."""
        return self._engine.state_digest()

    def journal_snapshot(self) -> list[JournalRecord]:
        """Every record that is still needed, for a rewritten journal."""
        return self._engine.journal_snapshot()

    # --- numbers of peers

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
