"""`phalanx genesis`: a network out of its nodes."""

import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from consensus.primitives.codec import encode
from consensus.primitives.errors import UserError
from consensus.primitives.guest import module_id
from consensus.primitives.ids import Amount, PublicKey
from consensus.relay.genesis import Genesis, GenesisChain
from consensus.relay.parameters import Entry, Parameters
from enclaves.guests import agora, assets
from node.api import Role
from node.cli.connect import AMOUNT, find_account, keys_option
from node.cli.output import Output, example, json_option, pass_output, table
from node.config_writer import PeerEntry, render_peers
from node.files import write_file
from node.genesis_file import read_genesis, write_genesis
from node.setup import NodeDescriptor, build_genesis, join_network, read_descriptor

EXAMPLE_CHAIN = "agora"
EXAMPLE_BALANCE = Amount(10**15)
DEFAULT_STAKE = 100


@click.command(
    epilog=example("phalanx genesis alice bob carol dave --network mynet --account alice.key=1_000_000_000")
)
@click.argument("nodes", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--network", help="The network's name.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("genesis.json"), show_default=True)
@click.option(
    "--stake", "stakes", multiple=True, metavar="NAME=STAKE", help=f"Default: {DEFAULT_STAKE} each."
)
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="KEY=UNITS",
    help="Fund a public key, key name or key file.",
)
@click.option("--examples/--no-examples", default=True, help="The enclave `assets` and the chain `agora`.")
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="NAME=NUMBER",
    help="Of the network's parameters, such as epoch_blocks or min_stake; genesis.json shows them all.",
)
@click.option("--show", type=click.Path(path_type=Path), help="Check this genesis.json and show its hash.")
@keys_option
@json_option
@pass_output
def genesis(
    output: Output,
    *,
    nodes: tuple[Path, ...],
    network: str | None,
    out: Path,
    stakes: tuple[str, ...],
    accounts: tuple[str, ...],
    examples: bool,
    parameters: tuple[str, ...],
    show: Path | None,
    keys_dir: Path | None,
) -> None:
    """Build genesis.json from NODES: directories that `init` made, or node.json files that operators sent.

    Local directories are joined at once: they get the genesis and their peers. For the others a peers.toml
    is written beside it, whose tables go to the end of their config.toml.
    """
    if show is not None:
        _say(output, show, read_genesis(show), 0)
        return
    if not nodes or not network:
        raise click.UsageError("give the NODES and --network, or --show FILE")
    members = [read_descriptor(each) for each in nodes]
    funded = [_funding(each, keys_dir) for each in accounts]
    built = _build(network, members, stakes, funded, examples, _parameters(parameters))
    write_genesis(out, built)
    joined = sum(1 for each in nodes if each.is_dir() and join_network(each, built, members) >= 0)
    peers = [PeerEntry(name=each.name, identity=each.identity, address=each.address) for each in members]
    write_file(out.parent / "peers.toml", render_peers(peers).encode())
    _say(output, out, built, joined)


def _build(
    network: str,
    members: list[NodeDescriptor],
    stakes: tuple[str, ...],
    accounts: list[tuple[PublicKey, int]],
    examples: bool,
    parameters: Parameters,
) -> Genesis:
    chosen = dict(_stake(each) for each in stakes)
    validators = [each for each in members if each.role is Role.VALIDATOR]
    unknown = set(chosen) - {each.name for each in validators}
    if unknown:
        raise UserError(f"--stake names {', '.join(sorted(unknown))}, which is no validator given here")
    if not validators:
        raise UserError("none of the nodes is a validator; a network needs at least one")
    owner = validators[0].account or PublicKey(bytes(32))
    return build_genesis(
        network=network,
        time_ms=time.time_ns() // 1_000_000,
        validators=[(each, chosen.get(each.name, DEFAULT_STAKE)) for each in validators],
        accounts=accounts,
        enclaves=(assets.wasm(),) if examples else (),
        chains=(example_chain(network, owner, dict(accounts)),) if examples else (),
        parameters=parameters,
    )


def _parameters(texts: tuple[str, ...]) -> Parameters:
    """The defaults with what was given in their place. Raises UserError."""
    known = [each.name for each in fields(Parameters)]
    chosen: dict[str, Any] = {}
    for text in texts:
        name, equals, digits = text.partition("=")
        if not equals:
            raise click.UsageError(f"--parameter {text!r}: write NAME=NUMBER, for example epoch_blocks=500")
        if name not in known:
            raise UserError(f"--parameter {name}: there is none of that name; there are {', '.join(known)}")
        chosen[name] = AMOUNT.convert(digits, None, None)
    try:
        parameters = Parameters(**chosen)
        encode(parameters)  # its widths
    except ValueError as error:
        raise UserError(f"the parameters do not fit together: {error}") from None
    return parameters


def example_chain(network: str, owner: PublicKey, balances: dict[PublicKey, int]) -> GenesisChain:
    """The consumer chain `agora` with its own accounts of the same keys, opted in to `assets`."""
    module = module_id(assets.wasm())
    pairs = agora.genesis_pairs(
        agora.domain(network), {key: Amount(balance) for key, balance in balances.items()}, module
    )
    return GenesisChain(
        name=EXAMPLE_CHAIN,
        owner=owner,
        code=agora.wasm(),
        entries=tuple(Entry(key=key, value=value) for key, value in pairs),
        balance=EXAMPLE_BALANCE,
        opt_in=(module,),
    )


def _stake(text: str) -> tuple[str, int]:
    name, equals, digits = text.rpartition("=")
    if not equals or not name or not digits.isdigit():
        raise click.UsageError(f"--stake {text!r}: write NAME=STAKE, for example alice=100")
    return name, int(digits)


def _funding(text: str, keys_dir: Path | None) -> tuple[PublicKey, int]:
    name, equals, units = text.rpartition("=")
    if not equals or not name:
        raise click.UsageError(f"--account {text!r}: write KEY=UNITS, for example alice=1_000_000")
    return find_account(name, keys_dir), AMOUNT.convert(units, None, None)


def _say(output: Output, path: Path, genesis: Genesis, joined: int) -> None:
    digest = genesis.hash.hex()
    document = {
        "path": str(path),
        "hash": digest,
        "network": genesis.network,
        "validators": [each.name for each in genesis.validators],
        "chains": [each.name for each in genesis.chains],
        "enclaves": [module_id(each).hex() for each in genesis.enclaves],
        "nodes_joined": joined,
    }
    rows = [
        ("network", genesis.network),
        ("hash", digest + "  (compare it with the other operators)"),
        ("file", str(path)),
        ("validators", ", ".join(f"{each.name} ({each.stake})" for each in genesis.validators)),
        ("chains", ", ".join(each.name for each in genesis.chains) or "none"),
        ("joined here", f"{joined} directories"),
    ]
    output.result(document, table(rows))
