"""Many restarts and disconnects at random: the promises of `net.transport` hold throughout."""

import random

import pytest
import trio
from net_world import IDS, LOOPBACK, Node, free_port, wait_for

from net.lanes import Lane
from net.limits import Limits

NODES = 4
LIVELY = Limits(
    ping_interval_s=0.05,
    idle_timeout_s=2.0,
    handshake_timeout_s=1.0,
    dial_backoff_min_s=0.005,
    dial_backoff_max_s=0.05,
    knock_interval_s=0.05,
)


def check_story(story: list[tuple]) -> None:
    """Up and down alternate for each peer, and frames come only in between, in order within a lane."""
    up: dict[bytes, dict[Lane, int]] = {}
    for event in story:
        if event[0] == "up":
            assert event[1] not in up
            up[event[1]] = {}
        elif event[0] == "down":
            del up[event[1]]
        else:
            peer, lane, payload = event
            number = int.from_bytes(payload[:4], "big")
            assert number > up[peer].get(lane, -1), "lost order within a lane"
            up[peer][lane] = number


async def chatter(node: Node, choose: random.Random) -> None:
    number = 0
    while True:
        number += 1
        lane = choose.choice(list(Lane))
        size = choose.choice([0, 100, 70_000])
        node.transport.broadcast((lane, number.to_bytes(4, "big") + bytes(size)))
        await trio.sleep(0.001)


@pytest.mark.parametrize("seed", range(2))
def test_connections_come_back_whatever_happens_to_them(seed: int) -> None:
    choose = random.Random(seed)
    stories: list[list[tuple]] = []

    async def life(n: int, addresses: dict, *, task_status: trio.TaskStatus) -> None:
        node = Node(n, addresses, listen=addresses[IDS[n]], limits=LIVELY)
        stories.append(node.story)
        gone = trio.Event()
        with trio.CancelScope() as scope:
            async with node.running(), trio.open_nursery() as nursery:
                nursery.start_soon(chatter, node, random.Random(choose.random()))
                task_status.started((node, scope, gone))
                await trio.sleep_forever()
        gone.set()

    async def main() -> None:
        addresses = {}
        for n in range(NODES):
            with free_port() as port:
                addresses[IDS[n]] = (LOOPBACK, port)
        async with trio.open_nursery() as nursery:
            alive = [await nursery.start(life, n, addresses) for n in range(NODES)]
            for _ in range(25):
                await trio.sleep(choose.uniform(0, 0.05))
                n = choose.randrange(NODES)
                node, scope, gone = alive[n]
                if choose.random() < 0.4:
                    scope.cancel()
                    await gone.wait()
                    await trio.sleep(choose.uniform(0, 0.05))
                    alive[n] = await nursery.start(life, n, addresses)
                else:
                    node.transport.disconnect(choose.choice(IDS[:NODES]), "the test says so")
            await wait_for(lambda: all(len(node.transport.connected()) == NODES - 1 for node, *_ in alive))
            nursery.cancel_scope.cancel()

    trio.run(main)
    for story in stories:
        check_story(story)
