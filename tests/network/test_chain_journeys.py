"""A consumer chain from its registration on, by command line; real processes.

The collator was made for chain 2 before there is one: it waits, and collates once it is registered.
"""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import trio

from bench.cluster import LOG_FILE, NodeProcess, attach_cluster
from bench.directory import NetworkDirectory, lay_out, new_plan_name
from bench.plan import Plan
from consensus.primitives.ids import ChainId, Nonce
from enclaves.guests import agora
from node.api import ChainStage, ChainTransactionReport
from node.client import RpcClient, ask

TIMEOUT_S = 60.0
CHAIN = ChainId(2)
PUT = ("chain", "put", "2", "text:greeting", "text:hello", "--from", "alice", "--wait")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A running network whose collator waits for chain 2; its processes end with the module."""
    plan = Plan(network=new_plan_name(), validators=4, idle_interval_ms=200, bench_accounts=2)
    directory = lay_out(tmp_path_factory.mktemp("chains") / "net", plan)
    config = directory.collator.directory / "config.toml"
    config.write_text(config.read_text().replace("chain = 1", "chain = 2"))
    nodes = [NodeProcess(home) for home in directory.nodes]
    try:
        for node in nodes:
            node.start()
        trio.run(ready, directory)
        yield directory
    finally:
        for home in directory.nodes:
            NodeProcess(home).terminate()
        for home in directory.nodes:
            trio.run(NodeProcess(home).wait, 10.0)


async def ready(directory: NetworkDirectory) -> None:
    async with attach_cluster(directory) as cluster:
        await cluster.wait_ready(height=2)


def phalanx(network: NetworkDirectory, *arguments: str, code: int = 0) -> Any:
    """One command's JSON document."""
    done = subprocess.run(
        [sys.executable, "-m", "node.cli.main", *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env=os.environ | {"PHALANX_DEVNET": str(network.root)},
        check=False,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def follow(network: NetworkDirectory, raw: bytes) -> ChainTransactionReport:
    """Submit to the collator's chain and wait until the candidate that carries it is final."""

    async def submit(client: RpcClient) -> ChainTransactionReport:
        [answer] = await client.chain_submit(CHAIN, [raw])
        assert answer.accepted, answer.error
        with trio.fail_after(TIMEOUT_S):
            while True:
                [report] = await client.chain_receipts(CHAIN, [answer.hash])
                if report.stage is ChainStage.FINAL:
                    return report
                await trio.sleep(0.05)

    return ask(network.collator.rpc, submit)


def test_from_registration_to_state(network):
    """Refused while there is no chain 2; then registered, collated, enacted, read with proof."""
    waiting = "chain 2 is not registered yet; this node will collate it once it is"
    assert phalanx(network, *PUT, code=1)["error"] == waiting
    register = ("chain", "register", "second", "--from", "alice", "--balance", "1_000_000_000_000", "--wait")
    assert phalanx(network, *register)["chain"] == CHAIN
    [held, second] = phalanx(network, "chain", "list")
    assert (held["name"], second["name"]) == ("agora", "second")

    put = phalanx(network, *PUT, "--timeout", "30")
    assert (put["receipt"]["stage"], put["receipt"]["code"]) == ("final", agora.Code.OK)
    assert phalanx(network, "chain", "show", "2")["head_height"] >= 1
    proved = phalanx(network, "chain", "state", "2", "text:d", "--prove")
    assert proved["verified"] is True
    assert bytes.fromhex(proved["value"]) == agora.domain("second")


def test_a_used_nonce_is_told(network):
    """What the chain's own code refuses is carried, and the receipt says so; what was done stays done."""
    alice = network.plan.person("alice")
    action = agora.Put(key=b"key", value=b"value")
    first, again = (
        agora.sign_transaction(alice, agora.domain("second"), nonce, action) for nonce in (Nonce(1), Nonce(0))
    )
    assert follow(network, first).code == agora.Code.OK
    assert follow(network, again).code == agora.Code.BAD_NONCE
    assert follow(network, first).code == agora.Code.OK  # sent once more


def test_the_collator_restarts_where_it_was(network):
    before = phalanx(network, "chain", "show", "2")["head_height"]
    node = NodeProcess(network.collator)
    node.kill()
    node.start()
    trio.run(ready, network)
    put = phalanx(network, *PUT)
    assert put["receipt"]["height"] > before
    log = [
        json.loads(line)
        for line in (network.collator.directory / LOG_FILE).read_text().splitlines()
        if line.startswith("{")
    ]
    assert len([line for line in log if line["event"] == "collation.waiting"]) == 1
