"""Suite: Twins. Two correct engines with one key, on two sides of a partition, are a Byzantine validator.

A schedule gives every one of the first views a leader and a partition of all instances in two. What is about
one of these views reaches only the sender's side of it; everything else waits until the network heals. Then
all honest nodes must come to the same chain and go on, and whoever is convicted must be a twin.

n = 4: every schedule of three views, up to the names of the honest validators and of the twins. n = 7: two
validators have twins; seeded random schedules of four views and up to three sides.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import permutations, product
from random import Random
from typing import Final

from consensus.agreement.config import TimerSettings
from consensus.agreement.messages import Message, NotFound
from consensus.agreement.thresholds import Mode
from tests.proof.cluster import START_US, Cluster, view_of
from tests.proof.suite import Extent, SuiteResult, run_all

HEALS_US: Final = 300_000
LIMIT_US: Final = 30_000_000
DELAY_US: Final = 1_000
TIMERS: Final = TimerSettings(
    start_us=40_000, min_us=40_000, grace=64, fallback_min_us=5_000, resend_min_us=320_000
)
QUICK_SHARE: Final = 60  # one schedule in so many
RANDOM_SEEDS: Final = 500
QUICK_SEEDS: Final = 20


@dataclass(frozen=True, slots=True)
class Schedule:
    """`leaders[v]` leads view v + 1; there instance k is on side `sides[v][k]`."""

    leaders: tuple[int, ...]
    sides: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one schedule."""

    violation: str | None
    convicted: bool


FOUR: Final = (0, 1, 2, 3, 3)  # instances 3 and 4 are twins
SEVEN: Final = (0, 1, 2, 3, 4, 5, 5, 6, 6)


def play(places: Sequence[int], mode: Mode, schedule: Schedule) -> Outcome:
    """One schedule, to the end."""
    sides = schedule.sides

    def carries(source: int, target: int, message: Message, now_us: int) -> bool:
        if now_us >= START_US + HEALS_US:
            return True
        view = view_of(message)
        if view is None or not 1 <= view <= len(sides) or isinstance(message, NotFound):
            return False
        return sides[view - 1][source] == sides[view - 1][target]

    validators = max(places) + 1
    cluster = Cluster(
        stakes=(1,) * validators,
        places=places,
        mode=mode,
        timers=TIMERS,
        carries=carries,
        delay_us=lambda source, target, now_us: DELAY_US,
        leaders=schedule.leaders,
    )
    honest = [number for number, place in enumerate(places) if places.count(place) == 1]
    height = len(sides) + 1

    def over() -> bool:
        healed = cluster.now_us >= START_US + HEALS_US
        return healed and all(len(cluster.instances[number].chain) >= height for number in honest)

    lives = cluster.run(over, LIMIT_US)
    cluster.check(honest)
    convicted = any(cluster.instances[number].evidence for number in honest)
    if cluster.violations:
        return Outcome(f"{mode.name} {schedule}: {cluster.violations[0]}", convicted)
    if not lives:
        heights = [len(cluster.instances[number].chain) for number in honest]
        return Outcome(f"{mode.name} {schedule}: heights {heights} of {height} after the heal", convicted)
    return Outcome(None, convicted)


def every_schedule(views: int) -> Iterator[Schedule]:
    """All schedules of FOUR, one of each class that renaming honest validators and twins makes equal."""
    choices = [
        (leader, (0, *sides)) for leader in range(4) for sides in product((0, 1), repeat=len(FOUR) - 1)
    ]
    renamings = [(*honest, *twins) for honest in permutations(range(3)) for twins in ((3, 4), (4, 3))]
    images = {choice: [_rename(choice, renaming) for renaming in renamings] for choice in choices}
    for some in product(choices, repeat=views):
        alike = zip(*(images[each] for each in some), strict=True)
        if all(some <= other for other in alike):
            yield Schedule(tuple(leader for leader, _ in some), tuple(sides for _, sides in some))


def _rename(choice: tuple[int, tuple[int, ...]], renaming: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """The same choice under other names; the side of instance 0 is called 0."""
    leader, sides = choice
    moved = [0] * len(sides)
    for number, side in enumerate(sides):
        moved[renaming[number]] = side
    first = moved[0]
    return (renaming[leader] if leader < 3 else 3), tuple(side ^ first for side in moved)


def random_schedule(seed: int) -> Schedule:
    """A schedule of SEVEN: four views, up to three sides."""
    random = Random(seed)
    views = 4
    leaders = tuple(random.choice((random.randrange(7), 5, 6)) for _ in range(views))
    sides = tuple(tuple(random.randrange(random.choice((2, 2, 3))) for _ in SEVEN) for _ in range(views))
    return Schedule(leaders, sides)


def run(extent: Extent, jobs: int) -> SuiteResult:
    """All schedules in both modes; quick: every so many-th."""
    quick = extent is Extent.QUICK
    all_four = list(every_schedule(3))
    four = all_four[:: QUICK_SHARE if quick else 1]
    seeds = range(QUICK_SEEDS if quick else RANDOM_SEEDS)
    seven = [random_schedule(seed) for seed in seeds]
    notes, violations, cases = [], [], 0
    with ProcessPoolExecutor(jobs) as pool:
        for mode in Mode:
            for places, schedules in ((FOUR, four), (SEVEN, seven)):
                outcomes = run_all(pool, partial(play, places, mode), schedules, f"{mode.name}", 16)
                cases += len(outcomes)
                violations += [each.violation for each in outcomes if each.violation is not None]
                convicted = sum(each.convicted for each in outcomes)
                notes.append(
                    f"n = {max(places) + 1}, {mode.name}: {len(outcomes):,} schedules, "
                    f"a twin convicted in {convicted:,}"
                )
    notes.append(f"n = 4 over 3 views has {len(all_four):,} schedules up to names, of {(4 * 16) ** 3:,}")
    return SuiteResult(name="twins", cases=cases, violations=tuple(violations), notes=tuple(notes))
