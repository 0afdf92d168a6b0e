"""Stages of transactions, who waits for them, and the ring of latency records."""

from dataclasses import replace

import pytest
import trio
import trio.testing

from consensus.agreement.messages import Header, genesis_header
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Height
from consensus.relay.transition import Counters
from node import progress as progress_module
from node import trace as trace_module
from node.api import Stage
from node.progress import Progress
from node.trace import TraceRing

ONE, TWO, BLOCK = (Hash(bytes([index]) * 32) for index in (1, 2, 9))
COUNTERS = Counters(
    transactions=1, void=0, candidates_enacted=0, candidates_rejected=0, enclave_calls=2, messages=3
)


def test_a_transaction_passes_its_stages_and_never_goes_back() -> None:
    progress = Progress()
    assert progress.track(ONE) == (Stage.UNKNOWN, None, None, ())
    progress.accepted(ONE)
    progress.notarised([ONE], Height(4), BLOCK)
    progress.final([ONE], Height(4), BLOCK)
    assert progress.track(ONE)[:3] == (Stage.FINAL, BLOCK, 4)
    progress.notarised([ONE], Height(5), TWO)
    progress.accepted(ONE)
    assert progress.track(ONE)[:3] == (Stage.FINAL, BLOCK, 4)
    progress.final([TWO], Height(5), TWO)
    assert progress.track(ONE)[0] is Stage.PROVED, "the next header carries its receipt"
    assert progress.track(TWO)[0] is Stage.FINAL
    stages = [stage for stage, _ in progress.track(ONE)[3]]
    assert stages == [Stage.ACCEPTED, Stage.NOTARISED, Stage.FINAL, Stage.PROVED]


def test_who_waits_is_told_and_who_gives_up_is_forgotten() -> None:
    progress = Progress()
    woken: list[str] = []

    async def wait(name: str) -> None:
        await progress.changed(ONE)
        woken.append(name)

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "a")
            nursery.start_soon(wait, "b")
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0):
                await progress.changed(ONE)
            with trio.move_on_after(0):
                await progress.changed(TWO)
            progress.accepted(ONE)
        assert sorted(woken) == ["a", "b"]
        assert progress._waiters == {}

    trio.run(run)


def test_only_the_latest_transactions_are_tracked(monkeypatch) -> None:
    monkeypatch.setattr(progress_module, "TRACKED", 3)
    progress = Progress()
    names = [Hash(bytes([index]) * 32) for index in range(5)]
    for name in names:
        progress.accepted(name)
    assert [progress.track(name)[0] for name in names] == [Stage.UNKNOWN] * 2 + [Stage.ACCEPTED] * 3


def header_at(height: int) -> Header:
    first = genesis_header(chain_id_hash=ZERO_HASH, epoch=Epoch(1), time_ms=1, validators_hash=ZERO_HASH)
    return replace(first, height=Height(height))


def name_of(height: int) -> Hash:
    return Hash(height.to_bytes(32, "big"))


def test_a_block_has_the_times_at_which_it_passed() -> None:
    ring = TraceRing()
    ring.received(BLOCK)
    ring.received(BLOCK)
    ring.notarised(BLOCK)
    ring.finalized(BLOCK, one_round=True)
    record = ring.executed(BLOCK, header_at(7), 0, COUNTERS)
    assert record.proposed_ns is None
    assert record.received_ns is not None
    assert record.notarised_ns is not None
    assert record.received_ns <= record.notarised_ns <= record.finalized_ns
    assert record.one_round
    assert (record.height, record.transactions, record.enclave_calls, record.messages) == (7, 1, 2, 3)


def test_a_leader_does_not_receive_its_own_block() -> None:
    ring = TraceRing()
    ring.proposed(BLOCK)
    ring.received(BLOCK)
    ring.finalized(BLOCK, one_round=False)
    record = ring.executed(BLOCK, header_at(1), 0, COUNTERS)
    assert record.proposed_ns is not None
    assert record.received_ns is None


@pytest.mark.parametrize(
    ("after", "limit", "heights"),
    [(0, 10, [4, 5, 6, 7, 8]), (5, 2, [6, 7]), (7, 9, [8]), (8, 9, []), (99, 9, []), (2, 1, [4])],
)
def test_pages_of_the_ring(monkeypatch, after, limit, heights) -> None:
    ring = TraceRing()
    for height in range(4, 9):
        ring.executed(name_of(height), header_at(height), 0, COUNTERS)
    page = ring.page(Height(after), limit)
    assert [each.height for each in page.blocks] == heights
    assert page.next == (heights[-1] if heights else after)


def test_marks_of_blocks_that_never_become_final_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr(trace_module, "IN_FLIGHT", 4)
    ring = TraceRing()
    for height in range(100):
        ring.received(name_of(height))
    assert len(ring._marks) == 4
