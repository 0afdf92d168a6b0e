"""Fetching a state into a node's directory while the node itself does not run."""

import shutil
from contextlib import closing
from pathlib import Path

import trio
from structlog.typing import FilteringBoundLogger

from consensus.light.client import Checkpoint
from consensus.primitives.ids import Hash, Height
from consensus.relay.genesis import Genesis
from consensus.relay.views import StateView
from node.api import Role
from node.config import CheckpointSetting, NodeConfig
from node.epochs import Epochs
from node.files import moving
from node.keys import NodeKeys
from node.lock import directory_lock
from node.opening import initialise, start
from node.state_sync.arriving import (
    ARRIVING_DIRECTORY,
    REPLACED_DIRECTORY,
    STORE_DIRECTORY,
    Arriving,
    is_under_way,
    settle,
)
from node.state_sync.session import Links, Session
from node.state_sync.trust import trust_of
from node.store import Store


def checkpoint_of(setting: CheckpointSetting | None) -> Checkpoint | None:
    """The block that the operator told the node to trust."""
    return None if setting is None else Checkpoint(height=Height(setting.height), hash=Hash(setting.hash))


def sync_mode(config: NodeConfig) -> str:
    """How the node catches up. A collator follows its chain from block to block: it may miss none."""
    return "blocks" if config.role is Role.COLLATOR else config.sync.mode


def must_resume(config: NodeConfig) -> bool:
    """Whether an earlier process was fetching a state, and the operator has not changed their mind.

    An exchange of stores that was cut short is undone first, so that the node's own is in its place whatever
    is decided. Raises UserError if the directory is in use, LocalFault if the disk refuses.
    """
    data = config.data_path
    if not data.exists():
        return False
    with directory_lock(data), moving():
        return _must_resume(data, blocks=sync_mode(config) == "blocks")


def _must_resume(data: Path, *, blocks: bool) -> bool:
    store, replaced = data / STORE_DIRECTORY, data / REPLACED_DIRECTORY
    if store.exists():
        shutil.rmtree(replaced, ignore_errors=True)  # the exchange was over
    elif replaced.exists():
        replaced.rename(store)
    if not is_under_way(data):
        return False
    if blocks and store.exists():
        shutil.rmtree(data / ARRIVING_DIRECTORY)
        return False
    return True


def after_fetch(config: NodeConfig) -> NodeConfig:
    """How a node goes on that has just fetched a state: it fetches another only if it is far behind again."""
    if config.sync.mode != "state":
        return config
    return config.model_copy(update={"sync": config.sync.model_copy(update={"mode": "auto"})})


async def fetch_state(
    config: NodeConfig, genesis: Genesis, keys: NodeKeys, log: FilteringBoundLogger
) -> None:
    """Fetch a recent state; the node's store is then the one that begins there.

    If nobody has one for long, the node's store stays, and what arrived is dropped: it would be the older one
    by the next time. Raises UserError if nothing that is trusted leads to what peers have, LocalFault.
    """
    data, fetched = config.data_path, None
    with directory_lock(data):
        with closing(Store(data / STORE_DIRECTORY)) as store:
            await trio.to_thread.run_sync(initialise, store, genesis)
            arriving = Arriving(data, genesis_hash=genesis.hash, genesis_root=store.genesis_root())
            with closing(arriving):
                if arriving.target is not None:
                    log.info("state_sync.resumed", height=arriving.target.header.height)
                await trio.to_thread.run_sync(arriving.advance)  # a kill may have come just before
                if not arriving.whole:  # else it came while the stores were exchanged: nobody need be asked
                    fetched = await _session(config, genesis, keys, store, arriving, log).run()
                whole = arriving.whole
                if whole:
                    await trio.to_thread.run_sync(arriving.take_over, store)
        with moving():
            if whole:
                settle(data)
            else:
                shutil.rmtree(data / ARRIVING_DIRECTORY)
    if fetched is not None:
        log.info(
            "state_sync.done",
            height=fetched.height,
            pieces=fetched.pieces,
            bytes=fetched.bytes,
            seconds=round(fetched.seconds, 3),
        )


def _session(
    config: NodeConfig,
    genesis: Genesis,
    keys: NodeKeys,
    store: Store,
    arriving: Arriving,
    log: FilteringBoundLogger,
) -> Session:
    """Trust and links are what the node's own store, which stays until then, says of them."""
    first = start(genesis, genesis.hash, store)
    state = StateView(
        nodes=store,
        root=first.post_root,
        height=first.header.height,
        block=first.hash,
        time_ms=first.header.time_ms,
    )
    epochs = Epochs(
        network=config.network,
        keys=keys,
        chain_id_hash=genesis.hash,
        start=first.header,
        state=state,
        log=log,
    )
    checkpoint = checkpoint_of(config.sync.trusted)
    return Session(
        genesis,
        arriving=arriving,
        trust=trust_of(genesis, store, checkpoint),
        checkpoint=checkpoint,
        links=Links(
            identity_seed=keys.identity.seed,
            listen=config.network.listen,
            peers=epochs.addresses(),
            authorised=epochs.is_welcome,
        ),
        log=log,
    )
