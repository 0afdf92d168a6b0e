"""What a command says and where: one JSON document or text on stdout, progress on stderr.

DESIGN.md section 10 is the contract.
"""

import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130


class Output:
    """Where one command's words go. `json` is set by its `--json` option.

    A command that fails with an answer, such as the receipt of a failed transaction, prints the answer with
    the sentence under `error` and then raises it: there is one document all the same.
    """

    def __init__(self) -> None:
        self.json = False
        self._answered = False

    def result(self, document: Any, text: str) -> None:
        """The answer: `document` under --json, `text` for people."""
        self._answered = True
        click.echo(json.dumps(document, indent=2) if self.json else text)

    def progress(self, line: str) -> None:
        """Something to watch while it runs; on stderr."""
        click.echo(line, err=True)

    def failure(self, sentence: str) -> None:
        """Why it was refused or failed, and what to do."""
        self.failure_document(sentence)
        click.echo(f"phalanx: {sentence}", err=True)

    def failure_document(self, sentence: str) -> None:
        """The document of a failure under --json, unless there was an answer."""
        if self.json and not self._answered:
            self._answered = True
            click.echo(json.dumps({"error": sentence}))


def json_option(command: F) -> F:
    """Adds `--json`."""

    def switch_on(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        context.ensure_object(Output).json |= value

    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=switch_on,
        help="Print one JSON document on stdout and nothing else there.",
    )(command)


pass_output = click.make_pass_decorator(Output, ensure=True)


def example(text: str) -> str:
    """An epilog for --help with one example, unwrapped."""
    return f"\b\nExample:\n  {text}"


def table(rows: list[tuple[str, Any]]) -> str:
    """Lines of `label  value`, aligned."""
    width = max((len(label) for label, _ in rows), default=0)
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows)
