"""The composition root: every part of a node, built once, joined here and nowhere else (DESIGN.md section 9).

    journal ─► engine ─► driver ─► router ─► transport         agreement and the network
                           │
                           ▼
    store ◄── final chain ◄── executor ──► guest workers        blocks and state
                  │
                  └─► mempool, progress, traces, validation or collator, answers   who listens to final blocks

A nursery holds one task per concern. A task that fails ends the node with its reason; cancelling ends it
cleanly: what is final is made durable, then everything is closed.
"""

import gc
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import trio
from structlog.typing import FilteringBoundLogger

from consensus.agreement.config import LAN, WAN, EngineConfig, Restored
from consensus.agreement.engine import Engine
from consensus.agreement.events import Peer, Persisted, Start, StatementRefused, StatementSigned
from consensus.agreement.journal_records import JournalRecord
from consensus.agreement.validators import ValidatorSet
from consensus.candidates.receipts import CandidateInclusion, CandidateMessage
from consensus.candidates.view import RelayView
from consensus.primitives import crypto
from consensus.primitives.errors import InvalidTransaction, UserError
from consensus.primitives.ids import Hash, Height, ValidatorIndex
from consensus.relay.blocks import limits_of
from consensus.relay.genesis import Genesis, genesis_state
from enclaves.pool import WorkerPool
from net.identity import PeerId
from net.transport import Transport
from node.answers import Answers
from node.api import Role, Service
from node.builder import PayloadBuilder
from node.collator import Collator
from node.config import NodeConfig
from node.driver import Driver
from node.evidence_pool import EvidencePool
from node.executor import Executor
from node.final_chain import FinalChain, FinalNotice
from node.journal import Journal
from node.keys import NodeKeys
from node.lock import directory_lock
from node.mempool import Mempool
from node.opening import (
    agreement_parameters,
    bind_to_network,
    gate,
    known_peers,
    mempool_limits,
    open_signing_journal,
    own_index,
    start,
)
from node.progress import Progress
from node.router import Router
from node.store import Store
from node.trace import TraceRing
from node.validation import Validation
from node.validator_set import FIRST_EPOCH, genesis_validators
from node.version import program_version

STORE_DIRECTORY: Final = "store"
EVIDENCE_FILE: Final = "evidence"
GC_ALLOCATIONS: Final = 20_000  # container objects between collections of the youngest; 700 by default
MIN_WORKERS: Final = 2  # executing relay blocks and re-executing candidates never wait for each other


async def run_node(
    config: NodeConfig, genesis: Genesis, keys: NodeKeys, *, services: Sequence[Service], log: Any
) -> None:
    """Run a node until cancelled; `services` are served beside it.

    Raises UserError for what the operator can mend before the start, LocalFault when this machine fails.
    """
    with Node.open(config, genesis, keys, log) as node:
        _tune_garbage_collection()
        await node.run(services)


