"""What a suite of the machine proof is: a module with `run(quick, jobs) -> SuiteResult`.

`python -m tests.proof` runs every suite of `SUITES`, measures it, and prints one table. `quick` asks for a
reduced form (all suites together within three minutes on two cores), which the table says of itself.
"""

from dataclasses import dataclass
from typing import Protocol


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

    def run(self, quick: bool, jobs: int) -> SuiteResult:
        """Try everything, in at most `jobs` processes. Raises only when it could not be tried."""
