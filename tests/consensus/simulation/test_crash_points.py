"""The process dies before and after every write, sync, rewrite and send: CONSENSUS.md sections 13.1 and 13.3.

Whatever point it is, no pair of signatures that convicts ever reaches the wire across the restart (I4), none
leaves before its record is durable (I6), nothing forks, and the network goes on: the checkers of every
simulated run say so, and are shown elsewhere to fire. The default run takes a stride through the points of
schedules in which every kind of record is written; the slow one takes every point.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest
from crash_world import Point, epochs_of, play, scenario_of

from consensus.simulation.scenario import Loss, Scenario

MUST_BE_WRITTEN = {
    "PROPOSE",
    "NOTARIZE",
    "SKIP",
    "NFALL",
    "SFALL",
    "FINALIZE",
    "BlockRecord",
    "CertificateRecord",
    "FaultRecord",
    "FloorRecord",
    "ReasonRecord",
}
MUST_BE_PASSED = {"before write", "written", "synced", "before send", "sent", "before rewrite", "rewritten"}


def honest(scenario: Scenario) -> list[int]:
    members = {member.node for member in scenario.sets[0]}
    return sorted(members - scenario.faulty)


def written(points: Iterable[Point]) -> set[str]:
    """The kinds of records in the groups of these points."""
    return {kind for point in points if point.what != "sent" for kind in point.label.split()}


def interesting() -> list[tuple[Scenario, int, list[Point]]]:
    """The fewest (scenario, node) in order of their seeds in which everything is written that must be."""
    chosen, covered = [], set()
    for seed in range(120):
        scenario = scenario_of(seed)
        for node in honest(scenario):
            _, points = play(scenario, node, None)
            news = (written(points) & MUST_BE_WRITTEN) - covered
            if news and len(points) < 450:
                covered |= news
                chosen.append((scenario, node, points))
        if covered == MUST_BE_WRITTEN:
            return chosen
    raise AssertionError(f"no schedule writes {MUST_BE_WRITTEN - covered}")


def check(scenario: Scenario, node: int, at: int, point: Point, **how: object) -> None:
    report, _ = play(scenario, node, at, **how)  # type: ignore[arg-type]
    assert not report.violations, (scenario.seed, node, at, point, how, report.violations[0])


def test_a_kill_at_any_point_neither_forks_nor_sticks_nor_lies() -> None:
    killed_at: Counter[Point] = Counter()
    for scenario, node, points in interesting():
        for at, point in enumerate(points):
            if killed_at[point] % 12 == 0:
                check(scenario, node, at, point, keeps=at % 3 != 0)
            killed_at[point] += 1
    assert written(killed_at) >= MUST_BE_WRITTEN
    assert {point.what for point in killed_at} >= MUST_BE_PASSED - {"before rewrite", "rewritten"}


def test_a_kill_around_a_rewrite_of_the_journal_loses_nothing() -> None:
    tried = 0
    for seed in range(8):
        scenario = replace(scenario_of(seed), rewrite_groups=3)
        node = honest(scenario)[-1]
        _, points = play(scenario, node, None)
        for at, point in enumerate(points):
            if point.what in ("before rewrite", "rewritten"):
                tried += 1
                check(scenario, node, at, point)
    assert tried >= 8


def test_a_kill_at_any_point_of_a_change_of_epochs_neither_forks_nor_sticks_nor_lies() -> None:
    """Between the last vote of an epoch and the first of the next: floors, boundaries, another key."""
    tried, floors = 0, 0
    for seed in range(4):
        scenario = epochs_of(seed)
        for node in honest(scenario)[:2]:
            report, points = play(scenario, node, None)
            assert report.counters["epochs_begun"] > 0
            for at in range(seed % 31, len(points), 31):
                tried += 1
                floors += "FloorRecord" in points[at].label
                check(scenario, node, at, points[at], keeps=at % 2 == 0)
    assert tried >= 20
    assert floors > 0


@pytest.mark.parametrize("loss", [Loss.JOURNAL, Loss.EVERYTHING])
def test_a_kill_that_takes_the_journal_with_it_is_amnesia_and_no_lie(loss: Loss) -> None:
    """Without Byzantine nodes, so that the amnesic one is within F."""
    tried = 0
    for seed in range(2, 30):
        scenario = scenario_of(seed)
        if scenario.byzantine:
            continue
        _, points = play(scenario, 0, None)
        for at in range(seed % 67, len(points), 67):
            tried += 1
            check(scenario, 0, at, points[at], loss=loss)
    assert tried >= 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_a_kill_at_every_point(seed: int) -> None:
    scenario = scenario_of(seed)
    for node in honest(scenario):
        _, points = play(scenario, node, None)
        for at, point in enumerate(points):
            for keeps in (False, True) if point.what == "written" else (True,):
                check(scenario, node, at, point, keeps=keeps)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_a_kill_at_every_point_of_a_change_of_epochs(seed: int) -> None:
    scenario = epochs_of(seed)
    for node in honest(scenario):
        _, points = play(scenario, node, None)
        for at, point in enumerate(points):
            check(scenario, node, at, point)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 108))
def test_a_kill_at_every_point_of_seven(seed: int) -> None:
    scenario = scenario_of(seed, validators=7, target=3)
    for node in honest(scenario):
        _, points = play(scenario, node, None)
        for at in range(0, len(points), 5):
            check(scenario, node, at, points[at])
