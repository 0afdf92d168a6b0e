"""Collating one chain from when it is registered (DESIGN.md section 6).

A chain of the genesis has its first state there. One that was registered by transaction has it in the block
that carries the transaction, one that a vote brought in the block that put it to the vote; the relay chain
itself keeps only the root of it. Until the chain is registered in a final block here there is nothing to
collate, and that is no error: the operator may start the collator first.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import trio
from structlog.typing import FilteringBoundLogger

from consensus.agreement.events import Peer
from consensus.agreement.messages import MAX_BLOCK_BYTES
from consensus.candidates.receipts import CandidateMessage
from consensus.primitives.codec import decode
from consensus.primitives.ids import ChainId, Height
from consensus.relay.blocks import Payload
from consensus.relay.genesis import Genesis
from consensus.relay.governance.proposals import find_proposal, proposal_count
from consensus.relay.governance.records import KEPT_PROPOSALS, MAX_AGENDA, ProposalStage
from consensus.relay.governance.transactions import OnboardChain, Propose
from consensus.relay.receipts import Code
from consensus.relay.registry import ChainRecord
from consensus.relay.transactions import (
    MAX_TRANSACTION_BYTES,
    RegisterChain,
    SignedTransaction,
    transaction_hash,
)
from node.chain_replica import Beginning, chain_beginning
from node.collator import Collator
from node.final_chain import FinalChain, FinalNotice
from node.stored import transaction_receipts

A = TypeVar("A")
LATEST_PROPOSALS: Final = KEPT_PROPOSALS + MAX_AGENDA  # among which the one is that brought a chain
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
            self.collator = self._make(self.chain, self._beginning(record))
            self._registered.set()

    def _beginning(self, record: ChainRecord) -> Beginning | None:
        """The chain's first state; None if the block is not kept that has it."""
        chains = self._genesis.chains
        if self.chain <= len(chains):
            return chain_beginning(self.chain, chains[self.chain - 1].entries)
        height, answer = record.registered_height, self.chain.to_bytes(4, "big")
        if self._final_chain.block(height) is None:
            return None
        for action in self._done(height, RegisterChain, answer):
            return chain_beginning(self.chain, action.entries)
        return self._voted(record)

    def _voted(self, record: ChainRecord) -> Beginning | None:
        """The first state of a chain that a vote brought; None if the block that proposed it is not kept, or
        if there is doubt: another chain of its owner may have the same name."""
        head = self._final_chain.view.head(self.chain)
        found = {
            each.version.head: each
            for measure in self._carried_out()
            if (measure.name, measure.owner) == (record.name, record.owner)
            for each in (chain_beginning(self.chain, measure.entries),)
        }
        if head.height == 0:
            return found.get(head.head)
        return next(iter(found.values())) if len(found) == 1 else None

    def _carried_out(self) -> Iterator[OnboardChain]:
        """What was put to the vote and brought a chain, as far as state and blocks still tell; the newest
        first."""
        ledger = self._final_chain.view.stakes.ledger
        opened = proposal_count(ledger)
        for number in range(opened, max(0, opened - LATEST_PROPOSALS), -1):
            proposal = find_proposal(ledger, number)
            if proposal is not None and proposal.stage == ProposalStage.DONE:
                for action in self._done(proposal.height, Propose, number.to_bytes(8, "big")):
                    if isinstance(action.measure, OnboardChain):
                        yield action.measure

    def _done(self, height: Height, kind: type[A], answer: bytes) -> Iterator[A]:
        """The actions of a kind that the block at `height` carries, with this outcome; none if it is gone."""
        block, receipts = self._final_chain.block(height), self._final_chain.receipts(height)
        if block is None or receipts is None:
            return
        done = {
            name
            for name, each in transaction_receipts(receipts.receipts).items()
            if each.code == Code.OK and each.output == answer
        }
        for raw in decode(Payload, block.payload, limit=MAX_BLOCK_BYTES).transactions:
            if transaction_hash(raw) in done:
                action = decode(SignedTransaction, raw, limit=MAX_TRANSACTION_BYTES).body.action
                if isinstance(action, kind):
                    yield action
