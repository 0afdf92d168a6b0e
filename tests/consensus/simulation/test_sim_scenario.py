"""Schedules: within the fault model, varied, and a function of the seed alone."""

from consensus.agreement.thresholds import Mode, stake_thresholds
from consensus.simulation.byzantine import BEHAVIOURS
from consensus.simulation.scenario import Loss, Scenario, draw


def drawn(seed: int, validators: int = 7) -> Scenario:
    return draw(seed, validators=validators, target=20, mode=Mode.STRICT, behaviours=tuple(BEHAVIOURS))


def test_the_faulty_stake_is_never_above_what_is_tolerated() -> None:
    for validators in (1, 2, 3, 4, 5, 7, 10):
        for seed in range(200):
            scenario = drawn(seed, validators)
            allowed = stake_thresholds(sum(scenario.stakes)).faulty
            amnesic = {crash.node for crash in scenario.crashes if crash.loss.of_memory}
            assert sum(scenario.stakes[node] for node in scenario.faulty | amnesic) <= allowed
            assert validators < 4 or max(scenario.stakes) <= allowed


def test_whoever_is_not_faulty_comes_back_and_crashes_do_not_overlap() -> None:
    for seed in range(200):
        scenario = drawn(seed)
        down_until: dict[int, int] = {}
        for crash in scenario.crashes:
            assert crash.at_us >= down_until.get(crash.node, 0)
            if crash.back_us is not None:
                assert crash.at_us < crash.back_us <= scenario.stable_us
                down_until[crash.node] = crash.back_us


def test_the_seeds_reach_every_kind_of_fault() -> None:
    scenarios = [drawn(seed) for seed in range(300)]
    assert {name for each in scenarios for _, name in each.byzantine} == set(BEHAVIOURS)
    losses = {crash.loss for each in scenarios for crash in each.crashes}
    assert losses == {Loss.NOTHING, Loss.JOURNAL, Loss.EVERYTHING}
    assert any(crash.back_us is None for each in scenarios for crash in each.crashes)
    assert any(len(each.crashes) == 7 and len({c.at_us for c in each.crashes}) == 1 for each in scenarios)
    assert any(each.network.partitions for each in scenarios)
    assert any(each.network.gst_us == 0 and not each.faulty for each in scenarios)
    assert any(len(set(each.stakes)) > 1 for each in scenarios)
    assert any(each.observers for each in scenarios)


def test_equal_arguments_give_an_equal_scenario() -> None:
    assert all(drawn(seed) == drawn(seed) for seed in range(50))
    assert drawn(1) != drawn(2)
