"""The lives of a node in one process: it runs until it is far enough behind to fetch a state, and again."""

import gc
from collections.abc import Sequence
from typing import Any, Final

from consensus.relay.genesis import Genesis
from node.api import Service
from node.config import NodeConfig
from node.keys import NodeKeys
from node.node import Node
from node.state_sync.begin import after_fetch, fetch_state, must_resume

GC_ALLOCATIONS: Final = 20_000  # container objects between collections of the youngest; 700 by default


async def run_node(
    config: NodeConfig, genesis: Genesis, keys: NodeKeys, *, services: Sequence[Service], log: Any
) -> None:
    """Run a node until cancelled; `services` are served beside it, while it is not fetching a state.

    Raises UserError for what the operator can mend before the start, LocalFault when this machine fails.
    """
    fetch = must_resume(config)
    while True:
        if fetch:
            await fetch_state(config, genesis, keys, log)
            config = after_fetch(config)
        await _live(config, genesis, keys, services, log)
        gc.unfreeze()
        gc.collect()  # that life, with all that its caches held: a node is full of cycles
        fetch = True


async def _live(
    config: NodeConfig, genesis: Genesis, keys: NodeKeys, services: Sequence[Service], log: Any
) -> None:
    with Node.open(config, genesis, keys, log) as node:
        _tune_garbage_collection()
        await node.run(services)


def _tune_garbage_collection() -> None:
    """Keep what lives as long as the process out of collections, and collect seldom.

    Everything cyclic here is small and rare; by default the collector runs over all modules and caches again
    and again, which the latency of votes shows.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 100)
