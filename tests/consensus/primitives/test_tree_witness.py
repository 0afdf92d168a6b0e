"""Witnesses: a stateless run equals the stateful one, and no bytes can make it lie or break it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.primitives.errors import DecodeError
from consensus.primitives.ids import Hash
from consensus.primitives.tree import (
    EMPTY_ROOT,
    MemoryStore,
    OverlayStore,
    Recorder,
    WitnessIncomplete,
    get,
    get_many,
    load_witness,
    tree_key,
    update,
    witness_from,
)
from consensus.primitives.tree.nodes import branch_ref, leaf_ref

LIMIT = 1 << 20
KEYS = [tree_key(b"witness", bytes([index])) for index in range(30)] + [
    Hash(bytes(32)),
    Hash(bytes(31) + b"\x01"),
    Hash(bytes(20) + b"\x01" + bytes(11)),
]
keys = st.sampled_from(KEYS)
values = st.sampled_from([b"", b"v", bytes(65)])
contents = st.dictionaries(keys, values, max_size=25)
changes = st.dictionaries(keys, st.none() | values, max_size=10)


def _tree(content: dict[Hash, bytes]) -> tuple[MemoryStore, Hash]:
    result = update(MemoryStore(), EMPTY_ROOT, content)
    return MemoryStore(result.added), result.root


def _run(nodes, root: Hash, reads: list[Hash], batches: list[dict[Hash, bytes | None]]):
    """What an executor does: read, write, read its own writes, write again."""
    seen = []
    added: dict[Hash, bytes] = {}
    overlay = OverlayStore(nodes, added)
    for batch in batches:
        seen.append(get_many(overlay, root, reads))
        result = update(overlay, root, batch)
        added.update(result.added)
        root = result.root
    return root, seen


@given(contents, st.lists(keys, max_size=8), st.lists(changes, max_size=3))
def test_a_stateless_run_equals_the_stateful_one(content, reads, batches) -> None:
    store, root = _tree(content)
    recorder = Recorder(store)
    stateful = _run(recorder, root, reads, batches)
    witness = witness_from(root, recorder)
    assert _run(load_witness(witness, root, LIMIT), root, reads, batches) == stateful


@given(contents, st.lists(keys, min_size=1, max_size=6), st.lists(keys, min_size=1, max_size=6))
def test_what_was_not_recorded_is_incomplete_never_wrong(content, recorded, asked) -> None:
    store, root = _tree(content)
    recorder = Recorder(store)
    get_many(recorder, root, recorded)
    partial = load_witness(witness_from(root, recorder), root, LIMIT)
    for key in asked:
        try:
            assert get(partial, root, key) == content.get(key)
        except WitnessIncomplete:
            assert key not in recorded
    assert get_many(partial, root, recorded) == [content.get(key) for key in recorded]


def test_an_incomplete_witness_raises_on_reads_and_on_writes() -> None:
    store, root = _tree(dict.fromkeys(KEYS, b"v"))
    recorder = Recorder(store)
    get(recorder, root, KEYS[0])
    partial = load_witness(witness_from(root, recorder), root, LIMIT)
    other = next(key for key in KEYS if key[0] >> 7 != KEYS[0][0] >> 7)
    for touch in (
        lambda: get(partial, root, other),
        lambda: get_many(partial, root, KEYS),
        lambda: update(partial, root, {other: None}),
        lambda: update(partial, root, dict.fromkeys(KEYS)),
        lambda: get(load_witness(b"", root, LIMIT), root, KEYS[0]),
    ):
        with pytest.raises(WitnessIncomplete):
            touch()


def test_a_deletion_collapses_onto_a_sibling_that_nobody_opened() -> None:
    left, right = Hash(bytes(32)), Hash(b"\xff" * 32)
    store, root = _tree({left: b"l", right: bytes(60_000)})
    recorder = Recorder(store)
    expected = update(recorder, root, {left: None})
    witness = witness_from(root, recorder)
    assert len(witness) < 200
    assert update(load_witness(witness, root, LIMIT), root, {left: None}) == expected


def test_a_witness_holds_only_what_was_touched() -> None:
    store, root = _tree({tree_key(b"many", index.to_bytes(2, "big")): b"v" for index in range(1000)})
    recorder = Recorder(store)
    assert witness_from(root, recorder) == b""
    get(recorder, root, KEYS[0])
    assert len(witness_from(root, recorder)) < 34 * 20


def test_nothing_touched_in_the_empty_tree() -> None:
    recorder = Recorder(MemoryStore())
    result = update(recorder, EMPTY_ROOT, {KEYS[0]: b"v"})
    witness = witness_from(EMPTY_ROOT, recorder)
    assert witness == b""
    assert update(load_witness(witness, EMPTY_ROOT, LIMIT), EMPTY_ROOT, {KEYS[0]: b"v"}) == result


def _witness() -> tuple[bytes, Hash]:
    store, root = _tree({key: b"v" * (index % 3 * 40) for index, key in enumerate(KEYS)})
    recorder = Recorder(store)
    get_many(recorder, root, [KEYS[0], KEYS[3], KEYS[30], KEYS[31]])
    return witness_from(root, recorder), root


def test_every_flipped_byte_is_refused() -> None:
    witness, root = _witness()
    load_witness(witness, root, LIMIT)
    for position in range(len(witness)):
        for flip in (0x01, 0x04, 0x80, 0xFF):
            forged = witness[:position] + bytes([witness[position] ^ flip]) + witness[position + 1 :]
            with pytest.raises(DecodeError):
                load_witness(forged, root, LIMIT)


def test_cut_and_extended_witnesses_are_refused() -> None:
    witness, root = _witness()
    for forged in [witness[:end] for end in range(1, len(witness))] + [witness + b"\x00", witness * 2]:
        with pytest.raises(DecodeError):
            load_witness(forged, root, LIMIT)
    with pytest.raises(DecodeError):
        load_witness(witness, Hash(b"x" * 32), LIMIT)
    with pytest.raises(DecodeError):
        load_witness(witness, EMPTY_ROOT, LIMIT)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage: bytes) -> None:
    try:
        load_witness(garbage, Hash(b"x" * 32), LIMIT)
    except DecodeError:
        return
    assert garbage == b""


def test_size_and_work_are_bounded() -> None:
    witness, root = _witness()
    with pytest.raises(DecodeError, match="limit"):
        load_witness(witness, root, len(witness) - 1)
    leaf = b"\x01" + bytes(4) + bytes(32)
    chain = leaf + leaf + b"\x04" + b"\x06\x00" * 100_000
    with pytest.raises(DecodeError, match="too many nodes"):
        load_witness(chain, root, len(chain))
    with pytest.raises(DecodeError, match="too long"):
        load_witness(b"\x01\xff\xff\xff\xff" + bytes(64), root, LIMIT)


def test_branches_that_should_have_collapsed_are_refused() -> None:
    leaf = b"\x01" + bytes(4) + bytes(32)
    for forged in (leaf + b"\x06\x00", leaf + b"\x05\x00", b"\x07\x00\x00"):
        with pytest.raises(DecodeError, match="at most one leaf"):
            load_witness(forged, Hash(b"x" * 32), LIMIT)


@st.composite
def forged_trees(draw: st.DrawFn) -> tuple[bytes, Hash]:
    """A witness that fits its root, of a tree that no map has: leaves anywhere, too deep, twice."""
    witness, stack = b"", []
    for _ in range(draw(st.integers(1, 12))):
        if len(stack) >= 2 and draw(st.booleans()):
            right, left = stack.pop(), stack.pop()
            witness += b"\x04"
            stack.append(branch_ref(b"\x02" + left + right))
        elif stack and stack[-1][0] == 2 and draw(st.booleans()):
            for _ in range(draw(st.sampled_from([1, 2, 250, 300]))):
                below = stack.pop()
                witness += b"\x06\x00"
                stack.append(branch_ref(b"\x02" + below + bytes(33)))
        elif draw(st.booleans()):
            left, right = (draw(st.sampled_from([1, 2])).to_bytes(1, "big") + bytes(31) + b"?" for _ in "lr")
            witness += b"\x07" + left + right
            stack.append(branch_ref(b"\x02" + left + right))
        else:
            key = draw(keys)
            witness += b"\x01\x00\x00\x00\x01" + key + b"v"
            stack.append(leaf_ref(b"\x01" + key + b"v"))
    while len(stack) > 1:
        right, left = stack.pop(), stack.pop()
        witness += b"\x04"
        stack.append(branch_ref(b"\x02" + left + right))
    return witness, Hash(stack[0][1:])


@settings(max_examples=200)
@given(forged_trees(), changes, st.lists(keys, min_size=1, max_size=4))
def test_a_forged_tree_under_its_own_root_breaks_nothing(forged, batch, reads) -> None:
    """Whoever chooses the root may choose nonsense below it; it fails with the two declared errors alone."""
    witness, root = forged
    try:
        partial = load_witness(witness, root, LIMIT)
    except DecodeError as error:
        if "too many nodes" not in str(error):  # several deep chains: refused before they cost anything
            raise
        return
    for touch in (
        lambda: get(partial, root, reads[0]),
        lambda: get_many(partial, root, reads),
        lambda: update(partial, root, batch),
        lambda: update(partial, root, {reads[0]: b"new"}),
        lambda: update(partial, root, {reads[0]: None}),
    ):
        try:
            first = touch()
        except (DecodeError, WitnessIncomplete):
            continue
        assert touch() == first
