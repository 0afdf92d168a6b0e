"""The report as numbers: what each conduct brings by share and by parameter, and the market of all."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.economics.cases import AGENTS, EPOCHS, SHARES, Changes, case_of
from bench.economics.market import EPOCHS as MARKET_EPOCHS
from bench.economics.market import Market, trade
from bench.economics.sweeps import (
    SPLIT_SHARES,
    SPLITS,
    SWEEPS,
    Difference,
    Results,
    Sweep,
    difference,
    run_all,
    split_case,
    sweep_cases,
    table_cases,
)
from consensus.relay.parameters import BILLION

FREE: Final = 1e-7  # of the capital: what costs less than that costs nothing

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is simulated."""

    shares: Sequence[int] = SHARES
    epochs: int = EPOCHS
    sweeps: Sequence[Sweep] = SWEEPS
    splits: Sequence[tuple[str, int, Changes]] = SPLITS
    market_epochs: int = MARKET_EPOCHS
    seed: int = 0


QUICK: Final = Extent(
    shares=(BILLION // 10,), epochs=24, sweeps=SWEEPS[3:4], splits=SPLITS[:1], market_epochs=20
)


def run(extent: Extent, jobs: int, tell: Tell) -> dict[str, Any]:
    """Simulate everything, by `jobs` processes; the report. Deterministic, its time apart."""
    began = time.monotonic()
    terms = {"epochs": extent.epochs, "seed": extent.seed}
    cases = [*table_cases(extent.shares, **terms), *sweep_cases(extent.sweeps)]
    cases += [
        split_case(share, seats, changes) for _, seats, changes in extent.splits for share in SPLIT_SHARES
    ]
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
        "splits": [
            {
                "as": label,
                "yearly": [results[split_case(share, seats, changes)].yearly for share in SPLIT_SHARES],
            }
            for label, seats, changes in extent.splits
        ],
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
        "columns": [f"{agent}, {share / BILLION * 100:g} %" for agent, share in sweep.columns],
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
