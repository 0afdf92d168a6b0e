"""A consumer chain from its registration on, by command line; real processes.

The collator was made for chain 2 before there is one: it waits, and collates once it is registered.
"""

from typing import Any

import pytest
import trio
from network_world import document, phalanx, ready, running

from bench.cluster import NodeProcess
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
    with running(directory, height=2):
        yield directory


def told(network: NetworkDirectory, *arguments: str, code: int = 0) -> Any:
    """One command's JSON document."""
    return document(phalanx(*arguments, "--json", network=network), code)


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
    assert told(network, *PUT, code=1)["error"] == waiting
    register = ("chain", "register", "second", "--from", "alice", "--balance", "1_000_000_000_000", "--wait")
    assert told(network, *register)["chain"] == CHAIN
    [held, second] = told(network, "chain", "list")
    assert (held["name"], second["name"]) == ("agora", "second")

    put = told(network, *PUT, "--timeout", "30")
    assert (put["receipt"]["stage"], put["receipt"]["code"]) == ("final", agora.Code.OK)
    assert told(network, "chain", "show", "2")["head_height"] >= 1
    proved = told(network, "chain", "state", "2", "text:d", "--prove")
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
    before = told(network, "chain", "show", "2")["head_height"]
    node = NodeProcess(network.collator)
    node.kill()
    node.start()
    ready(network, height=2)
    put = told(network, *PUT)
    assert put["receipt"]["height"] > before
    assert len(node.events("collation.waiting")) == 1
