"""The virtual journal: what is durable when, and what a crash leaves."""

from random import Random

from consensus.agreement.journal_records import AmnesiaRecord, FloorRecord, JournalRecord, SignedRecord
from consensus.agreement.messages import Kind
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Height, Signature, View
from consensus.simulation.disk import DiskPlan, Journal
from consensus.simulation.scheduler import Scheduler

EPOCH = Epoch(1)
BLOCK = Hash(bytes([7]) * 32)


def skip(view: int) -> SignedRecord:
    return SignedRecord(
        kind=int(Kind.SKIP),
        epoch=EPOCH,
        view=View(view),
        block=ZERO_HASH,
        aux=ZERO_HASH,
        sig=Signature(bytes(64)),
    )


def journal(seed: int = 1, *, sync_us: int = 100) -> tuple[Journal, Scheduler]:
    scheduler = Scheduler()
    plan = DiskPlan(sync_least_us=sync_us, sync_most_us=sync_us)
    return Journal(plan, Random(seed), scheduler), scheduler


def drain(scheduler: Scheduler) -> None:
    while scheduler.step():
        pass


def test_a_group_is_durable_only_after_its_sync() -> None:
    disk, scheduler = journal(sync_us=100)
    times: list[int] = []
    disk.append([skip(1)], lambda: times.append(scheduler.now_us))
    assert disk.group_count == 0
    assert not disk.holds_vote((EPOCH, Kind.SKIP, 1, ZERO_HASH, ZERO_HASH))
    drain(scheduler)
    assert times == [100]
    assert disk.holds_vote((EPOCH, Kind.SKIP, 1, ZERO_HASH, ZERO_HASH))
    assert disk.read() == (skip(1),)


def test_groups_written_during_a_sync_share_the_next_one() -> None:
    disk, scheduler = journal(sync_us=100)
    times: list[tuple[int, int]] = []
    for view in (1, 2, 3):
        disk.append([skip(view)], lambda view=view: times.append((view, scheduler.now_us)))
    drain(scheduler)
    assert times == [(1, 100), (2, 200), (3, 200)]
    assert disk.counters.syncs == 2


def test_a_crash_keeps_all_that_was_synced_and_a_prefix_of_the_rest() -> None:
    lengths = set()
    for seed in range(64):
        disk, scheduler = journal(seed)
        disk.append([skip(1)], lambda: None)
        drain(scheduler)
        for view in (2, 3, 4):
            disk.append([skip(view)], lambda: None)
        disk.crash(lose_file=False)
        records = disk.read()
        assert records == tuple(skip(view) for view in range(1, 1 + len(records or ())))
        assert records
        lengths.add(len(records))
    assert lengths == {1, 2, 3, 4}


def test_a_dead_process_is_told_nothing_and_the_next_one_can_write() -> None:
    disk, scheduler = journal()
    told: list[str] = []
    disk.append([skip(1)], lambda: told.append("dead"))
    disk.crash(lose_file=False)
    disk.append([skip(9)], lambda: told.append("alive"))
    drain(scheduler)
    assert told == ["alive"]
    assert (disk.read() or ())[-1] == skip(9)


def test_a_lost_file_stays_lost_until_its_loss_is_on_record() -> None:
    disk, scheduler = journal()
    assert disk.read() == ()
    disk.append([skip(1)], lambda: None)
    drain(scheduler)
    disk.crash(lose_file=True)
    assert disk.read() is None
    floor = FloorRecord(epoch=EPOCH, view=View(3), height=Height(2), block=BLOCK)
    disk.append([floor], lambda: None)
    drain(scheduler)
    disk.crash(lose_file=False)
    assert disk.read() is None, "a floor does not say what was signed"
    amnesia = AmnesiaRecord(epoch=EPOCH, nonce=ZERO_HASH)
    disk.append([amnesia], lambda: None)
    drain(scheduler)
    disk.crash(lose_file=False)
    assert disk.read() == (floor, amnesia)


def test_a_rewrite_replaces_the_file_and_waits_for_pending_groups() -> None:
    disk, scheduler = journal()
    snapshot: list[JournalRecord] = [FloorRecord(epoch=EPOCH, view=View(2), height=Height(1), block=BLOCK)]
    for view in (1, 2, 3):
        disk.append([skip(view)], lambda: None)
    assert not disk.rewrite(snapshot)
    drain(scheduler)
    assert disk.rewrite(snapshot)
    disk.crash(lose_file=False)
    assert disk.read() == tuple(snapshot)
    assert disk.holds_vote((EPOCH, Kind.SKIP, 2, ZERO_HASH, ZERO_HASH)), (
        "at the floor nothing need be remembered"
    )
    assert not disk.holds_vote((EPOCH, Kind.SKIP, 3, ZERO_HASH, ZERO_HASH))


def test_a_slow_disk_stalls_now_and_then() -> None:
    scheduler = Scheduler()
    disk = Journal(DiskPlan(sync_least_us=1, sync_most_us=1, stall_us=1_000), Random(3), scheduler)
    for view in range(1, 200):
        disk.append([skip(view)], lambda: None)
        drain(scheduler)
    assert 1 <= disk.counters.stalls < 100
    assert scheduler.now_us > 1_000
