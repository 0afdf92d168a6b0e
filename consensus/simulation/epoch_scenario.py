"""What happens in one run over several epochs, drawn whole from the seed.

The validator set changes at every boundary: nodes join, leave, come back, change their stake or their key,
and nobody keeps its index. Whoever is faulty (Byzantine, dead, without memory or store, with a wrong clock,
or away for two epochs) is so within F of stake in every epoch.
"""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Final

from consensus.agreement.config import AmnesiaPolicy, TimerSettings
from consensus.agreement.thresholds import Mode, stake_thresholds
from consensus.simulation.application import ApplicationPlan
from consensus.simulation.disk import DiskPlan
from consensus.simulation.membership import Member, Sets
from consensus.simulation.scenario import (
    CLOCK_SKEW_MS,
    LARGEST_STAKE,
    Crash,
    Episode,
    Loss,
    Moment,
    Relapse,
    Scenario,
    draw_network,
    draw_stakes,
)
from consensus.simulation.scheduler import MILLISECOND_US

FAULTS: Final = ("network", "crashes", "boundary", "late", "amnesia", "byzantine", "dead", "clock", "store")
"""Everything that a run may suffer; `--faults all` lets the seed mix them."""

WRONG_CLOCK_MS: Final = (-20_000, -3_000, -900, 900, 3_000, 20_000)
EPOCHS_AWAY: Final = 2


def draw_epochs(
    seed: int,
    *,
    validators: int,
    epochs: int,
    mode: Mode,
    behaviours: tuple[str, ...],
    faults: tuple[str, ...] = FAULTS,
) -> Scenario:
    """The scenario of a seed. Equal arguments give an equal scenario, on every machine."""
    random = Random(f"epochs:{seed}:{validators}:{epochs}")
    bound_us = random.choice((1, 5, 20)) * MILLISECOND_US
    execution_us = random.choice((0, 1_000, 5_000)) if validators > 1 else 1_000
    gst_us = bound_us * random.choice((0, 0, 10, 40, 100)) if "network" in faults and validators > 1 else 0
    sets = _sets(random, validators, epochs)
    policy = random.choice((AmnesiaPolicy.PROBE, AmnesiaPolicy.PROBE, AmnesiaPolicy.NEXT_EPOCH))
    casting = _Casting(random, sets, faults)
    byzantine = tuple((node, random.choice(behaviours)) for node in casting.take("byzantine"))
    dead = casting.take("dead")
    amnesic = casting.take("amnesia")
    away = casting.take("late") if epochs >= EPOCHS_AWAY else []
    emptied = casting.take("store")
    wrong = casting.take("clock")
    relapsing = casting.series() if policy is AmnesiaPolicy.PROBE else []
    # Whoever lost its memory is silent for some views: to vote again it needs epochs longer than that.
    epoch_blocks = random.choice((6, 10) if relapsing else (2, 3, 4, 6))
    target = epochs * epoch_blocks + 1
    horizon_us = gst_us + target * (3 * bound_us + 2 * execution_us + MILLISECOND_US)
    if policy is AmnesiaPolicy.NEXT_EPOCH:
        sets = _renewed(sets, amnesic)
    everybody = range(1 + max(member.node for members in sets for member in members))
    busy = {node for node, _ in byzantine} | {*dead, *amnesic, *away, *emptied, *relapsing}
    steady = [node for node in everybody if node not in busy]
    crashes = [Crash(node=node, at_us=random.randrange(horizon_us), back_us=None) for node in dead]
    if "crashes" in faults:
        crashes += _restarts(random, steady, horizon_us)
    episodes = [
        *_losses(random, amnesic, epochs, bound_us, (Loss.JOURNAL, Loss.JOURNAL, Loss.EVERYTHING)),
        *_losses(random, emptied, epochs, bound_us, (Loss.STORE,)),
        *_absences(random, away, epochs, bound_us),
    ]
    if "boundary" in faults:
        episodes += _at_boundaries(random, steady, epochs, bound_us)
    first = {member.node for member in sets[0]}
    joiners = [node for node in everybody if node not in first]
    idle_ms = random.choice((0, 0, 0, 30))
    sync_us = random.choice((200, 1_000, 5_000))
    skews_ms = [random.randint(-CLOCK_SKEW_MS, CLOCK_SKEW_MS) for _ in range(len(everybody) + 1)]
    for node in wrong:
        skews_ms[node] = random.choice(WRONG_CLOCK_MS)
    return Scenario(
        seed=seed,
        sets=sets,
        mode=mode,
        target=target,
        epoch_blocks=epoch_blocks,
        network=draw_network(random, len(everybody), gst_us, bound_us),
        disks=tuple(
            DiskPlan(
                sync_least_us=sync_us // 2,
                sync_most_us=sync_us,
                stall_us=random.choice((0, 0, 0, 50 * MILLISECOND_US)),
            )
            for _ in everybody
        ),
        application=ApplicationPlan(
            execution_us=execution_us,
            idle_us=idle_ms * MILLISECOND_US,
            persist_us=random.choice((1_000, 100_000)),
            switch_us=random.choice((0, 1_000, 20_000)),
        ),
        timers=TimerSettings(
            start_us=random.choice((50_000, 300_000)),
            rtt_us=2 * bound_us,
            chain_us=10 * bound_us,  # virtual disks are quick, and while one waits all others go on
        ),
        idle_interval_ms=idle_ms,
        skews_ms=tuple(skews_ms),
        byzantine=tuple(sorted(byzantine)),
        crashes=tuple(sorted(crashes, key=lambda crash: (crash.at_us, crash.node))),
        observers=random.choice((0, 0, 0, 1)),
        episodes=tuple(episodes),
        relapses=tuple(
            Relapse(
                node=node,
                delay_us=random.randrange(1, 40 * bound_us),
                down_us=random.randrange(1, 10 * bound_us),
                loss=random.choice((Loss.JOURNAL, Loss.JOURNAL, Loss.EVERYTHING)),
            )
            for node in relapsing
        ),
        late=tuple(_late_starts(random, joiners, sets)),
        amnesia=policy,
        rewrite_groups=random.choice((5, 40)),
    )


