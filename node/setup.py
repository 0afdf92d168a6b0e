"""Directories of nodes: made by `init`, joined into a network by `genesis`; used by the devnet as well.

    DIR/config.toml   DIR/keys/{consensus,identity,account}.key   DIR/data/journal
    DIR/node.json     DIR/genesis.json

`node.json` is the public half: what an operator sends to whoever builds the genesis. The journal is made
together with the keys, so that a missing one is never a first start (CONSENSUS.md section 13.1).
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consensus.primitives.errors import UserError
from consensus.primitives.ids import Amount, Milliseconds, PublicKey, Stake
from consensus.relay.genesis import Genesis, GenesisAccount, GenesisChain, GenesisValidator, check_genesis
from consensus.relay.parameters import Parameters
from node import keys
from node.api import Role
from node.config import CONFIG_FILE, Address, NodeConfig, load_config, parse_address, parse_public_key
from node.config_writer import PeerEntry, Settings, add_peers, render_config
from node.files import write_file
from node.genesis_file import read_genesis, write_genesis
from node.journal import create_journal

DESCRIPTOR_FILE: Final = "node.json"
GENESIS_FILE: Final = "genesis.json"
JOURNAL_FILE: Final = "journal"
ACCOUNT_FILE: Final = "account.key"
MAX_DESCRIPTOR_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDescriptor:
    """What others need to know of a node; public. An observer has no consensus key and no account."""

    name: str
    role: Role
    identity: PublicKey
    consensus: PublicKey | None
    account: PublicKey | None
    address: Address | None


def journal_path(config: NodeConfig) -> Path:
    """Where the node's journal is."""
    return config.data_path / JOURNAL_FILE


def init_node(
    directory: Path, settings: Settings, *, passphrase: bytes | None, cost: keys.Cost = keys.STRONG
) -> NodeDescriptor:
    """Make a node's directory: config, fresh keys, empty journal. Raises UserError; a node there is kept."""
    if (directory / CONFIG_FILE).exists() or (directory / "keys").exists():
        raise UserError(f"{directory}: there is a node already; choose another directory or move it away")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "data").mkdir(mode=0o700)
    except OSError as error:
        raise UserError(f"{directory}: can not be made: {error.strerror}") from None
    config_file = directory / CONFIG_FILE
    write_file(config_file, render_config(settings).encode())
    try:
        config = load_config(config_file)
    except UserError:
        shutil.rmtree(directory / "data")
        config_file.unlink()
        raise
    purposes = {"identity": keys.IDENTITY_FILE}
    if settings.role is Role.VALIDATOR:
        purposes |= {"consensus": keys.CONSENSUS_FILE, "account": ACCOUNT_FILE}
    made = {
        purpose: keys.write_key(
            config.keys_path / file,
            seed=keys.new_seed(),
            name=settings.name,
            purpose=purpose,
            passphrase=passphrase,
            cost=cost,
        ).public
        for purpose, file in purposes.items()
    }
    try:
        create_journal(journal_path(config))
    except OSError as error:
        raise UserError(f"{journal_path(config)}: can not be made: {error.strerror}") from None
    descriptor = NodeDescriptor(
        name=settings.name,
        role=settings.role,
        identity=made["identity"],
        consensus=made.get("consensus"),
        account=made.get("account"),
        address=settings.advertise or settings.listen,
    )
    write_file(directory / DESCRIPTOR_FILE, render_descriptor(descriptor).encode())
    return descriptor


def render_descriptor(descriptor: NodeDescriptor) -> str:
    """The JSON text of node.json."""

    def hexadecimal(key: PublicKey | None) -> str | None:
        return None if key is None else key.hex()

    table = {
        "name": descriptor.name,
        "role": str(descriptor.role),
        "identity": descriptor.identity.hex(),
        "consensus": hexadecimal(descriptor.consensus),
        "account": hexadecimal(descriptor.account),
        "address": None if descriptor.address is None else str(descriptor.address),
    }
    return json.dumps(table, indent=2) + "\n"


