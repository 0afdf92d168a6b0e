"""net.transport on real sockets: connecting, refusing, restarting, back-pressure."""

import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.lowlevel
from net_world import IDS, LOOPBACK, NETWORK, QUICK, SEEDS, Node, free_port, wait_for

from net.errors import RefusalReason
from net.frames import seal
from net.handshake import HELLO_BYTES, Handshake
from net.identity import Identity
from net.lanes import Lane
from net.limits import DEFAULT_LANES, LaneLimit, Limits

LOW, HIGH, OTHER = 0, 1, 2  # of LOW and HIGH, LOW dials


def limits(**changes: object) -> Limits:
    values = {"ping_interval_s": 0.05, "idle_timeout_s": 5.0, "handshake_timeout_s": 2.0, **changes}
    return Limits(**values)


def lane_limits(**changes: int) -> dict[Lane, LaneLimit]:
    values = {"frame_bytes": 1 << 20, "queue_bytes": 4 << 20, "queue_frames": 8, **changes}
    return {lane: LaneLimit(**values) for lane in Lane}


def pair(body, *, low: dict | None = None, high: dict | None = None) -> None:
    """Run `body(low, high)` with both up and connected."""

    async def main() -> None:
        async with Node(HIGH, {}, **(high or {})).running() as above:
            peers = {IDS[HIGH]: above.transport.address}
            async with Node(LOW, peers, **(low or {})).running() as below:
                await below.until_up(HIGH)
                await above.until_up(LOW)
                await body(below, above)

    trio.run(main)


def test_frames_of_every_lane_and_size_go_both_ways() -> None:
    async def body(low: Node, high: Node) -> None:
        payloads = [(lane, bytes([lane]) * size) for lane in Lane for size in (0, 1, 200, 70_000, 1 << 20)]
        for lane, payload in payloads:
            assert low.transport.send(IDS[HIGH], lane, payload)
            assert high.transport.send(IDS[LOW], lane, payload)
        for node, sender in ((low, IDS[HIGH]), (high, IDS[LOW])):
            await node.until(lambda node=node: len(node.received()) == len(payloads))
            for lane in Lane:
                expected = [(sender, lane, payload) for of, payload in payloads if of is lane]
                assert [item for item in node.story if len(item) == 3 and item[1] is lane] == expected
        stats = low.transport.statistics().peers[IDS[HIGH]]
        assert (stats.connected, stats.inbound, stats.connections) == (True, False, 1)
        assert stats.lanes[Lane.BULK].sent_frames == 5
        assert stats.lanes[Lane.BULK].received_bytes == 1 + 200 + 70_000 + (1 << 20)

    pair(body)


def test_a_full_mesh_comes_up_and_a_broadcast_reaches_everybody() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(5)]
            addresses = {IDS[n]: sock.getsockname()[:2] for n, sock in enumerate(sockets)}
            for sock in sockets:
                sock.close()
            nodes = [Node(n, addresses, listen=addresses[IDS[n]]) for n in range(5)]
            for node in nodes:
                await nursery.start(node.transport.run)
            for n, node in enumerate(nodes):
                for m in range(5):
                    if m != n:
                        await node.until_up(m)
            records = [each.records_sent for each in nodes[3].transport.statistics().peers.values()]
            assert nodes[3].transport.broadcast((Lane.CONSENSUS, b"to all"), (Lane.BLOCKS, b"at once")) == 4
            after = [each.records_sent for each in nodes[3].transport.statistics().peers.values()]
            left = [each - before for each, before in zip(after, records, strict=True)]
            assert max(left) <= 1, "two payloads share a record; it may wait for one that is under way"
            for n in (0, 1, 2, 4):
                await nodes[n].until(lambda n=n: nodes[n].received() == [b"to all", b"at once"])
            inbound = {n: nodes[2].transport.statistics().peers[IDS[n]].inbound for n in (0, 1, 3, 4)}
            assert inbound == {0: True, 1: True, 3: False, 4: False}, "the smaller identity dials"
            assert all(s.connections == 1 for s in nodes[2].transport.statistics().peers.values())
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_peer_that_does_not_listen_dials_whoever_is_the_smaller() -> None:
    async def main() -> None:
        async with Node(LOW, {}).running() as validator:
            peers = {IDS[HIGH]: validator.transport.address}
            observer = Node(HIGH, {IDS[LOW]: validator.transport.address}, listen=None)
            async with observer.running():
                await observer.until_up(LOW)
                await validator.until_up(HIGH)
                assert peers

    trio.run(main)


