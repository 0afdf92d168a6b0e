"""A tree in pieces: adjoining pieces complete every node once, and only the tree's own nodes pass."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.primitives.errors import DecodeError
from consensus.primitives.ids import Hash
from consensus.primitives.tree import (
    EMPTY_ROOT,
    FIRST_KEY,
    LAST_KEY,
    MemoryStore,
    Piece,
    make_piece,
    piece_bytes_limit,
    read_piece,
    tree_key,
    update,
)

# Keys that share long prefixes, and such that stand alone; values that are inline and such that are not.
KEYS = [tree_key(b"test", bytes([each])) for each in range(40)]
KEYS += [Hash(KEYS[each][:20] + bytes(11) + bytes([each, 7])[1:]) for each in range(6)]
KEYS += [FIRST_KEY, LAST_KEY, Hash(bytes(31) + b"\x01"), Hash(b"\xff" * 31 + b"\xfe")]
LIMIT = 1 << 20
contents = st.dictionaries(st.sampled_from(KEYS), st.sampled_from([b"", b"v", b"w" * 70]), max_size=40)
cuts = st.lists(
    st.sampled_from(KEYS) | st.integers(1, 255).map(lambda top: Hash(bytes([top]) + bytes(31))), max_size=5
)


def before(key: Hash) -> Hash:
    return Hash((int.from_bytes(key, "big") - 1).to_bytes(32, "big"))


def fetched(tree: MemoryStore, root: Hash, first: Hash, last: Hash, budget: int) -> list[Piece]:
    """Every piece of one range, in order."""
    pieces: list[Piece] = []
    at: Hash | None = first
    while at is not None:
        raw = make_piece(tree, root, at, budget)
        pieces.append(read_piece(raw, root, at, last, LIMIT))
        at = pieces[-1].next
    return pieces


@given(contents=contents, cuts=cuts, budget=st.integers(1, 2_000))
@settings(deadline=None)
def test_adjoining_pieces_complete_every_node_exactly_once(contents, cuts, budget) -> None:
    made = update(MemoryStore(), EMPTY_ROOT, contents)
    tree = MemoryStore(dict(made.added))
    bounds = [FIRST_KEY, *sorted(set(cuts) - {FIRST_KEY})]
    lasts = [*(before(each) for each in bounds[1:]), LAST_KEY]
    completed = [
        each
        for first, last in zip(bounds, lasts, strict=True)
        for piece in fetched(tree, made.root, first, last, budget)
        for each in piece.completed
    ]
    assert sorted(completed) == sorted(made.added.items())


@given(contents=contents.filter(bool), seed=st.integers(0, 1 << 30), budget=st.integers(1, 2_000))
@settings(deadline=None)
def test_a_changed_piece_is_refused_or_changes_nothing(contents, seed, budget) -> None:
    made = update(MemoryStore(), EMPTY_ROOT, contents)
    tree = MemoryStore(dict(made.added))
    chance = random.Random(seed)
    first = chance.choice(sorted(contents))
    raw = bytearray(make_piece(tree, made.root, first, budget))
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    try:
        piece = read_piece(bytes(raw), made.root, first, LAST_KEY, LIMIT)
    except DecodeError:
        return
    for name, node in piece.completed:
        assert made.added[Hash(name)] == node


def test_a_piece_that_begins_elsewhere_or_is_cut_off_is_refused() -> None:
    made = update(MemoryStore(), EMPTY_ROOT, dict.fromkeys(KEYS, b"value"))
    tree = MemoryStore(dict(made.added))
    late = sorted(KEYS)[20]
    with pytest.raises(DecodeError, match="begin"):
        read_piece(make_piece(tree, made.root, late, 200), made.root, FIRST_KEY, LAST_KEY, LIMIT)
    raw = make_piece(tree, made.root, FIRST_KEY, 500)
    for end in range(len(raw)):
        with pytest.raises(DecodeError):
            read_piece(raw[:end], made.root, FIRST_KEY, LAST_KEY, LIMIT)
    with pytest.raises(DecodeError):
        read_piece(raw, Hash(b"x" * 32), FIRST_KEY, LAST_KEY, LIMIT)
    with pytest.raises(DecodeError, match="empty"):
        read_piece(raw, EMPTY_ROOT, FIRST_KEY, LAST_KEY, LIMIT)


def test_a_piece_keeps_to_its_size_but_for_one_large_leaf() -> None:
    big = 300_000
    made = update(MemoryStore(), EMPTY_ROOT, {key: b"x" * (big if key in KEYS[:3] else 10) for key in KEYS})
    tree = MemoryStore(dict(made.added))
    at: Hash | None = FIRST_KEY
    sizes = []
    while at is not None:
        raw = make_piece(tree, made.root, at, 1_000)
        sizes.append(len(raw))
        assert len(raw) <= piece_bytes_limit(1_000)
        at = read_piece(raw, made.root, at, LAST_KEY, LIMIT).next
    assert sum(size > 20_000 for size in sizes) == 3
    assert len(sizes) > 3
