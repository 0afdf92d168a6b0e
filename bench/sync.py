"""`phalanx bench sync`: how fast a node that is far behind catches up, by blocks and by state.

The network has a long history and a large state, made ahead of time (`bench.history`), and goes on under load
for as long as the bench lasts. Then a fresh observer executes all blocks, and after it another one fetches
the state: each against what the chain grows by in the same seconds.
"""

import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import trio

from bench.cluster import Cluster, NodeProcess, start_cluster
from bench.directory import NetworkDirectory, NodeHome, lay_out, new_plan_name
from bench.history import write_history
from bench.load import Load
from bench.plan import Plan
from bench.ports import free_ports
from bench.workload import RelayAccount, relay_transfers
from consensus.primitives.errors import LocalFault
from node.api import NodeStatus, Role
from node.client import RpcClient, RpcError, RpcUnreachable
from node.config import CONFIG_FILE, Address
from node.config_writer import PeerEntry, Settings, add_peers
from node.genesis_file import read_genesis
from node.setup import GENESIS_FILE, init_node, join_network, read_descriptor

GROWTH_S: Final = 10.0  # of the chain alone, before anybody catches up
AT_HEAD_BLOCKS: Final = 8  # behind the head: a status is some milliseconds old
SNAPSHOT_S: Final = 5
TIMEOUT_S: Final = 600.0
POLL_S: Final = 0.05
BEGUN_BLOCKS: Final = 64  # executed, once replay is under way
HISTORY_ACCOUNTS: Final = range(32)
LOAD_ACCOUNTS: Final = range(32, 64)
LOAD_BATCH: Final = 10
LOAD_WINDOW: Final = 200
LOAD_PAUSE_S: Final = 0.05
LONG_EPOCH: Final = 1_000_000  # blocks: the whole bench is in one


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How far behind, and how much state. `transfers` are in each block of the history."""

    validators: int
    blocks: int
    accounts: int
    transfers: int


async def run(distance: Distance, tell: Callable[[str], None]) -> dict[str, Any]:
    """The report."""
    plan = Plan(
        network=new_plan_name(),
        validators=distance.validators,
        collator=False,
        idle_interval_ms=0,
        idle_accounts=distance.accounts,
        epoch_blocks=LONG_EPOCH,
    )
    with tempfile.TemporaryDirectory(prefix="phalanx-sync-") as scratch:
        network = lay_out(Path(scratch), plan)
        observers = _add_observers(network)
        tell(f"making {distance.blocks} blocks of history …")
        began = time.monotonic()
        await trio.to_thread.run_sync(
            lambda: write_history(
                network, blocks=distance.blocks, transfers=distance.transfers, accounts=HISTORY_ACCOUNTS
            )
        )
        made_s = time.monotonic() - began
        async with (
            start_cluster(network, start_timeout_s=TIMEOUT_S) as cluster,
            _loaded(cluster),
        ):
            await cluster.wait_ready(height=distance.blocks + 2 * distance.validators, timeout_s=TIMEOUT_S)
            tell("measuring the chain's growth …")
            before = await _height(cluster)
            await trio.sleep(GROWTH_S)
            growth = (await _height(cluster) - before) / GROWTH_S
            tell("catching up by blocks …")
            by_blocks = await _catch_up(cluster, observers[0])
            tell("catching up by state …")
            by_state = await _catch_up(cluster, observers[1])
        fetched = _event(observers[1], "state_sync.done")
        begun = _event(observers[1], "state_sync.begun")
    seconds = _seconds_between(begun, fetched)
    return {
        "validators": distance.validators,
        "blocks_behind": distance.blocks,
        "transfers_per_block": distance.transfers,
        "accounts": distance.accounts,
        "history_made_s": round(made_s, 1),
        "growth_blocks_per_s": round(growth, 1),
        "growth_meanwhile_blocks_per_s": round(by_blocks.growth, 1),
        "replay_blocks_per_s": round(by_blocks.rate, 1),
        "replay_over_growth": round(by_blocks.rate / max(growth, by_blocks.growth), 2),
        "replay_to_head_s": round(by_blocks.seconds, 2),
        "state_bytes": fetched["bytes"],
        "state_pieces": fetched["pieces"],
        "state_fetch_s": round(seconds, 2),
        "state_mb_per_s": round(fetched["bytes"] / seconds / 1e6, 2),
        "state_to_head_s": round(by_state.seconds, 2),
        "state_start_height": fetched["height"],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _CaughtUp:
    """From a process' start to the head of the chain. Rates are of blocks a second."""

    seconds: float
    rate: float
    growth: float


