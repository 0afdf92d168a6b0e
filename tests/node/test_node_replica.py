"""The replica: whatever the appends, settlements and drops, it has exactly the nodes of the held versions."""

import random

import pytest

from consensus.candidates.receipts import CandidateHeader
from consensus.primitives.errors import UserError
from consensus.primitives.ids import ZERO_HASH, Hash, Height
from consensus.primitives.tree import EMPTY_ROOT, MemoryStore, MissingNode, get, get_many, tree_key, update
from node import chain_replica
from node.chain_replica import Beginning, ChainReplica, Version

KEYS = [tree_key(b"guest", bytes([index])) for index in range(24)]
START = dict.fromkeys(KEYS[:12], b"start")


def header_on(version: Version, root: Hash, salt: int) -> CandidateHeader:
    return CandidateHeader(
        chain=1,
        height=Height(version.height + 1),
        parent_head=version.head,
        relay_parent=ZERO_HASH,
        relay_parent_height=Height(salt),
        time_ms=0,
        code_hash=ZERO_HASH,
        body_hash=ZERO_HASH,
        pov_hash=ZERO_HASH,
        pov_bytes=3,
        pre_root=version.root,
        post_root=root,
        inbox=(),
        outgoing=(),
        fuel_used=0,
    )


def opened(path) -> ChainReplica:
    nodes = update(MemoryStore(), EMPTY_ROOT, START)
    version = Version(height=Height(0), head=Hash(b"g" * 32), root=nodes.root)
    return ChainReplica(path, Beginning(version=version, nodes=nodes))


def held_nodes(replica: ChainReplica) -> int:
    with replica._env.begin() as txn:
        return txn.stat(db=replica._nodes)["entries"]


def nodes_of(contents) -> set[bytes]:
    """All nodes that trees with these contents have."""
    return {name for each in contents for name in update(MemoryStore(), EMPTY_ROOT, each).added}


@pytest.mark.parametrize("seed", range(6))
def test_exactly_the_held_versions_are_kept(tmp_path, monkeypatch, seed: int) -> None:
    monkeypatch.setattr(chain_replica, "RETAINED", 4)
    rng = random.Random(seed)
    replica = opened(tmp_path)
    contents = {0: dict(START)}
    for step in range(80):
        action = rng.choice(["append", "append", "settle", "drop", "reopen"])
        if action == "append" and replica.top.height - replica.base.height < 3:
            changes = {
                key: rng.choice([None, b"start", b"a", b"b"]) for key in rng.sample(KEYS, rng.randrange(8))
            }
            with replica.snapshot() as nodes:
                changed = update(nodes, replica.top.root, changes)
            after = contents[replica.top.height] | changes
            replica.append(header_on(replica.top, changed.root, step), b"pov", changed, None)
            contents[replica.top.height] = {key: value for key, value in after.items() if value is not None}
        elif action == "settle" and replica.top.height > replica.base.height:
            replica.settle(Height(rng.randrange(replica.base.height + 1, replica.top.height + 1)))
        elif action == "drop":
            replica.drop()
            contents = {height: each for height, each in contents.items() if height <= replica.base.height}
        elif action == "reopen":
            line = (replica.base, replica.top)
            replica.close()
            replica = opened(tmp_path)
            assert (replica.base, replica.top) == line
        oldest = max(0, replica.base.height - 4)
        whole = {height: each for height, each in contents.items() if height >= oldest}
        for height, each in whole.items():
            version = replica.version(Height(height))
            if version is not None:  # the oldest one's name is not kept over a restart
                assert get_many(replica, version.root, KEYS) == [each.get(key) for key in KEYS]
        assert held_nodes(replica) == len(nodes_of(whole.values()))
    assert replica.base.height > 4
    replica.close()


def test_candidates_are_found_by_name_and_unknown_nodes_missing(tmp_path) -> None:
    replica = opened(tmp_path)
    with replica.snapshot() as nodes:
        changed = update(nodes, replica.top.root, {KEYS[0]: b"new"})
    header = header_on(replica.top, changed.root, 1)
    replica.append(header, b"pov", changed, b"\x00")
    found = replica.candidate_named(header.hash)
    assert found is not None
    assert (found.header, found.pov) == (header, b"pov")
    assert get(replica, changed.root, KEYS[0]) == b"new"
    with pytest.raises(ValueError, match="appended"):
        replica.append(header, b"pov", changed, b"\x00")
    replica.drop()
    assert replica.candidate_named(header.hash) is None
    with pytest.raises(MissingNode):
        replica.get(changed.root)
    replica.close()


def test_another_chains_copy_is_refused(tmp_path) -> None:
    opened(tmp_path).close()
    nodes = update(MemoryStore(), EMPTY_ROOT, {KEYS[1]: b"other"})
    other = Version(height=Height(0), head=Hash(b"h" * 32), root=nodes.root)
    with pytest.raises(UserError, match="another chain"):
        ChainReplica(tmp_path, Beginning(version=other, nodes=nodes))


def test_a_copy_needs_its_beginning_once(tmp_path) -> None:
    with pytest.raises(UserError, match="does not keep the block"):
        ChainReplica(tmp_path, None)
    first = opened(tmp_path)
    first.close()
    again = ChainReplica(tmp_path, None)
    assert again.base == first.base
    assert get_many(again, again.base.root, KEYS[:12]) == [b"start"] * 12
    again.close()
