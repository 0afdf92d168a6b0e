"""`phalanx stake allocate` and `deallocate`: which chains a validator attests, and what it risks on each."""

from typing import Final

import click

from consensus.primitives.ids import Amount
from consensus.relay.security.transactions import Allocate
from node.cli.connect import AMOUNT, find_chain
from node.cli.output import Output, example, json_option, pass_output
from node.cli.sending import Sending, sending
from node.cli.submit import submit

WHO: Final = "The validator's account: a key's name or file."


@click.command(epilog=example("phalanx stake allocate mychain --amount 50_000 --from alice --wait"))
@click.argument("chain")
@click.option("--amount", type=AMOUNT, required=True, help="Units at risk there, in all.")
@sending(who=WHO)
@json_option
@pass_output
def allocate(output: Output, *, chain: str, amount: int, send: Sending) -> None:
    """Attest the `subset` chain CHAIN, with units of what stands behind the validator at risk.

    It counts from a later epoch on: `phalanx query exposure` shows when it does. A lie about the chain costs
    at most that, and is borne by all who stand behind the validator. The same units may be at risk on several
    chains.
    """
    number = find_chain(chain, send.rpc)
    submit(output, send.submission(), Allocate(chain=number, amount=Amount(amount)))


@click.command(epilog=example("phalanx stake deallocate mychain --from alice --wait"))
@click.argument("chain")
@sending(who=WHO)
@json_option
@pass_output
def deallocate(output: Output, *, chain: str, send: Sending) -> None:
    """Attest the `subset` chain CHAIN no more.

    Keep the node running until `phalanx query exposure` shows it without the chain. What it attested before
    that it answers for, with what it had allocated then.
    """
    submit(output, send.submission(), Allocate(chain=find_chain(chain, send.rpc), amount=Amount(0)))
