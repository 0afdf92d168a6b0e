"""Collating one chain from when it is registered (DESIGN.md section 6).

A chain of the genesis has its first state there. One that was registered by transaction has it in the block
that carries the transaction; the relay chain itself keeps only the root of it. Until that block is final
here there is nothing to collate, and that is no error: the operator may start the collator first.
"""

from collections.abc import Callable
from typing import Any, Final

import trio
from structlog.typing import FilteringBoundLogger

from consensus.agreement.events import Peer
from consensus.agreement.messages import MAX_BLOCK_BYTES
from consensus.candidates.receipts import CandidateMessage
from consensus.primitives.codec import decode
from consensus.primitives.errors import LocalFault
from consensus.primitives.ids import ChainId, Height
from consensus.relay.blocks import Payload
from consensus.relay.genesis import Genesis
from consensus.relay.parameters import Entry
from consensus.relay.receipts import Code, TransactionReceipt
from consensus.relay.transactions import (
    MAX_TRANSACTION_BYTES,
    RegisterChain,
    SignedTransaction,
    transaction_hash,
)
from node.chain_replica import Beginning, chain_beginning
from node.collator import Collator
from node.final_chain import FinalChain, FinalNotice

MakeCollator = Callable[[ChainId, Beginning | None], Collator]
"""The collator of a chain that is registered; the beginning is None where its block is not kept any more."""


class Collation:
    """A node's collator: there once its chain is. All in the loop."""

    def __init__(
        self,
        chain: ChainId,
        genesis: Genesis,
        final_chain: FinalChain,
        make: MakeCollator,
        log: FilteringBoundLogger,
    ) -> None:
        """Raises UserError, LocalFault as the collator does."""
        self.chain: Final = chain
        self.collator: Collator | None = None
        self._genesis = genesis
        self._final_chain = final_chain
        self._make = make
        self._registered = trio.Event()
        self._look()
        if self.collator is None:
            log.warning("collation.waiting", chain=chain, reason="no such chain is registered yet")

    def close(self) -> None:
        """Close the chain's copy, once `run` has ended."""
        if self.collator is not None:
            self.collator.close()

    async def run(self) -> None:
        """Wait for the chain, then collate until cancelled. Raises LocalFault."""
        await self._registered.wait()
        if self.collator is None:
            raise RuntimeError("a chain that was registered is not there")
        await self.collator.run()

    # --- inputs

    def on_final(self, notice: FinalNotice) -> None:
        """A final block was executed; listener of `FinalChain`. Raises UserError, LocalFault."""
        if self.collator is None:
            self._look()
        else:
            self.collator.on_final(notice)

    def receive(self, peer: Peer, message: CandidateMessage) -> None:
        """A decoded message from the network."""
        if self.collator is not None:
            self.collator.receive(peer, message)

    def peer_up(self, peer: Peer) -> None:
        """A peer (re)connected."""
        if self.collator is not None:
            self.collator.peer_up(peer)

    def statistics(self) -> dict[str, Any]:
        """The collator's counters, for metrics."""
        if self.collator is None:
            return {}
        return {f"collator_{name}": value for name, value in self.collator.statistics().items()}

    # --- where the chain began

    def _look(self) -> None:
        """Begin if the chain is registered, at once: no block after this one may be missed."""
        record = self._final_chain.view.chain_record(self.chain)
        if record is not None:
            self.collator = self._make(self.chain, self._beginning(record.registered_height))
            self._registered.set()

    def _beginning(self, height: Height) -> Beginning | None:
        """The chain's first state; None if the block that registered it, at `height`, is not kept."""
        chains = self._genesis.chains
        if self.chain <= len(chains):
            return chain_beginning(self.chain, chains[self.chain - 1].entries)
        block, receipts = self._final_chain.block(height), self._final_chain.receipts(height)
        if block is None or receipts is None:
            return None
        answer = self.chain.to_bytes(4, "big")
        done = {
            each.transaction
            for each in receipts.receipts
            if isinstance(each, TransactionReceipt) and each.code == Code.OK and each.output == answer
        }
        for raw in decode(Payload, block.payload, limit=MAX_BLOCK_BYTES).transactions:
            entries = _registered(raw) if transaction_hash(raw) in done else None
            if entries is not None:
                return chain_beginning(self.chain, entries)
        raise LocalFault(f"the store is inconsistent: block {height} does not register chain {self.chain}")


def _registered(raw: bytes) -> tuple[Entry, ...] | None:
    """The first state that a transaction of a final block gives to a chain; None if it registers none."""
    action = decode(SignedTransaction, raw, limit=MAX_TRANSACTION_BYTES).body.action
    return action.entries if isinstance(action, RegisterChain) else None
