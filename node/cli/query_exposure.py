"""`phalanx query exposure`: what is at risk, by validator and chain, and what a lie about a chain costs."""

from typing import Any

import click

from consensus.relay.parameters import BILLION
from consensus.relay.security.exposure import ChainSecurity, ExposureReport, ValidatorExposure
from node.cli.connect import find_chain, rpc_option, rpc_url
from node.cli.output import Output, example, json_option, pass_output, table
from node.client import ask
from node.rpc.json_form import to_json


@click.command(epilog=example("phalanx query exposure --chain agora --json"))
@click.option("--chain", metavar="CHAIN", help="Of this chain alone: its number or name.")
@rpc_option
@json_option
@pass_output
def exposure(output: Output, *, chain: str | None, rpc: str | None) -> None:
    """Show what validators have at risk in this epoch, and how secure each chain is by it.

    The cost to corrupt a chain is the stake that the cheapest coalition would lose, at least, that can have a
    lie enacted; the value is what its relay balance holds. Sums over chains count the same stake more than
    once: that is the overlap.
    """
    number = None if chain is None else find_chain(chain, rpc)
    report = ask(rpc_url(rpc), lambda client: client.exposure(number))
    output.result(to_json(report), table(_rows(report)))


def _rows(report: ExposureReport) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [("epoch", f"{report.epoch}, as of height {report.height}")]
    for chain in report.chains:
        rows.append((f"chain {chain.chain} {chain.name}", _secured(chain)))
        rows.append(("  cost to corrupt", _cost(chain)))
        rows.append(("  rails", _rails(chain)))
    rows += [(f"{each.index} {each.name}", _risks(each)) for each in report.validators]
    return rows


def _secured(chain: ChainSecurity) -> str:
    cap = "" if chain.stake_cap is None else f" of at most {chain.stake_cap} at its age"
    return f"{chain.policy}, {chain.attesters} attesters with {chain.at_risk} units at risk{cap}"


def _cost(chain: ChainSecurity) -> str:
    if not chain.attesters:
        return "nobody attests it in this epoch: nothing is enacted"
    by = "on this network" if chain.convictable else "only where the honest restart without them"
    enough = "above" if chain.covered else "NOT above"
    return (
        f"{chain.cost_to_corrupt} units of {chain.coalition} validators, lost {by}; up to {chain.shared} of"
        f" theirs at risk on other chains too; {enough} the {chain.value} units of its balance"
    )


def _rails(chain: ChainSecurity) -> str:
    limit = "no outflow limit"
    if chain.window_ms is not None:
        limit = (
            f"{chain.left_messages} of {chain.window_messages} messages and {chain.left_units} of"
            f" {chain.window_units} units in this window of {chain.window_ms} ms"
        )
    held = "" if chain.held_until_ms is None else f"; messages HELD until {chain.held_until_ms} ms"
    cap = "" if chain.value_cap is None else f"; balance of at most {chain.value_cap} at its age"
    return limit + held + cap


def _risks(validator: ValidatorExposure) -> str:
    text = f"stake {validator.stake}"
    if not validator.allocations:
        return f"{text}, nothing allocated"
    parts = ", ".join(f"{each.units} to chain {each.chain}" for each in validator.allocations)
    percent = validator.overlap_ppb * 100 // BILLION
    return f"{text}, {parts}: {percent} % of it, {validator.worst_loss} to lose at most"
