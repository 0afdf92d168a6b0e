"""What people do with a network by command line and JSON-RPC, and what they do wrong; real processes.

One network serves all tests of this file. Every wrong thing has one clear sentence, and changes nothing.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from typing import Any

import pytest
import trio
import wasmtime
from network_world import STOP_S, document, genesis_of, phalanx, ready, running

from bench.cluster import NodeProcess, attach_cluster
from bench.directory import NetworkDirectory, NodeHome, lay_out, load, new_plan_name
from bench.plan import Plan
from bench.ports import free_ports
from consensus.agreement.messages import block_hash
from consensus.light.client import DAY_MS, Checkpoint, LightParameters, verify_light_proof
from consensus.light.proofs import LightProof, Question, ReceiptOf, TreeKey, decode_proven_answer
from consensus.primitives.crypto import SigningKey
from consensus.primitives.errors import DecodeError, PeerFault
from consensus.primitives.ids import Amount, Hash, Height, Nonce
from consensus.relay.ledger import account_key
from consensus.relay.receipts import Code, decode_receipt, receipt_id
from consensus.relay.transactions import (
    Action,
    DeployEnclave,
    TransactionBody,
    Transfer,
    sign_transaction,
    transaction_hash,
)
from enclaves.guests import assets
from node.api import Stage
from node.cli.trust import now_ms
from node.client import RpcClient, RpcError, ask
from node.validator_set import genesis_start

TIMEOUT_S = 60.0
ENTRY = '(func (export "phalanx_call") (result i32) (i32.const 0))'
MEMORY = '(memory (export "memory") 1)'
FLOATS = bytes(wasmtime.wat2wasm(f"(module {MEMORY} (func (param f32)) {ENTRY})"))
FOREIGN = bytes(wasmtime.wat2wasm(f'(module (import "env" "time" (func)) {MEMORY} {ENTRY})'))
HOMELESS = bytes(wasmtime.wat2wasm(f"(module {ENTRY})"))
HUGE = b"\0asm\1\0\0\0" + bytes(20_000_000)
MAX_FEE = Amount(50_000_000)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A running network, everything final at height 2 or more; its processes end with the module."""
    plan = Plan(network=new_plan_name(), validators=4, idle_interval_ms=300, bench_accounts=2)
    directory = lay_out(tmp_path_factory.mktemp("journeys") / "net", plan)
    with running(directory, height=2):
        yield directory


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a refused command; the document says the same."""
    assert done.returncode == 1, done.stdout
    assert list(json.loads(done.stdout)) == ["error"]
    [line] = done.stderr.splitlines()
    assert line == f"phalanx: {json.loads(done.stdout)['error']}"
    return line.removeprefix("phalanx: ")


def signed(network: NetworkDirectory, action: Action, *, nonce: int | None = None) -> bytes:
    """A transaction of carol, with her next nonce unless another is given."""
    key = network.plan.person("carol")
    if nonce is None:
        nonce = ask(rpc(network), lambda client: client.account(key.public)).pending_nonce
    return sign_transaction(key, body_of(network, key, action, nonce))


def body_of(network: NetworkDirectory, key: SigningKey, action: Action, nonce: int) -> TransactionBody:
    return TransactionBody(
        chain_id_hash=genesis_of(network).hash,
        sender=key.public,
        nonce=Nonce(nonce),
        max_fee=MAX_FEE,
        action=action,
    )


def rpc(network: NetworkDirectory, index: int = 0) -> str:
    return network.validators[index].rpc


def balance(network: NetworkDirectory, name: str) -> int:
    key = network.plan.person(name).public
    return ask(rpc(network), lambda client: client.account(key)).balance


def post(url: str, body: bytes) -> tuple[int, Any]:
    request = urllib.request.Request(f"{url}/rpc", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


# --- what people do


def test_a_transfer_is_shown_stage_by_stage_and_its_receipt_is_proved(network):
    before = balance(network, "bob")
    done = phalanx(
        *("tx", "send", "--from", "alice", "--to", "bob", "--amount", "100", "--wait", "--json"),
        network=network,
    )
    report = document(done)
    stages = ["accepted", "notarised", "final", "proved"]
    assert list(report["waited_ms"]) == stages
    assert [line.split()[0] for line in done.stderr.splitlines()] == stages
    assert sorted(report["waited_ms"].values()) == list(report["waited_ms"].values())
    assert balance(network, "bob") == before + 100

    shown = document(phalanx("query", "receipt", report["hash"], "--prove", "--json", network=network))
    assert shown["verified"] is True
    question = ReceiptOf(receipt=Hash(bytes.fromhex(report["hash"])))
    value = shown_by(network, question, bytes.fromhex(shown["proof"]))
    assert receipt_id(decode_receipt(value)).hex() == report["hash"]
    refuses_damage(network, question, bytes.fromhex(shown["proof"]))


def test_a_proof_of_state_is_good_and_no_bit_of_it_may_change(network):
    bob = network.plan.person("bob").public
    shown = document(phalanx("query", "state", "account/bob", "--prove", "--json", network=network))
    assert shown["verified"] is True
    assert shown["key"] == account_key(bob).hex()
    question = TreeKey(key=account_key(bob))
    proof = bytes.fromhex(shown["proof"])
    assert shown_by(network, question, proof).hex() == shown["value"]
    refuses_damage(network, question, proof)


def shown_by(network: NetworkDirectory, question: Question, answer: bytes) -> bytes | None:
    """What a node's answer shows to who has the genesis file alone."""
    genesis = genesis_of(network)
    begin = genesis_start(genesis)
    bundle = LightProof(chain=genesis.hash, start=begin, hops=(), proven=decode_proven_answer(answer))
    parameters = LightParameters(chain=genesis.hash, trusting_ms=DAY_MS, unbonding_ms=2 * DAY_MS)
    checkpoint = Checkpoint(height=Height(0), hash=block_hash(begin.header))
    return verify_light_proof(bundle, question, checkpoint, parameters, now_ms())[1]


