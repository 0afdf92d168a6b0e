"""Suite: the engine beside something else that must agree with it.

1. Mode OFF beside mode STRICT on the same schedules: both safe and both live under partitions and losses;
   without faults, and where no message overtakes another by a detour, STRICT makes no height final later
   than OFF, at any node. (Else a node can know a child to be final before it has the body that says whose
   child that is, and hands the parent out with it; in OFF the parent, known to be final later, comes first.)
2. The engine beside the rules of `tests/models/sim.py` (`model_rules`), on random placements of one view.
3. One validator's literal states beside the moves that the exhaustive search gives it (`memory`).
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from random import Random
from typing import Any, Final

from consensus.agreement.config import TimerSettings
from consensus.agreement.messages import Message
from consensus.agreement.thresholds import Mode
from tests.proof.cluster import START_US, Cluster
from tests.proof.memory import Explored, Memory
from tests.proof.model_rules import compare
from tests.proof.scope import Scope
from tests.proof.suite import Extent, SuiteResult, run_all

TIMERS: Final = TimerSettings(start_us=400_000, min_us=100_000)
LIMIT_US: Final = 60_000_000
HEIGHTS: Final = 12
FAULTS_END_US: Final = 2_000_000

SCHEDULES: Final = 300
PLACEMENTS: Final = 10_000
QUICK_SCHEDULES: Final = 15
QUICK_PLACEMENTS: Final = 500


def run(extent: Extent, jobs: int) -> SuiteResult:
    """All three; quick: fewer seeds, and the smaller literal explorations."""
    quick = extent is Extent.QUICK
    schedules = range(QUICK_SCHEDULES if quick else SCHEDULES)
    placements = range(QUICK_PLACEMENTS if quick else PLACEMENTS)
    literal = LITERAL[:2] if quick else LITERAL
    with ProcessPoolExecutor(jobs) as pool:
        modes = run_all(pool, both_modes, schedules, "both modes", 4)
        rules = run_all(pool, compare, placements, "engine and rules", 64)
        explored = run_all(pool, explore, literal, "one validator literally")
    violations = [text for text in (*modes, *rules) if text is not None]
    violations += [text for each in explored for text in each.violations]
    states, turns = sum(each.states for each in explored), sum(each.turns for each in explored)
    restarts = sum(each.restarts for each in explored)
    signatures = sum(each.signatures for each in explored)
    return SuiteResult(
        name="differential",
        cases=len(modes) + len(rules) + states,
        violations=tuple(violations),
        notes=(
            f"OFF beside STRICT: {len(modes):,} schedules, each with and without faults",
            f"engine beside tests/models: {len(rules):,} placements of one view",
            f"one validator literally: {states:,} states, {turns:,} turns of the engine, "
            f"{restarts:,} restarts, {signatures:,} signatures all allowed to the search",
        ),
    )


# --- OFF beside STRICT


def both_modes(seed: int) -> str | None:
    """One schedule in both modes, with faults and without; a sentence if something is wrong."""
    random = Random(seed)
    count = random.choice((4, 4, 5, 7))
    stakes = [1] * count if random.random() < 0.5 else [random.randint(1, 3) for _ in range(count)]
    delays = [[random.randint(200, 20_000) for _ in range(count)] for _ in range(count)]
    for faults, delay_us in ((False, _without_detours(delays)), (True, delays)):
        finals = {mode: _finals(seed, mode, stakes, delay_us, faults=faults) for mode in Mode}
        for mode, found in finals.items():
            if isinstance(found, str):
                return f"seed {seed}, {mode.name}: {found}"
        strict, off = finals[Mode.STRICT], finals[Mode.OFF]
        if not faults and not isinstance(strict, str) and not isinstance(off, str):
            later = _later(strict, off)
            if later is not None:
                return f"seed {seed}: {later}"
    return None


def _without_detours(delays: list[list[int]]) -> list[list[int]]:
    """The same network, but for links that were slower than the way by others (Floyd and Warshall)."""
    shortest = [list(row) for row in delays]
    places = range(len(delays))
    for middle in places:
        for source in places:
            for target in places:
                detour_us = shortest[source][middle] + shortest[middle][target]
                shortest[source][target] = min(shortest[source][target], detour_us)
    return shortest


def _later(strict: list[list[int]], off: list[list[int]]) -> str | None:
    """A height that STRICT makes final later than OFF does."""
    for node, (ours, theirs) in enumerate(zip(strict, off, strict=True)):
        for height, (one, other) in enumerate(zip(ours, theirs, strict=True), start=1):
            if one > other:
                return f"height {height} at node {node} is final at {one} us in STRICT, {other} us in OFF"
    return None


def _finals(
    seed: int, mode: Mode, stakes: list[int], delays: list[list[int]], *, faults: bool
) -> list[list[int]] | str:
    """When each height became final at each node, or what went wrong."""
    count = len(stakes)
    carries = _losses(seed, count) if faults else (lambda source, target, message, now_us: True)
    cluster = Cluster(
        stakes=stakes,
        places=range(count),
        mode=mode,
        timers=TIMERS,
        carries=carries,
        delay_us=lambda source, target, now_us: delays[source][target],
    )
    lives = cluster.run(lambda: all(len(one.chain) >= HEIGHTS for one in cluster.instances), LIMIT_US)
    cluster.check(range(count))
    if cluster.violations:
        return cluster.violations[0]
    if not lives:
        return f"heights {[len(one.chain) for one in cluster.instances]} of {HEIGHTS}"
    return [one.final_us[:HEIGHTS] for one in cluster.instances]


def _losses(seed: int, count: int) -> Callable[[int, int, Message, int], bool]:
    """Until a time, a partition in two that changes every 100 ms, and one message in ten lost."""
    random = Random(seed)
    sides = [[random.randrange(2) for _ in range(count)] for _ in range(FAULTS_END_US // 100_000)]
    lost = Random(seed + 1)

    def carries(source: int, target: int, message: Message, now_us: int) -> bool:
        since_us = now_us - START_US
        if since_us >= FAULTS_END_US:
            return True
        side = sides[since_us // 100_000]
        return side[source] == side[target] and lost.random() >= 0.1

    return carries


# --- literal states beside the search's moves

HONEST_LEADER: Final = {"views": 1, "byzantine": 3}
BYZANTINE_LEADER: Final = {"views": 1, "byzantine": 0}
LITERAL: Final[tuple[tuple[dict[str, Any], dict[str, Any]], ...]] = (
    (HONEST_LEADER, {"twice": True, "crashes": 1}),
    (BYZANTINE_LEADER, {}),
    (BYZANTINE_LEADER, {"crashes": 1}),
    (BYZANTINE_LEADER, {"twice": True}),
    (HONEST_LEADER, {"certificates": True, "crashes": 1}),
    (HONEST_LEADER, {"fallback": True}),
)


def explore(case: tuple[dict[str, Any], dict[str, Any]]) -> Explored:
    """The literal states of the first two honest validators, added up."""
    scope_of, shown = case
    scope = Scope(**scope_of)
    total = Explored()
    for index in scope.honest[:2]:
        found = Memory(scope, index, **shown).explore()
        total.states += found.states
        total.turns += found.turns
        total.signatures += found.signatures
        total.restarts += found.restarts
        total.violations += found.violations
    return total
