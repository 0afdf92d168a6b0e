"""A state that arrives in pieces: whatever the order, the kills and the lies, the same store in the end."""

import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from relay_history import History, content

from consensus.agreement.messages import CertificateType
from consensus.primitives.errors import DecodeError
from consensus.primitives.ids import Epoch
from consensus.primitives.tree import Piece, make_piece, read_piece
from node.state_sync import arriving as arriving_module
from node.state_sync.arriving import (
    STORE_DIRECTORY,
    Arriving,
    TreeRange,
    instance_roots,
    is_under_way,
    settle,
)
from node.store import Store

SNAPSHOT = 12
BLOCKS = 16
LIMIT = 1 << 24


@pytest.fixture(scope="module")
def history() -> History:
    made = History()
    made.busy_blocks(BLOCKS)
    return made


@pytest.fixture(scope="module")
def source(history, tmp_path_factory):
    """A store that keeps every state."""
    store = history.store(tmp_path_factory.mktemp("source"), retention=0)
    store.persist_blocking(history.blocks)
    yield store
    store.close()


def opened(history: History, data: Path) -> Arriving:
    return Arriving(data, genesis_hash=history.genesis.hash, genesis_root=history.genesis_root)


def piece(source: Store, wanted: TreeRange, budget: int) -> Piece:
    raw = make_piece(source, wanted.root, wanted.first, budget)
    return read_piece(raw, wanted.root, wanted.first, wanted.last, LIMIT)


def fetch_all(arriving: Arriving, source: Store, budget: int = 4_000) -> None:
    while ranges := arriving.missing():
        arriving.accept([(each, piece(source, each, budget)) for each in ranges])


def test_the_history_has_what_makes_counts_interesting(history, source) -> None:
    roots = instance_roots(source, history.blocks[SNAPSHOT - 1].block.post_root)
    assert list(roots.values()) == [2], "two instances with the same entries"


@given(seed=st.integers(0, 1 << 30), budget=st.sampled_from([300, 1_000, 20_000]))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_interleaving_ends_in_the_store_of_a_node_that_executed_every_block(
    tmp_path_factory, history, source, seed, budget
) -> None:
    chance = random.Random(seed)
    data = tmp_path_factory.mktemp("node")
    arriving = opened(history, data)
    arriving.begin(history.snapshot(SNAPSHOT))
    seen: list[tuple[TreeRange, Piece]] = []
    while not arriving.whole:
        action = chance.random()
        ranges = arriving.missing()
        chosen = chance.sample(ranges, min(len(ranges), chance.randint(1, 4)))
        if action < 0.1:  # a kill
            arriving.close()
            arriving = opened(history, data)
            arriving.advance()
        elif action < 0.2 and seen:  # an answer that comes again
            before = content(arriving.store, "nodes")
            old = [each for each in seen if each[0] not in ranges]
            arriving.accept(old)
            assert content(arriving.store, "nodes") == before
        elif action < 0.3:  # a lie
            raw = bytearray(make_piece(source, chosen[0].root, chosen[0].first, budget))
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
            try:
                found = read_piece(bytes(raw), chosen[0].root, chosen[0].first, chosen[0].last, LIMIT)
            except DecodeError:
                continue
            assert found == piece(source, chosen[0], budget)
        else:
            seen = [(each, piece(source, each, budget)) for each in chosen]
            arriving.accept(seen)
    arriving.close()
    settle(data)
    assert not is_under_way(data)

    executed = history.store(data / "executed", retention=1)
    executed.persist_blocking(history.blocks[:SNAPSHOT])
    fetched = Store(data / STORE_DIRECTORY, retention=1, sync=False)
    assert fetched.height() == SNAPSHOT
    assert fetched.block(SNAPSHOT) == executed.block(SNAPSHOT)
    assert fetched.proof(SNAPSHOT) == history.snapshot(SNAPSHOT).proof
    assert (fetched.oldest_block(), fetched.oldest_state()) == (SNAPSHOT, SNAPSHOT)
    for final in history.blocks[SNAPSHOT:]:  # each block prunes the state before its parent's
        for store in (executed, fetched):
            store.persist_blocking([final])
        for database in ("nodes", "stale"):
            assert content(fetched, database) == content(executed, database)
    fetched.close()
    executed.close()


def test_another_target_drops_what_was_fetched_of_the_first(tmp_path, history, source) -> None:
    arriving = opened(history, tmp_path)
    arriving.begin(history.snapshot(3))
    arriving.accept([(each, piece(source, each, 2_000)) for each in arriving.missing()])
    assert content(arriving.store, "nodes")
    arriving.begin(history.snapshot(SNAPSHOT))
    assert not content(arriving.store, "nodes")
    fetch_all(arriving, source)
    assert arriving.whole
    assert arriving.target == history.snapshot(SNAPSHOT)
    arriving.close()


def test_the_certificates_that_the_node_relied_on_stay(tmp_path, history, source, monkeypatch) -> None:
    """Those of its archive and those of its proofs."""
    monkeypatch.setattr(arriving_module, "LOT", 3)
    own = history.store(tmp_path / STORE_DIRECTORY)
    headers = [final.block.header for final in history.blocks]
    final = [history.certificate(header) for header in headers]
    notarised = [replace(each, ctype=int(CertificateType.NOTARIZATION)) for each in final]
    older = replace(notarised[7], epoch=Epoch(0))
    own.persist_blocking(history.blocks[:8], [older, *final[:8], *notarised[:8]])
    assert own.certificates(1, 0, 100, 100) == notarised[:8], "a proof has each of the others"
    arriving = opened(history, tmp_path)
    with pytest.raises(RuntimeError):
        arriving.take_over(own)
    arriving.begin(history.snapshot(SNAPSHOT))
    fetch_all(arriving, source)
    for _ in range(2):  # the second time after a kill
        arriving.take_over(own)
    archived = arriving.store.certificates(1, 0, 100, 100)
    assert archived == [each for pair in zip(notarised[:8], final[:8], strict=True) for each in pair]
    assert not arriving.store.certificates(0, 0, 100, 100), "nobody has to answer for that any more"
    own.close()
    arriving.close()


def test_an_exchange_that_was_cut_short_is_finished(tmp_path, history, source) -> None:
    arriving = opened(history, tmp_path)
    arriving.begin(history.snapshot(SNAPSHOT))
    fetch_all(arriving, source)
    old = history.store(tmp_path / STORE_DIRECTORY)
    old.close()
    (tmp_path / STORE_DIRECTORY).rename(tmp_path / "replaced")  # killed between the two renames
    arriving.close()
    again = opened(history, tmp_path)
    assert again.whole
    again.close()
    settle(tmp_path)
    store = Store(tmp_path / STORE_DIRECTORY)
    assert store.height() == SNAPSHOT
    store.close()
    assert not (tmp_path / "replaced").exists()
