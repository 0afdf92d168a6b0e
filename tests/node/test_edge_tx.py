"""`phalanx tx send --wait` against a node in another thread: what it signs, shows and says."""

import json
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
import trio
from click.testing import CliRunner
from edge_fakes import FakeNode, serving

from consensus.primitives.crypto import SigningKey
from consensus.relay.transactions import Transfer, check_transaction, transaction_hash
from node.api import Stage, SubmitResult, TransactionReport
from node.cli import main as cli
from node.keys import write_key
from node.wallet import Wallet

SEED = bytes(range(32))
GENESIS_HASH = bytes(32)


class MovingNode(FakeNode):
    """Each question about a transaction moves it one stage; it may lose its mempool once."""

    def __init__(self, *, loses=0, void=False, status="ok"):
        super().__init__()
        self.loses, self.void, self.final_status = loses, void, status

    async def submit(self, transactions):
        self.submitted.extend(transactions)
        names = [transaction_hash(raw) for raw in transactions]
        self.stages |= dict.fromkeys(names, Stage.ACCEPTED)
        return [SubmitResult(hash=name, accepted=True) for name in names]

    async def receipt(self, tx_hash, *, wait, timeout_s):
        if self.loses:
            self.loses -= 1
            return TransactionReport(hash=tx_hash, stage=Stage.UNKNOWN)
        if self.void:
            return TransactionReport(hash=tx_hash, stage=Stage.FINAL, height=5, status="void")
        order = list(Stage)
        reached = order[order.index(self.stages[tx_hash]) + 1]
        self.stages[tx_hash] = reached
        status = self.final_status if reached is Stage.PROVED else ""
        return TransactionReport(hash=tx_hash, stage=reached, height=5, status=status, code=1, fee=100)


@contextmanager
def node_in_a_thread(node):
    ready, ended, found = threading.Event(), threading.Event(), {}

    async def main():
        async with serving(node) as url:
            found["url"] = url
            ready.set()
            await trio.to_thread.run_sync(ended.wait)

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    ready.wait()
    try:
        yield found["url"]
    finally:
        ended.set()
        thread.join()


def send(node, tmp_path, *more):
    path = tmp_path / "alice.key"
    write_key(path, seed=SEED, name="alice", purpose="account", passphrase=None)
    with node_in_a_thread(node) as url:
        arguments = ["tx", "send", "--from", str(path), "--to", str(path), "--amount", "1_000", "--rpc", url]
        return CliRunner().invoke(cli.main, [*arguments, "--json", *more])


@pytest.mark.parametrize("loses", [0, 1])
def test_it_shows_each_stage_with_its_time_and_resends_what_was_lost(tmp_path, loses):
    node = MovingNode(loses=loses)
    result = send(node, tmp_path, "--wait")
    assert result.exit_code == 0, result.stderr
    assert len(node.submitted) == 1 + loses
    assert len(set(node.submitted)) == 1
    body = check_transaction(node.submitted[0], GENESIS_HASH).body
    assert body.action == Transfer(to=SigningKey(SEED).public, amount=1_000)
    assert body.nonce == 9  # two of the account's wait in the mempool
    document = json.loads(result.stdout)
    assert list(document["waited_ms"]) == ["accepted", "notarised", "final", "proved"]
    assert document["receipt"]["status"] == "ok"
    assert [line.split()[0] for line in result.stderr.splitlines()] == list(document["waited_ms"])


def test_when_another_process_takes_the_nonce_it_signs_the_next(tmp_path):
    class Contended(MovingNode):
        pending = 9

        async def submit(self, transactions):
            [name] = map(transaction_hash, transactions)
            self.submitted.extend(transactions)
            if self.pending == 9:
                self.pending = 10
                return [SubmitResult(hash=name, accepted=False, error="nonce 9 is taken")]
            return [SubmitResult(hash=name, accepted=True)]

        def account(self, account):
            return replace(super().account(account), pending_nonce=self.pending)

    node = Contended()
    assert send(node, tmp_path).exit_code == 0
    nonces = [check_transaction(raw, GENESIS_HASH).body.nonce for raw in node.submitted]
    assert nonces == [9, 10]


def test_without_wait_it_ends_when_accepted(tmp_path):
    result = send(MovingNode(), tmp_path)
    assert list(json.loads(result.stdout)["waited_ms"]) == ["accepted"]


def test_a_void_transaction_is_a_failure_that_says_why(tmp_path):
    result = send(MovingNode(void=True), tmp_path, "--wait")
    assert result.exit_code == 1
    assert "nonce" in json.loads(result.stdout)["error"]


def test_a_failed_transaction_shows_its_receipt_and_exits_with_1(tmp_path):
    result = send(MovingNode(status="failed"), tmp_path, "--wait")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["receipt"]["status"] == "failed"
    assert document["error"] in result.stderr
    assert "insufficient balance" in document["error"]


def test_a_stage_that_does_not_come_is_said_with_what_was_reached(tmp_path):
    class Stuck(MovingNode):
        async def receipt(self, tx_hash, *, wait, timeout_s):
            await trio.sleep(timeout_s)
            return TransactionReport(hash=tx_hash, stage=Stage.ACCEPTED)

    result = send(Stuck(), tmp_path, "--wait", "--timeout", "0.2")
    assert result.exit_code == 1
    assert "is accepted after 0.2 s" in result.stderr


def test_a_wallet_counts_its_nonces():
    wallet = Wallet(SigningKey(SEED), GENESIS_HASH, 3, max_fee=9)
    actions = [Transfer(to=bytes(32), amount=units) for units in range(3)]
    bodies = [check_transaction(raw, GENESIS_HASH).body for raw in wallet.sign_all(actions)]
    assert [(body.nonce, body.action.amount, body.max_fee) for body in bodies] == [
        (3, 0, 9),
        (4, 1, 9),
        (5, 2, 9),
    ]
    assert wallet.nonce == 6
