"""Receipts, accounts and guests' keys under a final header, from the state that blocks really lead to."""

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
from consensus.light.answers import leaf_of, subtree_root
from consensus.light.client import Checkpoint, LightParameters, verify_light_proof
from consensus.light.proofs import (
    Answer,
    FinalHead,
    InstanceKey,
    LightProof,
    ProvenAnswer,
    ReceiptOf,
    RelayKey,
    Start,
)
from consensus.primitives.errors import PeerFault
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import ZERO_HASH, Epoch, Height, View
from consensus.relay.receipts import decode_receipt, receipt_id
from consensus.relay.transactions import CallEnclave, Transfer
from consensus.relay.views import prove_guest_key
from node.proofs import prove_receipt

NOW_MS = 2_000


def genesis(network: Network):
    return genesis_header(
        chain_id_hash=network.hash,
        epoch=Epoch(1),
        time_ms=1_000,
        validators_hash=network.validators.validators_hash,
    )


def finalise(network: Network, height: int) -> FinalHead:
    """A header of `height` that carries the network's state, made final by three of four validators."""
    header = replace(
        genesis(network),
        height=Height(height),
        view=View(height),
        parent_view=View(height - 1),
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
    return FinalHead(header=header, finality=FinalityProof(path=(), certificate=certificate))


def shown(network: Network, answer: Answer, head: FinalHead, question=None):
    """What a client that trusts genesis alone is shown."""
    start = Start(header=genesis(network), validators=network.validators.record)
    bundle = LightProof(
        chain=network.hash, start=start, hops=(), proven=ProvenAnswer(head=head, answer=answer)
    )
    checkpoint = Checkpoint(height=Height(0), hash=block_hash(start.header))
    parameters = LightParameters(chain=network.hash, trusting_ms=10_000, unbonding_ms=20_000)
    return verify_light_proof(bundle, question or answer.question, checkpoint, parameters, NOW_MS)[1]


def receipt_answer(network: Network, receipt, receipts) -> Answer:
    question = ReceiptOf(receipt=receipt_id(receipt))
    return Answer(
        question=question, leaf=network.view.prove(leaf_of(question)), inner=prove_receipt(receipt, receipts)
    )


def test_every_receipt_is_provable_under_the_next_final_header() -> None:
    network = Network()
    raws = [network.raw(user, Transfer(to=USERS[0].public, amount=7)) for user in USERS]
    result = network.block(raws)
    head = finalise(network, 2)
    for receipt in result.receipts:
        value = shown(network, receipt_answer(network, receipt, result.receipts), head)
        assert decode_receipt(value) == receipt


def test_an_answer_that_was_tampered_with_fails() -> None:
    network = Network()
    result = network.block([network.raw(user, Transfer(to=USERS[0].public, amount=7)) for user in USERS[:2]])
    head = finalise(network, 2)
    one, two = (receipt_answer(network, each, result.receipts) for each in result.receipts)
    other_state = replace(head, header=replace(head.header, state_root=ZERO_HASH))
    for answer, where, reason in (
        (replace(one, inner=two.inner), head, "not under the root"),
        (replace(one, inner=replace(one.inner, value=b"\x00")), head, "not under the root"),
        (replace(one, inner=replace(one.inner, value=None)), head, "not under the root"),
        (replace(one, inner=None), head, "ends above"),
        (replace(one, leaf=replace(one.leaf, value=b"")), head, "not under the header's state root"),
        (one, other_state, "another block"),
        (two, head, "another question"),
    ):
        with pytest.raises(PeerFault, match=reason):
            shown(network, answer, where, one.question)


def test_accounts_and_instance_keys_are_provable() -> None:
    network = Network()
    own = InstanceEndpoint(module=BANK_ID, chain=1)
    network.block([network.raw(USERS[0], CallEnclave(instance=own, input=b"Sa=b", fuel_limit=5_000))])
    head = finalise(network, 2)
    for name, present in ((USERS[0].public, True), (b"nobody" * 5 + b"!!", False)):
        question = RelayKey(namespace=b"account", key=name)
        leaf = network.view.prove(leaf_of(question))
        assert (leaf.value is not None) == present
        assert shown(network, Answer(question=question, leaf=leaf, inner=None), head) == leaf.value
        wrong = replace(leaf, value=None if present else b"rich")
        with pytest.raises(PeerFault, match="not under the header's state root"):
            shown(network, Answer(question=question, leaf=wrong, inner=None), head)
    for key, value in ((b"a", b"b"), (b"zz", None)):
        question = InstanceKey(module=own.module, chain=own.chain, key=key)
        leaf = network.view.prove(leaf_of(question))
        inner = prove_guest_key(network.store, subtree_root(question, leaf.value), key)
        assert shown(network, Answer(question=question, leaf=leaf, inner=inner), head) == value
