"""What a running node answers: `NodeApi`, over the final chain, the pools and the links of one node.

Everything here runs in the node's loop and reads; only `submit` and `chain_submit` change something.
"""

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from consensus.agreement.blame import encode_dossier
from consensus.agreement.evidence import offence
from consensus.agreement.messages import MAX_BLOCK_BYTES
from consensus.agreement.messages import block_hash as name_of
from consensus.light.leaves import (
    guest_key,
    head_key,
    instance_key,
)
from consensus.light.proofs import ChainKey, InstanceKey, TreeKey
from consensus.messaging.lanes import LaneRecord, lane_id, lane_key
from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import InvalidTransaction, UserError
from consensus.primitives.guest import Endpoint, InstanceEndpoint, Policy
from consensus.primitives.ids import (
    Amount,
    ChainId,
    Epoch,
    Hash,
    Height,
    ModuleId,
    Nonce,
    PublicKey,
    ValidatorIndex,
    View,
)
from consensus.primitives.tree import MissingNode, get
from consensus.relay.blocks import Payload
from consensus.relay.genesis import Genesis
from consensus.relay.ledger import (
    RECORD_LIMIT,
)
from consensus.relay.receipts import Code, TransactionReceipt
from consensus.relay.registry import (
    ChainRecord,
    ModuleRecord,
)
from consensus.relay.transactions import CheckedTransaction, transaction_hash
from consensus.relay.views import StateView, prove_guest_key
from net.transport import Transport
from node.api import (
    AccountReport,
    BlockReport,
    BlockTrace,
    ChainReport,
    ChainTransactionReport,
    EnclaveReport,
    EvidenceReport,
    NodeStatus,
    PeerStatus,
    Stage,
    StateReport,
    SubmitResult,
    TracePage,
    TransactionReport,
    ValidatorReport,
)
from node.collation import Collation
from node.collator import Collator
from node.config import NodeConfig
from node.driver import Driver
from node.epochs import Epochs
from node.evidence_pool import EvidencePool, KeptEvidence
from node.executor import Executor
from node.final_chain import FinalChain
from node.mempool import Mempool
from node.progress import Progress
from node.proofs import Prover
from node.store import Store, StoredReceipts, transaction_receipts
from node.trace import TraceRing

RECEIPT_BLOCKS: Final = 64  # blocks whose receipts are kept indexed by transaction
FEED_BLOCKS: Final = 1_024  # blocks a subscriber may fall behind


