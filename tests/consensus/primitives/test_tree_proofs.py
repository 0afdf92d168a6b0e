"""Proofs of one key: true ones hold, and nothing else does."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import DecodeError
from consensus.primitives.ids import Hash
from consensus.primitives.tree import (
    EMPTY_ROOT,
    PROOF_BYTES_LIMIT,
    MemoryStore,
    TreeProof,
    prove,
    tree_key,
    update,
    verify_absence,
    verify_membership,
)

KEYS = [tree_key(b"proof", bytes([index])) for index in range(40)] + [
    Hash(bytes(32)),
    Hash(bytes(31) + b"\x01"),
    Hash(bytes(31) + b"\x02"),
    Hash(bytes(16) + b"\x80" + bytes(15)),
]
contents = st.dictionaries(st.sampled_from(KEYS), st.sampled_from([b"", b"v", bytes(65)]), max_size=20)


def _tree(content: dict[Hash, bytes]) -> tuple[MemoryStore, Hash]:
    result = update(MemoryStore(), EMPTY_ROOT, content)
    return MemoryStore(result.added), result.root


@given(contents)
def test_each_key_has_exactly_one_true_proof(content: dict[Hash, bytes]) -> None:
    store, root = _tree(content)
    for key in KEYS:
        wire = encode(prove(store, root, key))
        proof = decode(TreeProof, wire, limit=PROOF_BYTES_LIMIT)
        value = content.get(key)
        assert verify_absence(root, key, proof) is (value is None)
        assert verify_membership(root, key, b"v" if value is None else value, proof) is (value is not None)
        assert not verify_membership(root, key, b"another", proof)


@given(contents, st.sampled_from(KEYS), st.sampled_from(KEYS))
def test_a_proof_of_one_key_says_nothing_false_of_another(content, key, other) -> None:
    store, root = _tree(content)
    proof = prove(store, root, key)
    if other in content:
        assert not verify_absence(root, other, proof)
    else:
        assert not verify_membership(root, other, b"v", proof)


CONTENT = {key: b"v" * (index % 3 * 40) for index, key in enumerate(KEYS[:30])}


@pytest.mark.parametrize("key", [KEYS[0], KEYS[1], KEYS[2], KEYS[35], KEYS[38], KEYS[40]])
def test_every_flipped_byte_is_refused(key: Hash) -> None:
    store, root = _tree(CONTENT)
    wire = encode(prove(store, root, key))
    for position in range(len(wire)):
        for flip in (0x01, 0x80, 0xFF):
            forged = wire[:position] + bytes([wire[position] ^ flip]) + wire[position + 1 :]
            try:
                proof = decode(TreeProof, forged, limit=PROOF_BYTES_LIMIT)
            except DecodeError:
                continue
            assert not verify_absence(root, key, proof)
            assert not verify_membership(root, key, CONTENT.get(key, b""), proof)


def test_flipped_keys_values_and_roots_are_refused() -> None:
    store, root = _tree(CONTENT)
    key = KEYS[1]
    proof = prove(store, root, key)
    for position in range(32):
        flipped = Hash(key[:position] + bytes([key[position] ^ 1]) + key[position + 1 :])
        assert not verify_membership(root, flipped, CONTENT[key], proof)
        flipped = Hash(root[:position] + bytes([root[position] ^ 1]) + root[position + 1 :])
        assert not verify_membership(flipped, key, CONTENT[key], proof)
    assert not verify_membership(root, Hash(key + b"\x00"), CONTENT[key], proof)
    assert not verify_absence(root, Hash(key[:31]), proof)


def test_shorter_longer_and_swapped_paths_are_refused() -> None:
    store, root = _tree(CONTENT)
    key, absent = KEYS[1], KEYS[35]
    proof = prove(store, root, key)
    for siblings in (
        proof.siblings[1:],
        proof.siblings[:-1],
        (*proof.siblings, bytes(33)),
        (bytes(33), *proof.siblings),
        proof.siblings[::-1],
        proof.siblings * 200,
    ):
        forged = dataclasses.replace(proof, siblings=siblings)
        assert not verify_membership(root, key, CONTENT[key], forged)
        assert not verify_absence(root, key, dataclasses.replace(forged, other_leaf=None))
    other = prove(store, root, absent).other_leaf
    for leaf in (None, b"", b"\x01", b"\x01" + absent, other):
        forged = dataclasses.replace(proof, other_leaf=leaf)
        assert not verify_absence(root, key, forged)


def test_a_leaf_elsewhere_is_no_proof_of_absence() -> None:
    """The other leaf must lie on the key's own path, not merely be somewhere in the tree."""
    store, root = _tree({KEYS[0]: b"a", KEYS[1]: b"b", KEYS[2]: b"c", KEYS[3]: b"d"})
    for target in KEYS[:4]:
        for source in KEYS[:4]:
            honest = prove(store, root, source)
            value = {KEYS[0]: b"a", KEYS[1]: b"b", KEYS[2]: b"c", KEYS[3]: b"d"}[source]
            forged = TreeProof(siblings=honest.siblings, other_leaf=b"\x01" + source + value)
            assert not verify_absence(root, target, forged)


def test_a_branch_can_not_pass_for_a_leaf() -> None:
    store, root = _tree(CONTENT)
    branch = store.get(root)
    forged = TreeProof(siblings=(), other_leaf=branch)
    assert not verify_absence(root, KEYS[0], forged)
    assert not verify_absence(root, KEYS[0], TreeProof(siblings=(), other_leaf=b"\x01" + branch[1:]))


def test_absence_in_the_empty_tree_and_beside_a_long_leaf() -> None:
    assert verify_absence(EMPTY_ROOT, KEYS[0], prove(MemoryStore(), EMPTY_ROOT, KEYS[0]))
    store, root = _tree({KEYS[0]: bytes(100_000)})
    proof = prove(store, root, KEYS[1])
    assert verify_absence(root, KEYS[1], proof)
    assert len(encode(proof)) < 80  # the value stays at home


def test_the_limit_holds_the_longest_proof() -> None:
    proof = TreeProof(siblings=(bytes(33),) * 256, other_leaf=bytes(97))
    assert decode(TreeProof, encode(proof), limit=PROOF_BYTES_LIMIT) == proof
