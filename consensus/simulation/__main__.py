"""`python -m consensus.simulation`: many seeds, one verdict.

    python -m consensus.simulation --seeds 0..1000 --validators 7 --json
    python -m consensus.simulation --seeds 17..18 --validators 7 --trace

Exit status 1 when any seed broke an invariant; the command that replays the first one is printed.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from typing import Any

from consensus.agreement.thresholds import Mode
from consensus.simulation.runner import Summary, run_seed


def main(arguments: list[str] | None = None) -> int:
    """Run the seeds that the command line names; 0 if no invariant was broken, else 1."""
    options = _parser().parse_args(arguments)
    first, last = options.seeds
    mode = Mode[options.mode.upper()]
    started = time.perf_counter()
    summary = Summary(validators=options.validators)
    for seed in range(first, last):
        report = run_seed(
            seed, validators=options.validators, blocks=options.blocks, mode=mode, trace=options.trace
        )
        summary.add(report)
        if options.trace:
            _print_lines(report.trace)
            print(f"digest {report.digest}", file=sys.stderr)
        for violation in report.violations:
            print(
                f"seed {seed}: {violation.invariant} at {violation.time_us / 1_000:.3f} ms, "
                f"node {violation.node}: {violation.text}",
                file=sys.stderr,
            )
    result = summary.as_dict() | {"seconds": round(time.perf_counter() - started, 3), "mode": options.mode}
    print(json.dumps(result) if options.json else _table(result))
    if not summary.failed:
        return 0
    seed = summary.failed[0]
    print(
        f"replay: python -m consensus.simulation --seeds {seed}..{seed + 1} "
        f"--validators {options.validators} --blocks {options.blocks} --mode {options.mode} --trace",
        file=sys.stderr,
    )
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m consensus.simulation",
        description="Drive the real agreement engine through seeded faults and check its invariants.",
    )
    parser.add_argument(
        "--seeds", type=_seed_range, default=(0, 100), metavar="A..B", help="without B itself"
    )
    parser.add_argument("--validators", type=_positive, default=4, metavar="N")
    parser.add_argument(
        "--blocks", type=_positive, default=20, help="final blocks that every seed must reach"
    )
    parser.add_argument("--mode", choices=[mode.name.lower() for mode in Mode], default="strict")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    parser.add_argument("--trace", action="store_true", help="print every event; meant for one seed")
    return parser


def _seed_range(text: str) -> tuple[int, int]:
    first, dots, last = text.partition("..")
    if not (dots and first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a range of seeds such as 0..100")
    return int(first), int(last)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _table(result: dict[str, Any]) -> str:
    rows = [(name, value) for name, value in result.items() if not isinstance(value, dict)]
    rows += [(f"  {name}", value) for name, value in result["faults"].items()]
    return "\n".join(f"{name:34} {value}" for name, value in rows)


if __name__ == "__main__":
    sys.exit(main())