def test_a_knock_makes_the_peer_dial_at_once() -> None:
    """The one that is dialled comes up last; the other has backed off to far longer than the test."""
    patient = limits(dial_backoff_min_s=1000.0, dial_backoff_max_s=1000.0)

    async def main() -> None:
        with free_port() as port:
            low = Node(LOW, {IDS[HIGH]: (LOOPBACK, port)}, limits=patient)
            async with low.running():
                await low.log.wait("peer.refused", reason="unreachable")
                high = Node(HIGH, {IDS[LOW]: low.transport.address}, listen=(LOOPBACK, port))
                async with high.running():
                    await low.until_up(HIGH)
                    await low.log.wait("peer.refused", reason="dial_order", inbound=True)
                    assert not low.transport.statistics().peers[IDS[HIGH]].inbound

    trio.run(main)


def test_reconnects_after_the_peer_restarts() -> None:
    async def main() -> None:
        with free_port() as port:
            low = Node(LOW, {IDS[HIGH]: (LOOPBACK, port)})
            async with low.running():
                for life in (1, 2, 3):
                    async with Node(HIGH, {}, listen=(LOOPBACK, port)).running() as high:
                        await low.until_up(HIGH, times=life)
                        assert low.transport.send(IDS[HIGH], Lane.CONSENSUS, b"life %d" % life)
                        await high.until(lambda high=high, life=life: high.received() == [b"life %d" % life])
                    await low.until(lambda life=life: low.story.count(("down", IDS[HIGH])) == life)
                    assert not low.transport.send(IDS[HIGH], Lane.CONSENSUS, b"nobody there")
        assert [event for event, _ in low.story] == ["up", "down"] * 3

    trio.run(main)


CHILD = """
import sys, trio
sys.path[:0] = [{tests!r}]
from net_world import IDS, LOOPBACK, Node

async def main(port):
    node = Node(1, {{}}, listen=(LOOPBACK, port))
    async with node.running():
        while True:
            await node.until(node.received)
            for payload in node.received():
                node.transport.send(IDS[0], 0, b"echo " + payload)
            node.story.clear()

trio.run(main, int(sys.argv[1]))
"""


def test_a_killed_process_is_noticed_and_its_successor_found() -> None:
    async def main() -> None:
        program = CHILD.format(tests=str(Path(__file__).parent))
        with free_port() as port:
            command = [sys.executable, "-c", program, str(port)]
            low = Node(LOW, {IDS[HIGH]: (LOOPBACK, port)})
            async with low.running(), trio.open_nursery() as nursery:
                for life in (1, 2):
                    start = partial(trio.run_process, command, check=False, stderr=subprocess.DEVNULL)
                    process = await nursery.start(start)
                    await low.until_up(HIGH, times=life)
                    low.transport.send(IDS[HIGH], Lane.CONSENSUS, b"%d" % life)
                    await low.until(lambda life=life: b"echo %d" % life in low.received())
                    process.kill()
                    await low.until(lambda life=life: low.story.count(("down", IDS[HIGH])) == life)

    trio.run(main)


# --- who is refused


