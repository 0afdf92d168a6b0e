"""The store: counted tree nodes, batches that are durable or not there, one network per directory."""

import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from store_chain import GENESIS, StoreChain, reachable

from consensus.primitives.errors import LocalFault, UserError
from consensus.primitives.ids import ZERO_HASH, Hash, Height
from consensus.primitives.tree import MissingNode, get_many
from node.opening import initialise
from node.store import Store, VoidItem

KEYS = st.integers(0, 30)
CHANGES = st.dictionaries(KEYS, st.none() | st.integers(0, 3), max_size=6)


def opened(path: Path, retention: int = 3) -> Store:
    store = Store(path, retention=retention, sync=False)
    chain = StoreChain()
    store.initialise(GENESIS, chain.root, chain.nodes)
    return store


@dataclass
class Run:
    """A store and everything that it should be able to say."""

    store: Store
    chain: StoreChain = field(default_factory=StoreChain)

    def add(self, *blocks: dict) -> None:
        self.store.persist_blocking([self.chain.block(changes) for changes in blocks])


@given(batches=st.lists(st.lists(CHANGES, min_size=1, max_size=4), max_size=8), retention=st.integers(1, 5))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=40,
    deadline=None,
)
def test_a_store_has_exactly_the_nodes_of_the_retained_states(tmp_path_factory, batches, retention) -> None:
    run = Run(opened(tmp_path_factory.mktemp("store"), retention))
    for batch in batches:
        run.add(*batch)
        newest = run.store.height()
        oldest = max(0, newest - retention)
        assert run.store.oldest_state() == oldest
        wanted: set[Hash] = set()
        for height in range(oldest, newest + 1):
            root, values = run.chain.versions[height]
            names = list(values)
            assert get_many(run.store, root, names) == [values[name] for name in names]
            wanted |= reachable(run.store, root)
        assert run.store.node_count() == len(wanted)
    run.store.close()


def test_retention_zero_keeps_every_state(tmp_path) -> None:
    run = Run(opened(tmp_path, retention=0))
    for value in range(10):
        run.add({1: value, 2: value + 1})
    assert run.store.oldest_state() == 0
    for root, values in run.chain.versions:
        assert get_many(run.store, root, list(values)) == list(values.values())
    run.store.close()


def test_a_pruned_state_is_said_to_be_gone(tmp_path) -> None:
    run = Run(opened(tmp_path, retention=1))
    run.add({1: 1}, {1: 2}, {1: 3})
    root, values = run.chain.versions[1]
    with pytest.raises(MissingNode):
        get_many(run.store, root, list(values))
    run.store.close()


def test_a_block_is_found_by_everything_that_names_it(tmp_path) -> None:
    run = Run(opened(tmp_path))
    run.add({1: 1}, {2: 2})
    run.store.close()
    store = opened(tmp_path)
    for final in run.chain.blocks:
        assert store.block(final.height) == final.block
        assert store.height_of(final.hash) == final.height
        assert store.receipts(final.height) == final.receipts
        assert [store.place(each) for each in final.transactions] == [final.height]
    assert store.height() == 2
    assert store.block(3) is None
    assert store.place(ZERO_HASH) is None
    store.close()


def test_a_proof_goes_up_to_the_next_certificate(tmp_path) -> None:
    run = Run(opened(tmp_path))
    one, two, three = (run.chain.block({1: value}) for value in range(3))
    path_proof = replace(three.proof, path=(two.block.header, three.block.header))
    run.store.persist_blocking([replace(one, proof=path_proof), replace(two, proof=path_proof), three])
    proof = run.store.proof(1)
    assert proof is not None
    assert proof.path == (two.block.header, three.block.header)
    assert proof.certificate == three.proof.certificate
    chain = run.store.chain(1, 2)
    assert [each.header.height for each in chain.blocks] == [1, 2]
    assert chain.proof is not None
    assert chain.proof.path == (three.block.header,)
    assert run.store.chain(4, 9).blocks == ()
    run.store.close()


def test_a_transaction_counts_where_it_took_effect(tmp_path) -> None:
    run = Run(opened(tmp_path))
    first, second = run.chain.block({1: 1}), run.chain.block({1: 2})
    name = first.transactions[0]
    void = replace(second.receipts, void=(VoidItem(name=name, reason="its nonce is used up"),))
    run.store.persist_blocking([first, replace(second, transactions=(name,), receipts=void)])
    assert run.store.place(name) == 1
    run.store.close()


