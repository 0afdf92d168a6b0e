"""Checking a node's proofs against a genesis.json that the user has: the node need not be trusted."""

from pathlib import Path
from typing import Final

import click

from consensus.agreement.messages import Header
from consensus.light.leaves import (
    HeadRecord,
    InstanceRecord,
    guest_key,
)
from consensus.primitives.codec import decode
from consensus.primitives.errors import DecodeError, PeerFault, UserError
from consensus.primitives.ids import Hash
from consensus.relay.genesis import Genesis
from consensus.relay.proofs import decode_receipt_proof, verify_receipt_proof
from consensus.relay.receipts import receipt_id
from node.api import StateReport
from node.cli.connect import devnet_description
from node.genesis_file import read_genesis
from node.proofs import StateBundle, check_state_bundle
from node.validator_set import FIRST_EPOCH, genesis_validators

genesis_option = click.option(
    "--genesis",
    type=click.Path(path_type=Path),
    help="genesis.json to check proofs against. Default: the devnet's here.",
)
MAX_RECORD_BYTES: Final = 64 * 1024
NO_GENESIS: Final = "a proof is checked against the network's genesis: give --genesis genesis.json"


def load_genesis(given: Path | None) -> Genesis:
    """The genesis to trust. Raises UserError."""
    if given is not None:
        return read_genesis(given)
    description = devnet_description()
    named = description.get("genesis")
    if not isinstance(named, str):
        raise UserError(NO_GENESIS)
    path = Path(named)
    return read_genesis(path if path.is_absolute() or path.exists() else Path(description["home"]) / path)


def check_bundle(report: StateReport, given: Path | None) -> StateBundle:
    """The bundle of a report, its header final under the genesis validators. Raises UserError."""
    genesis = load_genesis(given)
    if report.proof is None:
        raise UserError("the node sent no proof; ask another node")
    try:
        return check_state_bundle(report.proof, genesis_validators(genesis), genesis.hash)
    except PeerFault as error:
        raise UserError(f"the node's proof is wrong ({error}); do not believe this node") from None


def verify_receipt(proof: bytes, transaction: Hash, given: Path | None) -> str:
    """Check a receipt's proof; says what was shown. Raises UserError."""
    genesis = load_genesis(given)
    try:
        bundle = decode_receipt_proof(proof)
        receipt = verify_receipt_proof(
            bundle, chain_id_hash=genesis.hash, epoch=FIRST_EPOCH, validators=genesis_validators(genesis)
        )
    except (DecodeError, PeerFault) as error:
        raise UserError(f"the node's proof is wrong ({error}); do not believe this node") from None
    if receipt_id(receipt) != transaction:
        raise UserError("the node's proof is of another transaction; do not believe this node")
    return _shown(bundle.final.header, given)


def verify_state(report: StateReport, key: Hash, given: Path | None) -> str:
    """Check a leaf of the relay state; says what was shown. Raises UserError."""
    bundle = check_bundle(report, given)
    if bundle.leaf.key != key or bundle.leaf.value != report.value:
        raise UserError("the node's proof is of another key or value; do not believe this node")
    return _shown(bundle.header, given)


def _shown(header: Header, given: Path | None) -> str:
    return (
        f"good: under final header {header.height} at view {header.view}, "
        f"checked against {given or 'the genesis of the devnet'}"
    )


def verify_guest_state(
    report: StateReport,
    leaf_key: Hash,
    raw_key: bytes,
    given: Path | None,
    *,
    kind: type[HeadRecord | InstanceRecord],
) -> str:
    """Check a key of a chain's or an instance's own tree, whose root is in the leaf at `leaf_key`.

    `kind` is that leaf's record. Raises UserError.
    """
    bundle = check_bundle(report, given)
    inner = bundle.inner
    if bundle.leaf.key != leaf_key or bundle.leaf.value is None or inner is None:
        raise UserError("the node's proof does not lead to that chain or instance; do not believe this node")
    try:
        root = _guest_root(bundle.leaf.value, kind)
    except DecodeError as error:
        raise UserError(
            f"the node's proof holds no such record ({error}); do not believe this node"
        ) from None
    if inner.key != guest_key(raw_key) or inner.value != report.value or not inner.holds_under(root):
        raise UserError("the node's proof is of another key or value; do not believe this node")
    return _shown(bundle.header, given)


def _guest_root(leaf: bytes, kind: type[HeadRecord | InstanceRecord]) -> Hash:
    record = decode(kind, leaf, limit=MAX_RECORD_BYTES)
    return record.state_root if isinstance(record, HeadRecord) else record.root
