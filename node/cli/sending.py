"""The options of every command that signs and sends: as whom, through which node, and whether to watch."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from consensus.primitives.crypto import SigningKey
from node.cli.connect import collator_url, keys_option, open_key, passphrase_option, rpc_option, rpc_url
from node.wallet import DEFAULT_MAX_FEE

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """How to submit: where, as whom, and whether to watch. `max_fee` 0 where nothing is paid."""

    url: str
    key: SigningKey
    max_fee: int
    wait: bool
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What the options say, before any key is opened: that may ask for a passphrase and takes a while."""

    sender: str | None
    max_fee: int
    wait: bool
    timeout_s: float
    rpc: str | None
    keys_dir: Path | None
    passphrase_file: Path | None

    def submission(self, default_key: Path | None = None) -> Submission:
        """To the relay chain; `default_key` signs where --from is not given. Raises UserError."""
        return self._to(rpc_url(self.rpc), default_key)

    def chain_submission(self) -> Submission:
        """To a node that collates a consumer chain. Raises UserError."""
        return self._to(collator_url(self.rpc), None)

    def _to(self, url: str, default_key: Path | None) -> Submission:
        name = self.sender if self.sender is not None else str(default_key)
        return Submission(
            url=url,
            key=open_key(name, self.keys_dir, self.passphrase_file),
            max_fee=self.max_fee,
            wait=self.wait,
            timeout_s=self.timeout_s,
        )


def sending(
    *, who: str = "A key's name or file; it pays.", pays: bool = True, required: bool = True
) -> Callable[[F], F]:
    """Adds --from, --max-fee, --wait, --timeout, --rpc, --keys-dir and --passphrase-file; the command takes
    them as `send: Sending`.

    who: the help of --from, which is `required` or has a default; pays: whether there is a --max-fee.
    """
    options = [
        click.option("--from", "sender", required=required, metavar="KEY", help=who),
        *([_max_fee_option] if pays else []),
        click.option("--wait", is_flag=True, help="Watch it until its receipt is provable."),
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(0.1, 3600),
            default=DEFAULT_TIMEOUT_S,
            show_default=True,
            help="Seconds to wait.",
        ),
        rpc_option,
        keys_option,
        passphrase_option,
    ]

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def with_sending(
            *positional: Any,
            sender: str | None,
            wait: bool,
            timeout_s: float,
            rpc: str | None,
            keys_dir: Path | None,
            passphrase_file: Path | None,
            max_fee: int = 0,
            **others: Any,
        ) -> Any:
            send = Sending(
                sender=sender,
                max_fee=max_fee,
                wait=wait,
                timeout_s=timeout_s,
                rpc=rpc,
                keys_dir=keys_dir,
                passphrase_file=passphrase_file,
            )
            return command(*positional, send=send, **others)

        decorated: Any = with_sending
        for option in reversed(options):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]  # the same function under options

    return decorate


_max_fee_option: Final = click.option(
    "--max-fee", type=click.IntRange(0), default=DEFAULT_MAX_FEE, show_default=True, help="Bound, in units."
)
