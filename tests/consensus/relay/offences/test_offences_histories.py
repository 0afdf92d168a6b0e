"""Whatever is convicted, vetoed, lapses and is burnt, in whatever order: to the unit, and once."""

from dataclasses import replace
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offences_world import ACCOUNTS, HOUR_MS, Court, settled
from relay_fakes import ALL_ACCOUNTS, USERS

from consensus.primitives.ids import ChainId, Epoch
from consensus.relay.ledger import Pot
from consensus.relay.offences import veto as veto_module
from consensus.relay.offences.convicting import convict, convict_allocation, stands_against
from consensus.relay.offences.records import CaseState, OffenceRecord, offence_key
from consensus.relay.offences.table import TABLE, Grounds, OffenceKind
from consensus.relay.offences.veto import find_case, open_cases, record_of, veto
from consensus.relay.parameters import BILLION
from consensus.relay.receipts import Code
from consensus.relay.stake.records import PoolKind, Standing

NETWORKS = {
    "default": settled(),
    "free": settled(correlation_factor=0, slash_downtime_ppb=10_000_000),
    "steep": settled(
        slash_double_ppb=300_000_000, slash_contradiction_ppb=1, slash_accusation_ppb=999_999_999
    ),
}
COURT = st.sampled_from(sorted(NETWORKS))
MEMBER = st.integers(0, 3)
KIND = st.sampled_from(list(OffenceKind))
EPOCH = st.integers(1, 3)
REPORTER = st.sampled_from([None, USERS[5].public, *ACCOUNTS])


def expected_ppb(court: Court, kinds: dict[int, set[OffenceKind]], index: int) -> int:
    """What a member owes in the end, by the words of the table, computed without the code under test."""
    parameters = court.run.parameters
    prices = {
        OffenceKind.CONTRADICTORY_STATEMENTS: parameters.slash_double_ppb,
        OffenceKind.ATTESTED_INVALID: parameters.slash_invalid_ppb,
        OffenceKind.FALSE_ACCUSATION: parameters.slash_accusation_ppb,
        OffenceKind.DOWNTIME: parameters.slash_downtime_ppb,
    }
    for number in (1, 2, 4, 6):
        prices[OffenceKind(number)] = parameters.slash_double_ppb
    for number in (3, 5, 7):
        prices[OffenceKind(number)] = parameters.slash_contradiction_ppb
    owed = max((prices[kind] for kind in kinds[index]), default=0)
    stakes = [each.stake for each in court.network.view.epoch_set(Epoch(2)).members]
    accounts = [each.account for each in court.network.view.epoch_set(Epoch(2)).members]
    guilty = [
        stakes[accounts.index(ACCOUNTS[other])]
        for other, held in kinds.items()
        if any(TABLE[kind].grounds is Grounds.SIGNATURES for kind in held)
    ]
    if any(TABLE[kind].grounds is Grounds.SIGNATURES for kind in kinds[index]):
        share = Fraction(sum(guilty), sum(stakes)) * parameters.correlation_factor
        owed = max(owed, floor(min(Fraction(1), share**2) * BILLION))
    return owed


