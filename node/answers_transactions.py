"""What a running node answers about transactions: admission, reports, proofs of receipts."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import trio

from consensus.agreement.messages import block_hash as name_of
from consensus.primitives.errors import InvalidTransaction, UserError
from consensus.primitives.ids import Hash, Height
from consensus.relay.receipts import Code, TransactionReceipt
from consensus.relay.transactions import CheckedTransaction, transaction_hash
from node.api import Stage, SubmitResult, TransactionReport
from node.driver import Driver
from node.final_chain import FinalChain
from node.mempool import Mempool
from node.progress import Progress
from node.proofs import Prover
from node.store import StoredReceipts, transaction_receipts

ADMIT_SLICE: Final = 64  # transactions admitted before others get their turn: some milliseconds
RECEIPT_BLOCKS: Final = 64  # blocks whose receipts are kept indexed by transaction


class TransactionAnswers:
    """The part of `node.api.NodeApi` for who sends transactions."""

    def __init__(
        self,
        *,
        driver: Driver,
        final_chain: FinalChain,
        mempool: Mempool,
        progress: Progress,
        prover: Prover,
        flood: Callable[[Sequence[bytes]], None],
    ) -> None:
        """`flood` sends accepted transactions to the other mempools."""
        self._driver = driver
        self._chain = final_chain
        self._mempool = mempool
        self._progress = progress
        self._prover = prover
        self._flood = flood
        self._indexed: OrderedDict[Height, _BlockReceipts] = OrderedDict()

    async def submit(self, transactions: Sequence[bytes]) -> list[SubmitResult]:
        """Admit to the mempool and flood what was accepted."""
        results: list[SubmitResult] = []
        accepted: list[bytes] = []
        for start in range(0, len(transactions), ADMIT_SLICE):
            some = transactions[start : start + ADMIT_SLICE]
            for raw, checked in zip(some, await self._mempool.check(some), strict=True):
                if isinstance(checked, InvalidTransaction):
                    results.append(
                        SubmitResult(hash=transaction_hash(raw), accepted=False, error=str(checked))
                    )
                    continue
                results.append(self.admit(checked))
                if results[-1].accepted:
                    accepted.append(raw)
            await trio.lowlevel.checkpoint()  # votes must not wait for thousands of them
        if accepted:
            self._flood(accepted)
            self._driver.poke()
        return results

    async def take(self, transactions: Sequence[bytes]) -> None:
        """Admit what other nodes flood. What is refused here was for them to refuse: nobody is blamed."""
        for start in range(0, len(transactions), ADMIT_SLICE):
            for checked in await self._mempool.check(transactions[start : start + ADMIT_SLICE]):
                if not isinstance(checked, InvalidTransaction):
                    self.admit(checked)
            await trio.lowlevel.checkpoint()
        self._driver.poke()

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


class _BlockReceipts:
    """The receipts of one block, by transaction."""

    def __init__(self, block: Hash, held: StoredReceipts) -> None:
        self.block: Final = block
        self.all: Final = held
        self.transactions: Final[dict[Hash, TransactionReceipt]] = transaction_receipts(held.receipts)
