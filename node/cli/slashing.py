"""`phalanx evidence prove` and `verify`: an offence under a validator set's root (DESIGN.md section 8)."""

from pathlib import Path
from typing import Any

import click

from consensus.agreement.evidence import Evidence
from consensus.agreement.validators import ValidatorSetRecord, root_of
from consensus.light.slashing_proof import (
    MAX_PROOF_BYTES,
    SlashingFinding,
    SlashingProof,
    SlashingRefused,
    decode_slashing_proof,
    encode_slashing_proof,
    fault_bytes,
    fault_hash,
    slashing_proof,
    verify_slashing_proof,
)
from consensus.primitives.codec import decode
from consensus.primitives.errors import DecodeError, UserError
from consensus.primitives.ids import Epoch, Hash, Height
from consensus.relay.epochs import FIRST_EPOCH
from node.cli.connect import BYTES, NETWORK, HashType, rpc_option, rpc_url
from node.cli.output import Output, example, json_option, pass_output, table
from node.client import RpcClient, ask
from node.evidence_pool import MAX_EVIDENCE_BYTES
from node.files import read_file, write_file


@click.command(epilog=example("phalanx evidence prove @0.evidence --out 0.slashing"))
@click.argument("piece", type=BYTES)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where to write the proof.")
@rpc_option
@json_option
@pass_output
def prove(output: Output, *, piece: bytes, out: Path, rpc: str | None) -> None:
    """Make a slashing proof of PIECE, evidence as hexadecimal or @FILE (`phalanx query evidence` shows it).

    The node adds the validator set of the evidence's epoch; it need not be trusted, the proof stands alone.
    """
    try:
        evidence = decode(Evidence, piece, limit=MAX_EVIDENCE_BYTES)
    except DecodeError as error:
        raise UserError(f"that is no evidence ({error}); `phalanx query evidence --json` has it") from None
    url = rpc_url(rpc)
    proof = ask(url, lambda client: prove_by(client, evidence))
    root = root_of(proof.validators)
    finding = _check(root, proof)
    write_file(out, encode_slashing_proof(proof))
    fault = fault_hash(fault_bytes(evidence, finding.key, proof.chain))
    document = {"proof": str(out), "set_root": root.hex(), "fault": fault.hex(), **_document(finding)}
    rows = [("written", str(out)), ("set root", root.hex()), ("fault", fault.hex()), *_rows(finding)]
    output.result(document, table(rows))


@click.command(epilog=example("phalanx evidence verify 0.slashing --set-root 5f3c…"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--set-root",
    type=HashType("root", "a set's root"),
    required=True,
    help="The validators_hash that the headers of the epoch carry: 64 hex digits.",
)
@click.option("--network", type=NETWORK, help="Refuse a proof of another network than this.")
@click.option("--epoch", type=click.IntRange(1), help="Refuse a proof about another epoch than this.")
@json_option
@pass_output
def verify(output: Output, *, file: Path, set_root: Hash, network: Hash | None, epoch: int | None) -> None:
    """Check a slashing proof in FILE against the root of a validator set, offline."""
    proof = _read(file)
    finding = _check(set_root, proof)
    if network not in (None, finding.chain):
        raise UserError(f"{file}: is about network {finding.chain.hex()}; give that one's root, or refuse it")
    if epoch not in (None, finding.epoch):
        raise UserError(f"{file}: is about epoch {finding.epoch}, not {epoch}")
    output.result({"set_root": set_root.hex(), **_document(finding)}, table(_rows(finding)))


async def prove_by(client: RpcClient, evidence: Evidence) -> SlashingProof:
    """The proof, with the set of the evidence's epoch as a node has it. Raises UserError."""
    chain = (await client.status()).genesis_hash
    if evidence.epoch == FIRST_EPOCH:
        record: ValidatorSetRecord = (await client.light_start(Height(0))).validators
        return slashing_proof(evidence, record, chain)
    hops = await client.light_hops(Epoch(evidence.epoch - 1)) if evidence.epoch > FIRST_EPOCH else ()
    if not hops:
        raise UserError(
            f"{client.url} does not have the end of epoch {evidence.epoch - 1}, where the set of epoch"
            f" {evidence.epoch} is named: ask another node"
        )
    return slashing_proof(evidence, hops[0].validators, chain)


def _read(file: Path) -> SlashingProof:
    try:
        return decode_slashing_proof(read_file(file, MAX_PROOF_BYTES, "more than any slashing proof has"))
    except DecodeError as error:
        raise UserError(f"{file}: {error}; write it with `phalanx evidence prove`") from None


def _check(root: Hash, proof: SlashingProof) -> SlashingFinding:
    try:
        return verify_slashing_proof(root, proof)
    except SlashingRefused as error:
        raise UserError(f"the proof convicts nobody: {error}") from None


def _document(finding: SlashingFinding) -> dict[str, Any]:
    return {
        "network": finding.chain.hex(),
        "epoch": finding.epoch,
        "validator": finding.validator,
        "key": finding.key.hex(),
        "stake": finding.stake,
        "total": finding.total,
        "offence": finding.offence.name.lower(),
    }


def _rows(finding: SlashingFinding) -> list[tuple[str, Any]]:
    return [
        ("network", finding.chain.hex()),
        ("guilty", f"validator {finding.validator} of epoch {finding.epoch}, {finding.key.hex()}"),
        ("offence", finding.offence.name.lower()),
        ("stake", f"{finding.stake} of {finding.total}"),
    ]
