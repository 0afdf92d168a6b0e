"""One key on two machines, real processes: found, slashed, unseated, and the consumer chain is told of it."""

import pytest
import trio

from bench.chaos_equivocate import broken_promises, run


@pytest.mark.slow
def test_a_validator_that_runs_twice_is_slashed_and_the_consumer_chain_told() -> None:
    report = trio.run(run, 4)
    assert broken_promises(report) == []
    assert report["consumer_notified"] is True
    assert 0 < report["consumer_amount"] <= report["slashed_amount"]
    assert report["removed_at_epoch"] > report["epoch"]
