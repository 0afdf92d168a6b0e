"""What happens to a block once it is final: it is executed, told to who listens, and made durable.

Blocks are told of in height order, each once a process, as soon as they are final *and* executed. The store
gets them in batches; until then they are served from here, so that readers see one chain. The last block of
an epoch waits for no others: the next epoch begins only once it is durable.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from consensus.agreement.events import Finalized
from consensus.agreement.messages import FLAG_BOUNDARY, Certificate, FinalityProof
from consensus.candidates.receipts import CandidateInclusion
from consensus.primitives.errors import UserError
from consensus.primitives.ids import Hash, Height
from consensus.relay.blocks import CheckedPayload
from consensus.relay.receipts import TransactionReceipt
from consensus.relay.transition import BlockResult
from consensus.relay.views import StateView
from node.executor import Executed, Executor
from node.store import FinalBlock, Store, StoredBlock, StoredReceipts, VoidItem, transaction_receipts

BATCH_S: Final = 0.1  # how long a final block may wait for others to share its sync
BATCH_BLOCKS: Final = 64
BATCH_CERTIFICATES: Final = 256  # while nothing becomes final
REASON_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalNotice:
    """A final block that was executed, for listeners in the node."""

    hash: Hash
    executed: Executed
    checked: CheckedPayload
    result: BlockResult
    view: StateView

    @property
    def candidates(self) -> tuple[CandidateInclusion, ...]:
        """The candidates that the block carries."""
        return self.checked.candidates


class FinalChain:
    """The final chain as this node has it. All in the trio loop; `run` writes to the store in a thread."""

    def __init__(self, executor: Executor, store: Store) -> None:
        self.listeners: Final[list[Callable[[FinalNotice], None]]] = []
        self.persisted_height = store.height()
        self.final_height = self.persisted_height
        self._executor = executor
        self._store = store
        self._proofs: dict[Hash, FinalityProof] = {}
        self._pending: dict[Height, FinalBlock] = {}
        self._receipts: dict[Hash, Height] = {}
        self._certificates: list[Certificate] = []
        self._more = trio.Event()
        self._urgent = trio.Event()
        self._view = self._view_of(executor.tip)

    # --- blocks come in

    def finalized(self, block: Finalized) -> None:
        """Take a block that agreement has finalised."""
        self._proofs[block.block_hash] = block.proof
        self.final_height = block.header.height
        self._executor.execute(block.block_hash, block.header, block.payload)
        payload = block.payload
        self._executor.when_executed(block.block_hash, lambda: self._executed(block.block_hash, payload))

    def _executed(self, name: Hash, payload: bytes) -> None:
        done = self._executor.executed(name)
        if done is None or done.result is None or done.checked is None:
            raise RuntimeError("a final block was executed without a result")
        result, header = done.result, done.header
        self._executor.tip = done
        self._view = self._view_of(done)
        names = tuple(each.hash for each in done.checked.transactions)
        void = tuple(
            VoidItem(name=item, reason=reason[:REASON_CHARACTERS]) for item, reason in result.void.items()
        )
        self._pending[header.height] = FinalBlock(
            height=header.height,
            hash=name,
            block=StoredBlock(header=header, payload=payload, post_root=done.post_root),
            proof=self._proofs.pop(name),
            receipts=StoredReceipts(
                receipts=result.receipts,
                void=void,
                enclave_calls=result.counters.enclave_calls,
                messages=result.counters.messages,
            ),
            transactions=names,
            new_nodes=result.new_nodes,
            reference_changes=result.reference_changes,
            next_set=done.next_set.record if header.flags & FLAG_BOUNDARY and done.next_set else None,
        )
        for each in names:
            self._receipts[each] = header.height
        notice = FinalNotice(hash=name, executed=done, checked=done.checked, result=result, view=self._view)
        for listener in self.listeners:
            listener(notice)
        self._more.set()
        if len(self._pending) >= BATCH_BLOCKS or header.flags & FLAG_BOUNDARY:
            self._urgent.set()

    def archive(self, certificate: Certificate) -> None:
        """Keep a certificate that this node relied on, for as long as it may have to show it (CONSENSUS.md
        section 17.2: with it, whoever is to blame for a fork can be named)."""
        self._certificates.append(certificate)
        if len(self._certificates) >= BATCH_CERTIFICATES:
            self._more.set()

    # --- blocks become durable

    async def run(self, persisted: Callable[[Height], None]) -> None:
        """Write batches for ever; `persisted(height)` after each. Raises LocalFault if the disk refuses."""
        while True:
            await self._more.wait()
            with trio.move_on_after(BATCH_S):
                await self._urgent.wait()
            await self.flush(persisted)

    async def flush(self, persisted: Callable[[Height], None]) -> None:
        """Write everything that is final and executed, and the certificates that were relied on."""
        self._more, self._urgent = trio.Event(), trio.Event()
        batch = list(self._pending.values())
        certificates = tuple(self._certificates)
        if not batch and not certificates:
            return
        oldest = self._view.oldest_epoch()
        with trio.CancelScope(shield=True):
            await self._store.persist(batch, certificates, oldest)
        del self._certificates[: len(certificates)]
        if not batch:
            return
        self.persisted_height = batch[-1].height
        for each in batch:
            del self._pending[each.height]
            for name in each.transactions:
                self._receipts.pop(name, None)
        self._executor.discard_below(
            self.persisted_height, keep=lambda name: any(name == each.hash for each in self._pending.values())
        )
        if self._pending:
            self._more.set()
        persisted(self.persisted_height)

    # --- reading

    def certificates(self, epoch: int, first: int, last: int, limit: int) -> list[Certificate]:
        """Those that this node relied on in the views `first` to `last`, at most `limit`, but for those that
        stand with a block (`certificate`)."""
        held = tuple(self._certificates)  # asked in a thread, while the loop takes away what became durable
        waiting = [each for each in held if each.epoch == epoch and first <= each.view <= last]
        return [*waiting, *self._store.certificates(epoch, first, last, limit)][:limit]

    def certificate(self, height: int) -> Certificate | None:
        """The certificate that stands with the final block at `height`, None if those above are certified
        alone."""
        pending = self._pending.get(Height(height))
        return self._store.certificate(height) if pending is None else pending.proof.certificate

    @property
    def view(self) -> StateView:
        """The state after the newest final block that is executed."""
        return self._view

    @property
    def executed_height(self) -> Height:
        """Of that block."""
        return self._view.height

    def proven_view(self) -> StateView:
        """The newest state whose root a final header carries: that before the newest executed block.

        Raises UserError right after a state was fetched, when this is the one state that the node has.
        """
        tip = self._executor.tip
        height = tip.header.height
        if height == 0:
            return self._view
        parent = self.block(height - 1)
        if parent is None and height > 1:
            raise UserError(
                f"this node begins at block {height}, whose state it fetched: the one before is pruned here;"
                " ask again after the next block"
            )
        return StateView(
            nodes=self._executor.nodes,
            root=tip.header.state_root,
            height=Height(height - 1),
            block=tip.header.parent_hash,
            time_ms=tip.header.time_ms if parent is None else parent.header.time_ms,
        )

    def block(self, height: int) -> StoredBlock | None:
        """The final block at `height`, None above the newest executed one and for genesis."""
        pending = self._pending.get(Height(height))
        return self._store.block(height) if pending is None else pending.block

    def proof(self, height: int) -> FinalityProof | None:
        """The finality proof of the block at `height`."""
        pending = self._pending.get(Height(height))
        return self._store.proof(height) if pending is None else pending.proof

    def receipts(self, height: int) -> StoredReceipts | None:
        """Every receipt of the block at `height`."""
        pending = self._pending.get(Height(height))
        return self._store.receipts(height) if pending is None else pending.receipts

    def place(self, transaction: Hash) -> Height | None:
        """The height of the final block that carries a transaction."""
        height = self._receipts.get(transaction)
        return self._store.place(transaction) if height is None else height

    def receipt(self, transaction: Hash) -> tuple[Height, TransactionReceipt | None, str] | None:
        """(height, receipt, reason if it was void) of a transaction in a final, executed block."""
        height = self.place(transaction)
        held = None if height is None else self.receipts(height)
        if height is None or held is None:
            return None
        receipt = transaction_receipts(held.receipts).get(transaction)
        reason = next((item.reason for item in held.void if item.name == transaction), "")
        return height, receipt, reason

    def _view_of(self, done: Executed) -> StateView:
        return StateView(
            nodes=self._executor.nodes,
            root=done.post_root,
            height=done.header.height,
            block=done.hash,
            time_ms=done.header.time_ms,
        )
