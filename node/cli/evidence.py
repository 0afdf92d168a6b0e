"""`phalanx evidence`: who broke the rules, and proof of it (CONSENSUS.md section 17)."""

from pathlib import Path
from typing import Any

import click

from consensus.agreement.blame import MAX_DOSSIER_BYTES, Blame, Dossier, blame, decode_dossier
from consensus.agreement.evidence import Evidence, offence
from consensus.agreement.messages import CertificateType
from consensus.primitives import crypto
from consensus.primitives.codec import encode
from consensus.primitives.errors import DecodeError, UserError
from consensus.primitives.ids import Height, View
from node.api import EvidenceReport
from node.cli.connect import BYTES, rpc_option, rpc_url
from node.cli.output import Output, example, json_option, pass_output, table
from node.cli.report import report
from node.cli.slashing import prove, verify
from node.client import ask
from node.files import read_file, write_file
from node.rpc.json_form import to_json


@click.group(epilog=example("phalanx evidence blame a.dossier b.dossier"))
def evidence() -> None:
    """Derive proof of who broke the rules, and send it; `phalanx query evidence` shows what is known."""


@evidence.command(epilog=example("phalanx evidence submit @0.evidence"))
@click.argument("pieces", type=BYTES, nargs=-1, required=True)
@rpc_option
@json_option
@pass_output
def submit(output: Output, *, pieces: tuple[bytes, ...], rpc: str | None) -> None:
    """Have evidence included in a block: each of PIECES hexadecimal or @FILE."""
    reports = [_send(rpc_url(rpc), each) for each in pieces]
    output.result(to_json(reports), table([_row(each) for each in reports]))


@evidence.command(epilog=example("phalanx evidence dossier 1200 --out a.dossier"))
@click.argument("height", type=click.IntRange(1))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where to write the dossier.")
@click.option(
    "--from-view",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How far down the ancestry goes: to the view in which the other block is final, or further.",
)
@rpc_option
@json_option
@pass_output
def dossier(output: Output, *, height: int, out: Path, from_view: int, rpc: str | None) -> None:
    """Write what a node holds that makes the block at HEIGHT final: one of the files that `blame` reads."""
    data = ask(rpc_url(rpc), lambda client: client.dossier(Height(height), View(from_view)))
    try:
        held = decode_dossier(data)
    except DecodeError as error:
        raise UserError(f"the node sent no dossier ({error}); ask another node") from None
    write_file(out, data)
    rows = [
        ("written", f"{out}, {len(data)} bytes"),
        (
            "block",
            f"height {height} of epoch {held.epoch}, certified in view {held.certificate.view}",
        ),
        ("ancestry", f"{len(held.headers)} headers, {len(held.support)} certificates"),
    ]
    document = {
        "dossier": str(out),
        "height": height,
        "epoch": held.epoch,
        "view": held.certificate.view,
        "headers": len(held.headers),
        "certificates": len(held.support),
    }
    output.result(document, table(rows))


@evidence.command("blame", epilog=example("phalanx evidence blame a.dossier b.dossier --submit"))
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the pieces of evidence into this directory."
)
@click.option("--submit", "send", is_flag=True, help="Send the evidence to the node.")
@rpc_option
@json_option
@pass_output
def blame_(output: Output, *, a: Path, b: Path, out: Path | None, send: bool, rpc: str | None) -> None:
    """Name who is to blame for a fork: more than a third of the stake, each with two signatures.

    A and B are dossiers of two final blocks that are not on one chain, written by nodes that hold either.
    Nothing in them is believed, and nobody is asked.
    """
    one = _read(a)
    found = blame(one, _read(b), crypto.verify)
    guilty = [_guilty(each, one) for each in found.evidence]
    for piece in found.evidence:
        if out is not None:
            write_file(out / f"{piece.signer}.evidence", encode(piece))
        if send:
            _send(rpc_url(rpc), encode(piece))
    kinds = [CertificateType(each.ctype).name for each in (found.final, found.against)]
    rows: list[tuple[str, Any]] = [
        ("fork", f"epoch {found.epoch}, view {found.view}: {kinds[0]} beside {kinds[1]}"),
        ("guilty", f"{found.stake} of {found.total} stake; {found.faulty} would be tolerated"),
    ]
    rows += [
        (f"  {each['validator']}", f"{each['offence']}, stake {each['stake']}, {each['key']}")
        for each in guilty
    ]
    if out is not None:
        rows.append(("written", f"{len(guilty)} files in {out}"))
    if send:
        rows.append(("sent", f"{len(guilty)} pieces"))
    output.result(_document(found, guilty, kinds, sent=send), table(rows))


evidence.add_command(report)
evidence.add_command(prove)
evidence.add_command(verify)


def _document(found: Blame, guilty: list[dict[str, Any]], kinds: list[str], *, sent: bool) -> dict[str, Any]:
    return {
        "epoch": found.epoch,
        "view": found.view,
        "certificates": kinds,
        "stake": found.stake,
        "tolerated": found.faulty,
        "total": found.total,
        "guilty": guilty,
        "sent": sent,
    }


def _guilty(piece: Evidence, held: Dossier) -> dict[str, Any]:
    member = held.validators.validators[piece.signer]
    first, second = ((each.kind, each.block, each.aux) for each in (piece.first, piece.second))
    found = offence(first, second)
    return {
        "validator": piece.signer,
        "key": member.key.hex(),
        "stake": member.stake,
        "offence": "" if found is None else found.name.lower(),
        "evidence": encode(piece).hex(),
    }


def _read(file: Path) -> Dossier:
    try:
        return decode_dossier(read_file(file, MAX_DOSSIER_BYTES, "more than any dossier has"))
    except DecodeError as error:
        raise UserError(f"{file}: {error}; write it with `phalanx evidence dossier`") from None


def _send(url: str, piece: bytes) -> EvidenceReport:
    return ask(url, lambda client: client.submit_evidence(piece))


def _row(report: EvidenceReport) -> tuple[str, Any]:
    where = "not in a block yet" if report.height is None else f"in block {report.height}"
    return (
        f"epoch {report.epoch}, validator {report.signer}",
        f"{report.offence} in view {report.view}, {where}",
    )
