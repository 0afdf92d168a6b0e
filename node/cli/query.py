"""`phalanx query`: accounts, state, receipts, blocks, validators."""

from pathlib import Path

import click

from consensus.light.answers import leaf_of
from consensus.primitives.ids import Hash, Height
from node.api import StateReport
from node.cli.connect import HASH, find_account, keys_option, rpc_option, rpc_url
from node.cli.output import Output, example, json_option, pass_output, table
from node.cli.query_economy import economy
from node.cli.query_elections import concentration, standby
from node.cli.query_exposure import exposure
from node.cli.query_offences import offences
from node.cli.query_stake import stake
from node.cli.questions import relay_question
from node.cli.standing import fetch_roster, fetch_standing
from node.cli.submit import receipt_rows
from node.cli.trust import TrustOptions, trust_options
from node.cli.verify import verify_receipt, verify_state
from node.client import ask
from node.rpc.json_form import to_json


@click.group(epilog=example("phalanx query account alice"))
def query() -> None:
    """Ask a node for final state."""


@query.command(epilog=example("phalanx query account alice"))
@click.argument("account")
@rpc_option
@keys_option
@json_option
@pass_output
def account(output: Output, *, account: str, rpc: str | None, keys_dir: Path | None) -> None:
    """Show balance and next nonce of ACCOUNT: a public key, key name or key file."""
    key = find_account(account, keys_dir)
    report = ask(rpc_url(rpc), lambda client: client.account(key))
    rows = [
        ("account", report.account.hex()),
        ("balance", f"{report.balance} units"),
        ("nonce", report.nonce),
        ("as of", f"height {report.height}"),
    ]
    output.result(to_json(report), table(rows))


@query.command(epilog=example("phalanx query state head/1 --prove"))
@click.argument("path")
@click.option("--prove", is_flag=True, help="Fetch the proof and check it as a light client does.")
@trust_options
@rpc_option
@keys_option
@json_option
@pass_output
def state(
    output: Output,
    *,
    path: str,
    prove: bool,
    trust: TrustOptions,
    rpc: str | None,
    keys_dir: Path | None,
) -> None:
    """Show the leaf at PATH of the relay state.

    PATH is account/KEY, validator/KEY or holdings/KEY (a public key, key name or key file), chain/ID,
    head/ID, module/HASH, instance/HASH/ID, epoch-set/EPOCH, exposure/EPOCH/KEY, offence/KEY/EPOCH,
    nomination/HASH, election, last-block, parameters, roster, stake, supply, NAMESPACE:HEX, or a tree key
    of 64 hex digits, as a pool has for its name.
    """
    question = relay_question(path, keys_dir)
    url = rpc_url(rpc)
    report = ask(url, lambda client: client.state(leaf_of(question), prove=prove))
    verified = verify_state(url, report, question, trust) if prove else None
    say_state(output, report, verified)


def say_state(output: Output, report: StateReport, verified: str | None) -> None:
    """Print a state report, and what its proof showed."""
    rows = [
        ("key", report.key.hex()),
        ("value", "absent" if report.value is None else report.value.hex() or "(empty)"),
        ("as of", f"height {report.height}"),
    ]
    if verified is not None:
        rows.append(("proof", verified))
    output.result(to_json(report) | {"verified": verified is not None}, table(rows))


@query.command(epilog=example("phalanx query receipt 5f3c… --prove"))
@click.argument("transaction", type=HASH)
@click.option("--prove", is_flag=True, help="Fetch the proof and check it as a light client does.")
@trust_options
@rpc_option
@json_option
@pass_output
def receipt(output: Output, *, transaction: Hash, prove: bool, trust: TrustOptions, rpc: str | None) -> None:
    """Show how far a transaction has come and what became of it."""
    url = rpc_url(rpc)
    report = ask(url, lambda client: client.receipt(transaction))
    document = to_json(report)
    rows = [("transaction", transaction.hex()), *receipt_rows(report)]
    if prove:
        proof = ask(url, lambda client: client.receipt_proof(transaction))
        rows.append(("proof", verify_receipt(url, proof, transaction, trust)))
        document |= {"proof": proof.hex(), "verified": True}
    output.result(document, table(rows))


