"""The tree against a dict, and against a second tree written from the definition."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_tree import naive_nodes

from consensus.primitives.errors import DecodeError, LocalFault
from consensus.primitives.ids import Hash
from consensus.primitives.tree import (
    EMPTY_ROOT,
    MAX_VALUE_BYTES,
    MemoryStore,
    MissingNode,
    OverlayStore,
    get,
    get_many,
    tree_key,
    update,
)


def _near(path: int, bits: int) -> Hash:
    """A key that shares `bits` leading zero bits with its like: deep trees need no luck."""
    return Hash((path << (256 - bits - 3)).to_bytes(32, "big"))


# Few keys that collide often: some spread, some that part only near the bottom.
KEYS = (
    [tree_key(b"test", bytes([index])) for index in range(12)]
    + [_near(path, bits) for path in (1, 5) for bits in (0, 8, 100, 253)]
    + [Hash(bytes(32)), Hash(b"\xff" * 32)]
)
keys = st.sampled_from(KEYS)
values = st.sampled_from([b"", b"a", b"b", bytes(64), bytes(65), bytes(1000)])
batches = st.dictionaries(keys, st.none() | values, max_size=10)
histories = st.lists(batches, max_size=8)


def _apply(model: dict[Hash, bytes], batch: dict[Hash, bytes | None]) -> dict[Hash, bytes]:
    merged = {**model, **batch}
    return {key: value for key, value in merged.items() if value is not None}


@given(histories)
def test_every_version_is_the_naive_tree_of_its_content(history: list[dict[Hash, bytes | None]]) -> None:
    store, root, model = MemoryStore(), EMPTY_ROOT, {}
    versions = []
    for batch in history:
        old_nodes = naive_nodes(model)[1]
        model = _apply(model, batch)
        result = update(store, root, batch)
        expected_root, new_nodes = naive_nodes(model)
        assert result.root == expected_root
        assert result.added == {name: node for name, node in new_nodes.items() if name not in old_nodes}
        assert sorted(result.removed) == sorted(name for name in old_nodes if name not in new_nodes)
        store.apply(result.added)
        root = result.root
        versions.append((root, model))
    for version, content in versions:  # old roots stay readable
        expected = [content.get(key) for key in KEYS]
        assert get_many(store, version, KEYS) == expected
        assert [get(store, version, key) for key in KEYS] == expected


@given(histories)
def test_reference_counts_keep_exactly_the_live_nodes(history: list[dict[Hash, bytes | None]]) -> None:
    kept: dict[Hash, bytes] = {}
    root, model = EMPTY_ROOT, {}
    for batch in history:
        result = update(MemoryStore(kept), root, batch)
        for name in result.removed:
            del kept[name]
        kept.update(result.added)
        root, model = result.root, _apply(model, batch)
    assert kept == naive_nodes(model)[1]


@given(batches, st.randoms(use_true_random=False))
def test_the_root_does_not_depend_on_order_or_grouping(batch, random) -> None:
    whole = update(MemoryStore(), EMPTY_ROOT, batch).root
    items = list(batch.items())
    random.shuffle(items)
    assert update(MemoryStore(), EMPTY_ROOT, dict(items)).root == whole
    store, root = MemoryStore(), EMPTY_ROOT
    for key, value in items:
        result = update(store, root, {key: value})
        store.apply(result.added)
        root = result.root
    assert root == whole


def test_writing_what_is_there_and_deleting_what_is_not_change_nothing() -> None:
    store = MemoryStore()
    first = update(store, EMPTY_ROOT, dict.fromkeys(KEYS[:10], b"x"))
    store.apply(first.added)
    again = update(store, first.root, {KEYS[0]: b"x", KEYS[1]: b"x", KEYS[11]: None, KEYS[15]: None})
    assert (again.root, again.added, again.removed) == (first.root, {}, [])
    assert update(store, first.root, {}).root == first.root


def test_deleting_everything_leaves_the_empty_root() -> None:
    store = MemoryStore()
    first = update(store, EMPTY_ROOT, dict.fromkeys(KEYS, b"x"))
    store.apply(first.added)
    last = update(store, first.root, dict.fromkeys(KEYS))
    assert last.root == EMPTY_ROOT
    assert last.added == {}
    assert sorted(last.removed) == sorted(first.added)


def test_the_deepest_possible_pair() -> None:
    low, high = Hash(bytes(32)), Hash(bytes(31) + b"\x01")
    store = MemoryStore()
    both = update(store, EMPTY_ROOT, {low: b"l", high: b"h"})
    store.apply(both.added)
    assert len(both.added) == 256 + 2
    assert get_many(store, both.root, [high, low]) == [b"h", b"l"]
    single = update(store, both.root, {high: None})
    assert single.root == update(MemoryStore(), EMPTY_ROOT, {low: b"l"}).root
    assert len(single.removed) == 256 + 1
    assert single.added == {}


@settings(max_examples=20)
@given(st.lists(keys, max_size=20))
def test_get_many_answers_in_order_with_repeats(asked: list[Hash]) -> None:
    content = {key: key[:3] for key in KEYS[::2]}
    result = update(MemoryStore(), EMPTY_ROOT, content)
    store = MemoryStore(result.added)
    assert get_many(store, result.root, asked) == [content.get(key) for key in asked]


def test_reading_one_leaf_and_nothing() -> None:
    result = update(MemoryStore(), EMPTY_ROOT, {KEYS[0]: b"only"})
    store = MemoryStore(result.added)
    assert get_many(store, result.root, KEYS[:2]) == [b"only", None]
    assert get(store, result.root, KEYS[1]) is None
    assert get_many(store, EMPTY_ROOT, KEYS[:2]) == [None, None]
    assert get_many(store, result.root, []) == []


def test_a_missing_node_is_this_machines_fault() -> None:
    result = update(MemoryStore(), EMPTY_ROOT, dict.fromkeys(KEYS, b"x"))
    for read in (
        lambda: get(MemoryStore(), result.root, KEYS[0]),
        lambda: get_many(MemoryStore(), result.root, KEYS),
        lambda: update(MemoryStore(), result.root, {KEYS[0]: b"y"}),
    ):
        with pytest.raises(MissingNode) as caught:
            read()
        assert isinstance(caught.value, LocalFault)


def test_an_overlay_reads_what_is_added_later() -> None:
    first = update(MemoryStore(), EMPTY_ROOT, dict.fromkeys(KEYS[:9], b"x"))
    added: dict[Hash, bytes] = {}
    overlay = OverlayStore(MemoryStore(first.added), added)
    second = update(overlay, first.root, {KEYS[3]: b"y"})
    added.update(second.added)
    assert get_many(overlay, second.root, KEYS[2:4]) == [b"x", b"y"]
    assert get(overlay, first.root, KEYS[3]) == b"x"


def test_keys_and_values_have_bounds() -> None:
    with pytest.raises(ValueError, match="31"):
        update(MemoryStore(), EMPTY_ROOT, {Hash(bytes(31)): b""})
    with pytest.raises(ValueError, match="limit"):
        update(MemoryStore(), EMPTY_ROOT, {KEYS[0]: bytes(MAX_VALUE_BYTES + 1)})


def test_a_failed_update_has_changed_nothing() -> None:
    first = update(MemoryStore(), EMPTY_ROOT, dict.fromkeys(KEYS, b"x"))
    store = MemoryStore(first.added)
    before = dict(store.nodes)
    changes: dict[Hash, bytes | None] = {KEYS[0]: None, KEYS[1]: bytes(MAX_VALUE_BYTES + 1)}
    with pytest.raises(ValueError, match="limit"):
        update(store, first.root, changes)
    assert store.nodes == before


class _Endless:
    """A store in which every branch has itself below it: what no hash permits, but a corrupt disk might."""

    def get(self, node_hash: Hash, /) -> bytes:
        return b"\x02" + (b"\x02" + node_hash) * 2


def test_no_descent_goes_below_the_last_level() -> None:
    root = Hash(b"r" * 32)
    for touch in (
        lambda: get(_Endless(), root, KEYS[0]),
        lambda: get_many(_Endless(), root, KEYS[:1]),
        lambda: get_many(_Endless(), root, KEYS),
        lambda: update(_Endless(), root, {KEYS[0]: b""}),
        lambda: update(_Endless(), root, dict.fromkeys(KEYS)),
    ):
        with pytest.raises(DecodeError):
            touch()


def test_namespaces_keep_keys_apart() -> None:
    pairs = [(b"", b"ab"), (b"a", b"b"), (b"ab", b""), (b"a", b""), (b"", b"")]
    assert len({tree_key(*pair) for pair in pairs}) == len(pairs)
    assert all(len(tree_key(*pair)) == 32 for pair in pairs)