def test_a_peer_of_another_network_is_refused_on_both_sides() -> None:
    async def main() -> None:
        async with (
            Node(HIGH, {}, network=bytes(32)).running() as high,
            Node(LOW, {IDS[HIGH]: high.transport.address}).running() as low,
        ):
            theirs = await high.log.wait("peer.refused", reason="wrong_network", inbound=True)
            ours = await low.log.wait("peer.refused", reason="wrong_network", inbound=False)
        assert NETWORK.hex()[:16] in theirs["detail"]
        assert NETWORK.hex()[:16] in ours["detail"]
        assert high.story == low.story == []

    trio.run(main)


def test_an_unknown_peer_is_refused_and_told() -> None:
    async def main() -> None:
        async with (
            Node(HIGH, {}, authorised=lambda peer: peer != IDS[LOW]).running() as high,
            Node(LOW, {IDS[HIGH]: high.transport.address}).running() as low,
        ):
            await high.log.wait("peer.refused", reason="unknown_peer", peer=IDS[LOW].hex()[:16])
            told = await low.log.wait("peer.refused", reason="unknown_peer", refused_by="peer")
        assert told["inbound"] is False
        assert high.transport.statistics().refused[RefusalReason.UNKNOWN_PEER] >= 1

    trio.run(main)


def test_an_impostor_at_a_peers_address_is_refused() -> None:
    async def main() -> None:
        async with (
            Node(OTHER, {}).running() as impostor,
            Node(LOW, {IDS[HIGH]: impostor.transport.address}).running() as low,
        ):
            await low.log.wait("peer.refused", reason="unexpected_identity")
            await impostor.log.wait("peer.refused", reason="closed")

    trio.run(main)


async def dial(node: Node) -> trio.SocketStream:
    return await trio.open_tcp_stream(*node.transport.address)


async def closed(stream: trio.SocketStream) -> bool:
    with trio.fail_after(10):
        try:
            while await stream.receive_some(1000):
                pass
        except trio.BrokenResourceError:
            pass
    return True


def first_flight() -> bytes:
    return Handshake(identity=Identity(SEEDS[LOW]), network_id=NETWORK, expected=IDS[HIGH]).start()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not_phalanx"),
        (b"", "closed"),
        (first_flight()[:10], "closed"),
        (first_flight()[: HELLO_BYTES + 5], "closed"),
        (first_flight()[:HELLO_BYTES] + bytes(32), "bad_handshake"),
        (first_flight() + bytes(1000), "bad_handshake"),
    ],
    ids=["http", "nothing", "half a hello", "half a message", "a zero key", "a long message"],
)
def test_garbage_and_truncation_at_any_stage_are_refused_and_cost_nothing(sent: bytes, reason: str) -> None:
    async def main() -> None:
        async with Node(HIGH, {}).running() as high:
            stream = await dial(high)
            await stream.send_all(sent)
            if reason == "closed":
                await stream.send_eof()
            await high.log.wait("peer.refused", reason=reason)
            assert await closed(stream)
            assert high.transport.statistics().pending_inbound == 0
            assert high.transport.statistics().peers == {}

    trio.run(main)


def test_a_slow_loris_is_cut_off_and_newcomers_evict_the_oldest() -> None:
    async def main() -> None:
        few = limits(pending_inbound=3, handshake_timeout_s=0.5)
        async with Node(HIGH, {}, limits=few).running() as high:
            streams = [await dial(high) for _ in range(5)]
            for stream in streams[2:]:
                await stream.send_all(first_flight()[:1])
            await high.log.wait("peer.refused", reason="evicted")
            await wait_for(lambda: high.transport.statistics().pending_inbound == 3)
            async with Node(LOW, {IDS[HIGH]: high.transport.address}).running() as low:
                await low.until_up(HIGH)  # an honest peer gets through although all places are taken
            await high.log.wait("peer.refused", reason="timed_out")
            assert all([await closed(stream) for stream in streams])
            assert high.transport.statistics().pending_inbound == 0

    trio.run(main)


