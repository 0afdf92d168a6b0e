"""The relay chain's state transition, in one direction (DESIGN.md section 3):

    votes → evidence → statements → offences' own time → deliver lane messages to instances → candidates
    → transactions → fees → what falls due by governance → rewards of an epoch that ends
    → the epoch's turn → notices to chains → its new parameters → the last-block leaf

Evidence comes first, so that whom it convicts can not act before it in the same block. Candidates in flight
over a boundary are attested anew: an inclusion's signatures are of the epoch of the block that carries it.
A boundary block is a block like any other. A *tail* block (CONSENSUS.md section 14) is never executed and
never in the ledger, whoever calls this passes it over: it changes nothing, so that its parent's post-state
is also its own, and the first block of the next epoch builds on the boundary block.

Pure and total: on any `CheckedPayload` and any reachable state it returns, and on every machine the same.
It raises LocalFault only, when this machine's executor or store fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from consensus.light.leaves import (
    LAST_BLOCK_KEY,
    LastBlock,
)
from consensus.primitives.guest import GuestExecutor
from consensus.primitives.ids import Hash, PublicKey
from consensus.primitives.tree import NodeStore
from consensus.relay.actions import apply_transaction
from consensus.relay.blocks import CheckedPayload
from consensus.relay.calls import deliver_messages
from consensus.relay.elections.records import ElectionRecord
from consensus.relay.elections.turning import turn_epoch
from consensus.relay.epochs import epoch_of, is_boundary
from consensus.relay.governance.executing import turn as turn_parameters
from consensus.relay.governance.ticking import tick as tick_governance
from consensus.relay.inclusions import apply_inclusion
from consensus.relay.ledger import (
    Ledger,
    RecentBlock,
    recent_key,
)
from consensus.relay.notices.publishing import publish
from consensus.relay.offences.judging import apply_evidence
from consensus.relay.offences.records import Convicted
from consensus.relay.offences.ticking import tick as tick_offences
from consensus.relay.offences.verdicts import apply_statement
from consensus.relay.receipts import Receipt, receipts_tree
from consensus.relay.registry import Registry
from consensus.relay.rewards.distributing import end_epoch
from consensus.relay.rewards.participation import note_participation
from consensus.relay.run import BlockContext, Run
from consensus.relay.stake.stakes import Stakes
from consensus.relay.transactions import Transfer

__all__ = ["BlockContext", "BlockResult", "Counters", "apply_block"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What a block did, for people."""

    transactions: int  # with a receipt, ok or failed; void ones are not counted
    void: int
    candidates_enacted: int
    candidates_rejected: int
    enclave_calls: int  # by users and by delivered messages
    messages: int  # put into lanes


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockResult:
    """The effect of one block.

    `reference_changes` says for each tree node how many more (or fewer) trees of the post-state contain it
    than of the pre-state; `new_nodes` has the bytes of every node whose change is positive. A store that
    counts references adds the positive ones at commit, the negative ones when the pre-state is pruned.
    """

    post_root: Hash
    new_nodes: Mapping[Hash, bytes]
    reference_changes: Mapping[Hash, int]
    stale: tuple[Hash, ...]  # nodes with a negative change, sorted
    receipts: tuple[Receipt, ...]  # in order of execution; `receipts.receipts_tree` rebuilds their tree
    receipts_root: Hash
    void: Mapping[
        Hash, str
    ]  # hash of votes, evidence, candidate or transaction → why it had no effect; in order
    enacted: tuple[Hash, ...]  # candidates
    rejected: tuple[Hash, ...]
    offences: tuple[Convicted, ...]  # in order
    calls_waiting: int  # lanes whose messages the next block delivers to instances
    election: ElectionRecord | None  # of the next epoch's set, in the last block but one of an epoch
    counters: Counters