def refuses_damage(network: NetworkDirectory, question: Question, answer: bytes) -> None:
    for position in range(0, len(answer), 7):
        damaged = bytearray(answer)
        damaged[position] ^= 1
        with pytest.raises((PeerFault, DecodeError)):
            shown_by(network, question, bytes(damaged))


def test_proofs_are_refused_under_another_genesis(network, tmp_path):
    genesis = genesis_of(network)
    other = lay_out(tmp_path / "other", replace(network.plan, network=new_plan_name()))
    assert genesis_of(other).hash != genesis.hash
    done = phalanx(
        *("query", "state", "supply", "--prove", "--genesis", str(other.root / "genesis.json"), "--json"),
        network=network,
    )
    assert "do not believe this node" in refusal(done)


def test_sends_at_the_same_moment_all_arrive(network):
    before = balance(network, "bob")
    command = [sys.executable, "-m", "node.cli.main", "tx", "send", "--from", "carol", "--to", "bob"]
    environment = os.environ | {"PHALANX_DEVNET": str(network.root)}
    started = [
        subprocess.Popen([*command, "--amount", amount, "--json"], stdout=subprocess.PIPE, env=environment)
        for amount in ("1", "20", "300")
    ]
    answers = [json.loads(each.communicate(timeout=TIMEOUT_S)[0]) for each in started]

    async def all_final(client: RpcClient) -> list[str]:
        hashes = [Hash(bytes.fromhex(answer["hash"])) for answer in answers]
        return [(await client.receipt(name, wait=Stage.PROVED, timeout_s=20)).status for name in hashes]

    assert ask(rpc(network), all_final) == ["ok"] * 3
    assert balance(network, "bob") == before + 321