def test_a_banned_peer_is_cut_off_and_kept_out_for_the_time_of_the_ban() -> None:
    async def body(low: Node, high: Node) -> None:
        high.transport.ban(IDS[LOW], "it lied")
        await high.until(lambda: ("down", IDS[LOW]) in high.story)
        await low.log.wait("peer.refused", reason="banned", refused_by="peer")
        assert 0 < high.transport.statistics().banned[IDS[LOW]] <= 0.3
        await low.until_up(HIGH, times=2)
        assert high.transport.statistics().banned == {}

    pair(body, high={"limits": limits(ban_s=0.3)}, low={"limits": limits(dial_backoff_max_s=0.05)})


def test_a_peer_that_breaks_the_format_is_banned() -> None:
    async def body(low: Node, high: Node) -> None:
        connection = low.transport._connections[IDS[HIGH]]
        connection._sock.send(seal(connection._sending, b"\x07\x00\x00"))
        await high.log.wait("peer.banned", reason="an unknown segment tag 0x07")

    pair(body)


def test_an_oversize_frame_from_a_peer_is_refused() -> None:
    async def body(low: Node, high: Node) -> None:
        with pytest.raises(ValueError, match="over the"):
            high.transport.send(IDS[LOW], Lane.BULK, bytes((1 << 20) + 1))
        low.transport.send(IDS[HIGH], Lane.BULK, bytes((1 << 20) + 1))
        await high.log.wait("peer.banned", reason="a frame over the 1048576 bytes of lane BULK")

    pair(body, high={"limits": limits(lanes=lane_limits())})


# --- queues, pressure, time


class Gate:
    """A `receive` that blocks until opened."""

    def __init__(self) -> None:
        self.open = trio.Event()
        self.received: list[bytes] = []

    async def __call__(self, _peer: object, _lane: Lane, payload: bytes) -> None:
        await self.open.wait()
        self.received.append(payload)


def test_a_blocked_receiver_presses_back_and_the_senders_queue_is_bounded() -> None:
    async def main() -> None:
        gate, block = Gate(), bytes(1 << 20)
        async with Node(HIGH, {}, receive=gate).running() as high:
            settings = limits(lanes=lane_limits())
            async with Node(LOW, {IDS[HIGH]: high.transport.address}, limits=settings).running() as low:
                await low.until_up(HIGH)
                taken = 0
                with trio.move_on_after(0.5):
                    while True:
                        taken += low.transport.send(IDS[HIGH], Lane.BULK, block)
                        await trio.sleep(0.001)
                lane = low.transport.statistics().peers[IDS[HIGH]].lanes[Lane.BULK]
                assert 0 < lane.queued_bytes <= 4 << 20
                assert lane.dropped_frames > 0
                assert taken < 30, "kernel buffers and the queue, not more"
                assert low.transport.connected() == [IDS[HIGH]], "a full bulk lane is no reason to part"
                gate.open.set()
                await wait_for(lambda: len(gate.received) == taken)

    trio.run(main)


def test_a_full_consensus_lane_disconnects_the_slow_peer() -> None:
    async def main() -> None:
        async with Node(HIGH, {}, receive=Gate()).running() as high:
            settings = limits(lanes=lane_limits())
            async with Node(LOW, {IDS[HIGH]: high.transport.address}, limits=settings).running() as low:
                await low.until_up(HIGH)
                with trio.fail_after(10):
                    while low.transport.send(IDS[HIGH], Lane.CONSENSUS, bytes(1 << 20)):
                        await trio.lowlevel.checkpoint()
                ended = await low.log.wait("peer.disconnected")
                assert "queue of consensus messages is full" in ended["reason"]
                await low.until_up(HIGH, times=2)

    trio.run(main)


