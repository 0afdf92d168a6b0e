"""Which tree nodes a store holds: those of its window of states and of its snapshots, and no others."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from store_chain import GENESIS, StoreChain, reachable

from consensus.primitives.errors import LocalFault
from consensus.primitives.ids import Hash, Height, Milliseconds
from consensus.primitives.tree import get_many
from node import store_states
from node.state_sync.offering import KEPT, LEASE_S
from node.store import FinalBlock, Store
from node.store_states import WAITING

PERIODS_MS = st.sampled_from([0, 10, 25])
RETENTIONS = st.sampled_from([1, 2, 3, 0])
CHANGES = st.dictionaries(st.integers(0, 5), st.none() | st.integers(0, 1), max_size=3)
FRESH_CHANGES = st.dictionaries(st.integers(0, 30), st.just(0), max_size=3)


def actions(changes: st.SearchStrategy) -> st.SearchStrategy:
    """What may happen to a store: batches of blocks some time apart, leases, time, restarts.

    Every other block is a snapshot, and mostly the oldest one is asked for: those between fall out of use.
    """
    blocks = st.lists(st.tuples(st.sampled_from([0, 10]), changes), min_size=1, max_size=4)
    return st.lists(
        st.one_of(
            blocks,
            blocks,
            blocks,
            st.tuples(st.just("lease"), st.sampled_from([0, 0, 1, 2])),
            st.tuples(st.just("wait"), st.sampled_from([LEASE_S / 2, LEASE_S])),
            st.tuples(st.just("restart"), RETENTIONS, PERIODS_MS),
        ),
        min_size=8,
        max_size=25,
    )


@dataclass
class World:
    """A store, its chain, and what the store should hold of it."""

    path: Path
    retention: int = 3
    period_ms: int = 10
    fresh: bool = False  # no block brings back what there was before
    chain: StoreChain = field(default_factory=StoreChain)
    now_s: float = 0.0
    time_ms: int = 5
    oldest: int = 0  # state of the window
    noted: list[Height] = field(default_factory=list)  # newest snapshots when a block was last written

    def __post_init__(self) -> None:
        self.versions = [reachable(self.chain.memory, self.chain.root)]
        self.open()
        self.store.initialise(GENESIS, self.chain.root, self.chain.nodes)

    def open(self) -> None:
        self.store = Store(self.path, retention=self.retention, snapshot_ms=self.period_ms, sync=False)
        self.store.offering._clock = lambda: self.now_s

    def act(self, action: list | tuple) -> None:
        match action:
            case "lease", int(index):
                heights = self.store.offering.heights()
                if heights:
                    assert self.store.offering.lease(heights[index % len(heights)])
            case "wait", float(seconds):
                self.now_s += seconds
            case "restart", int(retention), int(period_ms):
                self.store.close()
                self.retention, self.period_ms = retention, period_ms
                self.open()
                assert self.store.offering.newest() == (self.noted if period_ms else [])
            case _:
                self.persist([self.block(after_ms, changes) for after_ms, changes in action])

    def block(self, after_ms: int, changes: dict[int, int | None]) -> FinalBlock:
        self.time_ms += after_ms
        if self.fresh:
            changes = {key: 10 * len(self.versions) + (value or 0) for key, value in changes.items()}
        final = self.chain.block(changes)
        self.versions.append(reachable(self.chain.memory, self.chain.versions[-1][0]))
        header = replace(final.block.header, time_ms=Milliseconds(self.time_ms))
        return replace(final, block=replace(final.block, header=header))

    def persist(self, batch: list[FinalBlock]) -> None:
        self.store.persist_blocking(batch)
        self.noted = self.store.offering.newest()
        if self.retention:
            wanted = max(self.oldest, self.store.height() - self.retention)
            self.oldest = min(wanted, self.oldest + store_states.HEIGHTS_PER_BATCH)

    def waited_for(self) -> set[int]:
        with self.store.reading() as txn, txn.cursor(db=self.store.databases["waiting"]) as cursor:
            return {WAITING.unpack(key)[0] for key in cursor.iternext(values=False)}

    def drain(self) -> None:
        """Blocks that change nothing, until nothing waits for a snapshot that is gone."""
        for _ in range(500):
            if self.waited_for() <= set(self.store.offering.heights()):
                return
            self.persist([self.block(0, {})])
        raise AssertionError("what is released never goes")

    def check(self) -> None:
        held, newest = self.store.offering.heights(), self.store.height()
        assert newest == len(self.versions) - 1
        assert self.store.oldest_state() == self.oldest
        whole = {*range(self.oldest, newest + 1), *held}
        for height in whole:
            root, values = self.chain.versions[height]
            assert get_many(self.store, root, list(values)) == list(values.values())
        here = set(self.names())
        wanted = set().union(*(self.versions[height] for height in whole))
        assert wanted <= here
        for snapshot in {*held, *self.waited_for()}:
            before = set().union(*self.versions[: snapshot + 1])
            after = set().union(*self.versions[snapshot + 1 :])
            wanted |= self.versions[snapshot] | before & after  # what is before it and again after it
        assert here <= wanted

    def names(self) -> Iterator[Hash]:
        with self.store.reading() as txn, txn.cursor(db=self.store.databases["nodes"]) as cursor:
            yield from (Hash(bytes(key)) for key in cursor.iternext(values=False))


@pytest.mark.parametrize("fresh", [True, False])
@given(data=st.data(), released=st.sampled_from([1, 5, 1_000]), heights=st.sampled_from([2, 500]))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=150,
    deadline=None,
)
def test_a_store_has_the_nodes_of_its_window_and_of_its_snapshots(
    tmp_path_factory, fresh, data, released, heights
) -> None:
    """Whatever is written, fetched, forgotten or restarted, and however little is done in one transaction.

    Where nothing comes back, what a snapshot's neighbours have in common the snapshot has: then the store
    holds exactly what is reachable.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store_states, "RELEASED_PER_BATCH", released)
        patched.setattr(store_states, "HEIGHTS_PER_BATCH", heights)
        world = World(
            tmp_path_factory.mktemp("store"),
            retention=data.draw(RETENTIONS),
            period_ms=data.draw(PERIODS_MS),
            fresh=fresh,
        )
        for action in data.draw(actions(FRESH_CHANGES if fresh else CHANGES)):
            world.act(action)
            world.check()
        world.drain()
        world.check()
        world.act(("restart", max(1, world.retention), 0))
        world.persist([world.block(0, {})])
        world.drain()
        while world.oldest < world.store.height() - world.retention:
            world.persist([world.block(0, {})])
        world.check()
        assert not world.waited_for()
        assert world.store.node_count() == len(set().union(*world.versions[world.oldest :]))
        world.store.close()


