"""Bounded flood of small self-authenticating items (transactions, evidence) with a cache of what is known.

The rule that bounds it: an item is passed on at most once by each node, only after its owner has judged it
valid, and never to a peer that is known to have it. What is known is a cache of hashes of fixed size, so a
flood of new items evicts old hashes (an item may then travel twice) and never grows memory.

In a full mesh the origin reaches everybody itself, and passing on only repairs missing links; `fanout`
says how many peers a *relayed* item goes to (`None`: all that lack it; 0: nobody, the pure full mesh).
An item of our own always goes to all.

Seam: a full gossip layer (peer sampling, announce and pull, topic meshes) replaces this class behind the
same three methods `publish`, `first_seen` and `forward`, and the same `send`-like function below it.
"""

import random
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from net.identity import PeerId
from net.lanes import Lane

ITEM_CACHE: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FloodStatistics:
    """Counters since the start, and the size of the cache now."""

    published: int  # our own items
    first_seen: int  # new items from peers
    duplicates: int  # items that a peer sent although we knew them: the price of redundancy
    forwarded: int  # copies handed to `send`, own and relayed
    not_sent: int  # copies that `send` refused (queue full or peer gone); they are not tried again
    cached: int


class Flood:
    """One flood on one lane. Owns no task and no socket; never blocks; not for use from threads."""

    def __init__(
        self,
        *,
        send: Callable[[PeerId, Lane, bytes], bool],
        connected: Callable[[], Collection[PeerId]],
        lane: Lane,
        fanout: int | None = None,
        cache_items: int = ITEM_CACHE,
        choose: random.Random | None = None,
    ) -> None:
        """`send` and `connected` are the methods of a `Transport`, or fakes of them.

        fanout: most peers a relayed item is passed to. cache_items: hashes remembered, about 200 bytes each
        with their holders. choose: the source of the random choice when `fanout` binds (seeded in tests).
        """
        if cache_items < 1 or (fanout is not None and fanout < 0):
            raise ValueError("cache_items must be positive and fanout not negative")
        self._send = send
        self._connected = connected
        self._lane = lane
        self._fanout = fanout
        self._cache_items = cache_items
        self._random = choose if choose is not None else random.Random()
        # item hash -> who is known to have it; oldest first
        self._holders: OrderedDict[bytes, set[PeerId]] = OrderedDict()
        self._published = self._first_seen = self._duplicates = self._forwarded = self._not_sent = 0

    def publish(self, item: bytes) -> bool:
        """Send an item of our own to everybody. False, and nothing is sent, if it was known already."""
        key = self._key(item)
        if key in self._holders:
            return False
        self._published += 1
        self._remember(key)
        self._pass_on(key, item, None)
        return True

    def first_seen(self, sender: PeerId, item: bytes) -> bool:
        """Note that `sender` has the item; True exactly when it is new here and should be judged.

        Call it for every item received, before any costly check. If the item proves invalid, do nothing
        (it stays known, so that the next copy costs one hash); if valid, call `forward`.
        """
        key = self._key(item)
        holders = self._holders.get(key)
        if holders is None:
            self._first_seen += 1
            self._remember(key).add(sender)
            return True
        self._duplicates += 1
        holders.add(sender)
        return False

    def forward(self, item: bytes) -> int:
        """Pass a judged item on to at most `fanout` peers that lack it; returns how many copies went out."""
        key = self._key(item)
        if key not in self._holders:  # evicted while it was being judged
            self._remember(key)
        return self._pass_on(key, item, self._fanout)

    def statistics(self) -> FloodStatistics:
        """A snapshot."""
        return FloodStatistics(
            published=self._published,
            first_seen=self._first_seen,
            duplicates=self._duplicates,
            forwarded=self._forwarded,
            not_sent=self._not_sent,
            cached=len(self._holders),
        )

    def _pass_on(self, key: bytes, item: bytes, limit: int | None) -> int:
        holders = self._holders[key]
        lacking = [peer for peer in self._connected() if peer not in holders]
        if limit is not None and len(lacking) > limit:
            lacking = self._random.sample(lacking, limit)
        copies = 0
        for peer in lacking:
            if self._send(peer, self._lane, item):
                holders.add(peer)
                copies += 1
        self._forwarded += copies
        self._not_sent += len(lacking) - copies
        return copies

    def _remember(self, key: bytes) -> set[PeerId]:
        if len(self._holders) >= self._cache_items:
            self._holders.popitem(last=False)  # of a plain dict this would pass all that went before it
        holders: set[PeerId] = set()
        self._holders[key] = holders
        return holders

    @staticmethod
    def _key(item: bytes) -> bytes:
        return blake3(item).digest()
