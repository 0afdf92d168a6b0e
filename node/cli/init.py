"""`phalanx init`: a node's directory."""

from pathlib import Path

import click

from node import keys
from node.api import Role
from node.cli.connect import ADDRESS_OR_OFF, passphrase_option
from node.cli.output import Output, example, json_option, pass_output, table
from node.config import DEFAULT_P2P_PORT, DEFAULT_RPC_PORT, Address
from node.config_writer import Settings
from node.setup import DESCRIPTOR_FILE, init_node


@click.command(
    epilog=example("phalanx init ~/alice --name alice --listen 0.0.0.0:7700 --advertise 192.0.2.1:7700")
)
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What people call this node.")
@click.option("--role", type=click.Choice([str(each) for each in Role]), default=str(Role.VALIDATOR))
@click.option("--listen", type=ADDRESS_OR_OFF, default=f"0.0.0.0:{DEFAULT_P2P_PORT}", show_default=True)
@click.option("--advertise", type=ADDRESS_OR_OFF, help="Where peers dial this node. Default: as --listen.")
@click.option("--rpc-listen", type=ADDRESS_OR_OFF, default=f"127.0.0.1:{DEFAULT_RPC_PORT}", show_default=True)
@click.option("--chain", type=click.IntRange(1, 2**32 - 1), help="The consumer chain of a collator.")
@click.option("--timers", type=click.Choice(["lan", "wan"]), default="lan", show_default=True)
@passphrase_option
@json_option
@pass_output
def init(
    output: Output,
    *,
    directory: Path,
    name: str,
    role: str,
    listen: Address | None,
    advertise: Address | None,
    rpc_listen: Address | None,
    chain: int | None,
    timers: str,
    passphrase_file: Path | None,
) -> None:
    """Make a node in DIRECTORY: config.toml, keys, an empty journal, and node.json for its peers."""
    if (role == Role.COLLATOR) != (chain is not None):
        raise click.UsageError("--role collator and --chain go together")
    passphrase = keys.passphrase_from(passphrase_file)
    settings = Settings(
        name=name,
        role=Role(role),
        listen=listen,
        advertise=advertise,
        rpc_listen=rpc_listen,
        chain=chain,
        timers=timers,
    )
    descriptor = init_node(directory, settings, passphrase=passphrase)
    if passphrase is None:
        output.progress(
            "warning: the keys are not encrypted (mode 0600 only); for a network that matters use "
            f"--passphrase-file or {keys.PASSPHRASE_VARIABLE}"
        )
    document = {
        "directory": str(directory),
        "descriptor": str(directory / DESCRIPTOR_FILE),
        "name": name,
        "role": role,
        "identity": descriptor.identity.hex(),
        "consensus": None if descriptor.consensus is None else descriptor.consensus.hex(),
        "account": None if descriptor.account is None else descriptor.account.hex(),
        "encrypted": passphrase is not None,
    }
    rows = [
        ("node", f"{name} ({role}) in {directory}"),
        ("identity", descriptor.identity.hex()),
        ("send this", str(directory / DESCRIPTOR_FILE)),
        ("next", f"phalanx genesis {directory} … --network NAME --out genesis.json"),
    ]
    output.result(document, table(rows))