def test_a_vote_overtakes_bulk_that_is_under_way() -> None:
    async def main() -> None:
        order: list[Lane] = []

        async def receive(_peer: object, lane: Lane, _payload: bytes) -> None:
            order.append(lane)

        async with (
            Node(HIGH, {}, receive=receive).running() as high,
            Node(LOW, {IDS[HIGH]: high.transport.address}).running() as low,
        ):
            await low.until_up(HIGH)
            for _ in range(2):
                assert low.transport.send(IDS[HIGH], Lane.BULK, bytes(8 << 20))
            assert low.transport.send(IDS[HIGH], Lane.CONSENSUS, b"vote")
            await wait_for(lambda: len(order) == 3)
        assert order == [Lane.CONSENSUS, Lane.BULK, Lane.BULK]

    trio.run(main)


def test_a_silent_link_is_dropped_and_a_lively_one_is_not() -> None:
    async def main() -> None:
        settings = limits(ping_interval_s=0.05, idle_timeout_s=0.3)
        async with (
            Node(HIGH, {}, limits=settings).running() as high,
            Node(LOW, {IDS[HIGH]: high.transport.address}, limits=settings).running() as low,
        ):
            await low.until_up(HIGH)
            await wait_for(lambda: (low.transport.round_trip(IDS[HIGH]) or QUIET).samples > 8)
            assert low.story == [("up", IDS[HIGH])]
            connection = high.transport._connections[IDS[LOW]]
            connection._load = connection._push = lambda: None  # alive, but says nothing more
            ended = await low.log.wait("peer.disconnected")
            assert "silent" in ended["reason"]

    trio.run(main)


class QUIET:
    samples = 0


def test_round_trips_are_measured_and_reported() -> None:
    async def body(low: Node, _high: Node) -> None:
        await wait_for(lambda: low.transport.round_trip(IDS[HIGH]) is not None)
        measured = low.transport.round_trip(IDS[HIGH])
        assert 0 < measured.last_us <= 1_000_000
        assert measured.p90_us >= 1
        assert low.transport.statistics().peers[IDS[HIGH]].round_trip is not None

    pair(body)


def test_a_new_connection_of_the_same_peer_replaces_the_stale_one() -> None:
    async def main() -> None:
        async with Node(HIGH, {}).running() as high:
            peers = {IDS[HIGH]: high.transport.address}
            async with Node(LOW, peers).running() as first:
                await high.until_up(LOW)
                first.transport._addresses.clear()
                async with Node(LOW, peers).running() as second:
                    await high.until_up(LOW, times=2)
                    await second.until_up(HIGH)
                    events = [item[0] for item in high.story]
                    assert events[:3] == ["up", "down", "up"]
                    replaced = high.log.events
                    assert any(e.get("reason") == "replaced by a newer connection" for e in replaced)

    trio.run(main)


@pytest.mark.parametrize("kind", [ZeroDivisionError, OSError])
def test_an_exception_in_a_callback_ends_the_transport_loudly(kind: type[Exception]) -> None:
    """An OSError too: the disk's must not pass for the connection's."""

    async def receive(*_: object) -> None:
        raise kind

    async def main() -> None:
        async with (
            Node(HIGH, {}, receive=receive).running() as high,
            Node(LOW, {IDS[HIGH]: high.transport.address}).running() as low,
        ):
            await low.until_up(HIGH)
            low.transport.send(IDS[HIGH], Lane.BULK, b"")
            await trio.sleep(10)

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main)
    assert caught.group_contains(kind)


def test_a_taken_port_is_reported() -> None:
    async def main() -> None:
        with socket.create_server((LOOPBACK, 0)) as taken:
            async with Node(LOW, {}, listen=taken.getsockname()[:2]).running():
                pass

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main)
    assert caught.group_contains(OSError)


def test_limits_and_lengths_are_checked() -> None:
    with pytest.raises(ValueError, match="idle_timeout_s must exceed"):
        Limits(ping_interval_s=5, idle_timeout_s=5)
    with pytest.raises(ValueError, match="missing for lanes"):
        Limits(lanes={Lane.BULK: DEFAULT_LANES[Lane.BULK]})
    with pytest.raises(ValueError, match="network id has 32 bytes"):
        Node(LOW, {}, network=b"short")
    assert QUICK.lanes is DEFAULT_LANES
