"""`phalanx query offences` and `phalanx evidence report`, against a node that executes on the real ledger."""

import json
import sys
from pathlib import Path

import pytest
from test_edge_stake import LedgerNode, account_file

sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay"))

from click.testing import CliRunner
from relay_fakes import OPERATORS, USERS, Network
from staking_world import CONTRADICTION, evidence, quick
from test_edge_tx import node_in_a_thread

from consensus.agreement.statements import Verdict
from consensus.candidates.receipts import Attestation
from consensus.primitives.codec import encode
from consensus.primitives.errors import UserError
from consensus.primitives.ids import ChainId, Epoch, Hash, ValidatorIndex
from consensus.relay.offences.report import offences_report
from consensus.relay.offences.transactions import ReportContradiction, ReportStatement, SubmitEvidence
from node import keys
from node.cli import main as cli
from node.cli.report import action_of


class OffenceNode(LedgerNode):
    def offences(self):
        return offences_report(self.network.view.stakes.ledger)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ("PHALANX_RPC", "PHALANX_DEVNET", "PHALANX_KEYS", keys.PASSPHRASE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


def run(network: Network, *arguments: str, as_json: bool = True, fails: bool = False):
    with node_in_a_thread(OffenceNode(network)) as url:
        more = ["--json"] if as_json else []
        done = CliRunner().invoke(cli.main, [*arguments, "--rpc", url, *more])
    assert (done.exit_code != 0) == fails, done.output
    if fails:
        return done.stderr
    return json.loads(done.stdout) if as_json else done.stdout


def test_who_stands_convicted_is_listed_with_what_it_cost() -> None:
    network = quick(slash_meter_ppb=1, correlation_factor=0, slash_double_ppb=500_000_000)
    nobody = run(network, "query", "offences")
    assert nobody == {"convicted": [], "cases": [], "burning": [], "slashed": "0", "may_burn": "0"}
    assert "nobody" in run(network, "query", "offences", as_json=False)
    network.block(evidence=[evidence(network, 2), evidence(network, 3, votes=CONTRADICTION)])
    shown = run(network, "query", "offences")
    mild, grave = shown["convicted"]
    assert grave == {
        "account": OPERATORS[2].public.hex(),
        "epoch": 1,
        "offences": ["double_notarize"],
        "fraction_ppb": 500_000_000,
        "slashed": "50",
        "tombstoned": True,
        "case": None,
        "height": 1,
    }
    assert (mild["offences"], mild["slashed"], mild["tombstoned"]) == (["notarize_and_skip"], "1", False)
    assert shown["slashed"] == "50"  # the meter lets one unit through at once
    assert [each["amount"] for each in shown["burning"]] == ["49", "1"]
    text = run(network, "query", "offences", as_json=False)
    assert "double notarize: 50 units slashed, 50 % of its exposure; out for good" in text
    assert "50 units, of which 50 wait" in text


def test_evidence_is_reported_with_a_bond_and_the_answer_says_what_was_slashed(tmp_path) -> None:
    network = quick(correlation_factor=0, slash_double_ppb=500_000_000)
    file = tmp_path / "piece"
    file.write_bytes(encode(evidence(network, 2)))
    shown = run(network, "evidence", "report", f"@{file}", "--from", account_file(0), "--wait")
    assert shown["slashed"] == "50"
    refused = run(network, "evidence", "report", f"@{file}", "--from", account_file(0), "--wait", fails=True)
    assert "without_effect" in refused.lower().replace(" ", "_")


def statement(verdict: Verdict) -> Attestation:
    return Attestation(
        epoch=Epoch(1),
        chain=ChainId(1),
        relay_parent=Hash(bytes(32)),
        candidate=Hash(bytes(32)),
        verdict=int(verdict),
        validator=ValidatorIndex(1),
        signature=USERS[0].sign(b""),
    )


def test_what_is_reported_is_told_by_its_form() -> None:
    network = quick()
    piece, valid, invalid = evidence(network, 1), *map(statement, (Verdict.VALID, Verdict.INVALID))
    assert action_of((encode(piece),)) == SubmitEvidence(evidence=piece)
    assert action_of((encode(valid),)) == ReportStatement(statement=valid)
    both = ReportContradiction(valid=valid, invalid=invalid)
    assert action_of((encode(invalid), encode(valid))) == action_of((encode(valid), encode(invalid))) == both
    for pieces, reason in (
        ((b"junk",), "neither evidence nor a statement"),
        ((encode(valid), encode(valid)), "only if one"),
        ((encode(valid), encode(piece)), "only if one"),
        ((b"", b"", b""), "at a time"),
    ):
        with pytest.raises(UserError, match=reason):
            action_of(pieces)
