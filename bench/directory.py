"""The directory of a local network: what `phalanx devnet` lays out and later commands find again.

DIR/devnet.json            addresses, keys, chains, enclaves: for people and for the command line
DIR/genesis.json
DIR/keys/NAME.key          funded accounts
DIR/node-N/                one node each: config.toml, keys/, data/, node.log
DIR/collator/
"""

import dataclasses
import json
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.plan import AGORA_CHAIN, AGORA_NAME, PEOPLE, Plan
from bench.ports import free_ports
from bench.workload import derived_seed
from consensus.primitives.errors import UserError
from consensus.primitives.ids import Milliseconds
from node.api import Role
from node.config import Address
from node.config_writer import Settings
from node.genesis_file import read_genesis, write_genesis
from node.keys import KEY_SUFFIX, write_key
from node.setup import GENESIS_FILE, init_node, join_network, read_descriptor

FILE: Final = "devnet.json"
KEYS: Final = "keys"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHome:
    """One node of the network: its directory and its two addresses on loopback."""

    name: str
    directory: Path
    peer_port: int
    rpc_port: int

    @property
    def rpc(self) -> str:
        """The URL of its JSON-RPC."""
        return f"http://127.0.0.1:{self.rpc_port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkDirectory:
    """A local network on disk. `validators` by index; `collator` None where the plan has none."""

    root: Path
    plan: Plan
    validators: tuple[NodeHome, ...]
    collator: NodeHome | None

    @property
    def nodes(self) -> tuple[NodeHome, ...]:
        """Validators, then the collator."""
        return self.validators + ((self.collator,) if self.collator else ())


def new_plan_name() -> str:
    """A fresh network name; all keys of the network are derived from it."""
    return f"devnet-{secrets.token_hex(4)}"


def lay_out(root: Path, plan: Plan) -> NetworkDirectory:
    """Create the network's directory. Raises UserError if there is one already."""
    if (root / FILE).exists():
        raise UserError(f"{root} holds a network already; resume it with --keep, or remove the directory")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{root}: can not be made: {error.strerror}; give another directory") from None
    names = [f"node-{index}" for index in range(plan.validators)] + (["collator"] if plan.collator else [])
    ports = free_ports(2 * len(names))
    homes = tuple(
        NodeHome(name=name, directory=root / name, peer_port=ports[2 * index], rpc_port=ports[2 * index + 1])
        for index, name in enumerate(names)
    )
    network = NetworkDirectory(
        root=root,
        plan=plan,
        validators=homes[: plan.validators],
        collator=homes[plan.validators] if plan.collator else None,
    )
    descriptors = [init_node(home.directory, _settings(network, home), passphrase=None) for home in homes]
    now = Milliseconds(time.time_ns() // 1_000_000)
    genesis = plan.genesis(now, descriptors[: plan.validators])
    write_genesis(root / GENESIS_FILE, genesis)
    for home in homes:
        join_network(home.directory, genesis, descriptors)
    for name in PEOPLE:
        seed = derived_seed(plan.network, "person", PEOPLE.index(name))
        path = root / KEYS / f"{name}{KEY_SUFFIX}"
        write_key(path, seed=seed, name=name, purpose="account", passphrase=None)
    (root / FILE).write_text(json.dumps(_describe(network), indent=2) + "\n")
    return network


def add_validator(network: NetworkDirectory, name: str) -> NetworkDirectory:
    """The network with one more node, which has a validator's keys and is in no set until it bonds."""
    peer_port, rpc_port = free_ports(2)
    home = NodeHome(name=name, directory=network.root / name, peer_port=peer_port, rpc_port=rpc_port)
    init_node(home.directory, _settings(network, home), passphrase=None)
    genesis = read_genesis(network.root / GENESIS_FILE)
    join_network(home.directory, genesis, [read_descriptor(each.directory) for each in network.validators])
    return dataclasses.replace(network, validators=(*network.validators, home))


def remove(network: NetworkDirectory) -> None:
    """Remove what `lay_out` made, and nothing else that people keep in the same directory."""
    (network.root / FILE).unlink()  # first: what is left of it is no network any more
    for home in network.nodes:
        shutil.rmtree(home.directory, ignore_errors=True)
    for name in PEOPLE:
        (network.root / KEYS / f"{name}{KEY_SUFFIX}").unlink(missing_ok=True)
    (network.root / GENESIS_FILE).unlink(missing_ok=True)


def load(root: Path) -> NetworkDirectory:
    """The network that `lay_out` made in `root`. Raises UserError if there is none or it is damaged."""
    path = root / FILE
    try:
        table = json.loads(path.read_text())
        if table["format"] != FORMAT:
            raise UserError(f"{path} is of another version of phalanx; remove the directory and begin anew")
        plan = Plan(**table["plan"])
        homes = tuple(
            NodeHome(
                name=each["name"],
                directory=root / each["name"],
                peer_port=each["peer_port"],
                rpc_port=each["rpc_port"],
            )
            for each in table["nodes"]
        )
    except FileNotFoundError:
        raise UserError(f"{root} holds no network; make one with `phalanx devnet --dir {root}`") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} can not be read ({error}); remove the directory and begin anew") from None
    return NetworkDirectory(
        root=root,
        plan=plan,
        validators=homes[: plan.validators],
        collator=homes[plan.validators] if plan.collator else None,
    )


def _describe(network: NetworkDirectory) -> dict[str, Any]:
    plan = network.plan
    return {
        "format": FORMAT,
        "rpc": [home.rpc for home in network.validators],
        "collator_rpc": [network.collator.rpc] if network.collator else [],
        "genesis": GENESIS_FILE,
        "keys": {name: f"{KEYS}/{name}{KEY_SUFFIX}" for name in PEOPLE},
        "chains": {AGORA_NAME: AGORA_CHAIN},
        "enclaves": {"assets": plan.module.hex()},
        "agora_domain": plan.agora_domain().hex(),
        "plan": dataclasses.asdict(plan),
        "nodes": [
            {"name": home.name, "peer_port": home.peer_port, "rpc_port": home.rpc_port}
            for home in network.nodes
        ],
    }


def _settings(network: NetworkDirectory, home: NodeHome) -> Settings:
    collates = home == network.collator
    return Settings(
        name=home.name,
        role=Role.COLLATOR if collates else Role.VALIDATOR,
        listen=None if collates else Address("127.0.0.1", home.peer_port),
        rpc_listen=Address("127.0.0.1", home.rpc_port),
        journal_sync=network.plan.journal_sync,
        amnesia=network.plan.amnesia,
        log_format="json",
        chain=AGORA_CHAIN if collates else None,
    )
