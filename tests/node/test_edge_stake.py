"""`phalanx stake` and what shows it, against a node that executes what it is sent on the real ledger."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from edge_fakes import FakeNode, status_of
from test_edge_tx import node_in_a_thread

sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay"))

from relay_fakes import OPERATORS, USERS, Network
from staking_world import CONTRADICTION, DOUBLE, evidence, quick, to_epoch

from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import Epoch
from consensus.relay.receipts import Code, TransactionReceipt
from consensus.relay.transactions import Transfer, transaction_hash
from node import keys
from node.api import AccountReport, Role, Stage, StateReport, SubmitResult, TransactionReport
from node.cli import main as cli
from node.config import Address
from node.config_writer import Settings
from node.setup import init_node


class LedgerNode(FakeNode):
    """Each submission is a block; what it did is proved at once."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.status_report = status_of(genesis_hash=network.hash)
        self.receipts_by_name: dict[bytes, TransactionReceipt] = {}

    async def submit(self, transactions):
        result = self.network.block(transactions)
        self.receipts_by_name |= {each.transaction: each for each in result.receipts}
        return [SubmitResult(hash=transaction_hash(raw), accepted=True) for raw in transactions]

    async def receipt(self, tx_hash, *, wait, timeout_s):
        found = self.receipts_by_name[tx_hash]
        return TransactionReport(
            hash=tx_hash,
            stage=Stage.PROVED,
            height=found.height,
            status="ok" if found.code == Code.OK else "failed",
            code=found.code,
            fee=found.fee,
            output=found.output,
        )

    def account(self, account):
        record = self.network.view.account(account)
        return AccountReport(
            account=account,
            balance=record.balance,
            nonce=record.nonce,
            pending_nonce=record.nonce,
            height=self.network.height,
        )

    def state(self, key, *, prove):
        return StateReport(key=key, value=self.network.view.read(key), height=self.network.height)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ("PHALANX_RPC", "PHALANX_DEVNET", "PHALANX_KEYS", keys.PASSPHRASE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def network():
    return quick()


@pytest.fixture
def phalanx(network):
    """Runs a command that asks the node; its JSON document, or its refusal."""
    with node_in_a_thread(LedgerNode(network)) as url:

        def run(*arguments, fails=False):
            done = CliRunner().invoke(cli.main, [*map(str, arguments), "--rpc", url, "--json"])
            assert (done.exit_code != 0) == fails, done.output
            return done.stderr if fails else json.loads(done.stdout)

        yield run


def account_file(index: int, name: str = "operator") -> str:
    """The key file of an operator of the test network."""
    path = Path(f"{name}{index}.key")
    if not path.exists():
        seed = hash_tagged(b"test-key", f"operator {index}".encode())
        keys.write_key(path, seed=seed, name=name, purpose="account", passphrase=None)
    return str(path)


def make_node(name: str, *more: str, listen: str = "127.0.0.1:7001") -> Path:
    done = CliRunner().invoke(cli.main, ["init", name, "--name", name, "--listen", listen, *more, "--json"])
    assert done.exit_code == 0, done.output
    return Path(name)


def fund(network: Network, node: Path, units: int) -> bytes:
    account = keys.read_header(node / "keys" / "account.key").public
    network.block([network.raw(USERS[0], Transfer(to=account, amount=units))])
    return account


def test_a_node_made_by_init_bonds_and_is_elected(network, phalanx) -> None:
    node = make_node("erin")
    account = fund(network, node, 10**6)
    done = phalanx("stake", "bond", node, "--amount", "5_000", "--wait")
    assert (done["receipt"]["status"], done["name"], done["address"]) == ("ok", "erin", "127.0.0.1:7001")
    assert done["validator"] == account.hex()
    to_epoch(network, 2)
    member = network.view.epoch_set(Epoch(2)).members[-1]
    assert (member.name, member.stake, member.address) == ("erin", 199, "127.0.0.1:7001")  # capped
    assert member.consensus_key == keys.read_header(node / "keys" / "consensus.key").public
    assert member.identity_key == keys.read_header(node / "keys" / "identity.key").public
    shown = phalanx("query", "validator", account.hex())
    assert (shown["bonded"], shown["standing"], shown["unbonding"]) == ("5000", "active", [])


def test_stake_goes_up_and_down_and_comes_back(network, phalanx) -> None:
    sender = ("--from", account_file(1), "--wait")
    phalanx("stake", "bond-more", "--amount", 60, *sender)
    phalanx("stake", "unbond", "--amount", 30, *sender)
    (entry,) = phalanx("query", "validator", account_file(1))["unbonding"]
    assert entry == {"amount": "30", "from_epoch": 4, "from_ms": None}
    to_epoch(network, 2)
    (entry,) = phalanx("query", "validator", account_file(1))["unbonding"]
    assert entry == {"amount": "30", "from_epoch": 4, "from_ms": 1_040 + 100}
    assert "not yet" in phalanx("stake", "withdraw", *sender, fails=True)
    to_epoch(network, 5)
    assert phalanx("stake", "withdraw", *sender)["paid"] == "30"
    assert phalanx("query", "validator", account_file(1))["bonded"] == "130"


def test_a_key_is_rotated_beside_the_old_one(network, phalanx) -> None:
    node = make_node("erin")
    account = fund(network, node, 10**6)
    phalanx("stake", "bond", node, "--amount", "5_000", "--wait")
    done = phalanx("stake", "rotate-key", node, "--wait")
    header = keys.read_header(Path(done["file"]))
    assert (
        header.public.hex()
        == done["consensus"]
        == phalanx("query", "validator", account.hex())["consensus_key"]
    )
    opened = keys.open_node_keys(node / "keys", None, validator=True)
    assert header.public in {each.header.public for each in opened.consensus}
    assert len(opened.consensus) == 2


def test_encrypted_keys_stay_encrypted_when_they_are_rotated(network, phalanx, tmp_path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse\n")
    node = Path("erin")
    settings = Settings(name="erin", role=Role.VALIDATOR, listen=Address("127.0.0.1", 7001), rpc_listen=None)
    init_node(node, settings, passphrase=b"correct horse", cost=keys.Cost(1, 8192))
    fund(network, node, 10**6)
    assert "encrypted" in phalanx("stake", "bond", node, "--amount", "5_000", fails=True)
    phalanx("stake", "bond", node, "--amount", "5_000", "--wait", "--passphrase-file", secret)
    done = phalanx("stake", "rotate-key", node, "--wait", "--passphrase-file", secret)
    assert keys.read_header(Path(done["file"])).encrypted


def test_the_address_changes(network, phalanx) -> None:
    phalanx("stake", "set-address", "203.0.113.7:7700", "--from", account_file(0), "--wait")
    assert network.view.validator(OPERATORS[0].public).address == "203.0.113.7:7700"
    assert "host:port" in phalanx("stake", "set-address", "nowhere", "--from", account_file(0), fails=True)


def test_a_jailed_validator_comes_back_and_a_tombstoned_one_does_not(network, phalanx) -> None:
    network.block(evidence=[evidence(network, 0, votes=CONTRADICTION), evidence(network, 1, votes=DOUBLE)])
    jailed = phalanx("query", "validator", account_file(0))
    assert (jailed["standing"], jailed["jailed_until"]) == ("jailed", 3)
    assert phalanx("query", "validator", account_file(1))["standing"] == "tombstoned"
    assert [each["account"] for each in phalanx("query", "roster")] == sorted(
        each.public.hex() for each in OPERATORS[2:]
    )
    to_epoch(network, 3)
    phalanx("stake", "unjail", "--from", account_file(0), "--wait")
    assert phalanx("query", "validator", account_file(0))["standing"] == "active"
    assert "tombstoned" in phalanx("stake", "unjail", "--from", account_file(1), "--wait", fails=True)
    found = phalanx("query", "state", f"offence/{account_file(1)}/1")
    assert found["value"] is not None


@pytest.mark.parametrize(
    ("make", "arguments", "words"),
    [
        (("erin", "--role", "full"), (), "phalanx init --role validator"),
        (("erin",), ("--amount", "3"), "below minimum"),
        (("erin",), ("--amount", "1_000_000_000"), "insufficient balance"),
    ],
    ids=["no validator", "too little", "too much"],
)
def test_a_bond_that_can_not_be_says_why(network, phalanx, make, arguments, words) -> None:
    node = make_node(*make)
    if "--role" not in make:
        fund(network, node, 10**6)
    given = arguments or ("--amount", "100")
    assert words in phalanx("stake", "bond", node, *given, "--wait", fails=True)


def test_an_address_that_nobody_can_dial_is_refused(network, phalanx) -> None:
    node = make_node("erin", listen="0.0.0.0:7001")
    fund(network, node, 10**6)
    assert "--address IP:PORT" in phalanx("stake", "bond", node, "--amount", "100", fails=True)
    name = ("--address", "node.example.org:7001")
    assert "resolve no names" in phalanx("stake", "bond", node, "--amount", "100", *name, fails=True)
    assert "resolve no names" in phalanx(
        "stake", "set-address", name[1], "--from", account_file(0), fails=True
    )
    assert phalanx("stake", "bond", node, "--amount", "100", "--address", "10.0.0.1:7001")


def test_who_never_bonded_is_no_validator(network, phalanx) -> None:
    assert "phalanx stake bond --help" in phalanx("query", "validator", USERS[3].public.hex(), fails=True)
