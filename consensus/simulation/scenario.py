"""What happens in one run, drawn whole from the seed before anything starts.

A scenario says who is faulty and how, when processes crash and come back, what the network does until GST and
how fast disks and the application are. Faulty in the sense of CONSENSUS.md section 1 (Byzantine, crashed for
good, or restarted without a journal) is at most F of stake, so both safety and liveness are promised. Crashes
that keep the journal may hit anybody, all at once too, as long as they end.
"""

import enum
from dataclasses import dataclass
from random import Random
from typing import Final

from consensus.agreement.config import AmnesiaPolicy, TimerSettings
from consensus.agreement.thresholds import Mode, stake_thresholds
from consensus.simulation.application import ApplicationPlan
from consensus.simulation.disk import DiskPlan
from consensus.simulation.membership import Member, Sets
from consensus.simulation.network import NetworkPlan, Partition
from consensus.simulation.scheduler import MILLISECOND_US, SECOND_US

VIEWS_AT_REST: Final = 30  # that all may take to get going once the last disturbance is over,
VIEWS_A_BLOCK: Final = 3  # and for each block after it
LIVENESS_US: Final = 900 * SECOND_US  # without progress that is promised later, a run ends by then
LARGEST_STAKE: Final = 4
CLOCK_SKEW_MS: Final = 200  # either way; PRECISION is 500 ms between the fastest and the slowest


