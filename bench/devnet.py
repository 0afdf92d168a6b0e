"""`phalanx devnet`: a network on this machine to try things on, and a report of what it did."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import trio

from bench.activity import Activity, prepare
from bench.cluster import Cluster, NodeProcess, start_cluster
from bench.directory import FILE, NetworkDirectory, lay_out, load, new_plan_name, remove
from bench.latency import summary_ms
from bench.plan import PEOPLE, Plan
from bench.watch import Watch
from consensus.primitives.errors import UserError

DRAIN_S: Final = 5.0
TELL_EVERY_S: Final = 2.0
LOOK_EVERY_S: Final = 0.5
INTERRUPTED: Final = "interrupted"  # the `exit_reason` after Ctrl-C


def open_directory(root: Path, plan: Plan, *, keep: bool) -> NetworkDirectory:
    """The network of `root`: resumed with `keep`, else made anew in place of one that has stopped."""
    root = root.resolve()
    if (root / FILE).exists():
        earlier = load(root)
        if any(NodeProcess(home).running for home in earlier.nodes):
            raise UserError(f"the network in {root} is running; stop it first, or give another --dir")
        if keep:
            return earlier
        remove(earlier)
    return lay_out(root, plan)


async def run(
    root: Path,
    plan: Plan,
    *,
    keep: bool,
    seconds: float | None,
    busy: bool,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Run the network for `seconds`, or until interrupted; the report of what became final meanwhile."""
    directory = open_directory(root, plan, keep=keep)
    tell(f"starting {directory.plan.validators} validators in {root} …")
    async with start_cluster(directory) as cluster:
        tell(welcome(directory, root))
        watch = Watch(cluster)
        reason = "time"
        began_ns = time.monotonic_ns()
        stopped = trio.Event()
        async with trio.open_nursery() as nursery:
            activity = await prepare(cluster) if busy else None
            if activity is not None:
                activity.start(nursery)
            nursery.start_soon(watch.run)
            nursery.start_soon(_tell_progress, watch, tell)
            nursery.start_soon(_tell_who_is_down, cluster, tell)
            signals: list[signal.Signals] = []
            nursery.start_soon(_until_signal, signals, stopped)
            with trio.move_on_after(seconds if seconds is not None else float("inf")):
                await stopped.wait()
                reason = INTERRUPTED if signals[0] is signal.SIGINT else "terminated"
            if activity is not None:
                await activity.drain(DRAIN_S)
            nursery.cancel_scope.cancel()
        await watch.poll()
        return _report(cluster, watch, activity, (time.monotonic_ns() - began_ns) / 1e9, reason)


def welcome(directory: NetworkDirectory, root: Path) -> str:
    """What to know and what to try next."""
    lines = [f"network {directory.plan.network} is up"]
    lines += [f"  {home.name:<9} {home.rpc}" for home in directory.nodes]
    lines += [
        f"funded keys: {', '.join(PEOPLE)}",
        "try, in another terminal:",
        f"  export PHALANX_DEVNET={root}",
        "  phalanx tx send --from alice --to bob --amount 100 --wait",
        "  phalanx chain list",
        f"  phalanx chaos kill --attach {root} --kills 3 --seconds 15",
    ]
    return "\n".join(lines)


def new_plan(validators: int, idle_interval_ms: int, epoch_blocks: int = 10_000) -> Plan:
    """The plan of a new devnet."""
    return Plan(
        network=new_plan_name(),
        validators=validators,
        idle_interval_ms=idle_interval_ms,
        epoch_blocks=epoch_blocks,
    )


async def _until_signal(received: list[signal.Signals], stopped: trio.Event) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        received.append(signal.Signals(await anext(signals)))
        stopped.set()
        await trio.sleep_forever()  # a second Ctrl-C must not cut the report and the nodes' clean end short


async def _tell_who_is_down(cluster: Cluster, tell: Callable[[str], None]) -> None:
    down: set[str] = set()
    while True:
        missing = {node.home.name: node for node in cluster.nodes if not node.running}
        for name in sorted(missing.keys() - down):
            tell(f"{name} is down; its log is {missing[name].log_file}")
        for name in sorted(down - missing.keys()):
            tell(f"{name} is up again")
        down = set(missing)
        await trio.sleep(LOOK_EVERY_S)


async def _tell_progress(watch: Watch, tell: Callable[[str], None]) -> None:
    while True:
        await trio.sleep(TELL_EVERY_S)
        if not watch.blocks:
            continue
        head = max(watch.blocks)
        recent = watch.latency.latencies_ns(from_height=max(0, head - 200))
        latency = f"{summary_ms(recent)['p50_ms']:.1f} ms" if recent else "-"
        tell(
            f"height {head}  transactions {watch.total('transactions')}"
            f"  candidates {watch.total('candidates')}  enclave calls {watch.total('enclave_calls')}"
            f"  finality p50 {latency}"
        )


def _report(
    cluster: Cluster, watch: Watch, activity: Activity | None, seconds: float, reason: str
) -> dict[str, Any]:
    latencies = watch.latency.latencies_ns()
    loads = activity.relay_loads if activity is not None else ()
    return {
        "network": cluster.directory.plan.network,
        "validators": len(cluster.validators),
        "seconds": round(seconds, 1),
        "finalized_height": max(watch.blocks, default=0),
        "forks": watch.forks(),
        "relay_transactions_final": watch.total("transactions"),
        "acknowledged_transactions": sum(len(load.report.acknowledged) for load in loads),
        "candidates_enacted": watch.total("candidates"),
        "consumer_transactions_enacted": activity.chain.enacted if activity and activity.chain else 0,
        "enclave_calls": watch.total("enclave_calls"),
        "messages": watch.total("messages"),
        **(summary_ms(latencies, "finality_") if latencies else {}),
        "one_round_share": watch.latency.one_round_share(),
        "nodes_running": sum(node.running for node in cluster.nodes),
        "exit_reason": reason,
    }