def read_descriptor(path: Path) -> NodeDescriptor:
    """The descriptor in a node's directory or in a node.json that somebody sent. Raises UserError."""
    file = path / DESCRIPTOR_FILE if path.is_dir() else path
    try:
        with file.open("rb") as source:
            table = json.loads(source.read(MAX_DESCRIPTOR_BYTES))
        if not isinstance(table, dict):
            raise ValueError("it is not a JSON object")
        name, role = table["name"], Role(table["role"])
        if not isinstance(name, str) or not name:
            raise ValueError("its name is not text")
        return NodeDescriptor(
            name=name,
            role=role,
            identity=parse_public_key(table["identity"]),
            consensus=_optional_key(table["consensus"]),
            account=_optional_key(table["account"]),
            address=None if table["address"] is None else parse_address(table["address"]),
        )
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file; make a node with `phalanx init`") from None
    except OSError as error:
        raise UserError(f"{file}: can not be read: {error.strerror}") from None
    except KeyError as error:
        raise UserError(f"{file}: is not a node descriptor: {error} is missing") from None
    except ValueError as error:
        raise UserError(f"{file}: is not a node descriptor: {error}") from None


def _optional_key(raw: object) -> PublicKey | None:
    return None if raw is None else parse_public_key(raw)


def build_genesis(
    *,
    network: str,
    time_ms: int,
    validators: Sequence[tuple[NodeDescriptor, int]],
    accounts: Sequence[tuple[PublicKey, int]] = (),
    enclaves: Sequence[bytes] = (),
    chains: Sequence[GenesisChain] = (),
    parameters: Parameters | None = None,
) -> Genesis:
    """A checked genesis of these validators with their stakes. Raises UserError."""
    members = []
    for descriptor, stake in validators:
        if descriptor.consensus is None or descriptor.account is None:
            raise UserError(
                f"{descriptor.name} is a {descriptor.role} node; only validators go into a genesis"
            )
        if not 1 <= stake < 1 << 64:
            raise UserError(f"{descriptor.name}: a stake is between 1 and 2^64 - 1, not {stake}")
        members.append(
            GenesisValidator(
                name=descriptor.name,
                consensus_key=descriptor.consensus,
                identity_key=descriptor.identity,
                account=descriptor.account,
                stake=Stake(stake),
                address="" if descriptor.address is None else str(descriptor.address),
            )
        )
    genesis = Genesis(
        network=network,
        time_ms=Milliseconds(time_ms),
        parameters=parameters or Parameters(),
        validators=tuple(members),
        accounts=tuple(GenesisAccount(key=key, balance=Amount(balance)) for key, balance in accounts),
        enclaves=tuple(enclaves),
        chains=tuple(chains),
    )
    check_genesis(genesis)
    return genesis


def join_network(directory: Path, genesis: Genesis, members: Sequence[NodeDescriptor]) -> int:
    """Give a local node its genesis.json and the peers it lacks; returns how many peers were added.

    Raises UserError when it has another genesis already: a node's data belongs to one network.
    """
    config = load_config(directory)
    own = read_descriptor(directory)
    if config.genesis_path.exists() and read_genesis(config.genesis_path).hash != genesis.hash:
        raise UserError(
            f"{config.genesis_path}: is another network's; if this node never ran, remove the file first"
        )
    write_genesis(config.genesis_path, genesis)
    others = [each for each in members if each.identity != own.identity]
    if own.role is not Role.VALIDATOR:  # observers are connected to the validators, not to each other
        others = [each for each in others if each.role is Role.VALIDATOR]
    entries = [
        PeerEntry(
            name=each.name,
            identity=each.identity,
            address=each.address if each.role is Role.VALIDATOR else None,
        )
        for each in others
    ]
    return add_peers(directory / CONFIG_FILE, entries)
