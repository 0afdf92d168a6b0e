"""What a running node answers: `NodeApi`, over the final chain, the pools and the links of one node.

Everything here reads, in the node's loop, and what takes long also in threads (`node.api` says which); only
`submit`, `submit_evidence` and `chain_submit` change something.
"""

import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from consensus.agreement.blame import encode_dossier
from consensus.agreement.evidence import offence
from consensus.agreement.messages import MAX_BLOCK_BYTES
from consensus.agreement.messages import block_hash as name_of
from consensus.light.proofs import TreeKey
from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import UserError
from consensus.primitives.ids import (
    Amount,
    ChainId,
    Epoch,
    Hash,
    Height,
    Nonce,
    PublicKey,
    ValidatorIndex,
    View,
)
from consensus.primitives.tree import get
from consensus.relay.blocks import Payload
from consensus.relay.elections.concentration import Concentration
from consensus.relay.elections.records import exposure
from consensus.relay.elections.reporting import concentration_of
from consensus.relay.epochs import EpochSetRecord
from consensus.relay.genesis import Genesis
from consensus.relay.governance.report import (
    GovernanceReport,
    ProposalReport,
    governance_report,
    proposal_report,
)
from consensus.relay.offences.report import OffencesReport, offences_report
from consensus.relay.rewards.economy import Economy
from consensus.relay.security.exposure import ExposureReport
from consensus.relay.transactions import transaction_hash
from net.transport import Transport
from node.answers_guests import GuestAnswers
from node.answers_transactions import TransactionAnswers
from node.api import (
    MAX_CHAINS_REPORTED,
    AccountReport,
    BlockReport,
    EvidenceReport,
    NodeStatus,
    PeerStatus,
    StateReport,
    ValidatorReport,
)
from node.collation import Collation
from node.config import NodeConfig
from node.driver import Driver
from node.epochs import Epochs
from node.evidence_pool import EvidencePool, KeptEvidence
from node.executor import Executor
from node.feed import FinalityFeed
from node.final_chain import FinalChain
from node.mempool import Mempool
from node.progress import Progress
from node.proofs import Prover
from node.store import Store
from node.trace import TraceRing


class Answers(TransactionAnswers, GuestAnswers, FinalityFeed):
    """Implements `node.api.NodeApi`; what is about the node and the relay chain is here."""

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
        prover = Prover(executor.nodes, final_chain, store, genesis)
        TransactionAnswers.__init__(
            self,
            driver=driver,
            final_chain=final_chain,
            mempool=mempool,
            progress=progress,
            prover=prover,
            flood=flood,
        )
        GuestAnswers.__init__(
            self, nodes=executor.nodes, final_chain=final_chain, prover=prover, collation=collation
        )
        FinalityFeed.__init__(self, trace=trace)
        self.notarised_height = final_chain.final_height
        self._config = config
        self._genesis = genesis
        self._genesis_hash = genesis_hash
        self._version = version
        self._epochs = epochs
        self._store = store
        self._transport = transport
        self._evidence = evidence
        self._statistics = statistics
        self._began = time.monotonic()

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
            value = get(self._nodes, self._chain.view.root, key)
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
        asked, record = self._set_of(epoch)
        supports = [exposure(self._chain.view, asked, each.account) for each in record.members]
        return [
            ValidatorReport(
                index=ValidatorIndex(index),
                name=each.name,
                account=each.account,
                consensus_key=each.consensus_key,
                identity_key=each.identity_key,
                address=each.address,
                stake=each.stake,
                support=Amount(0 if support is None else support.total),
            )
            for index, (each, support) in enumerate(zip(record.members, supports, strict=True))
        ]

    def concentration(self, epoch: Epoch | None = None) -> Concentration:
        """How voting power is spread in an epoch; in this one if none is said."""
        asked, _ = self._set_of(epoch)
        return concentration_of(self._chain.view, asked)

    def exposure(self, chain: ChainId | None = None) -> ExposureReport:
        """What is at risk in this epoch; of one chain, or of the first MAX_CHAINS_REPORTED."""
        view = self._chain.view
        if chain is None:
            chains = list(islice(view.chains(), MAX_CHAINS_REPORTED))
        else:
            record = view.chain_record(chain)
            if record is None:
                raise UserError(f"there is no chain {chain}: see `phalanx chain list`")
            chains = [record]
        asked, _ = self._set_of(None)
        return view.exposure_report(asked, chains)

    def economy(self) -> Economy:
        """The economy in the newest final state."""
        return self._chain.view.economy()

    def _set_of(self, epoch: Epoch | None) -> tuple[Epoch, EpochSetRecord]:
        asked = self._epochs.current.epoch if epoch is None else epoch
        record = self._epochs.members(asked)
        if record is None:
            raise UserError(
                f"this node knows no validators of epoch {asked}: it is not decided yet, or too long over;"
                f" it is now epoch {self._epochs.current.epoch}"
            )
        return asked, record

    # --- governance

    def governance(self) -> GovernanceReport:
        """Governance in the newest final state."""
        return governance_report(self._chain.view.stakes.ledger)

    def proposal(self, number: int) -> ProposalReport:
        """One proposal in the newest final state, its votes counted as they are."""
        found = proposal_report(self._chain.view.stakes, number)
        if found is None:
            raise UserError(
                f"there is no proposal {number}, or it is over for too long: see `phalanx gov list`"
            )
        return found

    # --- accountability

    def offences(self) -> OffencesReport:
        """Offences in the newest final state."""
        return offences_report(self._chain.view.stakes.ledger)

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
