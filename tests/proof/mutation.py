"""The mutation suite: does a test notice when a rule of the protocol is taken out? (CONSENSUS.md section 20.)

A mutant is data (`mutants/*.toml`): exact pieces of text, what takes their place, why that matters, and the
tests that must fail. Each is applied to a temporary copy of the tree, in which only those tests run. A mutant
that no test kills is a missing test. One whose text is not found exactly once is an error, so that no mutant
can rot as the code moves on; and the same tests must pass on an unchanged copy first, else a failure proves
nothing.

    python -m tests.proof.mutation [--quick] [--jobs 2] [--only NAME ...]
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from tests.proof.suite import Extent, SuiteResult

ROOT: Final = Path(__file__).resolve().parents[2]
MUTANTS: Final = Path(__file__).with_name("mutants")
COPIED: Final = ("consensus", "enclaves", "net", "node", "bench", "tests", "docs", "pyproject.toml")
TIMEOUT_S: Final = 240  # of one mutant's tests, on a busy machine too; whatever makes them hang is killed
PASSED: Final = 0  # exit codes of pytest
FAILED: Final = 1
TIMED_OUT: Final = -1


class MutantError(Exception):
    """A mutant that can not be tried: its text is gone, or its tests do not run. Never a survivor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One piece of text in one file, which must occur exactly once, and what takes its place."""

    file: str
    old: str
    new: str

    def apply(self, root: Path) -> None:
        """Change the file below `root`. Raises MutantError unless the text is there exactly once."""
        path = root / self.file
        if not path.is_file():
            raise MutantError(f"{self.file} is gone: point the mutant at where its rule lives now")
        content = path.read_text()
        found = content.count(self.old)
        if found != 1:
            raise MutantError(f"{self.file} holds {self.old!r} {found} times, not once: mend the mutant")
        path.write_text(content.replace(self.old, self.new))
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One deliberate fault. `tests` are what must kill it, as pytest is given them."""

    name: str
    why: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    section20: bool = False  # one of the six that CONSENSUS.md section 20 names
    quick: bool = False  # part of the reduced run


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one mutant. `error` says why it could not be tried."""

    mutant: Mutant
    killed: bool
    seconds: float
    error: str = ""
    how: str = ""
    hung: bool = False


def load(folder: Path = MUTANTS) -> list[Mutant]:
    """All mutants, by file and in its order. Raises MutantError on a name that comes twice."""
    mutants: list[Mutant] = []
    for path in sorted(folder.glob("*.toml")):
        mutants += [_read(each) for each in tomllib.loads(path.read_text())["mutant"]]
    names = [each.name for each in mutants]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise MutantError(f"two mutants have the same name: {repeated}")
    return mutants


def _read(entry: dict[str, Any]) -> Mutant:
    edits = tuple(Edit(**each) for each in entry.pop("edit"))
    return Mutant(edits=edits, tests=tuple(entry.pop("tests")), **entry)


def check_texts(mutants: Iterable[Mutant], root: Path = ROOT) -> list[str]:
    """What is wrong with the mutants as texts: each edit's `old` must be in its file exactly once."""
    faults = []
    for mutant in mutants:
        for edit in mutant.edits:
            path = root / edit.file
            found = path.read_text().count(edit.old) if path.is_file() else 0
            if found != 1 or edit.old == edit.new:
                faults.append(f"{mutant.name}: {edit.file} holds its text {found} times, not once")
    return faults


# --- trying them


def copy_tree(root: Path, target: Path) -> None:
    """What the tests need of the tree, without what earlier runs left in it."""
    ignored = shutil.ignore_patterns(".hypothesis", ".pytest_cache", "*.pyc.*", ".devnet", ".demo")
    for name in COPIED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignored)
        elif source.exists():
            shutil.copy2(source, target / name)


