"""What a running node answers about guests: consumer chains, enclaves and the lanes between them."""

from collections.abc import Sequence

from consensus.light.leaves import guest_key, head_key, instance_key
from consensus.light.proofs import ChainKey, InstanceKey
from consensus.messaging.lanes import LaneRecord, lane_id, lane_key
from consensus.primitives.codec import decode
from consensus.primitives.errors import UserError
from consensus.primitives.guest import Endpoint, InstanceEndpoint, Policy
from consensus.primitives.ids import Amount, ChainId, Hash, ModuleId
from consensus.primitives.tree import MissingNode, NodeStore, get
from consensus.relay.ledger import RECORD_LIMIT
from consensus.relay.registry import ChainRecord, ChainStanding, ModuleRecord
from consensus.relay.views import StateView, prove_guest_key
from node.api import ChainReport, ChainTransactionReport, EnclaveReport, StateReport, SubmitResult
from node.collation import Collation
from node.collator import Collator
from node.final_chain import FinalChain
from node.proofs import Prover


class GuestAnswers:
    """The part of `node.api.NodeApi` for who uses a consumer chain or an enclave."""

    def __init__(
        self, *, nodes: NodeStore, final_chain: FinalChain, prover: Prover, collation: Collation | None
    ) -> None:
        """`nodes` are those of every executed state; `collation` is None where no chain is collated."""
        self._nodes = nodes
        self._chain = final_chain
        self._prover = prover
        self._collation = collation

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
            stage=ChainStanding(record.stage).name.lower(),
            paused_until_ms=record.paused_until_ms,
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
        inner = prove_guest_key(self._nodes, record.root, key)
        question = InstanceKey(module=module, chain=chain, key=key)
        proof = self._prover.answer(question, view.prove(instance_key(instance)), inner)
        return StateReport(key=guest_key(key), value=inner.value, height=view.height, proof=proof)

    def lane(self, source: Endpoint, destination: Endpoint) -> tuple[int, int]:
        """(messages ever sent, messages ever delivered) on one lane."""
        name = lane_key(lane_id(source, destination))
        raw = get(self._nodes, self._chain.view.root, name)
        if raw is None:
            return 0, 0
        record = decode(LaneRecord, raw, limit=RECORD_LIMIT)
        return record.sent, record.delivered


def _enclave_report(record: ModuleRecord) -> EnclaveReport:
    return EnclaveReport(
        module=record.module,
        size_bytes=record.code_bytes,
        deployer=record.deployer,
        height=record.deployed_height,
    )
