"""Receipts under a final header, and other reads that prove themselves."""

from dataclasses import replace

import pytest
from relay_fakes import BANK_ID, USERS, VALIDATORS, Network

from consensus.agreement.certificates import pack_group
from consensus.agreement.messages import (
    Certificate,
    CertificateType,
    FinalityProof,
    Kind,
    block_hash,
    genesis_header,
    sign_bytes,
)
from consensus.light.leaves import (
    instance_key,
)
from consensus.primitives.errors import PeerFault
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import ZERO_HASH, Epoch, Height, View
from consensus.relay.ledger import account_key
from consensus.relay.proofs import (
    FinalState,
    decode_receipt_proof,
    encode_receipt_proof,
    prove_receipt,
    verify_receipt_proof,
)
from consensus.relay.transactions import CallEnclave, Transfer
from consensus.relay.views import prove_guest_key


def finalise(network: Network, height: int) -> FinalState:
    """A header of `height` that carries the network's state, made final by three of four validators."""
    header = replace(
        genesis_header(
            chain_id_hash=network.hash,
            epoch=Epoch(1),
            time_ms=1_000,
            validators_hash=network.validators.validators_hash,
        ),
        height=Height(height),
        view=View(height),
        state_root=network.root,
    )
    name = block_hash(header)
    message = sign_bytes(network.hash, Kind.FINALIZE, 1, height, name, ZERO_HASH)
    group = pack_group(
        Kind.FINALIZE, name, ZERO_HASH, {index: VALIDATORS[index].sign(message) for index in range(3)}, 4
    )
    certificate = Certificate(
        ctype=int(CertificateType.FINAL),
        epoch=Epoch(1),
        view=View(height),
        block=name,
        groups=(group,),
        fault=None,
        leader_sigs=(),
    )
    return FinalState(header=header, finality=FinalityProof(path=(), certificate=certificate))


def check(network: Network, proof, epoch: int = 1):
    return verify_receipt_proof(
        proof, chain_id_hash=network.hash, epoch=Epoch(epoch), validators=network.validators
    )


def test_every_receipt_is_provable_under_the_next_final_header() -> None:
    network = Network()
    raws = [network.raw(user, Transfer(to=USERS[0].public, amount=7)) for user in USERS]
    result = network.block(raws)
    final = finalise(network, 2)
    for receipt in result.receipts:
        proof = prove_receipt(receipt, result.receipts, network.view, final)
        assert check(network, decode_receipt_proof(encode_receipt_proof(proof))) == receipt


def test_a_proof_that_was_tampered_with_fails() -> None:
    network = Network()
    result = network.block([network.raw(user, Transfer(to=USERS[0].public, amount=7)) for user in USERS[:2]])
    final = finalise(network, 2)
    one, two = (prove_receipt(each, result.receipts, network.view, final) for each in result.receipts)
    other_state = replace(one, final=replace(final, header=replace(final.header, state_root=ZERO_HASH)))
    for proof, reason in (
        (replace(one, receipt=two.receipt), "not among"),
        (replace(one, receipt=b"\x00"), "something else"),
        (replace(one, last_block=replace(one.last_block, value=b"")), "last-block leaf"),
        (other_state, "another block"),
    ):
        with pytest.raises(PeerFault, match=reason):
            check(network, proof)
    with pytest.raises(PeerFault):
        check(network, one, epoch=2)
    with pytest.raises(ValueError, match="does not carry"):
        prove_receipt(result.receipts[0], result.receipts, network.view, other_state.final)


def test_accounts_and_instance_keys_are_provable() -> None:
    network = Network()
    own = InstanceEndpoint(module=BANK_ID, chain=1)
    network.block([network.raw(USERS[0], CallEnclave(instance=own, input=b"Sa=b", fuel_limit=5_000))])
    account = network.view.prove(account_key(USERS[0].public))
    assert account.holds_under(network.root)
    assert not replace(account, value=None).holds_under(network.root)
    leaf = network.view.prove(instance_key(own))
    assert leaf.holds_under(network.root)
    root = network.view.instance(own).root
    inner = prove_guest_key(network.store, root, b"a")
    assert inner.value == b"b"
    assert inner.holds_under(root)
    absent = prove_guest_key(network.store, root, b"zz")
    assert absent.value is None
    assert absent.holds_under(root)
