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

import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import trio
from structlog.typing import FilteringBoundLogger

from consensus.agreement.config import LAN, WAN, AmnesiaPolicy, Restored
from consensus.agreement.epochs import Agreement, EpochBegins
from consensus.agreement.events import Event, Peer, Persisted, Start
from consensus.agreement.journal_records import CertificateRecord, JournalRecord
from consensus.candidates.receipts import CandidateMessage
from consensus.primitives.errors import UserError
from consensus.primitives.ids import Epoch, Hash, Height
from consensus.relay.blocks import limits_of
from consensus.relay.genesis import Genesis
from consensus.relay.views import StateView
from enclaves.pool import WorkerPool
from net.identity import PeerId
from net.transport import Transport
from node.answers import Answers
from node.api import Role, Service
from node.builder import PayloadBuilder
from node.candidate_side import CandidateSide
from node.config import NodeConfig
from node.driver import Driver
from node.epoch_turn import EpochTurn
from node.epochs import Epochs, Term
from node.evidence_pool import EvidencePool
from node.executor import Executor
from node.final_chain import FinalChain, FinalNotice
from node.journal import Journal
from node.keys import NodeKeys
from node.lock import directory_lock
from node.lost_keys import lost_keys
from node.mempool import Mempool
from node.opening import (
    agreement_parameters,
    bind_to_network,
    check_keys,
    check_retention,
    epoch_start,
    initialise,
    mempool_limits,
    open_signing_journal,
    start,
)
from node.progress import Progress
from node.router import Router
from node.state_sync.arriving import STORE_DIRECTORY
from node.state_sync.begin import checkpoint_of, sync_mode
from node.state_sync.server import SyncServer
from node.state_sync.trust import start_at, trust_of
from node.state_sync.watching import SyncWatch
from node.store import Store
from node.trace import TraceRing
from node.version import program_version

