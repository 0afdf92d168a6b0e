"""Real processes: a node fetches a state while its network runs, through a kill, and past a liar.

The node is a validator that voted, was killed, and lost its store but not its journal; what it fetches is
epochs ahead of the genesis that it is left with.
"""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from bench.cluster import Cluster, NodeProcess, attach_cluster
from bench.directory import NetworkDirectory, NodeHome, lay_out, new_plan_name
from bench.plan import Plan
from node.config import CONFIG_FILE
from node.state_sync.arriving import ARRIVING_DIRECTORY, STORE_DIRECTORY

ODD_NODE = Path(__file__).parent / "odd_node.py"
TIMEOUT_S = 150.0
FAR = 250  # blocks: more than the 64 below which nobody fetches a state, with room for a slow machine
EPOCH_BLOCKS = 40  # so that what is fetched is epochs ahead of what the node trusts


def network(root: Path) -> NetworkDirectory:
    """Four validators, the last of which fetches a state when it is behind; snapshots every second."""
    plan = Plan(
        network=new_plan_name(),
        validators=4,
        collator=False,
        idle_interval_ms=0,
        bench_accounts=2_000,
        epoch_blocks=EPOCH_BLOCKS,
    )
    directory = lay_out(root / "net", plan)
    for home in directory.validators:
        change(home, "snapshot_seconds = 60", "snapshot_seconds = 1")
    change(directory.validators[3], 'mode = "auto"', 'mode = "state"')
    return directory


def change(home: NodeHome, old: str, new: str) -> None:
    path = home.directory / CONFIG_FILE
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def start(home: NodeHome, kind: str) -> NodeProcess:
    """A node's process, an odd one unless `kind` is honest."""
    node = NodeProcess(home)
    if kind != "honest":
        node.program = (str(ODD_NODE), kind)
    node.start()
    return node


@asynccontextmanager
async def running(directory: NetworkDirectory, kinds: Sequence[str]) -> AsyncIterator[Cluster]:
    """The first validators, of these kinds, far ahead of the last one, which has lost all but its journal."""
    nodes = [start(home, kind) for home, kind in zip(directory.validators, (*kinds, "honest"), strict=True)]
    try:
        with trio.fail_after(TIMEOUT_S):
            async with attach_cluster(directory) as cluster:
                await reach(cluster, 0, FAR)
                nodes[3].kill()
                data = directory.validators[3].directory / "data"
                shutil.rmtree(data / STORE_DIRECTORY)
                (data / ARRIVING_DIRECTORY).mkdir()  # killed right after it had decided to fetch a state
                yield cluster
    finally:
        for node in nodes:
            node.kill()


async def reach(cluster: Cluster, index: int, height: int) -> int:
    """Wait until a node has executed that height; the height it has."""
    while True:
        status = await cluster.status(index)
        if status is not None and status.executed_height >= height:
            return status.executed_height
        await trio.sleep(0.05)


@pytest.mark.slow
def test_a_validator_that_lost_its_store_fetches_a_state_and_votes(tmp_path) -> None:
    directory = network(tmp_path)
    node = NodeProcess(directory.validators[3])

    async def main() -> None:
        async with running(directory, ["honest"] * 3) as cluster:
            node.start()
            while not node.events("state_sync.done"):  # noqa: ASYNC110
                await trio.sleep(0.05)
            (done,) = node.events("state_sync.done")
            height = await reach(cluster, 3, done["height"] + 1)
            cluster.nodes[0].kill()  # its vote is needed from here on
            await reach(cluster, 3, height + 20)
            block = await cluster.clients[3].block(height=height + 20)
            assert block == await cluster.clients[1].block(height=height + 20)

    trio.run(main)


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_fetch_loses_nothing_that_was_fetched(tmp_path) -> None:
    directory = network(tmp_path)
    node = NodeProcess(directory.validators[3])

    async def main() -> None:
        async with running(directory, ["slow"] * 3) as cluster:
            node.start()
            while not any(each["pieces"] for each in node.events("state_sync.progress")):  # noqa: ASYNC110
                await trio.sleep(0.05)
            node.kill()
            before = node.events("state_sync.progress")
            node.start()
            await reach(cluster, 3, FAR)
        (begun,), (resumed,) = node.events("state_sync.begun"), node.events("state_sync.resumed")
        (done,) = node.events("state_sync.done")
        assert begun["height"] == resumed["height"] == done["height"]
        first = node.events("state_sync.progress")[len(before)]
        assert first["pieces"] == 0
        assert first["outstanding"] > 1, "one whole tree is what a fetch begins with"
        assert done["pieces"] < 2 * first["outstanding"] + 8

    trio.run(main)


@pytest.mark.slow
def test_a_liar_is_banned_and_the_others_serve_the_state(tmp_path) -> None:
    directory = network(tmp_path)
    node = NodeProcess(directory.validators[3])

    async def main() -> None:
        async with running(directory, ["slow", "slow", "lying"]) as cluster:
            node.start()
            await reach(cluster, 3, FAR)
        (done,) = node.events("state_sync.done")
        assert done["height"] > 0
        refused = node.events("state_sync.piece_refused")
        banned = node.events("peer.banned")
        assert refused
        assert {each["peer"] for each in banned} == {each["peer"] for each in refused}
        assert len({each["peer"] for each in refused}) == 1

    trio.run(main)
