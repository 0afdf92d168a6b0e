"""A consumer chain's word slashes nobody: only signatures that the relay chain verifies, or a verdict."""

from dataclasses import replace

import pytest
from governing_world import TERMS, decided
from notices_world import CHAIN, Slash, World, world
from relay_fakes import BANK, BANK_ID, OPERATORS, USERS, Network
from staking_world import code, evidence

from consensus.agreement.evidence import Evidence
from consensus.agreement.statements import Verdict
from consensus.light.slashing_proof import encode_slashing_proof, fault_bytes, slashing_proof
from consensus.primitives.codec import encode
from consensus.primitives.guest import ChainEndpoint, InstanceEndpoint, Outgoing
from consensus.primitives.ids import RELAY_CHAIN, Epoch, Hash, Signature
from consensus.relay.governance.records import ProposalStage
from consensus.relay.governance.transactions import VetoSlash
from consensus.relay.notices.records import NoticeKind, SlashNotice
from consensus.relay.offences.table import OffenceKind
from consensus.relay.offences.transactions import ReportContradiction, ReportStatement, SubmitEvidence
from consensus.relay.receipts import Code
from enclaves.guests import agora
from enclaves.guests.agora import SlashState

ACCOUNTS = [each.public for each in OPERATORS]


def stakes(network: Network) -> list[int]:
    return [network.view.self_stake(each) for each in ACCOUNTS]


def claims(network: Network) -> dict[str, bytes]:
    """What a chain could say of a validator: a notice, evidence, proofs. All true but not sworn, or false."""
    true = evidence(network, 1)
    unsigned = replace(
        true,
        first=replace(true.first, sig=Signature(bytes(64))),
        second=replace(true.second, sig=Signature(bytes(64))),
    )
    key = network.view.epoch_set(Epoch(1)).members[1].consensus_key
    record = network.validators.record
    notice = SlashNotice(
        kind=int(NoticeKind.SLASH),
        number=0,
        account=ACCOUNTS[1],
        key=key,
        epoch=Epoch(1),
        offence=2,
        fraction_ppb=10**9,
        amount=100,
        height=1,
        fault=Hash(bytes(32)),
        digest=Hash(bytes(32)),
    )
    return {
        "notice": notice.payload(),
        "evidence": encode(true),
        "unsigned evidence": encode(unsigned),
        "fault": fault_bytes(true, key, network.hash),
        "proof": encode_slashing_proof(slashing_proof(true, record, network.hash)),
        "action": encode(SubmitEvidence(evidence=true)),
    }


NAMES = ("notice", "evidence", "unsigned evidence", "fault", "proof", "action")


@pytest.mark.parametrize("name", NAMES)
def test_a_message_of_a_chain_slashes_nobody(name: str) -> None:
    """Not even one with good evidence in it: that is for a transaction or a block to carry."""
    found = world(epoch_blocks=50)
    network = found.network
    chain = replace(network.genesis.chains[0], opt_in=(BANK_ID,))
    found = World(Network(replace(network.genesis, enclaves=(BANK,), chains=(chain,))))
    network = found.network
    before = stakes(network)
    claim = claims(network)[name]
    header, _ = found.offer()
    for module in (InstanceEndpoint(module=BANK_ID, chain=CHAIN), InstanceEndpoint(module=BANK_ID, chain=0)):
        said = replace(header, outgoing=(Outgoing(destination=module, payload=claim),))
        result = network.block(inclusions=[network.attest(said, (0, 1, 2, 3))])
        if not result.enacted:
            assert "head" in result.void[said.hash]  # the second of them
        assert not result.offences
    assert not network.block().offences
    assert stakes(network) == before


def test_no_candidate_can_message_the_relay_chain() -> None:
    found = world(epoch_blocks=50)
    network = found.network
    claim = Outgoing(destination=ChainEndpoint(chain=RELAY_CHAIN), payload=claims(network)["notice"])
    header, _ = found.offer()
    said = replace(header, outgoing=(claim,))
    result = network.block(inclusions=[network.attest(said, (0, 1, 2, 3))])
    assert "messages between chains go through an enclave" in result.void[said.hash]
    assert not result.enacted


def forged(network: Network) -> Evidence:
    true = evidence(network, 1)
    return replace(true, second=replace(true.second, sig=Signature(bytes(64))))


def test_a_claim_without_signatures_costs_whoever_brings_it() -> None:
    found = world(epoch_blocks=50, submissions_per_epoch=10)
    network = found.network
    header, _ = found.offer([b"x"])
    network.block(inclusions=[network.attest(header, (0, 1, 2), Verdict.INVALID)])
    lie = replace(found.network.statement(header, 3, Verdict.VALID), signature=Signature(bytes(64)))
    other = found.network.statement(header, 3, Verdict.INVALID)
    before = stakes(network)
    for action in (
        SubmitEvidence(evidence=forged(network)),
        ReportStatement(statement=lie),
        ReportContradiction(valid=lie, invalid=other),
    ):
        assert code(network, USERS[0], action) == Code.PROVES_NOTHING
    assert stakes(network) == before
    assert found.convictions() == set()
    assert [each for each in found.consume_all() if isinstance(each, Slash)] == []


def test_what_governance_undoes_is_taken_back_at_the_chain_as_well() -> None:
    found = world(**TERMS, slash_accusation_ppb=200_000_000)
    network = found.network
    network.block()
    header, _ = found.offer([b"x"])
    network.block(inclusions=[network.attest(header, (0, 1, 2), Verdict.VALID)])
    accusation = found.network.statement(header, 3, Verdict.INVALID)
    account = network.view.epoch_set(network.epoch).members[3].account
    epoch = network.epoch
    (convicted,) = network.block(statements=[accusation]).offences
    assert convicted.offence is OffenceKind.FALSE_ACCUSATION
    found.received.clear()
    network.block()
    found_slash = told(found, account, epoch)
    assert (found_slash.state, found_slash.amount) == (SlashState.PENDING, 20)
    assert found_slash.fault == bytes(32)
    assert decided(network, VetoSlash(case=1)).stage == ProposalStage.DONE
    after = told(found, account, epoch)
    assert (after.state, after.amount) == (SlashState.LIFTED, 0)
    assert found.state(agora.frozen_key(account)) in (None, bytes(4))
    slashes = [each for each in found.received[CHAIN] if isinstance(each, Slash)]
    assert [(each.kind, each.amount) for each in slashes] == [
        (NoticeKind.SLASH, 20),
        (NoticeKind.LIFTED, 20),
    ]
    assert network.view.self_stake(account) == 100


def told(found: World, account: bytes, epoch: int) -> agora.SlashRecord:
    """What the chain has of a slash, once it has consumed all."""
    found.consume_all()
    raw = found.state(agora.slash_key(account, Epoch(epoch)))
    assert raw is not None
    return agora.decode_slash(raw)
