"""`phalanx query standby` and `concentration`: who would be elected next, how few could rule."""

from typing import Any

import click

from consensus.relay.elections.concentration import Concentration, Spread
from consensus.relay.elections.records import ELECTION_KEY, ElectionRecord
from consensus.relay.parameters import BILLION
from node.cli.connect import rpc_option, rpc_url
from node.cli.holdings import leaf
from node.cli.output import Output, example, json_option, pass_output, table
from node.client import ask
from node.rpc.json_form import to_json


@click.command(epilog=example("phalanx query standby"))
@rpc_option
@json_option
@pass_output
def standby(output: Output, *, rpc: str | None) -> None:
    """List whom the next seats would go to, in order, and who was kept for lack of others."""
    found = ask(rpc_url(rpc), lambda client: leaf(client, ELECTION_KEY, ElectionRecord))
    if found is None:
        output.result(None, "there was no election yet: the first is at the end of epoch 1")
        return
    document = {
        "epoch": found.epoch,
        "electable": found.electable,
        "kept": [each.hex() for each in found.kept],
        "standby": [each.hex() for each in found.standby],
    }
    rows: list[tuple[str, Any]] = [("elected", f"for epoch {found.epoch}, from {found.electable} who may be")]
    rows += [("kept, though not electable", each.hex()) for each in found.kept]
    rows += [(f"standby {place}", each.hex()) for place, each in enumerate(found.standby, start=1)]
    output.result(document, table(rows))


@click.command(epilog=example("phalanx query concentration --json"))
@click.option("--epoch", type=click.IntRange(1), help="Of this epoch. Default: the present one.")
@rpc_option
@json_option
@pass_output
def concentration(output: Output, *, epoch: int | None, rpc: str | None) -> None:
    """Show how concentrated voting power is: by validator, and by what validators declare of themselves.

    "Stop" is the fewest that together hold more than may be faulty, "rule" the fewest with a quorum. All who
    declare nothing count as one.
    """
    report = ask(rpc_url(rpc), lambda client: client.concentration(epoch))
    output.result(to_json(report), table(_rows(report)))


def _rows(report: Concentration) -> list[tuple[str, Any]]:
    return [
        ("voting power", report.power_total),
        ("validators", _said(report.validators, declared=False)),
        ("operators", _said(report.operators)),
        ("regions", _said(report.regions)),
        ("clients", _said(report.clients)),
    ]


def _said(spread: Spread, *, declared: bool = True) -> str:
    if declared and spread.undeclared_ppb == BILLION:
        return "nobody declares any"
    text = (
        f"{spread.groups}; {spread.nakamoto_halt} could stop the network, {spread.nakamoto_rule} rule it;"
        f" the largest has {_percent(spread.largest_ppb)}; Gini {_thousandths(spread.gini_ppb)}"
    )
    return text + (f"; {_percent(spread.undeclared_ppb)} undeclared" if declared else "")


def _percent(ppb: int) -> str:
    tenths = ppb * 1_000 // BILLION
    return f"{tenths // 10}.{tenths % 10} %"


def _thousandths(ppb: int) -> str:
    return f"0.{ppb * 1_000 // BILLION:03}" if ppb < BILLION else "1.000"
