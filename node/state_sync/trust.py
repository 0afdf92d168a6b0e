"""What must be proven before a single piece of a state is asked for (CONSENSUS.md section 16).

A node trusts its own newest block, or genesis, or a block that its operator checked; from there to a snapshot
by epoch hops, under the same rule as a light client: the trusted block must be younger than the trusting
period. The header above the snapshot's block carries the root of the state, and is final with it.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from consensus.agreement.messages import FLAG_BOUNDARY, payload_root
from consensus.light.client import (
    Checkpoint,
    Conflict,
    LightParameters,
    TrustedState,
    TrustExpired,
    advance,
    advance_hops,
    begin,
    check_age,
)
from consensus.light.proofs import EpochHop, FinalHead, Start
from consensus.primitives.errors import LocalFault, PeerFault, UserError
from consensus.primitives.ids import Epoch, Height, Milliseconds
from consensus.relay.genesis import Genesis
from node.fork_proof import keep_fork
from node.state_sync.messages import Snapshot
from node.store import Store
from node.validator_set import FIRST_EPOCH, genesis_start


class Trust:
    """From a trusted block to snapshots. `hops` are the epochs' ends that were proven on the way."""

    def __init__(
        self,
        genesis: Genesis,
        trusted: TrustedState | None,
        hops: Sequence[EpochHop] = (),
        *,
        forks: Path,
    ) -> None:
        """`trusted` None: nothing yet; `take_start` gives it. `hops`: those before it that are known.
        `forks`: the directory in which proofs of a fork are kept, should anybody show one."""
        self.hops: list[EpochHop] = list(hops)
        self._trusted = trusted
        self._forks = forks
        self._parameters = LightParameters(
            chain=genesis.hash,
            trusting_ms=Milliseconds(genesis.parameters.trusting_ms),
            unbonding_ms=Milliseconds(genesis.parameters.unbonding_ms),
        )

    @property
    def height(self) -> Height:
        """Of the newest block that is trusted."""
        return Height(0) if self._trusted is None else self._trusted.height

    @property
    def next_hop(self) -> Epoch | None:
        """The epoch whose end is to be proven next; None as long as nothing is trusted."""
        return None if self._trusted is None else self._trusted.epoch

    def check_age(self) -> None:
        """Raises UserError if the trusted block is too old to lead anywhere."""
        if self._trusted is None:
            return
        try:
            check_age(self._trusted, self._parameters, _now_ms())
        except TrustExpired:
            days = self._parameters.trusting_ms / 86_400_000
            raise UserError(
                f"block {self._trusted.height}, the newest that this node knows, is older than the trusting"
                f" period of {days:g} days: whoever signed since may have no stake left to lose. Give a"
                ' younger block that you checked with several operators: sync.trusted = "HEIGHT:HASH"'
            ) from None

    def take_start(self, start: Start, checkpoint: Checkpoint) -> None:
        """Trust the operator's block, of which a peer sent header and set. Raises PeerFault, UserError."""
        self._trusted = begin(start, checkpoint, self._parameters)
        self.check_age()

    def take_hops(self, hops: Sequence[EpochHop]) -> None:
        """Go on over epochs' ends. Raises PeerFault if one does not follow."""
        if self._trusted is None:
            raise RuntimeError("hops from nowhere")
        self._trusted = advance_hops(self._trusted, hops, self._parameters, _now_ms())
        self.hops += hops

    def check(self, snapshot: Snapshot) -> None:
        """Raises PeerFault unless the snapshot's block, and the header above it, are final.

        UserError if it is of the operator's block's own epoch, whose beginning nobody has proven then; or if
        it is as final as another block that is trusted: then the chain has forked, and both proofs are kept.
        """
        if self._trusted is None:
            raise RuntimeError("a snapshot before anything is trusted")
        header = snapshot.header
        if header.flags & FLAG_BOUNDARY or not snapshot.proof.path:
            raise PeerFault("a snapshot without the header that carries its state's root")
        if (
            len(snapshot.payload) != header.payload_len
            or payload_root(snapshot.payload) != header.payload_root
        ):
            raise PeerFault("a body that is not the one its header commits to")
        head = FinalHead(header=header, finality=snapshot.proof)
        try:
            advance(self._trusted, (), head, self._parameters, _now_ms())
        except Conflict as conflict:  # nothing that the peer is to blame for
            raise keep_fork(conflict, self._forks) from None
        if header.epoch > FIRST_EPOCH and (
            not self.hops or self.hops[-1].boundary.header.epoch != header.epoch - 1
        ):
            raise UserError(
                f"sync.trusted names a block of epoch {header.epoch}, which is not over: name one of an"
                " earlier epoch, so that this node can prove how the present one began"
            )


def trust_of(
    genesis: Genesis, store: Store, checkpoint: Checkpoint | None, *, known_hops: int | None = None
) -> Trust:
    """What a node starts from: its newest block, or the operator's if that is higher.

    `known_hops`: of the epochs that are behind it, so many that just ended, at least one; None for all, of
    which there may be thousands. Raises UserError if the block is too old, LocalFault if the store lacks what
    it must have.
    """
    trusted = _of_store(genesis, store) if store.height() else _of_genesis(genesis)
    if checkpoint is not None and checkpoint.height > trusted.height:
        return Trust(genesis, None, forks=store.path.parent)
    trust = Trust(genesis, trusted, _known_hops(store, trusted.epoch, known_hops), forks=store.path.parent)
    trust.check_age()
    return trust


def _of_genesis(genesis: Genesis) -> TrustedState:
    start = genesis_start(genesis)
    return TrustedState(
        chain=genesis.hash,
        header=start.header,
        epoch=FIRST_EPOCH,
        validators=start.validators,
        finality=None,
    )


def _of_store(genesis: Genesis, store: Store) -> TrustedState:
    height = store.height()
    held = store.block(height)
    if held is None:
        raise LocalFault(f"{store.path} has lost its newest block")
    header = held.header
    epoch = Epoch(header.epoch + 1) if header.flags & FLAG_BOUNDARY else header.epoch
    before = None if epoch == FIRST_EPOCH else store.boundary(epoch - 1)
    if before is None and epoch != FIRST_EPOCH:
        raise LocalFault(f"{store.path} has lost the end of epoch {epoch - 1}")
    validators = genesis_start(genesis).validators if before is None else before.validators
    return TrustedState(
        chain=genesis.hash,
        header=header,
        epoch=epoch,
        validators=validators,
        finality=store.proof(height),
    )


def _known_hops(store: Store, epoch: Epoch, most: int | None) -> list[EpochHop]:
    """The ends of the epochs before `epoch`, as far back as they follow one another; at most so many."""
    hops: list[EpochHop] = []
    for each in range(epoch - 1, 0 if most is None else max(0, epoch - 1 - most), -1):
        hop = store.boundary(each)
        if hop is None:
            break
        hops.append(hop)
    hops.reverse()
    return hops


def start_at(genesis: Genesis, store: Store, height: Height) -> Start | None:
    """The header at `height` with the set of its epoch, for who was told to trust it; None if it is gone."""
    first = genesis_start(genesis)
    if height == 0:
        return first
    held = store.block(height)
    if held is None:
        return None
    if held.header.epoch == FIRST_EPOCH:
        return Start(header=held.header, validators=first.validators)
    before = store.boundary(held.header.epoch - 1)
    return None if before is None else Start(header=held.header, validators=before.validators)


def _now_ms() -> Milliseconds:
    return Milliseconds(time.time_ns() // 1_000_000)
