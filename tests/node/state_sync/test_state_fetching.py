"""Which piece is asked of whom: all arrives while one honest peer serves, whoever stalls, goes or lies."""

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.agreement.messages import FLAG_BOUNDARY, genesis_header
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Height, Milliseconds
from consensus.primitives.tree import FIRST_KEY
from net.identity import PeerId
from node.state_sync.arriving import TreeRange
from node.state_sync.fetching import PATIENCE_S, PER_PEER, REST_S, SLOW_ANSWERS, Fetching
from node.state_sync.messages import PieceFound, PieceGone
from node.state_sync.offering import KEPT, LEASE_S, LONGEST_LEASE_S, Offering

PEERS = [PeerId(bytes([number]) * 32) for number in range(1, 5)]
HONEST, STALLING, LYING, GONE = PEERS


def tree_range(number: int) -> TreeRange:
    return TreeRange(
        root=Hash(number.to_bytes(32, "big")), first=FIRST_KEY, last=Hash(b"\xff" * 32), weight=1
    )


@given(ranges=st.integers(1, 40), seed=st.integers(0, 1 << 30))
@settings(deadline=None, max_examples=60)
def test_every_range_arrives_while_one_honest_peer_serves(ranges, seed) -> None:
    chance = random.Random(seed)
    fetching = Fetching(Height(5), [tree_range(number) for number in range(ranges)])
    for peer in PEERS:
        fetching.serves(peer)
    arrived: list[Hash] = []
    now, refused = 0.0, False
    while fetching.outstanding:
        requests = fetching.requests(now)
        assert not refused or LYING not in [peer for peer, _ in requests]
        chance.shuffle(requests)
        for peer, request in requests:
            answer = PieceFound(root=request.root, first=request.first, piece=b"")
            gone = PieceGone(height=request.height, root=request.root, first=request.first)
            if peer == HONEST:
                found = fetching.found(peer, answer)
                assert found is not None
                arrived.append(found.root)
                assert fetching.found(peer, answer) is None, "an answer counts once"
            elif peer == LYING:
                found = fetching.found(peer, answer)
                if found is not None:
                    fetching.refused(peer, found)
                    refused = True
                fetching.serves(LYING)
            elif peer == GONE:
                fetching.gone(peer, gone)
        now += chance.uniform(0.1, PATIENCE_S)
        assert now < 10_000
    assert sorted(arrived) == [tree_range(number).root for number in range(ranges)]


def test_a_peer_has_few_requests_at_a_time_and_rests_when_it_is_slow() -> None:
    fetching = Fetching(Height(5), [tree_range(number) for number in range(50)])
    fetching.serves(STALLING)
    now = 0.0
    for _ in range(SLOW_ANSWERS):
        assert len(fetching.requests(now)) == PER_PEER
        assert fetching.requests(now) == []
        now += PATIENCE_S
    assert fetching.requests(now) == []
    fetching.serves(HONEST)
    assert {peer for peer, _ in fetching.requests(now)} == {HONEST}
    assert STALLING in {peer for peer, _ in fetching.requests(now + REST_S)}
    assert fetching.outstanding == 50


def test_a_range_that_one_let_lie_goes_to_another_though_the_first_serves_the_rest() -> None:
    fetching = Fetching(Height(5), [tree_range(number) for number in range(2)])
    slow, quick = sorted((HONEST, STALLING))  # of two that are idle the first is asked
    fetching.serves(slow)
    held, other = fetching.requests(0.0)
    fetching.found(slow, PieceFound(root=other[1].root, first=other[1].first, piece=b""))
    fetching.serves(quick)
    assert fetching.requests(PATIENCE_S) == [(quick, held[1])]
    fetching.lost(quick)
    assert fetching.requests(PATIENCE_S) == [(slow, held[1])]  # better than nobody


def header(height: int, time_ms: int, flags: int = 0):
    genesis = genesis_header(
        chain_id_hash=ZERO_HASH, epoch=Epoch(1), time_ms=Milliseconds(0), validators_hash=ZERO_HASH
    )
    return replace(genesis, height=Height(height), time_ms=Milliseconds(time_ms), flags=flags)


def test_the_first_block_of_each_period_is_a_snapshot_unless_it_ends_an_epoch() -> None:
    offering = Offering(100, clock=lambda: 0.0)
    times = [(1, 10), (2, 90), (3, 120), (4, 130), (5, 350), (6, 360), (7, 410)]
    noted = [height for height, time_ms in times if offering.note(header(height, time_ms))]
    assert noted == [3, 5, 7]
    assert offering.heights() == noted[-KEPT:]
    assert not offering.note(header(8, 550, FLAG_BOUNDARY))
    restarted = Offering(100, clock=lambda: 0.0)
    restarted.restore(offering.newest(), header(8, 550))
    assert restarted.heights() == offering.heights()
    assert not restarted.note(header(9, 560))
    assert restarted.note(header(10, 600))


def test_a_state_that_is_fetched_stays_within_a_bound() -> None:
    now = 0.0
    offering = Offering(100, clock=lambda: now)
    for height in range(1, 4):
        offering.note(header(height, 100 * height))
    assert offering.heights() == [2, 3]
    assert offering.lease(Height(2))
    assert not offering.lease(Height(1))
    for height in range(4, 8):
        offering.note(header(height, 100 * height))
    assert offering.heights()[0] == 2
    while now < LONGEST_LEASE_S:
        assert offering.lease(Height(2))
        now += LEASE_S / 2
    now += LEASE_S
    assert offering.heights() == [6, 7]
    assert not offering.lease(Height(2))


def test_without_a_period_nothing_is_offered() -> None:
    offering = Offering(0)
    assert not any(offering.note(header(height, 10**6 * height)) for height in range(1, 5))
    assert offering.heights() == []
