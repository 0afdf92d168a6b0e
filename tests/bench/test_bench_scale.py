"""The simulator of wide networks against arithmetic that knows no protocol."""

import pytest

from bench.certificates import run as certificate_costs
from bench.latency_model import expect
from bench.mesh import Mesh
from bench.regions import REGIONS, place
from bench.scale import CASES, TOLERANCE, run
from consensus.agreement.thresholds import Mode


@pytest.mark.parametrize("validators", [4, 7])
@pytest.mark.parametrize("mode", list(Mode))
def test_the_engine_takes_what_distance_takes(validators: int, mode: Mode) -> None:
    """Over whole rotations of leaders: never longer than the worst, and the middle within tolerance."""
    delays = place(validators)
    expected = expect(delays)
    result = Mesh(delays, mode=mode).run(warm_up=validators, blocks=3 * validators)
    wanted = expected.either_us if mode is Mode.STRICT else expected.two_rounds_us
    assert len(result.all_us) == 3 * validators * validators
    assert max(result.all_us) <= wanted[-1]
    middle = sorted(result.all_us)[len(result.all_us) // 2]
    assert abs(middle - wanted[len(wanted) // 2]) <= TOLERANCE * middle


def test_a_run_is_a_function_of_its_arguments() -> None:
    first = Mesh(place(7)).run(warm_up=2, blocks=5)
    assert Mesh(place(7)).run(warm_up=2, blocks=5) == first


def test_the_dead_cost_the_fast_path_and_nothing_else() -> None:
    result = Mesh(place(7), dead=(0, 1)).run(warm_up=3, blocks=10)
    assert not result.one_round_us
    assert len(result.two_rounds_us) == 10 * 5


def test_too_many_dead_are_refused_rather_than_awaited() -> None:
    with pytest.raises(ValueError, match="no quorum"):
        expect(place(4), dead=(0, 1))


def test_the_regions_are_those_of_the_data() -> None:
    assert len(set(REGIONS)) == 10
    with pytest.raises(ValueError, match="atlantis-1"):
        place(4, ["atlantis-1"])
    delays = place(20)
    assert all(delays[a][b] == delays[b][a] for a in range(20) for b in range(20))
    assert all(delays[a][a + 10] > 0 for a in range(10))  # two of one region are not one machine


def test_the_report_stands_by_the_quoted_figures() -> None:
    report = run(10)
    assert [row["validators"] for row in report["rows"]] == [4, 10]
    assert report["within_tolerance"]
    assert {case.validators for case in CASES} >= {4, 10, 50, 200}


def test_certificates_cost_a_quorum_of_checks_once() -> None:
    (row,) = certificate_costs((7,))["rows"]
    assert row["signatures"] == 5 + 1  # a quorum of votes and the leader's
    assert row["remembered_ms"] < row["stranger_ms"]
    assert 5 <= row["checked_per_block"] < row["received_per_block"]
