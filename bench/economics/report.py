"""The report: as numbers for JSON, as a page with plots for people. Percentages are of an agent's capital."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.economics.agents import Agent
from bench.economics.cases import AGENTS, EPOCHS, SHARES, case_of
from bench.economics.market import EPOCHS as MARKET_EPOCHS
from bench.economics.market import Market, trade
from bench.economics.plots import Line, Plot
from bench.economics.sweeps import (
    SWEEPS,
    Difference,
    Results,
    Sweep,
    difference,
    run_all,
    sweep_cases,
    table_cases,
)
from bench.statistics import columns
from consensus.relay.parameters import BILLION

FREE: Final = 1e-7  # of the capital: what costs less than that costs nothing
FILE: Final = "ECONOMICS.md"
PLOTS: Final = "data"
BRIBED: Final = ("double signing", "double signing, 90 % delegated", "blind", "false accusation")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is simulated."""

    shares: Sequence[int] = SHARES
    epochs: int = EPOCHS
    sweeps: Sequence[Sweep] = SWEEPS
    market_epochs: int = MARKET_EPOCHS
    seed: int = 0


QUICK: Final = Extent(shares=(BILLION // 10,), epochs=24, sweeps=SWEEPS[3:4], market_epochs=20)


def run(extent: Extent, jobs: int, tell: Tell) -> dict[str, Any]:
    """Simulate everything, by `jobs` processes; the report. Deterministic, its time apart."""
    began = time.monotonic()
    terms = {"epochs": extent.epochs, "seed": extent.seed}
    cases = [*table_cases(extent.shares, **terms), *sweep_cases(extent.sweeps)]
    tell(f"{len(cases)} cases, each beside an honest one")
    results = run_all(cases, jobs)
    tell(f"a market of {extent.market_epochs} epochs")
    market = trade(extent.market_epochs, extent.seed)
    rows = [_row(results, name, extent, terms) for name in AGENTS]
    return {
        "epochs": extent.epochs,
        "shares_ppb": list(extent.shares),
        "conduct": rows,
        "unprofitable": sum(
            cell["verdict"] == "loses" for row in rows if row["attack"] for cell in row["cells"]
        ),
        "exceptions": [
            {"agent": row["agent"], "share_ppb": share, "verdict": cell["verdict"]}
            for row in rows
            if row["attack"]
            for share, cell in zip(extent.shares, row["cells"], strict=True)
            if cell["verdict"] != "loses"
        ],
        "sweeps": [_swept(results, each) for each in extent.sweeps],
        "market": _sold(market),
        "conserved": True,  # else a simulation would have raised
        "seconds": round(time.monotonic() - began),
    }


def _row(results: Results, name: str, extent: Extent, terms: dict[str, int]) -> dict[str, Any]:
    kind = AGENTS[name]
    found = [difference(results, case_of(name, share, **terms)) for share in extent.shares]
    return {
        "agent": name,
        "about": kind.about,
        "attack": kind.attacks,
        "beside": kind.beside,
        "cells": [_cell(each) for each in found],
    }


def _cell(found: Difference) -> dict[str, Any]:
    outcome = found.outcome
    return {
        "verdict": verdict(found),
        "units": found.units,
        "relative": found.relative,
        "yearly": outcome.yearly,
        "others_units": found.rivals_units,
        "slashed": outcome.slashed,
        "undecided": outcome.undecided,
    }


def verdict(found: Difference) -> str:
    """`loses`, `free`, `gains`; or `halts`, where the agent's silence would stop the chain."""
    if not found.possible:
        return "halts"
    if found.relative > FREE:
        return "gains"
    return "free" if found.relative > -FREE else "loses"


def _swept(results: Results, sweep: Sweep) -> dict[str, Any]:
    return {
        "title": sweep.title,
        "about": sweep.about,
        "columns": [f"{agent}, {_percent_of(share)}" for agent, share in sweep.columns],
        "rows": [
            {
                "value": label,
                "relative": [
                    difference(results, sweep.case(changes, *column)).relative for column in sweep.columns
                ],
            }
            for label, changes in sweep.values
        ],
    }


def _sold(market: Market) -> dict[str, Any]:
    return {
        "epochs": market.epochs,
        "issued": market.issued,
        "burnt": market.burnt,
        "agents": [
            {
                "agent": each.agent,
                "wealth": [round(value, 6) for value in each.wealth],
                "slashed": each.slashed,
            }
            for each in market.histories
        ],
    }


# --- for people


def report_table(report: dict[str, Any]) -> str:
    """What each conduct brings, by share."""
    head = ("conduct", *(_percent_of(share) for share in report["shares_ppb"]))
    rows = [(row["agent"], *_cells(row)) for row in report["conduct"]]
    return columns(head, rows)


def write(report: dict[str, Any], directory: Path) -> Path:
    """Write the report and its plots; where it is."""
    (directory / PLOTS).mkdir(exist_ok=True)
    for name, plot in _plots(report).items():
        (directory / PLOTS / f"economics-{name}.svg").write_text(plot.svg())
    path = directory / FILE
    path.write_text(markdown(report))
    return path


def markdown(report: dict[str, Any]) -> str:
    """The report as a page."""
    shares = [_percent_of(share) for share in report["shares_ppb"]]
    exceptions = [
        f"* *{each['agent']}* at {_percent_of(each['share_ppb'])}: {each['verdict']}"
        for each in report["exceptions"]
    ]
    parts = [
        "# What attacking brings, and what it costs",
        "",
        "`make economics` writes this page. Agents act on the real state transition, block by block, with"
        " real evidence, votes, elections, slashes and rewards; only signatures are an oracle's. An epoch is a day"
        " of 18 blocks; all parameters are the defaults but for the length of an epoch and of a round of"
        " participation. Units were conserved to the last one in every run.",
        "",
        f"## By conduct and share of all stake, over {report['epochs']} days",
        "",
        "What an agent has in the end, less what an honest one in its place has, in percent of its capital. A"
        " loss is the least bribe that would pay for it. What leaders earn is luck where delegators move, and"
        " left out there. A commission that is switched is compared with 1 % that is shown.",
        "",
        _markdown_table(
            ["conduct", "", *shares],
            [[row["agent"], row["about"], *_cells(row)] for row in report["conduct"]],
        ),
        "",
        f"Of all attacks, {report['unprofitable']} cells lose. Not so:",
        "",
        *(exceptions or ["* none"]),
        "",
        *_EXPLAINED,
        "",
        "## The least bribe",
        "",
        "In units of the attacker's loss for every 100 units of voting power that it used.",
        "",
        _markdown_table(["conduct", *shares], _bribes(report)),
        "",
        "![least bribe](data/economics-bribes.svg)",
        "",
        "## What it does to others",
        "",
        "Units that honest validators lose for each unit that the attacker loses; negative where they gain.",
        "",
        _markdown_table(["conduct", *shares], _harm(report)),
        "",
        "With rounds of 3 blocks, of which two take votes, a leader that withholds votes is often alone with"
        " them; with 16 and 8 blocks, the default, all leaders of half a round have to.",
        "",
        "## By parameter",
        "",
        "Gains and losses in percent of the capital, over 20 days where nothing else is said.",
        "",
    ]
    for sweep in report["sweeps"]:
        rows = [[row["value"], *map(_percent, row["relative"])] for row in sweep["rows"]]
        parts += [
            f"### {sweep['title']}",
            "",
            sweep["about"],
            "",
            _markdown_table(["", *sweep["columns"]], rows),
            "",
        ]
    parts += [
        "![correlation](data/economics-correlation.svg)" if len(report["sweeps"]) == len(SWEEPS) else "",
        "",
        f"## All on one chain, {report['market']['epochs']} days",
        "",
        "Each agent has 2.5 % of all stake, half of it its delegators', who move to the best net yield.",
        "",
        _markdown_table(
            ["agent", "wealth in the end, of what it began with", "units slashed from all behind it"],
            [
                [each["agent"], f"{each['wealth'][-1]:.4f}", f"{each['slashed']:,}"]
                for each in report["market"]["agents"]
            ],
        ),
        "",
        "![wealth](data/economics-market.svg)",
        "",
    ]
    return "\n".join(parts)


_EXPLAINED: Final = (
    "*Copying* is not detected today: a validator that waits for others' attestations and signs the same has"
    " an honest one's income and saves the work. It is worth what executing costs; what bounds the harm is"
    " that an invalid candidate needs more than 2/3 of all stake to be enacted, and whoever copies before the"
    " verdict is *blind*.",
    "",
    "Above a third of all stake no verdict can be reached against a coalition, so what is judged by verdict"
    " costs it nothing: attesting what is invalid (it is not enacted either), accusing falsely, and attesting"
    " nothing, which stalls a consumer chain. Silence in agreement stops the relay chain itself: no epoch"
    " ends, and issuance for a long one is capped.",
)


def _bribes(report: dict[str, Any]) -> list[list[str]]:
    rows = []
    for row in report["conduct"]:
        if row["agent"] in BRIBED:
            own = 1 - AGENTS[row["agent"]].borrowed_ppb / BILLION
            cells = [
                f"{-100 * cell['relative'] * own:.2f}" if cell["verdict"] == "loses" else "0"
                for cell in row["cells"]
            ]
            rows.append([row["agent"], *cells])
    return rows


def _harm(report: dict[str, Any]) -> list[list[str]]:
    return [
        [row["agent"], *(_ratio(cell) for cell in row["cells"])]
        for row in report["conduct"]
        if row["agent"]
        in ("lazy", "withholding", "fee stuffing", "evidence spam", "false accusation", "stalling a chain")
    ]


def _ratio(cell: dict[str, Any]) -> str:
    return f"{cell['others_units'] / cell['units']:.2f}" if cell["verdict"] == "loses" else cell["verdict"]


def _plots(report: dict[str, Any]) -> dict[str, Plot]:
    shares = [share / BILLION * 100 for share in report["shares_ppb"]]
    losses = [
        Line(
            row["agent"],
            [
                (share, -100 * cell["relative"])
                for share, cell in zip(shares, row["cells"], strict=True)
                if cell["verdict"] == "loses"
            ],
        )
        for row in report["conduct"]
        if row["attack"]
    ]
    market = report["market"]
    found = {
        "bribes": Plot(
            title="What each attack loses",
            across="share of all stake, percent",
            upright="loss, percent of the capital",
            lines=[each for each in losses if each.points],
            logarithmic=True,
        ),
        "market": Plot(
            title="All on one chain",
            across="days",
            upright="wealth, in parts of the first day's",
            lines=[Line(each["agent"], list(enumerate(each["wealth"]))) for each in market["agents"]],
        ),
    }
    if len(report["sweeps"]) == len(SWEEPS):
        sweep = report["sweeps"][0]
        across = [share / BILLION * 100 for _, share in SWEEPS[0].columns]
        found["correlation"] = Plot(
            title="Double signing, by correlation_factor",
            across="share of all stake that offends in one epoch, percent",
            upright="loss, percent of the capital",
            lines=[
                Line(
                    f"factor {row['value']}",
                    [(x, -100 * y) for x, y in zip(across, row["relative"], strict=True)],
                )
                for row in sweep["rows"]
            ],
        )
    return found


def _cells(row: dict[str, Any]) -> list[str]:
    if row["agent"] == Agent.name:
        return [f"{100 * cell['yearly']:.2f} a year" for cell in row["cells"]]
    return [_shown(cell) for cell in row["cells"]]


def _shown(cell: dict[str, Any]) -> str:
    return _percent(cell["relative"]) if cell["verdict"] in ("loses", "gains") else cell["verdict"]


def _percent(part: float) -> str:
    return f"{100 * part:+.5f}" if abs(part) < 1e-4 else f"{100 * part:+.2f}"


def _percent_of(share_ppb: int) -> str:
    return f"{share_ppb / BILLION * 100:g} %"


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
