"""`phalanx stake` for those who operate no validator, and a validator's terms, on the real ledger."""

import json
import sys
from pathlib import Path

import pytest
from test_edge_stake import LedgerNode, account_file

sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay"))

from click.testing import CliRunner
from relay_fakes import OPERATORS, USERS
from staking_world import quick, to_epoch
from test_edge_tx import node_in_a_thread

from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import Epoch
from consensus.relay.stake.records import main_pool, nomination_name
from node import keys
from node.cli import main as cli
from node.cli.terms import SHARE

VALIDATORS = [each.public for each in OPERATORS]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ("PHALANX_RPC", "PHALANX_DEVNET", "PHALANX_KEYS", keys.PASSPHRASE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def network():
    return quick()


@pytest.fixture
def phalanx(network):
    def run(*arguments, fails: bool = False):
        with node_in_a_thread(LedgerNode(network)) as url:
            done = CliRunner().invoke(cli.main, [*map(str, arguments), "--rpc", url, "--json"])
        assert (done.exit_code != 0) == fails, done.output
        return done.stderr if fails else json.loads(done.stdout)

    return run


@pytest.fixture
def alice(tmp_path) -> tuple[str, ...]:
    path = tmp_path / "alice.key"
    keys.write_key(
        path, seed=hash_tagged(b"test-key", b"user 1"), name="alice", purpose="account", passphrase=None
    )
    return ("--from", str(path), "--wait")


def test_units_go_behind_two_validators_move_on_and_come_back(network, phalanx, alice) -> None:
    one, two, three = (each.hex() for each in VALIDATORS[:3])
    both = nomination_name(VALIDATORS[:2])
    assert phalanx("stake", "delegate", one, two, "--amount", "5_000", *alice)["nomination"] == both.hex()
    (held,) = phalanx("query", "stake", USERS[1].public.hex())
    assert (held["kind"], held["units"], held["pool"]) == ("main", "5000", main_pool(both).hex())
    assert held["validators"] == sorted((one, two))
    phalanx("stake", "redelegate", two, one, "--to", three, "--amount", "2_000", *alice)
    left = phalanx("stake", "undelegate", one, two, "--amount", "1_000", *alice)
    assert left["last_epoch"] == 1
    held = phalanx("query", "stake", USERS[1].public.hex())
    assert [(each["kind"], each["units"], each["from_epoch"]) for each in held] == [
        ("main", "2000", None),
        ("moving", "2000", 4),
        ("leaving", "1000", 4),
    ]
    assert "not yet" in phalanx("stake", "withdraw", *alice, fails=True)
    to_epoch(network, 5)
    assert phalanx("stake", "withdraw", *alice)["paid"] == "1000"
    held = phalanx("query", "stake", USERS[1].public.hex())
    behind = {each["units"]: each["validators"] for each in held if each["kind"] == "main"}
    assert len(held) == 2
    assert [three] in behind.values()
    assert (
        network.view.stakes.value(main_pool(network.view.stakes.own(VALIDATORS[2])), USERS[1].public) == 2_000
    )


def test_what_can_not_be_meant_is_refused_before_it_is_sent(phalanx, alice) -> None:
    one = VALIDATORS[0].hex()
    assert "named twice" in phalanx("stake", "delegate", one, one, "--amount", 5, *alice, fails=True)
    many = [(bytes([index]) + bytes(31)).hex() for index in range(2, 200)]
    assert phalanx("stake", "delegate", *many[:20], "--amount", 5, *alice, fails=True)
    assert "percent" in phalanx("stake", "commission", "101", "--from", account_file(0), fails=True)
    assert "too long" in phalanx(
        "stake", "labels", "--region", "x" * 33, "--from", account_file(0), fails=True
    )


def test_a_validator_says_its_terms_and_rests(network, phalanx) -> None:
    sender = ("--from", account_file(1), "--wait")
    phalanx("stake", "commission", "0.5", *sender)
    phalanx("stake", "labels", "--operator", "acme", "--region", "eu", *sender)
    phalanx("stake", "chill", *sender)
    shown = phalanx("query", "validator", account_file(1))
    assert (shown["commission_ppb"], shown["operator"], shown["chilled"]) == (5_000_000, "acme", True)
    assert "over commission" in phalanx("stake", "commission", "5", *sender, fails=True)
    assert network.view.stakes.candidates(Epoch(2))[0].account != VALIDATORS[1]
    phalanx("stake", "unchill", *sender)
    assert not phalanx("query", "validator", account_file(1))["chilled"]


@pytest.mark.parametrize(
    ("text", "ppb"),
    [("0", 0), ("100", 10**9), ("2.5%", 25_000_000), ("0.0000001", 1), ("33.3333333", 333_333_333)],
)
def test_a_share_in_percent_is_exact(text: str, ppb: int) -> None:
    assert SHARE.convert(text, None, None) == ppb
