"""`phalanx query stake`: where an account's stake is, what it has earned, and when it can be taken."""

from pathlib import Path
from typing import Any

import click

from consensus.relay.parameters import Parameters
from consensus.relay.stake.records import PoolKind
from node.cli.connect import find_account, keys_option, rpc_option, rpc_url
from node.cli.holdings import HoldingReport, fetch_holdings
from node.cli.output import Output, example, json_option, pass_output, table
from node.cli.standing import fetch_parameters, promise
from node.client import RpcClient, ask


@click.command(epilog=example("phalanx query stake alice"))
@click.argument("account")
@rpc_option
@keys_option
@json_option
@pass_output
def stake(output: Output, *, account: str, rpc: str | None, keys_dir: Path | None) -> None:
    """Show where the stake of ACCOUNT is, what it has earned, and when what leaves can be taken."""
    key = find_account(account, keys_dir)

    async def fetch(client: RpcClient) -> tuple[list[HoldingReport], Parameters]:
        return await fetch_holdings(client, key), await fetch_parameters(client)

    found, parameters = ask(rpc_url(rpc), fetch)
    rows = [row for each in found for row in _rows(each, parameters)]
    output.result([_document(each, parameters) for each in found], table(rows) or "no stake")


def _document(each: HoldingReport, parameters: Parameters) -> dict[str, Any]:
    waits = each.kind is not PoolKind.MAIN
    return {
        "pool": each.pool.hex(),
        "kind": each.kind.name.lower(),
        "nomination": each.nomination.hex(),
        "validators": [account.hex() for account in each.validators],
        "to": each.to.hex() if each.kind is PoolKind.MOVING else None,
        "units": str(each.units),
        "earned": str(each.earned),
        "from_epoch": each.from_epoch(parameters) if waits else None,
        "from_ms": each.from_ms(parameters) if waits else None,
    }


def _rows(each: HoldingReport, parameters: Parameters) -> list[tuple[str, Any]]:
    behind = ", ".join(account.hex()[:16] for account in each.validators) or each.nomination.hex()[:16]
    match each.kind:
        case PoolKind.MAIN:
            rows = [(f"behind {behind}", f"{each.units} units")]
        case PoolKind.LEAVING:
            rows = [(f"leaving {behind}", promise(each, parameters))]
        case PoolKind.MOVING:
            free = f"bound to both until epoch {each.from_epoch(parameters)}"
            rows = [(f"moving from {behind}", f"{each.units} units to {each.to.hex()[:16]}, {free}")]
    return [*rows, ("  earned", f"{each.earned} units")] if each.earned else rows
