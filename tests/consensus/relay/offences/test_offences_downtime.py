"""Members that take no part are jailed after their epochs, at no cost, and never too many at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relay_fakes import OPERATORS, Network
from staking_world import quick
from voting_world import asked, votes_of

from consensus.primitives.ids import Epoch, PublicKey, Stake
from consensus.relay.epochs import EpochMember
from consensus.relay.offences import collecting
from consensus.relay.offences.downtime import MIN_SAMPLES, absent
from consensus.relay.offences.table import OffenceKind
from consensus.relay.rewards.participation import MemberParticipation
from consensus.relay.stake.records import Standing


def live(network: Network, voters, upto_epoch: int) -> list:
    """Blocks in which `voters`, as far as they are members, vote for whatever is asked; who was convicted."""
    found = []
    while network.epoch < upto_epoch:
        sample = asked(network)
        members = network.view.epoch_set(network.epoch).members
        who = [index for index, each in enumerate(members) if each.account in voters]
        if sample is None or sample.seen:
            result = network.block()
        else:
            result = network.block(votes=votes_of(network, who, sample))
        found += [(each.account, each.epoch, each.offence, each.slashed) for each in result.offences]
    return found


def watched(**parameters: object) -> Network:
    return quick(epoch_blocks=40, participation_interval=4, downtime_epochs=2, **parameters)


def test_who_is_away_for_all_epochs_of_the_window_is_jailed_at_no_cost() -> None:
    network = watched()
    away, *there = (each.public for each in OPERATORS)
    assert live(network, there, 2) == []
    network.block()
    assert network.view.validator(away).standing == Standing.ACTIVE
    found = live(network, there, 4)
    assert found == [(away, 2, OffenceKind.DOWNTIME, 0)]
    assert network.view.validator(away).standing == Standing.JAILED
    assert network.view.self_stake(away) == 100
    assert live(network, there, 6) == []


def test_downtime_costs_what_the_parameter_says() -> None:
    network = watched(slash_downtime_ppb=50_000_000)
    away, *there = (each.public for each in OPERATORS)
    assert live(network, there, 4) == [(away, 2, OffenceKind.DOWNTIME, 5)]


def test_who_is_away_is_judged_again_after_a_block_without_room(monkeypatch) -> None:
    """As long as a cut goes on nobody is convicted, for being away neither."""
    network = watched()
    away, *there = (each.public for each in OPERATORS)
    assert live(network, there, 3) == []
    with monkeypatch.context() as patch:
        patch.setattr(collecting, "MAX_POOLS", 0)
        assert network.block().offences == ()
    assert live(network, there, 4) == []
    assert live(network, there, 5) == [(away, 3, OffenceKind.DOWNTIME, 0)]


def test_no_more_than_a_third_is_jailed_for_being_away() -> None:
    """Of twelve equal parts F is three: were it four members of four, one may go."""
    network = watched(downtime_ppb=1_000_000_000)
    while network.epoch < 4:
        sample = asked(network)
        three = [0, 1, 2]
        if sample is not None and not sample.seen and network.height % 3:
            three = [1, 2, 3] if network.height % 2 else [0, 2, 3]
        who = [each for each in three if each < len(network.validators)]
        votes = votes_of(network, who, sample) if sample is not None and not sample.seen else None
        network.block(votes=votes)
    jailed = [each for each in OPERATORS if network.view.validator(each.public).standing == Standing.JAILED]
    assert len(jailed) == 1


SEEN = st.integers(0, 20)


@given(
    st.lists(st.lists(st.none() | st.tuples(SEEN, st.integers(0, 20)), min_size=5, max_size=5), min_size=1),
    st.integers(0, 10**9),
)
def test_absent_is_who_was_too_rarely_seen_in_every_epoch(rows, least) -> None:
    members = [
        EpochMember(
            name=f"v{index}",
            account=PublicKey(bytes([index]) * 32),
            consensus_key=PublicKey(bytes(32)),
            identity_key=PublicKey(bytes(32)),
            address="",
            stake=Stake(1),
        )
        for index in range(5)
    ]
    turnouts = [
        {
            member.account: MemberParticipation(
                expected=part[1], seen=min(part), proposed=0, missed_proposals=0, included=0
            )
            for member, part in zip(members, row, strict=True)
            if part is not None
        }
        for row in rows
    ]
    found = absent(members, turnouts, least)
    for index, member in enumerate(members):
        parts = [row[index] for row in rows]
        bad = all(
            part is not None and part[1] >= MIN_SAMPLES and min(part) * 10**9 < least * part[1]
            for part in parts
        )
        assert (member in found) == bad
    seen = [turnouts[-1][each.account].seen for each in found]
    assert seen == sorted(seen)


@pytest.mark.parametrize("epochs", [1, 3])
def test_whoever_was_not_in_all_sets_of_the_window_is_not_judged_by_it(epochs: int) -> None:
    network = quick(
        epoch_blocks=40,
        participation_interval=4,
        downtime_epochs=epochs,
        evidence_epochs=3,
        unbonding_epochs=3,
    )
    away, *there = (each.public for each in OPERATORS)
    found = live(network, there, epochs + 1)
    network.block()
    assert found == []
    assert (network.view.validator(away).standing == Standing.JAILED) == (network.epoch > epochs)
    assert Epoch(epochs + 1) == network.epoch
