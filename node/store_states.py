"""Which tree nodes a store holds: those of the states in a window behind the newest block, and of snapshots.

Nodes are counted. A block adds its counts when it is committed; what it takes away from its parent's version
waits under its height in `stale` until that version leaves the window. A snapshot may be far below the window
(`state_sync.offering`). If the newest one below has the node, which is so if the node was born no later, the
count goes on waiting, for that snapshot, in `waiting`; once the snapshot goes, it is judged again by the next
older one. So a snapshot costs its own nodes: what came after it and went again is not kept for it.

A node that comes back while counts of it still wait keeps its birth, and may so be taken to be in a snapshot
between its two lives; then it goes only when that snapshot does.

Every function works within the write transaction of a batch and does a bounded part of what there is to do.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from struct import Struct
from typing import Any, Final

from consensus.primitives.errors import LocalFault
from consensus.primitives.ids import Hash, Height

HEIGHTS_PER_BATCH: Final = 512
RELEASED_PER_BATCH: Final = (
    1_024  # counts, on top of twice those that come: what waits drains faster than it fills
)
HEIGHT: Final = Struct(">Q")
COUNT: Final = Struct(">I")
NODE: Final = Struct(">IQ")  # count, height of birth; the node's bytes follow
WAITING: Final = Struct(">QQ")  # the snapshot that waits for, the height in `stale`
STALE_ENTRY_BYTES: Final = 32 + COUNT.size

Databases = Mapping[str, Any]


def add_nodes(
    txn: Any,
    databases: Databases,
    nodes: Iterable[tuple[Hash, bytes]],
    changes: Mapping[Hash, int],
    birth: Height,
) -> None:
    """Count each node as many times more as `changes` says; `birth` is the height of the first state with it,
    0 for the state that the store began with."""
    database = databases["nodes"]
    for name, node in nodes:
        held = txn.get(name, db=database)
        count, born = (0, birth) if held is None else NODE.unpack_from(held)
        txn.put(name, NODE.pack(count + changes[name], born) + node, db=database)


def stale_entries(changes: Mapping[Hash, int]) -> bytes:
    """What a block's `stale` row holds: the counts that it takes away."""
    return b"".join(name + COUNT.pack(-change) for name, change in changes.items() if change < 0)


def prune_states(txn: Any, databases: Databases, oldest: int, snapshots: Sequence[int]) -> None:
    """Take away the versions below height `oldest`, but for what the `snapshots` (ascending) have of them,
    and what waited for a snapshot that is none of these any more.

    Raises LocalFault if a counted node is missing.
    """
    (pruned,) = HEIGHT.unpack(txn.get(b"pruned", db=databases["meta"]))
    last = min(oldest, pruned + HEIGHTS_PER_BATCH)
    came = 0
    for height in range(pruned + 1, last + 1):
        stale = txn.pop(HEIGHT.pack(height), db=databases["stale"]) or b""
        came += len(stale) // STALE_ENTRY_BYTES
        _take_away(txn, databases, stale, height, _newest_below(snapshots, height))
    if last > pruned:
        txn.put(b"pruned", HEIGHT.pack(last), db=databases["meta"])
    _release(txn, databases, snapshots, RELEASED_PER_BATCH + 2 * came)


def _release(txn: Any, databases: Databases, snapshots: Sequence[int], entries: int) -> None:
    """Judge again what waited for a snapshot that is gone, some `entries` of it: whole rows, at least one."""
    waiting, place = databases["waiting"], b""
    with txn.cursor(db=waiting) as cursor:
        while entries > 0 and cursor.set_range(place):
            key = bytes(cursor.key())
            snapshot, height = WAITING.unpack(key)
            if snapshot in snapshots:
                place = WAITING.pack(snapshot + 1, 0)
                continue
            stale = txn.pop(key, db=waiting)
            _take_away(txn, databases, stale, height, _newest_below(snapshots, snapshot))
            entries -= len(stale) // STALE_ENTRY_BYTES
            place = key


def _newest_below(snapshots: Sequence[int], height: int) -> int | None:
    index = bisect_left(snapshots, height)
    return snapshots[index - 1] if index else None


def _take_away(txn: Any, databases: Databases, stale: bytes, height: int, snapshot: int | None) -> None:
    """Take away the counts of one row of `stale`, or let those wait whose nodes `snapshot` has."""
    database = databases["nodes"]
    waiting: list[bytes] = []
    for start in range(0, len(stale), STALE_ENTRY_BYTES):
        entry = stale[start : start + STALE_ENTRY_BYTES]
        name = entry[:32]
        (less,) = COUNT.unpack_from(entry, 32)
        held = txn.get(name, db=database)
        if held is None:
            raise LocalFault("the store is inconsistent: a counted tree node is missing; fetch it anew")
        count, born = NODE.unpack_from(held)
        if snapshot is not None and born <= snapshot:
            waiting.append(entry)
        elif count > less:
            txn.put(name, NODE.pack(count - less, born) + held[NODE.size :], db=database)
        else:
            txn.delete(name, db=database)
    if waiting and snapshot is not None:
        txn.put(WAITING.pack(snapshot, height), b"".join(waiting), db=databases["waiting"])
