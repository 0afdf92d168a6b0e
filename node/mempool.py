"""Relay transactions that wait for a block: each checked once, in nonce order per account, bounded.

What admission promises: the bytes are well formed, signed, for this network, pay the fee floor, and by the
newest executed state the sender can pay and the nonce is not used up. Whether it takes effect is decided by
the block that carries it. `CheckedTransaction`s stay in a cache after they leave the pool, so that the
signature of a transaction seen here is never checked again when a block brings it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from typing import Final

import trio

from consensus.primitives.errors import InvalidTransaction
from consensus.primitives.ids import Hash, PublicKey
from consensus.relay.fees import fuel_fee
from consensus.relay.ledger import AccountRecord
from consensus.relay.parameters import Parameters
from consensus.relay.rewards.transactions import ReleasePayment
from consensus.relay.stake.transactions import Bond, BondMore
from consensus.relay.transactions import (
    CallEnclave,
    CheckedTransaction,
    TopUpChain,
    TransactionBody,
    Transfer,
    check_transaction,
    transaction_hash,
)

INLINE_CHECKS: Final = 4  # signatures checked in the loop; a thread pays from half a millisecond of work
CHECK_SLICE: Final = 64  # signatures a thread checks before others get their turn
REPLACE_PERCENT: Final = 110  # of the old max_fee, to take over a nonce
PAYLOAD_OVERHEAD_BYTES: Final = 16  # what a payload adds to a single transaction, at most

AccountOf = Callable[[PublicKey], AccountRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class MempoolLimits:
    """Bounds of the pool."""

    transactions: int = 50_000
    bytes: int = 32 * 1024 * 1024
    per_account: int = 10_000
    cached: int = 100_000  # checked transactions remembered, in the pool or gone from it
    cached_bytes: int = 48 * 1024 * 1024


class CheckedCache:
    """Checked transactions by hash, the most recent ones; read from threads too."""

    def __init__(self, limits: MempoolLimits) -> None:
        self._limits = limits
        self._held: OrderedDict[Hash, CheckedTransaction] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, name: Hash) -> CheckedTransaction | None:
        """The transaction, if it was checked lately."""
        return self._held.get(name)

    def add(self, checked: CheckedTransaction) -> None:
        """Remember one; the oldest go."""
        if checked.hash in self._held:
            return
        self._held[checked.hash] = checked
        self._bytes += len(checked.raw)
        while len(self._held) > self._limits.cached or self._bytes > self._limits.cached_bytes:
            _, oldest = self._held.popitem(last=False)
            self._bytes -= len(oldest.raw)


class Mempool:
    """The pool of one node. Not thread-safe; signature checks run in threads by themselves."""

    def __init__(
        self, chain_id_hash: Hash, parameters: Parameters, limits: MempoolLimits | None = None
    ) -> None:
        self.limits: Final = limits or MempoolLimits()
        self.cache: Final = CheckedCache(self.limits)
        self.bytes = 0
        self.refused = 0
        self._chain_id_hash = chain_id_hash
        self._parameters = parameters
        # Senders in the order in which they get turns, each with what it has waiting, by nonce.
        self._accounts: OrderedDict[PublicKey, dict[int, CheckedTransaction]] = OrderedDict()
        self._by_length: dict[int, dict[PublicKey, None]] = {}  # senders, by how much they have waiting
        self._costs: dict[Hash, int] = {}  # of every transaction in the pool: what its sender must have
        self._limiter = trio.CapacityLimiter(1)

    def __len__(self) -> int:
        return len(self._costs)

    def __contains__(self, name: Hash) -> bool:
        return name in self._costs

    # --- the stateless check

    async def check(self, raws: Sequence[bytes]) -> list[CheckedTransaction | InvalidTransaction]:
        """Check form, network and signature of each, or say what is wrong with it."""
        if len(raws) <= INLINE_CHECKS and sum(map(len, raws)) <= 64 * 1024:
            return self._check_blocking(raws)
        results: list[CheckedTransaction | InvalidTransaction] = []
        for start in range(0, len(raws), CHECK_SLICE):
            some = raws[start : start + CHECK_SLICE]
            results += await trio.to_thread.run_sync(self._check_blocking, some, limiter=self._limiter)
        return results

    def _check_blocking(self, raws: Sequence[bytes]) -> list[CheckedTransaction | InvalidTransaction]:
        results: list[CheckedTransaction | InvalidTransaction] = []
        for raw in raws:
            known = self.cache.get(transaction_hash(raw))
            try:
                results.append(known or check_transaction(raw, self._chain_id_hash))
            except InvalidTransaction as error:
                results.append(error)
        return results

    # --- admission

    def admit(self, checked: CheckedTransaction, account_of: AccountOf) -> None:
        """Take a checked transaction in. Raises InvalidTransaction with one sentence; then nothing changed.

        `account_of` reads the newest executed state. Admitting what is in the pool again is no error.
        """
        if checked.hash in self._costs:
            return
        body = checked.body
        account = account_of(body.sender)
        reason = self._refusal(checked, account)
        if reason is not None:
            self.refused += 1
            raise InvalidTransaction(reason)
        self.cache.add(checked)
        queue = self._accounts.get(body.sender)
        if queue is None:
            queue = self._accounts[body.sender] = {}
        before = len(queue)
        replaced = queue.get(body.nonce)
        if replaced is not None:
            self._forget(replaced)
        queue[body.nonce] = checked
        self._has_waiting(body.sender, before, len(queue))
        self._costs[checked.hash] = self._cost(checked)
        self.bytes += len(checked.raw)

    def _refusal(self, checked: CheckedTransaction, account: AccountRecord) -> str | None:
        body = checked.body
        if checked.weight > self._parameters.max_block_weight:
            return f"it weighs {checked.weight}, but a block at most {self._parameters.max_block_weight}"
        if len(checked.raw) + PAYLOAD_OVERHEAD_BYTES > self._parameters.max_block_bytes:
            return f"it has {len(checked.raw)} bytes, too many for a block"
        if body.nonce < account.nonce:
            return f"nonce {body.nonce} is used up: the account's next nonce is {account.nonce}"
        if body.nonce >= account.nonce + self.limits.per_account:
            return f"nonce {body.nonce} is too far ahead: the account's next nonce is {account.nonce}"
        floor = self.fee_floor(checked)
        if body.max_fee < floor:
            return f"max_fee {body.max_fee} is too low: this transaction costs at least {floor}"
        needed = self._cost(checked)
        if account.balance < needed:
            return f"the sender has {account.balance} units, but fee and amount come to {needed}"
        queue = self._accounts.get(body.sender, {})
        held = queue.get(body.nonce)
        if held is not None:
            if body.max_fee * 100 < held.body.max_fee * REPLACE_PERCENT:
                return (
                    f"nonce {body.nonce} is taken by {held.hash.hex()}: replacing it takes a max_fee of"
                    f" {-(-held.body.max_fee * REPLACE_PERCENT // 100)}"
                )
            if self.bytes + len(checked.raw) - len(held.raw) > self.limits.bytes:
                return "the mempool is full: try again later"
            return None
        return self._make_room(len(checked.raw), len(queue))

    def _make_room(self, size: int, own: int) -> str | None:
        """Evict from the longest queues, never from one that is as short as the newcomer's would be.

        Who goes is known before anything goes: what is refused must not have cost others their place.
        """
        count, held_bytes = len(self._costs), self.bytes
        if count < self.limits.transactions and held_bytes + size <= self.limits.bytes:
            return None
        long_queues = (
            (length, who)
            for length in sorted((each for each in self._by_length if each > own + 1), reverse=True)
            for who in self._by_length[length]
        )
        next_whole = next(long_queues, None)
        cut: list[tuple[int, PublicKey]] = []  # a heap: how many a queue would have left, negated
        nonces: dict[PublicKey, list[int]] = {}
        victims: list[CheckedTransaction] = []
        while count >= self.limits.transactions or held_bytes + size > self.limits.bytes:
            if next_whole is not None and (not cut or next_whole[0] >= -cut[0][0]):
                length, who = next_whole
                next_whole = next(long_queues, None)
                last = max(self._accounts[who])
            elif cut:
                negated, who = heappop(cut)
                length = -negated
                if who not in nonces:
                    nonces[who] = sorted(self._accounts[who])[:-1]
                last = nonces[who].pop()
            else:
                return "the mempool is full: try again later"
            victim = self._accounts[who][last]
            victims.append(victim)
            count -= 1
            held_bytes -= len(victim.raw)
            if length - 1 > own + 1:
                heappush(cut, (1 - length, who))
        for victim in victims:
            self._remove(victim)
        return None

    def fee_floor(self, checked: CheckedTransaction) -> int:
        """Units that carrying the transaction costs at least (`relay.actions`)."""
        floor = self._parameters.base_fee + self._parameters.byte_fee * len(checked.raw)
        action = checked.body.action
        if isinstance(action, CallEnclave | ReleasePayment):
            floor += fuel_fee(self._parameters, action.fuel_limit)
        return floor

    def _cost(self, checked: CheckedTransaction) -> int:
        """What its sender must have for the transaction to take its full effect."""
        return self.fee_floor(checked) + _moved(checked.body)

    # --- blocks

    def select(
        self,
        accounts: Callable[[Sequence[PublicKey]], Sequence[AccountRecord]],
        *,
        max_bytes: int,
        max_weight: int,
        max_transactions: int,
    ) -> list[CheckedTransaction]:
        """Transactions for a block, runs of consecutive nonces, senders taking turns as they arrived.

        `accounts` reads the state that the block builds on. A run ends where the sender's balance does: what
        it could not pay for would be void, and fill the block for nothing. Nothing is taken out: a
        transaction leaves once a final block has carried it.
        """
        chosen: list[CheckedTransaction] = []
        turns = iter(self._accounts)
        passed: list[PublicKey] = []
        while some := list(islice(turns, CHECK_SLICE)):
            for sender, account in zip(some, accounts(some), strict=True):
                queue = self._accounts[sender]
                nonce, balance = account.nonce, account.balance
                while (each := queue.get(nonce)) is not None:
                    balance -= self._costs[each.hash]
                    if balance < 0:
                        break
                    size = len(each.raw) + 5
                    if len(chosen) >= max_transactions or size > max_bytes or each.weight > max_weight:
                        break
                    max_bytes -= size
                    max_weight -= each.weight
                    chosen.append(each)
                    nonce += 1
            if len(chosen) >= max_transactions or max_weight < 50 or max_bytes < 256:
                for sender in passed:  # the others come first next time
                    self._accounts.move_to_end(sender)
                break
            passed += some
        return chosen

    def next_nonce(self, sender: PublicKey, first: int) -> int:
        """The lowest nonce from `first`, the account's next, that no waiting transaction has."""
        queue = self._accounts.get(sender, {})
        while first in queue:
            first += 1
        return first

    def govern(self, parameters: Parameters) -> None:
        """What transactions cost from here on: what waits is judged by it when it is executed."""
        self._parameters = parameters

    def advance(self, transactions: Iterable[CheckedTransaction], account_of: AccountOf) -> None:
        """A final block was executed: drop what its senders' nonces have passed or can not pay any more.

        Only sending lowers a balance, so only the block's senders are looked at.
        """
        for sender in {each.body.sender for each in transactions}:
            queue = self._accounts.get(sender)
            if queue is None:
                continue
            account = account_of(sender)
            for each in list(queue.values()):
                if each.body.nonce < account.nonce or self._costs[each.hash] > account.balance:
                    self._remove(each)

    def _remove(self, checked: CheckedTransaction) -> None:
        sender = checked.body.sender
        self._forget(checked)
        queue = self._accounts[sender]
        del queue[checked.body.nonce]
        self._has_waiting(sender, len(queue) + 1, len(queue))
        if not queue:
            del self._accounts[sender]

    def _has_waiting(self, sender: PublicKey, before: int, now: int) -> None:
        """A sender has another number of transactions waiting."""
        if before == now:
            return
        if before:
            del self._by_length[before][sender]
            if not self._by_length[before]:
                del self._by_length[before]
        if now:
            self._by_length.setdefault(now, {})[sender] = None

    def _forget(self, checked: CheckedTransaction) -> None:
        self._costs.pop(checked.hash, None)
        self.bytes -= len(checked.raw)


def _moved(body: TransactionBody) -> int:
    action = body.action
    return action.amount if isinstance(action, Transfer | TopUpChain | Bond | BondMore) else 0
