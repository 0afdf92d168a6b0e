"""`/ws`: what a subscriber gets, and how one that is too slow is told to go."""

import json

import pytest
import trio
import trio_websocket
from edge_fakes import FakeNode, serving, trace_of

from node.client import RpcClient, RpcUnreachable
from node.rpc import subscriptions


async def until(condition):
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110  (the fake has no event for it)
            await trio.sleep(0.005)


def test_final_blocks_arrive_in_order():
    async def run():
        node = FakeNode()
        async with serving(node) as url, RpcClient(url) as client, client.finality() as blocks:
            await until(lambda: node.subscribers == 2)  # metrics is the other
            for height in (1, 2, 3):
                node.publish(trace_of(height))
            got = [await anext(blocks) for _ in range(3)]
            assert got == [trace_of(height) for height in (1, 2, 3)]
        assert node.subscribers == 0

    trio.run(run)


def test_a_slow_subscriber_is_dropped_with_the_reason():
    async def run():
        node = FakeNode(feed_bound=2)
        async with serving(node) as url, RpcClient(url) as client, client.finality() as blocks:
            await until(lambda: node.subscribers == 2)
            for height in range(1, 100):  # no checkpoint between: the feed's bound is passed at once
                node.publish(trace_of(height))
            with pytest.raises(RpcUnreachable, match="too slow"):
                async for _ in blocks:
                    pass

    trio.run(run)


def test_a_subscriber_that_does_not_read_costs_a_bounded_time(monkeypatch):
    monkeypatch.setattr(subscriptions, "SEND_TIMEOUT_S", 0.05)

    class Stuck:
        """A socket whose peer never takes a message after the first answer."""

        def __init__(self):
            self.closed = None

        async def accept(self):
            pass

        async def receive_text(self):
            if not hasattr(self, "asked"):
                self.asked = True
                return json.dumps({"id": 1, "method": "subscribe", "params": {"topic": "finality"}})
            return await trio.sleep_forever()

        async def send_text(self, text):
            if "finality" in text and '"method"' in text:
                await trio.sleep_forever()

        async def close(self, code, reason):
            self.closed = (code, reason)

    async def run():
        node, stuck = FakeNode(), Stuck()
        serving_one = subscriptions.Subscriptions(node, limit=1, log=_Quiet(), send_timeout_s=0.05)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving_one.serve, stuck)
            await until(lambda: node.subscribers == 1)
            node.publish(trace_of(1))
            await until(lambda: stuck.closed is not None)
        assert stuck.closed == (1013, subscriptions.TOO_SLOW)
        assert serving_one.active == 0

    trio.run(run)


class _Quiet:
    def info(self, *_args, **_bound):
        pass


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("garbage", "JSON-RPC request"),
        ('{"id":1,"method":"status"}', "subscribe"),
        ('{"id":1,"method":"subscribe","params":{"topic":"weather"}}', "one topic"),
        ("x" * 5000, "JSON-RPC request"),
    ],
)
def test_anything_else_is_refused_with_the_reason(message, words):
    async def run():
        async with serving(FakeNode()) as url:
            address = url.replace("http", "ws") + "/ws"
            async with trio_websocket.open_websocket_url(address) as socket:
                await socket.send_message(message)
                answer = json.loads(await socket.get_message())
                with pytest.raises(trio_websocket.ConnectionClosed):
                    await socket.get_message()
        return answer

    answer = trio.run(run)
    assert words in answer["error"]["message"]


def test_subscriptions_are_bounded():
    async def run():
        node = FakeNode()
        async with serving(node, max_subscribers=1) as url, RpcClient(url) as client, client.finality():
            with pytest.raises(RpcUnreachable, match="all 1 subscriptions"):
                async with client.finality():
                    pass

    trio.run(run)
