"""`python -m consensus.simulation`: many seeds, one verdict.

    python -m consensus.simulation --seeds 0..1000 --validators 7 --json
    python -m consensus.simulation --seeds 0..2000 --validators 4,7,10 --epochs 3 --faults all --json
    python -m consensus.simulation --seeds 17..18 --validators 7 --trace

With several sizes every one runs all seeds. Exit status 1 when any seed broke an invariant; the command that
replays it is printed. What a seed does depends on the seed and the options alone, never on how many processes
share the work.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterable
from typing import Any

from consensus.agreement.thresholds import Mode
from consensus.simulation.epoch_scenario import FAULTS
from consensus.simulation.report import Report
from consensus.simulation.runner import Job, Summary, run_all


def main(arguments: list[str] | None = None) -> int:
    """Run the seeds that the command line names; 0 if no invariant was broken, else 1."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.faults is not None and options.epochs == 1:
        parser.error("--faults chooses what happens over several epochs: give --epochs 2 or more")
    sizes = []
    for validators in options.validators:
        job = Job(
            validators=validators,
            blocks=options.blocks,
            epochs=options.epochs,
            faults=options.faults or FAULTS,
            mode=Mode[options.mode.upper()],
            trace=options.trace,
        )
        started = time.perf_counter()
        summary = Summary(validators=validators)
        for report in run_all(job, range(*options.seeds), processes=1 if options.trace else options.jobs):
            summary.add(report)
            _tell(report, job, traced=options.trace)
        seconds = round(time.perf_counter() - started, 3)
        sizes.append(summary.as_dict() | {"seconds": seconds, "mode": options.mode})
    result = sizes[0] if len(sizes) == 1 else _together(sizes)
    if options.epochs > 1:
        result |= {"epochs": options.epochs, "jobs": options.jobs}
    print(json.dumps(result) if options.json else "\n\n".join(map(_table, sizes)))
    return 1 if result["violations"] else 0


def _together(sizes: list[dict[str, Any]]) -> dict[str, Any]:
    """The totals over all sizes, and each by itself."""
    return {
        "seeds": sum(each["seeds"] for each in sizes),
        "violations": sum(each["violations"] for each in sizes),
        "finalized_min": min(each["finalized_min"] for each in sizes),
        "epochs_min": min(each["epochs_min"] for each in sizes),
        "seconds": round(sum(each["seconds"] for each in sizes), 3),
        "sizes": sizes,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m consensus.simulation",
        description="Drive the real agreement engine through seeded faults and check its invariants.",
    )
    parser.add_argument(
        "--seeds", type=_seed_range, default=(0, 100), metavar="A..B", help="without B itself"
    )
    parser.add_argument(
        "--validators", type=_sizes, default=(4,), metavar="N[,N…]", help="in the first epoch"
    )
    parser.add_argument(
        "--blocks", type=_positive, default=20, help="of one epoch: final blocks that every seed must reach"
    )
    parser.add_argument(
        "--epochs", type=_positive, default=1, help="that every seed must leave behind, the set ever changing"
    )
    parser.add_argument(
        "--faults",
        type=_faults,
        default=None,
        metavar="all|none|NAME[,NAME…]",
        help=f"that the seeds may mix over several epochs: {', '.join(FAULTS)}",
    )
    parser.add_argument("--mode", choices=[mode.name.lower() for mode in Mode], default="strict")
    parser.add_argument("--jobs", type=_positive, default=multiprocessing.cpu_count(), help="processes")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    parser.add_argument("--trace", action="store_true", help="print every event; meant for one seed")
    return parser


def _seed_range(text: str) -> tuple[int, int]:
    first, dots, last = text.partition("..")
    if not (dots and first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a range of seeds such as 0..100")
    return int(first), int(last)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(_positive(each) for each in text.split(","))


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _faults(text: str) -> tuple[str, ...]:
    if text in ("all", "none"):
        return FAULTS if text == "all" else ("none",)
    chosen = tuple(text.split(","))
    unknown = [name for name in chosen if name not in FAULTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(FAULTS)}")
    return chosen


def _tell(report: Report, job: Job, *, traced: bool) -> None:
    """Print what one seed broke, with the command that replays it, and its trace if asked for."""
    if traced:
        _print_lines(report.trace)
        print(f"digest {report.digest}", file=sys.stderr)
    for violation in report.violations:
        print(
            f"seed {report.seed}, {job.validators} validators: {violation.invariant} at "
            f"{violation.time_us / 1_000:.3f} ms, node {violation.node}: {violation.text}",
            file=sys.stderr,
        )
    if report.violations and not traced:
        print(f"replay: {job.command(report.seed)} --trace", file=sys.stderr)


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _table(result: dict[str, Any]) -> str:
    rows = [(name, value) for name, value in result.items() if not isinstance(value, dict)]
    rows += [(f"  {name}", value) for name, value in result["faults"].items()]
    return "\n".join(f"{name:34} {value}" for name, value in rows)


if __name__ == "__main__":
    sys.exit(main())