def test_a_consumer_chain_and_its_enclave(network):
    put = ("chain", "put", "agora", "text:greeting", "text:hello", "--from", "alice", "--wait", "--json")
    assert list(document(phalanx(*put, network=network))["waited_ms"]) == [
        "accepted",
        "collated",
        "enacted",
        "final",
    ]
    assert document(phalanx("chain", "show", "1", "--json", network=network))["head_height"] >= 1
    overdraft = (
        "chain",
        "transfer",
        "agora",
        "--from",
        "alice",
        "--to",
        "bob",
        "--amount",
        "9" * 20,
        "--json",
    )
    assert "the sender has" in refusal(phalanx(*overdraft, network=network))
    proved = phalanx("chain", "state", "agora", "text:d", "--prove", "--json", network=network)
    assert document(proved)["verified"] is True
    [module] = document(phalanx("enclave", "list", "--json", network=network))
    assert module["module"] == assets.module_id().hex()
    absent = phalanx("enclave", "state", "assets", "text:none", "--prove", "--json", network=network)
    assert document(absent)["value"] is None


def test_finality_comes_by_websocket(network):
    async def three(client: RpcClient) -> list[int]:
        async with client.finality() as blocks:
            return [(await anext(blocks)).height for _ in range(3)]

    first, *rest = ask(rpc(network), three)
    assert rest == [first + 1, first + 2]


def test_health_and_metrics(network):
    def get(path: str) -> bytes:
        with urllib.request.urlopen(rpc(network) + path, timeout=TIMEOUT_S) as answer:
            return answer.read()

    assert json.loads(get("/health/live")) == {"live": True}
    assert json.loads(get("/health/ready"))["ready"] is True
    assert b"\nphalanx_final_height " in get("/metrics")


# --- what people do wrong


def test_transactions_that_can_not_be(network):
    carol, nobody = network.plan.person("carol"), SigningKey(bytes(range(32)))
    transfer = Transfer(to=network.plan.person("bob").public, amount=Amount(2_000))  # unlike any sent before
    good = signed(network, transfer)
    tried = {
        "signature": good[:-1] + bytes([good[-1] ^ 1]),
        "is used up": sign_transaction(carol, body_of(network, carol, transfer, 0)),
        "the sender has 0 units": sign_transaction(nobody, body_of(network, nobody, transfer, 0)),
        "another network": sign_transaction(
            carol, replace(body_of(network, carol, transfer, 0), chain_id_hash=Hash(bytes(32)))
        ),
        "malformed": good[:40],
    }
    document(phalanx("tx", "raw", good.hex(), "--json", network=network))
    ask(rpc(network), lambda client: client.receipt(transaction_hash(good), wait=Stage.PROVED, timeout_s=20))
    before = balance(network, "carol")
    answers = ask(rpc(network), lambda client: client.submit(list(tried.values())))
    for words, answer in zip(tried, answers, strict=True):
        assert not answer.accepted
        assert words in answer.error
    raw = phalanx("tx", "raw", tried["signature"].hex(), "--json", network=network)
    assert raw.returncode == 1
    assert raw.stderr == f"phalanx: {json.loads(raw.stdout)['error']}\n"
    poor = ("tx", "send", "--from", "alice", "--to", "bob", "--amount", "9" * 30, "--json")
    assert "the sender has" in refusal(phalanx(*poor, network=network))
    assert balance(network, "carol") == before


@pytest.mark.parametrize(
    ("wasm", "sentence"),
    [
        (FLOATS, "uses the float type f32"),
        (FOREIGN, 'imports the unknown function "env.time"'),
        (HOMELESS, 'does not export its memory as "memory"'),
        (HUGE, "far more than any module may have"),
    ],
    ids=["floats", "unknown import", "no memory", "20 MB"],
)
def test_modules_that_are_refused_before_anything_is_sent(network, tmp_path, wasm, sentence):
    file = tmp_path / "module.wasm"
    file.write_bytes(wasm)
    done = phalanx("enclave", "deploy", str(file), "--from", "bob", "--json", network=network)
    assert sentence in refusal(done)


