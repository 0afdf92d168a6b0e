"""The Twins schedules: that they are all there, and that they do what they are for."""

from itertools import permutations, product

import pytest

from consensus.agreement.thresholds import Mode
from tests.proof.twins import FOUR, SEVEN, Schedule, _rename, every_schedule, play, random_schedule


def test_every_schedule_is_kept_under_one_of_its_names():
    """Each of the 64 choices of one view, renamed in all ways, is one of those kept."""
    kept = {(schedule.leaders[0], schedule.sides[0]) for schedule in every_schedule(1)}
    for leader, sides in product(range(4), product((0, 1), repeat=4)):
        names = [
            _rename((leader, (0, *sides)), (*honest, *twins))
            for honest in permutations(range(3))
            for twins in ((3, 4), (4, 3))
        ]
        assert len(kept & set(names)) == 1


def test_twins_that_lead_towards_different_halves_are_convicted():
    halves = (0, 0, 1, 0, 1)
    outcome = play(FOUR, Mode.STRICT, Schedule((3, 0, 1), (halves, halves, halves)))
    assert outcome.violation is None
    assert outcome.convicted


@pytest.mark.parametrize("seed", range(3))
def test_seven_validators_of_which_two_have_twins(seed):
    assert play(SEVEN, Mode.STRICT, random_schedule(seed)).violation is None
