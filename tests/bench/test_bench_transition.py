"""The cost of execution: every kind of work in the mix is really done, at every size."""

import pytest

from bench import transition


def test_every_kind_is_executed_and_the_report_says_how_it_grew(monkeypatch) -> None:
    monkeypatch.setattr(transition, "KEYED", 120)
    monkeypatch.setattr(transition, "MIX", dict.fromkeys(transition.MIX, 3))
    monkeypatch.setattr(transition, "PURE", 5)
    monkeypatch.setattr(transition, "EPOCH_BLOCKS", 30)
    report = transition.run((150, 600))
    small, large = report["rows"]
    assert (small["accounts"], large["accounts"], report["growth"]["accounts"]) == (150, 600, 4.0)
    assert set(small["us"]) == set(transition.MIX)
    assert all(each > 0 for row in report["rows"] for each in row["us"].values())
    assert large["new_nodes_per_tx"] > small["new_nodes_per_tx"], "a deeper tree has longer paths"
    assert "redelegate" in transition.report_table(report)


def test_a_transaction_that_does_nothing_is_no_measurement(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(transition, "KEYED", 40)
    ledgers = transition.Ledgers(50, tmp_path)
    with pytest.raises(transition.LocalFault, match="INSUFFICIENT_BALANCE"):
        ledgers.execute([ledgers._sign(0, "transfer", transition.Amount(transition.FUNDS + 1))])
    ledgers.store.close()
