"""What a node hands out to light clients: answers under a final header, hops between epochs, where to start.

A header carries the state after its parent, so a leaf of the state after block h hangs under final header
h+1 (DESIGN.md section 5). The types are `consensus.light.proofs`', and so is every rule of verifying them.
"""

from collections.abc import Sequence

from consensus.agreement.blame import MAX_HEADERS, MAX_SUPPORT, Dossier
from consensus.agreement.messages import Certificate, Header
from consensus.light.answers import inner_of
from consensus.light.leaves import LAST_BLOCK_KEY
from consensus.light.proofs import (
    MAX_HOPS,
    MAX_HOPS_BYTES,
    Answer,
    EpochHop,
    FinalHead,
    Hops,
    ProvenAnswer,
    Question,
    ReceiptOf,
    Start,
    StateProof,
    encode_proven_answer,
)
from consensus.primitives.codec import encode
from consensus.primitives.errors import UserError
from consensus.primitives.ids import Epoch, Hash, Height, View
from consensus.primitives.tree import MemoryStore, MissingNode, NodeStore, prove
from consensus.relay.genesis import Genesis
from consensus.relay.receipts import Receipt, receipt_id, receipts_tree
from consensus.relay.views import StateView
from node.final_chain import FinalChain
from node.store import Store
from node.store_certificates import certificate_key
from node.validator_set import FIRST_EPOCH, genesis_start


class Prover:
    """Makes proofs from the final chain and the state that this node still has."""

    def __init__(self, nodes: NodeStore, chain: FinalChain, store: Store, genesis: Genesis) -> None:
        self._nodes = nodes
        self._chain = chain
        self._store = store
        self._genesis = genesis_start(genesis)
        self._chain_id_hash = genesis.hash

    # --- finality

    def head(self, height: Height | None) -> FinalHead:
        """The final block at `height`, by default the newest executed one. Raises UserError."""
        height = self._chain.executed_height if height is None else height
        block, proof = self._chain.block(height), self._chain.proof(height)
        if block is None and 0 < height < self._store.oldest_block():
            raise UserError(f"this node has pruned block {height}; ask another node")
        if block is None or proof is None:
            raise UserError(
                f"this node has no final block {height}, or no longer; `status` says how far it is"
            )
        return FinalHead(header=block.header, finality=proof)

    def start(self, height: Height) -> Start:
        """The final block at `height` and its epoch's set, for who trusts its hash. Raises UserError."""
        if height == 0:
            return self._genesis
        header = self.head(height).header
        if header.epoch == FIRST_EPOCH:
            return Start(header=header, validators=self._genesis.validators)
        hop = self._store.boundary(header.epoch - 1)
        if hop is None:
            raise UserError(f"this node does not have the validator set of epoch {header.epoch}; ask another")
        return Start(header=header, validators=hop.validators)

    def hops(self, epoch: Epoch) -> Hops:
        """The hops over the ends of `epoch` and of later epochs, as many as one answer holds."""
        hops: list[EpochHop] = []
        room = MAX_HOPS_BYTES
        while len(hops) < MAX_HOPS:
            hop = self._store.boundary(epoch + len(hops))
            if hop is None:
                break
            room -= len(encode(hop)) + 16
            if room < 0:
                break
            hops.append(hop)
        return Hops(hops=tuple(hops))

    def dossier(self, height: Height, view: View) -> Dossier:
        """What made the block at `height` final, its ancestry down to `view`, and the certificates on the
        way that this node relied on or has as proofs (CONSENSUS.md section 17.2). Raises UserError."""
        head = self.head(height)
        epoch = head.header.epoch
        headers = [head.header]
        while headers[-1].parent_view > view and len(headers) + len(head.finality.path) < MAX_HEADERS:
            below = self._chain.block(headers[-1].height - 1)
            if below is None or below.header.epoch != epoch:
                break
            headers.append(below.header)
        certificate = head.finality.certificate
        return Dossier(
            chain=self._chain_id_hash,
            epoch=epoch,
            validators=self.start(height).validators,
            headers=(*reversed(headers), *head.finality.path),
            certificate=certificate,
            support=self._support(headers[-1], head.header.height, certificate.view),
        )

    def _support(self, lowest: Header, height: Height, last: View) -> tuple[Certificate, ...]:
        """The certificates from the parent of the `lowest` header up to the view `last`, by view."""
        epoch, first = lowest.epoch, lowest.parent_view
        proofs = (self._chain.certificate(each) for each in range(lowest.height - 1, height + 1))
        on_the_way = [each for each in proofs if each and each.epoch == epoch and first <= each.view <= last]
        archived = self._chain.certificates(epoch, first, last, MAX_SUPPORT)
        held = {certificate_key(each): each for each in (*on_the_way, *archived)}
        return tuple(held[key] for key in sorted(held))[:MAX_SUPPORT]

    # --- state

    def answer(self, question: Question, leaf: StateProof, inner: StateProof | None) -> bytes:
        """An answer from the chain's `proven_view`. Raises UserError before anything is final."""
        if self._chain.executed_height == 0:
            raise UserError("nothing is final yet, so nothing can be proved; ask again in a moment")
        return self._under(self._chain.executed_height, Answer(question=question, leaf=leaf, inner=inner))

    def receipt(
        self, height: Height, block: Hash, receipt: Receipt, all_receipts: Sequence[Receipt]
    ) -> bytes:
        """The answer that shows one of the receipts of the final `block` at `height`. Raises UserError."""
        held = self._chain.block(height)
        if held is None:
            raise UserError(f"this node has pruned block {height}; ask another node")
        if self._chain.executed_height <= height:
            raise UserError(f"the header above block {height} is not final yet; wait for the stage `proved`")
        view = StateView(
            nodes=self._nodes,
            root=held.post_root,
            height=height,
            block=block,
            time_ms=held.header.time_ms,
        )
        try:
            leaf = view.prove(LAST_BLOCK_KEY)
        except MissingNode:
            raise UserError(f"this node has pruned the state of block {height}; ask another node") from None
        answer = Answer(
            question=ReceiptOf(receipt=receipt_id(receipt)),
            leaf=leaf,
            inner=prove_receipt(receipt, all_receipts),
        )
        return self._under(Height(height + 1), answer)

    def _under(self, height: Height, answer: Answer) -> bytes:
        return encode_proven_answer(ProvenAnswer(head=self.head(height), answer=answer))


def prove_receipt(receipt: Receipt, all_receipts: Sequence[Receipt]) -> StateProof:
    """One of a block's receipts, under the root of them all."""
    tree = receipts_tree(all_receipts)
    key = inner_of(ReceiptOf(receipt=receipt_id(receipt)))
    if key is None:
        raise AssertionError("a receipt is in a tree of its own")
    return StateProof(key=key, value=encode(receipt), proof=prove(MemoryStore(tree.added), tree.root, key))
