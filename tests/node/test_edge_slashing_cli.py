"""`phalanx evidence verify` on files: what convicts, and what is refused with a reason."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

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
