"""Runs over several epochs: the restart matrix at a boundary, seeds, and schedules within the fault model."""

import json
from dataclasses import replace

import pytest

from consensus.agreement.config import AmnesiaPolicy
from consensus.agreement.messages import Chain, Message, Vote, epoch_of
from consensus.agreement.thresholds import Mode, stake_thresholds
from consensus.simulation import world
from consensus.simulation.__main__ import main
from consensus.simulation.byzantine import BEHAVIOURS
from consensus.simulation.epoch_scenario import FAULTS, draw_epochs
from consensus.simulation.node import Node
from consensus.simulation.runner import Job, Summary, run_all
from consensus.simulation.scenario import Episode, Loss, Moment, Relapse, Scenario
from consensus.simulation.scheduler import SECOND_US
from consensus.simulation.world import World

EPOCHS = 3


def drawn(seed: int, validators: int, faults: tuple[str, ...] = FAULTS) -> Scenario:
    return draw_epochs(
        seed,
        validators=validators,
        epochs=EPOCHS,
        mode=Mode.STRICT,
        behaviours=tuple(BEHAVIOURS),
        faults=faults,
    )


def undisturbed(seed: int, validators: int) -> Scenario:
    """Sets change, and nothing goes wrong."""
    scenario = drawn(seed, validators, ("none",))
    return replace(scenario, late=(), observers=0, amnesia=AmnesiaPolicy.PROBE)


@pytest.mark.parametrize(
    ("seeds", "validators"), [(range(40), 4), (range(1_000, 1_015), 7), (range(50, 55), 10)]
)
def test_seeds_over_three_epochs_break_no_invariant(seeds: range, validators: int) -> None:
    summary = Summary(validators=validators)
    job = Job(validators=validators, epochs=EPOCHS)
    for report in run_all(job, seeds):
        assert not report.violations, f"{job.command(report.seed)} --trace: {report.violations[0]}"
        assert report.epochs_min >= EPOCHS
        summary.add(report)
    assert summary.counters["epochs_begun"] > EPOCHS * len(seeds)
    assert summary.counters["boundaries_by_tails"] > 0
    assert summary.counters["crashes"] > 0


@pytest.mark.parametrize("validators", [1, 2, 3])
def test_small_networks_change_their_sets_too(validators: int) -> None:
    for report in run_all(Job(validators=validators, epochs=2), range(3)):
        assert not report.violations
        assert report.epochs_min >= 2


def test_mode_off_crosses_boundaries_too() -> None:
    for report in run_all(Job(validators=4, epochs=2, mode=Mode.OFF), range(8)):
        assert not report.violations
        assert report.one_round == 0


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("who", ["one", "all"])
def test_restarts_at_every_point_of_a_boundary(moment: Moment, who: str) -> None:
    """Of one node or of all, at once or some microseconds later, at each of three boundaries."""
    for delay_us in (0, 1, 700, 3_000):
        scenario = undisturbed(3, 4)
        nodes = range(scenario.validators) if who == "all" else [2]
        episodes = tuple(
            Episode(node=node, epoch=epoch, moment=moment, delay_us=delay_us, down_us=5_000)
            for node in nodes
            for epoch in (1, 2, 3)
        )
        report = World(replace(scenario, episodes=episodes)).run()
        assert not report.violations, report.violations[0]
        assert report.counters["crashes"] >= len(nodes)


@pytest.mark.parametrize("loss", [Loss.JOURNAL, Loss.EVERYTHING, Loss.STORE])
@pytest.mark.parametrize("moment", list(Moment))
def test_what_is_lost_at_a_boundary_forks_nothing(moment: Moment, loss: Loss) -> None:
    for policy in AmnesiaPolicy if loss.of_memory else [AmnesiaPolicy.PROBE]:
        for node in range(4):
            scenario = undisturbed(5, 4)
            episode = Episode(node=node, epoch=1, moment=moment, delay_us=0, down_us=9_000, loss=loss)
            report = World(replace(scenario, episodes=(episode,), amnesia=policy)).run()
            assert not report.violations, (node, policy, report.violations[0])


def test_one_amnesia_after_another_neither_forks_nor_sticks() -> None:
    """All four lose their journals in turn, over boundaries; each votes again before the next one does."""
    for seed in range(6):
        scenario = undisturbed(seed, 4)
        first = [member.node for member in scenario.sets[0]]
        scenario = replace(
            scenario,
            sets=scenario.sets[:1],
            epoch_blocks=12,
            target=37,
            relapses=tuple(
                Relapse(node=node, delay_us=2_000, down_us=4_000, loss=Loss.JOURNAL) for node in first
            ),
        )
        report = World(scenario).run()
        assert not report.violations, report.violations[0]
        assert report.counters["amnesias"] == 4
        assert report.epochs_min >= EPOCHS


def test_whoever_was_away_for_two_epochs_walks_through_them() -> None:
    scenario = undisturbed(1, 4)
    scenario = replace(scenario, sets=scenario.sets[:1])
    away = Episode(node=1, epoch=1, moment=Moment.NEARING, delay_us=0, down_us=1_000, until_epoch=3)
    report = World(replace(scenario, episodes=(away,))).run()
    assert not report.violations, report.violations[0]
    assert report.epochs_min >= EPOCHS


# --- the checkers see what crosses a boundary