def apply_block(
    pre_root: Hash,
    context: BlockContext,
    payload: CheckedPayload,
    nodes: NodeStore,
    guests: GuestExecutor,
) -> BlockResult:
    """Execute one block on the state at `pre_root`; changes nothing that it is given."""
    ledger = Ledger(nodes, pre_root)
    run = Run(
        context=context,
        ledger=ledger,
        registry=Registry(ledger),
        stakes=Stakes(ledger),
        parameters=ledger.parameters,
        guests=guests,
    )
    last = ledger.existing(LastBlock, LAST_BLOCK_KEY)
    _check_place(run, last)
    _note_parent(run, last)
    note_participation(run, payload.votes)
    for evidence in payload.evidence:
        apply_evidence(run, evidence)
    for statement in payload.statements:
        apply_statement(run, statement)
    tick_offences(run)
    deliver_messages(run)
    for inclusion in payload.candidates:
        apply_inclusion(run, inclusion)
    ledger.load_accounts(_accounts_of(payload))
    for index, transaction in enumerate(payload.transactions):
        apply_transaction(run, transaction, index)
    if ledger.fees:
        ledger.settle_fees(run.proposer)
    tick_governance(run)
    ends = is_boundary(context.height, run.parameters.epoch_blocks)
    if ends:
        end_epoch(run)
    turn_epoch(run)
    publish(run)
    run.stakes.settle()
    if ends:
        turn_parameters(run)
    receipts_root = _write_last_block(run)
    calls_waiting = run.registry.lanes.deliveries_waiting()
    post_root = ledger.commit()
    return _result(run, post_root, receipts_root, calls_waiting)


def _check_place(run: Run, last: LastBlock) -> None:
    """The caller's part, never a peer's doing: the state is the parent's, the epoch the height's."""
    height, epoch = run.context.height, run.context.epoch
    if last.height != height - 1:
        raise AssertionError(f"block {height} on the state of block {last.height}")
    if epoch != epoch_of(height, run.parameters.epoch_blocks):
        raise AssertionError(f"block {height} is not of epoch {epoch}")


def _note_parent(run: Run, last: LastBlock) -> None:
    """Enter the parent into the ring of recent blocks: only now is its hash known to the state."""
    parent_height = last.height
    slot = parent_height % run.parameters.relay_parent_window
    run.ledger.put(
        recent_key(slot),
        RecentBlock(height=parent_height, hash=run.context.parent_hash, time_ms=last.time_ms),
    )


def _accounts_of(payload: CheckedPayload) -> list[PublicKey]:
    """The accounts that the block surely touches, to be read in one descent."""
    touched = [each.body.sender for each in payload.transactions]
    for each in payload.transactions:
        action = each.body.action
        if isinstance(action, Transfer):
            touched.append(action.to)
    return touched


def _write_last_block(run: Run) -> Hash:
    root = receipts_tree(run.receipts).root
    run.ledger.put(
        LAST_BLOCK_KEY,
        LastBlock(
            height=run.context.height,
            time_ms=run.context.time_ms,
            parent_hash=run.context.parent_hash,
            receipts_root=root,
            receipts=len(run.receipts),
        ),
    )
    return root


def _result(run: Run, post_root: Hash, receipts_root: Hash, calls_waiting: int) -> BlockResult:
    changes = run.ledger.reference_changes()
    return BlockResult(
        post_root=post_root,
        new_nodes={node: run.ledger.added[node] for node, change in changes.items() if change > 0},
        reference_changes=changes,
        stale=tuple(sorted(node for node, change in changes.items() if change < 0)),
        receipts=tuple(run.receipts),
        receipts_root=receipts_root,
        void=run.void,
        enacted=tuple(run.enacted),
        rejected=tuple(run.rejected),
        offences=tuple(run.offences),
        calls_waiting=calls_waiting,
        election=run.election,
        counters=Counters(
            transactions=run.transactions,
            void=len(run.void),
            candidates_enacted=len(run.enacted),
            candidates_rejected=len(run.rejected),
            enclave_calls=run.enclave_calls,
            messages=run.messages,
        ),
    )