def run_tests(root: Path, tests: Sequence[str], timeout_s: float) -> tuple[int, str]:
    """(exit code of pytest or TIMED_OUT, output) for `tests` below `root`, stopped at the first failure."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [*command, "--hypothesis-seed=0", "--tb=line", *tests],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return TIMED_OUT, ""
    return process.returncode, output


def try_mutant(pristine: Path, mutant: Mutant, timeout_s: float = TIMEOUT_S) -> Verdict:
    """Apply one mutant to a copy of `pristine` and run its tests there."""
    began = time.monotonic()

    def verdict(*, killed: bool, error: str = "", how: str = "", hung: bool = False) -> Verdict:
        seconds = time.monotonic() - began
        return Verdict(mutant=mutant, killed=killed, seconds=seconds, error=error, how=how, hung=hung)

    with tempfile.TemporaryDirectory(prefix="phalanx-mutant-") as folder:
        root = Path(folder)
        copy_tree(pristine, root)
        try:
            for edit in mutant.edits:
                edit.apply(root)
        except MutantError as error:
            return verdict(killed=False, error=str(error))
        code, output = run_tests(root, mutant.tests, timeout_s)
    if code == TIMED_OUT:
        return verdict(killed=True, how=f"its tests did not end within {timeout_s:.0f} s", hung=True)
    if code == FAILED:
        failures = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return verdict(killed=True, how=failures[0] if failures else "a test failed")
    if code == PASSED:
        return verdict(killed=False)
    return verdict(killed=False, error=f"pytest ended with {code}: {output[-2000:]}")


def _silent(verdict: Verdict) -> None:
    """For whom the sum is enough."""


def try_all(
    mutants: Sequence[Mutant], *, jobs: int, root: Path = ROOT, tell: Callable[[Verdict], None] = _silent
) -> list[Verdict]:
    """Try every mutant on copies of `root`; `tell` hears of each as it is done.

    Raises MutantError if the tests fail with nothing changed.
    """

    def one(mutant: Mutant) -> Verdict:
        verdict = try_mutant(pristine, mutant)
        tell(verdict)
        return verdict

    with tempfile.TemporaryDirectory(prefix="phalanx-pristine-") as folder:
        pristine = Path(folder)
        copy_tree(root, pristine)
        subprocess.run([sys.executable, "-m", "compileall", "-q", "."], cwd=pristine, check=True)
        _check_pristine(pristine, mutants, jobs)
        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(one, mutants))


def _check_pristine(pristine: Path, mutants: Sequence[Mutant], jobs: int) -> None:
    """Every test that is to kill a mutant passes while nothing is changed, and really tests the copy."""
    where = [sys.executable, "-c", "import consensus; print(consensus.__file__)"]
    environment = os.environ | {"PYTHONPATH": str(pristine)}
    found = subprocess.run(
        where, cwd=pristine, env=environment, capture_output=True, text=True, check=True
    ).stdout
    if not Path(found.strip()).is_relative_to(pristine):
        raise MutantError(f"the copy would test the installed package at {found.strip()}")
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    whole = [test for test in tests if "::" not in test or test.split("::")[0] not in tests]
    shares = [share for share in (whole[start::jobs] for start in range(jobs)) if share]
    failures: SimpleQueue[str] = SimpleQueue()

    def check(share: list[str]) -> None:
        code, output = run_tests(pristine, share, 3 * TIMEOUT_S)
        if code != PASSED:
            failures.put(f"pytest ended with {code} on the unchanged tree: {output[-2000:]}")

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(check, shares))
    if not failures.empty():
        raise MutantError(failures.get())


def run(extent: Extent, jobs: int) -> SuiteResult:
    """All mutants, or the reduced set, as a suite of the proof. Raises MutantError if one is not tried."""
    mutants = [each for each in load() if each.quick or extent is not Extent.QUICK]
    verdicts = try_all(mutants, jobs=jobs)
    errors = [f"{each.mutant.name}: {each.error}" for each in verdicts if each.error]
    if errors:
        raise MutantError("; ".join(errors))
    named = sum(each.section20 for each in mutants)
    hung = sum(each.hung for each in verdicts)
    return SuiteResult(
        name="mutation",
        cases=sum(len(each.tests) for each in mutants),
        mutants=len(verdicts),
        survivors=tuple(f"{each.mutant.name}: {each.mutant.why}" for each in verdicts if not each.killed),
        notes=(
            f"{len(mutants)} of {len(load())} mutants, among them {named} of the six that section 20 names;"
            f" {hung} made their tests hang, which kills them too",
        ),
    )


def _print(verdict: Verdict) -> None:
    state = "error   " if verdict.error else "killed  " if verdict.killed else "SURVIVED"
    what = verdict.error or verdict.how or verdict.mutant.why
    print(f"{state} {verdict.seconds:6.1f} s  {verdict.mutant.name}: {what}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite, say what became of each mutant; 1 if one survived or could not be tried."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only the reduced set")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME")
    parser.add_argument("--root", type=Path, default=ROOT, help="another tree to try them on")
    options = parser.parse_args(arguments)
    mutants = [
        each
        for each in load()
        if (each.quick or not options.quick) and (not options.only or each.name in options.only)
    ]
    began = time.monotonic()
    verdicts = try_all(mutants, jobs=options.jobs, root=options.root, tell=_print)
    killed = sum(each.killed for each in verdicts)
    print(f"{killed} killed of {len(verdicts)} tried, in {time.monotonic() - began:.0f} s")
    return 0 if killed == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
