"""What a collator does, without I/O: plan a candidate, finish it, keep a few in flight (DESIGN.md section 6).

A collator is trusted with nothing: whatever it builds here, validators check against the same rules
(`lifecycle.header_refusal`) and re-execute.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.candidates.execution import InboxMessage, chain_call, frame_input, framed_bytes
from consensus.candidates.lifecycle import ChainView, Tip, may_send, tip_after
from consensus.candidates.receipts import (
    MAX_MESSAGES_CONSUMED,
    MAX_OUTGOING_BYTES,
    MAX_PIPELINE_DEPTH,
    CandidateHeader,
    InboxCursor,
    PoV,
    body_hash,
    pov_hash,
)
from consensus.candidates.view import RelayView
from consensus.messaging.lanes import lane_order
from consensus.primitives.codec import encode
from consensus.primitives.errors import InvalidBlock
from consensus.primitives.guest import MAX_INPUT_BYTES, GuestCall, GuestOutcome, Status
from consensus.primitives.ids import ChainId, Hash, Height, Milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayParent:
    """The final relay block that a candidate builds on."""

    height: Height
    hash: Hash
    time_ms: Milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class CollationPlan:
    """A candidate still to be run: give `call` to the guest, on the tree at `tip.state_root`."""

    chain: ChainView
    tip: Tip
    relay_parent: RelayParent
    inbox: tuple[InboxCursor, ...]
    transactions: tuple[bytes, ...]
    call: GuestCall


def plan_candidate(
    view: RelayView, chain: ChainView, tip: Tip, relay_parent: RelayParent, transactions: Sequence[bytes]
) -> CollationPlan:
    """Plan the candidate on `tip`: the messages that wait, then as many transactions as the input holds."""
    cursors, messages = choose_messages(view, chain, tip)
    room = MAX_INPUT_BYTES - framed_bytes(messages, ())
    chosen = []
    for each in transactions:
        room -= 4 + len(each)
        if room < 0:
            break
        chosen.append(each)
    call = chain_call(
        chain=chain.chain,
        height=Height(tip.height + 1),
        time_ms=relay_parent.time_ms,
        code_hash=chain.code_hash,
        code=view.code(chain.code_hash),
        data=frame_input(messages, chosen),
        fuel_limit=chain.fuel_limit,
    )
    return CollationPlan(
        chain=chain, tip=tip, relay_parent=relay_parent, inbox=cursors, transactions=tuple(chosen), call=call
    )


def choose_messages(
    view: RelayView, chain: ChainView, tip: Tip
) -> tuple[tuple[InboxCursor, ...], tuple[InboxMessage, ...]]:
    """The messages that wait for the chain past `tip`, lane by lane in `lane_order`, within bounds."""
    cursors: list[InboxCursor] = []
    messages: list[InboxMessage] = []
    room = MAX_INPUT_BYTES // 2  # the other half is for transactions
    for source in sorted(chain.lanes, key=lane_order):
        delivered, sent = chain.lanes[source]
        first = tip.consumed.get(source, delivered)
        last = min(sent, first + MAX_MESSAGES_CONSUMED - len(messages))
        taken = 0
        for payload in view.messages(chain.chain, source, first, last):
            message = InboxMessage(source=source, payload=payload)
            room -= framed_bytes((message,), ())
            if room < 0:
                break
            messages.append(message)
            taken += 1
        if taken:
            cursors.append(InboxCursor(source=source, first=first, next=first + taken))
        if room < 0:
            break
    return tuple(cursors), tuple(messages)


def finish_candidate(
    plan: CollationPlan, outcome: GuestOutcome, post_root: Hash, witness: bytes
) -> tuple[CandidateHeader, bytes]:
    """The header and the encoded PoV of a plan that was run.

    Raises InvalidBlock with the reason where validators would refuse it: the collator then leaves out
    transactions and plans again.
    """
    if outcome.status is not Status.OK:
        raise InvalidBlock(f"the block fails: {outcome.status.name.lower()}: {outcome.reason}")
    if sum(len(each.payload) for each in outcome.outgoing) > MAX_OUTGOING_BYTES:
        raise InvalidBlock(f"the block sends more than {MAX_OUTGOING_BYTES} bytes of messages")
    for each in outcome.outgoing:
        if not may_send(plan.chain.chain, each.destination, plan.chain.opt_in):
            raise InvalidBlock("the block messages an enclave that the chain did not opt in to")
    pov = encode(PoV(transactions=plan.transactions, witness=witness))
    if len(pov) > plan.chain.max_pov_bytes:
        raise InvalidBlock(f"the PoV has {len(pov)} bytes, the limit is {plan.chain.max_pov_bytes}")
    header = CandidateHeader(
        chain=plan.chain.chain,
        height=Height(plan.tip.height + 1),
        parent_head=plan.tip.head,
        relay_parent=plan.relay_parent.hash,
        relay_parent_height=plan.relay_parent.height,
        time_ms=plan.relay_parent.time_ms,
        code_hash=plan.chain.code_hash,
        body_hash=body_hash(plan.transactions),
        pov_hash=pov_hash(pov),
        pov_bytes=len(pov),
        pre_root=plan.tip.state_root,
        post_root=post_root,
        inbox=plan.inbox,
        outgoing=outcome.outgoing,
        fuel_used=outcome.fuel_used,
    )
    return header, pov


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a newer relay state means for a pipeline, oldest candidate first."""

    enacted: tuple[Hash, ...]
    lost: tuple[Hash, ...]  # rejected, timed out, or built on one that was: their transactions go back


class Pipeline:
    """A collator's candidates in flight: each builds on the one before, the first on the enacted head."""

    def __init__(self, chain: ChainId, depth: int = MAX_PIPELINE_DEPTH) -> None:
        self.chain = chain
        self.depth = min(depth, MAX_PIPELINE_DEPTH)
        self._flight: list[tuple[Hash, CandidateHeader]] = []

    def __len__(self) -> int:
        return len(self._flight)

    def tip(self, chain: ChainView) -> Tip:
        """What the next candidate builds on."""
        tip = chain.tip
        for candidate, header in self._flight:
            tip = tip_after(tip, header, candidate)
        return tip

    @property
    def full(self) -> bool:
        """Whether another candidate has to wait for an enactment."""
        return len(self._flight) >= self.depth

    def add(self, header: CandidateHeader) -> None:
        """A candidate was finished and is being offered."""
        self._flight.append((header.hash, header))

    def advance(self, chain: ChainView, relay_height: Height, window: int) -> Progress:
        """Drop what the relay state enacted, and everything that can not be enacted any more.

        `window` is the network's `relay_parent_window`.
        """
        heads = [candidate for candidate, _ in self._flight]
        done = heads.index(chain.tip.head) + 1 if chain.tip.head in heads else 0
        enacted = tuple(heads[:done])
        rest = self._flight[done:]
        if rest and not self._alive(rest[0], chain, relay_height, window):
            self._flight = []
            return Progress(enacted=enacted, lost=tuple(candidate for candidate, _ in rest))
        self._flight = rest
        return Progress(enacted=enacted, lost=())

    @staticmethod
    def _alive(
        first: tuple[Hash, CandidateHeader], chain: ChainView, relay_height: Height, window: int
    ) -> bool:
        candidate, header = first
        return (
            header.parent_head == chain.tip.head
            and candidate not in chain.rejected
            and header.relay_parent_height + window > relay_height
        )
