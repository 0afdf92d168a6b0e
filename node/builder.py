"""A leader's payload: what waits in the mempool and the candidates that can be included.

With nothing to say the answer may wait up to `idle_interval`, so that an idle network does not spin
(DESIGN.md section 4); others' votes are nothing to hurry for. It never waits while the parent's effects are
not yet under a final root, because a receipt becomes provable only with the next header. A tail is built at
once, out of nothing: it is there to make the boundary block final (CONSENSUS.md section 14).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from consensus.agreement.events import BuildPayload, PayloadBuilt
from consensus.agreement.evidence import Evidence
from consensus.candidates.receipts import Attestation, CandidateInclusion
from consensus.candidates.view import RelayView
from consensus.primitives.codec import decode, encode
from consensus.primitives.ids import ZERO_HASH, Hash, Height, PublicKey
from consensus.primitives.tree import get_many
from consensus.relay.blocks import (
    EMPTY_PAYLOAD,
    EVIDENCE_WEIGHT,
    BlockLimits,
    candidate_weight,
    encode_payload,
)
from consensus.relay.epochs import current_set, epoch_of
from consensus.relay.ledger import RECORD_LIMIT, AccountRecord, account_key
from consensus.relay.offences.judging import Bench, choose_evidence
from consensus.relay.offences.verdicts import choose_statements
from consensus.relay.rewards.participation import open_sample
from consensus.relay.rewards.votes import VoteInclusion, votes_weight
from consensus.relay.views import StateView
from node.executor import Executed, Executor
from node.mempool import Mempool
from node.vote_book import VoteBook

Includable = Callable[[RelayView, int], Sequence[CandidateInclusion]]
HEADROOM_BYTES = 64
_NOBODY: Final = AccountRecord(balance=0, nonce=0)


@dataclass(slots=True)
class _Pending:
    request: BuildPayload
    parent: Executed
    due_us: int


class PayloadBuilder:
    """Answers `BuildPayload`, one at a time: a newer request replaces one that still waits."""

    def __init__(
        self,
        *,
        executor: Executor,
        mempool: Mempool,
        limits: BlockLimits,
        idle_interval_us: int,
        includable: Includable,
        evidence: Callable[[], Sequence[Evidence]],
        statements: Callable[[], Sequence[Attestation]],
        votes: VoteBook,
        answer: Callable[[PayloadBuilt], None],
    ) -> None:
        """`evidence`: what is known and not yet settled by a final block, in the order to include it in.
        `statements`: what validators signed against a verdict. `votes`: what came in of those that blocks
        may carry."""
        self._executor = executor
        self._mempool = mempool
        self._limits = limits
        self._idle_interval_us = idle_interval_us
        self._includable = includable
        self._evidence = evidence
        self._statements = statements
        self._votes = votes
        self._answer = answer
        self._pending: _Pending | None = None
        self._request: BuildPayload | None = None

    @property
    def due_us(self) -> int | None:
        """When a waiting payload must be built even if it is empty."""
        return None if self._pending is None else self._pending.due_us

    def request(self, request: BuildPayload, now_us: int) -> None:
        """Build as soon as the parent is executed and there is something to say."""
        self._request, self._pending = request, None
        self._executor.when_executed(request.parent_hash, lambda: self._parent_ready(request, now_us))

    def _parent_ready(self, request: BuildPayload, now_us: int) -> None:
        if self._request is not request:
            return
        parent = self._executor.executed(request.parent_hash)
        if parent is None:
            raise RuntimeError("the parent of a payload was executed without a result")
        self._pending = _Pending(request, parent, now_us + self._idle_interval_us)
        self.poll(now_us)

    def poll(self, now_us: int) -> None:
        """Look again: something may have come in, or the wait is over."""
        pending = self._pending
        if pending is None:
            return
        request = pending.request
        payload, count, urgent = (b"", 0, True) if request.tail else self._build(pending)
        if not urgent and now_us < pending.due_us and not self._has_unproved(pending.parent):
            return
        self._pending = self._request = None
        self._answer(
            PayloadBuilt(
                view=request.view,
                parent_hash=request.parent_hash,
                payload=payload,
                tx_count=count,
                state_root=pending.parent.post_root,
                next_validators_hash=self._next_validators(pending),
            )
        )

    @staticmethod
    def _next_validators(pending: _Pending) -> Hash:
        if not pending.request.boundary:
            return ZERO_HASH
        if pending.parent.next_set is None:
            raise RuntimeError("the parent of a boundary block was executed without the next epoch's set")
        return pending.parent.next_set.validators_hash

    def _build(self, pending: _Pending) -> tuple[bytes, int, bool]:
        """The payload, how many transactions it has, and whether it is worth hurrying for."""
        if pending.request.empty:
            return EMPTY_PAYLOAD, 0, False
        parent, limits = pending.parent, self._limits
        view = StateView(
            nodes=self._executor.nodes,
            root=parent.post_root,
            height=parent.header.height,
            block=parent.hash,
            time_ms=parent.header.time_ms,
        )
        bench = Bench(
            state=view,
            chain_id_hash=limits.chain_id_hash,
            epoch=epoch_of(view.height + 1, view.parameters.epoch_blocks),
            time_ms=view.time_ms,
            verify=self._executor.signatures.verify,
        )
        evidence = choose_evidence(bench, self._evidence(), limits.max_evidence)
        statements = choose_statements(bench, self._statements(), limits.max_evidence)
        room = limits.max_bytes - HEADROOM_BYTES - sum(len(encode(each)) for each in (*evidence, *statements))
        weight = limits.max_weight - EVIDENCE_WEIGHT * (len(evidence) + len(statements))
        votes = self._asked_votes(view)
        if votes is not None and len(encode(votes)) <= room and votes_weight(votes) <= weight:
            room -= len(encode(votes))
            weight -= votes_weight(votes)
        else:
            votes = None
        candidates = list(self._includable(view, limits.max_candidates))
        room -= sum(len(encode(each)) for each in candidates)
        weight -= sum(map(candidate_weight, candidates))
        while candidates and (room < 0 or weight < 0):  # the last ones wait for the next block
            dropped = candidates.pop()
            room += len(encode(dropped))
            weight += candidate_weight(dropped)
        chosen = []
        if len(self._mempool):
            chosen = self._mempool.select(
                lambda accounts: self._accounts(parent, accounts),
                max_bytes=room,
                max_weight=weight,
                max_transactions=limits.max_transactions,
            )
        if not (chosen or candidates or evidence or statements or votes):
            return EMPTY_PAYLOAD, 0, False
        payload = encode_payload([each.raw for each in chosen], candidates, evidence, votes, statements)
        return payload, len(chosen), bool(chosen or candidates or evidence or statements)

    def _asked_votes(self, view: StateView) -> VoteInclusion | None:
        """Those that the state asks the next block for, as far as they came in."""
        height = Height(view.height + 1)
        epoch = epoch_of(height, view.parameters.epoch_blocks)
        sample = open_sample(view, epoch, height)
        if sample is None:
            return None
        chain_id_hash = self._limits.chain_id_hash
        return self._votes.inclusion(
            sample,
            epoch=epoch,
            validators=current_set(view, chain_id_hash=chain_id_hash, epoch=epoch),
            chain_id_hash=chain_id_hash,
            verify=self._executor.signatures.verify,
        )

    def _accounts(self, parent: Executed, accounts: Sequence[PublicKey]) -> list[AccountRecord]:
        raws = get_many(self._executor.nodes, parent.post_root, [account_key(each) for each in accounts])
        return [_NOBODY if raw is None else decode(AccountRecord, raw, limit=RECORD_LIMIT) for raw in raws]

    @staticmethod
    def _has_unproved(parent: Executed) -> bool:
        """Whether the parent did something that only the next header proves, or left calls to deliver."""
        checked = parent.checked
        return parent.calls_waiting > 0 or (
            checked is not None and bool(checked.transactions or checked.candidates or checked.evidence)
        )
