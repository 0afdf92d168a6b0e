"""Four validators and a collator as real processes: killed, starved, robbed of a journal, shouted at.

One network serves all tests of this file; each leaves every node running. What ends each of them is the
audit: one chain at all validators, and every transaction that was acknowledged is in it once.
"""

import random
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from network_world import genesis_of, kill, running

from bench.audit import audit
from bench.cluster import LOG_FILE, Cluster, attach_cluster
from bench.directory import NetworkDirectory, NodeHome, lay_out, new_plan_name
from bench.load import Load
from bench.plan import AGORA_CHAIN, Plan
from bench.workload import AgoraAccount, RelayAccount, agora_transfers, relay_transfers

TIMEOUT_S = 60.0
ACCOUNTS = 8


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A running network; its processes end with the module."""
    plan = Plan(network=new_plan_name(), validators=4, idle_interval_ms=200, bench_accounts=ACCOUNTS)
    directory = lay_out(tmp_path_factory.mktemp("network") / "net", plan)
    with running(directory):
        yield directory


def play(network: NetworkDirectory, scene: Callable[[Cluster], Awaitable[None]]) -> None:
    """Run a scene against the network once all of it is up."""

    async def main() -> None:
        with trio.fail_after(TIMEOUT_S):
            async with attach_cluster(network) as cluster:
                await cluster.wait_ready()
                await scene(cluster)

    trio.run(main)


@asynccontextmanager
async def load(cluster: Cluster) -> AsyncIterator[Load]:
    """Transfers for as long as the block lasts; then everything is final and the audit is good."""
    genesis = genesis_of(cluster.directory)
    plan = cluster.directory.plan
    accounts = []
    for index in range(ACCOUNTS):
        key = plan.bench_key(index)
        report = await cluster.clients[0].account(key.public)
        accounts.append(RelayAccount(key, genesis.hash, report.nonce))
    clients = [cluster.clients[index] for index in cluster.validators]
    source = Load(clients, relay_transfers(accounts), batch=10, window=40)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.run)
        yield source
        source.stop()
    promised = max(source.report.acknowledged.values())
    for index in cluster.validators:
        await final(cluster, index, promised)
    found = await audit(cluster, source.report.acknowledged)
    assert (found.forks, found.lost, found.duplicated) == (0, 0, 0)


async def acknowledged(source: Load, more: int) -> None:
    """Wait until so many more transactions are final."""
    wanted = len(source.report.acknowledged) + more
    while len(source.report.acknowledged) < wanted:  # noqa: ASYNC110
        await trio.sleep(0.02)


async def final(cluster: Cluster, index: int, height: int) -> None:
    """Wait until a node has that height final and executed."""
    await cluster.wait_for(
        index,
        lambda status: status.executed_height >= height and not status.syncing,
        timeout_s=TIMEOUT_S,
        what=f"height {height}",
    )


async def height_of(cluster: Cluster, index: int) -> int:
    """The node's final height, once it answers."""
    status = await cluster.wait_for(index, lambda _: True, timeout_s=TIMEOUT_S, what="an answer")
    return status.final_height


async def goes_on(cluster: Cluster, index: int, blocks: int = 3) -> None:
    """Wait until the node has seen that many more blocks become final."""
    await final(cluster, index, await height_of(cluster, index) + blocks)


def log_of(home: NodeHome) -> str:
    return (home.directory / LOG_FILE).read_text(errors="replace")


def test_transactions_become_final_on_both_chains(network) -> None:
    async def scene(cluster: Cluster) -> None:
        assert cluster.collator is not None
        collator = cluster.clients[cluster.collator]
        plan = network.plan
        source = agora_transfers([AgoraAccount(plan.bench_key(0), plan.agora_domain())])
        answers = await collator.chain_submit(AGORA_CHAIN, [next(source) for _ in range(5)])
        assert all(answer.accepted for answer in answers)
        async with load(cluster) as relay:
            await acknowledged(relay, 50)
        while (await cluster.clients[0].chain(AGORA_CHAIN)).head_height < 1:  # noqa: ASYNC110
            await trio.sleep(0.05)

    play(network, scene)


def test_a_killed_validator_catches_up_and_loses_nothing(network) -> None:
    async def scene(cluster: Cluster) -> None:
        async with load(cluster) as source:
            await acknowledged(source, 20)
            await kill(cluster, 1)
            await acknowledged(source, 40)
            cluster.nodes[1].start()
            await final(cluster, 1, await height_of(cluster, 0))

    play(network, scene)


def test_all_killed_at_once_the_chain_goes_on(network) -> None:
    async def scene(cluster: Cluster) -> None:
        async with load(cluster) as source:
            await acknowledged(source, 40)
            before = max([await height_of(cluster, index) for index in cluster.validators])
            await kill(cluster, *range(len(cluster.nodes)))
            for node in cluster.nodes:
                node.start()
            await final(cluster, 0, before + 1)
            await acknowledged(source, 40)
        assert cluster.collator is not None
        await goes_on(cluster, cluster.collator)

    play(network, scene)