# --- sets


def _sets(random: Random, validators: int, epochs: int) -> Sets:
    """The first set has `validators` members; one more node or two wait for a place."""
    spare = list(range(validators, validators + random.randint(1, 2)))
    current = [Member(node=node, stake=stake) for node, stake in enumerate(draw_stakes(random, validators))]
    sets = [_shuffled(random, current)]
    while len(sets) < epochs + 1:
        changed, waiting = _change(random, current, spare, least=min(validators, 4))
        if _is_sound(changed) and set(changed) != set(current):
            current, spare = changed, waiting
            sets.append(_shuffled(random, current))
    return tuple(sets)


def _change(
    random: Random, members: list[Member], spare: list[int], *, least: int
) -> tuple[list[Member], list[int]]:
    """The next set: at least one member joins, leaves, gets another stake or another key."""
    members, spare = list(members), list(spare)
    for what in random.sample(("join", "leave", "reweigh", "rotate"), random.randint(1, 3)):
        place = random.randrange(len(members))
        if what == "join" and spare:
            node = spare.pop(random.randrange(len(spare)))
            members.append(Member(node=node, stake=random.randint(1, LARGEST_STAKE)))
        elif what == "leave" and len(members) > least:
            spare.append(members.pop(place).node)
        elif what == "reweigh":
            members[place] = replace(members[place], stake=random.randint(1, LARGEST_STAKE))
        elif what == "rotate":
            members[place] = replace(members[place], key=members[place].key + 1)
    return members, spare


def _is_sound(members: list[Member]) -> bool:
    """Nobody holds more than F, where there is a F to hold."""
    stakes = [member.stake for member in members]
    return len(members) < 4 or max(stakes) <= stake_thresholds(sum(stakes)).faulty


def _shuffled(random: Random, members: list[Member]) -> tuple[Member, ...]:
    shuffled = list(members)
    random.shuffle(shuffled)
    return tuple(shuffled)


def _renewed(sets: Sets, nodes: list[int]) -> Sets:
    """The same sets, with a fresh key in every epoch for those who will lose their memory."""
    return tuple(
        tuple(replace(m, key=m.key + 100 * epoch) if m.node in nodes else m for m in members)
        for epoch, members in enumerate(sets)
    )


# --- who suffers what