class Restless(Node):
    """Goes on voting for an epoch that has ended, in the one that follows."""

    def _send(self, message: Message, destinations) -> None:
        engine = self.engine
        if isinstance(message, Vote) and engine is not None and engine.epoch > 1:
            message = replace(message, epoch=type(message.epoch)(1))
        super()._send(message, destinations)


class Overflowing(Node):
    """Serves pieces of the chain that do not end where the epoch does."""

    def _send(self, message: Message, destinations) -> None:
        if isinstance(message, Chain) and message.blocks:
            last = min(len(self.store.blocks), message.first + 9)
            message = self.store.serve(message.first, last)
        super()._send(message, destinations)


@pytest.mark.parametrize(("node_class", "invariant"), [(Restless, "I4"), (Overflowing, "I5")])
def test_a_node_that_mixes_epochs_is_caught(
    node_class: type[Node], invariant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "LIVENESS_US", 2 * SECOND_US)
    scenario = undisturbed(1, 4)
    away = Episode(node=1, epoch=1, moment=Moment.NEARING, delay_us=0, down_us=1_000, until_epoch=3)
    scenario = replace(scenario, sets=scenario.sets[:1], episodes=(away,))
    report = World(scenario, node_class=node_class).run()
    assert invariant in {violation.invariant for violation in report.violations}


# --- schedules


@pytest.mark.parametrize("validators", [4, 5, 7, 10])
def test_the_faulty_stake_is_within_what_every_epoch_tolerates(validators: int) -> None:
    for seed in range(150):
        scenario = drawn(seed, validators)
        lost = {episode.node for episode in scenario.episodes if episode.loss is not Loss.NOTHING}
        away = {episode.node for episode in scenario.episodes if episode.until_epoch is not None}
        relapsing = {relapse.node for relapse in scenario.relapses}
        assert len(scenario.sets) == EPOCHS + 1
        for members in scenario.sets:
            stake = {member.node: member.stake for member in members}
            allowed = stake_thresholds(sum(stake.values())).faulty
            constant = sum(stake.get(node, 0) for node in scenario.faulty | lost | away)
            assert constant <= allowed
            assert all(constant + stake.get(node, 0) <= allowed for node in relapsing)
            assert max(stake.values()) <= allowed


def test_the_seeds_reach_every_kind_of_fault_and_change() -> None:
    scenarios = [drawn(seed, 7) for seed in range(400)]
    assert {name for each in scenarios for _, name in each.byzantine} == set(BEHAVIOURS)
    episodes = [episode for each in scenarios for episode in each.episodes]
    assert {episode.loss for episode in episodes} == set(Loss)
    assert {episode.moment for episode in episodes} == set(Moment)
    assert any(episode.until_epoch for episode in episodes)
    assert any(each.relapses for each in scenarios)
    assert any(each.late for each in scenarios)
    assert any(abs(skew) > 500 for each in scenarios for skew in each.skews_ms)
    assert {each.amnesia for each in scenarios} == set(AmnesiaPolicy)
    for each in scenarios:
        for before, after in zip(each.sets, each.sets[1:], strict=False):
            assert sorted(before, key=str) != sorted(after, key=str)
    sizes = {(len(a), len(b)) for each in scenarios for a, b in zip(each.sets, each.sets[1:], strict=False)}
    assert any(a < b for a, b in sizes)
    assert any(a > b for a, b in sizes)


# --- the command


def test_reports_do_not_depend_on_how_many_processes_made_them() -> None:
    job = Job(validators=4, epochs=2)
    assert list(run_all(job, range(6), processes=2)) == list(run_all(job, range(6)))


def test_the_command_of_the_issue_gives_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    command = "--seeds 0..2 --validators 4,7 --epochs 3 --faults all --json --jobs 1"
    assert main(command.split()) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["violations"], result["seeds"], result["epochs"]) == (0, 4, 3)
    assert [each["validators"] for each in result["sizes"]] == [4, 7]
    assert min(each["finalized_min"] for each in result["sizes"]) == result["finalized_min"] > 0
    assert all(each["seconds"] >= 0 and each["epochs_min"] >= 3 for each in result["sizes"])


def test_a_fault_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("--epochs 2 --faults gremlins", "--faults all"):
        with pytest.raises(SystemExit):
            main(wrong.split())
    assert "gremlins" in capsys.readouterr().err


def test_votes_of_an_epoch_come_only_from_its_members() -> None:
    """The other way round than I4 checks it: over the trace of what honest nodes sent."""
    sent: list[tuple[int, Message]] = []

    class Noting(Node):
        def _send(self, message: Message, destinations) -> None:
            sent.append((self.index, message))
            super()._send(message, destinations)

    scenario = undisturbed(2, 5)
    World(scenario, node_class=Noting).run()
    votes = [(node, message) for node, message in sent if isinstance(message, Vote)]
    assert {epoch_of(message) for _, message in votes} >= {1, 2, 3}
    for node, vote in votes:
        members = scenario.sets[min(vote.epoch, len(scenario.sets)) - 1]
        assert members[vote.signer].node == node


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "validators"), [(range(2_000), 4), (range(1_000), 7), (range(500), 10)])
def test_many_seeds_over_three_epochs(seeds: range, validators: int) -> None:
    for report in run_all(Job(validators=validators, epochs=EPOCHS), seeds, processes=2):
        assert not report.violations, (report.seed, report.violations[0])
