"""Whoever signs against the verdict is convicted by the next leaders, without anybody having to report it."""

from dataclasses import replace

import pytest
from backing_world import Validators
from candidate_fakes import Collator
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_fakes import ALL_ACCOUNTS, BANK_ID, OPERATORS, VALIDATORS, Network, make_genesis, total_supply

from consensus.agreement.statements import Verdict
from consensus.candidates.backing_events import CandidateMisbehaviour, CandidateReceived
from consensus.candidates.contrary import MAX_CONTRARY, MAX_SETTLED, ContraryStatements
from consensus.candidates.receipts import Attestation
from consensus.primitives import crypto
from consensus.primitives.codec import encode
from consensus.primitives.errors import InvalidBlock
from consensus.primitives.guest import InstanceEndpoint, Outgoing
from consensus.primitives.ids import ChainId, Epoch, Hash, ValidatorIndex
from consensus.relay.blocks import EVIDENCE_WEIGHT, Payload, check_payload, encode_payload
from consensus.relay.genesis import issuance
from consensus.relay.offences.judging import Bench
from consensus.relay.offences.table import OffenceKind
from consensus.relay.offences.verdicts import choose_statements, statement_hash


def bench(network: Network) -> Bench:
    return Bench(
        state=network.view,
        chain_id_hash=network.hash,
        epoch=network.epoch,
        time_ms=network.view.time_ms,
        verify=crypto.verify,
    )


def played(verdict: Verdict, liar: int, seed: int) -> tuple[Network, Validators, Collator]:
    """A candidate that three of four validators judge `verdict`, and the liar otherwise; it is in a block."""
    network = Network(make_genesis(stake=100))
    network.block()
    collator = Collator(network)
    world = Validators(network, seed, frozenset({liar}))
    header = collator.build([b"x"]) if verdict is Verdict.INVALID else collator.offer([b"x"])
    pov = collator.povs[header.hash]
    if verdict is Verdict.INVALID:
        own = InstanceEndpoint(module=BANK_ID, chain=1)
        header = replace(header, outgoing=(Outgoing(destination=own, payload=b"mint"),))
    world.offer(header, pov)
    world.run()
    assert all(not machine.contrary() for machine in world.machines), "no verdict is in a block yet"
    network.block(inclusions=world.machines[(liar + 1) % 4].includable(network.view, 16))
    world.advance()
    world.run()
    return network, world, collator


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(list(Verdict)), st.integers(0, 3), st.integers(0, 2**32))
def test_every_leader_knows_who_signed_against_the_verdict_and_its_block_convicts(
    verdict: Verdict, liar: int, seed: int
) -> None:
    network, world, _ = played(verdict, liar, seed)
    for index, machine in enumerate(world.machines):
        if index == liar:
            continue
        chosen = choose_statements(bench(network), machine.contrary(), 8)
        assert [each.validator for each in chosen] == [liar]
    result = network.block(statements=chosen)
    (convicted,) = result.offences
    kind = OffenceKind.FALSE_ACCUSATION if verdict is Verdict.VALID else OffenceKind.ATTESTED_INVALID
    assert (convicted.account, convicted.offence) == (OPERATORS[liar].public, kind)
    assert convicted.slashed == (2 if verdict is Verdict.VALID else 100)
    for machine in world.machines:
        assert not choose_statements(bench(network), machine.contrary(), 8)
    again = network.block(statements=chosen)
    assert "no less grave" in again.void[statement_hash(chosen[0])]
    assert total_supply(network.view, ALL_ACCOUNTS) == issuance(network.genesis)


def test_what_comes_late_or_second_is_found_too_and_a_forgery_is_blamed() -> None:
    network, world, collator = played(Verdict.VALID, 3, 0)
    machine = world.machines[0]
    (lie,) = machine.contrary()
    later = replace(lie, validator=ValidatorIndex(2))
    effects = machine.handle(CandidateReceived(sender=2, message=later))
    assert any(isinstance(each, CandidateMisbehaviour) for each in effects)
    later = replace(later, signature=VALIDATORS[2].sign(later.sign_bytes(network.hash)))
    assert machine.handle(CandidateReceived(sender=2, message=later)) == []
    assert machine.contrary() == (lie, later)
    collator.advance()
    header = collator.offer([b"y"])
    world.byzantine = frozenset()
    world.offer(header, collator.povs[header.hash])
    world.run()
    second = replace(later, candidate=header.hash, relay_parent=header.relay_parent)
    second = replace(second, signature=VALIDATORS[2].sign(second.sign_bytes(network.hash)))
    machine.handle(CandidateReceived(sender=2, message=second))
    network.block(inclusions=machine.includable(network.view, 16))
    world.advance()
    world.run()
    assert machine.contrary() == (lie, later, second)
    chosen = choose_statements(bench(network), machine.contrary(), 8)
    assert [each.validator for each in chosen] == [3, 2]
    assert {each.account for each in network.block(statements=chosen).offences} == {
        OPERATORS[2].public,
        OPERATORS[3].public,
    }


def test_a_forged_statement_in_a_block_is_void_and_form_is_the_leaders_own_doing() -> None:
    network, world, _ = played(Verdict.INVALID, 1, 5)
    (lie,) = world.machines[0].contrary()
    forged = replace(lie, validator=ValidatorIndex(2))
    result = network.block(statements=[lie, forged])
    assert [each.account for each in result.offences] == [OPERATORS[1].public]
    assert "did not sign" in result.void[statement_hash(forged)]

    def check(*statements: Attestation, **limits: int) -> None:
        raw = payload_of(statements)
        check_payload(raw, replace(network.limits, **limits), lambda _: None)

    check(lie, forged)
    with pytest.raises(InvalidBlock, match="not sorted"):
        check(forged, lie)
    with pytest.raises(InvalidBlock, match="not sorted"):
        check(lie, lie)
    with pytest.raises(InvalidBlock, match="quota is 1"):
        check(lie, forged, max_evidence=1)
    with pytest.raises(InvalidBlock, match="weigh"):
        check(lie, forged, max_weight=2 * EVIDENCE_WEIGHT - 1)
    assert encode_payload((), statements=[forged, lie]) == payload_of((lie, forged))


def payload_of(statements) -> bytes:
    return encode(Payload(statements=tuple(statements)))


def test_no_more_is_kept_than_its_bounds() -> None:
    _, world, collator = played(Verdict.VALID, 3, 0)
    (lie,) = world.machines[0].contrary()
    header = collator.build([b"z"])
    kept = ContraryStatements()
    for number in range(MAX_CONTRARY + MAX_SETTLED):
        name = Hash(number.to_bytes(32, "big"))
        kept.settle(name, header, Verdict.VALID, Epoch(1), {verdict: {} for verdict in Verdict})
        late = replace(lie, candidate=name, relay_parent=header.relay_parent, chain=ChainId(1))
        assert kept.is_late(late)
        kept.keep_late(late)
        assert not kept.is_late(late)
    assert len(kept.all()) == MAX_CONTRARY
    assert len(kept._settled) == MAX_SETTLED
