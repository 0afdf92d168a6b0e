"""Options by which a new chain says who attests it, and what may leave it."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click

from consensus.primitives.errors import UserError
from consensus.primitives.guest import Policy
from consensus.primitives.ids import Amount
from consensus.relay.parameters import BILLION, ChainTerms
from consensus.relay.security.terms import MAX_ATTESTERS, RailTerms, SubsetTerms
from node.cli.connect import AMOUNT, find_account
from node.cli.terms import SHARE

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS: Final = (
    click.option("--subset", is_flag=True, help="Only validators that opt in attest it. Default: all do."),
    click.option(
        "--min-members", type=click.IntRange(1, MAX_ATTESTERS), help="Attesters at least. Default: 1"
    ),
    click.option("--max-members", type=click.IntRange(1, MAX_ATTESTERS), help="At most. Default: 200"),
    click.option("--min-allocation", type=AMOUNT, help="Units of each attester at least. Default: 1"),
    click.option("--min-total", type=AMOUNT, help="Units of all attesters at least. Default: 1"),
    click.option("--power-cap", type=SHARE, help="Percent of all weight that one has at most. Default: 100"),
    click.option("--allow", multiple=True, metavar="ACCOUNT", help="Only validators so named may attest."),
    click.option("--deny", multiple=True, metavar="ACCOUNT", help="A validator that may not attest."),
    click.option("--window-ms", type=click.IntRange(1), help="Outflow limit: the window's length."),
    click.option("--window-messages", type=click.IntRange(1), help="Messages that it may send within one."),
    click.option("--window-units", type=AMOUNT, help="Units that its candidates may cost within one."),
)
_SUBSET: Final = ("min_members", "max_members", "min_allocation", "min_total", "power_cap", "allow", "deny")
_RAILS: Final = ("window_ms", "window_messages", "window_units")


def security_options(command: F) -> F:
    """Adds these options; the command takes them as `security: ChainTerms`, all else in which is default."""

    @functools.wraps(command)
    def run(*args: Any, **values: Any) -> Any:
        subset = values.pop("subset")
        asked = {name: values.pop(name) for name in _SUBSET}
        rails = {name: values.pop(name) for name in _RAILS}
        keys_dir = values["keys_dir"]
        try:
            security = ChainTerms(
                policy=int(Policy.SUBSET if subset else Policy.REPLICATED),
                subset=_subset(subset, asked, keys_dir),
                rails=_rails(rails),
            )
        except ValueError as error:
            raise UserError(f"a chain can not have such terms: {error}") from None
        return command(*args, **values, security=security)

    for option in reversed(_OPTIONS):
        run = option(run)
    return cast(F, run)


def _subset(wanted: bool, asked: dict[str, Any], keys_dir: Path | None) -> SubsetTerms | None:
    given = {name: value for name, value in asked.items() if value not in (None, ())}
    if not wanted:
        if given:
            raise UserError(f"--{next(iter(given)).replace('_', '-')} is for a chain with --subset")
        return None
    for name in ("allow", "deny"):
        if name in given:
            given[name] = tuple(find_account(each, keys_dir) for each in given[name])
    return SubsetTerms(power_cap_ppb=given.pop("power_cap", BILLION), **given)


def _rails(asked: dict[str, Any]) -> RailTerms | None:
    given = {name: value for name, value in asked.items() if value is not None}
    if not given:
        return None
    if len(given) < len(_RAILS):
        raise UserError("an outflow limit takes --window-ms, --window-messages and --window-units together")
    return RailTerms(
        messages=asked["window_messages"], units=Amount(asked["window_units"]), window_ms=asked["window_ms"]
    )
