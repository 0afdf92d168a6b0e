"""A virtual disk: a journal with sync points, and what a crash leaves of it (CONSENSUS.md section 13.1).

Groups of records are written in order and become durable by a sync that takes time; groups that arrive
during a sync share the next one (group commit). A crash keeps all that was synced and any prefix of what was
not: those groups reached the platter by luck. The next group may be *torn*: the checksum over a whole group
makes that the same as absent. What survives is read back through the records' codec.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from consensus.agreement.journal_records import (
    AmnesiaRecord,
    BlockRecord,
    FloorRecord,
    JournalRecord,
    SignedRecord,
    decode_record,
    encode_record,
)
from consensus.agreement.messages import block_hash
from consensus.primitives.ids import Epoch, Hash, View
from consensus.simulation.scheduler import Scheduler

SLOW_ONE_IN: Final = 20  # on a slow disk, one sync in so many stalls

Group = tuple[JournalRecord, ...]
VoteKey = tuple[int, int, int, Hash, Hash]  # epoch, kind, view, block, aux


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPlan:
    """How long a sync takes, in microseconds. A slow disk stalls now and then for up to `stall_us`."""

    sync_least_us: int
    sync_most_us: int
    stall_us: int = 0


@dataclass(slots=True)
class DiskCounters:
    """What the disk did, so that one sees that the schedule did something."""

    syncs: int = 0
    stalls: int = 0
    groups_lost: int = 0
    groups_torn: int = 0
    rewrites: int = 0
    wiped: int = 0


class Journal:
    """One validator's journal file. It outlives the process that writes it."""

    def __init__(self, plan: DiskPlan, random: Random, scheduler: Scheduler) -> None:
        self.counters = DiskCounters()
        self._plan = plan
        self._random = random
        self._scheduler = scheduler
        self._durable: list[Group] = []
        self._lost = False  # the file was lost, and nothing that says so has become durable since
        self._written: list[tuple[Group, Callable[[], None]]] = []  # not yet synced
        self._syncing = False
        self._process = 0  # a sync that was under way when the process died tells nobody
        self._index = _Index()

    def append(self, records: Sequence[JournalRecord], then: Callable[[], None]) -> None:
        """Write a group; `then` is called once it is durable, unless the process crashes before."""
        self._written.append((tuple(records), then))
        if not self._syncing:
            self._sync()

    def rewrite(self, records: Sequence[JournalRecord]) -> bool:
        """Replace the file by `records` in one step, as write-sync-rename does; False while busy or lost."""
        if self._written or self._syncing or self._lost:
            return False
        self._durable = [tuple(records)]
        self._index = _Index()
        self._index.add(records)
        self.counters.rewrites += 1
        return True

    @property
    def group_count(self) -> int:
        """Durable groups in the file."""
        return len(self._durable)

    def crash(self, *, lose_file: bool) -> None:
        """The process dies now; with `lose_file` the file goes with it."""
        self._process += 1
        self._syncing = False
        written, self._written = self._written, []
        if lose_file:
            self._durable = []
            self._lost = True
            self._index = _Index()
            self.counters.wiped += 1
            return
        kept = self._random.randint(0, len(written))
        for group, _ in written[:kept]:
            self._keep(group)
        lost = len(written) - kept
        if lost and self._random.randrange(2):
            self.counters.groups_torn += 1
        self.counters.groups_lost += lost

    def read(self) -> tuple[JournalRecord, ...] | None:
        """What a starting process finds; None if the file is gone.

        A lost file stays lost until an AmnesiaRecord is durable: a process that begins a new file and dies
        before that must not be taken, next time, for one that never signed anything.
        """
        if self._lost:
            return None
        return tuple(decode_record(encode_record(record)) for group in self._durable for record in group)

    def holds_vote(self, key: VoteKey) -> bool:
        """Whether a crash right now would leave the record of this vote, or a floor above it."""
        return key in self._index.votes or (key[0], key[2]) <= self._index.floor

    def holds_block(self, block: Hash, epoch: Epoch, view: View) -> bool:
        """Whether a crash right now would leave the body of this block, or a floor above its view."""
        return block in self._index.blocks or (epoch, view) <= self._index.floor

    def _sync(self) -> None:
        self._syncing = True
        self.counters.syncs += 1
        batch = len(self._written)
        process = self._process
        delay_us = self._random.randint(self._plan.sync_least_us, self._plan.sync_most_us)
        if self._plan.stall_us and not self._random.randrange(SLOW_ONE_IN):
            self.counters.stalls += 1
            delay_us += self._random.randint(0, self._plan.stall_us)
        self._scheduler.after(delay_us, lambda: self._synced(process, batch))

    def _synced(self, process: int, batch: int) -> None:
        if process != self._process:
            return
        done, self._written = self._written[:batch], self._written[batch:]
        for group, _ in done:
            self._keep(group)
        self._syncing = False
        for _, then in done:
            then()
        if self._written and not self._syncing:
            self._sync()

    def _keep(self, group: Group) -> None:
        self._durable.append(group)
        if self._lost and any(isinstance(record, AmnesiaRecord) for record in group):
            self._lost = False
        self._index.add(group)


class _Index:
    """What the durable records say, for the checker of journal-before-wire."""

    def __init__(self) -> None:
        self.votes: set[VoteKey] = set()
        self.blocks: set[Hash] = set()
        self.floor = (0, 0)  # epoch, view

    def add(self, records: Sequence[JournalRecord]) -> None:
        for record in records:
            if isinstance(record, SignedRecord):
                self.votes.add((record.epoch, record.kind, record.view, record.block, record.aux))
            elif isinstance(record, BlockRecord):
                self.blocks.add(block_hash(record.header))
            elif isinstance(record, FloorRecord):
                self.floor = max(self.floor, (record.epoch, record.view))
