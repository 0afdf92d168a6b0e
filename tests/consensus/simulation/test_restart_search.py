"""Restarts searched as hard as voting: processes die inside the rules, several of them, over and over.

Every honest node may lose its process whenever it writes, syncs or sends; mostly just where a fallback vote,
a FINALIZE, a fault or a floor is concerned. Meanwhile a leader shows each node another block, equivocates by
halves, dates its blocks into the future, or withholds bodies. Nothing may fork, nobody may contradict what
an earlier process of it signed, and once all is calm everybody must get on (CONSENSUS.md sections 13, 19.3).
"""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from crash_world import CrashWorld, LooseSwitch, epochs_of, scenario_of

from consensus.agreement.messages import Message, Proposal, block_hash, payload_root
from consensus.simulation import byzantine
from consensus.simulation.application import VALID_MARK
from consensus.simulation.byzantine.base import Behaviour, Seat
from consensus.simulation.scenario import Loss, Scenario

RULES = {"SFALL", "NFALL", "NFALL(X)", "FINALIZE", "FaultRecord", "FloorRecord", "BarRecord"}


class EachItsOwn(Behaviour):
    """As leader shows every node another block, each with its own vote, and sends each to that node alone."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._shown: dict[tuple[int, int], Proposal] = {}

    def outgoing(self, destination: int, message: Message) -> None:
        """Another block for each destination; the same one again when it is sent again."""
        if not (isinstance(message, Proposal) and message.header.proposer == self.seat.index):
            self.seat.send(destination, message)
            return
        key = (message.header.view, destination)
        if key not in self._shown:
            self._shown[key] = self._variant(message, destination)
        self.seat.send(destination, self._shown[key])

    def _variant(self, honest: Proposal, destination: int) -> Proposal:
        payload = VALID_MARK + b"for %d" % destination
        header = replace(honest.header, payload_root=payload_root(payload), payload_len=len(payload))
        return self.seat.proposal(header, payload, honest)


class ByHalves(EachItsOwn):
    """The same with two blocks: those for even nodes, and those for odd ones."""

    def _variant(self, honest: Proposal, destination: int) -> Proposal:
        variant = super()._variant(honest, destination % 2)
        assert block_hash(variant.header) != block_hash(honest.header)
        return variant


BEHAVIOURS = ("each_its_own", "by_halves", "future_blocks", "withholds_body", "equivocator")


@pytest.fixture(autouse=True)
def _more_behaviours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(byzantine.BEHAVIOURS, "each_its_own", EachItsOwn)
    monkeypatch.setitem(byzantine.BEHAVIOURS, "by_halves", ByHalves)


def search(
    scenario: Scenario, *, deaths: int = 3, loss: Loss = Loss.NOTHING, nodes: int | None = None
) -> Counter[str]:
    """Play a scenario whose honest nodes die up to `deaths` times each; at what kinds of points they did."""
    random = Random(f"restarts:{scenario.seed}")
    honest = sorted({member.node for member in scenario.sets[0]} - scenario.faulty)
    switches = [
        LooseSwitch(node, Random(f"{scenario.seed}:{node}"), RULES, deaths=deaths) for node in honest[:nodes]
    ]
    bound_us = scenario.network.bound_us
    world = CrashWorld(
        scenario,
        switches,
        away_us=lambda: random.randrange(1, 12 * bound_us),
        keeps=bool(scenario.seed % 2),
        loss=loss,
    )
    report = world.run()
    assert not report.violations, (scenario.seed, dict(scenario.byzantine), report.violations[0])
    return Counter(kind for each in switches for point in each.killed_at for kind in point.label.split())


def sure_to_be_byzantine(scenario: Scenario, behaviour: str) -> Scenario:
    """The scenario with one Byzantine validator of that behaviour, whatever the seed drew."""
    smallest = min(range(len(scenario.stakes)), key=lambda node: (scenario.stakes[node], node))
    return replace(scenario, byzantine=((smallest, behaviour),))


def run_seeds(seeds: range, validators: int, behaviour: str, target: int = 6) -> Counter[str]:
    died: Counter[str] = Counter()
    for seed in seeds:
        drawn = scenario_of(seed, validators=validators, target=target)
        died += search(sure_to_be_byzantine(drawn, behaviour))
    return died


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_restarts_inside_the_rules_neither_fork_nor_stick(behaviour: str) -> None:
    died = run_seeds(range(8), 4, behaviour) + run_seeds(range(3), 7, behaviour, target=4)
    assert sum(died.values()) > 20
    assert died["FloorRecord"] > 0
    if behaviour in ("each_its_own", "by_halves", "equivocator"):
        assert died["FaultRecord"] + died["SFALL"] > 0


def test_the_search_gets_inside_every_rule() -> None:
    died = run_seeds(range(20, 32), 4, "by_halves", target=8) + run_seeds(range(20, 24), 7, "by_halves")
    assert {"SFALL", "FaultRecord", "FloorRecord"} <= set(died)
    assert died["NFALL"] + died["NFALL(X)"] > 0


def test_restarts_across_boundaries_neither_fork_nor_stick() -> None:
    died: Counter[str] = Counter()
    for seed in range(6):
        died += search(epochs_of(seed), deaths=2)
    assert died["FloorRecord"] > 0


def test_amnesia_of_one_node_again_and_again_neither_forks_nor_sticks() -> None:
    """It forgets, learns its bar, and forgets again, at whatever point; alone, so that it is within F."""
    died: Counter[str] = Counter()
    for seed in range(6):
        scenario = replace(scenario_of(seed), byzantine=())
        died += search(scenario, deaths=3, loss=Loss.JOURNAL, nodes=1)
        died += search(replace(epochs_of(seed), byzantine=()), deaths=2, loss=Loss.EVERYTHING, nodes=1)
    assert sum(died.values()) > 10


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_many_restarts_inside_the_rules(behaviour: str) -> None:
    run_seeds(range(1_000, 1_150), 4, behaviour, target=10)
    run_seeds(range(1_000, 1_030), 7, behaviour, target=8)


@pytest.mark.slow
def test_many_restarts_across_boundaries() -> None:
    for seed in range(1_000, 1_150):
        search(epochs_of(seed), deaths=3)
