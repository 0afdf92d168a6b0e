"""`phalanx stake`: become a validator, change the stake, rotate the key, leave; all else is beside."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from consensus.primitives.crypto import SigningKey
from consensus.primitives.errors import UserError
from consensus.primitives.ids import Amount, Hash, PublicKey
from consensus.relay.stake.records import possession_bytes
from consensus.relay.stake.transactions import (
    Bond,
    BondMore,
    RotateKey,
    SetAddress,
    Unbond,
    Unjail,
    Withdraw,
)
from node import keys
from node.api import Role
from node.cli.allocations import allocate, deallocate
from node.cli.claims import claim
from node.cli.connect import ADDRESS, AMOUNT, open_key
from node.cli.delegations import delegate, redelegate, undelegate
from node.cli.output import Output, example, json_option, pass_output
from node.cli.sending import Sending, Submission, sending
from node.cli.submit import submit
from node.cli.terms import Terms, chill, commission, labels, terms_options, unchill
from node.client import ask
from node.config import Address, load_config
from node.epochs import EVERYWHERE
from node.setup import ACCOUNT_FILE, read_descriptor

WHO: Final = "The validator's account: a key's name or file."
WHO_OF_NODE: Final = "The validator's account: a key's name or file. Default: account.key of NODE."


@click.group(epilog=example("phalanx stake bond mynode --amount 1_000_000 --wait"))
def stake() -> None:
    """Become a validator, put stake behind others, or leave.

    Stake is money of an account that is locked behind validators: its own, or those of others. The next
    epoch's set is elected by it; what you do here counts from then on, and `phalanx query validators` shows
    who is in. Whoever signs two blocks of one view loses its seat for good, and stake with it.
    """


@stake.command(epilog=example("phalanx stake bond mynode --amount 1_000_000 --wait"))
@click.argument("node", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--amount", type=AMOUNT, required=True, help="Units to lock; at least the network's min_stake.")
@click.option("--name", help="What others see. Default: the node's name.")
@click.option("--address", type=ADDRESS, help="Where others dial it: IP:PORT. Default: as it was made.")
@terms_options
@sending(who=WHO_OF_NODE, required=False)
@json_option
@pass_output
def bond(
    output: Output,
    *,
    node: Path,
    amount: int,
    name: str | None,
    address: Address | None,
    terms: Terms,
    send: Sending,
) -> None:
    """Become a validator with the node in directory NODE, which `phalanx init` made.

    The account must hold the units and some for the fee. Run the node before the next epoch begins:
    it is elected then if enough stake is behind it, and a silent validator slows the network.
    """
    descriptor = read_descriptor(node)
    if descriptor.role is not Role.VALIDATOR:
        raise UserError(f"{node} is a {descriptor.role} node: make one with `phalanx init --role validator`")
    directory = load_config(node).keys_path
    submission = send.submission(directory / ACCOUNT_FILE)
    prove = _prover(submission)
    consensus = open_key(str(directory / keys.CONSENSUS_FILE), None, send.passphrase_file)
    identity = open_key(str(directory / keys.IDENTITY_FILE), None, send.passphrase_file)
    shown = address or descriptor.address
    if shown is not None:
        _check_dialled(shown, "with --address IP:PORT")
    action = Bond(
        name=name or descriptor.name,
        consensus_key=consensus.public,
        identity_key=identity.public,
        address="" if shown is None else str(shown),
        amount=Amount(amount),
        consensus_proof=prove(consensus),
        identity_proof=prove(identity),
        commission_ppb=terms.commission,
        commission_max_ppb=terms.commission_max,
        commission_step_ppb=terms.commission_step,
        operator=terms.operator,
        region=terms.region,
        client=terms.client,
    )
    extra = {"validator": submission.key.public.hex(), "name": action.name, "address": action.address}
    submit(output, submission, action, extra=extra)


@stake.command("bond-more", epilog=example("phalanx stake bond-more --amount 500 --from alice --wait"))
@click.option("--amount", type=AMOUNT, required=True, help="Units to lock on top.")
@sending(who=WHO)
@json_option
@pass_output
def bond_more(output: Output, *, amount: int, send: Sending) -> None:
    """Add to the stake of a validator."""
    submit(output, send.submission(), BondMore(amount=Amount(amount)))


@stake.command(epilog=example("phalanx stake unbond --amount 500 --from alice --wait"))
@click.option("--amount", type=AMOUNT, required=True, help="Units: all of the stake, or leave min_stake.")
@sending(who=WHO)
@json_option
@pass_output
def unbond(output: Output, *, amount: int, send: Sending) -> None:
    """Take stake out of the next set, to have it paid out later.

    The units stay locked, and at risk for what the validator signed, until the network's unbonding time is
    over; `phalanx query validator` shows from when. Then take them with `phalanx stake withdraw`.
    """
    submit(output, send.submission(), Unbond(amount=Amount(amount)))


@stake.command(epilog=example("phalanx stake withdraw --from alice --wait"))
@sending(who=WHO)
@json_option
@pass_output
def withdraw(output: Output, *, send: Sending) -> None:
    """Take stake whose wait is over back into the account, of up to eight pools at a time.

    Stake that was moved, and has waited as long, is bound to its new validators alone from then on.
    """
    submit(
        output,
        send.submission(),
        Withdraw(),
        outcome=lambda raw: {"paid": str(int.from_bytes(raw, "big"))},
    )


@stake.command("rotate-key", epilog=example("phalanx stake rotate-key mynode --wait"))
@click.argument("node", type=click.Path(exists=True, file_okay=False, path_type=Path))
@sending(who=WHO_OF_NODE, required=False)
@json_option
@pass_output
def rotate_key(output: Output, *, node: Path, send: Sending) -> None:
    """Make a fresh consensus key for the node in directory NODE, to sign with from the next epoch on.

    The new key is written beside the old one. Restart the node before the next epoch begins, so that it has
    both, and keep the old file while that key still signs.
    """
    directory = load_config(node).keys_path
    submission = send.submission(directory / ACCOUNT_FILE)
    prove = _prover(submission)
    fresh, path = _fresh_key(node, directory, send.passphrase_file)
    submit(
        output,
        submission,
        RotateKey(consensus_key=fresh.public, proof=prove(fresh)),
        extra={"consensus": fresh.public.hex(), "file": str(path), "then": "restart the node"},
    )


def _fresh_key(node: Path, directory: Path, passphrase_file: Path | None) -> tuple[SigningKey, Path]:
    """A new consensus key of the node and its file, encrypted if the node's are. Raises UserError."""
    old = keys.read_header(directory / keys.CONSENSUS_FILE)
    passphrase = keys.passphrase_from(passphrase_file)
    if old.encrypted and passphrase is None:
        raise UserError(f"the keys in {directory} are encrypted: give --passphrase-file for the new one too")
    seed = keys.new_seed()
    fresh = SigningKey(seed)
    header = keys.write_key(
        directory / f"consensus-{fresh.public.hex()[:8]}{keys.KEY_SUFFIX}",
        seed=seed,
        name=read_descriptor(node).name,
        purpose="consensus",
        passphrase=passphrase if old.encrypted else None,
    )
    return fresh, header.path


