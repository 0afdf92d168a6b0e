"""Notices reach every chain that consumes: all, once, in order; and cost little where nobody does."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from notices_world import CHAIN, Set, Slash, World, world
from relay_fakes import OPERATORS, USERS
from staking_world import CONTRADICTION, DOUBLE, do, evidence

from consensus.light.slashing_proof import fault_bytes, fault_hash
from consensus.primitives.guest import RelayEndpoint
from consensus.primitives.ids import ZERO_HASH, ChainId, PublicKey
from consensus.relay.notices import feeding, publishing
from consensus.relay.notices.records import MAX_WAITING, NoticeKind, next_digest
from consensus.relay.parameters import Entry
from consensus.relay.receipts import Code
from consensus.relay.transactions import RegisterChain
from enclaves.guests import agora


def check_stream(world: World, notices: list[Slash | Set]) -> None:
    """Numbered without gaps, chained, sets in their places, and adding up to what was taken."""
    slashes = [each for each in notices if isinstance(each, Slash)]
    assert [each.number for each in slashes] == list(range(len(slashes)))
    digest = bytes(ZERO_HASH)
    for each in slashes:
        digest = next_digest(digest, each.body)
        assert each.digest == digest
    before = 0
    for each in notices:
        if isinstance(each, Set):
            assert each.slashes == before
            assert each.digest == (slashes[before - 1].digest if before else ZERO_HASH)
            assert all(other.height <= each.height for other in slashes[:before])
            assert all(other.height > each.height for other in slashes[before:])
        before += isinstance(each, Slash)
    epochs = [each.epoch for each in notices if isinstance(each, Set)]
    assert epochs == sorted(set(epochs))
    totals: dict[tuple[bytes, int], int] = {}
    for each in slashes:
        sign = -1 if each.kind == NoticeKind.LIFTED else 1
        place = (each.account, each.epoch)
        totals[place] = totals.get(place, 0) + sign * each.amount
    for (account, epoch), total in totals.items():
        assert total == world.taken(PublicKey(account), epoch)


MOVES = st.one_of(
    st.just("block"),
    st.just("consume"),
    st.tuples(st.integers(0, 3), st.integers(0, 1), st.sampled_from([DOUBLE, CONTRADICTION])),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(MOVES, min_size=5, max_size=25))
def test_whatever_happens_a_chain_hears_of_all_of_it_once_and_in_order(moves) -> None:
    found = world(jail_epochs=1)
    for move in moves:
        if move == "block":
            found.network.block()
        elif move == "consume":
            found.consume()
        else:
            index, back, votes = move
            epoch = max(1, found.network.epoch - back)
            index %= len(found.network.view.epoch_set(epoch).members)
            found.network.block(evidence=[evidence(found.network, index, epoch=epoch, votes=votes)])
    notices = found.consume_all()
    check_stream(found, notices)
    held = found.state(agora.relay_key())
    if held is not None:
        told = agora.decode_relay(held)
        sets = [each for each in notices if isinstance(each, Set)]
        assert told.missed == 0
        assert told.next_slash == sum(isinstance(each, Slash) for each in notices)
        assert (told.epoch, told.set_root) == ((sets[-1].epoch, sets[-1].root) if sets else (0, ZERO_HASH))


def test_a_notice_says_whom_for_what_and_names_the_fault() -> None:
    found = world()
    piece = evidence(found.network, 2)
    (convicted,) = found.network.block(evidence=[piece]).offences
    found.consume()
    (slash,) = (each for each in found.received[CHAIN] if isinstance(each, Slash))
    key = found.network.view.epoch_set(1).members[2].consensus_key
    assert (slash.kind, slash.number, slash.epoch, slash.offence, slash.height) == (1, 0, 1, 2, 1)
    assert (slash.account, slash.key) == (OPERATORS[2].public, key)
    assert slash.amount == convicted.slashed > 0
    assert slash.fraction_ppb == 562_500_000
    assert slash.fault == fault_hash(fault_bytes(piece, key, found.network.hash))


def test_a_boundary_blocks_own_slashes_come_before_the_set_above_it() -> None:
    found = world(epoch_blocks=4)
    while found.network.height < 3:
        found.network.block()
    found.network.block(evidence=[evidence(found.network, 2)])
    slash, after = found.consume_all()
    assert isinstance(slash, Slash)
    assert isinstance(after, Set)
    assert (after.epoch, after.slashes, slash.height) == (2, 1, 4)


def test_accomplices_convicted_later_raise_what_the_first_pays_by_a_notice_of_its_own() -> None:
    found = world()
    for index in (0, 1):
        found.network.block(evidence=[evidence(found.network, index)])
    for _ in range(2):
        found.network.block()
    notices = found.consume_all()
    mine = [each for each in notices if isinstance(each, Slash) and each.account == OPERATORS[0].public]
    assert len(mine) == 2
    assert mine[1].fault == ZERO_HASH
    assert sum(each.amount for each in mine) == found.taken(OPERATORS[0].public, 1)
    check_stream(found, notices)


def test_a_chain_that_does_not_consume_costs_a_bounded_lane_and_gets_the_newest_set() -> None:
    found = world(evidence_epochs=40, unbonding_epochs=40, jail_epochs=1)
    network = found.network
    for epoch in range(1, 40):
        piece = evidence(network, 0, epoch=epoch, votes=CONTRADICTION)
        network.block(evidence=[piece] if epoch < 3 else [])
        while network.epoch == epoch:
            network.block()
        assert found.waiting() <= MAX_WAITING
    notices = found.consume_all()
    sets = [each.epoch for each in notices if isinstance(each, Set)]
    assert sets[-1] >= 40  # the newest
    assert len(sets) < 25  # and not all that were in between
    check_stream(found, notices)


def test_what_is_kept_no_more_shows_as_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "MAX_KEPT", 3)
    monkeypatch.setattr(feeding, "MAX_WAITING", 1)
    found = world(epoch_blocks=200, evidence_epochs=1)
    for index in range(4):
        for votes in (CONTRADICTION, DOUBLE):
            found.network.block(evidence=[evidence(found.network, index, votes=votes)])
    for _ in range(3):
        found.network.block()
    notices = found.consume_all()
    numbers = [each.number for each in notices if isinstance(each, Slash)]
    assert numbers[0] == 0
    assert numbers[1:] == list(range(numbers[1], numbers[1] + 3))
    assert numbers[1] > 1
    told = agora.decode_relay(found.state(agora.relay_key()))
    assert told.missed == numbers[1] - 1
    assert told.next_slash == numbers[-1] + 1


def test_many_chains_are_fed_a_bounded_number_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "MAX_FED", 2)
    found = world(chains=5, epoch_blocks=50, correlation_factor=0)
    found.network.block(evidence=[evidence(found.network, 1)])
    fed = [sum(bool(found.waiting(ChainId(each))) for each in range(1, 6))]
    for _ in range(3):
        found.network.block()
        fed.append(sum(bool(found.waiting(ChainId(each))) for each in range(1, 6)))
    assert fed == [2, 4, 5, 5]
    found.network.block(evidence=[evidence(found.network, 2)])
    for _ in range(3):
        found.network.block()
    for chain in map(ChainId, range(1, 6)):
        slashes = [each for each in found.consume_all(chain) if isinstance(each, Slash)]
        assert [each.number for each in slashes] == [0, 1]


def test_a_chain_hears_of_what_happens_from_its_registration_on() -> None:
    found = world(epoch_blocks=50, correlation_factor=0)
    network = found.network
    network.block(evidence=[evidence(network, 1)])
    pairs = agora.genesis_pairs(b"\1" * 32, {}, None)
    entries = tuple(Entry(key=name, value=value) for name, value in pairs)
    action = RegisterChain(
        name="late",
        code=agora.wasm(),
        entries=entries,
        terms=network.genesis.chains[0].terms,
        balance=10**6,
    )
    assert do(network, USERS[1], action).code == Code.OK
    network.block(evidence=[evidence(network, 2)])
    view = network.view
    payloads = view.messages(ChainId(2), RelayEndpoint(), 0, found.waiting(ChainId(2)))
    assert [int.from_bytes(each[1:9], "little") for each in payloads] == [1]


def test_a_block_without_news_sends_nothing() -> None:
    found = world(epoch_blocks=50)
    assert found.network.block(evidence=[evidence(found.network, 1)]).counters.messages == 1
    assert [found.network.block().counters.messages for _ in range(3)] == [0, 0, 0]
    assert found.waiting() == 1
