"""Executes relay blocks as soon as their body is known, parent first (DESIGN.md sections 3 and 4).

A light block (few transactions, no guest) is checked in the loop, and executed there by `work`, which the
driver calls once the turn's votes have left: it takes less than a hop to a thread would. A heavy one goes to
the one execution thread, in order. Results of blocks that are not yet durable are
kept by hash, a bounded number of them: the engine keeps at most 256 final blocks unpersisted, and only
children of executed blocks are ever validated. What waits for a parent goes when finality passes its height.

The state says who validates the next epoch, so this says it too: the results of the two blocks that end an
epoch carry that set, which the last of them must name (CONSENSUS.md section 14). A tail changes nothing and
is no block of the ledger: its result is its parent's state.

A fork that finality has left may lose the state under it at any moment, even while a block of it is being
executed: such a block is dropped, and the node goes on.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import trio

from consensus.agreement.messages import FLAG_BOUNDARY, FLAG_TAIL, Header
from consensus.agreement.validators import ValidatorSet
from consensus.primitives import crypto
from consensus.primitives.errors import InvalidBlock
from consensus.primitives.guest import GuestExecutor
from consensus.primitives.ids import Epoch, Hash, Height, PublicKey, Signature
from consensus.primitives.tree import MissingNode, NodeStore
from consensus.relay.blocks import BlockLimits, CheckedPayload, check_payload
from consensus.relay.epochs import Reads, current_set, is_boundary, next_set
from consensus.relay.ledger import Ledger
from consensus.relay.rewards.transactions import ReleasePayment
from consensus.relay.transactions import CallEnclave, CheckedTransaction, DeployEnclave, RegisterChain
from consensus.relay.transition import BlockContext, BlockResult, apply_block
from node.state_nodes import NodeOverlay

LIGHT_WEIGHT: Final = (
    800  # microseconds on the reference machine: below it, a thread costs more than it saves
)
LIGHT_BYTES: Final = 4 * 1024
VERIFIED_CACHE: Final = 8_192
MAX_WAITING: Final = 1_024  # blocks that may wait or be under way; final ones always may


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """A block and what it did; `checked` and `result` are None for a tail and for where this process began.

    `next_set`: of an epoch's last block and the one before it, the validators of the epoch that follows.
    """

    hash: Hash
    header: Header
    post_root: Hash
    calls_waiting: int  # messages that the next block delivers to instances
    checked: CheckedPayload | None = None
    result: BlockResult | None = None
    next_set: ValidatorSet | None = None


@dataclass(slots=True)
class _Job:
    """One block on its way: `answer` tells the engine, `then` is called once it is executed."""

    hash: Hash
    header: Header
    payload: bytes
    trusted: bool  # final: more than F honest validators have checked it
    answers: list[Callable[[bool, str], None]]
    verified: bool = False  # its transactions' signatures were checked here


class SignatureCache:
    """Votes and attestations are checked when they arrive, and again when a block carries them: that is free.

    The first is in the trio loop, the second in the thread that executes.
    """

    def __init__(self) -> None:
        self._good: OrderedDict[tuple[PublicKey, bytes, Signature], None] = OrderedDict()
        self._lock = threading.Lock()

    def verify(self, key: PublicKey, message: bytes, signature: Signature) -> bool:
        """`crypto.verify`, remembering what was good."""
        entry = (key, message, signature)
        if entry in self._good:
            return True
        if not crypto.verify(key, message, signature):
            return False
        with self._lock:
            if len(self._good) >= VERIFIED_CACHE:
                self._good.popitem(last=False)
            self._good[entry] = None
        return True


class Executor:
    """Validates and executes. All methods but `run` are called in the trio loop and never block."""

    def __init__(
        self,
        *,
        chain_id_hash: Hash,
        limits: BlockLimits,
        epoch: Epoch,
        epoch_blocks: int,
        validators: ValidatorSet,
        store: NodeStore,
        guests: GuestExecutor,
        known: Callable[[Hash], CheckedTransaction | None],
        remember: Callable[[CheckedTransaction], None],
        start: Executed,
    ) -> None:
        """`validators` are those of `epoch`, which the block after `start` belongs to.

        `known` and `remember` are the cache of checked transactions: a block often comes before the flood
        that carries its transactions here, and each signature is to be checked once."""
        self.nodes: Final = NodeOverlay(store)
        self.signatures: Final = SignatureCache()
        self.tip = start  # highest executed block of the final chain
        self.inline = 0
        self.threaded = 0
        self._chain_id_hash = chain_id_hash
        self._limits = limits
        self._epoch_blocks = epoch_blocks
        self._sets: dict[Epoch, ValidatorSet] = {epoch: validators}  # of the newest two epochs
        self._guests = guests
        self._known = known
        self._remember = remember
        self._done: dict[Hash, Executed] = {start.hash: start}
        self._jobs: dict[Hash, _Job] = {}
        self._waiting: dict[Hash, list[Callable[[], None]]] = {}  # block → who asked to be told
        self._children: dict[Hash, list[_Job]] = {}  # block → jobs that need its state
        self._invalid: dict[Hash, str] = {}
        self._light: deque[tuple[_Job, Executed, CheckedPayload]] = deque()
        self._heavy: deque[tuple[_Job, Executed]] = deque()
        self._more = trio.Event()

    # --- questions

    def executed(self, block: Hash) -> Executed | None:
        """The result of a block, once there is one."""
        return self._done.get(block)

    def when_executed(self, block: Hash, action: Callable[[], None]) -> None:
        """Call `action` once `block` is executed, at once if it is."""
        if block in self._done:
            action()
        else:
            self._waiting.setdefault(block, []).append(action)

    def __len__(self) -> int:
        """Blocks that wait, are under way, or are kept with their results."""
        return len(self._jobs) + len(self._done)

    # --- work

    def enter(self, epoch: Epoch, validators: ValidatorSet) -> None:
        """An epoch begins: its blocks come next, on the boundary block and not on its tails."""
        self._sets = {**self._sets, epoch: validators}
        self._sets.pop(Epoch(epoch - 2), None)
        for name in [name for name, each in self._done.items() if each.header.flags & FLAG_TAIL]:
            del self._done[name]

    def validate(
        self, block: Hash, header: Header, payload: bytes, answer: Callable[[bool, str], None]
    ) -> None:
        """Check a proposed block, and the state root it names for its parent; then execute it as well.

        `answer(valid, reason)` is called in this call if the parent is executed and the check is light.
        """
        if block in self._done:
            answer(True, "")
        elif block in self._invalid:
            answer(False, self._invalid[block])
        elif block in self._jobs:
            self._jobs[block].answers.append(answer)
        else:
            self._submit(_Job(block, header, payload, False, [answer]))

    def execute(self, block: Hash, header: Header, payload: bytes) -> None:
        """Execute a final block, unless that has been done or is under way."""
        job = self._jobs.get(block)
        if job is not None:
            job.trusted = True
        elif block not in self._done:
            self._submit(_Job(block, header, payload, True, []))

    def discard_below(self, height: Height, keep: Callable[[Hash], bool]) -> None:
        """Forget blocks at or below `height` except those to `keep`: durable ones and abandoned forks."""
        for name, each in list(self._done.items()):
            if each.header.height <= height and name != self.tip.hash and not keep(name):
                self._release(each)
                del self._done[name]
        for parent, children in list(self._children.items()):
            for job in [each for each in children if not each.trusted and each.header.height <= height]:
                self._drop(job)
                children.remove(job)
            if not children:
                del self._children[parent]
        for name in [each for each in self._waiting if each not in self._jobs]:
            if len(self._waiting) > 64:
                del self._waiting[name]
        while len(self._invalid) > 64:
            del self._invalid[next(iter(self._invalid))]

    def _release(self, each: Executed) -> None:
        if each.result is not None:
            self.nodes.release(each.result.new_nodes)

    def _submit(self, job: _Job) -> None:
        parent = job.header.parent_hash
        if parent in self._done:
            self._jobs[job.hash] = job
            self._begin(job)
        elif job.trusted or len(self._jobs) < MAX_WAITING:  # beyond, this node abstains
            self._jobs[job.hash] = job
            self._children.setdefault(parent, []).append(job)

    def _drop(self, job: _Job) -> None:
        """Finality went another way: nobody needs an answer any more."""
        del self._jobs[job.hash]
        self._waiting.pop(job.hash, None)

    def _is_lost(self, job: _Job) -> bool:
        """Whether `job` is on a fork that finality has left: it does not build on the tip."""
        at = self._done.get(job.header.parent_hash)
        while at is not None and at.header.height > self.tip.header.height:
            at = self._done.get(at.header.parent_hash)
        return not job.trusted and (at is None or at.hash != self.tip.hash)

    def _begin(self, job: _Job) -> None:
        parent = self._done[job.header.parent_hash]
        if job.header.flags & FLAG_TAIL:
            self._pass_over(job, parent)
            return
        turns = self._turns_epoch(job.header.height)
        if not turns and len(job.payload) <= LIGHT_BYTES and not parent.calls_waiting and not self._heavy:
            try:
                checked = self._check(job, parent)
            except InvalidBlock as error:
                self._reject(job, str(error))
                return
            if _is_light(checked):
                self._light.append((job, parent, checked))
                self._remember_all(job, checked)
                self._accept(job)  # the vote first: executing the block is not what it waits for
                return
        self._heavy.append((job, parent))
        self._more.set()

    def _pass_over(self, job: _Job, parent: Executed) -> None:
        """A tail: the engine has seen to it that it carries nothing."""
        if job.header.state_root != parent.post_root:
            self._reject(job, "the state root of a tail is not the parent's")
            return
        self._finish(job, replace(parent, hash=job.hash, header=job.header, checked=None, result=None))

    def _turns_epoch(self, height: int) -> bool:
        """Whether a block is one of the two that end an epoch: naming a set is dear, so not in the loop."""
        return is_boundary(height, self._epoch_blocks) or is_boundary(height + 1, self._epoch_blocks)

    def work(self, most: int) -> bool:
        """Execute up to `most` light blocks here and now; whether any are left."""
        for _ in range(most):
            if not self._light:
                return False
            job, parent, checked = self._light.popleft()
            if self._is_lost(job):
                self._drop(job)
                continue
            self.inline += 1
            self._finish(job, self._run(job, parent, checked))
        return bool(self._light)

    async def run(self) -> None:
        """Execute heavy blocks, one after the other, in a thread. Ends only by cancellation or a fault."""
        limiter = trio.CapacityLimiter(1)
        while True:
            while not self._heavy:
                self._more = trio.Event()
                await self._more.wait()
            job, parent = self._heavy[0]
            if self._is_lost(job):
                self._heavy.popleft()
                self._drop(job)
                continue
            self.threaded += 1
            try:
                checked = await trio.to_thread.run_sync(self._check, job, parent, limiter=limiter)
                self._remember_all(job, checked)
                self._accept(job)
                done = await trio.to_thread.run_sync(self._run, job, parent, checked, limiter=limiter)
            except InvalidBlock as error:
                self._reject(job, str(error))
            except MissingNode:
                if not self._is_lost(job):
                    raise
                self._drop(job)
            else:
                self._finish(job, done)
            self._heavy.popleft()

    def _check(self, job: _Job, parent: Executed) -> CheckedPayload:
        if job.header.state_root != parent.post_root:
            raise InvalidBlock(
                f"the state root {job.header.state_root.hex()[:16]} is not the parent's,"
                f" {parent.post_root.hex()[:16]}"
            )
        if job.header.flags & FLAG_BOUNDARY:
            expected = None if parent.next_set is None else parent.next_set.validators_hash
            if job.header.next_validators_hash != expected:
                raise InvalidBlock("next_validators_hash is not that of the set which the state elected")
        job.verified = not job.trusted
        verify = crypto.verify if job.verified else _trusted
        checked = check_payload(job.payload, self._limits, self._known, verify)
        if job.header.tx_count != len(checked.transactions):
            raise InvalidBlock("the header's tx_count is not the payload's")
        return checked

    def _run(self, job: _Job, parent: Executed, checked: CheckedPayload) -> Executed:
        header = job.header
        context = BlockContext(
            chain_id_hash=self._chain_id_hash,
            height=header.height,
            time_ms=header.time_ms,
            epoch=header.epoch,
            view=header.view,
            parent_hash=header.parent_hash,
            parent_view=header.parent_view,
            proposer=header.proposer,
            validators=self._sets[header.epoch],
            verify=self.signatures.verify,
        )
        result = apply_block(parent.post_root, context, checked, self.nodes, self._guests)
        following = None
        if self._turns_epoch(header.height):
            ledger = Ledger(_ResultNodes(result, self.nodes), result.post_root)
            following = set_after(ledger, self._chain_id_hash, header, job.hash, self._epoch_blocks)
        return Executed(
            hash=job.hash,
            header=header,
            post_root=result.post_root,
            calls_waiting=result.calls_waiting,
            checked=checked,
            result=result,
            next_set=following,
        )

    def _remember_all(self, job: _Job, checked: CheckedPayload) -> None:
        if job.verified:
            for each in checked.transactions:
                self._remember(each)

    def _accept(self, job: _Job) -> None:
        answers, job.answers = job.answers, []
        for answer in answers:
            answer(True, "")

    def _reject(self, job: _Job, reason: str) -> None:
        """`job` is invalid, and so is all that waits for it."""
        rejected = [(job, reason)]
        while rejected:
            job, reason = rejected.pop()
            del self._jobs[job.hash]
            if job.trusted:
                raise RuntimeError(
                    f"block {job.hash.hex()} at height {job.header.height} is final but invalid: {reason}"
                )
            self._invalid[job.hash] = reason
            for answer in job.answers:
                answer(False, reason)
            self._waiting.pop(job.hash, None)
            rejected += [(child, "its parent is invalid") for child in self._children.pop(job.hash, ())]

    def _finish(self, job: _Job, done: Executed) -> None:
        if done.result is not None:
            self.nodes.hold(done.result.new_nodes)
        self._done[job.hash] = done
        del self._jobs[job.hash]
        self._accept(job)  # who asked while it was being executed
        for child in self._children.pop(job.hash, ()):
            self._begin(child)
        for action in self._waiting.pop(job.hash, ()):
            action()


def _trusted(key: PublicKey, message: bytes, signature: Signature) -> bool:
    return True


def _is_light(checked: CheckedPayload) -> bool:
    return (
        checked.weight <= LIGHT_WEIGHT
        and not checked.candidates
        and not any(
            isinstance(each.body.action, CallEnclave | DeployEnclave | RegisterChain | ReleasePayment)
            for each in checked.transactions
        )
    )


def set_after(
    state: Reads, chain_id_hash: Hash, header: Header, block: Hash, epoch_blocks: int
) -> ValidatorSet | None:
    """The next epoch's validators, of the two blocks that end one; `state` is that after `block`."""
    following = Epoch(header.epoch + 1)
    if is_boundary(header.height, epoch_blocks):
        return current_set(state, chain_id_hash=chain_id_hash, epoch=following)
    if is_boundary(header.height + 1, epoch_blocks):
        return next_set(state, chain_id_hash=chain_id_hash, epoch=following, parent_hash=block)
    return None


class _ResultNodes:
    """A result's nodes over those it was built on, before they are held."""

    def __init__(self, result: BlockResult, nodes: NodeStore) -> None:
        self._new = result.new_nodes
        self._nodes = nodes

    def get(self, node_hash: Hash, /) -> bytes:
        node = self._new.get(node_hash)
        return self._nodes.get(node_hash) if node is None else node
