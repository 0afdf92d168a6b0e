"""`phalanx evidence verify` on files: what convicts, and what is refused with a reason."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from click.testing import CliRunner

from consensus.agreement.evidence import Evidence
from consensus.light.slashing_proof import ContradictoryVotes, decode_slashing_proof
from consensus.primitives.codec import encode
from node.cli import slashing
from node.cli.main import main

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "slashing_proofs.json").read_text())
ROOT = VECTORS["convicting"][0]["set_root"]


def run(*arguments: object, code: int = 0):
    done = CliRunner().invoke(main, ["evidence", "verify", *map(str, arguments), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def written(tmp_path: Path, proof: str) -> Path:
    file = tmp_path / "a.slashing"
    file.write_bytes(bytes.fromhex(proof))
    return file


@pytest.mark.parametrize("vector", VECTORS["convicting"], ids=lambda each: each["offence"])
def test_a_proof_is_verified_offline(tmp_path: Path, vector: dict) -> None:
    found = run(
        written(tmp_path, vector["proof"]),
        *("--set-root", vector["set_root"], "--network", vector["chain"], "--epoch", vector["epoch"]),
    )
    assert found["offence"] == vector["offence"].lower()
    assert [found[name] for name in ("key", "stake", "total", "epoch")] == [
        vector[name] for name in ("key", "stake", "total", "epoch")
    ]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda each: each["why"])
def test_what_proves_nothing_is_refused_in_one_line(tmp_path: Path, vector: dict) -> None:
    file = written(tmp_path, vector["proof"])
    error = run(file, "--set-root", vector["set_root"], code=1)["error"]
    assert error
    assert "\n" not in error


def test_another_network_epoch_or_file_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, VECTORS["convicting"][0]["proof"])
    assert "is about network" in run(file, "--set-root", ROOT, "--network", "00" * 32, code=1)["error"]
    assert "is about epoch 7, not 8" in run(file, "--set-root", ROOT, "--epoch", 8, code=1)["error"]
    assert "can not be read" in run(tmp_path / "none", "--set-root", ROOT, code=1)["error"]
    file.write_bytes(b"\0" * 70_000)
    assert "more than any slashing proof" in run(file, "--set-root", ROOT, code=1)["error"]
    run(file, "--set-root", "abc", code=2)


# --- making


class Node:
    """A node that has the set of epoch 7, and of no other."""

    url = "http://here"

    def __init__(self, proof) -> None:
        self.proof = proof

    async def status(self):
        return SimpleNamespace(genesis_hash=self.proof.chain)

    async def light_hops(self, epoch: int):
        return (SimpleNamespace(validators=self.proof.validators),) if epoch == 6 else ()


def prove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: bytes, code: int = 0):
    held = decode_slashing_proof(bytes.fromhex(VOTES["proof"]))
    monkeypatch.setattr(slashing, "ask", lambda url, question: trio.run(question, Node(held)))
    out = str(tmp_path / "made.slashing")
    done = CliRunner().invoke(
        main, ["evidence", "prove", piece.hex(), "--out", out, "--rpc", "http://here", "--json"]
    )
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


VOTES = next(each for each in VECTORS["convicting"] if each["offence"] == "DOUBLE_NOTARIZE")


def evidence(**changes: object) -> bytes:
    proof = decode_slashing_proof(bytes.fromhex(VOTES["proof"]))
    assert isinstance(proof.fault, ContradictoryVotes)
    fields = {"epoch": proof.epoch, "view": proof.fault.view, "signer": proof.signer} | changes
    return encode(Evidence(first=proof.fault.first, second=proof.fault.second, **fields))


def test_a_proof_is_made_of_evidence_and_the_set_that_a_node_has(tmp_path, monkeypatch) -> None:
    made = prove(tmp_path, monkeypatch, evidence())
    assert made["set_root"] == ROOT
    assert Path(made["proof"]).read_bytes().hex() == VOTES["proof"]
    assert run(made["proof"], "--set-root", made["set_root"])["key"] == VOTES["key"]


def test_no_proof_is_made_of_what_proves_nothing_or_has_no_set(tmp_path, monkeypatch) -> None:
    for piece, reason in (
        (b"junk", "that is no evidence"),
        (evidence(signer=0), "convicts nobody"),
        (evidence(epoch=9), "does not have the end of epoch 8"),
        (evidence(epoch=0), "does not have the end of epoch"),
    ):
        assert reason in prove(tmp_path, monkeypatch, piece, code=1)["error"]
    assert not (tmp_path / "made.slashing").exists()
