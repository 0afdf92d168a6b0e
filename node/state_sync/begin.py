"""Fetching a state into a node's directory while the node itself does not run."""

import shutil

import trio
from structlog.typing import FilteringBoundLogger

from consensus.light.client import Checkpoint
from consensus.primitives.ids import Hash, Height
from consensus.relay.genesis import Genesis, genesis_state
from node.config import CheckpointSetting, NodeConfig
from node.keys import NodeKeys
from node.lock import directory_lock
from node.state_sync.arriving import (
    ARRIVING_DIRECTORY,
    STORE_DIRECTORY,
    Arriving,
    clear,
    is_under_way,
)
from node.state_sync.session import Links, Session
from node.state_sync.trust import Trust, trust_of
from node.store import Store


def checkpoint_of(setting: CheckpointSetting | None) -> Checkpoint | None:
    """The block that the operator told the node to trust."""
    return None if setting is None else Checkpoint(height=Height(setting.height), hash=Hash(setting.hash))


def must_resume(config: NodeConfig) -> bool:
    """Whether an earlier process was fetching a state, and the operator has not changed their mind."""
    clear(config.data_path)
    if not is_under_way(config.data_path):
        return False
    if config.sync.mode == "blocks" and (config.data_path / STORE_DIRECTORY).exists():
        shutil.rmtree(config.data_path / ARRIVING_DIRECTORY)
        return False
    return True


async def fetch_state(
    config: NodeConfig, genesis: Genesis, keys: NodeKeys, *, links: Links, log: FilteringBoundLogger
) -> None:
    """Fetch a recent state; the node's store is then the one that begins there.

    Raises UserError if nothing that this node trusts leads to what its peers have, LocalFault.
    """
    data = config.data_path
    checkpoint = checkpoint_of(config.sync.trusted)
    genesis_hash = genesis.hash
    with directory_lock(data):
        trust = await trio.to_thread.run_sync(_trust, config, genesis, checkpoint)
        genesis_root, _ = await trio.to_thread.run_sync(genesis_state, genesis)
        arriving = Arriving(data, genesis_hash=genesis_hash, genesis_root=genesis_root)
        try:
            if arriving.target is not None:
                log.info("state_sync.resumed", height=arriving.target.header.height)
            session = Session(
                genesis,
                data=data,
                arriving=arriving,
                trust=trust,
                checkpoint=checkpoint,
                links=links,
                log=log,
            )
            fetched = await session.run()
        finally:
            arriving.close()
    log.info(
        "state_sync.done",
        height=fetched.height,
        pieces=fetched.pieces,
        bytes=fetched.bytes,
        seconds=round(fetched.seconds, 3),
    )


def _trust(config: NodeConfig, genesis: Genesis, checkpoint: Checkpoint | None) -> Trust:
    """What the node's own store shows; none is as good as one at genesis."""
    path = config.data_path / STORE_DIRECTORY
    if not path.exists():
        return trust_of(genesis, None, checkpoint)
    store = Store(path)
    try:
        return trust_of(genesis, store, checkpoint)
    finally:
        store.close()
