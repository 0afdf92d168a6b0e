"""Suite: exhaustive search on the real engine, four validators of which one is Byzantine.

What a state is. Between two of its signatures a validator is taken to remember only what it signed, with the
bodies that this relied on: as a node does that restarts from its journal. It is then shown any selection of
all that exists. That is more than nodes can do that do not restart, because whatever a node remembers can be
shown to it again; `memory` checks this claim on the engine, for every order of deliveries in one view.

What the Byzantine validator can do. First votes of every kind to whom it likes, any other at another time; as
leader two proposals, their bodies and its LeaderFault to whom it likes. Its fallback and FINALIZE votes are
shown as the certificates that they help to make, of every type, at any time: nothing else reads them.

What is left out, with the reason.
 1. The order of what is shown before a signature: it matters only where one thing forbids what another
    allows, and then a smaller selection is without it. `memory` tries every order.
 2. A second first vote of the Byzantine validator in one view, at one node: it counts for nothing.
 3. First votes of one view do not come between those of another before the same signature: views have no
    part of each other but certificates, which are shown in all selections, and the current view.

In each state: no two certificates that section 19.1 excludes can be made, no two final blocks are on two
chains, no honest pair of signatures is slashable, no engine raised, and nobody can be stuck (`fair`).

Three views: the third is searched for every largest set of certificates that the first two, searched
together, can leave behind. A smaller set allows nothing more. These searches are most of the work: the usual
run makes every fourth of them, the whole run all.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Any

from consensus.agreement.thresholds import Mode
from tests.proof import controls
from tests.proof.scope import Scope
from tests.proof.search import Found, Search
from tests.proof.suite import Extent, SuiteResult, run_all

Facts = frozenset[tuple[object, ...]]
Mutant = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One search. `context` are certificates of earlier views, of which then only the last is searched."""

    name: str
    scope: dict[str, Any]
    context: Facts | None = None


@dataclass(slots=True)
class Report:
    """What one search found, free of the scope's own numbers."""

    task: Task
    found: Found
    profiles: list[Facts] = field(default_factory=list)


def search(task: Task, mutant: Mutant = nullcontext) -> Report:
    """Run one search, the engine changed by `mutant`."""
    with mutant():
        scope = Scope(**task.scope)
        context = None if task.context is None else scope.mask_of(task.context)
        found = Search(scope, context=context).run()
    profiles = largest(scope.name_facts(mask) for mask in found.profiles)
    found.profiles = set()
    return Report(task, found, profiles)


def largest(sets: Iterable[Facts]) -> list[Facts]:
    """Those that are within no other, in a fixed order."""
    ordered = sorted(set(sets), key=lambda each: (-len(each), sorted(map(repr, each))))
    kept: list[Facts] = []
    for each in ordered:
        if not any(each < other for other in kept):
            kept.append(each)
    return kept


# --- what is searched

UNEQUAL = (2, 2, 2, 1)  # F = 2, Q = 5, and FAST = 6 above it where the smallest leads
THIRDS_SHARE = 4  # of the searches of a third view the usual run makes one in so many
LEADS_FIRST, LEADS_SECOND, LEADS_THIRD, LEADS_NONE = 0, 1, 2, 3  # the Byzantine validator's place


def one_view() -> list[Task]:
    """One view: equal and unequal stakes, both modes, a block from the future."""
    tasks = []
    for mode in Mode:
        tasks += [
            Task(name=f"1 view, {mode.name}, {who}", scope={"views": 1, "byzantine": place, "mode": mode})
            for place, who in ((LEADS_FIRST, "Byzantine leader"), (LEADS_NONE, "honest leader"))
        ]
        tasks += [
            Task(
                name=f"1 view, {mode.name}, stakes {UNEQUAL}, {leader} leads, {place} Byzantine",
                scope={"views": 1, "byzantine": place, "mode": mode, "stakes": UNEQUAL, "chain": chain},
            )
            for chain, leader in ((b"a", 3), (b"d", 2))
            for place in (0, 2, 3)
        ]
    future = {"views": 1, "byzantine": LEADS_FIRST, "future": True}
    return [*tasks, Task(name="1 view, STRICT, a block from the future", scope=future)]


