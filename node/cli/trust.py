"""What the person at the command line trusts: a network's genesis, and a block from which proofs lead on.

Genesis itself is that block while it is young. Later it is one that was checked by other means, given as
`--trusted HEIGHT:HASH`, or the one that `phalanx light sync` keeps in its file (CONSENSUS.md section 16).
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from consensus.agreement.messages import block_hash
from consensus.light.client import (
    DAY_MS,
    Checkpoint,
    LightParameters,
    TrustedState,
    begin,
    decode_trusted_state,
    encode_trusted_state,
)
from consensus.primitives.errors import DecodeError, UserError
from consensus.primitives.ids import Hash, Height, Milliseconds
from consensus.relay.genesis import Genesis
from node.cli.connect import NETWORK, devnet_description
from node.files import write_file
from node.genesis_file import read_genesis
from node.validator_set import genesis_start

F = TypeVar("F", bound=Callable[..., Any])
TRUSTING_MS: Final = Milliseconds(14 * DAY_MS)  # where no genesis file says otherwise
UNBONDING_MS: Final = Milliseconds(21 * DAY_MS)
NO_GENESIS: Final = (
    "a proof is checked against a network: give --genesis genesis.json, or --network with its hash and "
    "--trusted HEIGHT:HASH of a block you checked yourself"
)


class CheckpointType(click.ParamType[Any]):
    """HEIGHT:HASH."""

    name = "checkpoint"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if isinstance(value, Checkpoint):
            return value
        height, _, name = str(value).partition(":")
        if not (height.isascii() and height.isdigit()) or int(height) >> 64 or len(name) != 64:
            self.fail(f"{value!r} is not HEIGHT:HASH, such as 1200:5f3c… (64 hex digits)", parameter, context)
        try:
            return Checkpoint(height=Height(int(height)), hash=Hash(bytes.fromhex(name)))
        except ValueError:
            self.fail(f"{name!r} is not a hash: write 64 hex digits", parameter, context)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """A network and the block of it from which proofs must lead on; `genesis` where its file is known."""

    parameters: LightParameters
    checkpoint: Checkpoint
    genesis: Genesis | None
    named: str  # for people

    def begin(self) -> TrustedState | None:
        """The state that the genesis file alone gives; None where a node must send header and set first."""
        if self.genesis is None or self.checkpoint.height:
            return None
        return begin(genesis_start(self.genesis), self.checkpoint, self.parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustOptions:
    """The options as they were given."""

    genesis: Path | None
    network: Hash | None
    trusted: Checkpoint | None

    def resolve(self) -> Trust:
        """What they come to. Raises UserError."""
        if self.network is not None and self.genesis is None:
            if self.trusted is None:
                raise UserError(NO_GENESIS)
            parameters = LightParameters(
                chain=self.network, trusting_ms=TRUSTING_MS, unbonding_ms=UNBONDING_MS
            )
            return Trust(
                parameters=parameters, checkpoint=self.trusted, genesis=None, named=_block(self.trusted)
            )
        genesis = load_genesis(self.genesis)
        chain = genesis.hash
        if self.network not in (None, chain):
            raise UserError(
                f"the genesis file is of network {chain.hex()}, not of the one that --network names"
            )
        parameters = LightParameters(
            chain=chain,
            trusting_ms=Milliseconds(genesis.parameters.trusting_ms),
            unbonding_ms=Milliseconds(genesis.parameters.unbonding_ms),
        )
        if self.trusted is not None:
            return Trust(
                parameters=parameters, checkpoint=self.trusted, genesis=genesis, named=_block(self.trusted)
            )
        first = Checkpoint(height=Height(0), hash=block_hash(genesis_start(genesis).header))
        named = str(self.genesis) if self.genesis is not None else "the genesis of the devnet"
        return Trust(parameters=parameters, checkpoint=first, genesis=genesis, named=named)


def _block(checkpoint: Checkpoint) -> str:
    return f"block {checkpoint.height}:{checkpoint.hash.hex()[:16]}…"


def trust_options(command: F) -> F:
    """Adds --genesis, --network and --trusted; the command takes them as `trust: TrustOptions`."""

    @functools.wraps(command)
    def with_trust(
        *positional: Any,
        genesis: Path | None,
        network: Hash | None,
        trusted: Checkpoint | None,
        **options: Any,
    ) -> Any:
        trust = TrustOptions(genesis=genesis, network=network, trusted=trusted)
        return command(*positional, trust=trust, **options)

    options = (
        click.option(
            "--genesis",
            type=click.Path(path_type=Path),
            help="genesis.json of the network that proofs must be of. Default: the devnet's here.",
        ),
        click.option(
            "--network",
            type=NETWORK,
            help="The network's genesis hash, where its file is not at hand; with --trusted.",
        ),
        click.option(
            "--trusted",
            type=CheckpointType(),
            help="HEIGHT:HASH of a block you checked yourself. Default: genesis, while it is young.",
        ),
    )
    decorated: Any = with_trust
    for option in reversed(options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]  # the same function under options


def load_genesis(given: Path | None) -> Genesis:
    """The genesis to trust. Raises UserError."""
    if given is not None:
        return read_genesis(given)
    description = devnet_description()
    named = description.get("genesis")
    if not isinstance(named, str):
        raise UserError(NO_GENESIS)
    path = Path(named)
    return read_genesis(path if path.is_absolute() or path.exists() else Path(description["home"]) / path)


def now_ms() -> Milliseconds:
    """This machine's clock, against which the age of trust is measured."""
    return Milliseconds(time.time_ns() // 1_000_000)


# --- the file of `phalanx light sync`


def state_path(given: Path | None, chain: Hash) -> Path:
    """Where the trusted state of a network is kept."""
    return given or Path.home() / ".phalanx" / "light" / f"{chain.hex()[:16]}.trusted"


def read_state(path: Path, chain: Hash) -> TrustedState | None:
    """The state that was kept; None if there is none yet. Raises UserError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: can not be read: {error.strerror}") from None
    try:
        state = decode_trusted_state(data)
    except DecodeError as error:
        raise UserError(f"{path}: {error}; delete it and begin again with --trusted HEIGHT:HASH") from None
    if state.chain != chain:
        raise UserError(f"{path}: is of network {state.chain.hex()}; give another --state")
    return state


def write_state(path: Path, state: TrustedState) -> None:
    """Keep a state, whole or not at all. Raises UserError."""
    write_file(path, encode_trusted_state(state))
