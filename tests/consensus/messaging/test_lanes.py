"""Lanes over a dict: exactly once, in order, bounded, and never blocking one another."""

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.messaging.lanes import LaneLimits, Lanes, lane_id
from consensus.primitives.guest import ChainEndpoint, InstanceEndpoint, Outgoing

CHAINS = [ChainEndpoint(chain=number) for number in (1, 2)]
INSTANCES = [InstanceEndpoint(module=bytes([number] * 32), chain=number) for number in (1, 2)]


class DictRecords:
    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def read(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    def write(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            del self.values[key]
        else:
            self.values[key] = value


def make(messages: int = 3, size: int = 1_000) -> Lanes:
    return Lanes(DictRecords(), LaneLimits(messages=messages, bytes=size))


def outgoing(destination, *payloads: bytes) -> list[Outgoing]:
    return [Outgoing(destination=destination, payload=each) for each in payloads]


def test_credit_counts_messages_and_bytes_of_the_whole_batch() -> None:
    lanes = make(messages=3, size=10)
    source, end = CHAINS[0], INSTANCES[0]
    assert lanes.has_credit(source, outgoing(end, b"", b"", b""))
    assert not lanes.has_credit(source, outgoing(end, b"", b"", b"", b""))
    assert not lanes.has_credit(source, outgoing(end, b"12345", b"123456"))
    assert lanes.has_credit(source, outgoing(end, b"12345") + outgoing(INSTANCES[1], b"123456"))
    lanes.send(source, outgoing(end, b"12345", b"12345"), 1)
    assert lanes.has_credit(source, outgoing(end, b""))
    assert not lanes.has_credit(source, outgoing(end, b"1"))
    lanes.acknowledge(lanes.next_delivery(1))
    assert lanes.has_credit(source, outgoing(end, b"1"))


def test_a_postponed_lane_rests_longer_each_time_and_blocks_no_other() -> None:
    lanes = make()
    lanes.send(CHAINS[0], outgoing(INSTANCES[0], b"stuck"), 1)
    lanes.send(CHAINS[1], outgoing(INSTANCES[1], b"free"), 2)
    tried = []
    for height in range(1, 40):
        for _ in range(lanes.deliveries_waiting()):
            delivery = lanes.next_delivery(height)
            if delivery is None:
                continue
            if delivery.message.payload == b"stuck":
                tried.append(height)
                lanes.postpone(delivery, height)
            else:
                lanes.acknowledge(delivery)
                assert height == 1
    assert tried == [1, 2, 4, 8, 16, 32]
    assert lanes.deliveries_waiting() == 1


def test_a_full_lane_that_rests_is_one_entry_in_the_queue_and_lanes_take_turns() -> None:
    lanes = make(messages=1_000)
    lanes.send(CHAINS[0], outgoing(INSTANCES[0], *[b"stuck"] * 1_000), 1)
    lanes.postpone(lanes.next_delivery(1), 1)
    lanes.send(CHAINS[1], outgoing(INSTANCES[1], b"a", b"b"), 2)
    lanes.send(CHAINS[1], outgoing(INSTANCES[0], b"c"), 2)
    assert lanes.deliveries_waiting() == 3
    served = []
    for _ in range(5):  # turns of a block, the first of which the resting lane passes
        delivery = lanes.next_delivery(1)
        if delivery is not None:
            served.append(delivery.message.payload)
            lanes.acknowledge(delivery)
    assert served == [b"a", b"c", b"b"]
    assert lanes.deliveries_waiting() == 1


def test_an_acknowledged_lane_forgets_its_rests() -> None:
    lanes = make()
    lanes.send(CHAINS[0], outgoing(INSTANCES[0], b"a", b"b"), 1)
    lanes.postpone(lanes.next_delivery(1), 1)
    assert lanes.next_delivery(1) is None  # the second message waits with the first
    first = lanes.next_delivery(5)
    assert first.message.payload == b"a"
    lanes.acknowledge(first)
    assert lanes.next_delivery(5).message.payload == b"b"
    assert lanes.lane(first.lane_id).postponed == 0


def test_the_inbox_lists_sources_in_order_once() -> None:
    lanes = make()
    for source in (INSTANCES[1], INSTANCES[0], INSTANCES[1]):
        lanes.send(source, outgoing(CHAINS[0], b"x"), 0)
    assert lanes.inbox(1) == (INSTANCES[0], INSTANCES[1])
    assert lanes.cursors(INSTANCES[1], CHAINS[0]) == (0, 2)
    assert lanes.messages(INSTANCES[1], CHAINS[0], 0, 2) == [b"x", b"x"]
    assert lanes.cursors(INSTANCES[1], CHAINS[1]) == (0, 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 1), st.integers(0, 1), st.integers(1, 3)),
        st.tuples(st.just("deliver"), st.booleans()),
        st.tuples(st.just("consume"), st.integers(0, 1), st.integers(0, 1), st.integers(1, 3)),
        st.tuples(st.just("reply"), st.integers(0, 1), st.integers(0, 1), st.integers(1, 3)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_what_was_sent_arrives_once_in_order_and_leaves_no_trace(steps) -> None:
    lanes = make()
    sent, got = defaultdict(list), defaultdict(list)
    number = 0

    def send(source, destination, count: int) -> None:
        nonlocal number
        batch = outgoing(destination, *(b"%d" % (number + index) for index in range(count)))
        if lanes.has_credit(source, batch):
            lanes.send(source, batch, 0)
            sent[lane_id(source, destination)] += [each.payload for each in batch]
            number += count

    def deliver(height: int, accept: bool) -> None:
        delivery = lanes.next_delivery(height)
        if delivery is not None and accept:
            assert delivery.sequence == len(got[delivery.lane_id])
            got[delivery.lane_id].append(delivery.message.payload)
            lanes.acknowledge(delivery)
        elif delivery is not None:
            lanes.postpone(delivery, height)

    def consume(source, destination, count: int) -> None:
        delivered, last = lanes.cursors(source, destination)
        upto = min(last, delivered + count)
        if upto > delivered:
            got[lane_id(source, destination)] += lanes.messages(source, destination, delivered, upto)
            lanes.consume(source, destination, upto)

    for height, (kind, *rest) in enumerate(steps):
        if kind == "send":
            send(CHAINS[rest[0]], INSTANCES[rest[1]], rest[2])
        elif kind == "reply":
            send(INSTANCES[rest[0]], CHAINS[rest[1]], rest[2])
        elif kind == "deliver" and lanes.deliveries_waiting():
            deliver(height, rest[0])
        elif kind == "consume":
            consume(INSTANCES[rest[0]], CHAINS[rest[1]], rest[2])
    height = 10_000
    while lanes.deliveries_waiting():
        deliver(height, True)
        height += 2_000
    for source in INSTANCES:
        for destination in CHAINS:
            consume(source, destination, 1_000)
    assert {name: payloads for name, payloads in got.items() if payloads} == dict(sent)
    for name in sent:
        assert lanes.lane(name).queued_bytes == 0
    assert len(lanes._records.values) <= 2 * len(sent) + 1 + 2
