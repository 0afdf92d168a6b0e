"""net.gossip on a fake network: everybody gets each item, once, in bounded memory."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.gossip import Flood
from net.identity import PeerId
from net.lanes import Lane


class Mesh:
    """Floods wired to each other; delivers in an order that a seed decides."""

    def __init__(self, links: list[set[int]], seed: int = 0, **options: object) -> None:
        self.ids = [PeerId(bytes([n]) * 32) for n in range(len(links))]
        self.random = random.Random(seed)
        self.wire: list[tuple[int, int, bytes]] = []
        self.judged: list[list[bytes]] = [[] for _ in links]
        self.copies = 0
        self.floods = [
            Flood(
                send=lambda peer, lane, item, n=n: self._send(n, peer, lane, item),
                connected=lambda n=n: [self.ids[m] for m in sorted(links[n])],
                lane=Lane.TRANSACTIONS,
                choose=random.Random(seed),
                **options,
            )
            for n in range(len(links))
        ]

    def _send(self, sender: int, peer: PeerId, lane: Lane, item: bytes) -> bool:
        assert lane is Lane.TRANSACTIONS
        self.wire.append((sender, self.ids.index(peer), item))
        return True

    def settle(self, valid=lambda _: True) -> None:
        while self.wire:
            sender, receiver, item = self.wire.pop(self.random.randrange(len(self.wire)))
            self.copies += 1
            if self.floods[receiver].first_seen(self.ids[sender], item):
                self.judged[receiver].append(item)
                if valid(item):
                    self.floods[receiver].forward(item)


def full(n: int) -> list[set[int]]:
    return [set(range(n)) - {m} for m in range(n)]


def line(n: int) -> list[set[int]]:
    return [{m for m in (k - 1, k + 1) if 0 <= m < n} for k in range(n)]


@given(st.integers(2, 7), st.integers(0, 1000), st.booleans())
def test_everybody_judges_each_item_once(n: int, seed: int, in_line: bool) -> None:
    mesh = Mesh(line(n) if in_line else full(n), seed)
    items = [b"%d" % index for index in range(5)]
    for index, item in enumerate(items):
        assert mesh.floods[index % n].publish(item)
    mesh.settle()
    for index, judged in enumerate(mesh.judged):
        own = [item for k, item in enumerate(items) if k % n == index]
        assert sorted(judged + own) == items
    assert mesh.copies <= len(items) * n * (n - 1), "at most one copy in each direction of each link"


def test_without_relays_a_full_mesh_costs_one_copy_each() -> None:
    mesh = Mesh(full(6), fanout=0)
    mesh.floods[0].publish(b"item")
    mesh.settle()
    assert mesh.copies == 5
    assert all(judged == [b"item"] for judged in mesh.judged[1:])


def test_fanout_bounds_relays() -> None:
    mesh = Mesh(full(8), fanout=1)
    mesh.floods[0].publish(b"item")
    mesh.settle()
    assert 7 <= mesh.copies <= 14


def test_an_invalid_item_goes_nowhere_and_is_judged_once() -> None:
    mesh = Mesh(line(3))
    mesh.floods[0].publish(b"bad")
    mesh.settle(valid=lambda _: False)
    mesh.wire.append((0, 1, b"bad"))
    mesh.settle(valid=lambda _: False)
    assert mesh.judged == [[], [b"bad"], []]
    assert mesh.floods[1].statistics().duplicates == 1


def test_publishing_twice_sends_once() -> None:
    mesh = Mesh(full(3))
    assert mesh.floods[0].publish(b"item")
    assert not mesh.floods[0].publish(b"item")
    assert len(mesh.wire) == 2


@given(st.lists(st.integers(0, 30), max_size=60))
def test_the_cache_is_bounded(items: list[int]) -> None:
    mesh = Mesh(full(2), cache_items=10)
    flood = mesh.floods[0]
    for item in items:
        flood.publish(b"%d" % item)
        assert flood.statistics().cached <= 10
        assert not flood.publish(b"%d" % item), "the newest is always known"


def test_an_item_evicted_while_it_was_judged_is_still_forwarded() -> None:
    mesh = Mesh(full(3), cache_items=1)
    flood = mesh.floods[0]
    assert flood.first_seen(mesh.ids[1], b"a")
    assert flood.first_seen(mesh.ids[1], b"b")
    assert flood.forward(b"a") == 2


def test_what_could_not_be_sent_is_counted() -> None:
    flood = Flood(send=lambda *_: False, connected=lambda: [PeerId(bytes(32))], lane=Lane.BULK)
    assert flood.publish(b"item")
    stats = flood.statistics()
    assert (stats.published, stats.forwarded, stats.not_sent) == (1, 0, 1)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Flood(send=lambda *_: True, connected=list, lane=Lane.BULK, cache_items=0)
