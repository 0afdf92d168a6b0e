"""The commented config.toml that `phalanx init` writes, and peers added to one that exists."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consensus.primitives.errors import UserError
from consensus.primitives.ids import PublicKey
from node.api import Role
from node.config import Address, load_config


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `init` decides; everything else is written as its default, with a comment."""

    name: str
    role: Role = Role.VALIDATOR
    listen: Address | None
    advertise: Address | None = None
    rpc_listen: Address | None
    journal_sync: str = "fsync"
    amnesia: str = "next_epoch"
    timers: str = "lan"
    log_format: str = "console"
    log_level: str = "info"
    chain: int | None = None  # a collator's


_TEMPLATE: Final = """\
# A Phalanx node. `phalanx run` checks this file whole and reports every mistake at once.
# Relative paths start at this file's directory.

name = {name}
role = {role}  # validator | full | collator

[paths]
genesis = "genesis.json"  # the same file, byte for byte in meaning, on every node of the network
data = "data"             # journal and store; never copy it to a second running validator
keys = "keys"             # consensus.key, identity.key

[network]
listen = {listen}  # the one TCP port for peers; "off" for a node that only dials
{advertise}

[rpc]
listen = {rpc_listen}  # JSON-RPC, /ws, /metrics, /health; "off" for none. No passwords: keep it private
max_body_bytes = 16777216
max_subscribers = 64

[journal]
sync = {journal_sync}  # fsync: durable before a signature leaves | os: survives kill -9, not a power cut

[consensus]
amnesia = {amnesia}  # journal lost: next_epoch (with a fresh key) | probe (ask the others) | refuse
timers = {timers}  # lan | wan: where round trips exceed some 20 ms

[log]
format = {log_format}  # console | json
level = {log_level}  # debug | info | warning | error

[mempool]
max_transactions = 50000
max_bytes = 67108864
max_per_account = 10000

[retention]
states = 256           # newest relay states that stay readable; 0 keeps all
blocks = 0             # newest blocks and receipts that are kept; 0 keeps all
snapshot_seconds = 60  # how often, in block time, a state is kept for peers to fetch; 0 for never

[sync]
mode = "auto"      # far behind: auto fetches a recent state, blocks executes every block, state fetches
threshold = 10000  # blocks behind, above which auto fetches a state
# trusted = "HEIGHT:HASH"  # a block you checked yourself, if this node's own is past the trusting period

[workers]
guests = 1  # processes that run Wasm; each is disposable
{collator}
# Peers by node identity. Every validator lists every other one, and those observers that it lets in.
# [[network.peers]]
# name = "bob"
# identity = "64 hex digits, as `phalanx key show` prints them"
# address = "192.0.2.7:7700"  # leave it out for a peer that dials us
"""


def render_config(settings: Settings) -> str:
    """The text of a new config.toml."""
    advertise = '# advertise = "192.0.2.1:7700"  # where peers dial this node, if not at `listen`'
    if settings.advertise is not None:
        advertise = f"advertise = {_text(str(settings.advertise))}  # where peers dial this node"
    collator = ""
    if settings.chain is not None:
        collator = (
            f"\n[collator]\nchain = {settings.chain}  # the consumer chain whose blocks this node builds\n"
        )
    return _TEMPLATE.format(
        name=_text(settings.name),
        role=_text(str(settings.role)),
        listen=_address(settings.listen),
        advertise=advertise,
        rpc_listen=_address(settings.rpc_listen),
        journal_sync=_text(settings.journal_sync),
        amnesia=_text(settings.amnesia),
        timers=_text(settings.timers),
        log_format=_text(settings.log_format),
        log_level=_text(settings.log_level),
        collator=collator,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerEntry:
    """A `[[network.peers]]` table to be."""

    name: str
    identity: PublicKey
    address: Address | None


def render_peers(peers: Sequence[PeerEntry]) -> str:
    """`[[network.peers]]` tables, to append to a config.toml."""
    return "".join(
        f"\n[[network.peers]]\nname = {_text(each.name)}\nidentity = {_text(each.identity.hex())}\n"
        + (f"address = {_text(str(each.address))}\n" if each.address is not None else "")
        for each in peers
    )


def add_peers(file: Path, peers: Sequence[PeerEntry]) -> int:
    """Append those of `peers` that config.toml `file` does not list; returns how many. Raises UserError."""
    known = {peer.identity for peer in load_config(file).network.peers}
    new = [each for each in peers if each.identity not in known]
    if new:
        try:
            with file.open("a") as config:
                config.write(render_peers(new))
        except OSError as error:
            raise UserError(f"{file}: can not be written: {error.strerror}") from None
    return len(new)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML basic string


def _address(address: Address | None) -> str:
    return _text("off" if address is None else str(address))
