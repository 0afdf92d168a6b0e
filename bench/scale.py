"""`phalanx bench scale`: finality over ten regions of the world, simulated with the real engine.

Latency against what distance alone allows (`bench.latency_model`) and against the figures that CONSENSUS.md
section 22 quotes; messages and bytes for each block as the set grows. Virtual time: no process is started,
and the figures do not depend on this machine.
"""

from dataclasses import dataclass
from typing import Any, Final

from bench.latency_model import Expected, expect
from bench.mesh import Mesh, MeshResult
from bench.regions import REGIONS, Matrix, place
from bench.statistics import columns, percentile
from consensus.agreement.thresholds import Mode

WARM_UP_BLOCKS: Final = 3
KILLED: Final = (0, 1)  # of the network in which two are dead
TOLERANCE: Final = 0.15  # of the figures in CONSENSUS.md section 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One network: how many validators, which of them are dead, how many final blocks are measured."""

    validators: int
    blocks: int
    dead: tuple[int, ...] = ()
    quoted_fast_ms: int | None = None  # CONSENSUS.md section 22
    quoted_two_rounds_ms: int | None = None


CASES: Final = (
    Case(validators=4, blocks=40, quoted_fast_ms=102, quoted_two_rounds_ms=160),
    Case(validators=10, blocks=40, quoted_fast_ms=209, quoted_two_rounds_ms=287),
    Case(validators=50, blocks=50, quoted_fast_ms=248, quoted_two_rounds_ms=287),
    Case(validators=50, blocks=50, dead=KILLED, quoted_fast_ms=298),
    Case(validators=100, blocks=20),
    Case(validators=200, blocks=10),
)


def run(largest: int) -> dict[str, Any]:
    """Every case of at most `largest` validators, in both modes."""
    rows = [_measure(case) for case in CASES if case.validators <= largest]
    differences = [
        abs(row[key]) for row in rows for key in ("fast_off_by", "two_rounds_off_by") if key in row
    ]
    return {
        "regions": list(REGIONS),
        "rows": rows,
        "worst_difference_from_section_22": max(differences, default=None),
        "within_tolerance": all(each <= TOLERANCE for each in differences),
    }


def report_table(report: dict[str, Any]) -> str:
    """The report for people: a line for each network."""
    head = ("n", "dead", "fast p50", "section 22", "two rounds p50", "section 22", "one round", "msgs", "KiB")
    keys = (
        "validators",
        "dead",
        "fast_p50_ms",
        "section_22_fast_ms",
        "two_rounds_p50_ms",
        "section_22_two_rounds_ms",
        "one_round_share",
        "messages_per_block",
        "kib_per_block",
    )
    return columns(head, [[row.get(key, "-") for key in keys] for row in report["rows"]])


def _measure(case: Case) -> dict[str, Any]:
    delays = place(case.validators)
    expected = expect(delays, case.dead)
    strict = _play(case, delays, Mode.STRICT)
    off = _play(case, delays, Mode.OFF)
    fast_ms, two_ms = _p50_ms(strict.all_us), _p50_ms(off.all_us)
    row: dict[str, Any] = {
        "validators": case.validators,
        "dead": len(case.dead),
        "blocks": case.blocks,
        "fast_p50_ms": fast_ms,
        "fast_p99_ms": round(percentile(strict.all_us, 0.99) / 1_000, 1),
        "two_rounds_p50_ms": two_ms,
        "one_round_share": round(len(strict.one_round_us) / len(strict.all_us), 3),
        **_distance(expected),
    }
    if case.quoted_fast_ms is not None:
        row["section_22_fast_ms"] = case.quoted_fast_ms
        row["fast_off_by"] = round(fast_ms / case.quoted_fast_ms - 1, 3)
    if case.quoted_two_rounds_ms is not None:
        row["section_22_two_rounds_ms"] = case.quoted_two_rounds_ms
        row["two_rounds_off_by"] = round(two_ms / case.quoted_two_rounds_ms - 1, 3)
    return row | _traffic(case, strict)


def _play(case: Case, delays: Matrix, mode: Mode) -> MeshResult:
    return Mesh(delays, mode=mode, dead=case.dead).run(warm_up=WARM_UP_BLOCKS, blocks=case.blocks)


def _distance(expected: Expected) -> dict[str, float]:
    """What distance alone allows: `either` is what mode STRICT takes, two rounds what mode OFF takes."""
    return {
        "distance_fast_p50_ms": _p50_ms(expected.either_us),
        "distance_two_rounds_p50_ms": _p50_ms(expected.two_rounds_us),
    }


def _traffic(case: Case, result: MeshResult) -> dict[str, Any]:
    """Sent by one validator for one block, in mode STRICT with empty blocks; bytes before encryption."""
    share = case.blocks * (case.validators - len(case.dead))
    messages, sizes = result.traffic.messages, result.traffic.bytes
    return {
        "messages_per_block": round(messages.total() / share, 1),
        "kib_per_block": round(sizes.total() / share / 1_024, 1),
        "messages_by_kind": {kind: round(count / share, 2) for kind, count in sorted(messages.items())},
        "kib_by_kind": {kind: round(size / share / 1_024, 2) for kind, size in sorted(sizes.items())},
    }


def _p50_ms(values_us: list[int] | tuple[int, ...]) -> float:
    return round(percentile(values_us, 0.5) / 1_000, 1)