def two_views(mode: Mode) -> list[Task]:
    """Two views together: the Byzantine validator leads the first, the second, or neither."""
    places = [(LEADS_FIRST, "leads the first"), (LEADS_NONE, "leads neither")]
    tasks = [
        Task(
            name=f"2 views, {mode.name}, Byzantine {who}",
            scope={"views": 2, "byzantine": place, "mode": mode},
        )
        for place, who in places
    ]
    for pair in combinations_with_replacement(("A1", "g"), 2):
        scope = {"views": 2, "byzantine": LEADS_SECOND, "mode": mode, "parents": {2: pair}}
        tasks.append(Task(name=f"2 views, {mode.name}, Byzantine leads the second, on {pair}", scope=scope))
    return tasks


def third_views(report: Report) -> list[Task]:
    """A third view behind every largest set of certificates that a search of two leaves behind."""
    two = report.task.scope
    scope = Scope(**two)
    tasks = []
    for number, profile in enumerate(report.profiles):
        certified = sorted({what[3] for what in profile if what[3]}, key=repr)
        context = profile | {("proposed", block) for block in certified}
        for pairs in _parents(scope, two, certified):
            tasks.append(
                Task(
                    name=f"{report.task.name}, and a third after profile {number}{pairs or ''}",
                    scope={**two, "views": 3, "parents": {**two.get("parents", {}), **pairs}},
                    context=context,
                )
            )
    return tasks


def _parents(scope: Scope, two: dict[str, Any], certified: Sequence[Any]) -> list[dict[int, Any]]:
    """The Byzantine leader's choices of two parents, among what is certified and genesis."""
    if two["byzantine"] != LEADS_THIRD:
        return [{}]
    names = ["g", *(scope.blocks[block].name for block in certified)]
    return [{3: pair} for pair in combinations_with_replacement(names, 2)]


def behind_third() -> list[Task]:
    """Two views of which the Byzantine validator leads neither, but it will lead the third."""
    return [
        Task(name="2 views, STRICT, Byzantine leads the third", scope={"views": 2, "byzantine": LEADS_THIRD})
    ]


# --- the suite


def run(extent: Extent, jobs: int) -> SuiteResult:
    """All searches and the negative controls; usual: of the third views every `THIRDS_SHARE`-th; quick: one
    view, and two with the Byzantine leading neither."""
    quick = extent is Extent.QUICK
    with ProcessPoolExecutor(jobs) as pool:
        ones = run_all(pool, search, one_view()[:2] if quick else one_view(), "one view")
        twos_tasks = two_views(Mode.STRICT)[1:2] if quick else [*two_views(Mode.STRICT), *behind_third()]
        twos = run_all(pool, search, twos_tasks, "two views")
        offs = [] if quick else run_all(pool, search, two_views(Mode.OFF)[:2], "two views, OFF")
        every = [task for report in twos for task in third_views(report)]
        chosen = {Extent.QUICK: every[-2:], Extent.USUAL: every[::THIRDS_SHARE], Extent.WHOLE: every}[extent]
        thirds = run_all(pool, search, chosen, "a third view")
        survivors = [name for name, killed in run_all(pool, control, controls.ALL, "controls") if not killed]
    reports = [*ones, *twos, *offs, *thirds]
    violations = [f"{report.task.name}: {text}" for report in reports for text in report.found.violations]
    notes = [
        _sum("one view", ones),
        _sum("two views together, STRICT", twos),
        *([_sum("two views together, OFF", offs)] if offs else []),
        _sum(f"third view behind two ({len(thirds)} of {len(every)})", thirds),
    ]
    return SuiteResult(
        name="exhaustive",
        cases=sum(each.found.states for each in reports),
        violations=tuple(violations),
        mutants=len(controls.ALL),
        survivors=tuple(f"{name}: the search finds nothing wrong" for name in survivors),
        notes=tuple(notes),
    )


def control(named: controls.Control) -> tuple[str, bool]:
    """Whether a search of one view finds something wrong with a changed engine."""
    for task in one_view():
        if task.name in named.searches and search(task, named.apply).found.violations:
            return named.name, True
    return named.name, False


def _sum(what: str, reports: Sequence[Report]) -> str:
    states, moves, turns = (
        sum(getattr(each.found, name) for each in reports) for name in ("states", "transitions", "turns")
    )
    return (
        f"{what}: {len(reports)} searches, {states:,} states, {moves:,} moves, {turns:,} turns of the engine"
    )
