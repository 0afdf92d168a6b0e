"""`phalanx bench throughput`: finalised transfers a second, on the relay chain and through candidates.

The two phases run alone, one after the other, each on a network of its own. Clients sign ahead of the timed
phase and submit in batches. What bounds them from above is measured in the same run: every validator has to
check one signature per transaction, and this machine can check only so many.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import nacl.signing
import trio

from bench.chain_load import ChainLoad
from bench.cluster import Cluster, start_cluster
from bench.directory import lay_out, new_plan_name
from bench.load import Load
from bench.plan import AGORA_CHAIN, Plan
from bench.watch import Watch
from bench.workload import AgoraAccount, RelayAccount, agora_transfers, relay_transfers
from consensus.primitives.errors import LocalFault

WARM_UP_S: Final = 3.0
SIGNED_PER_SECOND: Final = 8_000  # ahead of time, for each second of a phase; above any rate seen
RELAY_BATCH: Final = 250
RELAY_WINDOW: Final = 8_000
CHAIN_BATCH: Final = 1_000
CHAIN_WINDOW: Final = 8_000
LIMIT_SECONDS: Final = 1.0


async def run(validators: int, seconds: float) -> dict[str, Any]:
    """The report; each phase is timed for `seconds` after a warm-up."""
    limit = await trio.to_thread.run_sync(_signature_limit, validators)
    relay = await _relay_phase(validators, seconds)
    consumer = await _consumer_phase(validators, seconds)
    return {
        "validators": validators,
        "seconds": seconds,
        "relay_tx_per_s": relay["rate"],
        "consumer_tx_per_s": consumer["rate"],
        "signature_limit_per_s": limit,
        "relay_share_of_limit": round(relay["rate"] / limit, 3),
        "consumer_share_of_limit": round(consumer["rate"] / limit, 3),
        "relay_blocks": relay["blocks"],
        "relay_transactions": relay["transactions"],
        "candidates_enacted": consumer["candidates"],
        "consumer_transactions": consumer["transactions"],
        "forks": relay["forks"] + consumer["forks"],
    }


async def _relay_phase(validators: int, seconds: float) -> dict[str, Any]:
    plan = Plan(network=new_plan_name(), validators=validators, collator=False, idle_interval_ms=0)
    with tempfile.TemporaryDirectory(prefix="phalanx-throughput-") as scratch:
        async with start_cluster(lay_out(Path(scratch), plan)) as cluster:
            genesis_hash = (await cluster.clients[0].status()).genesis_hash
            loads = []
            for index in cluster.validators:
                own = range(index, plan.bench_accounts, validators)
                accounts = [RelayAccount(plan.bench_key(each), genesis_hash) for each in own]
                count = int(SIGNED_PER_SECOND * (seconds + WARM_UP_S) / validators)
                source = await _signed_ahead(relay_transfers(accounts), count)
                loads.append(
                    Load(
                        [cluster.clients[index]], source, batch=RELAY_BATCH, window=RELAY_WINDOW // validators
                    )
                )
            watch = Watch(cluster)
            async with trio.open_nursery() as nursery:
                for load in loads:
                    nursery.start_soon(load.run)
                start_ns, end_ns = await _timed(cluster, watch, seconds)
                nursery.cancel_scope.cancel()
    transactions = watch.total("transactions", start_ns=start_ns, end_ns=end_ns)
    return {
        "rate": round(transactions / ((end_ns - start_ns) / 1e9), 1),
        "transactions": transactions,
        "blocks": sum(start_ns <= block.finalized_ns < end_ns for block in watch.blocks.values()),
        "forks": watch.forks(),
    }


async def _consumer_phase(validators: int, seconds: float) -> dict[str, Any]:
    plan = Plan(network=new_plan_name(), validators=validators, idle_interval_ms=0)
    with tempfile.TemporaryDirectory(prefix="phalanx-throughput-") as scratch:
        async with start_cluster(lay_out(Path(scratch), plan)) as cluster:
            if cluster.collator is None:
                raise RuntimeError("the plan of this phase has a collator")
            accounts = [
                AgoraAccount(plan.bench_key(index), plan.agora_domain())
                for index in range(plan.bench_accounts)
            ]
            count = int(SIGNED_PER_SECOND * (seconds + WARM_UP_S))
            source = await _signed_ahead(agora_transfers(accounts), count)
            load = ChainLoad(
                client=cluster.clients[cluster.collator],
                chain=AGORA_CHAIN,
                source=source,
                batch=CHAIN_BATCH,
                window=CHAIN_WINDOW,
            )
            watch = Watch(cluster)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(load.run)
                start_ns, end_ns = await _timed(cluster, watch, seconds)
                nursery.cancel_scope.cancel()
    if load.submitted == count:
        raise LocalFault("the load ran out of signed transactions: raise SIGNED_PER_SECOND")
    transactions = load.enacted_between(start_ns, end_ns)
    return {
        "rate": round(transactions / ((end_ns - start_ns) / 1e9), 1),
        "transactions": transactions,
        "candidates": watch.total("candidates", start_ns=start_ns, end_ns=end_ns),
        "forks": watch.forks(),
    }


async def _timed(cluster: Cluster, watch: Watch, seconds: float) -> tuple[int, int]:
    """Warm up, then watch for `seconds`; the timed span in `CLOCK_MONOTONIC` nanoseconds."""
    await trio.sleep(WARM_UP_S)
    start_ns = time.monotonic_ns()
    end_ns = start_ns + int(seconds * 1e9)
    while time.monotonic_ns() < end_ns:
        cluster.check_running(list(cluster.validators))
        await watch.poll()
        await trio.sleep(min(0.5, max(0.0, (end_ns - time.monotonic_ns()) / 1e9)))
    end_ns = time.monotonic_ns()
    await watch.poll()
    return start_ns, end_ns


async def _signed_ahead(source: Iterator[bytes], count: int) -> Iterator[bytes]:
    return iter(await trio.to_thread.run_sync(lambda: list(islice(source, count))))


def _signature_limit(validators: int) -> int:
    """Transactions a second if all cores only checked one signature per transaction and validator."""
    cores = os.cpu_count() or 1
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        checked = sum(pool.map(_check_signatures, [LIMIT_SECONDS] * cores))
    return round(checked / LIMIT_SECONDS / validators)


def _check_signatures(seconds: float) -> int:
    """How many signatures over 200 bytes one core checks in a span."""
    key = nacl.signing.SigningKey.generate()
    message = bytes(200)
    signed = key.sign(message)
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        key.verify_key.verify(signed)
        count += 1
    return count
