"""The arithmetic of the reports: percentiles, pauses, the join of several nodes' traces."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.finality_gaps import longest_gap_ns
from bench.latency import FinalityLatency, summary_ms
from bench.statistics import percentile
from consensus.primitives.ids import Epoch, Hash, Height, Milliseconds, ValidatorIndex, View
from node.api import BlockTrace

durations = st.lists(st.integers(0, 10**9), min_size=1, max_size=200)


@given(durations, st.integers(1, 100))
def test_a_percentile_is_the_least_value_that_covers_its_share(values: list[int], rank: int) -> None:
    found = percentile(values, rank / 100)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= rank * len(values)
    assert sum(value < found for value in values) * 100 < rank * len(values)


def test_no_measurements_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no measurements"):
        percentile([], 0.5)


@given(st.lists(st.integers(0, 1_000), max_size=50), st.integers(0, 900), st.integers(1, 100))
def test_the_longest_gap_is_found_by_looking_everywhere(moments: list[int], start: int, length: int) -> None:
    end = start + length
    last_before = max((at for at in moments if at <= start), default=start)
    first_after = min((at for at in moments if at >= end), default=end)
    silent = sorted({last_before, first_after, *(at for at in moments if start < at < end)})
    expected = max((b - a for a, b in pairwise(silent)), default=0)
    assert longest_gap_ns(moments, start, end) == expected


def test_a_network_that_never_came_back_is_one_long_gap() -> None:
    assert longest_gap_ns([10, 20, 30], 30, 3_000) == 2_970


def _trace(
    height: int, name: bytes, *, proposed: int | None, finalized: int, fast: bool, received: int | None = 105
) -> BlockTrace:
    return BlockTrace(
        height=Height(height),
        epoch=Epoch(1),
        view=View(height),
        hash=Hash(name.ljust(32, b"\0")),
        proposer=ValidatorIndex(0),
        proposed_ns=proposed,
        received_ns=received,
        notarised_ns=None,
        finalized_ns=finalized,
        one_round=fast,
        transactions=0,
        candidates=0,
        enclave_calls=0,
        messages=0,
        time_ms=Milliseconds(0),
    )


def test_traces_of_leader_and_followers_are_joined_by_block() -> None:
    latency = FinalityLatency()
    latency.add(0, [_trace(1, b"a", proposed=100, finalized=130, fast=True)])
    latency.add(1, [_trace(1, b"a", proposed=None, finalized=150, fast=False)])
    latency.add(1, [_trace(1, b"a", proposed=None, finalized=9_000, fast=False)])  # again, after a restart
    assert sorted(latency.latencies_ns()) == [30, 50]
    assert latency.one_round_share() == 1.0
    assert latency.forked_heights == []
    assert summary_ms(latency.latencies_ns()) == {"p50_ms": 0.0, "p90_ms": 0.0, "p99_ms": 0.0}


def test_what_a_node_caught_up_with_has_no_latency() -> None:
    latency = FinalityLatency()
    latency.add(0, [_trace(1, b"a", proposed=100, finalized=130, fast=True)])
    latency.add(1, [_trace(1, b"a", proposed=None, received=None, finalized=9_000, fast=False)])
    assert latency.latencies_ns() == [30]
    assert set(latency.finalized_ns[Hash(b"a".ljust(32, b"\0"))]) == {0, 1}


def test_two_blocks_at_one_height_are_a_fork() -> None:
    latency = FinalityLatency()
    latency.add(0, [_trace(7, b"a", proposed=1, finalized=2, fast=True)])
    latency.add(1, [_trace(7, b"b", proposed=1, finalized=2, fast=True)])
    assert latency.forked_heights == [7]