@query.command(epilog=example("phalanx query block 100"))
@click.argument("which")
@rpc_option
@json_option
@pass_output
def block(output: Output, *, which: str, rpc: str | None) -> None:
    """Show the final block WHICH: a height or a hash."""
    url = rpc_url(rpc)
    if which.isascii() and which.isdigit() and len(which) < 20:
        report = ask(url, lambda client: client.block(height=Height(int(which))))
    else:
        name = HASH.convert(which, None, None)
        report = ask(url, lambda client: client.block(block_hash=name))
    rows = [
        ("block", report.hash.hex()),
        ("height", f"{report.height}, epoch {report.epoch}, view {report.view}, proposer {report.proposer}"),
        ("parent", report.parent_hash.hex()),
        ("time", f"{report.time_ms} ms"),
        ("state of parent", report.state_root.hex()),
        ("holds", f"{len(report.transactions)} transactions, {report.candidates} candidates"),
        ("size", f"{report.payload_bytes} bytes"),
    ]
    rows += [("", each.hex()) for each in report.transactions[:20]]
    output.result(to_json(report), table(rows))


@query.command(epilog=example("phalanx query validators --epoch 7"))
@click.option("--epoch", type=click.IntRange(1), help="Of this epoch. Default: the present one.")
@rpc_option
@json_option
@pass_output
def validators(output: Output, *, epoch: int | None, rpc: str | None) -> None:
    """List the validator set of an epoch: who signs, by index, with voting power and the stake behind it."""
    reports = ask(rpc_url(rpc), lambda client: client.validators(epoch))
    rows = [
        (
            f"{each.index} {each.name}",
            f"power {each.stake}  support {each.support}  {each.consensus_key.hex()}  {each.address}",
        )
        for each in reports
    ]
    output.result(to_json(reports), table(rows))


@query.command(epilog=example("phalanx query validator alice"))
@click.argument("account")
@rpc_option
@keys_option
@json_option
@pass_output
def validator(output: Output, *, account: str, rpc: str | None, keys_dir: Path | None) -> None:
    """Show the validator of ACCOUNT: stake, standing, keys, and when unbonded stake is paid out."""
    key = find_account(account, keys_dir)
    found = ask(rpc_url(rpc), lambda client: fetch_standing(client, key))
    output.result(found.document(), table(found.rows()))


@query.command(epilog=example("phalanx query roster"))
@rpc_option
@json_option
@pass_output
def roster(output: Output, *, rpc: str | None) -> None:
    """List who may be elected, the most own stake first; nominations decide who is."""
    entries = ask(rpc_url(rpc), fetch_roster)
    document = [
        {"account": each.account.hex(), "stake": str(each.stake), "joined_height": each.joined_height}
        for each in entries
    ]
    rows = [(each.account.hex(), f"stake {each.stake}") for each in entries]
    output.result(document, table(rows) or "nobody may be elected: the set stays as it is")


query.add_command(standby)
query.add_command(concentration)
query.add_command(economy)
query.add_command(exposure)
query.add_command(offences)
query.add_command(stake)


@query.command(epilog=example("phalanx query evidence --json"))
@rpc_option
@json_option
@pass_output
def evidence(output: Output, *, rpc: str | None) -> None:
    """List who signed two things that no honest validator signs, and which block carries the proof."""
    reports = ask(rpc_url(rpc), lambda client: client.evidence())
    rows = [
        (
            f"epoch {each.epoch}, validator {each.signer}",
            f"{each.offence} in view {each.view}, "
            + ("in no block yet" if each.height is None else f"in the block at height {each.height}"),
        )
        for each in reports
    ]
    output.result(to_json(reports), table(rows) or "no validator was caught signing twice")
