"""The report for people: a table for the terminal, a page with plots. Percentages are of the capital."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench.economics.agents import Agent
from bench.economics.cases import AGENTS
from bench.economics.plots import Line, Plot
from bench.economics.sweeps import SPLIT_SHARES, SWEEPS
from bench.statistics import columns
from consensus.relay.parameters import BILLION

FILE: Final = "ECONOMICS.md"
PLOTS: Final = "data"
BRIBED: Final = ("double signing", "double signing, 90 % delegated", "blind", "false accusation")


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
        " real evidence, votes, elections, slashes and rewards; only signatures are an oracle's. An epoch"
        " is a day of 18 blocks; all parameters are the defaults but for the length of an epoch and of a"
        " round of participation. Units were conserved to the last one in every run.",
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
        f"In {report['unprofitable']} cells an attack loses. In these it does not:",
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
        "## One stake as several validators",
        "",
        "Yield of an honest stake in a year, in percent, without what leaders earn. Where one validator would"
        " be above a third, the cap on voting power takes what splitting gives back: it bounds what one key"
        " can do, not who is rich. The last row splits where seats are scarce, beside 8 honest validators.",
        "",
        _markdown_table(
            ["", *(_percent_of(share) for share in SPLIT_SHARES)],
            [[row["as"], *(f"{100 * each:.2f}" for each in row["yearly"])] for row in report["splits"]],
        ),
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
            *((sweep["about"], "") if sweep["about"] else ()),
            _markdown_table(["", *sweep["columns"]], rows),
            "",
        ]
    parts += [
        "![correlation](data/economics-correlation.svg)" if len(report["sweeps"]) == len(SWEEPS) else "",
        "",
        f"## All on one chain, {report['market']['epochs']} days",
        "",
        "Each agent has 2.5 % of all stake, half of it its delegators', who move to the best net yield."
        " Without what leaders earn. Who of equals gets the delegators that others lose is chance: a few"
        " thousandths mean nothing here, unlike in the first table, where all else is equal.",
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