def test_modules_that_the_chain_refuses_itself(network):
    """A client that does not check first: the deployment fails, and the chain knows no such module."""
    first = ask(
        rpc(network), lambda client: client.account(network.plan.person("carol").public)
    ).pending_nonce
    raws = [
        signed(network, DeployEnclave(code=code), nonce=first + turn)
        for turn, code in enumerate((FLOATS, FOREIGN, HOMELESS))
    ]

    async def deploy(client: RpcClient) -> list[tuple[str, int]]:
        assert all(answer.accepted for answer in await client.submit(raws))
        names = [transaction_hash(raw) for raw in raws]
        reports = [await client.receipt(name, wait=Stage.PROVED, timeout_s=20) for name in names]
        return [(report.status, report.code) for report in reports]

    assert ask(rpc(network), deploy) == [("failed", Code.NOT_ADMITTED)] * 3
    assert len(ask(rpc(network), lambda client: client.enclaves())) == 1


def test_a_module_of_20_mb_is_refused_by_the_node(network):
    with pytest.raises(RpcError, match="split it into several requests"):
        ask(rpc(network), lambda client: client.submit([HUGE]))


def test_json_rpc_that_is_none(network):
    for body, code in ((b"rubbish", -32700), (b"[" * 100_000, -32700), (b"[]", -32600), (b"{}", -32600)):
        status, answer = post(rpc(network), body)
        assert (status, answer["error"]["code"]) == (200, code)
    status, answer = post(rpc(network), bytes(17_000_000))
    assert (status, answer["error"]["code"]) == (413, -32001)


def test_wrong_usage_is_exit_code_2_with_one_document(network):
    done = phalanx("tx", "send", "--from", "alice", "--json", network=network)
    assert list(document(done, 2)) == ["error"]
    assert phalanx("query", "block", "zz", network=network).returncode == 2
    assert phalanx("nonsense").returncode == 2


# --- nodes that can not be


