"""`phalanx bench memory`: is a node's memory flat? Resident size at two heights of empty blocks."""

import tempfile
from pathlib import Path
from typing import Any

from bench.cluster import Cluster, start_cluster
from bench.directory import lay_out, new_plan_name
from bench.plan import Plan

TIMEOUT_S = 1_800.0


async def run(validators: int, early: int, late: int) -> dict[str, Any]:
    """The report: the largest resident size of any validator at each height, and their ratio."""
    plan = Plan(network=new_plan_name(), validators=validators, collator=False, idle_interval_ms=0)
    with tempfile.TemporaryDirectory(prefix="phalanx-memory-") as scratch:
        async with start_cluster(lay_out(Path(scratch), plan)) as cluster:
            first = await _resident_at(cluster, early)
            second = await _resident_at(cluster, late)
    return {
        "validators": validators,
        "early_height": early,
        "late_height": late,
        "early_rss_mib": round(first / 2**20, 1),
        "late_rss_mib": round(second / 2**20, 1),
        "late_over_early": round(second / first, 3),
    }


async def _resident_at(cluster: Cluster, height: int) -> int:
    for index in cluster.validators:
        await cluster.wait_for(
            index,
            lambda status: status.final_height >= height,
            timeout_s=TIMEOUT_S,
            what=f"height {height}",
        )
    return max(node.resident_bytes() for node in cluster.nodes)
