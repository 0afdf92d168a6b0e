"""`phalanx bench finality`: how long a block takes to be final, and how near that is to the floor."""

import secrets
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import trio

from bench.cluster import Cluster, start_cluster
from bench.directory import lay_out, new_plan_name
from bench.floor import measure_floor_ns
from bench.latency import summary_ms
from bench.plan import Plan
from bench.statistics import milliseconds, percentile
from bench.watch import Watch
from bench.workload import RelayAccount, relay_transfers
from consensus.primitives.ids import Hash, Height
from consensus.relay.transactions import transaction_hash
from node.api import Stage

WARM_UP_BLOCKS: Final = 30
FLOOR_ROUNDS: Final = 300
POLL_S: Final = 0.5  # asking takes the nodes' time from what is measured
RECEIPT_TIMEOUT_S: Final = 10.0


async def run(validators: int, blocks: int) -> dict[str, Any]:
    """The report. Leaders never wait, the journal is synced, one client sends at a time."""
    floor_ns = await measure_floor_ns(validators, FLOOR_ROUNDS)
    plan = Plan(
        network=new_plan_name(), validators=validators, collator=False, idle_interval_ms=0, bench_accounts=1
    )
    with tempfile.TemporaryDirectory(prefix="phalanx-finality-") as scratch:
        directory = lay_out(Path(scratch), plan)
        async with start_cluster(directory) as cluster:
            watch = Watch(cluster)
            client_ns: list[int] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_one_at_a_time, cluster, client_ns)
                cpu = _CpuMeter(cluster, await _final_height(cluster))
                first, last = await _watch_blocks(watch, blocks)
                cpu_ms = cpu.ms_per_block(await _final_height(cluster))
                nursery.cancel_scope.cancel()
            resident = max(node.resident_bytes() for node in cluster.nodes)
    block_ns = watch.latency.latencies_ns(first, last)
    floor_p50 = percentile(floor_ns, 0.5)
    return {
        "validators": validators,
        "blocks": last - first,
        **summary_ms(block_ns),
        "one_round_share": watch.latency.one_round_share(first),
        "floor_ms": milliseconds(floor_p50),
        "floor_p99_ms": milliseconds(percentile(floor_ns, 0.99)),
        "p50_over_floor": round(percentile(block_ns, 0.5) / floor_p50, 2),
        **(summary_ms(client_ns, "client_") if client_ns else {}),
        "client_receipts": len(client_ns),
        "cpu_ms_per_block": cpu_ms,
        "blocks_per_s": round(_rate(watch, first, last), 1),
        "forks": watch.forks(),
        "rss_max_mib": round(resident / 2**20, 1),
    }


async def _watch_blocks(watch: Watch, blocks: int) -> tuple[Height, Height]:
    """Watch until `blocks` more blocks are final everywhere after the warm-up; the span of heights."""
    start = max((status.final_height for status in await _statuses(watch.cluster)), default=0)
    first = Height(start + WARM_UP_BLOCKS)
    last = Height(first + blocks)
    while await _final_height(watch.cluster) < last:
        watch.cluster.check_running(list(watch.cluster.validators))
        await watch.poll()
        await trio.sleep(POLL_S)
    await watch.poll()
    return first, last


class _CpuMeter:
    """Processor time of the validators from now on, for each block that becomes final."""

    def __init__(self, cluster: Cluster, height: Height) -> None:
        self._nodes = [cluster.nodes[index] for index in cluster.validators]
        self._from = (self._seconds(), height)

    def _seconds(self) -> float:
        return sum(node.cpu_s() for node in self._nodes)

    def ms_per_block(self, height: Height) -> float:
        """Milliseconds that one validator has taken for one block, when `height` is final."""
        seconds, blocks = self._seconds() - self._from[0], height - self._from[1]
        return round(1_000 * seconds / blocks / len(self._nodes), 2)


async def _statuses(cluster: Cluster) -> list[Any]:
    return [await client.status() for client in cluster.clients]


async def _final_height(cluster: Cluster) -> Height:
    return Height(min(status.final_height for status in await _statuses(cluster)))


def _rate(watch: Watch, first: Height, last: Height) -> float:
    span = watch.blocks[Height(last - 1)].finalized_ns - watch.blocks[first].finalized_ns
    return (last - 1 - first) / (span / 1e9)


async def _send_one_at_a_time(cluster: Cluster, latencies_ns: list[int]) -> None:
    """A client that submits one transfer, waits for its final receipt, and submits the next."""
    genesis_hash = (await cluster.clients[0].status()).genesis_hash
    account = RelayAccount(cluster.directory.plan.bench_key(0), genesis_hash)
    source = relay_transfers([account])
    for turn, raw in enumerate(source):
        client = cluster.clients[turn % len(cluster.validators)]
        began = time.monotonic_ns()
        await client.submit([raw])
        name: Hash = transaction_hash(raw)
        report = await client.receipt(name, wait=Stage.FINAL, timeout_s=RECEIPT_TIMEOUT_S)
        if report.stage.rank >= Stage.FINAL.rank:
            latencies_ns.append(time.monotonic_ns() - began)
        await trio.sleep(0.02 + secrets.randbelow(10) / 1_000)  # not in step with the blocks