class _Casting:
    """Hands out fates, so that those who are faulty together stay within F in every epoch."""

    def __init__(self, random: Random, sets: Sets, faults: tuple[str, ...]) -> None:
        self._random = random
        self._sets = sets
        self._faults = faults
        self._left = [stake_thresholds(sum(m.stake for m in members)).faulty for members in sets]
        self._free = sorted({member.node for members in sets for member in members})
        random.shuffle(self._free)
        self._wanted = random.choice(("byzantine", "byzantine", "amnesia", "late", "series", "mixed", "none"))

    def take(self, fate: str) -> list[int]:
        """Nodes that get a fate which lasts."""
        seldom = fate in ("dead", "clock", "store") and self._random.randrange(4) == 0
        if fate not in self._faults or not (seldom or self._wanted in (fate, "mixed")):
            return []
        most = len(self._free) if self._wanted == fate else 1
        taken: list[int] = []
        for node in list(self._free):
            if len(taken) < most and self._fits(node):
                self._left = [left - cost for left, cost in zip(self._left, self._costs(node), strict=True)]
                self._free.remove(node)
                taken.append(node)
        return taken

    def series(self) -> list[int]:
        """Nodes that lose their memory one after another: each alone must fit."""
        if "amnesia" not in self._faults or self._wanted not in ("series", "mixed"):
            return []
        fitting = [node for node in self._free if self._fits(node)]
        chosen = [self._random.choice(fitting) for _ in range(self._random.randint(1, 4))] if fitting else []
        self._free = [node for node in self._free if node not in chosen]
        return chosen

    def _fits(self, node: int) -> bool:
        return all(cost <= left for left, cost in zip(self._left, self._costs(node), strict=True))

    def _costs(self, node: int) -> list[int]:
        return [sum(m.stake for m in members if m.node == node) for members in self._sets]


def _restarts(random: Random, nodes: list[int], horizon_us: int) -> list[Crash]:
    """Crashes that keep everything: none, a few, or all nodes at one instant."""
    kind = random.choice(("none", "few", "few", "all"))
    if kind == "none" or not nodes:
        return []
    hit = nodes if kind == "all" else random.sample(nodes, random.randint(1, len(nodes)))
    common_us = random.randrange(horizon_us)
    crashes = []
    for node in hit:
        at_us = common_us if kind == "all" else random.randrange(horizon_us)
        crashes.append(
            Crash(node=node, at_us=at_us, back_us=at_us + random.randrange(1, horizon_us // 8 + 2))
        )
    return crashes


def _late_starts(random: Random, joiners: list[int], sets: Sets) -> Iterator[tuple[int, int]]:
    """Joiners whose first process starts while the network is in a later epoch, and before they have a place:
    nothing may depend on a node that comes only once others went on."""
    for node in joiners:
        places = [epoch for epoch, members in enumerate(sets, 1) if any(m.node == node for m in members)]
        latest = min(places, default=len(sets)) - 1
        if latest > 1 and random.randrange(2):
            yield node, random.randint(2, latest)


def _at_boundaries(random: Random, nodes: list[int], epochs: int, bound_us: int) -> list[Episode]:
    """Restarts around a boundary: of one node, of some, or of everybody at the same moment of each."""
    episodes = []
    for epoch in range(1, epochs + 1):
        kind = random.choice(("none", "one", "some", "all"))
        if kind == "none" or not nodes:
            continue
        count = {"one": 1, "some": random.randint(1, len(nodes)), "all": len(nodes)}[kind]
        moment = random.choice(tuple(Moment))
        for node in random.sample(nodes, count):
            episodes.append(
                Episode(
                    node=node,
                    epoch=epoch,
                    moment=moment if kind == "all" else random.choice(tuple(Moment)),
                    delay_us=random.choice((0, random.randrange(1, 4 * bound_us))),
                    down_us=random.randrange(1, 20 * bound_us),
                )
            )
    return episodes


def _losses(
    random: Random, nodes: list[int], epochs: int, bound_us: int, losses: tuple[Loss, ...]
) -> list[Episode]:
    """Journals or stores lost around a boundary."""
    return [
        Episode(
            node=node,
            epoch=random.randint(1, epochs),
            moment=random.choice(tuple(Moment)),
            delay_us=random.choice((0, random.randrange(1, 30 * bound_us))),
            down_us=random.randrange(1, 20 * bound_us),
            loss=random.choice(losses),
        )
        for node in nodes
    ]


def _absences(random: Random, nodes: list[int], epochs: int, bound_us: int) -> list[Episode]:
    """Away from somewhere in an epoch until two epochs later."""
    episodes = []
    for node in nodes:
        epoch = random.randint(1, epochs + 1 - EPOCHS_AWAY)
        episodes.append(
            Episode(
                node=node,
                epoch=epoch,
                moment=random.choice(tuple(Moment)),
                delay_us=random.choice((0, random.randrange(1, 4 * bound_us))),
                down_us=random.randrange(1, 20 * bound_us),
                until_epoch=epoch + EPOCHS_AWAY,
            )
        )
    return episodes