class Answers:
    """Implements `node.api.NodeApi`."""

    def __init__(
        self,
        *,
        config: NodeConfig,
        genesis: Genesis,
        genesis_hash: Hash,
        version: str,
        epochs: Epochs,
        driver: Driver,
        executor: Executor,
        final_chain: FinalChain,
        store: Store,
        mempool: Mempool,
        progress: Progress,
        trace: TraceRing,
        transport: Transport,
        collation: Collation | None,
        evidence: EvidencePool,
        flood: Callable[[Sequence[bytes]], None],
        statistics: Callable[[], dict[str, Any]],
    ) -> None:
        """`flood` sends accepted transactions to the other mempools."""
        self.notarised_height = final_chain.final_height
        self._config = config
        self._genesis = genesis
        self._genesis_hash = genesis_hash
        self._version = version
        self._epochs = epochs
        self._driver = driver
        self._executor = executor
        self._chain = final_chain
        self._store = store
        self._mempool = mempool
        self._progress = progress
        self._trace = trace
        self._transport = transport
        self._collation = collation
        self._evidence = evidence
        self._prover = Prover(executor.nodes, final_chain, store, genesis)
        self._flood = flood
        self._statistics = statistics
        self._began = time.monotonic()
        self._feeds: list[trio.MemorySendChannel[BlockTrace]] = []
        self._indexed: OrderedDict[Height, _BlockReceipts] = OrderedDict()

    # --- the node

    def status(self) -> NodeStatus:
        """Where the node stands."""
        agreement, chain = self._driver.agreement, self._chain
        return NodeStatus(
            network=self._genesis.network,
            genesis_hash=self._genesis_hash,
            version=self._version,
            role=self._config.role,
            name=self._config.name,
            validator_index=self._epochs.current.own,
            epoch=agreement.epoch,
            view=agreement.cur_view,
            final_height=chain.final_height,
            final_hash=agreement.final_hash,
            notarised_height=max(self.notarised_height, chain.final_height),
            executed_height=chain.executed_height,
            persisted_height=chain.persisted_height,
            syncing=agreement.syncing,
            amnesic=agreement.amnesic,
            validators=len(self._epochs.current.validators),
            peers=self._peers(),
            mempool=len(self._mempool),
            uptime_s=round(time.monotonic() - self._began, 3),
        )

    def _peers(self) -> tuple[PeerStatus, ...]:
        connected = set(self._transport.connected())
        named = self._epochs.names()
        named.pop(self._transport.peer_id, None)
        peers = []
        for identity in sorted(named.keys() | connected):
            measured = self._transport.round_trip(identity)
            peers.append(
                PeerStatus(
                    identity=PublicKey(identity),
                    name=named.get(identity, ""),
                    connected=identity in connected,
                    rtt_ms=None if measured is None else measured.smoothed_us / 1_000,
                )
            )
        return tuple(peers)

    def statistics(self) -> dict[str, Any]:
        """Counters and queue lengths, flat."""
        return self._statistics()

    # --- transactions

    async def submit(self, transactions: Sequence[bytes]) -> list[SubmitResult]:
        """Admit to the mempool and flood what was accepted."""
        results: list[SubmitResult] = []
        accepted: list[bytes] = []
        for raw, checked in zip(transactions, await self._mempool.check(transactions), strict=True):
            if isinstance(checked, InvalidTransaction):
                results.append(SubmitResult(hash=transaction_hash(raw), accepted=False, error=str(checked)))
                continue
            results.append(self.admit(checked))
            if results[-1].accepted:
                accepted.append(raw)
        if accepted:
            self._flood(accepted)
            self._driver.poke()
        return results

    def admit(self, checked: CheckedTransaction) -> SubmitResult:
        """Offer one checked transaction to the mempool; what a final block carried already is accepted."""
        name = checked.hash
        if self._chain.place(name) is not None:
            return SubmitResult(hash=name, accepted=True)
        try:
            self._mempool.admit(checked, self._chain.view.account)
        except InvalidTransaction as error:
            return SubmitResult(hash=name, accepted=False, error=str(error))
        self._progress.accepted(name)
        return SubmitResult(hash=name, accepted=True)

    async def receipt(self, tx_hash: Hash, *, wait: Stage | None, timeout_s: float) -> TransactionReport:
        """A transaction's report, once it has reached `wait` or the time is over."""
        report = self._report(tx_hash)
        if wait is None:
            return report
        with trio.move_on_after(timeout_s):
            while report.stage.rank < wait.rank:
                await self._progress.changed(tx_hash)
                report = self._report(tx_hash)
        return report

    def receipts(self, hashes: Sequence[Hash]) -> list[TransactionReport]:
        """Reports of many transactions."""
        return [self._report(each) for each in hashes]

    def _report(self, name: Hash) -> TransactionReport:
        stage, block, height, times = self._progress.track(name)
        place = self._chain.place(name)
        held = None if place is None else self._block_receipts(place)
        if place is None or held is None:
            return TransactionReport(hash=name, stage=stage, height=height, block=block, times_ms=times)
        stage = Stage.PROVED if self._chain.final_height > place else Stage.FINAL
        receipt = held.transactions.get(name)
        if receipt is None:
            return TransactionReport(
                hash=name, stage=stage, height=place, block=held.block, status="void", times_ms=times
            )
        return TransactionReport(
            hash=name,
            stage=stage,
            height=place,
            block=held.block,
            status="ok" if receipt.code == Code.OK else "failed",
            code=receipt.code,
            fee=receipt.fee,
            fuel_used=receipt.fuel_used,
            output=receipt.output,
            times_ms=times,
        )

    def _block_receipts(self, height: Height) -> "_BlockReceipts | None":
        found = self._indexed.get(height)
        if found is not None:
            return found
        held, block = self._chain.receipts(height), self._chain.block(height)
        if held is None or block is None:
            return None
        found = _BlockReceipts(name_of(block.header), held)
        self._indexed[height] = found
        if len(self._indexed) > RECEIPT_BLOCKS:
            self._indexed.popitem(last=False)
        return found

    def receipt_proof(self, tx_hash: Hash) -> bytes:
        """A self-contained proof of the receipt under the next final header."""
        place = self._chain.place(tx_hash)
        held = None if place is None else self._block_receipts(place)
        if place is None or held is None:
            raise UserError(f"no final block here carries {tx_hash.hex()}; wait until its stage is `final`")
        receipt = held.transactions.get(tx_hash)
        if receipt is None:
            raise UserError(f"{tx_hash.hex()} was void: it had no effect and has no receipt")
        return self._prover.receipt(place, held.block, receipt, held.all.receipts)

    # --- the relay chain

    def account(self, account: PublicKey) -> AccountReport:
        """An account in the newest final executed state."""
        record = self._chain.view.account(account)
        return AccountReport(
            account=account,
            balance=Amount(record.balance),
            nonce=Nonce(record.nonce),
            pending_nonce=Nonce(self._mempool.next_nonce(account, record.nonce)),
            height=self._chain.executed_height,
        )

    def state(self, key: Hash, *, prove: bool) -> StateReport:
        """One leaf of the relay chain's state."""
        if len(key) != 32:
            raise UserError(f"a key of the state has 32 bytes, not {len(key)}")
        if not prove:
            value = get(self._executor.nodes, self._chain.view.root, key)
            return StateReport(key=key, value=value, height=self._chain.executed_height)
        view = self._chain.proven_view()
        leaf = view.prove(key)
        return StateReport(
            key=key,
            value=leaf.value,
            height=view.height,
            proof=self._prover.answer(TreeKey(key=key), leaf, None),
        )

    def block(self, *, height: Height | None = None, block_hash: Hash | None = None) -> BlockReport:
        """A final block by height or by hash."""
        if height is None:
            height = None if block_hash is None else self._store.height_of(block_hash)
        held = None if height is None else self._chain.block(height)
        if held is None:
            if height is not None and 0 < height < self._store.oldest_block():
                raise UserError(
                    f"block {height} is pruned: this node's blocks begin at {self._store.oldest_block()};"
                    " ask a node that keeps them all"
                )
            raise UserError("this node has no such final block; `status` says how far it is")
        header = held.header
        payload = decode(Payload, held.payload, limit=MAX_BLOCK_BYTES)
        return BlockReport(
            height=header.height,
            hash=name_of(header),
            epoch=header.epoch,
            view=header.view,
            parent_hash=header.parent_hash,
            proposer=header.proposer,
            time_ms=header.time_ms,
            state_root=header.state_root,
            payload_root=header.payload_root,
            payload_bytes=len(held.payload),
            transactions=tuple(map(transaction_hash, payload.transactions)),
            candidates=len(payload.candidates),
        )

    def validators(self, epoch: Epoch | None = None) -> list[ValidatorReport]:
        """An epoch's validator set, by index; that of this epoch if none is said."""
        record = self._epochs.members(self._epochs.current.epoch if epoch is None else epoch)
        if record is None:
            raise UserError(
                f"this node knows no validators of epoch {epoch}: it is not decided yet, or too long over;"
                f" it is now epoch {self._epochs.current.epoch}"
            )
        return [
            ValidatorReport(
                index=ValidatorIndex(index),
                name=each.name,
                account=each.account,
                consensus_key=each.consensus_key,
                identity_key=each.identity_key,
                address=each.address,
                stake=each.stake,
            )
            for index, each in enumerate(record.members)
        ]

    # --- accountability

    def evidence(self) -> list[EvidenceReport]:
        """One piece of evidence for each offender of an epoch that this node knows of."""
        return [_evidence_report(each) for each in self._evidence.all()]

    def submit_evidence(self, evidence: bytes) -> EvidenceReport:
        """Keep and flood evidence that came from elsewhere."""
        return _evidence_report(self._evidence.submit(evidence))

    # --- light clients

    def light_head(self, height: Height | None) -> bytes:
        """A final block and its finality proof."""
        return encode(self._prover.head(height))

    def light_start(self, height: Height) -> bytes:
        """A final block and the validator set of its epoch."""
        return encode(self._prover.start(height))

    def light_hops(self, epoch: Epoch) -> bytes:
        """The hops from `epoch` on."""
        return encode(self._prover.hops(epoch))

    def dossier(self, height: Height, view: View) -> bytes:
        """What this node holds that makes a block final."""
        return encode_dossier(self._prover.dossier(height, view))

    # --- consumer chains

    def chains(self) -> list[ChainReport]:
        """Every registered consumer chain."""
        view = self._chain.view
        return [self._chain_report(view, each) for each in view.chains()]

    def chain(self, chain: ChainId) -> ChainReport:
        """One consumer chain."""
        view = self._chain.view
        return self._chain_report(view, self._chain_record(view, chain))

    @staticmethod
    def _chain_record(view: StateView, chain: ChainId) -> ChainRecord:
        record = view.chain_record(chain)
        if record is None:
            raise UserError(f"there is no consumer chain {chain}; `phalanx chain list` shows those there are")
        return record

    @staticmethod
    def _chain_report(view: StateView, record: ChainRecord) -> ChainReport:
        head = view.head(ChainId(record.chain))
        return ChainReport(
            chain=ChainId(record.chain),
            name=record.name,
            owner=record.owner,
            code_hash=record.code_hash,
            state_root=head.state_root,
            head=head.head,
            head_height=head.height,
            balance=Amount(record.balance),
            policy=Policy(record.terms.policy).name.lower(),
            enclaves=record.opt_in,
            enacted=int(head.height),
            rejected=len(head.rejected),
        )

    async def chain_submit(self, chain: ChainId, transactions: Sequence[bytes]) -> list[SubmitResult]:
        """Hand transactions to the chain's collator."""
        return await self._collates(chain).submit(transactions)

    def chain_receipts(self, chain: ChainId, hashes: Sequence[Hash]) -> list[ChainTransactionReport]:
        """Stages of consumer-chain transactions."""
        return self._collates(chain).receipts(hashes)

    def chain_state(self, chain: ChainId, key: bytes, *, prove: bool) -> StateReport:
        """A raw key of a consumer chain's state, from this node's replica of the chain."""
        collator = self._collates(chain)
        if not prove:
            value, height, _root = collator.state(key)
            return StateReport(key=guest_key(key), value=value, height=height)
        view = self._chain.proven_view()
        self._chain_record(view, chain)
        root = view.head(chain).state_root
        try:
            inner = prove_guest_key(collator.nodes, root, key)
        except MissingNode:
            raise UserError(
                "this node is still rebuilding the chain's state; ask again in a moment"
            ) from None
        question = ChainKey(chain=chain, key=key)
        proof = self._prover.answer(question, view.prove(head_key(chain)), inner)
        return StateReport(key=guest_key(key), value=inner.value, height=view.height, proof=proof)

    def _collates(self, chain: ChainId) -> Collator:
        if self._collation is None or self._collation.chain != chain:
            raise UserError(
                f"this node keeps no replica of chain {chain} and does not collate it; ask its collator"
            )
        collator = self._collation.collator
        if collator is None:
            raise UserError(f"chain {chain} is not registered yet; this node will collate it once it is")
        return collator

    # --- enclaves

    def enclaves(self) -> list[EnclaveReport]:
        """Every deployed module."""
        reports = [_enclave_report(each) for each in self._chain.view.modules()]
        return sorted(reports, key=lambda report: report.module)

    def enclave(self, module: ModuleId) -> EnclaveReport:
        """One module."""
        record = self._chain.view.module(module)
        if record is None:
            raise UserError(
                f"there is no enclave {module.hex()}; `phalanx enclave list` shows those there are"
            )
        return _enclave_report(record)

    def enclave_state(self, module: ModuleId, chain: ChainId, key: bytes, *, prove: bool) -> StateReport:
        """A raw key of the instance (module, chain)."""
        instance = InstanceEndpoint(module=module, chain=chain)
        view = self._chain.proven_view() if prove else self._chain.view
        record = view.instance(instance)
        if record is None:
            raise UserError(
                f"there is no instance of {module.hex()[:16]}… for chain {chain}: nobody has called it yet"
            )
        if not prove:
            value = view.instance_state(instance, key)
            return StateReport(key=guest_key(key), value=value, height=view.height)
        inner = prove_guest_key(self._executor.nodes, record.root, key)
        question = InstanceKey(module=module, chain=chain, key=key)
        proof = self._prover.answer(question, view.prove(instance_key(instance)), inner)
        return StateReport(key=guest_key(key), value=inner.value, height=view.height, proof=proof)

    def lane(self, source: Endpoint, destination: Endpoint) -> tuple[int, int]:
        """(messages ever sent, messages ever delivered) on one lane."""
        name = lane_key(lane_id(source, destination))
        raw = get(self._executor.nodes, self._chain.view.root, name)
        if raw is None:
            return 0, 0
        record = decode(LaneRecord, raw, limit=RECORD_LIMIT)
        return record.sent, record.delivered

    # --- finality

    def trace(self, after: Height, limit: int) -> TracePage:
        """Latency records of final blocks above `after`."""
        return self._trace.page(after, limit)

    @asynccontextmanager
    async def finality(self) -> AsyncIterator[trio.MemoryReceiveChannel[BlockTrace]]:
        """A bounded feed of blocks as they become final; it ends when the subscriber falls behind."""
        send, receive = trio.open_memory_channel[BlockTrace](FEED_BLOCKS)
        self._feeds.append(send)
        try:
            yield receive
        finally:
            if send in self._feeds:
                self._feeds.remove(send)
            send.close()
            receive.close()

    def publish(self, block: BlockTrace) -> None:
        """Tell every subscriber of a final block."""
        for feed in list(self._feeds):
            try:
                feed.send_nowait(block)
            except (trio.WouldBlock, trio.BrokenResourceError):  # too slow, or gone: its feed ends
                self._feeds.remove(feed)
                feed.close()


class _BlockReceipts:
    """The receipts of one block, by transaction."""

    def __init__(self, block: Hash, held: StoredReceipts) -> None:
        self.block: Final = block
        self.all: Final = held
        self.transactions: Final[dict[Hash, TransactionReceipt]] = transaction_receipts(held.receipts)


def _evidence_report(kept: KeptEvidence) -> EvidenceReport:
    evidence = kept.evidence
    first, second = ((each.kind, each.block, each.aux) for each in (evidence.first, evidence.second))
    found = offence(first, second)
    if found is None:
        raise RuntimeError("the pool keeps only what convicts")
    return EvidenceReport(
        epoch=evidence.epoch,
        view=evidence.view,
        signer=evidence.signer,
        offence=found.name.lower(),
        evidence=encode(evidence),
        height=kept.included or None,
    )


def _enclave_report(record: ModuleRecord) -> EnclaveReport:
    return EnclaveReport(
        module=record.module,
        size_bytes=record.code_bytes,
        deployer=record.deployer,
        height=record.deployed_height,
    )
