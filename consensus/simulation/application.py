"""The smallest application that agreement can serve: its state is a hash chain over the payloads.

It answers as the node does (events `PayloadBuilt`, `BlockValidated`, `Persisted`), late by random delays. The
state after a block is a hash of the state before it and its payload; a header names the state *before* its
block, so a block can be executed once its parent is. Final blocks go to a store that syncs in batches and
loses what was not synced when the process dies.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from consensus.agreement.events import (
    BlockValidated,
    BuildPayload,
    EpochEnding,
    Event,
    Finalized,
    PayloadBuilt,
    Persisted,
    ValidateBlock,
)
from consensus.agreement.messages import (
    FLAG_BOUNDARY,
    FLAG_TAIL,
    Chain,
    ChainBlock,
    FinalityProof,
    Header,
    block_hash,
)
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Height
from consensus.simulation.membership import Membership, epoch_on
from consensus.simulation.scheduler import Scheduler

GENESIS_STATE: Final = hash_tagged(b"PHALANX/simulation/genesis-state")
VALID_MARK: Final = b"valid:"  # a payload without it is invalid at every honest node
MAX_SERVED: Final = 64


def state_after(header: Header, payload: bytes) -> Hash:
    """The state after a block: the genesis state, or a hash of the state before and the payload.

    A tail block changes nothing.
    """
    if header.height == 0:
        return GENESIS_STATE
    if header.flags == FLAG_TAIL:
        return header.state_root
    return hash_tagged(b"PHALANX/simulation/state", header.state_root, payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationPlan:
    """Delays of the application, in microseconds."""

    execution_us: int  # the most that building or checking a block takes
    idle_us: int  # the most that a leader with nothing to say waits
    persist_us: int  # the most that a batch of final blocks waits for its sync
    switch_us: int = 1_000  # the most that it takes to make a boundary block durable and read the next set


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A final block as the store keeps it."""

    block_hash: Hash
    header: Header
    payload: bytes
    proof: FinalityProof


class Store:
    """Final blocks by height. `durable_height` survives a crash, the rest does not."""

    def __init__(self, genesis: Header) -> None:
        self.genesis = genesis
        self.durable_height = 0
        self.blocks: list[StoredBlock] = []

    def crash(self, *, wipe: bool) -> None:
        """Lose what was not synced, or everything."""
        if wipe:
            self.durable_height = 0
        del self.blocks[self.durable_height :]

    def tip(self) -> tuple[Header, FinalityProof | None]:
        """The highest block and its proof; the genesis header without one."""
        if not self.blocks:
            return self.genesis, None
        last = self.blocks[-1]
        return last.header, last.proof

    def header_at(self, height: int) -> Header:
        """The header of a final block, or of genesis."""
        return self.blocks[height - 1].header if height else self.genesis

    def serve(self, first: int, last: int) -> Chain:
        """Up to 64 blocks from height `first`, the last with its proof; empty if there are none."""
        served = self.blocks[max(first, 1) - 1 : min(last, first + MAX_SERVED - 1)]
        return Chain(
            first=Height(first),
            blocks=tuple(ChainBlock(header=each.header, payload=each.payload) for each in served),
            proof=served[-1].proof if served else None,
        )


