"""`phalanx tx`: relay transactions."""

from pathlib import Path

import click

from consensus.primitives.errors import UserError
from consensus.primitives.ids import Amount
from consensus.relay.transactions import Transfer
from node.cli.connect import (
    AMOUNT,
    BYTES,
    find_account,
    keys_option,
    open_key,
    passphrase_option,
    rpc_option,
    rpc_url,
)
from node.cli.output import Output, example, json_option, pass_output, table
from node.cli.submit import Submission, max_fee_option, submit, timeout_option, wait_option
from node.client import ask
from node.rpc.json_form import to_json


@click.group(epilog=example("phalanx tx send --from alice --to bob --amount 100 --wait"))
def tx() -> None:
    """Send transactions on the relay chain."""


@click.command(epilog=example("phalanx tx send --from alice --to bob --amount 100 --wait"))
@click.option("--from", "sender", required=True, metavar="KEY", help="A key's name or file.")
@click.option(
    "--to", "receiver", required=True, metavar="ACCOUNT", help="A public key, key name or key file."
)
@click.option("--amount", type=AMOUNT, required=True, help="Units.")
@max_fee_option
@wait_option
@timeout_option
@rpc_option
@keys_option
@passphrase_option
@json_option
@pass_output
def send(
    output: Output,
    *,
    sender: str,
    receiver: str,
    amount: int,
    max_fee: int,
    wait: bool,
    timeout_s: float,
    rpc: str | None,
    keys_dir: Path | None,
    passphrase_file: Path | None,
) -> None:
    """Send units to an account. With --wait, shows when it was accepted, notarised, final and proved."""
    submission = Submission(
        url=rpc_url(rpc),
        key=open_key(sender, keys_dir, passphrase_file),
        max_fee=max_fee,
        wait=wait,
        timeout_s=timeout_s,
    )
    submit(output, submission, Transfer(to=find_account(receiver, keys_dir), amount=Amount(amount)))


tx.add_command(send, "send")
tx.add_command(send, "transfer")


@tx.command(epilog=example("phalanx tx raw @signed.bin"))
@click.argument("transaction", type=BYTES)
@rpc_option
@json_option
@pass_output
def raw(output: Output, *, transaction: bytes, rpc: str | None) -> None:
    """Submit a signed transaction's bytes: hexadecimal, or @FILE. Safe to repeat."""
    result = ask(rpc_url(rpc), lambda client: client.submit([transaction]))[0]
    output.result(to_json(result), table([("transaction", result.hash.hex()), ("accepted", result.accepted)]))
    if not result.accepted:
        raise UserError(result.error)
