"""`phalanx stake commission`, `chill`, `unchill`, `labels`: what a validator says of itself."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar, cast

import click

from consensus.relay.parameters import BILLION
from consensus.relay.stake.transactions import (
    DEFAULT_COMMISSION_STEP_PPB,
    MAX_LABEL_BYTES,
    Chill,
    SetCommission,
    SetLabels,
    Unchill,
)
from node.cli.output import Output, example, json_option, pass_output
from node.cli.sending import Sending, sending
from node.cli.submit import submit

F = TypeVar("F", bound=Callable[..., Any])
WHO: Final = "The validator's account: a key's name or file."
_PERCENT: Final = re.compile(r"(\d{1,3})(?:\.(\d{1,7}))?%?")


class Share(click.ParamType[int]):
    """A share in percent, such as 2.5; becomes parts in a thousand million, exactly."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Fails on what is no share, or needs more than seven digits after the point."""
        if isinstance(value, int):
            return value
        found = _PERCENT.fullmatch(str(value))
        parts = BILLION + 1
        if found is not None:
            parts = int(found[1]) * 10**7 + int((found[2] or "").ljust(7, "0"))
        if parts > BILLION:
            self.fail(f"{value!r} is no share: write percent from 0 to 100, such as 2.5", param, ctx)
        return parts


class Label(click.ParamType[str]):
    """A short text about a validator."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Fails on what is too long."""
        text = str(value)
        if len(text.encode()) > MAX_LABEL_BYTES:
            self.fail(f"{text!r} is too long: at most {MAX_LABEL_BYTES} bytes", param, ctx)
        return text


SHARE: Final = Share()
LABEL: Final = Label()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a validator says of itself when it bonds; shares in parts in a thousand million."""

    commission: int
    commission_max: int
    commission_step: int
    operator: str
    region: str
    client: str


_TERMS: Final = (
    click.option("--commission", type=SHARE, default=0, help="Percent of what delegators earn. Default: 0"),
    click.option("--commission-max", type=SHARE, default=BILLION, help="What it never exceeds. Default: 100"),
    click.option(
        "--commission-step",
        type=SHARE,
        default=DEFAULT_COMMISSION_STEP_PPB,
        help="The most that it changes in an epoch. Default: 1",
    ),
    click.option("--operator", type=LABEL, default="", help="Who operates it, as you declare it."),
    click.option("--region", type=LABEL, default="", help="Where it runs, as you declare it."),
    click.option("--client", type=LABEL, default="", help="Which software it runs, as you declare it."),
)


def terms_options(command: F) -> F:
    """Adds these options; the command takes them as `terms: Terms`."""

    @functools.wraps(command)
    def run(*args: Any, **values: Any) -> Any:
        terms = Terms(**{each.name: values.pop(each.name) for each in fields(Terms)})
        return command(*args, **values, terms=terms)

    for option in reversed(_TERMS):
        run = option(run)
    return cast(F, run)


@click.command(epilog=example("phalanx stake commission 4.5 --from alice --wait"))
@click.argument("share", type=SHARE)
@sending(who=WHO)
@json_option
@pass_output
def commission(output: Output, *, share: int, send: Sending) -> None:
    """Take SHARE percent of what delegators earn.

    Once an epoch, by at most the step and up to the maximum that were fixed when the validator bonded.
    """
    submit(output, send.submission(), SetCommission(commission_ppb=share))


@click.command(epilog=example("phalanx stake chill --from alice --wait"))
@sending(who=WHO)
@json_option
@pass_output
def chill(output: Output, *, send: Sending) -> None:
    """Stand in no election from the next on; all stake stays where it is.

    Keep the node running until `phalanx query validators` shows a set without it.
    """
    submit(output, send.submission(), Chill())


@click.command(epilog=example("phalanx stake unchill --from alice --wait"))
@sending(who=WHO)
@json_option
@pass_output
def unchill(output: Output, *, send: Sending) -> None:
    """Stand in elections again."""
    submit(output, send.submission(), Unchill())


@click.command(epilog=example("phalanx stake labels --operator acme --region eu --from alice --wait"))
@click.option("--operator", type=LABEL, default="", help="Who operates the validator.")
@click.option("--region", type=LABEL, default="", help="Where it runs.")
@click.option("--client", type=LABEL, default="", help="Which software it runs.")
@sending(who=WHO)
@json_option
@pass_output
def labels(output: Output, *, operator: str, region: str, client: str, send: Sending) -> None:
    """Declare who operates a validator, where, and with what; what is not given is cleared.

    The report on concentration counts by these. Nobody checks them.
    """
    submit(output, send.submission(), SetLabels(operator=operator, region=region, client=client))
