"""Proofs about one key, as wire types: what it maps to under a root, or that it maps to nothing.

A proof is the siblings on the key's path. The path ends in the key's own leaf (membership), in nothing, or in
the leaf of another key that shares the path's bits (absence); that other leaf is given as its commitment,
at most MAX_COMMITMENT_BYTES long.
"""

from dataclasses import dataclass
from itertools import islice
from typing import Annotated, ClassVar, Final

from consensus.primitives.codec import ExactLength, MaxLength
from consensus.primitives.ids import Hash
from consensus.primitives.tree.nodes import (
    BRANCH,
    BRANCH_KIND,
    EMPTY_KIND,
    EMPTY_REF,
    EMPTY_ROOT,
    KEY_BIT,
    LEAF,
    LEAF_KIND,
    MAX_COMMITMENT_BYTES,
    MAX_DEPTH,
    REF_BYTES,
    SHORT_LEAF,
    NodeStore,
    branch_ref,
    common_prefix_bits,
    leaf_commitment,
    leaf_ref,
    root_ref,
)
from consensus.primitives.tree.reading import too_deep

Reference = Annotated[bytes, ExactLength(REF_BYTES)]
PROOF_BYTES_LIMIT: Final = 16 + MAX_DEPTH * (REF_BYTES + 2) + MAX_COMMITMENT_BYTES
"""Bound of an encoded TreeProof, for `decode`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeProof:
    """A membership or absence proof of one key."""

    WIRE_VERSION: ClassVar[int] = 1
    siblings: Annotated[tuple[Reference, ...], MaxLength(MAX_DEPTH)]
    """References of the siblings on the path, from the root down."""
    other_leaf: Annotated[bytes, MaxLength(MAX_COMMITMENT_BYTES)] | None
    """Absence only: the commitment of the leaf in which the path ends; None if it ends in nothing."""


def prove(nodes: NodeStore, root: Hash, key: Hash) -> TreeProof:
    """The proof that `key` has the value that it has under `root`, or that it has none.

    Raises what `nodes` raises for a node it lacks.
    """
    siblings = []
    ref = root_ref(nodes, root)
    for index, mask in KEY_BIT:
        if ref[0] != BRANCH_KIND:
            break
        node = nodes.get(Hash(ref[1:]))
        if key[index] & mask:
            siblings.append(node[1:34])
            ref = node[34:]
        else:
            siblings.append(node[34:])
            ref = node[1:34]
    if ref[0] == BRANCH_KIND:
        raise too_deep()
    other_leaf = None
    if ref[0] == LEAF_KIND:
        leaf = nodes.get(Hash(ref[1:]))
        if leaf[1:33] != key:
            other_leaf = leaf_commitment(leaf)
    return TreeProof(siblings=tuple(siblings), other_leaf=other_leaf)


def verify_membership(root: Hash, key: Hash, value: bytes, proof: TreeProof) -> bool:
    """Whether `proof` shows that `key` maps to `value` under `root`."""
    if len(key) != 32 or proof.other_leaf is not None:
        return False
    return _climb(leaf_ref(LEAF + key + value), key, proof.siblings) == root


def verify_absence(root: Hash, key: Hash, proof: TreeProof) -> bool:
    """Whether `proof` shows that `key` maps to nothing under `root`."""
    if len(key) != 32:
        return False
    other = proof.other_leaf
    if other is None:
        return _climb(EMPTY_REF, key, proof.siblings) == root
    is_leaf = len(other) >= 33 and other[:1] in (LEAF, SHORT_LEAF)
    if not is_leaf or other[1:33] == key or common_prefix_bits(other[1:33], key) < len(proof.siblings):
        return False
    return _climb(leaf_ref(other), key, proof.siblings) == root


def _climb(ref: bytes, key: Hash, siblings: tuple[bytes, ...]) -> Hash | None:
    """The root above `ref`, None where no canonical tree has such a path."""
    if not siblings:
        return EMPTY_ROOT if ref[0] == EMPTY_KIND else Hash(ref[1:])
    if len(siblings) > MAX_DEPTH or ref[0] + siblings[-1][0] <= LEAF_KIND:
        return None  # the lowest branch would have collapsed: there is at most one leaf below it
    bits = list(islice(KEY_BIT, len(siblings)))
    for (index, mask), sibling in zip(reversed(bits), reversed(siblings), strict=True):
        node = BRANCH + sibling + ref if key[index] & mask else BRANCH + ref + sibling
        ref = branch_ref(node)
    return Hash(ref[1:])