def test_a_snapshot_costs_its_own_nodes_and_not_those_of_every_block_after_it(tmp_path) -> None:
    world = World(tmp_path, retention=2, period_ms=1_000, fresh=True)
    world.persist([world.block(0, {0: 0}), world.block(1_000, {1: 1})])
    (snapshot,) = world.store.offering.heights()
    for number in range(300):
        world.persist([world.block(1, {number % 31: number})])
    kept = [snapshot, *range(world.oldest, world.store.height() + 1)]
    assert world.oldest > snapshot + 290
    assert world.store.node_count() == len(set().union(*(world.versions[each] for each in kept)))
    world.check()
    world.store.close()


def test_what_waited_for_a_snapshot_goes_on_waiting_for_the_older_one(tmp_path) -> None:
    """Two snapshots next to each other; the older one is being fetched, and outlives the other."""
    world = World(tmp_path, retention=1, period_ms=10, fresh=True)
    for after_ms in (0, 10, 10):
        world.persist([world.block(after_ms, {0: 0})])
    assert world.store.offering.lease(Height(2))
    for key in range(1, 8):  # leaves of genesis, which both have
        world.persist([world.block(0, {key: 0})])
    assert world.waited_for() == {2, 3}
    for _ in range(KEPT):
        world.persist([world.block(10, {0: 0})])
    assert world.store.offering.heights()[:2] == [2, 11]
    world.drain()
    assert world.waited_for() == {2}
    world.check()
    world.store.close()


def test_a_node_that_comes_back_is_still_there_for_the_snapshot_before(tmp_path) -> None:
    """Within the window, so that both lives are counted at once, and both end while the snapshot is kept."""
    world = World(tmp_path, retention=3, period_ms=10)
    world.persist([world.block(0, {1: 1})])
    world.persist([world.block(10, {2: 2})])
    world.persist([world.block(0, {1: 9}), world.block(0, {1: 1}), world.block(0, {1: 9})])
    for number in range(6):
        world.persist([world.block(0, {3: number})])
    assert world.store.offering.heights() == [2]
    world.check()
    world.store.close()


def test_what_is_offered_after_a_life_without_snapshots_is_whole(tmp_path) -> None:
    """What an earlier life offered was released meanwhile, and must not be offered again."""
    world = World(tmp_path, retention=1, period_ms=10)
    for number in range(8):
        world.persist([world.block(7, {1: number, 2: number})])
    assert len(world.store.offering.heights()) == KEPT
    for period_ms in (0, 10):
        world.act(("restart", 1, period_ms))
        assert world.store.offering.heights() == []
        world.persist([world.block(1, {3: period_ms})])
    world.check()
    world.store.close()


def test_a_store_of_another_form_is_refused_with_what_to_do(tmp_path) -> None:
    store = Store(tmp_path, sync=False)
    store.initialise(GENESIS, *_genesis())
    with store.writing() as txn:
        txn.put(b"format", b"phalanx-store-1", db=store.databases["meta"])
    store.close()
    for _ in range(2):  # it is closed again: nothing holds the directory
        with pytest.raises(LocalFault, match=r"phalanx-store-1.*run the version that wrote it, or delete"):
            Store(tmp_path, sync=False)


def test_a_row_that_names_a_node_that_is_not_here_is_a_local_fault(tmp_path) -> None:
    world = World(tmp_path, retention=1, period_ms=0)
    world.persist([world.block(1, {1: 1})])
    gone = next(iter(world.versions[0] - world.versions[1]))
    with world.store.writing() as txn:
        txn.delete(gone, db=world.store.databases["nodes"])
    with pytest.raises(LocalFault, match="inconsistent"):
        world.persist([world.block(1, {1: 2})])
    assert world.store.height() == Height(1)
    world.store.close()


def _genesis() -> tuple[Hash, dict[Hash, bytes]]:
    chain = StoreChain()
    return chain.root, dict(chain.nodes)