@settings(max_examples=150, deadline=None)
@given(COURT, st.lists(st.tuples(MEMBER, KIND, REPORTER), max_size=14))
def test_one_epoch_costs_its_exposure_times_the_fraction_exactly_in_whatever_order(name, offences) -> None:
    """Without a veto: each edge of the exposure, rounded down; what came first, escalated or is correlated is
    all the same in the end."""
    court = Court(NETWORKS[name])
    bonded = court.run.stakes.total_bonded()
    kinds: dict[int, set[OffenceKind]] = {index: set() for index in range(4)}
    for index, kind, reporter in offences:
        if stands_against(record_of(court.ledger, ACCOUNTS[index], Epoch(2)), kind):
            continue
        kinds[index].add(kind)
        convict(court.run, ACCOUNTS[index], Epoch(2), kind, reporter=reporter)
        court.check()
    court.drain()
    court.check()
    due = 0
    for index in range(4):
        part = expected_ppb(court, kinds, index)
        owed = sum(edge.amount * part // BILLION for edge in court.exposure(index, 2).edges)
        record = record_of(court.ledger, ACCOUNTS[index], Epoch(2))
        assert (0 if record is None else record.taken) == owed
        due += owed
    assert bonded - court.run.stakes.total_bonded() == due
    assert court.ledger.pot(Pot.SLASHED) == 0
    burnt = court.supply().burnt - court.network.view.supply().burnt
    assert 2 * burnt >= due


STEP = st.one_of(
    st.tuples(st.just("convict"), MEMBER, KIND, EPOCH, REPORTER),
    st.tuples(st.just("allocated"), MEMBER, st.integers(1, 3), EPOCH, st.integers(0, 3_000)),
    st.tuples(st.just("veto"), st.integers(1, 12)),
    st.tuples(st.just("wait"), st.integers(0, 15)),
)


def play(court: Court, steps) -> None:
    for step, *rest in steps:
        bonded, pot = court.run.stakes.total_bonded(), court.ledger.pot(Pot.SLASHED)
        if step == "convict":
            index, kind, epoch, reporter = rest
            if stands_against(record_of(court.ledger, ACCOUNTS[index], Epoch(epoch)), kind):
                continue
            cut = convict(court.run, ACCOUNTS[index], Epoch(epoch), kind, reporter=reporter)
            assert cut == bonded - court.run.stakes.total_bonded()
            assert court.ledger.pot(Pot.SLASHED) == pot + cut, "frozen at once"
        elif step == "allocated":
            index, chain, epoch, allocated = rest
            cut = convict_allocation(
                court.run,
                ACCOUNTS[index],
                Epoch(epoch),
                OffenceKind.ATTESTED_INVALID,
                chain=ChainId(chain),
                allocated=allocated,
            )
            assert (cut or 0) == bonded - court.run.stakes.total_bonded()
            assert (cut or 0) <= allocated
        elif step == "veto":
            open_one(court, rest[0])
        else:
            court.wait(rest[0] * HOUR_MS)
        court.check()
    for index in range(4):
        for epoch in (1, 2, 3):
            record = record_of(court.ledger, ACCOUNTS[index], Epoch(epoch))
            assert record is None or record.taken <= court.exposure(index, epoch).total


def open_one(court: Court, number: int) -> None:
    """Veto a case: an answer of NO_SUCH_CASE changes nothing, another removes what is contested."""
    case = find_case(court.ledger, number)
    code = veto(court.run, number)
    is_open = case is not None and case.state == 1 and court.now_ms < case.until_ms
    assert code == (Code.OK if is_open else Code.NO_SUCH_CASE)
    if is_open:
        assert case is not None
        record = record_of(court.ledger, case.account, case.epoch)
        assert record is None or (record.pending is None and record.case == 0)
        assert veto(court.run, number) == Code.NO_SUCH_CASE


@settings(max_examples=150, deadline=None)
@given(COURT, st.lists(STEP, max_size=25))
def test_any_history_conserves_every_unit_and_drains(name, steps) -> None:
    court = Court(NETWORKS[name])
    play(court, steps)
    court.drain()
    court.check()
    assert court.ledger.pot(Pot.SLASHED) == 0
    assert court.contested() == 0


@pytest.mark.slow
@settings(max_examples=3_000, deadline=None)
@given(COURT, st.lists(STEP, max_size=60))
def test_many_histories_conserve_every_unit_and_drain(name, steps) -> None:
    court = Court(NETWORKS[name])
    play(court, steps)
    court.drain()
    court.check()
    assert court.ledger.pot(Pot.SLASHED) == 0


VETOABLE = st.sampled_from([kind for kind in OffenceKind if TABLE[kind].vetoable])


def worths(court: Court) -> list[int]:
    """What every position of every account is worth."""
    stakes = court.run.stakes
    return [
        stakes.value(holding.pool, account) for account in ALL_ACCOUNTS for holding in stakes.held_by(account)
    ]


@settings(max_examples=60, deadline=None)
@given(COURT, st.lists(st.tuples(MEMBER, VETOABLE), min_size=1, max_size=6), st.integers(0, 9))
def test_a_veto_gives_back_exactly_what_was_taken_to_whom_it_was_taken_from(name, offences, hours) -> None:
    court = Court(NETWORKS[name])
    before, bonded = worths(court), court.run.stakes.total_bonded()
    burnt = court.supply().burnt
    for index, kind in offences:
        if not stands_against(record_of(court.ledger, ACCOUNTS[index], Epoch(2)), kind):
            convict(court.run, ACCOUNTS[index], Epoch(2), kind, reporter=USERS[5].public)
    court.wait(hours * HOUR_MS)
    for case in open_cases(court.ledger, 100):
        assert veto(court.run, case.number) == Code.OK
    court.drain()
    court.check()
    assert court.run.stakes.total_bonded() == bonded
    assert worths(court) == before
    assert court.supply().burnt == burnt
    for index, kind in offences:
        if court.run.parameters.slash_downtime_ppb or kind is not OffenceKind.DOWNTIME:
            assert court.ledger.read(offence_key(ACCOUNTS[index], Epoch(2))) is None
        assert court.run.stakes.existing(ACCOUNTS[index]).standing == Standing.JAILED


def test_a_veto_leaves_what_signatures_prove_and_a_lapse_makes_the_rest_final() -> None:
    court = Court(NETWORKS["free"])
    account, parameters = ACCOUNTS[1], court.run.parameters
    exposed = court.exposure(1, 2)
    firm = sum(each.amount * parameters.slash_double_ppb // BILLION for each in exposed.edges)
    convict(court.run, account, Epoch(2), OffenceKind.ATTESTED_INVALID)
    convict(court.run, account, Epoch(2), OffenceKind.DOUBLE_NOTARIZE)
    (case,) = open_cases(court.ledger, 9)
    assert case.amount == exposed.total - firm == court.contested()
    assert court.waiting() == firm
    assert veto(court.run, case.number) == Code.OK
    record = record_of(court.ledger, account, Epoch(2))
    assert isinstance(record, OffenceRecord)
    assert (record.taken, record.pending) == (firm, None)
    assert court.run.stakes.existing(account).standing == Standing.TOMBSTONED
    convict(court.run, account, Epoch(2), OffenceKind.ATTESTED_INVALID)
    court.drain()
    record = record_of(court.ledger, account, Epoch(2))
    assert isinstance(record, OffenceRecord)
    assert record.firm is not None
    assert (record.taken, record.firm.offence) == (exposed.total, OffenceKind.ATTESTED_INVALID)
    assert veto(court.run, case.number + 1) == Code.NO_SUCH_CASE
    court.check()


def test_two_chains_take_their_allocations_and_the_rest_is_not_taken_twice() -> None:
    court = Court(NETWORKS["free"])
    exposed, account = court.exposure(0, 2), ACCOUNTS[0]
    half = exposed.total // 2

    def on(chain: int) -> int | None:
        return convict_allocation(
            court.run,
            account,
            Epoch(2),
            OffenceKind.ATTESTED_INVALID,
            chain=ChainId(chain),
            allocated=half,
        )

    first = on(7)
    assert first is not None
    assert half - len(exposed.edges) <= first <= half
    assert on(7) is None
    second = on(8)
    assert second is not None
    whole = convict(court.run, account, Epoch(2), OffenceKind.ATTESTED_INVALID)
    assert first + second + whole == exposed.total
    court.check()


@settings(max_examples=60, deadline=None)
@given(MEMBER, EPOCH, st.sampled_from([OffenceKind.DOUBLE_FINALIZE, OffenceKind.FALSE_ACCUSATION]))
def test_own_stake_delegations_what_leaves_and_what_moved_bear_it_in_proportion(index, epoch, kind) -> None:
    """Of one nomination every pool that answers for the epoch loses the same part, to the unit."""
    court = Court(NETWORKS["steep"])
    stakes = court.run.stakes
    before: dict[bytes, dict[bytes, int]] = {}
    for edge in court.exposure(index, epoch).edges:
        pools = stakes.nominated.answering(edge.nomination, Epoch(epoch))
        before[edge.nomination] = {pool: stakes.pool(pool).tokens for pool in pools if stakes.pool(pool)}
    convict(court.run, ACCOUNTS[index], Epoch(epoch), kind)
    record = record_of(court.ledger, ACCOUNTS[index], Epoch(epoch))
    assert record is not None
    for edge in court.exposure(index, epoch).edges:
        whole = sum(before[edge.nomination].values())
        taken = edge.amount * record.fraction_ppb // BILLION
        for pool, had in before[edge.nomination].items():
            left = stakes.pool(pool)
            lost = had - (0 if left is None else left.tokens)
            assert abs(lost - Fraction(taken * had, whole)) < 1


def test_every_way_of_standing_behind_a_validator_is_in_that_world() -> None:
    court = Court(NETWORKS["steep"])
    kinds = set()
    for index in range(4):
        for edge in court.exposure(index, 2).edges:
            for pool in court.run.stakes.nominated.answering(edge.nomination, Epoch(2)):
                record = court.run.stakes.pool(pool)
                if record is not None and record.tokens:
                    kinds.add(record.kind)
    assert kinds == set(PoolKind)


@settings(max_examples=100, deadline=None)
@given(
    COURT,
    st.lists(st.tuples(MEMBER, KIND, EPOCH), min_size=1, max_size=12),
    st.lists(st.integers(1, HOUR_MS)),
)
def test_within_any_hour_no_more_is_burnt_than_the_meter_says(name, offences, pauses) -> None:
    court = Court(NETWORKS[name])
    stake = court.run.stakes.total_bonded()
    for index, kind, epoch in offences:
        if not stands_against(record_of(court.ledger, ACCOUNTS[index], Epoch(epoch)), kind):
            convict(court.run, ACCOUNTS[index], Epoch(epoch), kind)
    most = stake * court.run.parameters.slash_meter_ppb // BILLION + 1
    gone: list[tuple[int, int]] = []
    for pause in [*pauses, *([HOUR_MS] * 12)]:
        before = court.waiting() + court.contested()
        court.wait(pause)
        gone.append((court.now_ms, before - court.waiting() - court.contested()))
    for place, (since, _) in enumerate(gone):
        assert sum(units for at, units in gone[place:] if at <= since + HOUR_MS) <= most


def test_no_veto_comes_after_its_window_though_the_case_be_there_still(monkeypatch) -> None:
    """Neither when many windows end at once, nor while a closed case is being swept, a few edges a block."""
    monkeypatch.setattr(veto_module, "MAX_SWEPT", 1)
    court = Court(NETWORKS["free"])
    for index in (0, 1):
        convict(court.run, ACCOUNTS[index], Epoch(2), OffenceKind.ATTESTED_INVALID)
    one, two = open_cases(court.ledger, 9)
    context = court.run.context
    court.run.context = replace(context, time_ms=one.until_ms)
    assert veto(court.run, one.number) == Code.NO_SUCH_CASE
    court.run.context = replace(context, time_ms=one.until_ms - 1)
    assert veto(court.run, two.number) == Code.OK
    for number, state in ((one.number, CaseState.LAPSED), (two.number, CaseState.VETOED)):
        if state is CaseState.LAPSED:
            court.wait(1)
        found = find_case(court.ledger, number)
        assert found is not None
        assert found.state == state
        court.run.context = replace(court.run.context, time_ms=context.time_ms)
        assert veto(court.run, number) == Code.NO_SUCH_CASE
        court.run.context = replace(court.run.context, time_ms=one.until_ms)
        court.check()
    court.drain()
    court.check()