@stake.command("set-address", epilog=example("phalanx stake set-address 203.0.113.7:7700 --from alice"))
@click.argument("address", type=ADDRESS)
@sending(who=WHO)
@json_option
@pass_output
def set_address(output: Output, *, address: Address, send: Sending) -> None:
    """Tell the network where the validator is dialled from the next epoch on."""
    _check_dialled(address, "as IP:PORT")
    submit(output, send.submission(), SetAddress(address=str(address)))


@stake.command(epilog=example("phalanx stake unjail --from alice --wait"))
@sending(who=WHO)
@json_option
@pass_output
def unjail(output: Output, *, send: Sending) -> None:
    """Let a jailed validator be elected again, once its time in jail is over."""
    submit(output, send.submission(), Unjail())


for _command in (
    allocate,
    deallocate,
    claim,
    delegate,
    undelegate,
    redelegate,
    commission,
    chill,
    unchill,
    labels,
):
    stake.add_command(_command)


def _check_dialled(address: Address, how: str) -> None:
    """Raises UserError for what no node will dial, read from the chain."""
    if address.host in EVERYWHERE:
        raise UserError(f"nobody can dial {address}: say where the node is reached {how}")
    if not address.is_literal:
        raise UserError(f"nodes resolve no names from the chain, and {address} is one: say {how}")


def _prover(submission: Submission) -> Callable[[SigningKey], Any]:
    """Makes the proofs that keys are held by who bonds, for the network of the node that is asked."""
    network: Hash = ask(submission.url, lambda client: client.status()).genesis_hash
    account: PublicKey = submission.key.public
    return lambda key: key.sign(possession_bytes(network, account))
