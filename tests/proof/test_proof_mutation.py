"""The mutation suite can fail: it tells killed from survived from stuck, and refuses mutants that rotted."""

from pathlib import Path

import pytest

from tests.proof.mutation import (
    Edit,
    Mutant,
    MutantError,
    check_texts,
    load,
    try_all,
    try_mutant,
)

SECTION_20 = 6

RULE = "def allowed(votes: int) -> bool:\n    return votes >= 3\n"
IMPORT = "from consensus.rule import allowed\n\n\n"
STRICT = IMPORT + "def test_quorum():\n    assert allowed(3)\n    assert not allowed(2)\n"
LAX = IMPORT + "def test_many():\n    assert allowed(4)\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, content in {
        "consensus/__init__.py": "",
        "consensus/rule.py": RULE,
        "tests/test_strict.py": STRICT,
        "tests/test_lax.py": LAX,
        "pyproject.toml": "[tool.pytest.ini_options]\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def mutant(test: str, old: str = "votes >= 3", new: str = "votes >= 2") -> Mutant:
    edits = (Edit(file="consensus/rule.py", old=old, new=new),)
    return Mutant(name=f"{test}, {new}", why="a quorum", edits=edits, tests=(f"tests/{test}.py",))


def test_every_mutant_is_found_once_in_the_tree_as_it_is() -> None:
    mutants = load()
    assert check_texts(mutants) == []
    assert sum(each.section20 for each in mutants) == SECTION_20
    assert len(mutants) >= SECTION_20 + 14
    assert all(each.quick for each in mutants if each.section20)
    assert all(each.why and each.tests for each in mutants)
    root = Path(__file__).resolve().parents[2]
    missing = {test for each in mutants for test in each.tests if not (root / test.split("::")[0]).is_file()}
    assert not missing


def test_a_mutant_is_killed_by_a_strict_test_and_survives_a_lax_one(tree: Path) -> None:
    strict, lax = try_all([mutant("test_strict"), mutant("test_lax")], jobs=2, root=tree)
    assert (strict.killed, strict.error) == (True, "")
    assert (lax.killed, lax.error) == (False, "")
    assert (tree / "consensus/rule.py").read_text() == RULE  # only copies were changed


def test_a_mutant_that_hangs_is_killed_by_the_clock(tree: Path) -> None:
    loop = mutant("test_lax", "    return votes >= 3", "    while True:\n        pass")
    verdict = try_mutant(tree, loop, timeout_s=3)
    assert verdict.killed
    assert verdict.hung


@pytest.mark.parametrize("old", ["votes >= 4", "votes"])
def test_a_mutant_whose_text_is_not_there_exactly_once_is_an_error(tree: Path, old: str) -> None:
    rotten = mutant("test_strict", old)
    assert check_texts([rotten], tree)
    verdict = try_mutant(tree, rotten)
    assert not verdict.killed
    assert "not once" in verdict.error


def test_tests_that_do_not_run_kill_nothing(tree: Path) -> None:
    verdict = try_mutant(tree, mutant("test_that_is_not_there"))
    assert not verdict.killed
    assert "pytest ended with" in verdict.error


def test_tests_that_fail_without_a_mutant_prove_nothing(tree: Path) -> None:
    (tree / "consensus/rule.py").write_text(RULE.replace("3", "2"))
    with pytest.raises(MutantError, match="on the unchanged tree"):
        try_all([mutant("test_strict", "votes >= 2", "votes >= 1")], jobs=1, root=tree)


def test_names_are_told_apart(tmp_path: Path) -> None:
    entry = (
        '[[mutant]]\nname = "n"\nwhy = "w"\ntests = ["t"]\n'
        '[[mutant.edit]]\nfile = "f"\nold = "a"\nnew = "b"\n'
    )
    (tmp_path / "twice.toml").write_text(entry + entry)
    with pytest.raises(MutantError, match="same name"):
        load(tmp_path)
