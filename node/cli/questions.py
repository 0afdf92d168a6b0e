"""What can be asked of the final state, as it is written on the command line and told to people."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from consensus.light.proofs import ChainKey, InstanceKey, Question, ReceiptOf, RelayKey, TreeKey
from consensus.primitives.errors import UserError
from consensus.primitives.ids import RELAY_CHAIN, Hash
from node.cli.connect import BYTES, find_account, find_chain, find_module
from node.rpc.parameters import relay_key

F = TypeVar("F", bound=Callable[..., Any])
KEY_PATHS: Final = ("account/", "validator/", "holdings/", "offence/")  # what follows may be a key's name


def relay_question(path: str, keys_dir: Path | None) -> RelayKey | TreeKey:
    """The leaf that PATH names: readable, a tree key, or with a key's name for an account.

    Raises UserError.
    """
    if len(path) == 64 and all(each in "0123456789abcdef" for each in path):
        return TreeKey(key=Hash(bytes.fromhex(path)))
    for prefix in KEY_PATHS:
        if path.startswith(prefix):
            path = prefix + _with_account(path.removeprefix(prefix), prefix, keys_dir)
    return relay_key(path)


def _with_account(rest: str, prefix: str, keys_dir: Path | None) -> str:
    name, slash, epoch = rest.rpartition("/") if prefix == "offence/" else (rest, "", "")
    return f"{find_account(name, keys_dir).hex()}{slash}{epoch}"


def question_options(command: F) -> F:
    """Adds [WHAT], --chain, --enclave and --receipt; `question_from` reads them."""
    options = (
        click.argument("what", required=False),
        click.option("--chain", metavar="CHAIN", help="WHAT is a key of this consumer chain's state."),
        click.option("--enclave", metavar="MODULE", help="WHAT is a key of this enclave's instance."),
        click.option("--receipt", metavar="TRANSACTION", help="The receipt of a transaction, 64 hex digits."),
    )
    decorated: Any = command
    for option in reversed(options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]  # the same function under options


def question_from(
    *,
    what: str | None,
    chain: str | None,
    enclave: str | None,
    receipt: str | None,
    rpc: str | None,
    keys_dir: Path | None,
) -> Question | None:
    """The question that the options put; None if they put none. Raises UserError."""
    if receipt is not None:
        if what or chain or enclave:
            raise UserError("--receipt stands alone: a receipt is found by its transaction's hash")
        return ReceiptOf(receipt=Hash(_hex32(receipt)))
    if what is None:
        if chain or enclave:
            raise UserError("which key? give it as hexadecimal or text:… beside --chain or --enclave")
        return None
    if enclave is not None:
        owner = RELAY_CHAIN if chain is None else find_chain(chain, rpc)
        return InstanceKey(module=find_module(enclave), chain=owner, key=_raw_key(what))
    if chain is not None:
        return ChainKey(chain=find_chain(chain, rpc), key=_raw_key(what))
    return relay_question(what, keys_dir)


def describe(question: Question) -> str:
    """A question for people."""
    match question:
        case TreeKey():
            return f"leaf {question.key.hex()} of the relay state"
        case RelayKey():
            name = question.namespace.decode(errors="backslashreplace")
            return f"{name}:{question.key.hex()} of the relay state"
        case ChainKey():
            return f"key {question.key.hex()} of chain {question.chain}"
        case InstanceKey():
            instance = f"{question.module.hex()[:16]}… for chain {question.chain}"
            return f"key {question.key.hex()} of enclave {instance}"
        case ReceiptOf():
            return f"the receipt {question.receipt.hex()}"


def _raw_key(text: str) -> bytes:
    try:
        key = BYTES.convert(text, None, None)
    except click.BadParameter as error:
        raise UserError(error.message) from None
    return key


def _hex32(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise UserError(f"{text!r} is not a hash: write 64 hex digits")
    return raw
