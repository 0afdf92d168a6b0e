"""`phalanx chain`: consumer chains; with transfers and puts for the example chain `agora`."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import trio

from consensus.light.proofs import ChainKey
from consensus.primitives.errors import DecodeError, UserError
from consensus.primitives.guest import ChainEndpoint
from consensus.primitives.ids import Amount, ChainId, Hash
from consensus.relay.parameters import BILLION, ChainTerms, Entry
from consensus.relay.transactions import RegisterChain, TopUpChain
from enclaves.guests import agora
from enclaves.module import InvalidModule, admit
from node.api import ChainReport, ChainStage, ChainTransactionReport
from node.cli.chain_security import security_options
from node.cli.connect import (
    AMOUNT,
    BYTES,
    collator_url,
    find_account,
    find_chain,
    keys_option,
    rpc_option,
    rpc_url,
)
from node.cli.enclave import read_wasm
from node.cli.holding import holding, release
from node.cli.output import Output, example, json_option, pass_output, table
from node.cli.query import say_state
from node.cli.sending import Sending, Submission, sending
from node.cli.submit import submit
from node.cli.trust import TrustOptions, trust_options
from node.cli.verify import verify_state
from node.client import RpcClient, ask
from node.rpc.json_form import to_json

POLL_S: Final = 0.02


@click.group(epilog=example("phalanx chain list"))
def chain() -> None:
    """Register, fund, read and use consumer chains."""


@chain.command("list", epilog=example("phalanx chain list"))
@rpc_option
@json_option
@pass_output
def list_(output: Output, *, rpc: str | None) -> None:
    """List the consumer chains."""
    reports = ask(rpc_url(rpc), lambda client: client.chains())
    rows = [
        (f"{each.chain} {each.name}", f"height {each.head_height}, balance {each.balance}, {each.policy}")
        for each in reports
    ]
    output.result(to_json(reports), table(rows) or "no consumer chain is registered")


@chain.command(epilog=example("phalanx chain show agora"))
@click.argument("which")
@rpc_option
@json_option
@pass_output
def show(output: Output, *, which: str, rpc: str | None) -> None:
    """Show chain WHICH: its number or name."""
    number = find_chain(which, rpc)
    report = ask(rpc_url(rpc), lambda client: client.chain(number))
    rows = [
        ("chain", f"{report.chain} {report.name} ({report.policy})"),
        ("head", f"height {report.head_height}  {report.head.hex()}"),
        ("state", report.state_root.hex()),
        ("candidates", f"{report.enacted} enacted, {report.rejected} rejected"),
        ("stage", _stage(report)),
        ("balance", f"{report.balance} units on the relay chain"),
        ("owner", report.owner.hex()),
        ("code", report.code_hash.hex()),
        ("enclaves", ", ".join(each.hex() for each in report.enclaves) or "none"),
    ]
    output.result(to_json(report), table(rows))


@chain.command(epilog=example("phalanx chain register mychain --from alice --balance 1_000_000 --wait"))
@click.argument("name")
@click.option("--code", type=click.Path(path_type=Path), help="Validation code. Default: the example, agora.")
@click.option(
    "--entry", "entries", type=(BYTES, BYTES), multiple=True, metavar="KEY VALUE", help="First state."
)
@click.option("--balance", type=AMOUNT, default=0, help="Units that pay for its candidates.")
@click.option(
    "--fee-share",
    type=click.IntRange(0, BILLION),
    default=0,
    metavar="PPB",
    help="Part of its candidates' fees for those who attest them, in parts per billion.",
)
@security_options
@sending(who="The owner's key: its name or file.")
@json_option
@pass_output
def register(
    output: Output,
    *,
    name: str,
    code: Path | None,
    entries: tuple[tuple[bytes, bytes], ...],
    balance: int,
    fee_share: int,
    security: ChainTerms,
    send: Sending,
) -> None:
    """Register a consumer chain called NAME; with --wait shows its number."""
    submission = send.submission()
    if code is None:
        wasm = agora.wasm()
        first = {submission.key.public: Amount(10**12)}
        pairs = list(entries) or agora.genesis_pairs(agora.domain(name), first, None)
    else:
        try:
            wasm, pairs = admit(read_wasm(code)).wasm, list(entries)
        except InvalidModule as error:
            raise UserError(f"{code}: {error}") from None
    action = RegisterChain(
        name=name,
        code=wasm,
        entries=tuple(Entry(key=raw, value=value) for raw, value in pairs),
        terms=replace(security, fee_share_ppb=fee_share),
        balance=Amount(balance),
    )
    submit(output, submission, action, outcome=lambda raw: {"chain": int.from_bytes(raw, "big")})


@chain.command(epilog=example("phalanx chain topup agora --amount 1_000_000 --from alice --wait"))
@click.argument("which")
@click.option("--amount", type=AMOUNT, required=True, help="Units.")
@sending()
@json_option
@pass_output
def topup(output: Output, *, which: str, amount: int, send: Sending) -> None:
    """Add to the relay balance of chain WHICH, from which its candidates and messages are paid."""
    submission = send.submission()
    submit(output, submission, TopUpChain(chain=find_chain(which, send.rpc), amount=Amount(amount)))


@chain.command(epilog=example("phalanx chain transfer agora --from alice --to bob --amount 5 --wait"))
@click.argument("which")
@click.option("--to", "receiver", required=True, metavar="ACCOUNT", help="A public key, key name or file.")
@click.option("--amount", type=AMOUNT, required=True, help="The chain's own units.")
@sending(who="A key's name or file.", pays=False)
@json_option
@pass_output
def transfer(output: Output, *, which: str, receiver: str, amount: int, send: Sending) -> None:
    """Move units on an agora chain. The node asked must collate it."""
    action = agora.Transfer(to=find_account(receiver, send.keys_dir), amount=Amount(amount))
    _send(output, send.chain_submission(), find_chain(which, send.rpc), action)


@chain.command(epilog=example("phalanx chain put agora text:greeting text:hello --from alice --wait"))
@click.argument("which")
@click.argument("key", type=BYTES)
@click.argument("value", type=BYTES)
@sending(who="A key's name or file.", pays=False)
@json_option
@pass_output
def put(output: Output, *, which: str, key: bytes, value: bytes, send: Sending) -> None:
    """Set KEY to VALUE in the sender's own space of an agora chain."""
    _send(output, send.chain_submission(), find_chain(which, send.rpc), agora.Put(key=key, value=value))


