"""Engines on a virtual network with a schedule: for searches that need whole runs rather than single states.

An instance is an engine with a validator's key; two instances may have the same (twins). `carries` says of a
message whether it is delivered, `delay_us` when. Time is virtual and the same for all.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from consensus.agreement.config import EngineConfig, Restored, TimerSettings
from consensus.agreement.engine import Engine
from consensus.agreement.events import (
    BlockValidated,
    Broadcast,
    BuildPayload,
    Effect,
    Event,
    EvidenceFound,
    Finalized,
    Instant,
    PayloadBuilt,
    Peer,
    PeerUp,
    Persisted,
    Received,
    Send,
    ServeChain,
    Start,
    Tick,
    ValidateBlock,
)
from consensus.agreement.evidence import Evidence, verify_evidence
from consensus.agreement.messages import Chain, ChainBlock, Header, Message, genesis_header
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import Validator, ValidatorSet
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import Stake, ValidatorIndex
from tests.proof.scope import EPOCH, GENESIS_MS, STATE_ROOT, key_of, sign_as, verify

CHAIN_ID_HASH: Final = hash_tagged(b"proof/chain", b"cluster")
START_US: Final = 1_000_000


@dataclass(slots=True)
class Instance:
    """One engine: the place of its validator, and what it handed out."""

    number: int
    index: int
    engine: Engine
    chain: list[Finalized] = field(default_factory=list)
    final_us: list[int] = field(default_factory=list)  # when each height became final here
    evidence: list[Evidence] = field(default_factory=list)


class Cluster:
    """`places[k]` is the validator of instance k. `leaders` lead the first views, then the usual ones do."""

    def __init__(
        self,
        *,
        stakes: Sequence[int],
        places: Sequence[int],
        mode: Mode,
        timers: TimerSettings,
        carries: Callable[[int, int, Message, int], bool],
        delay_us: Callable[[int, int, int], int],
        leaders: Sequence[int] = (),
    ) -> None:
        self.now_us = START_US
        self.violations: list[str] = []
        self._carries = carries
        self._delay_us = delay_us
        self._queue: list[tuple[int, int, int, Event]] = []
        self._order = count()
        validators = _validators(stakes, mode, leaders)
        self.config = EngineConfig(
            chain_id_hash=CHAIN_ID_HASH, epoch=EPOCH, validators=validators, verify=verify, timers=timers
        )
        self.genesis = genesis_header(
            chain_id_hash=CHAIN_ID_HASH,
            epoch=EPOCH,
            time_ms=GENESIS_MS,
            validators_hash=validators.validators_hash,
        )
        self.instances = [self._instance(number, index) for number, index in enumerate(places)]
        for one in self.instances:
            for index in sorted(set(places) - {one.index}):
                self._push(0, one.number, PeerUp(Peer(index)))
            self._push(0, one.number, Start(hash_tagged(b"proof/nonce", b"%d" % one.number)))

    def _instance(self, number: int, index: int) -> Instance:
        key = key_of(index)
        gate = SigningGate(
            index=ValidatorIndex(index),
            chain_id_hash=CHAIN_ID_HASH,
            epoch=EPOCH,
            sign=lambda message: sign_as(key, message),
        )
        restored = Restored(final=self.genesis, proof=None, records=())
        return Instance(number, index, Engine(self.config, gate, restored))

    # --- running

    def run(self, until: Callable[[], bool], limit_us: int) -> bool:
        """Advance until `until()`; False if it does not come about before `limit_us` from the beginning."""
        end_us = START_US + limit_us
        while not until():
            due_us, number = min((one.engine.deadline_us or end_us + 1, one.number) for one in self.instances)
            if self._queue and self._queue[0][0] <= due_us:
                self.now_us, _, number, event = heapq.heappop(self._queue)
            else:
                self.now_us, event = max(self.now_us, due_us), Tick()
            if self.now_us > end_us:
                return False
            self._handle(self.instances[number], event)
        return True

    def check(self, honest: Sequence[int]) -> None:
        """I1 among the honest instances, and evidence against nobody of them (I8)."""
        guiltless = {self.instances[number].index for number in honest}
        longest = max((self.instances[number].chain for number in honest), key=len)
        for number in honest:
            one = self.instances[number]
            for mine, other in zip(one.chain, longest, strict=False):
                if mine.block_hash != other.block_hash:
                    self.violations.append(f"fork at height {mine.header.height}")
                    return
            for each in one.evidence:
                proven = verify_evidence(each, self.config.validators, CHAIN_ID_HASH, verify)
                if each.signer in guiltless or proven is None:
                    self.violations.append(f"{one.number} accuses {each.signer} of {proven}")

    def _push(self, delay_us: int, number: int, event: Event) -> None:
        heapq.heappush(self._queue, (self.now_us + delay_us, next(self._order), number, event))

    def _handle(self, one: Instance, event: Event) -> None:
        now = Instant(self.now_us, GENESIS_MS + self.now_us // 1000)
        for effect in one.engine.handle(event, now):
            self._carry_out(one, effect)

    def _carry_out(self, one: Instance, effect: Effect) -> None:
        if isinstance(effect, Broadcast):
            for other in self.instances:
                self._post(one, other, effect.message)
        elif isinstance(effect, Send):
            for other in self.instances:
                if other.index == effect.peer:
                    self._post(one, other, effect.message)
        elif isinstance(effect, BuildPayload):
            payload = b"%d by %d" % (effect.view, one.number)
            self._push(0, one.number, PayloadBuilt(effect.view, effect.parent_hash, payload, 1, STATE_ROOT))
        elif isinstance(effect, ValidateBlock):
            self._push(0, one.number, BlockValidated(effect.block_hash, valid=True))
        elif isinstance(effect, Finalized):
            one.chain.append(effect)
            one.final_us.append(self.now_us)
            self._push(0, one.number, Persisted(effect.header.height))
        elif isinstance(effect, EvidenceFound):
            one.evidence.append(effect.evidence)
        elif isinstance(effect, ServeChain):
            served = one.chain[effect.first - 1 : effect.last]
            blocks = tuple(ChainBlock(header=each.header, payload=each.payload) for each in served)
            chain = Chain(first=effect.first, blocks=blocks, proof=served[-1].proof if served else None)
            for other in self.instances:
                if other.index == effect.peer:
                    self._post(one, other, chain)

    def _post(self, one: Instance, other: Instance, message: Message) -> None:
        if one.index != other.index and self._carries(one.number, other.number, message, self.now_us):
            delay_us = self._delay_us(one.number, other.number, self.now_us)
            self._push(delay_us, other.number, Received(Peer(one.index), message))


def _validators(stakes: Sequence[int], mode: Mode, leaders: Sequence[int]) -> ValidatorSet:
    """A set whose first views are led as a schedule says, and the others in turn."""
    validators = ValidatorSet(
        [Validator(key=key_of(index), stake=Stake(stake)) for index, stake in enumerate(stakes)],
        chain_id_hash=CHAIN_ID_HASH,
        epoch=EPOCH,
        mode=mode,
    )
    if leaders:
        turn = [ValidatorIndex(index) for index in range(len(stakes))]
        validators._table = tuple(map(ValidatorIndex, leaders)) + tuple(turn) * 64
    return validators


def view_of(message: Message) -> int | None:
    """The view that a message is about; None for those that are about none."""
    header: Header | None = getattr(message, "header", None)
    view: int | None = getattr(message if header is None else header, "view", None)
    return view
