"""`phalanx query offences`: who stands convicted, what can be vetoed, what waits to be burnt."""

from typing import Any

import click

from consensus.relay.offences.report import OffencesReport
from consensus.relay.parameters import BILLION
from node.cli.connect import rpc_option, rpc_url
from node.cli.output import Output, example, json_option, pass_output, table
from node.client import ask
from node.rpc.json_form import to_json


@click.command(epilog=example("phalanx query offences --json"))
@rpc_option
@json_option
@pass_output
def offences(output: Output, *, rpc: str | None) -> None:
    """List who stands convicted and what it cost, the cases that governance may still veto, and the slashed
    stake that waits to be burnt."""
    report = ask(rpc_url(rpc), lambda client: client.offences())
    output.result(to_json(report), table(_rows(report)) or "nobody stands convicted of anything")


def _rows(report: OffencesReport) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for each in report.convicted:
        names = ", ".join(name.replace("_", " ") for name in each.offences)
        share = f"{each.fraction_ppb * 100 / BILLION:g} % of its exposure"
        end = "out for good" if each.tombstoned else "jailed"
        rows.append(
            (
                f"{each.account.hex()[:16]}, epoch {each.epoch}",
                f"{names}: {each.slashed} units slashed, {share}; {end} at height {each.height}",
            )
        )
    for case in report.cases:
        told = (
            f"{case.amount} units of {case.account.hex()[:16]}, epoch {case.epoch}, until {case.until_ms} ms"
        )
        rows.append((f"case {case.number}, may be vetoed", told))
    if report.slashed:
        waiting = sum(each.amount for each in report.burning)
        rows.append(("frozen", f"{report.slashed} units, of which {waiting} wait for the slash meter"))
    return rows
