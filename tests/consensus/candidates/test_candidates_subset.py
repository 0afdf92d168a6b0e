"""Backing under `subset`: who opted in executes and decides; a dispute among them calls everybody."""

import sys
from pathlib import Path

import pytest
from backing_world import Validators
from candidate_fakes import Collator

sys.path.insert(0, str(Path(__file__).parents[1] / "relay" / "security"))

from security_world import CHAIN, allocate, opted_in, subset_network

from consensus.agreement.statements import Verdict
from consensus.candidates.backing_events import ExecuteCandidate
from consensus.candidates.lifecycle import Stage
from consensus.relay.receipts import Code
from consensus.relay.security.attesters import attesters_record


class Watched(Validators):
    """Notes who executes."""

    executed: list[int]

    def perform(self, own: int, effect: object) -> None:
        if isinstance(effect, ExecuteCandidate):
            self.executed.append(own)
        super().perform(own, effect)


def watched(network, seed: int = 0, byzantine=frozenset()) -> Watched:
    Watched.executed = []
    return Watched(network, seed, byzantine)


@pytest.mark.parametrize("seed", range(5))
def test_only_who_opted_in_executes_and_any_leader_includes(seed: int) -> None:
    network = opted_in(subset_network(), {0: 100, 1: 100, 2: 100})
    collator = Collator(network)
    headers = [collator.offer([b"%d" % index]) for index in range(2)]
    world = watched(network, seed)
    for header in headers:
        world.offer(header, collator.povs[header.hash])
    world.run()
    assert sorted(world.executed) == [0, 0, 1, 1, 2, 2]
    for machine in world.machines:
        found = machine.includable(network.view, 16)
        assert [each.header for each in found] == headers
        assert {index for each in found for index, _ in each.signed()} == {0, 1, 2}
    assert Stage.APPROVED in world.reached(3)
    result = network.block(inclusions=world.machines[3].includable(network.view, 16))
    assert result.enacted == tuple(each.hash for each in headers)
    assert not world.blamed


@pytest.mark.parametrize("liar", [0, 1, 2])
def test_a_dispute_calls_everybody_and_all_stake_decides(liar: int) -> None:
    """The liar alone has more than 2/3 of the weight, and is outvoted by those who opted in to nothing."""
    amounts = {each: 900 if each == liar else 100 for each in range(3)}
    network = opted_in(subset_network(), amounts)
    collator = Collator(network)
    header = collator.offer([b"x"])
    world = watched(network, byzantine=frozenset({liar}))
    world.offer(header, collator.povs[header.hash])
    world.run()
    assert sorted(world.executed) == [0, 1, 2, 3]
    for machine in world.machines:
        (inclusion,) = machine.includable(network.view, 16)
        assert inclusion.verdict == Verdict.VALID
        assert [index for index, _ in inclusion.signed()] == [each for each in range(4) if each != liar]
    assert network.block(inclusions=[inclusion]).enacted == (header.hash,)
    world.advance()
    world.run()
    (said,) = world.machines[3].contrary()
    assert said.validator == liar
    account = network.view.epoch_set(network.epoch).members[liar].account
    before = network.view.self_stake(account)
    network.block(statements=[said])
    share = network.view.parameters.slash_accusation_ppb
    assert before - network.view.self_stake(account) == 900 * share // 10**9


def test_what_is_in_flight_is_attested_anew_by_the_next_attesters() -> None:
    network = opted_in(subset_network(), {0: 100, 1: 100})
    assert allocate(network, 2, 100) is Code.OK
    assert allocate(network, 0, 0) is Code.OK
    collator = Collator(network)
    header = collator.offer([b"x"])
    world = watched(network)
    world.offer(header, collator.povs[header.hash])
    world.run()
    assert sorted(world.executed) == [0, 1]
    epoch = network.epoch
    while network.epoch < epoch + 2:
        before = network.epoch
        network.block()
        world.advance()
        world.run()
        if network.epoch > before:
            world.begin_epoch()
            world.run()
    members = [each.index for each in attesters_record(network.view, CHAIN, network.epoch).members]
    assert members == [1, 2]
    assert sorted(world.executed) == [0, 1, 2]
    (inclusion,) = world.machines[3].includable(network.view, 16)
    assert [index for index, _ in inclusion.signed()] == [1, 2]
    assert network.block(inclusions=[inclusion]).enacted == (header.hash,)
