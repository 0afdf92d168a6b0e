"""Run the machine proof and print one table; exit code 1 on a violation or a surviving mutant.

python -m tests.proof [--quick | --whole] [--jobs 2] [--only SUITE ...]
"""

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Final, cast

from tests.proof.suite import Extent, Suite, SuiteResult

SUITES: Final = ("exhaustive", "twins", "differential", "mutation")  # modules of this package, in this order


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suites that are asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--quick", action="store_true", help="the reduced form that CI runs")
    forms.add_argument("--whole", action="store_true", help="all third views, not a part of them")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--only", nargs="+", choices=SUITES, default=SUITES, metavar="SUITE")
    options = parser.parse_args(arguments)
    extent = Extent.QUICK if options.quick else Extent.WHOLE if options.whole else Extent.USUAL
    rows: list[tuple[SuiteResult, float, float]] = []
    for name in options.only:
        began_s, began_cpu_s = time.monotonic(), _cpu_s()
        print(f"{name} …", file=sys.stderr, flush=True)
        suite = cast(Suite, import_module(f"tests.proof.{name}"))
        try:
            result = suite.run(extent, options.jobs)
        except Exception:
            print(report(rows, extent))  # hours of the suites before it are not lost with this
            print(f"{name} could not be tried; the table ends before it", flush=True)
            raise
        rows.append((result, time.monotonic() - began_s, _cpu_s() - began_cpu_s))
    print(report(rows, extent))
    return 0 if all(result.passed for result, _, _ in rows) else 1


def report(rows: Sequence[tuple[SuiteResult, float, float]], extent: Extent) -> str:
    """The table, then what each suite covered, then everything that went wrong."""
    lines = [f"{extent.value}."] if extent.value else []
    lines.append(f"{'suite':<14}{'cases':>14}{'violations':>12}{'mutants killed':>16}{'s':>9}{'CPU s':>9}")
    for result, wall_s, cpu_s in rows:
        killed = f"{result.mutants - len(result.survivors)} of {result.mutants}" if result.mutants else "-"
        lines.append(
            f"{result.name:<14}{result.cases:>14,}{len(result.violations):>12}{killed:>16}"
            f"{wall_s:>9.0f}{cpu_s:>9.0f}"
        )
    for result, _, _ in rows:
        lines += [f"{result.name}: {note}" for note in result.notes]
    for result, _, _ in rows:
        lines += [f"VIOLATION in {result.name}: {text}" for text in result.violations]
        lines += [f"SURVIVOR in {result.name}: {text}" for text in result.survivors]
    return "\n".join(lines)


def _cpu_s() -> float:
    """Seconds of CPU of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    sys.exit(main())
