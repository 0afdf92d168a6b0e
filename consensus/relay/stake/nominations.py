"""Nominations in a ledger: which validators, and which pools answer for them in which epoch.

A nomination's stake in an epoch, for elections and for offences alike, is what is in the pools that answer:

    MAIN(n)              every epoch
    LEAVING(n, e)        up to e
    MOVING(n, m, e)      up to e for n, from e + 1 on for m

A pool whose wait is over is no longer listed where it left from: nobody can prove an offence of its epochs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from consensus.primitives.ids import Epoch, Hash, PublicKey
from consensus.relay.ledger import Ledger
from consensus.relay.stake.holdings import Holdings
from consensus.relay.stake.leaving import stride, wait_is_over
from consensus.relay.stake.records import (
    MAX_LEAVING,
    MAX_MOVES,
    Move,
    NominationRecord,
    leaving_pool,
    main_pool,
    moving_pool,
    nomination_index_key,
    nomination_key,
    nomination_name,
)

MAX_TIDIED: Final = 4  # pools that one action merges along the way, at either end of a move


class Nominations:
    """The nominations of a ledger. Methods that write assume that their checks have passed."""

    __slots__ = ("_holdings", "_ledger")

    def __init__(self, ledger: Ledger, holdings: Holdings) -> None:
        self._ledger = ledger
        self._holdings = holdings

    # --- reading

    def get(self, name: Hash) -> NominationRecord | None:
        """A nomination by its name."""
        return self._ledger.record(NominationRecord, nomination_key(name))

    def existing(self, name: Hash) -> NominationRecord:
        """A nomination that the state names elsewhere."""
        return self._ledger.existing(NominationRecord, nomination_key(name))

    def shared(self) -> Iterator[tuple[Hash, NominationRecord]]:
        """Those of several validators, in the order of their numbers."""
        for number in range(1, self._holdings.totals.nominations + 1):
            name = Hash(self._raw_name(number))
            yield name, self.existing(name)

    def live(self, name: Hash, *, now: Epoch, now_ms: int) -> NominationRecord | None:
        """A nomination without what waited long enough: as `tidy` would leave it, had it no limit."""
        record = self.get(name)
        if record is None:
            return None
        return replace(
            record,
            leaving=tuple(each for each in record.leaving if not self._is_over(each, now, now_ms)),
            outgoing=tuple(each for each in record.outgoing if not self._is_over(each.epoch, now, now_ms)),
            incoming=tuple(each for each in record.incoming if not self._is_over(each.epoch, now, now_ms)),
        )

    def answering(self, name: Hash, epoch: Epoch) -> list[Hash]:
        """The pools that answer for a nomination in an epoch, the main one first; not all need exist."""
        record = self.get(name)
        if record is None:
            return []
        return [
            main_pool(name),
            *(leaving_pool(name, each) for each in record.leaving if epoch <= each),
            *(moving_pool(name, each.other, each.epoch) for each in record.outgoing if epoch <= each.epoch),
            *(moving_pool(each.other, name, each.epoch) for each in record.incoming if epoch > each.epoch),
        ]

    def leaving_epoch(self, record: NominationRecord, last_epoch: Epoch) -> Epoch | None:
        """The last epoch of the pool that takes stake which may leave after `last_epoch`: one that waits
        already, or a new one, a little later than needed if many wait. None if there is no room."""
        step = stride(len(record.leaving))
        for each in record.leaving:
            if last_epoch <= each < last_epoch + step:
                return each
        if len(record.leaving) == MAX_LEAVING:
            return None
        return Epoch(-(-last_epoch // step) * step)

    def has_room(self, source: NominationRecord, target: NominationRecord | None, move: Move) -> bool:
        """Whether stake may move: `move` as `source` would list it, no `target` if it is to be opened."""
        if move in source.outgoing:
            return True
        return len(source.outgoing) < MAX_MOVES and (target is None or len(target.incoming) < MAX_MOVES)

    # --- writing

    def open_own(self, account: PublicKey) -> None:
        """Enter the nomination of one validator alone."""
        self._open((account,), 0)

    def open_shared(self, validators: Iterable[PublicKey]) -> None:
        """Enter the nomination of several validators."""
        totals = self._holdings.totals
        number = totals.nominations + 1
        self._holdings.totals = replace(totals, nominations=number)
        self._open(tuple(sorted(validators)), number)

    def list_leaving(self, name: Hash, epoch: Epoch) -> None:
        """Note that stake leaves after an epoch."""
        record = self.existing(name)
        if epoch not in record.leaving:
            self._put(name, replace(record, leaving=tuple(sorted((*record.leaving, epoch)))))

    def list_move(self, name: Hash, to: Hash, epoch: Epoch) -> None:
        """Note at both ends that stake moves after an epoch."""
        source, target = self.existing(name), self.existing(to)
        out, into = Move(other=to, epoch=epoch), Move(other=name, epoch=epoch)
        if out not in source.outgoing:
            self._put(name, replace(source, outgoing=_in_order((*source.outgoing, out))))
            self._put(to, replace(target, incoming=_in_order((*target.incoming, into))))

    def settle_move(self, name: Hash, to: Hash, epoch: Epoch) -> None:
        """The wait of a move is over: its stake is its target's for good, and its pool is listed nowhere."""
        pool = moving_pool(name, to, epoch)
        if self._holdings.pool(pool) is not None:
            self._holdings.merge(pool)
        source, target = self.get(name), self.get(to)
        if source is not None:
            out = Move(other=to, epoch=epoch)
            self._put(name, replace(source, outgoing=tuple(x for x in source.outgoing if x != out)))
        if target is not None:
            into = Move(other=name, epoch=epoch)
            self._put(to, replace(target, incoming=tuple(x for x in target.incoming if x != into)))
        self._close(name)
        self._close(to)

    def tidy(self, name: Hash, *, now: Epoch, now_ms: int) -> None:
        """Forget what waited long enough in a nomination, a few moves at a time; and the nomination itself,
        if several validators share it and nothing is left that could answer."""
        record, live = self.get(name), self.live(name, now=now, now_ms=now_ms)
        if record is None or live is None:
            return
        if live.leaving != record.leaving:
            self._put(name, replace(record, leaving=live.leaving))
        for each in [each for each in record.outgoing if each not in live.outgoing][:MAX_TIDIED]:
            self.settle_move(name, each.other, each.epoch)
        for each in [each for each in record.incoming if each not in live.incoming][:MAX_TIDIED]:
            self.settle_move(each.other, name, each.epoch)
        self._close(name)

    # --- inside

    def _open(self, validators: tuple[PublicKey, ...], number: int) -> None:
        name = nomination_name(validators)
        record = NominationRecord(validators=validators, number=number, leaving=(), outgoing=(), incoming=())
        self._put(name, record)
        if number:
            self._ledger.write(nomination_index_key(number), name)

    def _put(self, name: Hash, record: NominationRecord) -> None:
        self._ledger.put(nomination_key(name), record)

    def _close(self, name: Hash) -> None:
        record = self.get(name)
        if record is None or not record.number or record.leaving or record.outgoing or record.incoming:
            return
        main = self._holdings.pool(main_pool(name))
        if main is not None and main.shares:
            return
        totals = self._holdings.totals
        last = Hash(self._raw_name(totals.nominations))
        if last != name:  # the last takes the number that becomes free
            self._put(last, replace(self.existing(last), number=record.number))
            self._ledger.write(nomination_index_key(record.number), last)
        self._ledger.write(nomination_index_key(totals.nominations), None)
        self._ledger.write(nomination_key(name), None)
        self._holdings.totals = replace(totals, nominations=totals.nominations - 1)
        self._holdings.forget_main(name)

    def _is_over(self, epoch: Epoch, now: Epoch, now_ms: int) -> bool:
        return wait_is_over(self._ledger, epoch, self._ledger.parameters, now=now, now_ms=now_ms)

    def _raw_name(self, number: int) -> bytes:
        raw = self._ledger.read(nomination_index_key(number))
        if raw is None:
            raise AssertionError(f"the state has no nomination with number {number}")
        return raw


def _in_order(moves: Iterable[Move]) -> tuple[Move, ...]:
    return tuple(sorted(moves, key=lambda each: (each.epoch, each.other)))
