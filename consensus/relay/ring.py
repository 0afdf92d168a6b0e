"""Queues in the state: first in, first out, one leaf an entry and one for where it begins and ends.

Whatever a block has to do later, a bounded number of things at a time, waits in one of these.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Protocol

from consensus.primitives.codec import U64, decode, encode
from consensus.primitives.ids import Hash
from consensus.primitives.tree import tree_key


class Readable(Protocol):
    """A state that queues are in."""

    def read(self, key: Hash) -> bytes | None:
        """The current value under a tree key."""
        ...


class Records(Readable, Protocol):
    """The state that queues live in: an overlay of the relay tree."""

    def write(self, key: Hash, value: bytes | None) -> None:
        """Set or delete it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RingRecord:
    """Entries `first` up to, not including, `next` wait."""

    first: U64 = 0
    next: U64 = 0


class Ring:
    """The queue called `name` in one state. An entry is at most a few hundred bytes of any content."""

    __slots__ = ("_key", "_name", "_records")

    def __init__(self, records: Records, name: bytes) -> None:
        self._records = records
        self._name: Final = name
        self._key: Final = _key_of(name)

    def __len__(self) -> int:
        record = self._record()
        return record.next - record.first

    def push(self, entry: bytes) -> None:
        """Add an entry at the end."""
        record = self._record()
        self._records.write(self._entry_key(record.next), entry)
        self._write(replace(record, next=record.next + 1))

    def first(self) -> bytes | None:
        """The oldest entry; None where the queue is empty."""
        record = self._record()
        return None if record.first == record.next else self._entry(record.first)

    def pop(self) -> bytes:
        """Take the oldest entry of a queue that was checked to have one."""
        record = self._record()
        entry = self._entry(record.first)
        self._records.write(self._entry_key(record.first), None)
        self._write(replace(record, first=record.first + 1))
        return entry

    def entries(self, limit: int) -> Iterator[bytes]:
        """The oldest `limit` entries, in order."""
        record = self._record()
        for position in range(record.first, min(record.next, record.first + limit)):
            yield self._entry(position)

    def newest(self, limit: int) -> Iterator[bytes]:
        """The newest `limit` entries, the newest first."""
        record = self._record()
        for position in reversed(range(max(record.first, record.next - limit), record.next)):
            yield self._entry(position)

    def _record(self) -> RingRecord:
        return _record_at(self._records, self._key)

    def _write(self, record: RingRecord) -> None:
        self._records.write(self._key, encode(record))

    def _entry(self, position: int) -> bytes:
        raw = self._records.read(self._entry_key(position))
        if raw is None:
            raise AssertionError(f"ring {self._name!r}: no entry {position}, which its own record promises")
        return raw

    def _entry_key(self, position: int) -> Hash:
        return tree_key(b"ring-entry", self._name + position.to_bytes(8, "big"))


def is_waiting(state: Readable, name: bytes) -> bool:
    """Whether anything waits in the queue called `name`."""
    record = _record_at(state, _key_of(name))
    return record.first != record.next


def _record_at(state: Readable, key: Hash) -> RingRecord:
    raw = state.read(key)
    return RingRecord() if raw is None else decode(RingRecord, raw, limit=64)


def _key_of(name: bytes) -> Hash:
    return tree_key(b"ring", name)
