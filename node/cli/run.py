"""`phalanx run`: the node itself, until SIGTERM or Ctrl-C."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import trio

from consensus.relay.genesis import Genesis
from node import log as logging
from node.api import NodeApi, Role, Service
from node.cli.connect import passphrase_option
from node.cli.output import INTERRUPTED, Output, example, json_option, pass_output, table
from node.config import NodeConfig, load_config
from node.genesis_file import read_genesis
from node.keys import NodeKeys, open_node_keys
from node.rpc.server import RpcServer


@click.command(epilog=example("phalanx run ~/alice"))
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Check config, keys and genesis, and stop.")
@passphrase_option
@json_option
@pass_output
def run(output: Output, *, directory: Path, check: bool, passphrase_file: Path | None) -> None:
    """Run the node in DIRECTORY until it is asked to stop; it then finishes, syncs and leaves."""
    config = load_config(directory)
    genesis = read_genesis(config.genesis_path)
    keys = open_node_keys(config.keys_path, passphrase_file, validator=config.role is Role.VALIDATOR)
    if check:
        document = {"config": "good", "name": config.name, "genesis_hash": genesis.hash.hex()}
        output.result(document, table(list(document.items())))
        return
    logging.configure(format=config.log.format, level=config.log.level)
    log = logging.get_logger(node=config.name)
    stopped_by = trio.run(_serve, config, genesis, keys, log)
    output.result({"stopped": "clean"}, "stopped")
    if stopped_by is signal.SIGINT:
        raise click.exceptions.Exit(INTERRUPTED)


async def _serve(config: NodeConfig, genesis: Genesis, keys: NodeKeys, log: Any) -> signal.Signals | None:
    """Run until a signal, which is returned, or until the node ends by itself."""
    from node.lives import run_node  # the whole node: not needed, and not loaded, to check a config

    services: list[Service] = []
    if config.rpc.listen is not None:
        rpc = config.rpc
        bound = [RpcServer.bind(rpc, log)]  # a taken port is told before anything runs

        async def serve(api: NodeApi) -> None:
            """Serve once more after the node has fetched a state: a server closes its port when it ends."""
            await (bound.pop() if bound else RpcServer.bind(rpc, log)).serve(api)

        services.append(serve)
    received: list[signal.Signals] = []
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, signals, nursery.cancel_scope, received, log)
            await run_node(config, genesis, keys, services=services, log=log)
            nursery.cancel_scope.cancel()
    return received[0] if received else None


async def _stop_on_signal(
    signals: AsyncIterator[int], scope: trio.CancelScope, received: list[signal.Signals], log: Any
) -> None:
    """Cancel the node at the first signal: everything open then closes in order, the journal last."""
    number = signal.Signals(await anext(signals))
    log.info("node.stopping", signal=number.name)
    received.append(number)
    scope.cancel()
