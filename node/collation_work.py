"""What a collator does in a thread: run a block on its replica and make the result durable."""

from dataclasses import dataclass
from typing import Protocol

from consensus.candidates.collation import CollationPlan, finish_candidate
from consensus.candidates.execution import chain_call, frame_input, transaction_codes
from consensus.candidates.receipts import CandidateHeader, decode_pov
from consensus.primitives.errors import LocalFault
from consensus.primitives.guest import GuestCall
from consensus.primitives.ids import Fuel, Hash
from consensus.primitives.tree import NodeStore
from enclaves.pool import RecordedOutcome
from node.adoption import Foreign
from node.chain_mempool import ChainTransaction, chain_transaction
from node.chain_replica import ChainReplica


class RecordingWorkers(Protocol):
    """What runs a block for its collator; `enclaves.pool.WorkerPool`."""

    def execute_recording(self, call: GuestCall, root: Hash, nodes: NodeStore) -> RecordedOutcome:
        """Run a call on a tree and make its witness. Blocks. Raises LocalFault."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Collated:
    """A candidate that was built. `codes`: what the guest says of each transaction, if it does."""

    header: CandidateHeader
    pov: bytes
    codes: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """The transactions of a candidate that others built, and what the guest says of each."""

    transactions: list[ChainTransaction]
    codes: bytes | None


def run_plan(replica: ChainReplica, workers: RecordingWorkers, plan: CollationPlan) -> Collated:
    """Make a candidate of a plan, durable on return. Raises InvalidBlock, LocalFault."""
    with replica.snapshot() as nodes:
        ran = workers.execute_recording(plan.call, plan.tip.state_root, nodes)
    header, pov = finish_candidate(plan, ran.outcome, ran.update.root, ran.witness)
    codes = transaction_codes(ran.outcome.output, _consumed(header), len(plan.transactions))
    replica.append(header, pov, ran.update, codes)
    return Collated(header=header, pov=pov, codes=codes)


def run_foreign(
    replica: ChainReplica, workers: RecordingWorkers, foreign: Foreign, code: bytes, fuel_limit: Fuel
) -> TakenOver:
    """Take over an enacted candidate whose PoV is there. Raises LocalFault."""
    header, pov = foreign.header, foreign.pov
    if pov is None:
        raise ValueError("a candidate is taken over once its PoV is there")
    transactions = decode_pov(pov, len(pov)).transactions
    call = chain_call(
        chain=header.chain,
        height=header.height,
        time_ms=header.time_ms,
        code_hash=header.code_hash,
        code=code,
        data=frame_input(foreign.messages, transactions),
        fuel_limit=fuel_limit,
    )
    with replica.snapshot() as nodes:
        ran = workers.execute_recording(call, header.pre_root, nodes)
    if ran.update.root != header.post_root:
        raise LocalFault(f"the enacted candidate {foreign.candidate.hex()} leads to another state here")
    codes = transaction_codes(ran.outcome.output, _consumed(header), len(transactions))
    replica.append(header, pov, ran.update, codes)
    replica.settle(header.height)
    return TakenOver(transactions=[chain_transaction(each) for each in transactions], codes=codes)


def _consumed(header: CandidateHeader) -> int:
    return sum(cursor.next - cursor.first for cursor in header.inbox)
