"""`phalanx`: the command line (DESIGN.md section 10, a contract).

Commands of this package are listed in `_OWN`; those of other packages, such as `bench`, are found by entry
point group `phalanx.commands`. Each is imported when it is used, so that `phalanx --help` is quick and a
broken plug-in breaks itself alone.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

import click

from consensus.primitives.errors import PhalanxError, UserError
from node.cli.output import DONE, FAILED, INTERRUPTED, USAGE, Output
from node.version import program_version

ENTRY_POINT_GROUP: Final = "phalanx.commands"
INTERRUPTION: Final = "interrupted"
_OWN: Final = {
    "init": ("node.cli.init", "init"),
    "genesis": ("node.cli.genesis", "genesis"),
    "run": ("node.cli.run", "run"),
    "status": ("node.cli.status", "status"),
    "key": ("node.cli.key", "key"),
    "tx": ("node.cli.tx", "tx"),
    "query": ("node.cli.query", "query"),
    "stake": ("node.cli.stake", "stake"),
    "gov": ("node.cli.gov", "gov"),
    "chain": ("node.cli.chain", "chain"),
    "enclave": ("node.cli.enclave", "enclave"),
    "light": ("node.cli.light", "light"),
    "evidence": ("node.cli.evidence", "evidence"),
}


class PhalanxGroup(click.Group):
    """The root command: finds commands late, and turns every ending into the contract's exit codes."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return [*_OWN, *(name for name in sorted(_plug_ins()) if name not in _OWN)]

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name in _OWN:
            module, attribute = _OWN[name]
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        plug_in = _plug_ins().get(name)
        return None if plug_in is None else _load(plug_in)

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> Any:
        """Run a command and exit: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted."""
        output = Output()
        options = extra | {"standalone_mode": False, "obj": output}
        sys.exit(self._run(list(sys.argv[1:] if args is None else args), options, output))

    def _run(self, args: list[str], options: dict[str, Any], output: Output) -> int:
        try:
            code = super().main(args, **options)
            return code if isinstance(code, int) else DONE
        except click.UsageError as error:
            output.json |= "--json" in args  # the command line was not read to its end
            output.failure_document(error.format_message())
            error.show()
            return USAGE
        except click.ClickException as error:
            output.failure(error.format_message())
            return FAILED
        except click.Abort:
            output.failure_document(INTERRUPTION)
            return INTERRUPTED
        except BrokenPipeError:
            sys.stdout = None  # the reader left: there is nobody to tell
            return FAILED
        except PhalanxError as error:
            output.failure(str(error))
            return FAILED
        except BaseExceptionGroup as group:
            return self._group_ending(group, output)

    def _group_ending(self, group: BaseExceptionGroup[BaseException], output: Output) -> int:
        """Nurseries wrap what ends them. One declared error is told like any other; a bug stays loud."""
        declared, bugs = group.split((PhalanxError, KeyboardInterrupt))
        if bugs is not None or declared is None:
            raise group
        leaf: BaseException = declared
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        if isinstance(leaf, KeyboardInterrupt):
            output.failure_document(INTERRUPTION)
            return INTERRUPTED
        output.failure(str(leaf))
        return FAILED


def _plug_ins() -> dict[str, EntryPoint]:
    return {each.name: each for each in entry_points(group=ENTRY_POINT_GROUP)}


def _load(plug_in: EntryPoint) -> click.Command:
    """The command of an entry point; one that can not be loaded says so when it is called."""
    try:
        command = plug_in.load()
    except Exception as error:  # whatever a plug-in raises on import, the other commands must work
        return _broken(plug_in, f"{type(error).__name__}: {error}")
    return command if isinstance(command, click.Command) else _broken(plug_in, "it is not a click command")


def _broken(plug_in: EntryPoint, reason: str) -> click.Command:
    def refuse() -> None:
        raise UserError(f"the command {plug_in.name!r} ({plug_in.value}) can not be loaded: {reason}")

    return click.Command(
        plug_in.name,
        callback=refuse,
        short_help="(can not be loaded)",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


@click.command(cls=PhalanxGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(program_version(), prog_name="phalanx")
def main() -> None:
    """Phalanx: shared security that you can run, measure and break.

    \b
    Example:
      phalanx devnet --validators 4
      phalanx tx send --from alice --to bob --amount 100 --wait
    """


if __name__ == "__main__":
    main()
