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
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.plan import AGORA_CHAIN, AGORA_NAME, PEOPLE, Plan
from bench.ports import free_ports
from bench.workload import derived_seed
from consensus.primitives.errors import UserError
from consensus.primitives.ids import Milliseconds, PublicKey, SecretSeed
from node.genesis_file import write_genesis
from node.journal import create_journal
from node.keys import CONSENSUS_FILE, IDENTITY_FILE, KEY_SUFFIX, write_key

FILE: Final = "devnet.json"
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
    root.mkdir(parents=True, exist_ok=True)
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
    genesis = plan.genesis(Milliseconds(time.time_ns() // 1_000_000))
    write_genesis(root / "genesis.json", genesis)
    for index, home in enumerate(homes):
        _lay_out_node(network, index, home)
    for name in PEOPLE:
        seed = derived_seed(plan.network, "person", PEOPLE.index(name))
        _write_key(root / "keys" / f"{name}{KEY_SUFFIX}", seed, name, "account")
    (root / FILE).write_text(json.dumps(_describe(network), indent=2) + "\n")
    return network


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
        "genesis": "genesis.json",
        "keys": {name: f"keys/{name}{KEY_SUFFIX}" for name in PEOPLE},
        "chains": {AGORA_NAME: AGORA_CHAIN},
        "enclaves": {"assets": plan.module.hex()},
        "agora_domain": plan.agora_domain().hex(),
        "plan": dataclasses.asdict(plan),
        "nodes": [
            {"name": home.name, "peer_port": home.peer_port, "rpc_port": home.rpc_port}
            for home in network.nodes
        ],
    }


def _lay_out_node(network: NetworkDirectory, index: int, home: NodeHome) -> None:
    plan = network.plan
    validator = home in network.validators
    keys = home.directory / "keys"
    identity = derived_seed(plan.network, "identity", index)
    _write_key(keys / IDENTITY_FILE, identity, home.name, "identity")
    if validator:
        consensus = derived_seed(plan.network, "consensus", index)
        _write_key(keys / CONSENSUS_FILE, consensus, home.name, "consensus")
    data = home.directory / "data"
    data.mkdir(parents=True, exist_ok=True)
    if validator:
        create_journal(data / "journal")
    peers = [
        (other.name, plan.identity_key(position).public, other.peer_port)
        for position, other in enumerate(network.nodes)
        if position != index
    ]
    (home.directory / "config.toml").write_text(_config_text(network, home, validator, peers))


def _write_key(path: Path, seed: SecretSeed, name: str, purpose: str) -> None:
    write_key(path, seed=seed, name=name, purpose=purpose, passphrase=None)


def _config_text(
    network: NetworkDirectory, home: NodeHome, validator: bool, peers: list[tuple[str, PublicKey, int]]
) -> str:
    lines = [
        f'name = "{home.name}"',
        f'role = "{"validator" if validator else "collator"}"',
        "[paths]",
        'genesis = "../genesis.json"',
        "[network]",
        f'listen = "127.0.0.1:{home.peer_port}"',
        "[rpc]",
        f'listen = "127.0.0.1:{home.rpc_port}"',
        "[journal]",
        f'sync = "{network.plan.journal_sync}"',
        "[consensus]",
        f'amnesia = "{network.plan.amnesia}"',
        "[log]",
        'format = "json"',
    ]
    if not validator:
        lines += ["[collator]", f"chain = {AGORA_CHAIN}"]
    for name, identity, port in peers:
        lines += [
            "[[network.peers]]",
            f'name = "{name}"',
            f'identity = "{identity.hex()}"',
            f'address = "127.0.0.1:{port}"',
        ]
    return "\n".join(lines) + "\n"