async def _catch_up(cluster: Cluster, home: NodeHome) -> _CaughtUp:
    """Start an observer; wait until it is at the head; stop it; compare its newest block with the others'."""
    node = NodeProcess(home)
    async with RpcClient(home.rpc) as client:
        began = time.monotonic()
        first_height = await _height(cluster)
        node.start()
        try:
            with trio.fail_after(TIMEOUT_S):
                measured = await _watch(cluster, node, client, began, first_height)
            await _compare(cluster, client)
        finally:
            node.terminate()
            await node.wait(10.0)
    return measured


async def _watch(
    cluster: Cluster, node: NodeProcess, client: RpcClient, began: float, first_height: int
) -> _CaughtUp:
    under_way: tuple[float, int] | None = None
    while True:
        if not node.running:
            raise LocalFault(f"{node.home.name} ended by itself: {node.last_words()}")
        status = await _status(client)
        if status is not None:
            now = time.monotonic()
            if under_way is None and status.executed_height >= BEGUN_BLOCKS:
                under_way = now, status.executed_height
            head = await _height(cluster)
            if under_way is not None and status.executed_height >= head - AT_HEAD_BLOCKS:
                since, height = under_way
                return _CaughtUp(
                    seconds=now - began,
                    rate=(status.executed_height - height) / max(now - since, POLL_S),
                    growth=(head - first_height) / (now - began),
                )
        await trio.sleep(POLL_S)


async def _compare(cluster: Cluster, client: RpcClient) -> None:
    """Raise LocalFault unless the observer has the chain of the validators."""
    status = await client.status()
    height = status.executed_height
    await cluster.wait_for(
        0, lambda other: other.executed_height >= height, timeout_s=TIMEOUT_S, what=f"height {height}"
    )
    ours = await client.block(height=height)
    theirs = await cluster.clients[0].block(height=height)
    if ours.hash != theirs.hash:
        raise LocalFault(f"two blocks of height {height}: the chain forked")


async def _status(client: RpcClient) -> NodeStatus | None:
    try:
        return await client.status()
    except (RpcError, RpcUnreachable):
        return None


async def _height(cluster: Cluster) -> int:
    status = await cluster.status(0)
    if status is None:
        raise LocalFault("a validator does not answer")
    return status.final_height


@asynccontextmanager
async def _loaded(cluster: Cluster) -> AsyncIterator[None]:
    """A light load of transfers for as long as the block lasts."""
    plan = cluster.directory.plan
    genesis = read_genesis(cluster.directory.root / GENESIS_FILE)
    accounts = [RelayAccount(plan.bench_key(index), genesis.hash) for index in LOAD_ACCOUNTS]
    load = Load(
        [cluster.clients[index] for index in cluster.validators],
        relay_transfers(accounts),
        batch=LOAD_BATCH,
        window=LOAD_WINDOW,
        pause_s=LOAD_PAUSE_S,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        yield
        nursery.cancel_scope.cancel()


def _add_observers(network: NetworkDirectory) -> list[NodeHome]:
    """Two more nodes, which the validators let in: one catches up by blocks, one by state."""
    genesis = read_genesis(network.root / GENESIS_FILE)
    members = [read_descriptor(each.directory) for each in network.validators]
    homes, entries = [], []
    for mode in ("blocks", "state"):
        (port,) = free_ports(1)
        home = NodeHome(name=f"by-{mode}", directory=network.root / f"by-{mode}", peer_port=0, rpc_port=port)
        settings = Settings(
            name=home.name,
            role=Role.FULL,
            listen=None,
            rpc_listen=Address("127.0.0.1", port),
            log_format="json",
        )
        descriptor = init_node(home.directory, settings, passphrase=None)
        join_network(home.directory, genesis, members)
        _configure(home, 'mode = "auto"', f'mode = "{mode}"')
        homes.append(home)
        entries.append(PeerEntry(name=home.name, identity=descriptor.identity, address=None))
    for each in network.validators:
        add_peers(each.directory / CONFIG_FILE, entries)
        _configure(each, "snapshot_seconds = 60", f"snapshot_seconds = {SNAPSHOT_S}")
    return homes


def _configure(home: NodeHome, old: str, new: str) -> None:
    path = home.directory / CONFIG_FILE
    text = path.read_text()
    if old not in text:
        raise RuntimeError(f"{path} has no line {old!r}")
    path.write_text(text.replace(old, new))


def _event(home: NodeHome, name: str) -> dict[str, Any]:
    """The last log event of a name. Raises LocalFault if there is none."""
    found = NodeProcess(home).events(name)
    if not found:
        raise LocalFault(f"{home.name} never logged {name}: it caught up in another way")
    return found[-1]


def _seconds_between(first: dict[str, Any], last: dict[str, Any]) -> float:
    begin, end = (datetime.fromisoformat(each["timestamp"]) for each in (first, last))
    return (end - begin).total_seconds()