def test_a_lost_journal_comes_back_voting_after_the_bar(network) -> None:
    async def scene(cluster: Cluster) -> None:
        home = network.validators[3]
        await kill(cluster, 3)
        (home.directory / "data" / "journal").unlink()
        cluster.nodes[3].start()
        status = await cluster.wait_for(
            3, lambda status: not status.amnesic, timeout_s=TIMEOUT_S, what="its vote back"
        )
        assert "journal.lost" in log_of(home)
        assert status.final_height > 0
        await kill(cluster, 0)  # from here on nothing is final without the vote of the one that had amnesia
        await goes_on(cluster, 3)
        cluster.nodes[0].start()
        await final(cluster, 0, await height_of(cluster, 3))
        assert "evidence.found" not in "".join(map(log_of, network.validators))

    play(network, scene)


def test_garbage_on_the_peer_port_is_refused(network) -> None:
    async def scene(cluster: Cluster) -> None:
        home = network.validators[2]
        for noise in (b"GET / HTTP/1.1\r\nHost: phalanx\r\n\r\n", bytes(5_000), b"\xff" * 7):
            async with await trio.open_tcp_stream("127.0.0.1", home.peer_port) as stream:
                with suppress(trio.BrokenResourceError):  # it may hang up before we have said it all
                    await stream.send_all(noise)
                    await stream.send_eof()
                    while await stream.receive_some():
                        pass
        while '"not_phalanx"' not in log_of(home):  # noqa: ASYNC110
            await trio.sleep(0.05)
        assert cluster.nodes[2].running
        await goes_on(cluster, 2, blocks=1)

    play(network, scene)


def test_many_silent_connections_do_not_keep_peers_out(network) -> None:
    async def scene(cluster: Cluster) -> None:
        home = network.validators[2]
        silent = [socket.create_connection(("127.0.0.1", home.peer_port)) for _ in range(100)]
        await kill(cluster, 0)
        cluster.nodes[0].start()
        await final(cluster, 0, await height_of(cluster, 2) + 1)
        status = await cluster.clients[2].status()
        assert sum(peer.connected for peer in status.peers) >= 3
        for each in silent:
            each.close()

    play(network, scene)


def test_sigterm_leaves_clean_with_everything_final_durable(network) -> None:
    async def scene(cluster: Cluster) -> None:
        home = network.validators[1]
        await kill(cluster, 1)
        node = cluster.nodes[1]
        node.start()
        await goes_on(cluster, 1)
        before = await height_of(cluster, 1)
        node.terminate()
        assert await node.wait(TIMEOUT_S)
        assert node.exit_code == 0
        tail = log_of(home).splitlines()[-8:]
        stopped = next(line for line in tail if '"node.stopped"' in line)
        assert int(stopped.split('"height":')[1].split(",")[0].strip(" }")) >= before
        assert tail[-1] == "stopped"
        node.start()
        await final(cluster, 1, before)

    play(network, scene)


def test_a_full_disk_stops_the_node_with_one_sentence(network) -> None:
    """The limit on file size hits the store, which is the largest file; making room is raising it."""

    async def scene(cluster: Cluster) -> None:
        home = network.validators[3]
        await kill(cluster, 3)
        node = cluster.nodes[3]
        node.start()
        await goes_on(cluster, 3, blocks=1)
        async with load(cluster) as source:
            await acknowledged(source, 10)
            room = (home.directory / "data" / "store" / "data.mdb").stat().st_size + 32 * 1024
            resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (room, room))
            assert await node.wait(TIMEOUT_S)
            assert node.exit_code == 1
            text = log_of(home)
            assert "can not be written" in text
            assert "make room" in text
            assert "Traceback" not in text
            await acknowledged(source, 20)  # the others go on
            node.start()

    play(network, scene)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [False, True], ids=["with its journal", "after losing it"])
def test_a_validator_killed_again_and_again_as_it_starts_is_never_at_fault(network, lost) -> None:
    """Also in the middle of the probe of a lost journal: a restart must not take it for a first start."""

    async def scene(cluster: Cluster) -> None:
        chance = random.Random(5)
        home = network.validators[2]
        async with load(cluster) as source:
            await kill(cluster, 2)
            if lost:
                (home.directory / "data" / "journal").unlink()
            for _ in range(8):
                cluster.nodes[2].start()
                await trio.sleep(chance.uniform(0.6, 2.0))
                await kill(cluster, 2)
            cluster.nodes[2].start()
            await acknowledged(source, 20)
            await cluster.wait_for(
                2, lambda status: not status.amnesic, timeout_s=TIMEOUT_S, what="its vote back"
            )
        await kill(cluster, 1)  # its vote is needed from here on
        await goes_on(cluster, 2)
        cluster.nodes[1].start()
        await final(cluster, 1, await height_of(cluster, 2))
        assert "evidence.found" not in "".join(map(log_of, network.validators))

    play(network, scene)
