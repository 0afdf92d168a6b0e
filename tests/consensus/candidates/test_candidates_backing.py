"""The backing machine: four validators, a collator, and a network that does as it likes."""

from dataclasses import replace

import pytest
from backing_world import COLLATOR, Validators
from candidate_fakes import Collator
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_fakes import BANK_ID, USERS, VALIDATORS, Network, key, make_genesis

from consensus.agreement.statements import Verdict
from consensus.candidates.backing import MAX_PER_CHAIN, MAX_PER_SENDER
from consensus.candidates.backing_events import (
    CandidateMisbehaviour,
    CandidateReceived,
    ExecuteCandidate,
    Executed,
    PeerConnected,
    RelayAdvanced,
)
from consensus.candidates.lifecycle import Stage
from consensus.candidates.receipts import (
    Attestation,
    CandidateOffer,
    PovRequest,
)
from consensus.candidates.tracking import EARLY
from consensus.primitives.guest import InstanceEndpoint, Outgoing
from consensus.primitives.ids import Epoch, ValidatorIndex
from consensus.relay.transactions import TopUpChain


@pytest.fixture
def network() -> Network:
    network = Network()
    network.block()
    return network


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), duplicate=st.sampled_from([0.0, 0.3]), liar=st.sampled_from([None, 0, 3]))
def test_in_any_order_honest_candidates_are_enacted(seed: int, duplicate: float, liar: int | None) -> None:
    network = Network()
    network.block()
    collator = Collator(network)
    world = Validators(network, seed, frozenset() if liar is None else frozenset({liar}))
    for round_ in range(3):
        headers = [collator.offer([b"%d.%d " % (round_, index)]) for index in range(3)]
        for header in headers:
            world.offer(header, collator.povs[header.hash])
        world.run(duplicate=duplicate)
        for machine in world.machines:
            inclusions = machine.includable(network.view, 16)
            assert [each.header for each in inclusions] == headers
        leader = world.random.choice(world.machines)
        result = network.block(inclusions=leader.includable(network.view, 16))
        assert result.enacted == tuple(each.hash for each in headers)
        collator.advance()
        world.advance()
        world.run(duplicate=duplicate)
        assert all(len(machine) == 0 for machine in world.machines)
        assert not world.machines[0].includable(network.view, 16)
    for index in range(4):
        if index != liar:
            assert world.reached(index).count(Stage.ENACTED) == 9


def test_the_limit_of_inclusions_holds(network: Network) -> None:
    collator = Collator(network)
    world = Validators(network)
    for header in [collator.offer([b"%d" % index]) for index in range(3)]:
        world.offer(header, collator.povs[header.hash])
    world.run()
    assert len(world.machines[0].includable(network.view, 2)) == 2


def test_an_invalid_candidate_is_rejected_by_all(network: Network) -> None:
    collator = Collator(network)
    honest = collator.build([b"x"])
    own = InstanceEndpoint(module=BANK_ID, chain=1)
    lie = replace(honest, outgoing=(Outgoing(destination=own, payload=b"mint"),))
    world = Validators(network)
    world.offer(lie, collator.povs[honest.hash])
    world.run()
    (inclusion,) = world.machines[2].includable(network.view, 16)
    assert inclusion.verdict == Verdict.INVALID
    assert network.block(inclusions=[inclusion]).rejected == (lie.hash,)
    world.advance()
    world.run()
    assert [Stage.REJECTED in world.reached(index) for index in range(4)] == [True] * 4
    world.offer(lie, collator.povs[honest.hash])
    world.run()
    assert all(len(machine) == 0 for machine in world.machines)


def test_a_validator_that_missed_the_offer_learns_of_it_from_attestations(network: Network) -> None:
    collator = Collator(network)
    header = collator.offer([b"x"])
    world = Validators(network)
    world.run()
    world.offer(header, collator.povs[header.hash], to=[0])
    world.run()
    for machine in world.machines:
        assert len(machine.includable(network.view, 16)) == 1


