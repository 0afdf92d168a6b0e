"""net.frames without sockets: reassembly, priority, bounds, malformed input."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.errors import CorruptRecord, RemoteFault
from net.frames import FINAL, Frame, Inbox, Outbox, Ping, Pong, seal
from net.lanes import Lane
from net.limits import DEFAULT_LANES, LaneLimit
from net.noise import PLAINTEXT_BYTES, CipherState

KEY = bytes(range(32))
SMALL = {lane: LaneLimit(frame_bytes=300_000, queue_bytes=1_000_000, queue_frames=50) for lane in Lane}


def drain(outbox: Outbox) -> bytes:
    cipher = CipherState(KEY)
    stream = b""
    while outbox:
        stream += seal(cipher, outbox.take())
    return stream


def read(stream: bytes, cuts: list[int] | None = None, limits: dict = SMALL) -> list:
    inbox = Inbox(CipherState(KEY), limits)
    edges = [0, *sorted(cuts or []), len(stream)]
    return [item for start, stop in pairwise(edges) for item in inbox.receive(stream[start:stop])]


lanes = st.sampled_from(list(Lane))
sizes = st.one_of(st.integers(0, 300), st.integers(65_500, 65_540), st.integers(100_000, 300_000))


@given(frames=st.lists(st.tuples(lanes, sizes), max_size=8), data=st.data())
def test_frames_arrive_whole_and_in_order_of_their_lane_however_the_stream_is_cut(frames, data) -> None:
    outbox = Outbox(SMALL)
    sent = {lane: [] for lane in Lane}
    for index, (lane, size) in enumerate(frames):
        payload = bytes([index]) * size
        room = SMALL[lane].queue_bytes - sum(map(len, sent[lane]))
        assert outbox.put(lane, payload) == (size <= room)
        if size <= room:
            sent[lane].append(payload)
    stream = drain(outbox)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6))
    received = read(stream, cuts)
    assert {lane: [f.payload for f in received if f.lane is lane] for lane in Lane} == sent
    assert all(outbox.queued(lane) == (0, 0) for lane in Lane)


def test_one_byte_at_a_time() -> None:
    outbox = Outbox(SMALL)
    outbox.put(Lane.BULK, b"x" * 1000)
    outbox.put_ping(7)
    stream = drain(outbox)
    assert read(stream, list(range(len(stream)))) == [Ping(7), Frame(Lane.BULK, b"x" * 1000)]


def test_what_is_queued_leaves_in_one_record() -> None:
    outbox = Outbox(DEFAULT_LANES)
    for _ in range(100):
        outbox.put(Lane.CONSENSUS, bytes(200))
    outbox.take()
    assert not outbox


@given(before=st.lists(st.tuples(lanes, sizes), min_size=1, max_size=5), records=st.integers(0, 6))
def test_a_vote_is_in_the_very_next_record_whatever_is_half_sent(before, records) -> None:
    outbox = Outbox(SMALL)
    for lane, size in before:
        if lane is not Lane.CONSENSUS:
            outbox.put(lane, bytes(size))
    cipher, inbox = CipherState(KEY), Inbox(CipherState(KEY), SMALL)
    for _ in range(records):
        if outbox:
            list(inbox.receive(seal(cipher, outbox.take())))
    outbox.put(Lane.CONSENSUS, b"vote")
    plaintext = outbox.take()
    assert len(plaintext) <= PLAINTEXT_BYTES
    assert next(iter(inbox.receive(seal(cipher, plaintext)))) == Frame(Lane.CONSENSUS, b"vote")


def test_lanes_leave_in_order_of_priority() -> None:
    outbox = Outbox(DEFAULT_LANES)
    for lane in reversed(Lane):
        outbox.put(lane, lane.name.encode())
    outbox.put_ping(1)
    assert [getattr(item, "lane", None) for item in read(drain(outbox))] == [None, *Lane]


def test_a_full_lane_refuses_and_changes_nothing() -> None:
    limits = {lane: LaneLimit(frame_bytes=100, queue_bytes=250, queue_frames=4) for lane in Lane}
    by_bytes, by_frames = Outbox(limits), Outbox(limits)
    assert [by_bytes.put(Lane.BULK, bytes(100)) for _ in range(3)] == [True, True, False]
    assert by_bytes.queued(Lane.BULK) == (2, 200)
    assert by_bytes.put(Lane.CONSENSUS, bytes(100)), "one lane does not starve another"
    assert [by_frames.put(Lane.BULK, b"") for _ in range(5)] == [True] * 4 + [False]
    with pytest.raises(ValueError, match="over the 100"):
        by_frames.put(Lane.CANDIDATES, bytes(101))


def test_pings_and_pongs() -> None:
    outbox = Outbox(SMALL)
    outbox.put_ping(2**64 - 1)
    outbox.put_pong(3)
    assert read(drain(outbox)) == [Ping(2**64 - 1), Pong(3)]
    outbox.put_pong(4)
    outbox.put_pong(5)  # one may cross with our own ping
    with pytest.raises(RemoteFault, match="second ping"):
        outbox.put_pong(6)


@pytest.mark.parametrize(
    ("plaintext", "complaint"),
    [
        (b"", "empty record"),
        (b"\x80\x00", "within a segment header"),
        (b"\x80\x00\x05abcd", "longer than its record"),
        (b"\x85\x00\x00", "unknown segment tag"),  # one past the last lane
        (b"\xc0\x00\x00", "unknown segment tag"),  # a reserved bit
        (b"\x0f\x00\x00", "unknown segment tag"),  # a control message in pieces
        (b"\x8f\x00\x01a", "control message of 1"),
        (b"\x8f\x00\x09\x03" + bytes(8), "unknown control message 3"),
        (b"\x00\x00\x00", "empty segment"),
    ],
)
def test_malformed_records_are_the_peers_fault(plaintext: bytes, complaint: str) -> None:
    with pytest.raises(RemoteFault, match=complaint):
        read(seal(CipherState(KEY), plaintext))


def test_an_oversize_frame_is_refused_before_it_is_complete() -> None:
    limits = {lane: LaneLimit(frame_bytes=1000, queue_bytes=1000, queue_frames=1) for lane in Lane}
    piece = b"\x02\x02\x58" + bytes(600)  # not final
    cipher, inbox = CipherState(KEY), Inbox(CipherState(KEY), limits)
    assert list(inbox.receive(seal(cipher, piece))) == []
    with pytest.raises(RemoteFault, match="over the 1000 bytes of lane CANDIDATES"):
        list(inbox.receive(seal(cipher, piece)))


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_flipped_bit_is_corruption_and_blames_nobody(position: int, flip: int) -> None:
    record = bytearray(seal(CipherState(KEY), bytes([FINAL]) + b"\x00\xb6" + bytes(182)))
    record[2 + position % (len(record) - 2)] ^= flip
    with pytest.raises(CorruptRecord):
        read(bytes(record))


def test_a_replayed_record_does_not_authenticate() -> None:
    record = seal(CipherState(KEY), b"\x80\x00\x01x")
    with pytest.raises(CorruptRecord, match="record 1"):
        read(record + record)


@given(st.binary(max_size=300))
def test_garbage_never_raises_anything_else(garbage: bytes) -> None:
    try:
        received = read(garbage)
    except CorruptRecord:
        return
    assert received == []
