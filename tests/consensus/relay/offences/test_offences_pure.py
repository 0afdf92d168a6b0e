"""The table of offences, how correlation prices them, and the meter in front of the burning."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consensus.agreement.evidence import GRAVE, Offence
from consensus.primitives.ids import Hash
from consensus.relay.offences.correlation import correlated_ppb
from consensus.relay.offences.meter import HOUR_MS, capacity, draw, fill, full
from consensus.relay.offences.table import TABLE, Grounds, OffenceKind
from consensus.relay.parameters import BILLION, Parameters
from consensus.relay.ring import Ring
from consensus.relay.stake.records import Standing

AMOUNTS = st.integers(0, 10**12)


def test_the_table_has_every_offence_under_the_number_of_agreement() -> None:
    assert set(TABLE) == set(OffenceKind)
    for each in Offence:
        assert OffenceKind[each.name] == each
        row = TABLE[OffenceKind(each)]
        assert row.grounds is Grounds.SIGNATURES
        assert (row.standing is Standing.TOMBSTONED) == (each in GRAVE)


def test_what_signatures_prove_nobody_can_undo_and_alone_is_correlated() -> None:
    for row in TABLE.values():
        assert row.vetoable == (row.grounds is not Grounds.SIGNATURES)
        assert not row.correlated or row.grounds is Grounds.SIGNATURES


def test_whoever_is_punished_harder_by_default_has_done_the_graver_thing() -> None:
    parameters = Parameters()
    by_gravity = sorted(TABLE.values(), key=lambda row: row.gravity)
    tombstones = [row.gravity for row in by_gravity if row.standing is Standing.TOMBSTONED]
    jails = [row.gravity for row in by_gravity if row.standing is Standing.JAILED]
    assert max(jails) < min(tombstones)
    for grounds in Grounds:
        prices = [row.fraction_ppb(parameters) for row in by_gravity if row.grounds is grounds]
        assert prices == sorted(prices)


@given(st.integers(0, 10**30), st.integers(1, 10**30), st.integers(0, 255))
def test_correlation_is_the_square_of_the_share_rounded_down_and_never_above_all(
    part: int, rest: int, factor: int
) -> None:
    total = part + rest
    found = correlated_ppb(part, total, factor)
    exact = factor**2 * part**2 * BILLION  # over total ** 2
    assert (
        found == BILLION
        if exact >= BILLION * total**2
        else found * total**2 <= exact < (found + 1) * total**2
    )


def test_correlation_against_worked_examples() -> None:
    """Polkadot's published example: 3 of 100 offend, (3 * 3 / 100)^2 = 0.81 %."""
    assert correlated_ppb(3, 100, 3) == 8_100_000
    assert correlated_ppb(1, 100, 3) == 900_000
    assert correlated_ppb(1, 3, 3) == correlated_ppb(1, 2, 3) == BILLION
    assert correlated_ppb(0, 0, 3) == 0


STEPS = st.lists(st.tuples(st.integers(0, HOUR_MS), AMOUNTS, AMOUNTS), max_size=40)


@given(AMOUNTS, st.integers(1, BILLION), STEPS)
def test_within_any_hour_no_more_than_the_share_of_the_most_stake_is_released(base, rate, steps) -> None:
    meter, now = full(base, rate, 0), 0
    drawn: list[tuple[int, int]] = []
    for elapsed, amount, stake in steps:
        now += elapsed
        meter = fill(meter, base=stake, rate_ppb=rate, now_ms=now)
        meter, released = draw(meter, amount)
        assert released == amount or meter.level == 0
        drawn.append((now, released))
    most = meter.base * rate // BILLION
    for index, (since, _) in enumerate(drawn):
        within = sum(released for at, released in drawn[index:] if at <= since + HOUR_MS)
        assert within <= max(most, capacity(meter.base, rate)) + 1


@given(
    st.integers(1, 10**9), st.integers(1_000_000, BILLION), st.integers(1, 3 * HOUR_MS), st.integers(1, 10**9)
)
@example(base=13, rate=19_032_514, step=1_800_000, amount=12)  # a bucket of one unit, which is just full
def test_whatever_waits_is_released_in_the_time_that_the_rate_promises(base, rate, step, amount) -> None:
    """Nothing is lost between blocks, however short they are: half of the rate, continuously."""
    amount = min(amount, base)
    meter, now, left = full(base, rate, 0), 0, amount
    hours = 2 * BILLION * amount // (rate * base) + 1
    while now < hours * HOUR_MS and left:
        now += max(step, hours * HOUR_MS // 200)
        meter = fill(meter, base=0, rate_ppb=rate, now_ms=now)
        meter, released = draw(meter, left)
        left -= released
    bursts = capacity(base, rate)
    assert left <= max(0, amount - bursts)
    if hours * HOUR_MS // 200 <= step <= HOUR_MS // 2:  # a bucket of few units overflows in less than an hour
        assert left == 0


def test_a_clock_that_stands_still_or_falls_back_fills_nothing() -> None:
    meter, _ = draw(full(1_000, BILLION, 500), 500)
    for now in (500, 400):
        again = fill(meter, base=0, rate_ppb=BILLION, now_ms=now)
        assert (again.level, again.time_ms) == (0, 500)


class Leaves(dict[Hash, bytes]):
    """A tree that is a dict."""

    def read(self, key: Hash) -> bytes | None:
        return self.get(key)

    def write(self, key: Hash, value: bytes | None) -> None:
        if value is None:
            self.pop(key, None)
        else:
            self[key] = value


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=8), st.booleans())))
def test_a_ring_is_a_queue_and_leaves_one_leaf_an_entry_and_one_of_its_own(moves) -> None:
    leaves = Leaves()
    model: dict[bytes, list[bytes]] = {b"one": [], b"two": []}
    for which, entry, push in moves:
        name = b"one" if which else b"two"
        ring, expected = Ring(leaves, name), model[name]
        if push:
            ring.push(entry)
            expected.append(entry)
        elif expected:
            assert ring.pop() == expected.pop(0)
        assert ring.first() == (expected[0] if expected else None)
        assert list(ring.entries(3)) == expected[:3]
        assert len(ring) == len(expected)
    with pytest.raises(AssertionError, match="promises"):
        Ring(leaves, b"three").pop()
    assert len(leaves) <= 2 + sum(map(len, model.values()))
