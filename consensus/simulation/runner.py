"""Runs seeds and adds up what they showed."""

from dataclasses import dataclass, field
from typing import Any

from consensus.agreement.thresholds import Mode
from consensus.simulation.byzantine import BEHAVIOURS
from consensus.simulation.scenario import draw
from consensus.simulation.world import Report, World


def run_seed(
    seed: int, *, validators: int, blocks: int = 20, mode: Mode = Mode.STRICT, trace: bool = False
) -> Report:
    """Draw the scenario of `seed`, play it, and report."""
    scenario = draw(seed, validators=validators, target=blocks, mode=mode, behaviours=tuple(BEHAVIOURS))
    return World(scenario, keep_trace=trace).run()


@dataclass(slots=True, kw_only=True)
class Summary:
    """Many reports, added up."""

    validators: int
    seeds: int = 0
    violations: int = 0
    finalized_min: int | None = None
    finalized: int = 0
    finalizations: int = 0
    one_round: int = 0
    steps: int = 0
    virtual_us: int = 0
    failed: list[int] = field(default_factory=list)  # seeds that broke an invariant, as they ran
    counters: dict[str, int] = field(default_factory=dict)

    def add(self, report: Report) -> None:
        """Count one more run."""
        self.seeds += 1
        self.violations += len(report.violations)
        if self.finalized_min is None or report.finalized_min < self.finalized_min:
            self.finalized_min = report.finalized_min
        self.finalized += report.finalized
        self.finalizations += report.finalizations
        self.one_round += report.one_round
        self.steps += report.steps
        self.virtual_us += report.virtual_us
        if report.violations:
            self.failed.append(report.seed)
        for name, value in report.counters.items():
            self.counters[name] = self.counters.get(name, 0) + value

    def as_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON; `faults` says what the schedules did."""
        return {
            "seeds": self.seeds,
            "validators": self.validators,
            "violations": self.violations,
            "failed_seeds": self.failed,
            "finalized_min": self.finalized_min or 0,
            "finalized": self.finalized,
            "one_round_share": round(self.one_round / self.finalizations, 4) if self.finalizations else 0.0,
            "steps": self.steps,
            "virtual_seconds": round(self.virtual_us / 1_000_000, 3),
            "faults": dict(sorted(self.counters.items())),
        }
