"""`phalanx gov` against a node that executes what it is sent on the real ledger."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_edge_stake import LedgerNode, account_file
from test_edge_tx import node_in_a_thread

sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay"))
sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay" / "governance"))

from governing_world import governed, until
from relay_fakes import OPERATORS, USERS
from staking_world import do, to_epoch

from consensus.primitives.errors import UserError
from consensus.primitives.ids import Amount
from consensus.relay.governance.records import ProposalStage
from consensus.relay.governance.report import governance_report, proposal_report
from consensus.relay.stake.transactions import Delegate
from node import keys
from node.cli import main as cli


class GoverningNode(LedgerNode):
    """It also tells what is put to the vote."""

    def governance(self):
        return governance_report(self.network.view.stakes.ledger)

    def proposal(self, number):
        found = proposal_report(self.network.view.stakes, number)
        if found is None:
            raise UserError(f"there is no proposal {number}")
        return found


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ("PHALANX_RPC", "PHALANX_DEVNET", "PHALANX_KEYS", keys.PASSPHRASE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def network():
    return governed(gov_vote_ms=200)


@pytest.fixture
def phalanx(network):
    """Runs a command that asks the node; its JSON document, or what it says to people or refuses."""
    with node_in_a_thread(GoverningNode(network)) as url:

        def run(*arguments, fails=False, told=False):
            form = [] if told else ["--json"]
            done = CliRunner().invoke(cli.main, [*map(str, arguments), "--rpc", url, *form])
            assert (done.exit_code != 0) == fails, done.output
            if fails:
                return done.stderr
            return done.stdout if told else json.loads(done.stdout)

        yield run


def by(index: int) -> tuple[str, ...]:
    return ("--from", account_file(index), "--wait")


def test_a_parameter_is_proposed_voted_on_and_shown(network, phalanx) -> None:
    done = phalanx("gov", "propose", "parameters", "base_fee=7", "min_stake=11", "--title", "Less", *by(3))
    assert done["proposal"] == 1
    for index in range(3):
        phalanx("gov", "vote", 1, "yes", *by(index))
    shown = phalanx("gov", "show", 1)
    assert (shown["stage"], shown["pace"], shown["yes"], shown["total"]) == (
        "voting",
        "security",
        "300",
        "400",
    )
    assert shown["summary"] == "set base_fee = 7, min_stake = 11"
    until(network, 1, ProposalStage.DONE)
    to_epoch(network, network.epoch + (network.height % 4 != 0))
    assert network.view.parameters.base_fee == 7
    text = phalanx("gov", "list", told=True)
    assert "proposal 1" in text
    assert "done      Less" in text
    assert "council" in text


def test_a_delegator_votes_with_its_own_stake(network, phalanx) -> None:
    do(network, OPERATORS[3], Delegate(validators=(OPERATORS[0].public,), amount=Amount(60)))
    to_epoch(network, 2)
    phalanx("gov", "propose", "spend", "--to", USERS[0].public.hex(), "--amount", 5, *by(2))
    phalanx("gov", "vote", 1, "yes", *by(0))
    done = phalanx("gov", "vote", 1, "no", "--behind", OPERATORS[0].public.hex(), *by(3))
    assert done["units"] == "60"
    shown = phalanx("gov", "show", 1)
    assert (shown["yes"], shown["no"]) == ("100", "60")


def test_what_is_refused_says_why(network, phalanx) -> None:
    said = phalanx("gov", "propose", "parameters", "epoch_blocks=5", *by(0), fails=True)
    assert "measure refused: epoch_blocks is not governed" in said
    said = phalanx("gov", "propose", "parameters", "unbonding_ms=20", *by(0), fails=True)
    assert "trusting_ms must be below unbonding_ms" in said
    assert "write NAME=VALUE" in phalanx("gov", "propose", "parameters", "base_fee", *by(0), fails=True)
    assert "there is no proposal 9" in phalanx("gov", "show", 9, fails=True)
    assert "no such proposal" in phalanx("gov", "vote", 9, "yes", *by(0), fails=True)
    assert "not on council" in phalanx("gov", "council", "pause", 1, "--for-ms", 5, *by(0), fails=True)
    assert "no terms are named" in phalanx("gov", "propose", "terms", 1, *by(0), fails=True)


def test_a_council_is_elected_and_pauses_a_chain(network, phalanx) -> None:
    members = [OPERATORS[index].public.hex() for index in (0, 1)]
    phalanx("gov", "propose", "council", *members, "--threshold", 2, *by(3))
    for index in range(3):
        phalanx("gov", "vote", 1, "yes", *by(index))
    until(network, 1, ProposalStage.DONE)
    assert phalanx("gov", "council", "pause", 1, "--for-ms", 60, *by(0))["paused"] is False
    assert len(phalanx("gov", "council", "show")["wishes"]) == 1
    assert phalanx("gov", "council", "pause", 1, "--for-ms", 80, *by(1))["paused"] is True
    assert network.view.chain_record(1).paused_until_ms == network.view.time_ms + 60


@pytest.mark.parametrize(
    ("arguments", "summary"),
    [
        (("pause", 1, "--for-ms", 50), "pause chain 1 for 50 ms"),
        (("stop", 1), "stop chain 1 for good"),
        (("terms", 1, "--fuel-limit", 9), "give chain 1 other terms"),
        (("version", 2, "--epoch", 90), "run version 2 of the protocol from epoch 90 on"),
    ],
)
def test_each_kind_can_be_proposed(phalanx, arguments, summary) -> None:
    number = phalanx("gov", "propose", *arguments, *by(0))["proposal"]
    assert phalanx("gov", "show", number)["summary"] == summary
    assert summary in phalanx("gov", "show", number, told=True)
