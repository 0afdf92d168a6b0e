"""The questions a chaos run ends with: did the chain fork, and is every promise kept?

Reads every final block of every validator again, over RPC, and trusts nothing that was collected on the way.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bench.cluster import Cluster
from consensus.primitives.errors import LocalFault
from consensus.primitives.ids import Hash, Height
from node.client import RpcClient, RpcError

BATCH: Final = 200
EXECUTED_S: Final = 30.0  # for what is final already


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the blocks of all validators say. Lost or duplicated: of the acknowledged transactions."""

    heights: int
    forks: int
    lost: int
    duplicated: int


async def audit(cluster: Cluster, acknowledged: Mapping[Hash, Height]) -> Audit:
    """Compare all validators' chains block by block up to the lowest head, and look for each promise.

    Raises LocalFault if a validator does not answer, or has not the height of an acknowledged transaction.
    """
    statuses = [await cluster.clients[index].status() for index in cluster.validators]
    common = min(status.final_height for status in statuses)
    highest_promise = max(acknowledged.values(), default=Height(0))
    if common < highest_promise:
        raise LocalFault(f"a validator is at height {common}, below an acknowledged {highest_promise}")
    for index in cluster.validators:  # a final block is shown once it is executed
        await cluster.wait_for(
            index,
            lambda status: status.executed_height >= common,
            timeout_s=EXECUTED_S,
            what=f"block {common}, which is final, executed",
        )
    chains = [await _chain(cluster.clients[index], common) for index in cluster.validators]
    forks = sum(len({chain[height]["hash"] for chain in chains}) > 1 for height in range(1, common + 1))
    lost = duplicated = 0
    for chain in chains:
        where: dict[str, list[int]] = {}
        for height, block in chain.items():
            for name in block["transactions"]:
                where.setdefault(name, []).append(height)
        counted = Counter({name: len(heights) for name, heights in where.items()})
        for name, height in acknowledged.items():
            times = counted[name.hex()]
            lost += times == 0 or height not in where[name.hex()]
            duplicated += times > 1
    return Audit(heights=common, forks=forks, lost=lost, duplicated=duplicated)


async def _chain(client: RpcClient, last: int) -> dict[int, dict[str, Any]]:
    blocks: dict[int, dict[str, Any]] = {}
    for first in range(1, last + 1, BATCH):
        heights = range(first, min(first + BATCH, last + 1))
        answers = await client.batch([("block", {"height": height}) for height in heights])
        for height, answer in zip(heights, answers, strict=True):
            if isinstance(answer, RpcError):
                raise LocalFault(f"{client.url} has no block {height}: {answer}")
            blocks[height] = answer
    return blocks
