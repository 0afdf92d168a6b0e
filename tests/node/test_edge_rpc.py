"""JSON-RPC 2.0 through a real socket: conformance, limits, and what a client is told when it errs."""

import json
import socket
import threading

import httpx
import pytest
import trio
from edge_fakes import FakeNode, serving, status_of

from consensus.light.proofs import Hops
from consensus.primitives.codec import encode
from consensus.primitives.errors import UserError
from consensus.primitives.ids import Hash
from node.api import Stage
from node.client import RpcClient, RpcError, RpcUnreachable
from node.config import Address, RpcConfig
from node.rpc.server import RpcServer


def converse(body, *, node=None, headers=None, **settings):
    """(HTTP status, JSON answer or None) of one POST to /rpc."""

    async def run():
        async with serving(node or FakeNode(), **settings) as url, httpx.AsyncClient() as http:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent = headers or {"content-type": "application/json"}
            response = await http.post(f"{url}/rpc", content=content, headers=sent)
            return response.status_code, response.json() if response.content else None

    return trio.run(run)


def call(method, params=None, number=1):
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}


def error_of(body, **options):
    _, answer = converse(body, **options)
    assert "result" not in answer
    return answer["error"]["code"], answer["error"]["message"]


def test_a_call_is_answered_with_its_id():
    code, answer = converse(call("status", number="abc"))
    assert code == 200
    assert answer["id"] == "abc"
    assert answer["jsonrpc"] == "2.0"
    assert answer["result"]["role"] == "validator"
    assert answer["result"]["peers"][0] == {
        "identity": "02" * 32, "name": "bob", "connected": True, "rtt_ms": 0.5
    }  # fmt: skip
    assert answer["result"]["rpc"][0].startswith("http://127.0.0.1:")


def test_amounts_travel_as_decimal_strings():
    _, answer = converse(call("account", {"account": "01" * 32}))
    assert answer["result"]["balance"] == str(1 << 100)


def test_positional_parameters_take_the_declared_order():
    _, answer = converse(call("account") | {"params": ["01" * 32]})
    assert answer["result"]["nonce"] == 7


def test_a_batch_is_answered_in_order_without_its_notifications():
    notification = {"jsonrpc": "2.0", "method": "status"}
    _, answer = converse([call("status", number=1), notification, 5, call("nonsense", number=2)])
    assert [each["id"] for each in answer] == [1, None, 2]
    assert answer[1]["error"]["code"] == -32600
    assert answer[2]["error"]["code"] == -32601


def test_notifications_alone_are_not_answered():
    assert converse({"jsonrpc": "2.0", "method": "status"}) == (204, None)
    assert converse([{"jsonrpc": "2.0", "method": "status"}]) == (204, None)


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"{not json", -32700, "not JSON"),
        (b"\xff\xfe", -32700, "not JSON"),
        (b"[" * 100_000, -32700, "not JSON"),
        ([], -32600, "empty"),
        ("text", -32600, "object"),
        ({"id": 1, "method": "status"}, -32600, "jsonrpc"),
        ({"jsonrpc": "2.0", "id": 1, "method": 5}, -32600, "method"),
        ({"jsonrpc": "2.0", "id": 1, "method": "status", "params": 3}, -32600, "params"),
        ({"jsonrpc": "2.0", "id": {}, "method": "status"}, -32600, "id"),
        (call("no_such"), -32601, "there are account"),
        (call("account"), -32602, "account is missing"),
        (call("account", {"account": "zz"}), -32602, "hexadecimal"),
        (call("account", {"account": "00"}), -32602, "64 hex digits"),
        (call("account", {"account": "00" * 32, "extra": 1}), -32602, "extra is not a parameter"),
        (call("submit", {"transactions": ["00", 5, "x"]}), -32602, "transactions[1]"),
        (call("receipt", {"hash": "00" * 32, "wait": "soon"}), -32602, "accepted, notarised"),
        (call("receipt", {"hash": "00" * 32, "timeout_ms": -1}), -32602, "timeout_ms"),
        (call("trace", {"after": True}), -32602, "after"),
        (call("status") | {"params": [1]}, -32602, "takes 0 parameters"),
        (call("state", {}), -32000, "either key or path"),
        (call("state", {"path": "planet/mars"}), -32000, "account/KEY"),
        (call("account", {"account": "fd" * 32}), -32000, "syncing"),
        (call("account", {"account": "fe" * 32}), -32603, "disk is full"),
        (call("account", {"account": "ff" * 32}), -32603, "log says why"),
    ],
)
def test_bad_input_gets_one_clear_error(body, code, words):
    found, message = error_of(body)
    assert found == code
    assert words in message


def test_an_over_long_batch_is_refused_whole():
    code, message = error_of([call("status")] * 1001)
    assert code == -32600
    assert "1000" in message


def test_an_over_long_body_is_refused_before_it_is_read():
    status, answer = converse(b" " * 70_000, max_body_bytes=65_536)
    assert status == 413
    assert answer["error"]["code"] == -32001


def test_an_over_long_body_of_undeclared_length_is_refused():
    async def body():
        for _ in range(20):
            yield b" " * 10_000

    async def run():
        async with serving(FakeNode(), max_body_bytes=65_536) as url, httpx.AsyncClient() as http:
            headers = {"content-type": "application/json"}
            return (await http.post(f"{url}/rpc", content=body(), headers=headers)).status_code

    assert trio.run(run) == 413


def test_a_body_that_is_not_declared_as_json_is_refused():
    status, answer = converse(call("status"), headers={"content-type": "text/plain"})
    assert status == 415
    assert "application/json" in answer["error"]["message"]


