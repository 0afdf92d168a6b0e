"""`phalanx gov`: what is put to the vote, voting, the council's pause; proposing is in `gov_propose`."""

from typing import Any, Final

import click

from consensus.relay.governance.report import GovernanceReport, ProposalReport
from consensus.relay.governance.transactions import Choice, CouncilPause, VoteAsMember, VoteStake
from consensus.relay.stake.records import main_pool, nomination_name
from node.cli.connect import find_account, find_chain, rpc_option, rpc_url
from node.cli.gov_propose import SPAN, propose
from node.cli.output import Output, example, json_option, pass_output, table
from node.cli.sending import Sending, sending
from node.cli.submit import submit
from node.client import ask
from node.rpc.json_form import to_json

CHOICES: Final = {each.name.lower(): each for each in Choice}


@click.group(epilog=example("phalanx gov list"))
def gov() -> None:
    """Propose, vote, and see what was decided.

    Validators of the epoch in which a proposal was opened vote with all stake behind them; whoever has put
    stake behind one may vote with it instead. What passes waits for its timelock; parameters change with an
    epoch. `phalanx query state parameters` has the windows.
    """


gov.add_command(propose)


@gov.command("list", epilog=example("phalanx gov list"))
@rpc_option
@json_option
@pass_output
def list_(output: Output, *, rpc: str | None) -> None:
    """List the newest proposals, the council, and what is decided to change."""
    report = ask(rpc_url(rpc), lambda client: client.governance())
    output.result(to_json(report), table(_overview(report)))


@gov.command(epilog=example("phalanx gov show 3"))
@click.argument("number", type=click.IntRange(1))
@rpc_option
@json_option
@pass_output
def show(output: Output, *, number: int, rpc: str | None) -> None:
    """Show proposal NUMBER, with its votes as they are now."""
    report = ask(rpc_url(rpc), lambda client: client.proposal(number))
    output.result(to_json(report), table(_rows(report)))


@gov.command(epilog=example("phalanx gov vote 3 yes --from alice --wait"))
@click.argument("number", type=click.IntRange(1))
@click.argument("choice", type=click.Choice(sorted(CHOICES)))
@click.option(
    "--behind",
    "behind",
    multiple=True,
    metavar="VALIDATOR",
    help="Vote with own stake behind exactly these validators; several if given repeatedly.",
)
@sending(who="Who votes: a validator's account, or with --behind whose stake it is.")
@json_option
@pass_output
def vote(output: Output, *, number: int, choice: str, behind: tuple[str, ...], send: Sending) -> None:
    """Vote on proposal NUMBER; the latest vote counts.

    As a validator, for all stake behind it that does not vote for itself. With --behind, for stake of your
    own that stands there since before the proposal's epoch began, in the place of the validators. `veto` is a
    no that also asks for the deposit to be burnt; `abstain` counts for the quorum alone.
    """
    said = int(CHOICES[choice])
    if not behind:
        submit(output, send.submission(), VoteAsMember(proposal=number, choice=said))
        return
    pool = main_pool(nomination_name([find_account(each, send.keys_dir) for each in behind]))
    submit(
        output,
        send.submission(),
        VoteStake(proposal=number, pool=pool, choice=said),
        outcome=lambda raw: {"units": str(int.from_bytes(raw, "big"))},
    )


@gov.group(epilog=example("phalanx gov council show"))
def council() -> None:
    """The emergency council, which can pause one chain for a while."""


@council.command("show", epilog=example("phalanx gov council show"))
@rpc_option
@json_option
@pass_output
def show_council(output: Output, *, rpc: str | None) -> None:
    """Show who sits on the council, what they want, and when they may act."""
    report = ask(rpc_url(rpc), lambda client: client.governance())
    document = {
        "members": [each.hex() for each in report.council],
        "threshold": report.threshold,
        "acts_from_ms": report.acts_from_ms,
        "wishes": to_json(report.wishes),
    }
    output.result(document, table(_council_rows(report)))


@council.command("pause", epilog=example("phalanx gov council pause agora --for-ms 3600000 --from alice"))
@click.argument("chain")
@click.option("--for-ms", "span_ms", type=SPAN, required=True, help="At most so long; the shortest counts.")
@sending(who="The member's key: its name or file.")
@json_option
@pass_output
def pause(output: Output, *, chain: str, span_ms: int, send: Sending) -> None:
    """Want CHAIN paused, as a member of the council: once enough members do, it is, and ends by itself."""
    action = CouncilPause(chain=find_chain(chain, send.rpc), span_ms=span_ms)
    submit(output, send.submission(), action, outcome=lambda raw: {"paused": raw == b"\x01"})


def _overview(report: GovernanceReport) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [("protocol", _version(report)), ("treasury", f"{report.treasury} units")]
    rows += _council_rows(report)
    rows += [("next epoch", f"{each.name} becomes {each.then}, is {each.now}") for each in report.coming]
    rows += [
        (f"proposal {each.number}", f"{each.stage:<9} {each.title or each.summary}")
        for each in report.proposals
    ]
    return rows if report.proposals else [*rows, ("proposals", "none yet")]


def _version(report: GovernanceReport) -> str:
    if not report.next_version:
        return f"version {report.version}"
    return f"version {report.version}, from epoch {report.next_epoch} on {report.next_version}"


def _council_rows(report: GovernanceReport) -> list[tuple[str, Any]]:
    if not report.council:
        return [("council", "none")]
    rows: list[tuple[str, Any]] = [("council", f"{report.threshold} of {len(report.council)} act together")]
    rows += [("member", each.hex()) for each in report.council]
    rows += [
        ("wants", f"{each.member.hex()[:16]}… chain {each.chain} paused for {each.span_ms} ms")
        for each in report.wishes
    ]
    return [*rows, ("may act from", f"{report.acts_from_ms} ms")] if report.acts_from_ms else rows


def _rows(report: ProposalReport) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [
        ("proposal", f"{report.number} {report.title}".rstrip()),
        ("would", report.summary),
        ("stage", report.stage + (f": {report.reason}" if report.reason else "")),
        ("pace", report.pace),
        ("proposer", report.proposer.hex()),
        ("votes until", f"{report.closes_ms} ms, by the stake of epoch {report.epoch}"),
    ]
    if report.due_ms:
        rows.append(("carried out", f"from {report.due_ms} ms"))
    rows += [(name, f"{getattr(report, name)} units") for name in ("yes", "no", "abstain", "veto", "total")]
    return [*rows, ("deposit", f"{report.deposit} units")] if report.deposit else rows
