"""Networks of real processes for tests: started and stopped, asked by command line, killed, waited for."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from bench.audit import audit
from bench.cluster import Cluster, NodeProcess, attach_cluster, start_cluster
from bench.directory import NetworkDirectory, lay_out, new_plan_name
from bench.plan import Plan
from consensus.relay.genesis import Genesis
from node.genesis_file import read_genesis
from node.setup import GENESIS_FILE

TIMEOUT_S = 150.0
COMMAND_S = 60.0
STOP_S = 10.0


def genesis_of(network: NetworkDirectory) -> Genesis:
    """The genesis that all nodes of a network have."""
    return read_genesis(network.root / GENESIS_FILE)


@contextmanager
def running(network: NetworkDirectory, *, height: int = 1) -> Iterator[None]:
    """All nodes of a network; the block begins when each of them has that height final. A test may kill them
    and start them again meanwhile."""
    nodes = [NodeProcess(home) for home in network.nodes]
    try:
        for node in nodes:
            node.start()
        ready(network, height=height)
        yield
    finally:
        for node in nodes:
            node.terminate()
        for node in nodes:
            trio.run(node.wait, STOP_S)


def ready(network: NetworkDirectory, *, height: int = 1) -> None:
    """Wait until every node that runs has a final block of that height."""

    async def all_of_it() -> None:
        async with attach_cluster(network) as cluster:
            await cluster.wait_ready(height=height)

    trio.run(all_of_it)


def play(path: Path, scene: Callable[[Cluster], Awaitable[None]], **plan: Any) -> None:
    """Run a scene against four validators of such a plan; in the end their chains are compared."""
    settings = {"collator": False, "bench_accounts": 1, **plan}
    chosen = Plan(network=new_plan_name(), validators=4, **settings)

    async def main() -> None:
        with trio.fail_after(TIMEOUT_S):
            async with start_cluster(lay_out(path / "net", chosen)) as cluster:
                await scene(cluster)
                found = await audit(cluster, {})
                assert (found.forks, found.heights > 0) == (0, True)

    trio.run(main)


async def epoch(cluster: Cluster, index: int, wanted: int) -> None:
    """Wait until a node is in that epoch, or past it."""
    await cluster.wait_for(
        index, lambda status: status.epoch >= wanted, timeout_s=TIMEOUT_S, what=f"epoch {wanted}"
    )


async def now(cluster: Cluster, index: int) -> int:
    """The epoch that a node is in."""
    return (await cluster.clients[index].status()).epoch


async def kill(cluster: Cluster, *indices: int) -> None:
    """SIGKILL to all of them at once; return when they are gone."""
    for index in indices:
        pid = cluster.nodes[index].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    for index in indices:
        assert await cluster.nodes[index].wait(STOP_S)


def phalanx(
    *arguments: str, network: NetworkDirectory | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    devnet = {} if network is None else {"PHALANX_DEVNET": str(network.root)}
    return subprocess.run(
        [sys.executable, "-m", "node.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        env=os.environ | devnet | environment,
        check=False,
    )


def document(done: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    """Its one JSON document."""
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)