def test_health_and_metrics():
    async def run():
        node = FakeNode()
        async with serving(node) as url, httpx.AsyncClient() as http:
            ready = await http.get(f"{url}/health/ready")
            node.status_report = status_of(syncing=True, amnesic=True)
            unready = await http.get(f"{url}/health/ready")
            live = await http.get(f"{url}/health/live")
            return ready, unready, live, (await http.get(f"{url}/metrics")).text

    ready, unready, live, metrics = trio.run(run)
    assert (ready.status_code, unready.status_code, live.status_code) == (200, 503, 200)
    assert unready.json()["reasons"] == ["syncing", "amnesic"]
    for line in (
        "phalanx_final_height 10.0",
        "phalanx_peers_connected 1.0",
        "phalanx_journal_commits_total 7.0",
        'phalanx_peer_round_trip_seconds{peer="bob"} 0.0005',
    ):
        assert line in metrics
    assert "process_resident_memory_bytes" in metrics
    assert "phalanx_finality_seconds_bucket" in metrics


def test_the_client_reads_what_the_server_writes():
    async def run():
        node = FakeNode()
        async with serving(node) as url, RpcClient(url) as client:
            assert await client.status() == node.status_report
            assert (await client.account(b"\x01" * 32)).balance == 1 << 100
            good, bad = await client.submit([b"good", b"bad"])
            assert (good.accepted, bad.accepted, bad.error) == (True, False, "bad signature")
            with pytest.raises(RpcError, match="syncing"):
                await client.account(b"\xfd" * 32)
            first, second = await client.batch([("status", {}), ("nonsense", {})])
            assert first["name"] == "alice"
            assert isinstance(second, RpcError)

    trio.run(run)


def test_long_lists_are_whole_and_in_order():
    async def run():
        node = FakeNode()
        async with serving(node) as url, RpcClient(url) as client:
            page = await client.trace(5, limit=250)
            assert page == node.trace(5, 250)
            names = [Hash(bytes([index % 256, index // 256]).ljust(32)) for index in range(450)]
            assert [each.hash for each in await client.receipts(names)] == names
            assert await client.receipts([]) == []

    trio.run(run)


def test_a_receipt_wait_ends_when_the_stage_is_reached_or_the_time_is_over():
    async def run():
        node = FakeNode()
        async with serving(node) as url, RpcClient(url) as client:
            name = (await client.submit([b"tx"]))[0].hash
            early = await client.receipt(name, wait=Stage.FINAL, timeout_s=0.01)
            assert early.stage is Stage.ACCEPTED
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_reach_soon, node, name)
                with trio.fail_after(10):
                    late = await client.receipt(name, wait=Stage.FINAL, timeout_s=30)
            assert late.stage is Stage.FINAL

    trio.run(run)


async def _reach_soon(node, name: Hash):
    await trio.sleep(0.05)
    node.reach(name, Stage.NOTARISED)
    node.reach(name, Stage.FINAL)


def test_sets_of_epochs_and_evidence_cross_the_wire_as_they_are():
    node = FakeNode()

    async def main():
        async with serving(node) as url, RpcClient(url) as client:
            assert [each.name for each in await client.validators()] == ["of None"]
            assert await client.validators(3) == node.validators(3)
            with pytest.raises(RpcError, match="no validators of epoch 99"):
                await client.validators(99)
            assert await client.evidence() == node.evidence()
            assert (await client.submit_evidence(b"\x09")).signer == 9
            with pytest.raises(RpcError, match="no evidence"):
                await client.submit_evidence(b"nothing")

    trio.run(main)


def test_what_reads_much_is_read_in_a_thread():
    node, threads = FakeNode(), []

    def read(*_, **__):
        threads.append(threading.get_ident())
        raise UserError("it was read")

    questions = {
        "validators": lambda client: client.validators(),
        "concentration": lambda client: client.concentration(2),
        "exposure": lambda client: client.exposure(1),
        "proposal": lambda client: client.proposal(1),
        "light_hops": lambda client: client.light_hops(1),
        "dossier": lambda client: client.dossier(3, 2),
    }
    for name in questions:
        setattr(node, name, read)

    async def main():
        async with serving(node) as url, RpcClient(url) as client:
            for ask in questions.values():
                with pytest.raises(RpcError, match="it was read"):
                    await ask(client)

    trio.run(main)
    assert len(threads) == len(questions)
    assert threading.get_ident() not in threads


def test_what_takes_long_is_read_while_others_are_answered():
    node, asked, go_on = FakeNode(), threading.Event(), threading.Event()

    def light_hops(epoch):
        asked.set()
        if not go_on.wait(10):
            raise UserError("the loop was held")
        return encode(Hops(hops=()))

    node.light_hops = light_hops
    node.dossier = lambda height, view: bytes([height, view])

    async def main():
        async with serving(node) as url, RpcClient(url) as client, RpcClient(url) as other:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.light_hops, 1)
                await trio.to_thread.run_sync(asked.wait)
                assert (await other.status()).network == node.status().network
                go_on.set()
            assert await client.dossier(3, 2) == b"\x03\x02"

    trio.run(main)


def test_a_client_says_when_nobody_answers():
    async def run():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
            async with RpcClient(f"127.0.0.1:{taken.getsockname()[1]}", patience_s=0.1) as client:
                with pytest.raises(RpcUnreachable, match="is it running"):
                    await client.status()

    trio.run(run)


def test_an_occupied_port_is_an_error_with_the_address():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}"):
            RpcServer.bind(RpcConfig(listen=Address("127.0.0.1", port)), None)
