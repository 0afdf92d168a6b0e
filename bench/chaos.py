"""`phalanx chaos kill`: SIGKILL validators under load, restart them, and check that nothing broke.

Never more than F stake is down, or back and not yet where it was, at once: so the chain must go on. Each kill
is aimed at the leader of the view in progress or at a random validator, in turn. What is measured is how long
no block became final around the kill, at the validators that were alive; what is checked is `bench.audit`.
"""

import random
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from bench.audit import audit
from bench.cluster import Cluster, attach_cluster, start_cluster
from bench.directory import lay_out, load, new_plan_name
from bench.finality_gaps import longest_gap_ns
from bench.load import Load
from bench.plan import Plan
from bench.statistics import milliseconds, percentile
from bench.watch import Watch
from bench.workload import RelayAccount, relay_transfers
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.errors import UserError
from consensus.primitives.ids import Height, View
from consensus.relay.genesis import Genesis
from node.genesis_file import read_genesis
from node.setup import GENESIS_FILE
from node.validator_set import FIRST_EPOCH, genesis_validators

LOAD_BATCH: Final = 20
LOAD_WINDOW: Final = 100
LOAD_ACCOUNTS: Final = 16
DOWN_S: Final = (0.3, 1.5)  # how long a killed validator stays down
GAP_WINDOW_NS: Final = 3_000_000_000  # after a kill, in which a pause is counted to it
RECOVERY_TIMEOUT_S: Final = 30.0
DRAIN_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One SIGKILL. Times are `CLOCK_MONOTONIC` nanoseconds."""

    victim: int
    was_leader: bool
    killed_ns: int
    restarted_ns: int
    recovered_ns: int


@dataclass(slots=True)
class Chaos:
    """A run in progress."""

    cluster: Cluster
    watch: Watch
    validators: ValidatorSet
    random: random.Random
    kills: list[Kill] = field(default_factory=list)
    recovering: set[int] = field(default_factory=set)  # killed, and not yet where they were

    async def kill_all(self, count: int, seconds: float) -> None:
        """Spread `count` kills over `seconds`, each followed by a restart and a recovery."""
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for turn in range(count):
                await trio.sleep_until(began + (turn + 0.5) * seconds / count)
                victim, is_leader = await self._choose(aim_at_leader=turn % 2 == 0)
                await nursery.start(self._kill, victim, is_leader)

    async def _choose(self, *, aim_at_leader: bool) -> tuple[int, bool]:
        """The next victim, and whether it leads: never so many down that more than F stake is missing."""
        while True:
            up = [index for index in self.cluster.running if index not in self.recovering]
            missing = self.validators.weight(index for index in self.cluster.validators if index not in up)
            allowed = [
                index
                for index in up
                if missing + self.validators.stakes[index] <= self.validators.stake.faulty
            ]
            if allowed:
                leader = await self._leader() if aim_at_leader else None
                return (leader, True) if leader in allowed else (self.random.choice(allowed), False)
            await trio.sleep(0.05)

    async def _leader(self) -> int | None:
        """Who leads the view in progress, as a running validator sees it; known in the first epoch only,
        whose set and rotation the genesis gives."""
        for index in self.cluster.running:
            status = await self.cluster.status(index)
            if status is not None and status.epoch == FIRST_EPOCH:
                return self.validators.leader(View(status.view))
        return None

    async def _kill(
        self,
        victim: int,
        was_leader: bool,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        node = self.cluster.nodes[victim]
        self.recovering.add(victim)
        killed_ns = time.monotonic_ns()
        node.kill()
        task_status.started()  # it is down: the next victim is chosen knowing that
        await trio.sleep(self.random.uniform(*DOWN_S))
        restarted_ns = time.monotonic_ns()
        node.start()
        target = max(self.watch.blocks, default=Height(0))
        await self.cluster.wait_for(
            victim,
            lambda status: status.final_height >= target and not status.syncing,
            timeout_s=RECOVERY_TIMEOUT_S,
            what=f"height {target} after its restart",
        )
        self.recovering.discard(victim)
        self.kills.append(
            Kill(
                victim=victim,
                was_leader=was_leader,
                killed_ns=killed_ns,
                restarted_ns=restarted_ns,
                recovered_ns=time.monotonic_ns(),
            )
        )

    def pauses_ns(self, *, leaders_only: bool = False) -> list[int]:
        """The longest time without a final block around each kill, at validators that stayed alive."""
        return [
            longest_gap_ns(
                self.watch.finalized_ns(without=frozenset({kill.victim})),
                kill.killed_ns,
                kill.killed_ns + GAP_WINDOW_NS,
            )
            for kill in self.kills
            if kill.was_leader or not leaders_only
        ]


async def run(
    validators: int, kills: int, seconds: float, attach: Path | None, seed: int | None
) -> dict[str, Any]:
    """The report. Raises UserError if no validator can be spared, LocalFault if one does not come back."""
    chosen = random.SystemRandom().randrange(2**32) if seed is None else seed
    async with _network(validators, attach) as cluster:
        genesis = read_genesis(cluster.directory.root / GENESIS_FILE)
        validator_set = genesis_validators(genesis)
        if min(validator_set.stakes) > validator_set.stake.faulty:
            raise UserError("no validator may fail in so small a network; use at least 4 validators")
        watch = Watch(cluster)
        chaos = Chaos(cluster, watch, validator_set, random.Random(chosen))
        work = await _load(cluster, genesis)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            nursery.start_soon(work.run)
            await chaos.kill_all(kills, seconds)
            work.stop()
            with trio.move_on_after(DRAIN_TIMEOUT_S):
                await work.drained.wait()
            nursery.cancel_scope.cancel()
        await watch.poll()
        result = await audit(cluster, work.report.acknowledged)
    pauses, leader_pauses = chaos.pauses_ns(), chaos.pauses_ns(leaders_only=True)
    recoveries = [kill.recovered_ns - kill.restarted_ns for kill in chaos.kills]
    return {
        "validators": len(validator_set.stakes),
        "seed": chosen,
        "kills": len(chaos.kills),
        "recovered": len(recoveries),
        "forks": result.forks + watch.forks(),
        "heights_compared": result.heights,
        "acknowledged_transactions": len(work.report.acknowledged),
        "unacknowledged_transactions": work.outstanding,
        "lost_transactions": result.lost,
        "duplicated_transactions": result.duplicated,
        "finality_pause_p50_ms": milliseconds(percentile(pauses, 0.5)),
        "finality_pause_max_ms": milliseconds(max(pauses)),
        "leader_kills": len(leader_pauses),
        "leader_kill_pause_p50_ms": milliseconds(percentile(leader_pauses, 0.5)) if leader_pauses else None,
        "leader_kill_pause_max_ms": milliseconds(max(leader_pauses)) if leader_pauses else None,
        "recovery_p50_ms": milliseconds(percentile(recoveries, 0.5)),
        "recovery_max_ms": milliseconds(max(recoveries)),
    }


def broken_promises(report: dict[str, Any], kills: int) -> list[str]:
    """What a report shows that must not be; empty is success."""
    broken = []
    if report["forks"]:
        broken.append(f"the chain forked at {report['forks']} heights")
    if report["lost_transactions"]:
        broken.append(f"{report['lost_transactions']} acknowledged transactions are lost")
    if report["duplicated_transactions"]:
        broken.append(f"{report['duplicated_transactions']} transactions are in the chain twice")
    if report["unacknowledged_transactions"]:
        broken.append(f"{report['unacknowledged_transactions']} transactions never became final")
    if report["recovered"] != kills:
        broken.append(f"only {report['recovered']} of {kills} killed validators recovered")
    return broken


@asynccontextmanager
async def _network(validators: int, attach: Path | None) -> AsyncIterator[Cluster]:
    if attach is not None:
        async with attach_cluster(load(attach)) as cluster:
            if not cluster.running:
                start = f"phalanx devnet --keep --dir {attach}"
                raise UserError(f"the network in {attach} is not running: start it with `{start}`")
            yield cluster
        return
    plan = Plan(network=new_plan_name(), validators=validators, collator=False, idle_interval_ms=0)
    with tempfile.TemporaryDirectory(prefix="phalanx-chaos-") as scratch:
        async with start_cluster(lay_out(Path(scratch), plan)) as cluster:
            yield cluster


async def _load(cluster: Cluster, genesis: Genesis) -> Load:
    """A steady load from accounts whose nonces are asked for, so that it works on a network in use too."""
    plan = cluster.directory.plan
    accounts = []
    for index in range(LOAD_ACCOUNTS):
        key = plan.bench_key(index)
        report = await cluster.clients[0].account(key.public)
        accounts.append(RelayAccount(key, genesis.hash, report.pending_nonce))
    clients = [cluster.clients[index] for index in cluster.validators]
    return Load(clients, relay_transfers(accounts), batch=LOAD_BATCH, window=LOAD_WINDOW)
