"""`phalanx query economy` and `phalanx stake claim`, against a node that executes on the real ledger."""

import json
import sys
from pathlib import Path

import pytest
from test_edge_stake import LedgerNode, account_file

sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay"))
sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay" / "rewards"))

from click.testing import CliRunner
from earning_world import earning, pot, to_next_epoch
from relay_fakes import OPERATORS
from test_edge_tx import node_in_a_thread

from consensus.primitives.ids import ChainId, Epoch
from consensus.relay.ledger import Pot
from consensus.relay.rewards.distributing import commission
from consensus.relay.rewards.holding import holding_account
from consensus.relay.stake.records import main_pool
from consensus.relay.stake.stakes import Stakes
from node import keys
from node.cli import main as cli


class EconomicNode(LedgerNode):
    def economy(self):
        return self.network.view.economy()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ("PHALANX_RPC", "PHALANX_DEVNET", "PHALANX_KEYS", keys.PASSPHRASE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


def run(network, *arguments: str, as_json: bool = True, fails: bool = False):
    with node_in_a_thread(EconomicNode(network)) as url:
        more = ["--json"] if as_json else []
        done = CliRunner().invoke(cli.main, [*arguments, "--rpc", url, *more])
    assert (done.exit_code != 0) == fails, done.output
    if fails:
        return done.stderr
    return json.loads(done.stdout) if as_json else done.stdout


def test_the_economy_is_shown_as_the_state_has_it() -> None:
    network = earning()
    assert run(network, "query", "economy")["epochs"] == []
    first, second = to_next_epoch(network), to_next_epoch(network)
    shown = run(network, "query", "economy")
    supply = network.view.supply()
    assert shown["issued"] == str(supply.issued)
    assert shown["burnt"] == str(supply.burnt)
    assert shown["staked"] == str(4 * 10**8)
    assert shown["staking_ratio_ppb"] == 4 * 10**17 // (supply.issued - supply.burnt)
    assert 25_000_000 < shown["inflation_ppb"] < 100_000_000
    assert shown["take_rate_ppb"] < first.take_ppb
    assert shown["pots"]["treasury"] == str(pot(network, Pot.TREASURY))
    assert [each["epoch"] for each in shown["epochs"]] == [2, 1]
    assert shown["epochs"][0]["issued"] == str(second.issued)
    assert set(shown["pots"]) == {each.name.lower() for each in Pot}
    text = run(network, "query", "economy", as_json=False)
    assert f"{supply.issued} units, of which {supply.burnt} are burnt" in text
    assert "epoch 2" in text


def test_rewards_and_commission_are_claimed() -> None:
    network = earning(commission_min_ppb=100_000_000)
    refused = run(network, "stake", "claim", "--from", account_file(1), fails=True)
    assert "nothing to claim" in refused
    to_next_epoch(network)
    account = OPERATORS[1].public
    pool, kept = main_pool(Stakes.own(account)), commission(network.view, account)
    earned = network.view.stakes.holdings.earned(pool, account)
    shown = run(network, "stake", "claim", "--from", account_file(1), "--wait")
    assert (shown["pool"], shown["claimed"]) == (pool.hex(), str(earned))
    shown = run(network, "stake", "claim", "--commission", "--from", account_file(1), "--wait")
    assert shown["claimed"] == str(kept)
    assert kept > earned // 10
    shown = run(network, "stake", "claim", "--pool", pool.hex(), "--from", account_file(1), "--wait")
    assert shown["claimed"] == "0"
    both = run(network, "stake", "claim", "--pool", "00", "--commission", "--from", "x", fails=True)
    assert "not both" in both
    assert "64 hex digits" in run(
        network, "stake", "claim", "--pool", "00", "--from", account_file(1), fails=True
    )


def test_a_payment_in_a_chains_own_asset_is_asked_for() -> None:
    network = earning()
    account = run(network, "chain", "holding", "1", "--epoch", "1")["account"]
    assert account == holding_account(ChainId(1), Epoch(1)).hex()
    command = ("chain", "release", "1", "--epoch", "1", "--amount", "5", "--from", account_file(0))
    assert "not yet" in run(network, *command, "--wait", fails=True)
    to_next_epoch(network)
    assert "no such instance" in run(network, *command, "--wait", fails=True)  # of `assets` on chain 1
    assert "32 bytes" in run(network, *command, "--asset", "00", fails=True)