def test_broken_settings_are_told_one_by_one(network, tmp_path):
    config = (network.validators[0].directory / "config.toml").read_text()
    for name, text, words in (
        ("torn", config + "\nx = = 3\n", "broken TOML"),
        ("wrong", config.replace('role = "validator"', 'role = "emperor"'), "'emperor' is not a role"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").write_text(text)
        done = phalanx("run", str(tmp_path / name), "--json")
        assert words in json.loads(done.stdout)["error"]
        assert done.returncode == 1


def test_a_store_of_another_network_is_left_alone(tmp_path):
    first = lay_out(tmp_path / "first", Plan(network="first", validators=1, collator=False))
    home = first.validators[0]
    node = NodeProcess(home)
    node.start()

    ready(first)
    node.terminate()
    assert trio.run(node.wait, STOP_S)
    second = lay_out(tmp_path / "second", Plan(network="second", validators=1, collator=False))
    data = home.directory / "data" / "store" / "data.mdb"
    held = data.read_bytes()
    (home.directory / "genesis.json").write_bytes((second.root / "genesis.json").read_bytes())
    done = phalanx("run", str(home.directory))
    assert done.returncode == 1
    assert "give each network a directory of its own" in done.stderr.splitlines()[-1]
    assert data.read_bytes() == held


def test_a_torn_journal_is_cut_and_the_node_returns(network):
    node = NodeProcess(network.validators[3])
    node.kill()
    journal = node.home.directory / "data" / "journal"
    content = journal.read_bytes().rstrip(b"\0")
    journal.write_bytes(content[:-5])
    node.start()

    async def back() -> None:
        async with attach_cluster(network) as cluster:
            target = (await cluster.clients[0].status()).final_height
            await cluster.wait_for(
                3,
                lambda status: status.final_height > target and not status.syncing and not status.amnesic,
                timeout_s=20,
                what="in step after its journal was cut",
            )

    trio.run(back)
    [cut] = node.events("journal.torn_tail_dropped")
    assert cut["bytes"] > 0


@pytest.mark.slow
def test_devnet_is_interrupted_and_resumed(tmp_path):
    root = tmp_path / "net"
    notes = tmp_path / "kept.txt"

    def begin(*more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "node.cli.main", "devnet", "--dir", str(root), "--json", *more]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert child.stderr is not None
        while not child.stderr.readline().startswith("height "):
            assert child.poll() is None
        return child

    def interrupt(child: subprocess.Popen[str]) -> dict[str, Any]:
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=TIMEOUT_S)
        assert child.returncode == 130
        assert not any(NodeProcess(home).running for home in load(root).nodes)
        report = json.loads(out)
        assert (report["exit_reason"], report["forks"]) == ("interrupted", 0)
        return report

    child = begin("--validators", "4", "--no-load", "--idle-ms", "300")
    network = load(root)
    (root / notes.name).write_text("a file of the user's")
    sent = phalanx("tx", "send", "--from", "alice", "--to", "bob", "--amount", "7", "--wait", network=network)
    assert sent.returncode == 0, sent.stderr
    held = balance(network, "bob")
    chaos = phalanx("chaos", "kill", "--attach", str(root), "--kills", "2", "--seconds", "6", "--json")
    assert document(chaos)["lost_transactions"] == 0
    before = interrupt(child)

    child = begin("--keep", "--no-load")
    assert balance(network, "bob") == held
    assert interrupt(child)["finalized_height"] > before["finalized_height"]

    child = begin("--validators", "1", "--no-load")  # a new one, in its place
    assert interrupt(child)["network"] != before["network"]
    assert (root / notes.name).exists()


@pytest.mark.slow
def test_two_machines(tmp_path):
    """The recipe of the README on loopback ports; then one of the two is given another network's genesis."""
    secret, genesis = tmp_path / "secret.txt", tmp_path / "genesis.json"
    secret.write_text("correct horse\n")
    ports = free_ports(4)
    homes = [
        NodeHome(name=name, directory=tmp_path / name, peer_port=ports[index], rpc_port=ports[2 + index])
        for index, name in enumerate(("alice", "bob"))
    ]

    def say(*arguments: object) -> str:
        done = phalanx(*map(str, arguments))
        assert done.returncode == 0, done.stderr
        return done.stdout

    for home in homes:
        addresses = ("--listen", f"127.0.0.1:{home.peer_port}", "--rpc-listen", f"127.0.0.1:{home.rpc_port}")
        sealed = ("--passphrase-file", secret) if home.name == "alice" else ()
        say("init", home.directory, "--name", home.name, *addresses, *sealed)
    alice, bob = homes
    say("key", "new", "carol", "--keys-dir", tmp_path)
    descriptor, funds = bob.directory / "node.json", f"{tmp_path / 'carol.key'}=1_000_000_000"
    say("genesis", alice.directory, descriptor, "--network", "one", "--out", genesis, "--account", funds)
    (bob.directory / "genesis.json").write_bytes(genesis.read_bytes())
    with (bob.directory / "config.toml").open("a") as config:
        config.write((tmp_path / "peers.toml").read_text())
    assert "good" in say("run", "--check", alice.directory, "--passphrase-file", secret)

    def start(home: NodeHome, *more: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "node.cli.main", "run", str(home.directory), *map(str, more)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def stop(child: subprocess.Popen[str]) -> str:
        child.terminate()
        _, log = child.communicate(timeout=TIMEOUT_S)
        assert child.returncode == 0, log
        return log

    def up(home: NodeHome, height: int) -> None:
        async def reached() -> None:
            async with RpcClient(home.rpc, patience_s=20) as client:
                with trio.fail_after(TIMEOUT_S):
                    while (await client.status()).final_height < height:  # noqa: ASYNC110 (over RPC)
                        await trio.sleep(0.1)

        trio.run(reached)

    first, second = start(alice, "--passphrase-file", secret), start(bob)
    try:
        up(alice, 2)
        key = alice.directory / "keys" / "account.key"
        transfer = ("tx", "send", "--from", tmp_path / "carol.key", "--to", key, "--amount", 100, "--wait")
        assert "proved" in say(*transfer, "--rpc", alice.rpc)
        stop(second)
        shutil.rmtree(bob.directory / "data")  # which is of the first network
        other = tmp_path / "two.json"
        say("genesis", alice.directory / "node.json", descriptor, "--network", "two", "--out", other)
        (bob.directory / "genesis.json").write_bytes(other.read_bytes())
        second = start(bob)
        up(bob, 0)
        trio.run(trio.sleep, 2)  # for a handshake, whoever dials
    finally:
        logs = [stop(child) for child in (first, second)]
    assert all("reason=wrong_network" in log for log in logs)