class Application:
    """One incarnation: executes blocks in the order of their parents and answers through `post`."""

    def __init__(
        self,
        *,
        plan: ApplicationPlan,
        random: Random,
        scheduler: Scheduler,
        store: Store,
        membership: Membership,
        name: int,
        post: Callable[[Event], None],
        begin: Callable[[Header], None],
    ) -> None:
        self._plan = plan
        self._random = random
        self._scheduler = scheduler
        self._store = store
        self._membership = membership
        self._name = name
        self._post = post
        self._begin = begin
        self._built = 0
        self._persisting = False
        self._executed: dict[Hash, Hash] = {block_hash(store.genesis): GENESIS_STATE}
        self._waiting: dict[Hash, list[Callable[[], None]]] = {}
        for block in store.blocks:
            self._executed[block.block_hash] = state_after(block.header, block.payload)

    def build(self, request: BuildPayload) -> None:
        """Answer BuildPayload once the parent is executed."""

        def ready() -> None:
            idle_us = 0 if request.boundary or request.tail else self._plan.idle_us
            delay_us = self._delay(self._plan.execution_us) + self._delay(idle_us)
            self._scheduler.after(delay_us, lambda: self._post(self._payload(request)))

        self._when_executed(request.parent_hash, ready)

    def validate(self, request: ValidateBlock) -> None:
        """Answer ValidateBlock once the parent is executed."""

        def ready() -> None:
            self._scheduler.after(self._delay(self._plan.execution_us), lambda: self._check(request))

        self._when_executed(request.header.parent_hash, ready)

    def finalize(self, block: Finalized) -> None:
        """Store a final block; it is durable, and `Persisted` is posted, some time later."""
        self._store.blocks.append(StoredBlock(block.block_hash, block.header, block.payload, block.proof))
        self._execute(block.block_hash, block.header, block.payload)
        if not self._persisting:
            self._persisting = True
            self._scheduler.after(self._delay(self._plan.persist_us), self._persist)

    def end_epoch(self, ending: EpochEnding) -> None:
        """Make the boundary block durable at once, then let the next epoch begin."""
        self._scheduler.after(self._delay(self._plan.switch_us), lambda: self._switch(ending.boundary))

    def _switch(self, boundary: Header) -> None:
        if self._random.randrange(2):
            self._store.durable_height = len(self._store.blocks)
            self._begin(boundary)  # and Persisted comes later
        else:
            self._persist()
            self._begin(boundary)

    def _payload(self, request: BuildPayload) -> PayloadBuilt:
        self._built += 1
        if request.tail:
            return PayloadBuilt(
                view=request.view,
                parent_hash=request.parent_hash,
                payload=b"",
                tx_count=0,
                state_root=self._executed[request.parent_hash],
            )
        payload = VALID_MARK + b"%d.%d.%d.%d" % (
            self._name,
            request.view,
            self._built,
            self._random.randrange(1 << 32),
        )
        return PayloadBuilt(
            view=request.view,
            parent_hash=request.parent_hash,
            payload=payload,
            tx_count=1,
            state_root=self._executed[request.parent_hash],
            next_validators_hash=self._next_set(epoch_on(request.parent), request.parent_hash)
            if request.boundary
            else ZERO_HASH,
        )

    def _next_set(self, epoch: Epoch, parent_hash: Hash) -> Hash:
        """What the boundary block of `epoch` on this parent must commit to."""
        return self._membership.validators(Epoch(epoch + 1), parent_hash).validators_hash

    def _check(self, request: ValidateBlock) -> None:
        header = request.header
        if header.state_root != self._executed[header.parent_hash]:
            self._post(BlockValidated(request.block_hash, False, "the state root is not the parent's"))
        elif header.flags != FLAG_TAIL and not request.payload.startswith(VALID_MARK):
            self._post(BlockValidated(request.block_hash, False, "the payload is not valid"))
        elif header.flags == FLAG_BOUNDARY and header.next_validators_hash != self._next_set(
            header.epoch, header.parent_hash
        ):
            self._post(BlockValidated(request.block_hash, False, "these are not the next validators"))
        else:
            self._execute(request.block_hash, header, request.payload)
            self._post(BlockValidated(request.block_hash, True))

    def _execute(self, block: Hash, header: Header, payload: bytes) -> None:
        if block in self._executed:
            return
        self._executed[block] = state_after(header, payload)
        for waiting in self._waiting.pop(block, ()):
            waiting()

    def _when_executed(self, block: Hash, action: Callable[[], None]) -> None:
        if block in self._executed:
            action()
        else:
            self._waiting.setdefault(block, []).append(action)

    def _persist(self) -> None:
        self._persisting = False
        height = len(self._store.blocks)
        self._store.durable_height = height
        self._post(Persisted(Height(height)))

    def _delay(self, most_us: int) -> int:
        return self._random.randint(0, most_us) if most_us else 0
