"""The economic simulation: it is deterministic, loses no unit, and says what the default parameters do."""

from xml.etree import ElementTree

import pytest

from bench.economics import keys, page, report
from bench.economics.agents import START, Agent
from bench.economics.cases import AGENTS, Case, case_of, simulate
from bench.economics.offending import OFFENCE, Doubling
from bench.economics.plots import Line, Plot
from bench.economics.stage import Party, stage
from bench.economics.sweeps import Difference, difference, run_all
from bench.economics.world import CHAIN, STAKED, seat
from consensus.primitives.ids import Epoch
from consensus.relay.ledger import Pot
from consensus.relay.offences.downtime import MIN_SAMPLES
from consensus.relay.offences.veto import record_of
from consensus.relay.parameters import BILLION, Parameters
from consensus.relay.rewards.participation import participation
from consensus.relay.stake.stakes import Stakes

TENTH = BILLION // 10
SHORT = OFFENCE + 3 - START  # epochs in which an offence is proved and punished


def beside_honest(agent: str, share_ppb: int = TENTH, **terms: object) -> Difference:
    case = case_of(agent, share_ppb, **({"epochs": SHORT} | terms))
    return difference(run_all([case], jobs=1), case)


def staged(kind: type[Agent], borrowed_ppb: int = 0):
    party = Party(kind=kind, share_ppb=TENTH, borrowed_ppb=borrowed_ppb)
    return stage([party], Parameters(), moving=bool(borrowed_ppb), watchful=True, seed=0)


# --- the simulation itself


def test_a_case_comes_out_the_same_again_and_its_seed_decides_who_leads() -> None:
    case = case_of("double signing", TENTH, epochs=SHORT)
    assert simulate(case) == simulate(case)
    honest = Case(agent=Agent.name, epochs=SHORT)
    other = Case(agent=Agent.name, epochs=SHORT, seed=1)
    assert simulate(honest).profit != simulate(other).profit


def test_processes_make_no_difference() -> None:
    cases = [case_of("lazy", TENTH, epochs=1), case_of("evidence spam", TENTH, epochs=1)]
    assert run_all(cases, jobs=1) == run_all(cases, jobs=2)


def test_a_unit_that_nobody_holds_is_noticed() -> None:
    scene = staged(Agent)
    scene.world._accounts.pop()
    with pytest.raises(AssertionError, match="were issued"):
        scene.play.to_epoch(2)


