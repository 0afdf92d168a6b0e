"""Submitting a relay transaction and watching it: accepted, notarised, final, proved."""

import time
from collections.abc import Callable
from typing import Any, Final

import trio

from consensus.primitives.errors import UserError
from consensus.primitives.ids import Amount
from consensus.relay.receipts import Code
from consensus.relay.transactions import Action, transaction_hash
from node.api import Stage, SubmitResult, TransactionReport
from node.cli.output import Output, table
from node.cli.sending import Submission
from node.client import RpcClient
from node.rpc.json_form import to_json
from node.wallet import Wallet

WATCHED: Final = (Stage.NOTARISED, Stage.FINAL, Stage.PROVED)
PATIENCE_S: Final = 5.0


def submit(
    output: Output,
    submission: Submission,
    action: Action,
    *,
    extra: dict[str, Any] | None = None,
    outcome: Callable[[bytes], dict[str, Any]] = lambda _output: {},
) -> None:
    """Sign, submit and, if asked, watch one transaction; prints what became of it.

    extra: what else to print; outcome: what to print of a successful one's output.

    Raises UserError when it is refused, fails, is void, or does not end in time.
    """

    async def run() -> tuple[bytes, TransactionReport | None, dict[str, float]]:
        async with RpcClient(submission.url) as client:
            raw, started, result = await _offer(client, submission, action)
            if not result.accepted:
                raise UserError(result.error)
            client.patience_s = PATIENCE_S  # the node was there: should it restart, wait for it
            waited = {str(Stage.ACCEPTED): _since(started)}
            output.progress(f"accepted   {waited['accepted']:9.2f} ms  {result.hash.hex()}")
            if not submission.wait:
                return raw, None, waited
            report = await _watch(
                client,
                raw=raw,
                started=started,
                timeout_s=submission.timeout_s,
                waited=waited,
                say=output.progress,
            )
            return raw, report, waited

    raw, report, waited = trio.run(run)
    document: dict[str, Any] = {"hash": transaction_hash(raw).hex(), "waited_ms": waited} | (extra or {})
    rows: list[tuple[str, Any]] = [("transaction", document["hash"]), *(extra or {}).items()]
    if report is None:
        rows.append(("next", f"phalanx query receipt {document['hash']}"))
        output.result(document, table(rows))
        return
    document["receipt"] = to_json(report)
    rows += receipt_rows(report)
    if report.status in ("ok", ""):
        told = outcome(report.output)
        document |= told
        rows += told.items()
        output.result(document, table(rows))
        return
    failure = f"the transaction {_why(report)}; it changed nothing but the fee, {report.fee} units"
    output.result(document | {"error": failure}, table(rows))
    raise UserError(failure)


async def _offer(
    client: RpcClient, submission: Submission, action: Action
) -> tuple[bytes, float, SubmitResult]:
    """Sign and submit: the bytes, when they were sent, and the node's answer.

    Another process may take the nonce in between. What was refused is in no mempool, so it is signed anew.
    """
    while True:
        wallet = await Wallet.connect(client, submission.key, max_fee=Amount(submission.max_fee))
        nonce = wallet.nonce
        raw = wallet.sign(action)
        started = time.monotonic()
        result = (await client.submit([raw]))[0]
        if result.accepted or (await client.account(submission.key.public)).pending_nonce == nonce:
            return raw, started, result


async def _watch(
    client: RpcClient,
    *,
    raw: bytes,
    started: float,
    timeout_s: float,
    waited: dict[str, float],
    say: Callable[[str], None],
) -> TransactionReport:
    """Wait for each stage in turn; resends the same bytes should the node have lost them."""
    name = transaction_hash(raw)
    report = TransactionReport(hash=name, stage=Stage.ACCEPTED)
    for stage in WATCHED:
        while report.stage.rank < stage.rank:
            left_s = timeout_s - (time.monotonic() - started)
            if left_s <= 0:
                raise UserError(
                    f"{name.hex()} is {report.stage} after {timeout_s:g} s, not yet {stage}; ask again with "
                    "`phalanx query receipt`, and see `phalanx status`"
                )
            report = await client.receipt(name, wait=stage, timeout_s=min(left_s, 10.0))
            if report.status == "void":
                raise UserError(
                    f"{name.hex()} is void: its nonce was used or its sender could not pay; nothing changed"
                )
            if report.stage is Stage.UNKNOWN:
                await client.submit([raw])
        waited[str(stage)] = _since(started)
        say(
            f"{stage:<10} {waited[str(stage)]:9.2f} ms"
            + (f"  height {report.height}" if report.height else "")
        )
    return report


def _since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 3)


def receipt_rows(report: TransactionReport) -> list[tuple[str, Any]]:
    """A report for people."""
    rows: list[tuple[str, Any]] = [("stage", report.stage)]
    if report.height is not None:
        rows.append(("height", report.height))
    if report.status:
        rows.append(("result", report.status if report.status == "ok" else _why(report)))
        rows.append(("fee", f"{report.fee} units"))
    if report.fuel_used:
        rows.append(("fuel", report.fuel_used))
    if report.output:
        rows.append(("output", report.output.hex()))
    return rows


def _why(report: TransactionReport) -> str:
    try:
        reason = Code(report.code).name.lower().replace("_", " ")
    except ValueError:
        reason = f"code {report.code}"
    if report.code == Code.MEASURE_REFUSED:
        reason = f"{reason}: {report.output.decode(errors='replace')}"
    return f"{report.status}: {reason}"