def test_an_offer_without_pov_is_completed_by_asking(network: Network) -> None:
    collator = Collator(network)
    header = collator.offer([b"x"])
    world = Validators(network)
    world.run()
    world.offer(header, collator.povs[header.hash], to=[])
    for index in range(4):
        world.post(index, CandidateReceived(sender=COLLATOR, message=CandidateOffer(header=header, pov=b"")))
    world.run()
    assert len(world.machines[0].includable(network.view, 16)) == 1


def test_what_was_attested_stays_served_after_enactment(network: Network) -> None:
    collator = Collator(network)
    header = collator.offer([b"x"])
    world = Validators(network)
    world.offer(header, collator.povs[header.hash])
    world.run()
    network.block(inclusions=world.machines[0].includable(network.view, 16))
    world.advance()
    world.run()
    (answer,) = world.machines[1].handle(
        CandidateReceived(sender=3, message=PovRequest(candidate=header.hash))
    )
    assert answer.message.pov == collator.povs[header.hash]


def test_a_returning_validator_is_told_what_was_attested(network: Network) -> None:
    collator = Collator(network)
    header = collator.offer([b"x"])
    world = Validators(network)
    world.offer(header, collator.povs[header.hash], to=[0, 1])
    world.queue = [each for each in world.queue if each[0] in (0, 1)]
    world.run()
    (effect,) = world.machines[0].handle(PeerConnected(sender=3))
    assert effect.message.candidate == header.hash


def test_a_wrong_pov_and_forged_attestations_are_blamed(network: Network) -> None:
    collator = Collator(network)
    header = collator.offer([b"x"])
    world = Validators(network)
    world.run()
    world.reachable = {0}
    machine = world.machines[0]
    bad = CandidateOffer(header=header, pov=b"other")
    assert isinstance(
        machine.handle(CandidateReceived(sender=COLLATOR, message=bad))[0], CandidateMisbehaviour
    )
    assert len(machine) == 0
    world.offer(header, collator.povs[header.hash], to=[0])
    world.run()
    honest = Attestation(
        epoch=Epoch(1),
        chain=1,
        relay_parent=header.relay_parent,
        candidate=header.hash,
        verdict=int(Verdict.VALID),
        validator=ValidatorIndex(3),
        signature=bytes(64),
    )
    forged = machine.handle(CandidateReceived(sender=3, message=honest))
    assert isinstance(forged[0], CandidateMisbehaviour)
    message = honest.sign_bytes(network.hash)
    signed = replace(honest, signature=VALIDATORS[3].sign(message))
    assert not machine.handle(CandidateReceived(sender=3, message=replace(signed, validator=77)))
    assert not machine.handle(CandidateReceived(sender=3, message=replace(signed, epoch=2)))


def test_two_verdicts_of_one_validator_count_once_and_are_blamed(network: Network) -> None:
    collator = Collator(network)
    header = collator.offer([b"x"])
    world = Validators(network)
    world.run()
    world.reachable = {0}
    world.offer(header, collator.povs[header.hash])
    world.run()
    effects = []
    for verdict in Verdict:
        attestation = Attestation(
            epoch=Epoch(1),
            chain=1,
            relay_parent=header.relay_parent,
            candidate=header.hash,
            verdict=int(verdict),
            validator=ValidatorIndex(2),
            signature=bytes(64),
        )
        signature = VALIDATORS[2].sign(attestation.sign_bytes(network.hash))
        attestation = replace(attestation, signature=signature)
        effects += world.machines[0].handle(CandidateReceived(sender=2, message=attestation))
    assert any(
        "valid and invalid" in each.reason for each in effects if isinstance(each, CandidateMisbehaviour)
    )


def test_what_its_chain_can_not_pay_is_not_proposed() -> None:
    genesis = make_genesis()
    network = Network(replace(genesis, chains=(replace(genesis.chains[0], balance=10),)))
    network.block()
    collator = Collator(network)
    header = collator.offer([b"x"])
    world = Validators(network)
    world.offer(header, collator.povs[header.hash])
    world.run()
    assert Stage.APPROVED in world.reached(0)
    assert not world.machines[0].includable(network.view, 16)
    network.block([network.raw(USERS[0], TopUpChain(chain=1, amount=10_000))])
    assert len(world.machines[0].includable(network.view, 16)) == 1