def test_what_is_in_no_pot_and_not_burnt_is_somebodys_wealth() -> None:
    scene = staged(Agent, borrowed_ppb=BILLION // 2)
    scene.play.to_epoch(4)
    world = scene.world
    public = world.supply().burnt + world.registry.existing_chain(CHAIN).balance
    public += sum(
        world.ledger.pot(each) for each in Pot if each is not Pot.REWARDS
    )  # commissions are in that
    private = sum(world.wealth(each) for each in world._accounts)
    assert 0 <= world.held() - public - private < 1_000, "less than a unit for each position"


def test_an_oracles_signature_binds_key_and_message() -> None:
    one, other = seat("one").consensus, seat("other").consensus
    signature = one.sign(b"vote")
    assert keys.verify(one.public, b"vote", signature)
    assert not keys.verify(other.public, b"vote", signature)
    assert not keys.verify(one.public, b"another vote", signature)


def test_an_offence_takes_just_what_the_rules_say() -> None:
    scene = staged(Doubling)
    scene.play.to_epoch(OFFENCE + 3)
    (agent,) = scene.agents
    (offender,) = agent.seats
    found = record_of(scene.world.ledger, offender.account, Epoch(OFFENCE))
    assert found is not None
    share = (3 * TENTH) ** 2 // BILLION  # correlated: alone, with a tenth of the set's power
    assert abs(found.fraction_ppb - share) < BILLION // 1_000
    stake = STAKED // 10
    assert found.taken == scene.play.slashed(agent) == stake * found.fraction_ppb // BILLION


def test_delegators_leave_who_keeps_all_for_itself() -> None:
    scene = staged(AGENTS["greedy"], borrowed_ppb=BILLION // 2)
    name = Stakes.own(scene.agents[0].seats[0].account)
    scene.play.to_epoch(START)
    before = scene.world.stakes.electoral_stake(name, scene.world.epoch)
    scene.play.to_epoch(START + 12)
    after = scene.world.stakes.electoral_stake(name, scene.world.epoch)
    assert 2 * (after - before // 2) < before // 2, "more than half of those who could have left"


def test_an_epoch_has_enough_rounds_to_judge_downtime_by() -> None:
    scene = staged(Agent)
    scene.play.to_epoch(3)
    members = participation(scene.world.ledger, Epoch(2))
    assert members is not None
    assert all(each.expected >= MIN_SAMPLES and each.seen == each.expected for each in members)


# --- what the parameters do


@pytest.mark.parametrize(
    "agent", ["lazy", "blind", "double signing", "self-reporting", "evidence spam", "false accusation"]
)
def test_with_the_default_parameters_it_costs(agent: str) -> None:
    assert beside_honest(agent).units < 0


def test_a_commission_that_could_change_at_once_would_pay() -> None:
    """So the bound on its step does something."""
    unbounded = (("commission_step_ppb", BILLION),)
    assert beside_honest("commission switch", epochs=10).units < 0
    assert beside_honest("commission switch", epochs=10, changes=unbounded).units > 0


def test_without_correlation_a_third_would_pay_as_little_as_one() -> None:
    third = BILLION * 33 // 100
    alone = beside_honest("double signing", third, changes=(("correlation_factor", 0),))
    together = beside_honest("double signing", third)
    assert -0.1 < alone.relative < -0.05
    assert together.relative < -0.9


# --- the report

TINY = report.Extent(
    shares=(TENTH,), epochs=1, sweeps=report.SWEEPS[4:5], splits=report.SPLITS[:1], market_epochs=1
)


@pytest.mark.slow
def test_the_report_has_every_agent_and_its_plots_are_files_that_parse(tmp_path) -> None:
    made = report.run(TINY, jobs=1, tell=lambda _: None)
    path = page.write(made, tmp_path)
    text = path.read_text()
    assert all(f"| {name} |" in text for name in AGENTS)
    assert "nan" not in text
    for plot in (tmp_path / "data").iterdir():
        assert plot.name in text
        assert ElementTree.fromstring(plot.read_text()).tag.endswith("svg")
    assert "copying" in page.report_table(made)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_plot_draws_each_line_within_its_frame(logarithmic: bool) -> None:
    lines = [Line("a & b", [(0, 0.001), (10, 5)]), Line("c", [(2, 1)])]
    svg = Plot(title="t", across="x", upright="y", lines=lines, logarithmic=logarithmic).svg()
    root = ElementTree.fromstring(svg)
    drawn = [each for each in root.iter() if each.tag.endswith("polyline")]
    assert len(drawn) == 2
    for each in drawn:
        for point in each.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 70 <= x <= 550
            assert 40 <= y <= 370
    with pytest.raises(ValueError, match="no points"):
        Plot(title="t", across="x", upright="y", lines=[]).svg()


# --- the claims of bench/ECONOMICS.md

FREE = {
    *(("copying", percent) for percent in (1, 10, 33, 40)),
    *((agent, 40) for agent in ("blind", "false accusation", "stalling a chain")),
}
HALTS = {(agent, 40) for agent in ("lazy", "idle")}


@pytest.mark.slow
@pytest.mark.parametrize("percent", [1, 10, 33, 40])
def test_with_the_default_parameters_every_attack_loses_but_those_that_the_report_names(percent: int) -> None:
    share = BILLION * percent // 100
    cases = [case_of(name, share) for name, kind in AGENTS.items() if kind.attacks]
    results = run_all(cases, jobs=1)
    for case in cases:
        found = report.verdict(difference(results, case))
        named = (case.agent, percent)
        assert found == ("free" if named in FREE else "halts" if named in HALTS else "loses"), named
