"""Runs seeds, in one process or several, and adds up what they showed."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from consensus.agreement.thresholds import Mode
from consensus.simulation.byzantine import BEHAVIOURS
from consensus.simulation.epoch_scenario import FAULTS, draw_epochs
from consensus.simulation.report import Report
from consensus.simulation.scenario import Scenario, draw
from consensus.simulation.world import World

SEEDS_A_TASK: Final = 4  # that a worker takes at a time: enough to hide the pipe, few enough to share evenly


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to do with a seed. `blocks` is the aim in one epoch; in several it is the seed's."""

    validators: int
    blocks: int = 20
    epochs: int = 1
    faults: tuple[str, ...] = FAULTS
    mode: Mode = Mode.STRICT
    trace: bool = False

    def scenario(self, seed: int) -> Scenario:
        """The scenario of a seed."""
        behaviours = tuple(BEHAVIOURS)
        if self.epochs == 1:
            return draw(
                seed,
                validators=self.validators,
                target=self.blocks,
                mode=self.mode,
                behaviours=behaviours,
            )
        return draw_epochs(
            seed,
            validators=self.validators,
            epochs=self.epochs,
            mode=self.mode,
            behaviours=behaviours,
            faults=self.faults,
        )

    def run(self, seed: int) -> Report:
        """Play the scenario of a seed, and report."""
        return World(self.scenario(seed), keep_trace=self.trace).run()

    def command(self, seed: int) -> str:
        """The command line that runs one seed as this job does."""
        words = ["python -m consensus.simulation", f"--seeds {seed}..{seed + 1}"]
        words += [f"--validators {self.validators}", f"--mode {self.mode.name.lower()}"]
        if self.epochs == 1:
            words.append(f"--blocks {self.blocks}")
        else:
            words += [f"--epochs {self.epochs}", f"--faults {','.join(self.faults)}"]
        return " ".join(words)


def run_seed(
    seed: int,
    *,
    validators: int,
    blocks: int = 20,
    epochs: int = 1,
    mode: Mode = Mode.STRICT,
    trace: bool = False,
) -> Report:
    """One seed, as a Job would run it."""
    return Job(validators=validators, blocks=blocks, epochs=epochs, mode=mode, trace=trace).run(seed)


def run_all(job: Job, seeds: range, *, processes: int = 1) -> Iterator[Report]:
    """The reports of the seeds, in order, whatever process made them."""
    if processes == 1:
        yield from map(job.run, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(partial(Job.run, job), seeds, chunksize=SEEDS_A_TASK)


@dataclass(slots=True, kw_only=True)
class Summary:
    """Many reports, added up."""

    validators: int
    seeds: int = 0
    violations: int = 0
    finalized_min: int | None = None
    epochs_min: int | None = None
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
        self.finalized_min = _least(self.finalized_min, report.finalized_min)
        self.epochs_min = _least(self.epochs_min, report.epochs_min)
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
            "epochs_min": self.epochs_min or 0,
            "finalized": self.finalized,
            "one_round_share": round(self.one_round / self.finalizations, 4) if self.finalizations else 0.0,
            "steps": self.steps,
            "virtual_seconds": round(self.virtual_us / 1_000_000, 3),
            "faults": dict(sorted(self.counters.items())),
        }


def _least(a: int | None, b: int) -> int:
    return b if a is None else min(a, b)