class Loss(enum.IntEnum):
    """What a crash takes with it, beyond what was not synced."""

    NOTHING = 0
    JOURNAL = 1
    EVERYTHING = 2  # the journal and the store
    STORE = 3  # the store alone: the journal tells of what the node can not yet know

    @property
    def of_memory(self) -> bool:
        """Whether the journal is gone, which is amnesia."""
        return self in (Loss.JOURNAL, Loss.EVERYTHING)

    @property
    def of_store(self) -> bool:
        """Whether the blocks are gone."""
        return self in (Loss.EVERYTHING, Loss.STORE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """A process dies at `at_us` and starts again at `back_us` (None: never)."""

    node: int
    at_us: int
    back_us: int | None
    loss: Loss = Loss.NOTHING


class Moment(enum.Enum):
    """Where a node stands at the end of an epoch."""

    NEARING = "nearing"  # the block below the boundary is final
    ENDING = "ending"  # the boundary block is final; nothing is durable, the next epoch has not begun
    BEGUN = "begun"  # the next epoch's engine has started


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A process dies `delay_us` after its node reached `moment` of `epoch`, and starts again `down_us` later;
    with `until_epoch`, that much later than somebody begins that epoch."""

    node: int
    epoch: int
    moment: Moment
    delay_us: int
    down_us: int
    until_epoch: int | None = None
    loss: Loss = Loss.NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Relapse:
    """A step of a series: a node loses its journal once the one before has recovered its memory."""

    node: int
    delay_us: int
    down_us: int
    loss: Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run. Times in microseconds of virtual time."""

    seed: int
    sets: Sets
    mode: Mode
    target: int  # final blocks that every honest node must reach
    network: NetworkPlan
    disks: tuple[DiskPlan, ...]
    application: ApplicationPlan
    timers: TimerSettings
    idle_interval_ms: int
    skews_ms: tuple[int, ...]
    byzantine: tuple[tuple[int, str], ...]  # (validator, behaviour)
    crashes: tuple[Crash, ...]
    observers: int  # nodes without a key, which follow finality
    epoch_blocks: int = 10_000
    episodes: tuple[Episode, ...] = ()
    relapses: tuple[Relapse, ...] = ()
    late: tuple[tuple[int, int], ...] = ()  # (node, epoch): its first process starts when that epoch begins
    amnesia: AmnesiaPolicy = AmnesiaPolicy.PROBE
    rewrite_groups: int = 40

    @property
    def stakes(self) -> tuple[int, ...]:
        """Of the first epoch, by validator index."""
        return tuple(member.stake for member in self.sets[0])

    @property
    def validators(self) -> int:
        """How many nodes are ever validators; observers are numbered after them."""
        return 1 + max(member.node for members in self.sets for member in members)

    @property
    def faulty(self) -> frozenset[int]:
        """Byzantine validators and those that crash for good: neither need finalise anything."""
        dead = {crash.node for crash in self.crashes if crash.back_us is None}
        return frozenset(dead | {node for node, _ in self.byzantine})

    def patience_us(self, calm_us: int, blocks: int) -> int:
        """I7: how long after `calm_us`, when the last disturbance ended, `blocks` more may take to be final.

        In proportion to what a view takes, by timers, delays, disks, execution and idling, and to how long
        the disturbances lasted: timers may have backed off for as long. The worst of 470 seeds took an
        eighth of it.
        """
        application = self.application
        view_us = (
            self.timers.start_us
            + 8 * self.network.bound_us
            + application.execution_us
            + application.persist_us
            + application.switch_us
            + self.idle_interval_ms * MILLISECOND_US
            + max(disk.sync_most_us + disk.stall_us for disk in self.disks)
        )
        return (VIEWS_AT_REST + VIEWS_A_BLOCK * max(0, blocks)) * (calm_us + view_us)

    @property
    def stable_us(self) -> int:
        """From here on the network is bounded and no process starts or dies."""
        times = [self.network.gst_us]
        times += [crash.at_us if crash.back_us is None else crash.back_us for crash in self.crashes]
        return max(times)


def draw(seed: int, *, validators: int, target: int, mode: Mode, behaviours: tuple[str, ...]) -> Scenario:
    """The scenario of a seed. Equal arguments give an equal scenario, on every machine."""
    random = Random(f"scenario:{seed}:{validators}:{target}")
    stakes = draw_stakes(random, validators)
    bound_us = random.choice((1, 5, 20, 50)) * MILLISECOND_US
    gst_us = bound_us * random.choice((0, 0, 20, 60, 150))
    if validators == 1:  # it waits for nobody: time must pass by execution, and not much of it
        bound_us, gst_us = MILLISECOND_US, 0
    byzantine, dead, amnesic = _faulty(random, stakes, behaviours)
    horizon_us = max(gst_us, 30 * bound_us)
    crashes = [Crash(node=node, at_us=random.randrange(horizon_us), back_us=None) for node in dead] + [
        _amnesia(random, node, horizon_us) for node in amnesic
    ]
    busy = {node for node, _ in byzantine} | set(dead) | set(amnesic)
    crashes += _restarts(random, [node for node in range(validators) if node not in busy], horizon_us)
    idle_ms = random.choice((0, 0, 0, 30))
    sync_us = random.choice((200, 1_000, 5_000))
    return Scenario(
        seed=seed,
        sets=(tuple(Member(node=node, stake=stake) for node, stake in enumerate(stakes)),),
        mode=mode,
        target=target,
        network=draw_network(random, validators, gst_us, bound_us),
        disks=tuple(
            DiskPlan(
                sync_least_us=sync_us // 2,
                sync_most_us=sync_us,
                stall_us=random.choice((0, 0, 0, 100 * MILLISECOND_US)),
            )
            for _ in range(validators)
        ),
        application=ApplicationPlan(
            execution_us=random.choice((0, 1_000, 10_000)) if validators > 1 else 1_000,
            idle_us=idle_ms * MILLISECOND_US,
            persist_us=random.choice((1_000, 100_000)),
        ),
        timers=TimerSettings(
            start_us=random.choice((100_000, 1_000_000)), rtt_us=2 * bound_us, chain_us=10 * bound_us
        ),
        idle_interval_ms=idle_ms,
        skews_ms=tuple(random.randint(-CLOCK_SKEW_MS, CLOCK_SKEW_MS) for _ in range(validators + 1)),
        byzantine=byzantine,
        crashes=tuple(sorted(crashes, key=lambda crash: (crash.at_us, crash.node))),
        observers=random.choice((0, 0, 0, 1)),
    )


def draw_stakes(random: Random, validators: int) -> tuple[int, ...]:
    """Equal stakes or uneven ones; above three validators nobody holds more than F."""
    if random.randrange(2):
        stakes = tuple(random.randint(1, LARGEST_STAKE) for _ in range(validators))
        if validators < 4 or max(stakes) <= stake_thresholds(sum(stakes)).faulty:
            return stakes
    return (1,) * validators


def _faulty(
    random: Random, stakes: tuple[int, ...], behaviours: tuple[str, ...]
) -> tuple[tuple[tuple[int, str], ...], list[int], list[int]]:
    """Who is Byzantine and how, who dies for good, who loses its journal: together at most F of stake."""
    allowed = stake_thresholds(sum(stakes)).faulty
    appetite = random.choice(("none", "byzantine", "byzantine", "byzantine", "dead", "amnesic", "mixed"))
    byzantine: list[tuple[int, str]] = []
    dead: list[int] = []
    amnesic: list[int] = []
    spent = 0
    order = list(range(len(stakes)))
    random.shuffle(order)
    for node in order:
        if appetite == "none" or spent + stakes[node] > allowed:
            continue
        spent += stakes[node]
        fate = random.choice(("byzantine", "dead", "amnesic")) if appetite == "mixed" else appetite
        if fate == "byzantine":
            byzantine.append((node, random.choice(behaviours)))
        elif fate == "dead":
            dead.append(node)
        else:
            amnesic.append(node)
    return tuple(sorted(byzantine)), dead, amnesic


def _amnesia(random: Random, node: int, horizon_us: int) -> Crash:
    at_us = random.randrange(horizon_us)
    return Crash(
        node=node,
        at_us=at_us,
        back_us=at_us + random.randrange(1, horizon_us),
        loss=random.choice((Loss.JOURNAL, Loss.EVERYTHING)),
    )


def _restarts(random: Random, nodes: list[int], horizon_us: int) -> list[Crash]:
    """Crashes that keep the journal: none, a few, or the whole cluster at one instant."""
    kind = random.choice(("none", "few", "few", "all"))
    if kind == "none" or not nodes:
        return []
    if kind == "all":
        at_us = random.randrange(horizon_us)
        return [
            Crash(node=node, at_us=at_us, back_us=at_us + random.randrange(1, horizon_us // 4 + 2))
            for node in nodes
        ]
    crashes = []
    for node in random.sample(nodes, random.randint(1, len(nodes))):
        at_us = 0
        for _ in range(random.randint(1, 2)):
            at_us += random.randrange(1, horizon_us)
            back_us = at_us + random.randrange(1, horizon_us // 4 + 2)
            crashes.append(Crash(node=node, at_us=at_us, back_us=back_us))
            at_us = back_us
    return crashes


def draw_network(random: Random, validators: int, gst_us: int, bound_us: int) -> NetworkPlan:
    nodes = list(range(validators))
    partitions = []
    for _ in range(random.choice((0, 0, 1, 2)) if gst_us else 0):
        start_us = random.randrange(gst_us)
        random.shuffle(nodes)
        cut = random.randint(1, validators - 1) if validators > 1 else 1
        partitions.append(
            Partition(
                start_us=start_us,
                end_us=random.randint(start_us, gst_us),
                groups=(frozenset(nodes[:cut]), frozenset(nodes[cut:])),
            )
        )
    links = [(a, b) for a in range(validators) for b in range(validators) if a != b]
    bad = random.sample(links, random.choice((0, 0, min(2, len(links)))))
    return NetworkPlan(
        gst_us=gst_us,
        bound_us=bound_us,
        least_us=random.choice((bound_us // 20, bound_us // 2)) + 1,
        wild_us=random.choice((5, 20)) * bound_us,
        loss=random.choice((0, 50, 300)),
        delayed=random.choice((0, 100, 500)),
        duplicated=random.choice((0, 20, 200)),
        bad_links=frozenset(bad),
        partitions=tuple(partitions),
    )
