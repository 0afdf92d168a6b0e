"""Lanes: queues of messages from one source to one destination (DESIGN.md sections 3 and 7).

Kept in the relay state as one record a lane and one leaf a message, numbered from 0 without gaps. A message
is in the state from when it is sent until it is delivered or consumed, and it is never in twice: exactly
once, in order. A lane has credit in messages and in bytes; a lane without credit refuses, so that the
*sending* call fails and nothing that was accepted is ever lost.

Lanes to an instance that hold messages share one queue, each of them in it once, from which each block takes
a bounded number of turns: one message, and the lane goes to the queue's end if it holds more. A lane whose
delivery has to wait (its answer finds a full lane, its payer is out of funds) rests for twice as long each
time and passes its turns: however much it holds, it costs the others one entry in the queue.
Lanes to a chain wait until a candidate of the chain consumes them by cursor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, Protocol

from consensus.primitives.codec import U8, U32, U64, MaxLength, decode, encode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.guest import (
    MAX_MESSAGE_BYTES,
    ChainEndpoint,
    Endpoint,
    InboxSource,
    InstanceEndpoint,
    Outgoing,
    RelayEndpoint,
)
from consensus.primitives.ids import ChainId, Hash, Height
from consensus.primitives.tree import tree_key

MAX_INBOX_LANES: Final = 33  # that lead to one chain: two for each module, and the relay chain's
MAX_REST_DOUBLINGS: Final = 10  # a resting lane is tried at least every 2**10 blocks
_RECORD_LIMIT: Final = 64 * 1024
_QUEUE_KEY: Final = tree_key(b"relay", b"deliveries")

LaneSource = Endpoint | RelayEndpoint


class Records(Protocol):
    """The state that lanes live in: an overlay of the relay tree."""

    def read(self, key: Hash) -> bytes | None:
        """The current value under a tree key."""
        ...

    def write(self, key: Hash, value: bytes | None) -> None:
        """Set or delete it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimits:
    """The credit of every lane: undelivered messages and their payload bytes."""

    messages: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRecord:
    """One lane: messages `delivered` up to, not including, `sent` are in the state."""

    source: LaneSource
    destination: Endpoint
    sent: U64 = 0
    delivered: U64 = 0
    queued_bytes: U32 = 0
    rests_until: U64 = 0  # relay height before which no delivery is tried
    postponed: U8 = 0  # times in a row that the first message had to wait


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneMessage:
    """A message under way; `payer` is the chain that pays for what its delivery sends on (0: nobody)."""

    payload: Annotated[bytes, MaxLength(MAX_MESSAGE_BYTES)]
    payer: U32


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxRecord:
    """The sources of all lanes that lead to a chain, in `lane_order`."""

    sources: Annotated[tuple[InboxSource, ...], MaxLength(MAX_INBOX_LANES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRecord:
    """Lanes to instances that hold messages, by id: entries `first` up to, not including, `next`."""

    first: U64 = 0
    next: U64 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The next message of a lane to an instance."""

    lane_id: Hash
    lane: LaneRecord
    sequence: int
    message: LaneMessage


def lane_id(source: LaneSource, destination: Endpoint) -> Hash:
    """Names a lane."""
    return hash_tagged(b"PHALANX/lane/1", encode(source), encode(destination))


def lane_key(lane: Hash) -> Hash:
    """Where a lane's record is in the relay tree."""
    return tree_key(b"lane", lane)


def message_key(lane: Hash, sequence: int) -> Hash:
    """Where a lane's `sequence`-th message is in the relay tree."""
    return tree_key(b"message", lane + sequence.to_bytes(8, "big"))


def inbox_key(chain: ChainId) -> Hash:
    """Where the list of lanes that lead to `chain` is in the relay tree."""
    return tree_key(b"inbox", chain.to_bytes(4, "big"))


def _entry_key(position: int) -> Hash:
    return tree_key(b"delivery", position.to_bytes(8, "big"))


def lane_order(source: InboxSource) -> tuple[bytes, int]:
    """Sort key of the lanes that lead to one chain; fixes the order in which messages reach its guest: the
    relay chain's come before all others."""
    return (b"", 0) if isinstance(source, RelayEndpoint) else (source.module, source.chain)


class Lanes:
    """All lanes in one state. Methods that mutate assume that the matching check has passed."""

    __slots__ = ("_limits", "_records")

    def __init__(self, records: Records, limits: LaneLimits) -> None:
        self._records = records
        self._limits = limits

    # --- sending

    def has_credit(self, source: LaneSource, outgoing: Sequence[Outgoing]) -> bool:
        """Whether all these messages fit their lanes at once, and new lanes to chains find an inbox slot."""
        load: dict[Hash, tuple[int, int]] = {}
        new_sources: set[ChainId] = set()
        for each in outgoing:
            name = lane_id(source, each.destination)
            if name not in load:
                lane = self.lane(name)
                if lane is None and isinstance(each.destination, ChainEndpoint):
                    new_sources.add(each.destination.chain)
                load[name] = (0, 0) if lane is None else (lane.sent - lane.delivered, lane.queued_bytes)
            count, size = load[name]
            load[name] = count + 1, size + len(each.payload)
        if any(len(self.inbox(chain)) >= MAX_INBOX_LANES for chain in new_sources):
            return False
        return all(n <= self._limits.messages and size <= self._limits.bytes for n, size in load.values())

    def send(self, source: LaneSource, outgoing: Sequence[Outgoing], payer: int) -> None:
        """Put messages into their lanes, in order."""
        for each in outgoing:
            name = lane_id(source, each.destination)
            lane = self.lane(name)
            if lane is None:
                lane = LaneRecord(source=source, destination=each.destination)
                if isinstance(each.destination, ChainEndpoint) and not isinstance(source, ChainEndpoint):
                    self._list_in_inbox(each.destination.chain, source)
            message = LaneMessage(payload=each.payload, payer=payer)
            self._records.write(message_key(name, lane.sent), encode(message))
            self._write_lane(
                name, replace(lane, sent=lane.sent + 1, queued_bytes=lane.queued_bytes + len(each.payload))
            )
            if isinstance(each.destination, InstanceEndpoint) and lane.sent == lane.delivered:
                self._enqueue(name)

    # --- delivery to instances

    def deliveries_waiting(self) -> int:
        """How many lanes to instances hold messages."""
        queue = self._queue()
        return queue.next - queue.first

    def next_delivery(self, height: Height) -> Delivery | None:
        """Take the queue's first entry. None if its lane rests: the entry went to the end of the queue.

        The message stays in its lane until `acknowledge`; `postpone` gives the entry back.
        """
        queue = self._queue()
        key = _entry_key(queue.first)
        name = Hash(self._read(key))
        self._records.write(key, None)
        self._write_queue(replace(queue, first=queue.first + 1))
        lane = self._existing(name)
        if lane.rests_until > height:
            self._enqueue(name)
            return None
        message = decode(LaneMessage, self._read(message_key(name, lane.delivered)), limit=_RECORD_LIMIT)
        return Delivery(lane_id=name, lane=lane, sequence=lane.delivered, message=message)

    def acknowledge(self, delivery: Delivery) -> None:
        """The message was delivered, whatever came of it: it is gone."""
        lane = self._existing(delivery.lane_id)
        self._drop(delivery.lane_id, lane, 1)
        if lane.sent > lane.delivered + 1:
            self._enqueue(delivery.lane_id)

    def postpone(self, delivery: Delivery, height: Height) -> None:
        """The message waits in its place; its lane rests for 1, 2, 4 … blocks."""
        lane = self._existing(delivery.lane_id)
        rest = 1 << min(lane.postponed, MAX_REST_DOUBLINGS)
        times = min(lane.postponed + 1, MAX_REST_DOUBLINGS)
        self._write_lane(delivery.lane_id, replace(lane, rests_until=height + rest, postponed=times))
        self._enqueue(delivery.lane_id)

    # --- consumption by a chain's candidates

    def inbox(self, chain: ChainId) -> tuple[InboxSource, ...]:
        """The sources of the lanes that lead to `chain`, in `lane_order`."""
        raw = self._records.read(inbox_key(chain))
        return () if raw is None else decode(InboxRecord, raw, limit=_RECORD_LIMIT).sources

    def cursors(self, source: LaneSource, destination: Endpoint) -> tuple[int, int]:
        """`(delivered, sent)` of a lane; (0, 0) where none is yet."""
        lane = self.lane(lane_id(source, destination))
        return (0, 0) if lane is None else (lane.delivered, lane.sent)

    def messages(self, source: LaneSource, destination: Endpoint, first: int, next: int) -> list[bytes]:
        """The payloads numbered `first` up to `next` of a lane that holds them."""
        name = lane_id(source, destination)
        raw = (self._read(message_key(name, sequence)) for sequence in range(first, next))
        return [decode(LaneMessage, each, limit=_RECORD_LIMIT).payload for each in raw]

    def consume(self, source: LaneSource, destination: Endpoint, next: int) -> None:
        """The chain's enacted candidate consumed the lane up to `next`; those messages are gone."""
        name = lane_id(source, destination)
        lane = self._existing(name)
        self._drop(name, lane, next - lane.delivered)

    # --- records

    def lane(self, name: Hash) -> LaneRecord | None:
        """A lane's record, None before its first message."""
        raw = self._records.read(lane_key(name))
        return None if raw is None else decode(LaneRecord, raw, limit=_RECORD_LIMIT)

    def _existing(self, name: Hash) -> LaneRecord:
        return decode(LaneRecord, self._read(lane_key(name)), limit=_RECORD_LIMIT)

    def _drop(self, name: Hash, lane: LaneRecord, count: int) -> None:
        freed = 0
        for sequence in range(lane.delivered, lane.delivered + count):
            key = message_key(name, sequence)
            freed += len(decode(LaneMessage, self._read(key), limit=_RECORD_LIMIT).payload)
            self._records.write(key, None)
        self._write_lane(
            name,
            replace(
                lane,
                delivered=lane.delivered + count,
                queued_bytes=lane.queued_bytes - freed,
                rests_until=0,
                postponed=0,
            ),
        )

    def _list_in_inbox(self, chain: ChainId, source: InboxSource) -> None:
        sources = sorted({*self.inbox(chain), source}, key=lane_order)
        self._records.write(inbox_key(chain), encode(InboxRecord(sources=tuple(sources))))

    def _enqueue(self, name: Hash) -> None:
        queue = self._queue()
        self._records.write(_entry_key(queue.next), name)
        self._write_queue(replace(queue, next=queue.next + 1))

    def _queue(self) -> QueueRecord:
        raw = self._records.read(_QUEUE_KEY)
        return QueueRecord() if raw is None else decode(QueueRecord, raw, limit=_RECORD_LIMIT)

    def _write_queue(self, queue: QueueRecord) -> None:
        self._records.write(_QUEUE_KEY, encode(queue))

    def _write_lane(self, name: Hash, lane: LaneRecord) -> None:
        self._records.write(lane_key(name), encode(lane))

    def _read(self, key: Hash) -> bytes:
        raw = self._records.read(key)
        if raw is None:
            raise AssertionError(f"lanes: the state lacks {key.hex()}, which its own cursors promise")
        return raw