def test_povs_go_after_their_time(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("node.store.POV_RETENTION", 2)
    run = Run(opened(tmp_path))
    young, old = Hash(b"y" * 32), Hash(b"o" * 32)
    trio.run(run.store.put_povs, [(old, b"old", Height(1)), (young, b"young", Height(3))])
    run.add({1: 1}, {1: 2}, {1: 3})
    assert run.store.pov(old) == b"old"
    run.add({1: 4})
    assert run.store.pov(old) is None
    assert run.store.pov(young) == b"young"
    run.store.close()


def test_the_directory_of_another_network_is_refused(tmp_path) -> None:
    store = opened(tmp_path)
    with pytest.raises(UserError, match="belongs to network"):
        store.initialise(Hash(b"z" * 32), ZERO_HASH, {})
    store.close()


def test_what_is_no_store_is_a_local_fault(tmp_path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"this is not a database" * 1_000)
    with pytest.raises(LocalFault, match="can not be opened"):
        Store(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LocalFault, match="can not be opened"):
        Store(tmp_path / "file" / "store")


def child(mode: str, path: Path) -> subprocess.Popen:
    script = Path(__file__).parent / "store_chain.py"
    return subprocess.Popen(
        [sys.executable, str(script), mode, str(path)], stdout=subprocess.PIPE, text=True, bufsize=1
    )


def test_a_kill_at_any_moment_loses_nothing_that_was_said_to_be_durable(tmp_path) -> None:
    """Three lives of a process that persists batches and says each height once it is durable."""
    height = 0
    for life in range(3):
        with child("persist", tmp_path) as writer:
            assert writer.stdout is not None
            said = int(writer.stdout.readline())
            assert said >= height, "it went on from where the last life had come"
            time.sleep(0.05 + 0.03 * life)
            writer.send_signal(signal.SIGKILL)
            said = max([said, *map(int, writer.stdout.read().split())])
        store = opened(tmp_path)
        height = store.height()
        assert height >= said
        chain = StoreChain()
        for number in range(1, height + 1):
            final = chain.next()
            assert store.block(number) == final.block
        root, values = chain.versions[-1]
        assert get_many(store, root, list(values)) == list(values.values())
        wanted: set[Hash] = set()
        for root, _ in chain.versions[-4:]:
            wanted |= reachable(store, root)
        assert store.node_count() == len(wanted)
        store.close()


def test_a_full_disk_ends_writing_in_one_sentence_and_loses_nothing(tmp_path) -> None:
    with child("fill", tmp_path) as writer:
        assert writer.stdout is not None
        *heights, sentence = writer.stdout.read().splitlines()
    assert "can not be written" in sentence
    assert "make room" in sentence
    with child("persist", tmp_path) as writer:  # there is room again
        assert writer.stdout is not None
        assert int(writer.stdout.readline()) > int(heights[-1])
        writer.kill()


def test_old_blocks_leave_with_everything_that_names_them(tmp_path) -> None:
    chain = StoreChain()
    store = Store(tmp_path, retention=2, retention_blocks=4, sync=False)
    store.initialise(GENESIS, chain.root, chain.nodes)
    for _ in range(5):
        store.persist_blocking([chain.next(), chain.next()], oldest_epoch=2)
    assert (store.oldest_block(), store.height()) == (6, 10)
    for final in chain.blocks:
        kept = final.height >= 6
        assert (store.block(final.height) is not None) == kept
        assert store.proof(final.height) is not None or not kept
        assert (store.receipts(final.height) is not None) == kept
        assert (store.height_of(final.hash) is not None) == kept
    assert store.chain(3, 8).blocks == (), "a laggard is told that there is nothing, and asks for a state"
    assert [each.header.height for each in store.chain(6, 8).blocks] == [6, 7, 8]
    store.close()


def test_no_block_leaves_while_evidence_about_its_epoch_counts(tmp_path) -> None:
    chain = StoreChain()
    store = Store(tmp_path, retention=2, retention_blocks=2, sync=False)
    store.initialise(GENESIS, chain.root, chain.nodes)
    for oldest_epoch, oldest_block in ((1, 1), (1, 1), (2, 4)):
        store.persist_blocking([chain.next(), chain.next()], oldest_epoch=oldest_epoch)
        assert store.oldest_block() == oldest_block
    store.close()


def test_the_place_of_a_transaction_leaves_with_its_block_unless_it_counts_elsewhere(tmp_path) -> None:
    chain = StoreChain()
    store = Store(tmp_path, retention=1, retention_blocks=2, sync=False)
    store.initialise(GENESIS, chain.root, chain.nodes)
    name, other = Hash(b"t" * 32), Hash(b"o" * 32)
    blocks = [chain.next() for _ in range(5)]
    void = {
        0: (VoidItem(name=name, reason="its nonce is ahead"), VoidItem(name=other, reason="of no use")),
    }
    for index, final in enumerate(blocks):
        names = {0: (name, other), 3: (name,)}.get(index, ())
        receipts = replace(final.receipts, void=void.get(index, ()))
        changed = replace(final, transactions=names, receipts=receipts)
        store.persist_blocking([changed], oldest_epoch=2)
    assert store.oldest_block() == 3
    assert store.place(name) == 4
    assert store.place(other) is None
    store.close()


def test_a_state_that_is_offered_outlives_its_retention(tmp_path) -> None:
    chain = StoreChain()
    store = Store(tmp_path, retention=2, retention_blocks=2, snapshot_ms=10, sync=False)
    store.initialise(GENESIS, chain.root, chain.nodes)
    for number in range(12):
        final = chain.next()
        header = replace(final.block.header, time_ms=5 + 4 * number)
        later = replace(final, block=replace(final.block, header=header))
        store.persist_blocking([later], oldest_epoch=2)
    snapshots = store.offering.heights()
    assert len(snapshots) == 2
    assert store.oldest_block() == snapshots[0] < store.oldest_state() == store.height() - 2
    root, values = chain.versions[snapshots[0]]
    assert get_many(store, root, list(values)) == list(values.values())
    store.close()
    again = Store(tmp_path, retention=2, snapshot_ms=10, sync=False)
    assert again.offering.heights() == snapshots, "a restart keeps what was offered"
    again.close()


def test_the_genesis_state_is_made_once(tmp_path, monkeypatch) -> None:
    chain = StoreChain()
    made = []

    class Genesis:
        hash = GENESIS

    def genesis_state(genesis):
        made.append(genesis)
        return chain.root, chain.nodes

    monkeypatch.setattr("node.opening.genesis_state", genesis_state)
    for _ in range(3):
        store = Store(tmp_path, sync=False)
        initialise(store, Genesis())
        assert store.genesis_root() == chain.root
        store.close()
    assert len(made) == 1
    Genesis.hash = Hash(b"z" * 32)
    store = Store(tmp_path, sync=False)
    with pytest.raises(UserError, match="belongs to network"):
        initialise(store, Genesis())
    store.close()
