"""The commands that `phalanx` finds here by entry point: demo, devnet, bench, chaos."""

import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import trio

from consensus.primitives.errors import LocalFault
from node.cli.output import INTERRUPTED, Output, example, json_option, pass_output, table

DEVNET_DIRECTORY: Final = Path(".devnet")
DEMO_DIRECTORY: Final = Path(".demo")
VALIDATORS = click.IntRange(1, 64)

validators_option = click.option(
    "--validators", type=VALIDATORS, default=4, show_default=True, help="Processes that vote."
)


def _directory_option(default: Path) -> Callable[[Any], Any]:
    return click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path, file_okay=False),
        default=default,
        show_default=True,
        help="Where the network lives.",
    )


def _report(output: Output, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """Run a bench to its end and print its report."""
    report = _run(work)
    output.result(report, table(list(report.items())))
    return report


def _run(work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """Run to the end, or until SIGTERM: then its processes are stopped before we are."""
    report: dict[str, Any] = {}

    async def watched() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_sigterm, nursery.cancel_scope)
            report.update(await work())
            nursery.cancel_scope.cancel()

    trio.run(watched)
    if not report:
        raise click.Abort
    return report


async def _cancel_on_sigterm(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        await anext(signals)
        scope.cancel()


@click.command(epilog=example("phalanx demo"))
@_directory_option(DEMO_DIRECTORY)
@json_option
@pass_output
def demo(output: Output, directory: Path) -> None:
    """Show everything once: finality, a consumer chain, an enclave, a kill and a recovery."""
    from bench.demo import run, summary

    tell = output.progress if output.json else click.echo
    report = _run(lambda: run(directory, tell))
    output.result(report, summary(report))
    if report["forks"] or report["lost_transactions"] or report["duplicated_transactions"]:
        raise LocalFault(f"a promise was broken; the logs are in {directory}/*/node.log")
    if not output.json:
        click.echo("the demo succeeded. Next: phalanx devnet")


@click.command(epilog=example("phalanx devnet --validators 4 --seconds 20 --json"))
@validators_option
@click.option("--seconds", type=click.FloatRange(min=1), help="Stop after this long. Default: until Ctrl-C.")
@_directory_option(DEVNET_DIRECTORY)
@click.option("--keep", is_flag=True, help="Resume the network that the directory holds.")
@click.option("--load/--no-load", "busy", default=True, show_default=True, help="Send a light load.")
@click.option(
    "--idle-ms",
    type=click.IntRange(0, 60_000),
    default=100,
    show_default=True,
    help="How long a leader with nothing to say may wait.",
)
@click.option(
    "--epoch-blocks",
    type=click.IntRange(2, 1_000_000),
    default=10_000,
    show_default=True,
    help="Blocks until the validators are elected anew.",
)
@json_option
@pass_output
def devnet(
    output: Output,
    validators: int,
    seconds: float | None,
    directory: Path,
    keep: bool,
    busy: bool,
    idle_ms: int,
    epoch_blocks: int,
) -> None:
    """Run a network on this machine: validators, a consumer chain with its collator, an enclave."""
    from bench import devnet as network

    async def work() -> dict[str, Any]:
        plan = network.new_plan(validators, idle_ms, epoch_blocks)
        return await network.run(directory, plan, keep=keep, seconds=seconds, busy=busy, tell=output.progress)

    report = _report(output, work)
    if report["forks"]:
        raise LocalFault(
            f"the chain forked at {report['forks']} heights; the logs are in {directory}/*/node.log"
        )
    if report["exit_reason"] == network.INTERRUPTED:
        raise click.exceptions.Exit(INTERRUPTED)


@click.group()
def bench() -> None:
    """Measure real processes on this machine."""


@bench.command(epilog=example("phalanx bench finality --validators 4 --blocks 300 --json"))
@validators_option
@click.option("--blocks", type=click.IntRange(10, 1_000_000), default=300, show_default=True)
@json_option
@pass_output
def finality(output: Output, validators: int, blocks: int) -> None:
    """Latency from proposal to finality, against the floor that this machine sets."""
    from bench.finality import run

    _report(output, lambda: run(validators, blocks))


@bench.command(epilog=example("phalanx bench throughput --validators 4 --seconds 20 --json"))
@validators_option
@click.option("--seconds", type=click.FloatRange(2, 3_600), default=20, show_default=True)
@json_option
@pass_output
def throughput(output: Output, validators: int, seconds: float) -> None:
    """Finalised transfers a second, on the relay chain and through candidates."""
    from bench.throughput import run

    _report(output, lambda: run(validators, seconds))


@bench.command(epilog=example("phalanx bench sync --blocks 10000 --accounts 100000 --json"))
@validators_option
@click.option("--blocks", type=click.IntRange(200, 500_000), default=10_000, show_default=True)
@click.option("--accounts", type=click.IntRange(1, 900_000), default=100_000, show_default=True)
@click.option("--transfers", type=click.IntRange(0, 1_000), default=2, show_default=True, help="In a block.")
@json_option
@pass_output
def sync(output: Output, validators: int, blocks: int, accounts: int, transfers: int) -> None:
    """Catching up from far behind, by blocks and by state, against the chain's own growth."""
    from bench.sync import Distance, run

    distance = Distance(validators=validators, blocks=blocks, accounts=accounts, transfers=transfers)
    _report(output, lambda: run(distance, output.progress))


@bench.command(epilog=example("phalanx bench memory --validators 4 --json"))
@validators_option
@click.option("--early", type=click.IntRange(10), default=2_000, show_default=True, help="First height.")
@click.option("--late", type=click.IntRange(20), default=10_000, show_default=True, help="Second height.")
@json_option
@pass_output
def memory(output: Output, validators: int, early: int, late: int) -> None:
    """Resident memory of nodes at two heights of empty blocks."""
    from bench.memory import run

    _report(output, lambda: run(validators, early, late))


@bench.command(epilog=example("phalanx bench scale --largest 200 --json"))
@click.option(
    "--largest",
    type=click.IntRange(4, 200),
    default=100,
    show_default=True,
    help="Leave out networks with more validators; 200 takes some minutes.",
)
@json_option
@pass_output
def scale(output: Output, largest: int) -> None:
    """Finality over ten regions, simulated with the real engine: latency, messages and bytes by size."""
    from bench.scale import report_table, run

    report = run(largest)
    output.result(report, report_table(report))
    if not report["within_tolerance"]:
        raise LocalFault("latency differs from CONSENSUS.md section 22 by more than 15 %: see the table")


@bench.command(epilog=example("phalanx bench certificates --json"))
@click.option(
    "--validators",
    "sizes",
    type=click.IntRange(1, 200),
    multiple=True,
    default=(4, 32, 100, 200),
    show_default=True,
    help="A size of the validator set; can be repeated.",
)
@json_option
@pass_output
def certificates(output: Output, sizes: tuple[int, ...]) -> None:
    """What checking certificates and votes costs as the validator set grows."""
    from bench.certificates import report_table, run

    report = run(sizes)
    output.result(report, report_table(report))


@bench.command(epilog=example("phalanx bench transition --json"))
@click.option(
    "--accounts",
    "sizes",
    type=click.IntRange(5_000, 10_000_000),
    multiple=True,
    default=(10_000, 1_000_000),
    show_default=True,
    help="Accounts in the state, the smallest first; can be repeated. A million takes minutes.",
)
@json_option
@pass_output
def transition(output: Output, sizes: tuple[int, ...]) -> None:
    """What executing blocks of mixed transactions costs, and how it grows with the state."""
    from bench.transition import report_table, run

    report = run(sizes)
    output.result(report, report_table(report))


@bench.command(epilog=example("phalanx bench economics --quick --json"))
@click.option("--quick", is_flag=True, help="One share of stake and a short market: a minute at most.")
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes.")
@click.option("--seed", type=int, default=0, show_default=True, help="Who leads when.")
@click.option(
    "--report",
    "directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Write the report and its plots there.",
)
@json_option
@pass_output
def economics(output: Output, quick: bool, jobs: int, seed: int, directory: Path | None) -> None:
    """What attacking, idling or greed brings on the real state transition, by share of stake."""
    from bench.economics import page
    from bench.economics import report as economy

    extent = replace(economy.QUICK if quick else economy.Extent(), seed=seed)
    report = economy.run(extent, jobs, output.progress)
    if directory is not None:
        output.progress(f"wrote {page.write(report, directory)}")
    output.result(report, page.report_table(report))


@click.group()
def chaos() -> None:
    """Break a network on purpose and check that its promises hold."""


@chaos.command(epilog=example("phalanx chaos kill --validators 4 --kills 10 --seconds 60 --json"))
@validators_option
@click.option("--kills", type=click.IntRange(1, 10_000), default=10, show_default=True)
@click.option("--seconds", type=click.FloatRange(1, 86_400), default=60, show_default=True)
@click.option(
    "--attach",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Do it to the devnet in this directory.",
)
@click.option("--seed", type=int, help="Repeat the choices of an earlier run.")
@json_option
@pass_output
def kill(
    output: Output, validators: int, kills: int, seconds: float, attach: Path | None, seed: int | None
) -> None:
    """SIGKILL validators under load, restart them, and audit every block."""
    from bench.chaos import broken_promises, run

    report = _report(output, lambda: run(validators, kills, seconds, attach, seed))
    broken = broken_promises(report, kills)
    if broken:
        raise LocalFault("; ".join(broken))


@chaos.command("epochs", epilog=example("phalanx chaos epochs --validators 7 --epochs 10 --json"))
@click.option("--validators", type=click.IntRange(4, 64), default=7, show_default=True, help="At first.")
@click.option("--epochs", type=click.IntRange(4, 1_000), default=10, show_default=True)
@click.option("--epoch-blocks", type=click.IntRange(4, 100_000), default=30, show_default=True)
@click.option("--joins", type=click.IntRange(0, 32), default=3, show_default=True)
@click.option("--leaves", type=click.IntRange(0, 32), default=2, show_default=True)
@click.option("--seed", type=int, help="Repeat the choices of an earlier run.")
@json_option
@pass_output
def epochs(
    output: Output,
    validators: int,
    epochs: int,
    epoch_blocks: int,
    joins: int,
    leaves: int,
    seed: int | None,
) -> None:
    """Change the validator set over and over, SIGKILL nodes meanwhile, and audit every block."""
    from bench.chaos_epochs import Turnover, broken_promises, run

    turnover = Turnover(
        validators=validators, epochs=epochs, epoch_blocks=epoch_blocks, joins=joins, leaves=leaves
    )
    report = _report(output, lambda: run(turnover, seed))
    broken = broken_promises(report, turnover)
    if broken:
        raise LocalFault("; ".join(broken))


@chaos.command("equivocate", epilog=example("phalanx chaos equivocate --validators 7 --json"))
@click.option("--validators", type=click.IntRange(4, 64), default=7, show_default=True)
@json_option
@pass_output
def equivocate(output: Output, validators: int) -> None:
    """Run one validator twice with one key, and see what the network makes of it."""
    from bench.chaos_equivocate import broken_promises, run

    report = _report(output, lambda: run(validators))
    broken = broken_promises(report)
    if broken:
        raise LocalFault("; ".join(broken))
