"""Restaking at the command line: `phalanx stake allocate`, `chain register --subset`, `query exposure`."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_edge_stake import LedgerNode, account_file
from test_edge_tx import node_in_a_thread

sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay"))
sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay" / "security"))

from security_world import subset_network
from staking_world import to_epoch

from consensus.primitives.guest import Policy
from consensus.primitives.ids import Amount
from consensus.relay.security.terms import RailTerms, SubsetTerms
from node.cli import main as cli


class ExposedNode(LedgerNode):
    """Answers about exposure from the ledger."""

    def exposure(self, chain=None):
        view = self.network.view
        chains = [each for each in view.chains() if chain in (None, each.chain)]
        return view.exposure_report(self.network.epoch, chains)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("PHALANX_RPC", "PHALANX_DEVNET", "PHALANX_KEYS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def network():
    return subset_network()


@pytest.fixture
def phalanx(network):
    """Runs a command that asks the node; its document, its text, or its refusal."""
    with node_in_a_thread(ExposedNode(network)) as url:

        def run(*arguments, fails=False, as_json=True):
            more = ["--json"] if as_json else []
            done = CliRunner().invoke(cli.main, [*map(str, arguments), "--rpc", url, *more])
            assert (done.exit_code != 0) == fails, done.output
            if fails:
                return done.stderr
            return json.loads(done.stdout) if as_json else done.stdout

        yield run


def test_a_validator_opts_in_and_out_and_sees_what_it_risks(network, phalanx) -> None:
    done = phalanx("stake", "allocate", "1", "--amount", "300", "--from", account_file(0), "--wait")
    assert done["receipt"]["status"] == "ok"
    phalanx("stake", "allocate", "1", "--amount", "200", "--from", account_file(1), "--wait")
    to_epoch(network, 2)
    shown = phalanx("query", "exposure", "--chain", "1")
    (chain,) = shown["chains"]
    assert (chain["policy"], chain["attesters"], chain["at_risk"]) == ("subset", 2, "500")
    assert chain["cost_to_corrupt"] == str(334 * 9 // 10)
    first = shown["validators"][0]
    assert (first["stake"], first["allocated"], first["worst_loss"]) == ("1000", "300", "300")
    assert first["allocations"] == [{"chain": 1, "units": "300", "weight": "300"}]
    text = phalanx("query", "exposure", as_json=False)
    assert "2 attesters with 500 units at risk" in text
    assert "NOT above" in text
    phalanx("stake", "deallocate", "1", "--from", account_file(0), "--wait")
    to_epoch(network, 5)
    assert phalanx("query", "exposure")["chains"][0]["attesters"] == 1


def test_what_can_not_be_is_refused_with_a_reason(phalanx) -> None:
    refusal = phalanx("stake", "deallocate", "1", "--from", account_file(0), "--wait", fails=True)
    assert "not allocated" in refusal
    register = ("chain", "register", "x", "--from", account_file(0))
    assert "--subset" in phalanx(*register, "--min-members", "3", fails=True)
    assert "together" in phalanx(*register, "--window-ms", "10", fails=True)
    bad = phalanx(*register, "--subset", "--min-members", "3", "--power-cap", "10", fails=True)
    assert "power_cap_ppb" in bad


def test_a_chain_is_registered_with_its_terms(network, phalanx) -> None:
    done = phalanx(
        "chain",
        "register",
        "mine",
        "--subset",
        *("--min-members", 2, "--power-cap", 60, "--deny", account_file(3)),
        *("--window-ms", 1000, "--window-messages", 5, "--window-units", 900),
        *("--from", account_file(0), "--max-fee", 10**8, "--wait"),
    )
    terms = network.view.chain_record(done["chain"]).terms
    denied = terms.subset.deny
    assert terms.policy == Policy.SUBSET
    assert terms.subset == SubsetTerms(min_members=2, power_cap_ppb=600_000_000, deny=denied)
    assert len(denied) == 1
    assert terms.rails == RailTerms(messages=5, units=Amount(900), window_ms=1000)