def test_a_local_fault_abstains(network: Network) -> None:
    collator = Collator(network)
    header = collator.offer([b"x"])
    machine = Validators(network).machines[0]
    machine.handle(RelayAdvanced(view=network.view))
    offer = CandidateOffer(header=header, pov=collator.povs[header.hash])
    effects = machine.handle(CandidateReceived(sender=COLLATOR, message=offer))
    assert any(isinstance(each, ExecuteCandidate) for each in effects)
    assert machine.handle(Executed(candidate=header.hash, verdict=None)) == []


def test_memory_is_bounded_whatever_peers_send(network: Network) -> None:
    collator = Collator(network)
    machine = Validators(network).machines[0]
    machine.handle(RelayAdvanced(view=network.view))
    for sender in range(4, 30):
        for index in range(20):
            header = collator.build([b"%d %d" % (sender, index)])
            offer = CandidateOffer(header=header, pov=b"")
            machine.handle(CandidateReceived(sender=sender, message=offer))
            if sender == 4:
                assert len(machine) <= MAX_PER_SENDER
    assert len(machine) <= MAX_PER_CHAIN
    for index in range(3 * EARLY):
        stranger = Attestation(
            epoch=Epoch(1),
            chain=1,
            relay_parent=bytes(32),
            candidate=key(f"no candidate {index}").public,
            verdict=1,
            validator=ValidatorIndex(1),
            signature=bytes(64),
        )
        machine.handle(CandidateReceived(sender=1, message=stranger))
    assert len(machine._early) <= EARLY


def test_headers_that_break_a_rule_earn_no_statement(network: Network) -> None:
    collator = Collator(network)
    honest = collator.offer([b"x"])
    world = Validators(network)
    world.run()
    world.offer(replace(honest, time_ms=1), collator.povs[honest.hash])
    world.run()
    assert all(len(machine) == 0 for machine in world.machines)
    assert world.reached(0) == [Stage.COLLATED, Stage.TIMED_OUT]


def test_a_crowd_of_senders_does_not_keep_an_honest_one_out(network: Network) -> None:
    collator = Collator(network)
    header = collator.offer([b"x"])
    world = Validators(network)
    machine = world.machines[0]
    for number in range(MAX_PER_CHAIN):  # of three senders; they build on nothing and are never executed
        junk = replace(header, parent_head=bytes([number]) * 32, height=header.height + 1)
        machine.handle(
            CandidateReceived(sender=20 + number % 3, message=CandidateOffer(header=junk, pov=b""))
        )
    assert len(machine) == MAX_PER_CHAIN
    world.offer(header, collator.povs[header.hash])
    world.run()
    assert len(machine) == MAX_PER_CHAIN
    (inclusion,) = machine.includable(network.view, 16)
    assert inclusion.header == header


def test_a_relay_parent_far_ahead_is_no_reason_to_wait(network: Network) -> None:
    collator = Collator(network)
    header = collator.offer([b"x"])
    far = replace(header, relay_parent_height=2**60)
    machine = Validators(network).machines[0]
    assert not machine.handle(CandidateReceived(sender=COLLATOR, message=CandidateOffer(header=far, pov=b"")))
    assert len(machine) == 0


def test_what_is_enacted_goes_before_what_is_rejected(network: Network) -> None:
    collator = Collator(network)
    header = collator.offer([b"x"])
    world = Validators(network)
    own = InstanceEndpoint(module=BANK_ID, chain=1)
    for number in range(8):  # one of them is certainly first in the order of names
        lie = replace(header, outgoing=(Outgoing(destination=own, payload=b"%d" % number),))
        world.povs[lie.hash] = CandidateOffer(header=lie, pov=collator.povs[header.hash])
        for index in range(4):
            message = world.povs[lie.hash]
            world.post(index, CandidateReceived(sender=20 + number // 4, message=message))
    world.offer(header, collator.povs[header.hash])
    world.run()
    for machine in world.machines:
        (inclusion,) = machine.includable(network.view, 16)
        assert inclusion.verdict == Verdict.VALID