def _tune_garbage_collection() -> None:
    """Keep what lives as long as the process out of collections, and collect seldom.

    Everything cyclic here is small and rare; by default the collector runs over all modules and caches again
    and again, which the latency of votes shows.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 100)


class Node:
    """One node's parts. Made by `open`, which also closes them."""

    def __init__(
        self,
        config: NodeConfig,
        genesis: Genesis,
        keys: NodeKeys,
        *,
        store: Store,
        journal: Journal | None,
        records: tuple[JournalRecord, ...] | None,
        workers: WorkerPool,
        log: FilteringBoundLogger,
    ) -> None:
        """`journal` is None for an observer; `records` is None when a validator's journal is lost."""
        self._config = config
        self._log = log
        self._journal = journal
        self._store = store
        self._workers = workers
        genesis_hash = genesis.hash
        validators = genesis_validators(genesis)
        own = own_index(config, genesis, keys)
        first = start(genesis, genesis_hash, validators, store)
        self.mempool = Mempool(genesis_hash, genesis.parameters, mempool_limits(config))
        self.progress = Progress()
        self.trace = TraceRing()
        self.executor = Executor(
            chain_id_hash=genesis_hash,
            limits=limits_of(genesis.parameters, genesis_hash),
            validators=validators,
            store=store,
            guests=workers,
            known=self.mempool.cache.get,
            remember=self.mempool.cache.add,
            start=first,
        )
        self.final_chain = FinalChain(self.executor, store)
        self.evidence = EvidencePool(
            path=config.data_path / EVIDENCE_FILE,
            chain_id_hash=genesis_hash,
            validators=lambda epoch: validators if epoch == FIRST_EPOCH else None,
            current=lambda: FIRST_EPOCH,
            log=log,
        )
        self.router = Router(
            validators=[PeerId(each.identity_key) for each in genesis.validators],
            own=PeerId(keys.identity.header.public),
            candidates=self._receive_candidate,
            evidence=self.evidence,
            serve=store.chain,
            log=log,
        )
        engine = Engine(
            EngineConfig(
                chain_id_hash=genesis_hash,
                epoch=FIRST_EPOCH,
                validators=validators,
                verify=crypto.verify,
                parameters=agreement_parameters(genesis),
                timers=WAN if config.consensus.timers == "wan" else LAN,
            ),
            gate(own, genesis_hash, keys),
            Restored(
                final=first.header,
                proof=store.proof(first.header.height) if first.header.height else None,
                records=records,
            ),
        )
        self.driver = Driver(
            engine=engine,
            journal=journal,
            links=self.router,
            executor=self.executor,
            final_chain=self.final_chain,
            trace=self.trace,
            on_certified=self._certified,
            on_statement=self._statement,
            on_evidence=self.evidence.found,
            log=log,
        )
        self.validation = None if own is None else self._make_validation(own, genesis_hash, validators)
        self.collator = self._make_collator(genesis)
        if self.validation is not None:
            self.validation.on_change = self.driver.poke
            self.driver.builder = PayloadBuilder(
                executor=self.executor,
                mempool=self.mempool,
                limits=limits_of(genesis.parameters, genesis_hash),
                idle_interval_us=genesis.parameters.idle_interval_ms * 1_000,
                includable=self._includable,
                answer=self.driver.post,
            )
        self.transport = Transport(
            identity_seed=keys.identity.seed,
            network_id=genesis_hash,
            listen=config.network.listen,
            peers={PeerId(each.identity): each.address for each in config.network.peers if each.address},
            authorised=known_peers(config, genesis).__contains__,
            receive=self.router.receive,
            on_peer_up=self.router.peer_up,
            on_peer_down=self.router.peer_down,
            on_round_trip=self.router.round_trip,
            log=log,
        )
        self.router.bind(self.transport, self.driver)
        self.evidence.publish = self.router.flood_evidence
        self.router.candidate_peer_up = self._candidate_peer_up
        self.answers = Answers(
            config=config,
            genesis=genesis,
            genesis_hash=genesis_hash,
            version=program_version(),
            own_index=own,
            driver=self.driver,
            executor=self.executor,
            final_chain=self.final_chain,
            store=store,
            mempool=self.mempool,
            progress=self.progress,
            trace=self.trace,
            transport=self.transport,
            collator=self.collator,
            evidence=self.evidence,
            flood=self.router.flood,
            statistics=self.statistics,
        )
        self.final_chain.listeners.append(self._final)

    @classmethod
    @contextmanager
    def open(
        cls, config: NodeConfig, genesis: Genesis, keys: NodeKeys, log: FilteringBoundLogger
    ) -> Iterator["Node"]:
        """Open the directory, build the node, close everything in the end. Raises UserError, LocalFault."""
        with ExitStack() as stack:
            try:
                config.data_path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{config.data_path} can not be made: {error.strerror}") from None
            stack.enter_context(directory_lock(config.data_path))
            bind_to_network(config.data_path, genesis.hash)
            store = Store(config.data_path / STORE_DIRECTORY, retention=config.retention.states)
            stack.callback(store.close)
            root, nodes = genesis_state(genesis)
            store.initialise(genesis.hash, root, nodes)
            journal: Journal | None = None
            records: tuple[JournalRecord, ...] | None = ()
            if config.role is Role.VALIDATOR:
                journal, records = open_signing_journal(config, log)
                stack.callback(journal.close)
            workers = WorkerPool(
                max(MIN_WORKERS, config.workers.guests),
                log=lambda text: log.warning("worker.failed", text=text),
            )
            stack.callback(workers.close)
            node = cls(
                config, genesis, keys, store=store, journal=journal, records=records, workers=workers, log=log
            )
            if node.collator is not None:
                stack.callback(node.collator.close)
            yield node

    async def run(self, services: Sequence[Service]) -> None:
        """Until cancelled. Final blocks become durable before it returns, unless the disk failed."""
        self.driver.post(Start(Hash(secrets.token_bytes(32))))
        self._log.info("node.started", height=self.final_chain.final_height, view=self.driver.engine.cur_view)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.executor.run)
                nursery.start_soon(self.final_chain.run, self._persisted)
                nursery.start_soon(self.driver.run)
                nursery.start_soon(self.router.run_server)
                nursery.start_soon(self._take_transactions)
                nursery.start_soon(self.evidence.run)
                if self.validation is not None:
                    nursery.start_soon(self.validation.run)
                if self.collator is not None:
                    nursery.start_soon(self.collator.run)
                await nursery.start(self._run_transport)
                for service in services:
                    nursery.start_soon(service, self.answers)
        except BaseExceptionGroup as ending:  # a nursery wraps even a mere cancellation
            _, failures = ending.split(trio.Cancelled)
            if failures is None:
                await self._leave()
            raise

    async def _run_transport(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self.transport.run(task_status=task_status)

    async def _leave(self) -> None:
        """What is final and executed becomes durable; the next start then has nothing to catch up."""
        with trio.CancelScope(shield=True):
            await self.final_chain.flush(lambda height: None)
        self._log.info("node.stopped", height=self.final_chain.persisted_height)

    # --- transactions

    async def _take_transactions(self) -> None:
        """Admit what other nodes flood. What is refused here was for them to refuse: nobody is blamed."""
        while True:
            batch = await self.router.take_batch()
            for checked in await self.mempool.check(batch):
                if not isinstance(checked, InvalidTransaction):
                    self.answers.admit(checked)
            self.driver.poke()

    # --- what the driver and the final chain tell

    def _certified(self, block: Hash) -> None:
        self.executor.when_executed(block, lambda: self._notarised(block))

    def _notarised(self, block: Hash) -> None:
        done = self.executor.executed(block)
        if done is None or done.checked is None:
            return
        height = done.header.height
        self.answers.notarised_height = max(self.answers.notarised_height, height)
        self.progress.notarised((each.hash for each in done.checked.transactions), height, block)

    def _statement(self, answer: StatementSigned | StatementRefused) -> None:
        if self.validation is not None:
            self.validation.on_statement(answer)

    def _persisted(self, height: Height) -> None:
        self.driver.post(Persisted(height))

    def _final(self, notice: FinalNotice) -> None:
        header, transactions = notice.executed.header, notice.checked.transactions
        view = notice.view
        self.mempool.advance(transactions, view.account)
        self.progress.final((each.hash for each in transactions), header.height, notice.hash)
        if self.validation is not None:
            self.validation.on_final(notice)
        if self.collator is not None:
            self.collator.on_final(notice)
        counters = notice.result.counters
        self.answers.publish(self.trace.executed(notice.hash, header, counters.candidates_enacted, counters))

    # --- candidates

    def _make_validation(
        self, own: ValidatorIndex, genesis_hash: Hash, validators: ValidatorSet
    ) -> Validation:
        return Validation(
            own=own,
            chain_id_hash=genesis_hash,
            epoch=FIRST_EPOCH,
            validators=validators,
            verify=self.executor.signatures.verify,
            workers=self._workers,
            store=self._store,
            post=self.driver.post,
            send=self.router.send_candidate,
            broadcast=self.router.broadcast_candidate,
            misbehaved=self.router.misbehaved,
            view=self.final_chain.view,
            log=self._log,
        )

    def _make_collator(self, genesis: Genesis) -> Collator | None:
        if self._config.collator is None:
            return None
        chain = self._config.collator.chain_id
        if chain > len(genesis.chains):
            raise UserError(
                f"collator.chain: genesis has chains 1 to {len(genesis.chains)}, not {chain}; one that was"
                " registered by transaction can not be collated yet"
            )
        return Collator(
            chain=chain,
            entries=genesis.chains[chain - 1].entries,
            validators=len(genesis.validators),
            workers=self._workers,
            path=self._config.data_path / f"chain-{chain}",
            send=self.router.send_candidate,
            view=self.final_chain.view,
            log=self._log,
        )

    def _receive_candidate(self, peer: Peer, message: CandidateMessage) -> None:
        if self.validation is not None:
            self.validation.receive(peer, message)
        if self.collator is not None:
            self.collator.receive(peer, message)

    def _candidate_peer_up(self, peer: Peer) -> None:
        if self.validation is not None:
            self.validation.peer_up(peer)
        if self.collator is not None:
            self.collator.peer_up(peer)

    def _includable(self, view: RelayView, limit: int) -> Sequence[CandidateInclusion]:
        return () if self.validation is None else self.validation.includable(view, limit)

    # --- measured

    def statistics(self) -> dict[str, Any]:
        """Counters and queue lengths for metrics."""
        network = self.transport.statistics()
        figures = {
            "driver_turns_total": self.driver.turns,
            "driver_events_total": self.driver.events,
            "blocks_executed_inline_total": self.executor.inline,
            "blocks_executed_in_thread_total": self.executor.threaded,
            "state_nodes_in_memory": len(self.executor.nodes),
            "mempool_transactions": len(self.mempool),
            "mempool_bytes": self.mempool.bytes,
            "mempool_refused_total": self.mempool.refused,
            "transaction_batches_dropped_total": self.router.dropped_batches,
            "offenders": len(self.evidence),
            "peers_connected": network.connected,
            "peers_pending": network.pending_inbound,
            "worker_deaths_total": self._workers.deaths,
        }
        if self._journal is not None:
            figures["journal_bytes"] = self._journal.size_bytes
            figures["journal_commits_total"] = self._journal.commits
        if self.validation is not None:
            figures |= self.validation.statistics()
        if self.collator is not None:
            figures |= {f"collator_{name}": value for name, value in self.collator.statistics().items()}
        return figures
