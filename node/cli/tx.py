"""`phalanx tx`: relay transactions."""

import click

from consensus.primitives.errors import UserError
from consensus.primitives.ids import Amount
from consensus.relay.transactions import Transfer
from node.cli.connect import (
    AMOUNT,
    BYTES,
    find_account,
    rpc_option,
    rpc_url,
)
from node.cli.output import Output, example, json_option, pass_output, table
from node.cli.sending import Sending, sending
from node.cli.submit import submit
from node.client import ask
from node.rpc.json_form import to_json


@click.group(epilog=example("phalanx tx send --from alice --to bob --amount 100 --wait"))
def tx() -> None:
    """Send transactions on the relay chain."""


@click.command(epilog=example("phalanx tx send --from alice --to bob --amount 100 --wait"))
@click.option(
    "--to", "receiver", required=True, metavar="ACCOUNT", help="A public key, key name or key file."
)
@click.option("--amount", type=AMOUNT, required=True, help="Units.")
@sending(who="A key's name or file.")
@json_option
@pass_output
def send(output: Output, *, receiver: str, amount: int, send: Sending) -> None:
    """Send units to an account. With --wait, shows when it was accepted, notarised, final and proved."""
    submission = send.submission()
    action = Transfer(to=find_account(receiver, send.keys_dir), amount=Amount(amount))
    submit(output, submission, action)


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
