"""The table of the machine proof: what it says, and that a suite that fails to run takes none with it."""

from types import SimpleNamespace

import pytest

from tests.proof import __main__ as proof
from tests.proof.suite import SuiteResult


def suites(monkeypatch, **runs):
    named = {f"tests.proof.{name}": SimpleNamespace(run=run) for name, run in runs.items()}
    monkeypatch.setattr(proof, "import_module", named.__getitem__)


def test_a_suite_that_can_not_be_tried_leaves_the_table_of_those_before_it(monkeypatch, capsys):
    def broken(extent, jobs):
        raise RuntimeError("its text is gone")

    suites(monkeypatch, twins=lambda extent, jobs: SuiteResult(name="twins", cases=4_321), mutation=broken)
    with pytest.raises(RuntimeError, match="its text is gone"):
        proof.main(["--only", "twins", "mutation"])
    said = capsys.readouterr().out
    assert "4,321" in said
    assert "mutation could not be tried" in said


@pytest.mark.parametrize("wrong", [{"violations": ("a fork",)}, {"mutants": 3, "survivors": ("a mutant",)}])
def test_whatever_went_wrong_is_named_and_fails_the_run(wrong, monkeypatch, capsys):
    good = SuiteResult(name="twins", cases=1)
    bad = SuiteResult(name="exhaustive", cases=2, **wrong)
    suites(monkeypatch, twins=lambda extent, jobs: good, exhaustive=lambda extent, jobs: bad)
    assert proof.main(["--quick", "--only", "twins", "exhaustive"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("REDUCED FORM")
    assert "a fork" in said or ("2 of 3" in said and "SURVIVOR in exhaustive: a mutant" in said)
    assert proof.main(["--only", "twins"]) == 0
    assert capsys.readouterr().out.startswith("USUAL FORM")
    assert proof.main(["--whole", "--only", "twins"]) == 0
    assert capsys.readouterr().out.startswith("suite")
