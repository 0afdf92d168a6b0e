"""A collator's transactions: those that wait, and how far each has come (DESIGN.md section 6).

The guest alone decides what is valid, so nothing is checked here but size and repetition. Order is kept: a
lost candidate's transactions go back to the front, where they came from.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from consensus.candidates.receipts import MAX_CHAIN_TRANSACTION_BYTES
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.errors import InvalidTransaction
from consensus.primitives.ids import Hash, Height
from node.api import ChainStage, ChainTransactionReport

MAX_WAITING: Final = 50_000
MAX_WAITING_BYTES: Final = 32 * 1024 * 1024
TRACKED: Final = 200_000  # transactions whose stage is remembered
_ENACTED: Final = frozenset({ChainStage.ENACTED, ChainStage.FINAL})


class ChainTransaction(NamedTuple):
    """A consumer chain's transaction, opaque to us, and its name."""

    name: Hash
    raw: bytes


def chain_transaction(raw: bytes) -> ChainTransaction:
    """The transaction with its hash."""
    return ChainTransaction(Hash(hash_tagged(b"PHALANX/chain-transaction/1", raw)), raw)


class ChainMempool:
    """Transactions that wait for a candidate, first come first served; and the names of those in one."""

    def __init__(self, most: int = MAX_WAITING, most_bytes: int = MAX_WAITING_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._waiting: OrderedDict[Hash, bytes] = OrderedDict()
        self._taken: set[Hash] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, transaction: ChainTransaction) -> bool:
        """Take one in; False if it is here already. Raises InvalidTransaction with one sentence.

        What a candidate has carried may come again: whether it takes effect twice is for the guest to say
        (by its nonces), and what failed because it came too early must not be locked out.
        """
        name, raw = transaction
        if not 0 < len(raw) <= MAX_CHAIN_TRANSACTION_BYTES:
            raise InvalidTransaction(
                f"a chain's transaction has 1 to {MAX_CHAIN_TRANSACTION_BYTES} bytes, this one {len(raw)}"
            )
        if name in self._waiting or name in self._taken:
            return False
        if len(self._waiting) >= self._most or self._bytes + len(raw) > self._most_bytes:
            raise InvalidTransaction("the collator's mempool is full: try again later")
        self._waiting[name] = raw
        self._bytes += len(raw)
        return True

    def take(self, most: int, most_bytes: int) -> list[ChainTransaction]:
        """The first ones, for a candidate; afterwards they are given back, or done."""
        chosen: list[ChainTransaction] = []
        while self._waiting and len(chosen) < most:
            name, raw = self._waiting.popitem(last=False)
            most_bytes -= len(raw)
            if most_bytes < 0:
                self._waiting[name] = raw
                self._waiting.move_to_end(name, last=False)
                break
            self._bytes -= len(raw)
            self._taken.add(name)
            chosen.append(ChainTransaction(name, raw))
        return chosen

    def give_back(self, transactions: Sequence[ChainTransaction]) -> None:
        """Their candidate is lost, or had no room: they are first again, in their order."""
        for name, raw in reversed(transactions):
            self._taken.discard(name)
            self._waiting[name] = raw
            self._waiting.move_to_end(name, last=False)
            self._bytes += len(raw)

    def restore(self, transactions: Iterable[ChainTransaction]) -> None:
        """A candidate that an earlier process built holds these."""
        self._taken.update(each.name for each in transactions)

    def remove(self, transactions: Iterable[ChainTransaction]) -> None:
        """Another collator's candidate carried these: they need not wait here."""
        for each in transactions:
            raw = self._waiting.pop(each.name, None)
            self._bytes -= 0 if raw is None else len(raw)

    def done(self, transactions: Iterable[ChainTransaction]) -> None:
        """Their candidate was enacted, or they were refused for good."""
        self._taken.difference_update(each.name for each in transactions)


@dataclass(slots=True)
class CandidateProgress:
    """How far the transactions of one candidate have come.

    `refused` has the guest's code of each transaction that took no effect; None if the guest tells none.
    """

    candidate: Hash
    height: Height
    refused: Mapping[Hash, int] | None
    stage: ChainStage = ChainStage.COLLATED

    def code(self, name: Hash) -> int | None:
        """What the guest says of one of them: 0 is done."""
        return None if self.refused is None else self.refused.get(name, 0)


def refused_among(transactions: Iterable[ChainTransaction], codes: bytes | None) -> dict[Hash, int] | None:
    """By name, the codes of those that took no effect however often the candidate carries them."""
    if codes is None:
        return None
    named = [(each.name, code) for each, code in zip(transactions, codes, strict=True)]
    done = {name for name, code in named if code == 0}
    return {name: code for name, code in named if name not in done}


class ChainProgress:
    """Stages of the latest `TRACKED` transactions.

    What took effect stays so: the same bytes may be sent again, and then be refused (for a used nonce).
    """

    def __init__(self, tracked: int = TRACKED) -> None:
        self._tracked = tracked
        self._places: OrderedDict[Hash, CandidateProgress | str] = OrderedDict()

    def accepted(self, transactions: Iterable[ChainTransaction]) -> None:
        """They wait in the mempool, for the first time or again."""
        for each in transactions:
            self._put(each.name, "")

    def refused(self, transaction: ChainTransaction, reason: str) -> None:
        """No candidate can carry it."""
        self._put(transaction.name, reason)

    def collated(self, transactions: Iterable[ChainTransaction], candidate: CandidateProgress) -> None:
        """`candidate` carries them; its stage is theirs from now on."""
        for each in transactions:
            self._put(each.name, candidate)

    def report(self, name: Hash) -> ChainTransactionReport:
        """Where a transaction stands."""
        place = self._places.get(name)
        if isinstance(place, CandidateProgress):
            return ChainTransactionReport(
                hash=name,
                stage=place.stage,
                candidate=place.candidate,
                height=place.height,
                code=place.code(name),
            )
        stage = ChainStage.UNKNOWN if place is None or place else ChainStage.ACCEPTED
        return ChainTransactionReport(hash=name, stage=stage, error=place or "")

    def _put(self, name: Hash, place: CandidateProgress | str) -> None:
        before = self._places.get(name)
        if isinstance(before, CandidateProgress) and before.code(name) == 0 and before.stage in _ENACTED:
            return
        self._places[name] = place
        if len(self._places) > self._tracked:
            self._places.popitem(last=False)
