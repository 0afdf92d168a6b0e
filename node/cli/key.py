"""`phalanx key`: named keys of accounts."""

from pathlib import Path
from typing import Any

import click

from node import keys
from node.cli.connect import find_key_file, keys_directory, keys_option, passphrase_option
from node.cli.output import Output, example, json_option, pass_output, table


@click.group(epilog=example("phalanx key new alice"))
def key() -> None:
    """Make, list and show keys."""


@key.command(epilog=example("phalanx key new alice --passphrase-file secret.txt"))
@click.argument("name")
@keys_option
@passphrase_option
@json_option
@pass_output
def new(output: Output, name: str, keys_dir: Path | None, passphrase_file: Path | None) -> None:
    """Make a fresh account key called NAME."""
    if not name or "/" in name or name.startswith("."):
        raise click.UsageError(f"{name!r} can not be a file's name; use letters and digits")
    passphrase = keys.passphrase_from(passphrase_file)
    header = keys.write_key(
        keys_directory(keys_dir) / f"{name}{keys.KEY_SUFFIX}",
        seed=keys.new_seed(),
        name=name,
        purpose="account",
        passphrase=passphrase,
    )
    if passphrase is None:
        output.progress("warning: the key is not encrypted (mode 0600 only); see --passphrase-file")
    output.result(_document(header), _text(header))


@key.command("list", epilog=example("phalanx key list"))
@keys_option
@json_option
@pass_output
def list_(output: Output, keys_dir: Path | None) -> None:
    """List the named keys."""
    directory = keys_directory(keys_dir)
    headers = keys.list_keys(directory)
    text = table([(each.name, each.public.hex()) for each in headers]) or f"no keys in {directory}"
    output.result([_document(each) for each in headers], text)


@key.command(epilog=example("phalanx key show alice"))
@click.argument("name")
@keys_option
@json_option
@pass_output
def show(output: Output, name: str, keys_dir: Path | None) -> None:
    """Show the public part of the key called NAME, or of a key file."""
    header = keys.read_header(find_key_file(name, keys_dir))
    output.result(_document(header), _text(header))


def _document(header: keys.KeyHeader) -> dict[str, Any]:
    return {
        "name": header.name,
        "purpose": header.purpose,
        "public": header.public.hex(),
        "encrypted": header.encrypted,
        "path": str(header.path),
    }


def _text(header: keys.KeyHeader) -> str:
    return table([("name", header.name), ("public", header.public.hex()), ("file", header.path)])
