"""The one authenticated map (DESIGN.md section 5).

A binary Merkle radix tree over 256-bit hashed keys, leaves at the shortest unique prefix. Nodes are
content-addressed and never change, so an old root stays readable for as long as its nodes are kept. The root
depends on the map's content alone, whatever the order and grouping of the updates that led there.

    nodes      what a tree is made of, and the stores that hold it
    reading    get, get_many
    updating   update: a batch of changes in one pass
    proofs     one key is, or is not, under a root
    witness    the part that an execution touched, enough to repeat it elsewhere
    ranges     the leaves of a range of keys, each piece verified by itself
"""

from consensus.primitives.tree.nodes import (
    EMPTY_ROOT,
    MAX_VALUE_BYTES,
    MemoryStore,
    MissingNode,
    NodeStore,
    OverlayStore,
    WitnessIncomplete,
    tree_key,
)
from consensus.primitives.tree.proofs import (
    PROOF_BYTES_LIMIT,
    TreeProof,
    prove,
    verify_absence,
    verify_membership,
)
from consensus.primitives.tree.ranges import (
    FIRST_KEY,
    LAST_KEY,
    Piece,
    make_piece,
    piece_bytes_limit,
    read_piece,
)
from consensus.primitives.tree.reading import get, get_many
from consensus.primitives.tree.updating import Update, update
from consensus.primitives.tree.witness import PartialStore, Recorder, load_witness, witness_from

__all__ = [
    "EMPTY_ROOT",
    "FIRST_KEY",
    "LAST_KEY",
    "MAX_VALUE_BYTES",
    "PROOF_BYTES_LIMIT",
    "MemoryStore",
    "MissingNode",
    "NodeStore",
    "OverlayStore",
    "PartialStore",
    "Piece",
    "Recorder",
    "TreeProof",
    "Update",
    "WitnessIncomplete",
    "get",
    "get_many",
    "load_witness",
    "make_piece",
    "piece_bytes_limit",
    "prove",
    "read_piece",
    "tree_key",
    "update",
    "verify_absence",
    "verify_membership",
    "witness_from",
]