EVIDENCE_FILE: Final = "evidence"
MIN_WORKERS: Final = 2  # executing relay blocks and re-executing candidates never wait for each other


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
        first = start(genesis, genesis_hash, store)
        self.epochs = Epochs(
            network=config.network,
            keys=keys,
            chain_id_hash=genesis_hash,
            start=first.header,
            state=StateView(
                nodes=store,
                root=first.post_root,
                height=first.header.height,
                block=first.hash,
                time_ms=first.header.time_ms,
            ),
            lost_keys=lost_keys(config.data_path),
            log=log,
        )
        term = self.epochs.current
        check_keys(term, keys)
        self.mempool = Mempool(genesis_hash, genesis.parameters, mempool_limits(config))
        self.progress = Progress()
        self.trace = TraceRing()
        self.executor = Executor(
            chain_id_hash=genesis_hash,
            limits=limits_of(genesis.parameters, genesis_hash),
            epoch=term.epoch,
            epoch_blocks=genesis.parameters.epoch_blocks,
            validators=term.validators,
            store=store,
            guests=workers,
            known=self.mempool.cache.get,
            remember=self.mempool.cache.add,
            start=first,
        )
        self.final_chain = FinalChain(self.executor, store)
        for each in records or ():
            if isinstance(each, CertificateRecord):  # perhaps not archived before the process ended
                self.final_chain.archive(each.certificate)
        self.epochs.follow(lambda: self.final_chain.view)
        self.mempool.govern(self.final_chain.view.parameters)
        self.evidence = EvidencePool(
            path=config.data_path / EVIDENCE_FILE,
            chain_id_hash=genesis_hash,
            validators=self.epochs.validators,
            current=lambda: self.epochs.current.epoch,
            log=log,
        )
        self.router = Router(
            candidates=self._receive_candidate,
            evidence=self.evidence,
            serve=store.chain,
            log=log,
        )
        agreement = Agreement(
            self.epochs.setup(
                term, epoch_start(genesis, genesis_hash, store, first.header), self.router.number
            ),
            Restored(
                final=first.header,
                proof=store.proof(first.header.height) if first.header.height else None,
                records=records,
            ),
            chain_id_hash=genesis_hash,
            verify=self.executor.signatures.verify,
            parameters=agreement_parameters(genesis),
            timers=WAN if config.consensus.timers == "wan" else LAN,
            amnesia=AmnesiaPolicy.PROBE if config.consensus.amnesia == "probe" else AmnesiaPolicy.NEXT_EPOCH,
            before=self.epochs.validators(Epoch(term.epoch - 1)),
        )
        self.epoch_turn = EpochTurn(
            epochs=self.epochs,
            executor=self.executor,
            final_chain=self.final_chain,
            number=self.router.number,
            post=self._post,
            log=log,
        )
        self.candidates = CandidateSide(
            config,
            genesis,
            genesis_hash,
            term,
            final_chain=self.final_chain,
            signatures=self.executor.signatures,
            workers=workers,
            store=store,
            router=self.router,
            post=self._post,
            validators=self._validator_peers,
            log=log,
        )
        self.driver = Driver(
            agreement=agreement,
            journal=journal,
            links=self.router,
            executor=self.executor,
            final_chain=self.final_chain,
            trace=self.trace,
            on_certified=self._certified,
            on_statement=self.candidates.on_statement,
            on_evidence=self.evidence.found,
            on_ending=self.epoch_turn.ends,
            on_epoch=self.epoch_turn.began,
            log=log,
        )
        self.epoch_turn.listeners.extend([self._on_epoch, self.candidates.on_epoch])
        if self.candidates.validation is not None:
            self.candidates.validation.on_change = self.driver.poke
            self.driver.builder = PayloadBuilder(
                executor=self.executor,
                mempool=self.mempool,
                limits=limits_of(genesis.parameters, genesis_hash),
                idle_interval_us=genesis.parameters.idle_interval_ms * 1_000,
                includable=self.candidates.includable,
                evidence=self.evidence.waiting,
                statements=self.candidates.contrary,
                votes=self.driver.votes,
                answer=self.driver.post,
            )
        self.transport = Transport(
            identity_seed=keys.identity.seed,
            network_id=genesis_hash,
            listen=config.network.listen,
            peers=self.epochs.addresses(),
            authorised=self.epochs.is_welcome,
            receive=self.router.receive,
            on_peer_up=self.router.peer_up,
            on_peer_down=self.router.peer_down,
            on_round_trip=self.router.round_trip,
            log=log,
        )
        self.router.bind(self.transport, self.driver)
        self.sync_server = SyncServer(store, start_of=lambda height: start_at(genesis, store, height))
        self.sync_server.bind(self.transport)
        checkpoint = checkpoint_of(config.sync.trusted)
        self.sync_watch = self.router.sync = SyncWatch(
            mode=sync_mode(config),
            threshold=config.sync.threshold,
            height=lambda: self.final_chain.final_height,
            trust=lambda: trust_of(genesis, store, checkpoint, known_hops=1),  # as often as somebody offers
            checkpoint=checkpoint,
            server=self.sync_server,
            links=self.router,
            log=log,
        )
        self.evidence.publish = self.router.flood_evidence
        self.evidence.ban = self.router.ban
        self.evidence.on_change = self.driver.poke
        self.router.candidate_peer_up = self.candidates.peer_up
        self.answers = Answers(
            config=config,
            genesis=genesis,
            genesis_hash=genesis_hash,
            version=program_version(),
            epochs=self.epochs,
            driver=self.driver,
            executor=self.executor,
            final_chain=self.final_chain,
            store=store,
            mempool=self.mempool,
            progress=self.progress,
            trace=self.trace,
            transport=self.transport,
            collation=self.candidates.collation,
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
            check_retention(config, genesis)
            store = Store(
                config.data_path / STORE_DIRECTORY,
                retention=config.retention.states,
                retention_blocks=config.retention.blocks,
                snapshot_ms=1_000 * config.retention.snapshot_seconds,
            )
            stack.callback(store.close)
            initialise(store, genesis)
            journal: Journal | None = None
            records: tuple[JournalRecord, ...] | None = ()
            if config.role is Role.VALIDATOR:
                journal, records = open_signing_journal(config, keys, log)
                stack.callback(journal.close)
            workers = WorkerPool(
                max(MIN_WORKERS, config.workers.guests),
                log=lambda text: log.warning("worker.failed", text=text),
            )
            stack.callback(workers.close)
            node = cls(
                config, genesis, keys, store=store, journal=journal, records=records, workers=workers, log=log
            )
            stack.callback(node.candidates.close)
            yield node

    async def run(self, services: Sequence[Service]) -> None:
        """Until cancelled, or until a state should be fetched. What is final is durable before it returns,
        unless the disk failed."""
        self.driver.post(Start(Hash(secrets.token_bytes(32))))
        self._log.info(
            "node.started", height=self.final_chain.final_height, view=self.driver.agreement.cur_view
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.executor.run)
                nursery.start_soon(self.final_chain.run, self._persisted)
                nursery.start_soon(self.driver.run)
                nursery.start_soon(self.router.run_server)
                nursery.start_soon(self._take_transactions)
                nursery.start_soon(self.evidence.run)
                nursery.start_soon(self.candidates.run)
                await nursery.start(self._run_transport)
                nursery.start_soon(self.sync_server.run)
                for service in services:
                    nursery.start_soon(service, self.answers)
                await self.sync_watch.run()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as ending:  # a nursery wraps even a mere cancellation
            _, failures = ending.split(trio.Cancelled)
            if failures is None:
                await self._leave()
            raise
        await self._leave()

    async def _run_transport(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self.transport.run(task_status=task_status)

    async def _leave(self) -> None:
        """What is final and executed becomes durable; the next start then has nothing to catch up."""
        with trio.CancelScope(shield=True):
            await self.final_chain.flush(lambda height: None)
        self._log.info("node.stopped", height=self.final_chain.persisted_height)

    # --- transactions

    async def _take_transactions(self) -> None:
        """Admit what other nodes flood."""
        while True:
            await self.answers.take(await self.router.take_batch())

    # --- what the driver is told, and tells

    def _post(self, event: Event | EpochBegins) -> None:
        self.driver.post(event)

    def _certified(self, block: Hash) -> None:
        self.executor.when_executed(block, lambda: self._notarised(block))

    def _notarised(self, block: Hash) -> None:
        done = self.executor.executed(block)
        if done is None or done.checked is None:
            return
        height = done.header.height
        self.answers.notarised_height = max(self.answers.notarised_height, height)
        self.progress.notarised((each.hash for each in done.checked.transactions), height, block)

    def _persisted(self, height: Height) -> None:
        self.driver.post(Persisted(height))
        self.epoch_turn.persisted()

    def _final(self, notice: FinalNotice) -> None:
        header, transactions = notice.executed.header, notice.checked.transactions
        view = notice.view
        for each in notice.result.offences:
            if each.evidence is not None:  # a void one may be forged: it settles nothing
                self.evidence.included(each.evidence, header.height)
            self._log.warning(
                "validator.convicted",
                account=each.account.hex(),
                epoch=each.epoch,
                offence=each.offence.name.lower(),
                slashed=each.slashed,
                height=header.height,
            )
        election = notice.result.election
        if election is not None and election.kept:
            self._log.error(
                "election.kept",
                epoch=election.epoch,
                electable=election.electable,
                kept=[each.hex() for each in election.kept],
            )
        self.mempool.govern(view.parameters)
        self.mempool.advance(transactions, view.account)
        self.progress.final((each.hash for each in transactions), header.height, notice.hash)
        self.candidates.on_final(notice)
        counters = notice.result.counters
        self.answers.publish(self.trace.executed(notice.hash, header, counters.candidates_enacted, counters))

    # --- epochs

    def _on_epoch(self, term: Term) -> None:
        """Whom this node talks to, and what counts as evidence."""
        self.transport.set_peers(self.epochs.addresses())
        self.router.forget(self.epochs.is_welcome)
        self.evidence.advance()

    def _validator_peers(self) -> list[Peer]:
        members = self.epochs.current.members.members
        return [self.router.number(PeerId(each.identity_key)) for each in members]

    def _receive_candidate(self, peer: Peer, message: CandidateMessage) -> None:
        self.candidates.receive(peer, message)

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
            "validators_kept": self.epochs.kept,
            "peers_connected": network.connected,
            "peers_pending": network.pending_inbound,
            "worker_deaths_total": self._workers.deaths,
        }
        if self._journal is not None:
            figures["journal_bytes"] = self._journal.size_bytes
            figures["journal_commits_total"] = self._journal.commits
        return {**figures, **self.sync_server.statistics(), **self.candidates.statistics()}
