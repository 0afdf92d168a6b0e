"""`phalanx gov propose`: each kind of measure that can be put to the vote."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from consensus.primitives.codec import decode
from consensus.primitives.errors import UserError
from consensus.primitives.ids import Amount, Epoch
from consensus.relay.governance.transactions import (
    Change,
    Measure,
    OnboardChain,
    PauseChain,
    Propose,
    ResumeChain,
    SetCouncil,
    SetParameters,
    SetTerms,
    Spend,
    StopChain,
    SwitchVersion,
    VetoSlash,
)
from consensus.relay.ledger import RECORD_LIMIT
from consensus.relay.parameters import BILLION, ChainTerms, Entry
from consensus.relay.registry import ChainRecord, chain_key
from node.cli.connect import AMOUNT, BYTES, find_account, find_chain, rpc_url
from node.cli.enclave import read_wasm
from node.cli.output import Output, example, json_option, pass_output
from node.cli.sending import Sending, sending
from node.cli.submit import submit
from node.client import ask

SPAN: Final = click.IntRange(1)


@click.group(epilog=example('phalanx gov propose parameters base_fee=50 --title "Lower fees" --from alice'))
def propose() -> None:
    """Put something to the vote. It takes a deposit, which comes back unless few vote or most object."""


def _proposing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --title and the options of whoever sends."""
    title = click.option("--title", default="", help="What it is about, for those who vote.")
    return title(sending(who="The proposer's key: its name or file.")(json_option(pass_output(command))))


def _propose(output: Output, send: Sending, title: str, measure: Measure) -> None:
    submit(
        output,
        send.submission(),
        Propose(title=title, measure=measure),
        outcome=lambda raw: {"proposal": int.from_bytes(raw, "big")},
    )


@propose.command(epilog=example("phalanx gov propose parameters base_fee=50 byte_fee=2 --from alice --wait"))
@click.argument("changes", metavar="NAME=VALUE...", nargs=-1, required=True)
@_proposing
def parameters(output: Output, *, changes: tuple[str, ...], title: str, send: Sending) -> None:
    """Change parameters, all together, with an epoch. Rules of security take longer and a larger majority."""
    measure = SetParameters(changes=tuple(map(_change, changes)))
    _propose(output, send, title, measure)


@propose.command(epilog=example("phalanx gov propose spend --to bob --amount 5_000 --from alice --wait"))
@click.option("--to", required=True, help="Who gets it: a public key, a key's name or file.")
@click.option("--amount", type=AMOUNT, required=True, help="Units of the treasury.")
@_proposing
def spend(output: Output, *, to: str, amount: int, title: str, send: Sending) -> None:
    """Pay out of the treasury."""
    measure = Spend(to=find_account(to, send.keys_dir), amount=Amount(amount))
    _propose(output, send, title, measure)


@propose.command(epilog=example("phalanx gov propose onboard market --code m.wasm --owner bob --from alice"))
@click.argument("name")
@click.option("--code", type=click.Path(path_type=Path), required=True, help="Validation code.")
@click.option("--owner", required=True, help="Whose chain it is: a public key, a key's name or file.")
@click.option(
    "--entry", "entries", type=(BYTES, BYTES), multiple=True, metavar="KEY VALUE", help="First state."
)
@click.option("--balance", type=AMOUNT, default=0, help="Units of the treasury that pay for its candidates.")
@_proposing
def onboard(
    output: Output,
    *,
    name: str,
    code: Path,
    owner: str,
    entries: tuple[tuple[bytes, bytes], ...],
    balance: int,
    title: str,
    send: Sending,
) -> None:
    """Register consumer chain NAME without a deposit."""
    measure = OnboardChain(
        name=name,
        owner=find_account(owner, send.keys_dir),
        code=read_wasm(code),
        entries=tuple(Entry(key=key, value=value) for key, value in entries),
        terms=ChainTerms(),
        balance=Amount(balance),
    )
    _propose(output, send, title, measure)


