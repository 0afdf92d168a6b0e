"""Frames in records: how payloads of several lanes share one encrypted stream. Pure.

    stream  = record*            record  = length (2 bytes, big-endian) ‖ Noise transport message
    message = sealed(segment*)   segment = tag (1) ‖ length (2, big-endian) ‖ data

The low four bits of a tag are the lane, or 15 for control; its top bit says that the segment ends its frame;
the other bits are zero. A frame is the concatenation of the segments of its lane up to one that ends it.
Segments of different lanes interleave freely, those of one lane do not.

Each record is filled at the moment when the socket can take it, from the highest lanes first. So whatever
is queued leaves in as few records as it fits in, and a vote waits for at most the one record that is on
its way (≤ 64 KiB), however large the frame is of which that record is a part.

Control: a ping, answered by a pong with the same token: kind (1) ‖ token (8).
One ping of each side is under way at a time.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

from net.errors import CorruptRecord, RemoteFault
from net.lanes import Lane
from net.limits import LaneLimit
from net.noise import PLAINTEXT_BYTES, TAG_BYTES, CipherState, NoiseError

LENGTH_BYTES: Final = 2
FINAL: Final = 0x80
LANE_MASK: Final = 0x0F
CONTROL: Final = 0x0F

_SEGMENT = Struct(">BH")
_CONTROL = Struct(">BQ")
_PING: Final = 1
_PONG: Final = 2
_LANES: Final = tuple(Lane)


class Frame(NamedTuple):
    """A whole frame, as it was sent."""

    lane: Lane
    payload: bytes


class Ping(NamedTuple):
    """The peer asks for a pong with the same token."""

    token: int


class Pong(NamedTuple):
    """The answer to our ping."""

    token: int


Received = Frame | Ping | Pong


@dataclass(slots=True)
class _Queue:
    """One lane on its way out."""

    limit: LaneLimit
    frames: deque[bytes]
    bytes_queued: int = 0
    sent_of_first: int = 0  # bytes of frames[0] that have left already


class Outbox:
    """What waits to be sent to one peer: a bounded queue for each lane, and the next record of it."""

    __slots__ = ("_control", "_queues", "_waiting")

    def __init__(self, limits: Mapping[Lane, LaneLimit]) -> None:
        self._queues: Final = [_Queue(limits[lane], deque()) for lane in _LANES]
        self._control: deque[bytes] = deque()
        self._waiting = 0  # frames and control messages

    def __bool__(self) -> bool:
        """Whether there is anything to send."""
        return self._waiting > 0

    def put(self, lane: Lane, payload: bytes) -> bool:
        """Queue a frame; False, and nothing changes, if the lane is full.

        Raises `ValueError` on a frame that the lane may never carry.
        """
        queue = self._queues[lane]
        limit = queue.limit
        size = len(payload)
        if size > limit.frame_bytes:
            raise ValueError(f"a frame of {size} bytes is over the {limit.frame_bytes} of lane {lane.name}")
        if len(queue.frames) >= limit.queue_frames or queue.bytes_queued + size > limit.queue_bytes:
            return False
        queue.frames.append(payload)
        queue.bytes_queued += size
        self._waiting += 1
        return True

    def put_ping(self, token: int) -> None:
        """Queue a ping ahead of all lanes."""
        self._put_control(_PING, token)

    def put_pong(self, token: int) -> None:
        """Queue the answer to a ping. Raises `RemoteFault` if the peer asks faster than it reads."""
        if len(self._control) > 1:
            raise RemoteFault("a second ping before the answer to the first was read")
        self._put_control(_PONG, token)

    def queued(self, lane: Lane) -> tuple[int, int]:
        """(frames, bytes) that wait in a lane."""
        queue = self._queues[lane]
        return len(queue.frames), queue.bytes_queued

    def take(self) -> bytes:
        """The plaintext of the next record: as much as fits, the highest lane first."""
        parts: list[bytes | memoryview] = []
        room = PLAINTEXT_BYTES
        while self._control:  # at most a ping and a pong
            message = self._control.popleft()
            parts.append(message)
            room -= len(message)
            self._waiting -= 1
        for lane, queue in enumerate(self._queues):
            frames = queue.frames
            while frames and room > _SEGMENT.size:
                frame = frames[0]
                start = queue.sent_of_first
                size = len(frame) - start
                room -= _SEGMENT.size
                if size <= room:
                    parts.append(_SEGMENT.pack(lane | FINAL, size))
                    parts.append(memoryview(frame)[start:] if start else frame)
                    frames.popleft()
                    queue.sent_of_first = 0
                    self._waiting -= 1
                else:
                    size = room
                    parts.append(_SEGMENT.pack(lane, size))
                    parts.append(memoryview(frame)[start : start + size])
                    queue.sent_of_first = start + size
                queue.bytes_queued -= size
                room -= size
            if room <= _SEGMENT.size:
                break
        return b"".join(parts)

    def _put_control(self, kind: int, token: int) -> None:
        body = _CONTROL.pack(kind, token)
        self._control.append(_SEGMENT.pack(CONTROL | FINAL, len(body)) + body)
        self._waiting += 1


def seal(cipher: CipherState, plaintext: bytes) -> bytes:
    """One record, ready for the socket."""
    sealed = cipher.encrypt(plaintext)
    return len(sealed).to_bytes(LENGTH_BYTES, "big") + sealed


@dataclass(slots=True)
class _Partial:
    """The beginning of a frame that has not ended yet."""

    limit_bytes: int
    pieces: list[bytes]
    size: int = 0


class Inbox:
    """The receiving side: bytes of the stream in, whole frames out.

    Holds at most one record plus, for each lane, one unfinished frame of at most `frame_bytes`.
    """

    __slots__ = ("_cipher", "_partial", "_rest", "records")

    def __init__(self, cipher: CipherState, limits: Mapping[Lane, LaneLimit]) -> None:
        self._cipher = cipher
        self._partial = [_Partial(limits[lane].frame_bytes, []) for lane in _LANES]
        self._rest = bytearray()  # the beginning of a record
        self.records = 0  # that authenticated

    def receive(self, data: bytes) -> Iterator[Received]:
        """What `data` completes, in order; to be iterated to its end before the next call.

        Raises `CorruptRecord` if a record does not authenticate (nobody's fault that we could name) and
        `RemoteFault` on one that does but breaks the format. Either way the stream is over.
        """
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < LENGTH_BYTES or len(rest) < LENGTH_BYTES + int.from_bytes(
                rest[:LENGTH_BYTES], "big"
            ):
                return
            data = bytes(rest)
            rest.clear()
        view = memoryview(data)
        offset, end = 0, len(data)
        while offset + LENGTH_BYTES <= end:
            start = offset + LENGTH_BYTES
            stop = start + int.from_bytes(view[offset:start], "big")
            if stop > end:
                break
            if stop - start < TAG_BYTES:
                raise CorruptRecord("a record shorter than its authentication tag")
            try:
                plaintext = self._cipher.decrypt(view[start:stop])
            except NoiseError as error:
                raise CorruptRecord(f"record {self.records}: {error}") from None
            self.records += 1
            offset = stop
            yield from self._segments(plaintext)
        rest += view[offset:]

    def _segments(self, plaintext: bytes) -> Iterator[Received]:
        offset, end = 0, len(plaintext)
        if not end:
            raise RemoteFault("an empty record")
        while offset < end:
            if end - offset < _SEGMENT.size:
                raise RemoteFault("a record ends within a segment header")
            tag, size = _SEGMENT.unpack_from(plaintext, offset)
            offset += _SEGMENT.size
            data = plaintext[offset : offset + size]
            offset += size
            if offset > end:
                raise RemoteFault("a segment is longer than its record")
            number = tag & LANE_MASK
            if number == CONTROL and tag & FINAL:
                yield _control(data)
            elif number >= len(_LANES) or tag & ~(FINAL | LANE_MASK):
                raise RemoteFault(f"an unknown segment tag {tag:#04x}")
            else:
                frame = self._extend(number, data, final=bool(tag & FINAL))
                if frame is not None:
                    yield frame

    def _extend(self, number: int, data: bytes, *, final: bool) -> Frame | None:
        partial = self._partial[number]
        partial.size += len(data)
        if partial.size > partial.limit_bytes:
            raise RemoteFault(f"a frame over the {partial.limit_bytes} bytes of lane {_LANES[number].name}")
        if not final:
            if not data:
                raise RemoteFault("an empty segment that does not end its frame")
            partial.pieces.append(data)
            return None
        if not partial.pieces:
            partial.size = 0
            return Frame(_LANES[number], data)
        partial.pieces.append(data)
        payload = b"".join(partial.pieces)
        partial.pieces = []
        partial.size = 0
        return Frame(_LANES[number], payload)


def _control(data: bytes) -> Received:
    if len(data) != _CONTROL.size:
        raise RemoteFault(f"a control message of {len(data)} bytes")
    kind, token = _CONTROL.unpack(data)
    if kind == _PING:
        return Ping(token)
    if kind == _PONG:
        return Pong(token)
    raise RemoteFault(f"an unknown control message {kind}")
