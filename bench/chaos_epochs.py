"""`phalanx chaos epochs`: validators come, go, gain stake and rotate keys while others are killed.

Every epoch has its own set, and SIGKILLs fall all the time, at boundaries too, on members, newcomers and
those who have left; never so many that more than F stake of the running epoch is down at once. In the end
every block of every node is compared (`bench.audit`), and the newest set must be what the operators made.
"""

import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from bench.audit import audit
from bench.cluster import Cluster, start_cluster
from bench.directory import add_validator, lay_out, new_plan_name
from bench.load import Load
from bench.operators import Operator, Sender
from bench.plan import STAKE, Plan
from bench.workload import RelayAccount, relay_transfers
from consensus.agreement.thresholds import stake_thresholds
from consensus.primitives.errors import UserError
from consensus.primitives.ids import Amount, Epoch, Hash, Height
from consensus.relay.epochs import epoch_of
from consensus.relay.transactions import Transfer
from node.api import NodeStatus, ValidatorReport
from node.client import RpcClient, RpcError, RpcUnreachable
from node.genesis_file import read_genesis
from node.setup import GENESIS_FILE
from node.validator_set import FIRST_EPOCH

LOAD_ACCOUNTS: Final = 8
LOAD_BATCH: Final = 10
LOAD_WINDOW: Final = 40
FUNDS: Final = 10**9  # of each operator's account
BONUS: Final = STAKE // 4  # what the re-weighted validator adds: below the cap even among four
PAUSE_S: Final = (0.1, 0.8)  # between kills
DOWN_S: Final = (0.2, 1.5)
POLL_S: Final = 0.05
IN_FORCE_AFTER: Final = 2  # epochs, from the one in which stake or a key changes
RECOVERY_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turnover:
    """What happens to a network of `validators` over so many epochs."""

    validators: int = 7
    epochs: int = 10
    epoch_blocks: int = 30
    joins: int = 3
    leaves: int = 2
    idle_interval_ms: int = 30

    def __post_init__(self) -> None:
        if self.leaves + 2 > self.validators:
            raise UserError("two validators stay from beginning to end: leave out fewer")
        if self.epochs < 4:
            raise UserError("who bonds in one epoch may vote two later: it takes at least 4 epochs")

    @property
    def steps(self) -> list[tuple[str, int]]:
        """What operators do, in order: (what, which node by its index in the cluster)."""
        joins = [("join", self.validators + index) for index in range(self.joins)]
        leaves = [("leave", index) for index in range(self.leaves)]
        return [*joins, ("weigh", self.validators - 1), ("rotate", self.validators - 2), *leaves]


