"""What one node does with candidates: a validator validates, a collator builds them, others do neither."""

from collections.abc import Callable, Sequence
from typing import Any

import trio
from structlog.typing import FilteringBoundLogger

from consensus.agreement.events import Peer, SignStatement, StatementRefused, StatementSigned
from consensus.candidates.receipts import Attestation, CandidateInclusion, CandidateMessage
from consensus.candidates.view import RelayView
from consensus.primitives.ids import ChainId, Hash
from consensus.relay.genesis import Genesis
from enclaves.pool import WorkerPool
from node.api import Role
from node.chain_replica import Beginning
from node.collation import Collation
from node.collator import Collator
from node.config import NodeConfig
from node.epochs import Term
from node.executor import SignatureCache
from node.final_chain import FinalChain, FinalNotice
from node.router import Router
from node.store import Store
from node.validation import Validation


class CandidateSide:
    """`validation` and `collation`, each None where the role has none."""

    def __init__(
        self,
        config: NodeConfig,
        genesis: Genesis,
        chain_id_hash: Hash,
        term: Term,
        *,
        final_chain: FinalChain,
        signatures: SignatureCache,
        workers: WorkerPool,
        store: Store,
        router: Router,
        post: Callable[[SignStatement], None],
        validators: Callable[[], Sequence[Peer]],
        log: FilteringBoundLogger,
    ) -> None:
        """`validators` are the peers that a collator offers to: the members of the epoch, by index."""
        self._config = config
        self._final_chain = final_chain
        self._workers = workers
        self._router = router
        self._validators = validators
        self._log = log
        self.collation: Collation | None = None
        self.validation: Validation | None = None
        if config.collator is not None:
            chain = config.collator.chain_id
            self.collation = Collation(chain, genesis, final_chain, self._make_collator, log)
        if config.role is Role.VALIDATOR:
            self.validation = Validation(
                own=term.own,
                chain_id_hash=chain_id_hash,
                epoch=term.epoch,
                validators=term.validators,
                verify=signatures.verify,
                workers=workers,
                store=store,
                post=post,
                send=router.send_candidate,
                broadcast=router.broadcast_candidate,
                misbehaved=router.misbehaved,
                view=final_chain.view,
                log=log,
            )

    def _make_collator(self, chain: ChainId, beginning: Beginning | None) -> Collator:
        return Collator(
            chain=chain,
            beginning=beginning,
            validators=self._validators,
            workers=self._workers,
            path=self._config.data_path / f"chain-{chain}",
            send=self._router.send_candidate,
            view=self._final_chain.view,
            log=self._log,
        )

    def close(self) -> None:
        """Close the replica; nothing may follow."""
        if self.collation is not None:
            self.collation.close()

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            if self.validation is not None:
                nursery.start_soon(self.validation.run)
            if self.collation is not None:
                nursery.start_soon(self.collation.run)

    # --- what comes in

    def receive(self, peer: Peer, message: CandidateMessage) -> None:
        """A decoded message from the network."""
        if self.validation is not None:
            self.validation.receive(peer, message)
        if self.collation is not None:
            self.collation.receive(peer, message)

    def peer_up(self, peer: Peer) -> None:
        """A peer (re)connected."""
        if self.validation is not None:
            self.validation.peer_up(peer)
        if self.collation is not None:
            self.collation.peer_up(peer)

    def on_statement(self, answer: StatementSigned | StatementRefused) -> None:
        """What became of a verdict that was to be signed."""
        if self.validation is not None:
            self.validation.on_statement(answer)

    def on_final(self, notice: FinalNotice) -> None:
        """A final block was executed."""
        if self.validation is not None:
            self.validation.on_final(notice)
        if self.collation is not None:
            self.collation.on_final(notice)

    def on_epoch(self, term: Term) -> None:
        """Another set attests from now on."""
        if self.validation is not None:
            self.validation.begin_epoch(term.epoch, term.own, term.validators)

    # --- questions

    def includable(self, view: RelayView, limit: int) -> Sequence[CandidateInclusion]:
        """What a leader may include."""
        return () if self.validation is None else self.validation.includable(view, limit)

    def contrary(self) -> Sequence[Attestation]:
        """What validators signed against a verdict."""
        return () if self.validation is None else self.validation.contrary()

    def statistics(self) -> dict[str, Any]:
        """Counters, for metrics."""
        figures: dict[str, Any] = {}
        if self.validation is not None:
            figures |= self.validation.statistics()
        if self.collation is not None:
            figures |= self.collation.statistics()
        return figures