def _send(output: Output, submission: Submission, number: ChainId, action: agora.Action) -> None:
    """Sign, submit and, if asked, watch one transaction of an agora chain. Raises UserError."""

    async def run() -> tuple[Hash, ChainTransactionReport | None, dict[str, float]]:
        async with RpcClient(submission.url) as client:
            domain = (await client.chain_state(number, b"d")).value
            if domain is None or len(domain) != 32:
                raise UserError(f"chain {number} is not an agora: its transactions need its own tools")
            stored = await client.chain_state(number, agora.account_key(submission.key.public))
            try:
                sender = agora.decode_account(stored.value)
                _check_funds(sender, action, number)
                raw = agora.sign_transaction(submission.key, domain, sender.nonce, action)
            except (DecodeError, ValueError) as error:
                raise UserError(str(error)) from None
            started = time.monotonic()
            result = (await client.chain_submit(number, [raw]))[0]
            if not result.accepted:
                raise UserError(result.error)
            waited = {"accepted": _since(started)}
            output.progress(f"accepted   {waited['accepted']:9.2f} ms  {result.hash.hex()}")
            if not submission.wait:
                return result.hash, None, waited
            report = await _watch(
                output, client, submission, number, result.hash, waited=waited, since=started
            )
            return result.hash, report, waited

    name, report, waited = trio.run(run)
    document: dict[str, Any] = {"hash": name.hex(), "chain": number, "waited_ms": waited}
    rows: list[tuple[str, Any]] = [("transaction", name.hex())]
    if report is None:
        rows.append(("note", "wait until it is final before the key sends here again: see --wait"))
    else:
        document["receipt"] = to_json(report)
        rows += [("stage", report.stage), ("chain height", report.height)]
    problem = "" if report is None else report.error or _refusal(report, number)
    if problem:
        document["error"] = problem
    output.result(document, table(rows))
    if problem:
        raise UserError(problem)


