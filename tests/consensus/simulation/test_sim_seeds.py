"""A hundred seeds against the real engine, and that a seed replays exactly."""

import os
import subprocess
import sys

import pytest

from consensus.agreement.thresholds import Mode
from consensus.simulation.runner import Summary, run_seed

BLOCKS = 20


def violations_of(seeds: range, validators: int, mode: Mode = Mode.STRICT) -> Summary:
    """Run the seeds and fail, with the command that replays it, on the first that breaks an invariant."""
    summary = Summary(validators=validators)
    for seed in seeds:
        report = run_seed(seed, validators=validators, blocks=BLOCKS, mode=mode)
        assert not report.violations, (
            f"python -m consensus.simulation --seeds {seed}..{seed + 1} --validators {validators} "
            f"--mode {mode.name.lower()} --trace: {report.violations[0]}"
        )
        assert report.finalized_min >= BLOCKS
        summary.add(report)
    return summary


@pytest.mark.parametrize(
    ("seeds", "validators"),
    [(range(40), 4), (range(1_000, 1_010), 5), (range(2_000, 2_010), 6), (range(3_000, 3_030), 7)],
)
def test_seeds_break_no_invariant(seeds: range, validators: int) -> None:
    summary = violations_of(seeds, validators)
    assert summary.one_round > 0
    assert summary.counters["messages_lost"] > 0
    assert summary.counters["crashes"] > 0
    assert summary.counters["votes_skip"] > 0


@pytest.mark.parametrize("validators", [1, 2, 3])
def test_networks_too_small_for_a_fault_finalise_too(validators: int) -> None:
    violations_of(range(3), validators)


def test_mode_off_finalises_in_two_rounds_only() -> None:
    summary = violations_of(range(10), 4, Mode.OFF)
    assert summary.one_round == 0
    assert summary.counters["votes_finalize"] > 0


def test_a_seed_replays_exactly() -> None:
    first = run_seed(5, validators=4, blocks=BLOCKS)
    assert run_seed(5, validators=4, blocks=BLOCKS) == first
    assert run_seed(6, validators=4, blocks=BLOCKS).digest != first.digest


def test_a_trace_changes_nothing_but_the_lines() -> None:
    silent, traced = (run_seed(5, validators=4, blocks=BLOCKS, trace=trace) for trace in (False, True))
    assert traced.digest == silent.digest
    assert traced.trace
    assert not silent.trace


def test_a_seed_replays_under_another_hash_seed() -> None:
    code = (
        "from consensus.simulation.runner import run_seed\n"
        "print(*[run_seed(seed, validators=7, blocks=20).digest for seed in (3, 5, 8)])"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "4242")
    }
    assert len(digests) == 1
    assert len(digests.pop().split()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("validators", [4, 7])
def test_a_thousand_seeds_break_no_invariant(validators: int) -> None:
    violations_of(range(1_000), validators)


@pytest.mark.slow
def test_ten_validators_break_no_invariant() -> None:
    violations_of(range(50), 10)
