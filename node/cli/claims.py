"""`phalanx stake claim`: have what stake and a validator's work have earned."""

import click

from consensus.primitives.errors import UserError
from consensus.primitives.ids import Hash, PublicKey
from consensus.relay.rewards.transactions import ClaimCommission
from consensus.relay.stake.transactions import Claim
from node.cli.holdings import HoldingReport, fetch_holdings
from node.cli.output import Output, example, json_option, pass_output
from node.cli.sending import Sending, Submission, sending
from node.cli.submit import submit
from node.client import ask


@click.command(epilog=example("phalanx stake claim --from alice --wait"))
@click.option("--commission", is_flag=True, help="What a validator's operator keeps, not what stake earned.")
@click.option(
    "--pool", metavar="HEX", help="The position's pool. Default: the one in which the most is waiting."
)
@sending(who="Whose rewards: a key's name or file; they are paid into its account.")
@json_option
@pass_output
def claim(output: Output, *, commission: bool, pool: str | None, send: Sending) -> None:
    """Have rewards paid into the account that earned them.

    They wait as long as you like and lose nothing by it. One transaction claims one position, or an
    operator's commission.
    """
    if commission and pool is not None:
        raise UserError("commission is in no pool: give --commission or --pool, not both")
    submission = send.submission()
    action = ClaimCommission() if commission else Claim(pool=_pool(pool) if pool else _richest(submission))
    submit(
        output,
        submission,
        action,
        extra={} if isinstance(action, ClaimCommission) else {"pool": action.pool.hex()},
        outcome=lambda raw: {"claimed": str(int.from_bytes(raw, "big"))},
    )


def _pool(text: str) -> Hash:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise UserError(f"{text!r} is no pool: write 64 hex digits")
    return Hash(raw)


def _richest(submission: Submission) -> Hash:
    """The position of the account that has the most to claim. Raises UserError if there is nothing."""
    account: PublicKey = submission.key.public
    held: list[HoldingReport] = ask(submission.url, lambda client: fetch_holdings(client, account))
    best = max(held, key=lambda each: each.earned, default=None)
    if best is None or not best.earned:
        raise UserError(
            f"account {account.hex()} has nothing to claim: rewards come with the end of each epoch that its"
            " stake stood in"
        )
    return best.pool
