"""What shows elections: `phalanx query validators`, `standby` and `concentration` over JSON-RPC."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_edge_stake import LedgerNode
from test_edge_tx import node_in_a_thread

sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay"))

from relay_fakes import OPERATORS, USERS, Network
from staking_world import bond, code, quick, to_epoch

from consensus.primitives.ids import Amount, Epoch
from consensus.relay.elections.records import exposure
from consensus.relay.elections.reporting import concentration_of
from consensus.relay.receipts import Code
from consensus.relay.stake.transactions import BondMore, Chill, SetLabels
from node.api import ValidatorReport
from node.cli import main as cli


class ElectingNode(LedgerNode):
    """Answers about sets from the ledger."""

    def validators(self, epoch=None):
        asked = self.network.epoch if epoch is None else epoch
        return [
            ValidatorReport(
                index=index,
                name=each.name,
                account=each.account,
                consensus_key=each.consensus_key,
                identity_key=each.identity_key,
                stake=each.stake,
                support=Amount(exposure(self.network.view, asked, each.account).total),
            )
            for index, each in enumerate(self.network.view.epoch_set(asked).members)
        ]

    def concentration(self, epoch=None):
        return concentration_of(self.network.view, self.network.epoch if epoch is None else Epoch(epoch))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("PHALANX_RPC", "PHALANX_DEVNET", "PHALANX_KEYS"):
        monkeypatch.delenv(variable, raising=False)


def ask(network: Network, *arguments: str, as_json: bool = True):
    """What a command prints: its document, or its text."""
    with node_in_a_thread(ElectingNode(network)) as url:
        done = CliRunner().invoke(
            cli.main, ["query", *arguments, "--rpc", url, *(["--json"] if as_json else [])]
        )
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if as_json else done.stdout


def test_power_and_support_are_shown_apart() -> None:
    network = quick()
    assert code(network, OPERATORS[1], BondMore(amount=10**6)) == Code.OK
    to_epoch(network, 2)
    shown = ask(network, "validators")
    assert [(each["stake"], each["support"]) for each in shown] == [
        (100, "100"),
        (149, "1000100"),
        (100, "100"),
        (100, "100"),
    ]
    assert "power 149  support 1000100" in ask(network, "validators", as_json=False)


def test_who_stands_by_and_who_was_kept_are_shown() -> None:
    network = quick(max_validators=4)
    assert "no election yet" in ask(network, "standby", as_json=False)
    assert code(network, USERS[0], bond(network, USERS[0], "next", 50)) == Code.OK
    to_epoch(network, 2)
    assert ask(network, "standby") == {
        "epoch": 2,
        "electable": 5,
        "kept": [],
        "standby": [USERS[0].public.hex()],
    }
    for operator in OPERATORS[:2]:
        assert code(network, operator, Chill()) == Code.OK
    to_epoch(network, 3)
    shown = ask(network, "standby")
    assert (shown["electable"], shown["standby"]) == (3, [])
    assert set(shown["kept"]) <= {each.public.hex() for each in OPERATORS[:2]}
    assert "kept, though not electable" in ask(network, "standby", as_json=False)


def test_concentration_is_shown_by_what_validators_declare() -> None:
    network = quick()
    for operator, region in zip(OPERATORS, ("eu", "eu", "us", ""), strict=True):
        assert code(network, operator, SetLabels(operator="", region=region, client="phalanx")) == Code.OK
    shown = ask(network, "concentration", "--epoch", "1")
    assert shown["power_total"] == 400
    assert shown["validators"] == {
        "groups": 4,
        "gini_ppb": 0,
        "nakamoto_halt": 2,
        "nakamoto_rule": 3,
        "largest_ppb": 250_000_000,
        "undeclared_ppb": 0,
    }
    assert shown["regions"]["nakamoto_halt"] == 1
    assert shown["regions"]["undeclared_ppb"] == 250_000_000
    text = ask(network, "concentration", as_json=False)
    assert "the largest has 50.0 %; Gini 0.166; 25.0 % undeclared" in text
    assert "operators     nobody declares any" in text
