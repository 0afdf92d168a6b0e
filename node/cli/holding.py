"""`phalanx chain holding` and `release`: what a chain pays its attesters in its own asset."""

import click

from consensus.primitives.errors import UserError
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import Amount, Epoch, Fuel, Hash
from consensus.relay.rewards.holding import holding_account
from consensus.relay.rewards.transactions import ReleasePayment
from enclaves.guests import agora, assets
from node.cli.connect import AMOUNT, BYTES, find_chain, rpc_option
from node.cli.enclave import DEFAULT_FUEL
from node.cli.output import Output, example, json_option, pass_output, table
from node.cli.sending import Sending, sending
from node.cli.submit import submit


@click.command(epilog=example("phalanx chain holding agora --epoch 7"))
@click.argument("which")
@click.option("--epoch", type=click.IntRange(1), required=True, help="For whose attesters it is.")
@rpc_option
@json_option
@pass_output
def holding(output: Output, *, which: str, epoch: int, rpc: str | None) -> None:
    """Show the account to which chain WHICH pays its attesters of an epoch in its own asset.

    Nobody has its key. Transfer to it on the chain's instance of `assets`, in the epoch or later.
    """
    account = holding_account(find_chain(which, rpc), Epoch(epoch))
    output.result({"account": account.hex()}, table([("account", account.hex())]))


@click.command(epilog=example("phalanx chain release agora --epoch 7 --amount 5_000 --from alice --wait"))
@click.argument("which")
@click.option("--epoch", type=click.IntRange(1), required=True, help="An epoch that is over.")
@click.option("--amount", type=AMOUNT, required=True, help="Units of the asset, at most what is held.")
@click.option(
    "--asset", type=BYTES, help="Its id, hexadecimal. Default: the native one of a chain like agora."
)
@click.option("--fuel", type=click.IntRange(1), default=DEFAULT_FUEL, show_default=True)
@sending()
@json_option
@pass_output
def release(
    output: Output, *, which: str, epoch: int, amount: int, asset: bytes | None, fuel: int, send: Sending
) -> None:
    """Pay what chain WHICH put into its holding account of an epoch to those who attested it then."""
    submission = send.submission()
    chain = find_chain(which, send.rpc)
    if asset is not None and len(asset) != 32:
        raise UserError(f"an asset's id has 32 bytes, not {len(asset)}: write 64 hex digits")
    action = ReleasePayment(
        chain=chain,
        epoch=Epoch(epoch),
        instance=InstanceEndpoint(module=assets.module_id(), chain=chain),
        asset=Hash(assets.chain_asset_id(chain, agora.NATIVE_SALT) if asset is None else asset),
        amount=Amount(amount),
        fuel_limit=Fuel(fuel),
    )
    submit(output, submission, action)
