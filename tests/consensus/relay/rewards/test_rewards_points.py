"""Sharing an epoch's reward out by what each did: exact, and nobody gains by another's absence."""

from dataclasses import replace
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from consensus.relay.parameters import BILLION
from consensus.relay.rewards.points import Duties, Parts, share_out

AMOUNTS = st.integers(0, 1 << 90)
PARTS = Parts(block_ppb=62_500_000, inclusion_ppb=62_500_000, attest_ppb=125_000_000)


@st.composite
def epochs(draw: st.DrawFn) -> tuple[list[Duties], int]:
    """The duties of a few members, and how many samples there were."""
    samples, candidates = draw(st.integers(0, 30)), draw(st.integers(0, 5))
    count = draw(st.integers(1, 7))
    room, members = samples * BILLION, []
    for _ in range(count):
        included = draw(st.integers(0, room))
        room -= included
        members.append(
            Duties(
                power=draw(st.integers(1, 1 << 64)),
                seen=draw(st.integers(0, samples)),
                proposed=draw(st.integers(0, 9)),
                missed=draw(st.integers(0, 3)),
                included=included,
                asked=candidates,
                attested=draw(st.integers(0, candidates)),
                good=draw(st.booleans()),
            )
        )
    return members, samples


@given(AMOUNTS, epochs())
def test_every_unit_is_somebodys_or_nobodys(amount: int, epoch: tuple[list[Duties], int]) -> None:
    members, samples = epoch
    earned = share_out(amount, members, samples, PARTS)
    assert sum(earned.members) + earned.nobody == amount
    assert all(units >= 0 for units in earned.members)
    assert all(not units for units, each in zip(earned.members, members, strict=True) if not each.good)


@given(AMOUNTS, epochs(), st.data())
def test_nobody_earns_more_because_another_did_less(
    amount: int, epoch: tuple[list[Duties], int], data: st.DataObject
) -> None:
    """But for a unit of rounding in each of the four parts."""
    members, samples = epoch
    lazy = data.draw(st.integers(0, len(members) - 1))
    worse = list(members)
    worse[lazy] = replace(
        members[lazy],
        seen=data.draw(st.integers(0, members[lazy].seen)),
        attested=data.draw(st.integers(0, members[lazy].attested)),
        included=data.draw(st.integers(0, members[lazy].included)),
        proposed=0,
        missed=members[lazy].missed + members[lazy].proposed,
    )
    before = share_out(amount, members, samples, PARTS).members
    after = share_out(amount, worse, samples, PARTS).members
    for index in range(len(members)):
        assert after[index] <= before[index] + 4


@given(st.integers(0, 1 << 32), st.lists(st.integers(1, 1 << 40), min_size=1, max_size=6), st.integers(1, 9))
def test_who_does_everything_gets_its_part_of_the_power(amount: int, powers: list[int], rounds: int) -> None:
    """All present: votes and attestations by power, blocks and inclusion by what each brought."""
    members = [
        Duties(
            power=power,
            seen=rounds,
            proposed=rounds,
            missed=0,
            included=rounds * BILLION // len(powers),
            asked=3,
            attested=3,
        )
        for power in powers
    ]
    earned = share_out(amount, members, rounds, PARTS)
    by_power = Fraction(BILLION - PARTS.block_ppb - PARTS.inclusion_ppb, BILLION)
    for units, power in zip(earned.members, powers, strict=True):
        equal = Fraction(PARTS.block_ppb + PARTS.inclusion_ppb, BILLION) / len(powers)
        due = amount * (by_power * power / sum(powers) + equal)
        assert abs(units - due) < 6
    assert earned.nobody < 6


def test_absence_costs_its_part_and_goes_to_nobody() -> None:
    present = Duties(power=50, seen=10, proposed=5, missed=0, included=5 * BILLION)
    absent = replace(present, seen=0, proposed=0, missed=5, included=0)
    earned = share_out(16_000, [present, absent], 10, PARTS)
    # votes 14,000 (no candidate was decided: their part is the votes'), blocks 1,000, inclusion 1,000
    assert earned.members == [7_000 + 500 + 500, 0]
    assert earned.nobody == 8_000


def test_who_is_in_two_of_three_inclusions_has_attested_enough() -> None:
    """An inclusion takes no more than it needs: three of four, and not always the same."""
    alone = Parts(block_ppb=0, inclusion_ppb=0, attest_ppb=BILLION)
    attested = (12, 9, 8, 4, 0)
    members = [
        Duties(power=10, seen=0, proposed=0, missed=0, included=0, asked=12, attested=count)
        for count in attested
    ]
    earned = share_out(5_000, members, 0, alone)
    assert earned.members == [1_000, 1_000, 1_000, 500, 0]
    assert earned.nobody == 1_500


def test_an_epoch_too_short_for_samples_is_shared_by_power() -> None:
    idle = [Duties(power=power, seen=0, proposed=0, missed=0, included=0) for power in (3, 1)]
    assert share_out(1_000, idle, 0, PARTS).members == [750, 250]
    assert share_out(1_000, [replace(idle[0], good=False), idle[1]], 0, PARTS).nobody == 750