@dataclass(slots=True)
class _Run:
    """A run in progress."""

    turnover: Turnover
    cluster: Cluster
    operators: list[Operator]
    random: random.Random
    kills: int = 0
    recovered: int = 0
    busy: set[int] = field(default_factory=set)  # nodes that are down, or not to be killed now
    rotated: bytes = b""
    last: Epoch = FIRST_EPOCH  # in which all that was done is in force
    over: bool = False  # nobody is killed any more

    async def play(self) -> None:
        """All steps, spread over the epochs that leave each of them time to take effect.

        A slow machine takes epochs for a step that a fast one takes blocks for: the end waits for the last.
        """
        steps = self.turnover.steps
        last = self.turnover.epochs - IN_FORCE_AFTER
        self.last = Epoch(self.turnover.epochs + 1)
        for turn, (what, index) in enumerate(steps):
            await self.reach(Epoch(1 + turn * last // len(steps)))
            decided = epoch_of(await self._step(what, index), self.turnover.epoch_blocks)
            self.last = max(self.last, Epoch(decided + IN_FORCE_AFTER))
        await self.reach(self.last)
        self.over = True

    async def _step(self, what: str, index: int) -> Height:
        """The height at which it was done."""
        operator = self.operators[index]
        if what == "join":
            height = await operator.bond(STAKE)
            self.cluster.nodes[index].start()
            return height
        if what == "leave":
            return await operator.unbond(STAKE)
        if what == "weigh":
            return await operator.bond_more(BONUS)
        return await self._rotate(index, operator)

    async def _rotate(self, index: int, operator: Operator) -> Height:
        """A fresh key into the node's directory, a restart so that it is read, then the transaction."""
        key = operator.make_key("2")
        self.rotated = key.public
        while not await self._claim(index):  # noqa: ASYNC110  others bring it about
            await trio.sleep(POLL_S)
        await self.kill(index)
        return await operator.rotate(key)

    async def reach(self, epoch: Epoch) -> None:
        """Wait until a node is in an epoch."""
        while True:
            for client in self.running_clients():
                try:
                    if (await client.status()).epoch >= epoch:
                        return
                except (RpcError, RpcUnreachable):
                    continue
            await trio.sleep(POLL_S)

    async def kill_meanwhile(self) -> None:
        """One kill after the other, each restarted while the next one falls; returns when all are back."""
        async with trio.open_nursery() as nursery:
            while not self.over:
                await trio.sleep(self.random.uniform(*PAUSE_S))
                up = [index for index, node in enumerate(self.cluster.nodes) if node.running]
                victim = self.random.choice(up)
                if await self._claim(victim):
                    nursery.start_soon(self.kill, victim)

    async def _claim(self, victim: int) -> bool:
        """Take a node for a kill, unless it is taken or too much stake is down already."""
        if victim in self.busy:
            return False
        self.busy.add(victim)  # before it is asked: two claims at a time count each other
        if await self._may_fall():
            return True
        self.busy.discard(victim)
        return False

    async def kill(self, victim: int) -> None:
        """SIGKILL to a node that was claimed, some time, a restart, and the wait until it has caught up."""
        node = self.cluster.nodes[victim]
        node.kill()
        self.kills += 1
        await trio.sleep(self.random.uniform(*DOWN_S))
        target = await self._height()
        node.start()
        await self.cluster.wait_for(
            victim,
            lambda status: status.final_height >= target and not status.syncing,
            timeout_s=RECOVERY_TIMEOUT_S,
            what=f"height {target} after its restart",
        )
        self.recovered += 1
        self.busy.discard(victim)

    async def _may_fall(self) -> bool:
        """Whether the stake of all that are taken stays within F, in this epoch and the next."""
        names = {self.cluster.nodes[index].home.name for index in self.busy}
        for client in self.running_clients():
            try:
                epoch = (await client.status()).epoch
                sets = [await client.validators(epoch)]
                with suppress(RpcError):  # not decided yet
                    sets.append(await client.validators(epoch + 1))
            except (RpcError, RpcUnreachable):
                continue
            return all(_is_spared(members, names) for members in sets)
        return False

    async def _height(self) -> int:
        heights = [status.final_height for status in await self.statuses()]
        return max(heights, default=0)

    async def statuses(self) -> list[NodeStatus]:
        """Of the nodes that answer."""
        found = [await self.cluster.status(index) for index in self.cluster.running]
        return [each for each in found if each is not None]

    def running_clients(self) -> list[RpcClient]:
        """Of the nodes that are up and not about to be killed."""
        return [self.cluster.clients[index] for index in self.cluster.running if index not in self.busy]


def _is_spared(members: list[ValidatorReport], down: set[str]) -> bool:
    faulty = stake_thresholds(sum(each.stake for each in members)).faulty
    return sum(each.stake for each in members if each.name in down) <= faulty


async def run(turnover: Turnover, seed: int | None, directory: Path | None = None) -> dict[str, Any]:
    """The report. Raises UserError on a turnover that can not be, LocalFault if a node does not come back."""
    chosen = random.SystemRandom().randrange(2**32) if seed is None else seed
    began = trio.current_time()
    async with _network(turnover, directory) as cluster:
        genesis_hash = read_genesis(cluster.directory.root / GENESIS_FILE).hash
        this = _Run(turnover, cluster, [], random.Random(chosen))
        this.operators = [
            Operator(home, genesis_hash, this.running_clients) for home in cluster.directory.validators
        ]
        await _fund(this, genesis_hash)
        work = _load(cluster, genesis_hash)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work.run)
            async with trio.open_nursery() as killing:
                killing.start_soon(this.kill_meanwhile)
                await this.play()
            work.stop()
            await work.drained.wait()
            nursery.cancel_scope.cancel()
        await _level(this, max(work.report.acknowledged.values(), default=0))
        found = await audit(cluster, work.report.acknowledged)
        members = await cluster.clients[turnover.leaves].validators()
        statuses = await this.statuses()
        convictions = [await client.evidence() for client in cluster.clients]
    names = {each.name: each for each in members}
    homes = cluster.directory.validators
    weighed, rotated = homes[turnover.validators - 1].name, homes[turnover.validators - 2].name
    return {
        "validators": turnover.validators,
        "seed": chosen,
        "epochs": found.heights // turnover.epoch_blocks,
        "joins": sum(home.name in names for home in homes[turnover.validators :]),
        "leaves": sum(home.name not in names for home in homes[: turnover.leaves]),
        "reweighted": int(weighed in names and names[weighed].stake == STAKE + BONUS),
        "rotated": int(rotated in names and names[rotated].consensus_key == this.rotated),
        "voting": sum(status.validator_index is not None and not status.amnesic for status in statuses),
        "members": len(members),
        "kills": this.kills,
        "recovered": this.recovered,
        "forks": found.forks,
        "heights_compared": found.heights,
        "acknowledged_transactions": len(work.report.acknowledged),
        "lost_transactions": found.lost,
        "duplicated_transactions": found.duplicated,
        "convictions": max(map(len, convictions)),
        "seconds": round(trio.current_time() - began, 1),
    }


def broken_promises(report: dict[str, Any], turnover: Turnover) -> list[str]:
    """What a report shows that must not be; empty is success."""
    broken = []
    if report["forks"]:
        broken.append(f"the chain forked at {report['forks']} heights")
    if report["convictions"]:
        broken.append(f"{report['convictions']} honest validators were convicted")
    if report["lost_transactions"] or report["duplicated_transactions"]:
        broken.append("acknowledged transactions are lost or in the chain twice")
    wanted = {
        "epochs": turnover.epochs,
        "joins": turnover.joins,
        "leaves": turnover.leaves,
        "reweighted": 1,
        "rotated": 1,
        "voting": report["members"],
        "recovered": report["kills"],
    }
    broken += [f"{name}: {report[name]} of {value}" for name, value in wanted.items() if report[name] < value]
    return broken


async def _fund(this: _Run, genesis_hash: Hash) -> None:
    """Money for every operator's stake and fees; the genesis gave them none."""
    rich = Sender(this.cluster.directory.plan.bench_key(LOAD_ACCOUNTS), genesis_hash, this.running_clients)
    for operator in this.operators:
        await rich.send(Transfer(to=operator.account.public, amount=Amount(FUNDS)))


def _load(cluster: Cluster, genesis_hash: Hash) -> Load:
    plan = cluster.directory.plan
    accounts = [RelayAccount(plan.bench_key(index), genesis_hash) for index in range(LOAD_ACCOUNTS)]
    clients = [cluster.clients[index] for index in range(plan.validators)]
    return Load(clients, relay_transfers(accounts), batch=LOAD_BATCH, window=LOAD_WINDOW, pause_s=0.1)


async def _level(this: _Run, height: int) -> None:
    """Wait until every node is in the last epoch and has every promise."""
    epoch = this.last
    for index in range(len(this.cluster.nodes)):
        await this.cluster.wait_for(
            index,
            lambda status: status.epoch >= epoch and status.executed_height >= height and not status.syncing,
            timeout_s=RECOVERY_TIMEOUT_S,
            what=f"epoch {epoch}",
        )


@asynccontextmanager
async def _network(turnover: Turnover, directory: Path | None) -> AsyncIterator[Cluster]:
    """The network of the genesis, running, and the newcomers' nodes, which are not yet."""
    plan = Plan(
        network=new_plan_name(),
        validators=turnover.validators,
        collator=False,
        idle_interval_ms=turnover.idle_interval_ms,
        bench_accounts=LOAD_ACCOUNTS + 1,
        epoch_blocks=turnover.epoch_blocks,
    )
    with tempfile.TemporaryDirectory(prefix="phalanx-chaos-") as scratch:
        network = lay_out(Path(scratch) / "net" if directory is None else directory, plan)
        for index in range(turnover.joins):
            network = add_validator(network, f"newcomer-{index}")
        async with start_cluster(network, only=range(turnover.validators)) as cluster:
            yield cluster
