"""What a suite of the machine proof is: a module with `run(extent, jobs) -> SuiteResult`.

`python -m tests.proof` runs every suite of `SUITES`, measures it, and prints one table. How much of it is an
`Extent`, which the table says of itself.
"""

import enum
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")
PROGRESS_S: Final = 10.0  # between two lines on stderr


class Extent(enum.Enum):
    """How much is tried; the times are those of two cores that do nothing else."""

    QUICK = "REDUCED FORM: `make prove` runs more of it"  # within three minutes, for CI
    USUAL = "USUAL FORM: `make prove-whole` also searches the third views that were left out"  # half an hour
    WHOLE = ""  # an hour


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResult:
    """What one suite tried and found.

    `violations` and `survivors` are sentences, one for each: a suite passes if both are empty. `mutants` is
    how many deliberate faults were tried, negative controls of the suite itself included. `notes` say what
    was covered, in the words of the suite; they are printed below the table.
    """

    name: str
    cases: int
    violations: tuple[str, ...] = ()
    mutants: int = 0
    survivors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing was violated and no mutant lived."""
        return not self.violations and not self.survivors


class Suite(Protocol):
    """The module of a suite."""

    def run(self, extent: Extent, jobs: int) -> SuiteResult:
        """Try everything, in at most `jobs` processes. Raises only when it could not be tried."""


def run_all(pool: Executor, work: Callable[[T], R], tasks: Sequence[T], what: str, chunk: int = 1) -> list[R]:
    """What `work` makes of every task, in their order; says on stderr how far it is."""
    results: list[R] = []
    said = began = time.monotonic()
    for result in pool.map(work, tasks, chunksize=chunk):
        results.append(result)
        now = time.monotonic()
        if now - said >= PROGRESS_S:
            print(
                f"  {what}: {len(results):,} of {len(tasks):,}, {now - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )
            said = now
    return results