@propose.command(epilog=example("phalanx gov propose terms agora --fuel-limit 100000000 --from alice --wait"))
@click.argument("chain")
@click.option("--fuel-limit", type=click.IntRange(0), help="Fuel of one candidate.")
@click.option("--max-pov-bytes", type=click.IntRange(0), help="Bytes of one PoV.")
@click.option("--fee-share", type=click.IntRange(0, BILLION), metavar="PPB", help="Of fees, to who attests.")
@_proposing
def terms(
    output: Output,
    *,
    chain: str,
    fuel_limit: int | None,
    max_pov_bytes: int | None,
    fee_share: int | None,
    title: str,
    send: Sending,
) -> None:
    """Give consumer chain CHAIN other terms; what is not named stays."""
    number = find_chain(chain, send.rpc)
    raw = ask(rpc_url(send.rpc), lambda client: client.state(chain_key(number))).value
    if raw is None:
        raise UserError(f"there is no chain {number}: see `phalanx chain list`")
    chosen = {"fuel_limit": fuel_limit, "max_pov_bytes": max_pov_bytes, "fee_share_ppb": fee_share}
    changes: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    if not changes:
        raise UserError("no terms are named: give --fuel-limit, --max-pov-bytes or --fee-share")
    record = decode(ChainRecord, raw, limit=RECORD_LIMIT)
    _propose(output, send, title, SetTerms(chain=number, terms=replace(record.terms, **changes)))


@propose.command(epilog=example("phalanx gov propose pause agora --for-ms 3600000 --from alice --wait"))
@click.argument("chain")
@click.option("--for-ms", "span_ms", type=SPAN, required=True, help="At most the network's council_pause_ms.")
@_proposing
def pause(output: Output, *, chain: str, span_ms: int, title: str, send: Sending) -> None:
    """Pause consumer chain CHAIN for a while: a short vote, no timelock."""
    _propose(output, send, title, PauseChain(chain=find_chain(chain, send.rpc), span_ms=span_ms))


@propose.command(epilog=example("phalanx gov propose resume agora --from alice --wait"))
@click.argument("chain")
@_proposing
def resume(output: Output, *, chain: str, title: str, send: Sending) -> None:
    """End the pause of consumer chain CHAIN before its time."""
    _propose(output, send, title, ResumeChain(chain=find_chain(chain, send.rpc)))


@propose.command(epilog=example("phalanx gov propose stop agora --from alice --wait"))
@click.argument("chain")
@_proposing
def stop(output: Output, *, chain: str, title: str, send: Sending) -> None:
    """Stop consumer chain CHAIN for good. What it has sent is delivered; no candidate follows."""
    _propose(output, send, title, StopChain(chain=find_chain(chain, send.rpc)))


@propose.command(epilog=example("phalanx gov propose council alice bob carol --threshold 2 --from alice"))
@click.argument("members", metavar="KEY...", nargs=-1)
@click.option("--threshold", type=click.IntRange(0, 255), required=True, help="So many act together.")
@_proposing
def council(output: Output, *, members: tuple[str, ...], threshold: int, title: str, send: Sending) -> None:
    """Elect an emergency council, or with no KEY and threshold 0 dissolve it."""
    accounts = tuple(sorted({find_account(each, send.keys_dir) for each in members}))
    _propose(output, send, title, SetCouncil(members=accounts, threshold=threshold))


@propose.command(epilog=example("phalanx gov propose version 2 --epoch 900 --from alice --wait"))
@click.argument("number", type=click.IntRange(1))
@click.option("--epoch", type=click.IntRange(0), required=True, help="The first epoch that runs it.")
@_proposing
def version(output: Output, *, number: int, epoch: int, title: str, send: Sending) -> None:
    """Run version NUMBER of the protocol from an epoch on. Nodes that do not know it stop before that."""
    _propose(output, send, title, SwitchVersion(version=number, epoch=Epoch(epoch)))


@propose.command("veto-slash", epilog=example("phalanx gov propose veto-slash 4 --from alice --wait"))
@click.argument("case", type=click.IntRange(1))
@_proposing
def veto_slash(output: Output, *, case: int, title: str, send: Sending) -> None:
    """Undo what CASE took, as `phalanx query offences` lists it: a short vote, no timelock."""
    _propose(output, send, title, VetoSlash(case=case))


def _change(text: str) -> Change:
    name, equals, value = text.partition("=")
    try:
        number = int(value)
    except ValueError:
        number = -1
    if not (name and equals) or number < 0 or number >> 128:
        raise UserError(f"{text!r} is no change: write NAME=VALUE, with a value from 0 up")
    return Change(name=name.strip(), value=number)
