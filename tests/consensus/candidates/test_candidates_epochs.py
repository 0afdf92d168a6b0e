"""Candidates in flight while the validator set changes: attested anew, enacted by the new set."""

import pytest
from backing_world import COLLATOR, Validators
from candidate_fakes import Collator
from relay_fakes import OPERATORS, USERS, VALIDATORS, Network, key, make_genesis
from staking_world import bond, rotation

from consensus.agreement.events import StatementSigned
from consensus.agreement.statements import Verdict
from consensus.candidates.backing_events import CandidateReceived, ExecuteCandidate, Executed, PeerConnected
from consensus.candidates.lifecycle import Stage
from consensus.candidates.receipts import CandidateOffer, statement_of
from consensus.relay.stake.transactions import Unbond

EPOCH_BLOCKS = 6


def network_at(height: int) -> Network:
    """Epochs of six blocks, of which `height` have executed."""
    network = Network(make_genesis(epoch_blocks=EPOCH_BLOCKS))
    while network.height < height:
        network.block()
    return network


def cross(network: Network, world: Validators) -> None:
    """To the first block of epoch 2; nothing is included on the way."""
    while network.epoch == 1:
        network.block()
        world.advance()
        world.run()


@pytest.mark.parametrize("seed", range(5))
def test_what_was_approved_before_the_boundary_is_attested_anew_and_enacted_after_it(seed: int) -> None:
    network = network_at(EPOCH_BLOCKS - 2)
    collator = Collator(network)
    headers = [collator.offer([b"%d" % index]) for index in range(2)]
    world = Validators(network, seed)
    for header in headers:
        world.offer(header, collator.povs[header.hash])
    world.run()
    before = world.machines[0].includable(network.view, 16)
    assert [each.header for each in before] == headers
    cross(network, world)
    refused = network.execute(inclusions=before)
    assert set(refused.void.values()) == {"its attestations are of another epoch"}
    late = 3
    world.begin_epoch([0, 1, 2])
    assert not world.machines[1].includable(network.view, 16)
    world.run()  # the late one keeps what it hears of epoch 2
    world.begin_epoch([late])
    world.run()
    for machine in world.machines:
        after = machine.includable(network.view, 16)
        assert [each.header for each in after] == headers
        assert {each.epoch for each in after} == {2}
    result = network.block(inclusions=world.machines[late].includable(network.view, 16))
    assert result.enacted == tuple(each.hash for each in headers)
    assert not world.blamed
    assert world.reached(0).count(Stage.APPROVED) == world.reached(0).count(Stage.COLLATED) == 4


def test_the_next_set_decides_without_those_who_left_it() -> None:
    """Validator 0 leaves and a joiner without a machine comes: the three others sign."""
    network = network_at(0)
    network.block([network.raw(USERS[0], bond(network, USERS[0], "joiner"))])
    network.block([network.raw(OPERATORS[0], Unbond(amount=1))])
    collator = Collator(network)
    header = collator.offer([b"x"])
    world = Validators(network)
    world.offer(header, collator.povs[header.hash])
    world.run()
    cross(network, world)
    assert network.validators.keys == (
        *(each.public for each in VALIDATORS[1:]),
        key("joiner consensus").public,
    )
    world.begin_epoch()
    world.run()
    for machine in world.machines:
        (inclusion,) = machine.includable(network.view, 16)
        assert [index for index, _ in inclusion.signed()] == [0, 1, 2]
    assert network.block(inclusions=[inclusion]).enacted == (header.hash,)


def test_a_key_that_was_rotated_away_attests_nothing_in_the_next_epoch() -> None:
    network = network_at(1)
    network.block([network.raw(OPERATORS[1], rotation(network, OPERATORS[1], "fresh"))])
    collator = Collator(network)
    header = collator.offer([b"x"])
    world = Validators(network)
    world.offer(header, collator.povs[header.hash])
    world.run()
    cross(network, world)
    assert network.validators.keys[1] == key("fresh consensus").public
    world.begin_epoch()  # machine 1 was not told of its new key: it falls silent
    world.run()
    (inclusion,) = world.machines[0].includable(network.view, 16)
    assert [index for index, _ in inclusion.signed()] == [0, 2, 3]
    assert network.block(inclusions=[inclusion]).enacted == (header.hash,)


def test_a_signature_that_was_asked_for_in_the_epoch_before_is_not_sent_as_one_of_this() -> None:
    network = network_at(EPOCH_BLOCKS - 2)
    collator = Collator(network)
    header = collator.offer([b"x"])
    world = Validators(network)
    statement = statement_of(header, header.hash, Verdict.VALID)
    old = world.sign(0, statement)
    world.offer(header, collator.povs[header.hash], to=[0])
    world.run()
    cross(network, world)
    world.begin_epoch([0])  # asks for the signature anew; the answer to the first asking comes before it
    assert world.machines[0].handle(StatementSigned(statement=statement, signature=old)) == []
    world.run()
    (effect,) = world.machines[0].handle(PeerConnected(sender=3))
    assert effect.message.epoch == 2


def test_who_leaves_the_set_while_it_executes_signs_nothing() -> None:
    network = network_at(0)
    network.block([network.raw(OPERATORS[0], Unbond(amount=1))])
    while network.height < EPOCH_BLOCKS - 2:
        network.block()
    collator = Collator(network)
    header = collator.offer([b"x"])
    world = Validators(network)
    offer = CandidateOffer(header=header, pov=collator.povs[header.hash])
    effects = world.machines[0].handle(CandidateReceived(sender=COLLATOR, message=offer))
    assert any(isinstance(each, ExecuteCandidate) for each in effects)
    cross(network, world)
    world.begin_epoch()
    assert world.machines[0].handle(Executed(candidate=header.hash, verdict=Verdict.VALID)) == []