def _refusal(report: ChainTransactionReport, number: ChainId) -> str:
    """Why the chain's code did nothing for a transaction that it carries; empty if it did something."""
    if not report.code:
        return ""
    reasons = {int(each): each.name.lower().replace("_", " ") for each in agora.Code}
    return f"chain {number} carries it without effect: {reasons.get(report.code, f'code {report.code}')}"


def _check_funds(sender: agora.Account, action: agora.Action, number: ChainId) -> None:
    """Raises UserError for a transfer that the chain would carry and not do: better told before."""
    if isinstance(action, agora.Transfer) and action.amount > sender.balance:
        raise UserError(
            f"the sender has {sender.balance} units on chain {number}, not the {action.amount} to send"
        )


async def _watch(
    output: Output,
    client: RpcClient,
    submission: Submission,
    number: ChainId,
    name: Hash,
    *,
    waited: dict[str, float],
    since: float,
) -> ChainTransactionReport:
    """Poll until the candidate that holds the transaction is final."""
    order = list(ChainStage)
    seen = ChainStage.ACCEPTED
    while True:
        report = (await client.chain_receipts(number, [name]))[0]
        for stage in order[order.index(seen) + 1 : order.index(report.stage) + 1]:
            waited[str(stage)] = _since(since)
            output.progress(f"{stage:<10} {waited[str(stage)]:9.2f} ms  chain height {report.height}")
            seen = stage
        if seen is ChainStage.FINAL or report.error:
            return report
        if time.monotonic() - since > submission.timeout_s:
            raise UserError(
                f"{name.hex()} is {report.stage} after {submission.timeout_s:g} s; see `chain show {number}`"
            )
        await trio.sleep(POLL_S)


def _since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 3)


@chain.command(epilog=example("phalanx chain account agora alice"))
@click.argument("which")
@click.argument("account")
@rpc_option
@keys_option
@json_option
@pass_output
def account(output: Output, *, which: str, account: str, rpc: str | None, keys_dir: Path | None) -> None:
    """Show an account of an agora chain."""
    key = find_account(account, keys_dir)
    number = find_chain(which, rpc)
    report = ask(collator_url(rpc), lambda client: client.chain_state(number, agora.account_key(key)))
    try:
        held = agora.decode_account(report.value)
    except DecodeError as error:
        raise UserError(f"chain {number} is not an agora: {error}") from None
    document = {
        "account": key.hex(),
        "balance": str(held.balance),
        "nonce": held.nonce,
        "height": report.height,
    }
    output.result(document, table(list(document.items())))


@chain.command(epilog=example("phalanx chain state agora 64 --prove"))
@click.argument("which")
@click.argument("key", type=BYTES)
@click.option("--prove", is_flag=True, help="Fetch the proof and check it as a light client does.")
@trust_options
@rpc_option
@json_option
@pass_output
def state(
    output: Output, *, which: str, key: bytes, prove: bool, trust: TrustOptions, rpc: str | None
) -> None:
    """Show the raw KEY of a chain's own tree."""
    endpoint = ChainEndpoint(chain=find_chain(which, rpc))
    url = collator_url(rpc)
    report = ask(url, lambda client: client.chain_state(endpoint.chain, key, prove=prove))
    question = ChainKey(chain=endpoint.chain, key=key)
    say_state(output, report, verify_state(url, report, question, trust) if prove else None)


chain.add_command(holding)
chain.add_command(release)


def _stage(report: ChainReport) -> str:
    """Launched or stopped; the last pause, which may be over."""
    return report.stage + (f", paused until {report.paused_until_ms} ms" if report.paused_until_ms else "")
