"""`phalanx query economy`: what is issued, staked, waiting, and where an epoch's income went."""

from typing import Any

import click

from consensus.relay.parameters import BILLION
from consensus.relay.rewards.economy import Economy
from node.cli.connect import rpc_option, rpc_url
from node.cli.output import Output, example, json_option, pass_output, table
from node.client import ask
from node.rpc.json_form import to_json


@click.command(epilog=example("phalanx query economy --json"))
@rpc_option
@json_option
@pass_output
def economy(output: Output, *, rpc: str | None) -> None:
    """Show what is issued, burnt and staked, what waits in the pots, and where each epoch's income went.

    Inflation and the treasury's take are those of an epoch that would end now; both follow from the state.
    """
    report = ask(rpc_url(rpc), lambda client: client.economy())
    output.result(to_json(report), table(_rows(report)))


def _rows(report: Economy) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [
        ("issued", f"{report.issued} units, of which {report.burnt} are burnt"),
        ("staked", f"{report.staked} units, {_percent(report.staking_ratio_ppb)} of what is not burnt"),
        ("inflation", f"{_percent(report.inflation_ppb)} a year"),
        ("treasury", f"{report.pots.treasury} units; it takes {_percent(report.take_rate_ppb)} of income"),
        ("unclaimed", f"{report.unclaimed} units by stake, {report.pots.rewards} by operators and attesters"),
        ("fees", f"{report.pots.fees} units of this epoch's"),
        ("slashed", f"{report.pots.slashed} units, not burnt yet"),
        ("locked", f"{report.pots.bonds} units with evidence, {report.pots.deposits} with proposals"),
    ]
    for each in report.epochs:
        told = (
            f"issued {each.issued}, fees {each.fees}, from chains {each.attesters};"
            f" treasury {each.treasury}, validators {each.validators}, burnt {each.burnt}"
        )
        rows.append((f"epoch {each.epoch}", told))
    return rows


def _percent(ppb: int) -> str:
    hundredths = ppb * 10_000 // BILLION
    return f"{hundredths // 100}.{hundredths % 100:02} %"
