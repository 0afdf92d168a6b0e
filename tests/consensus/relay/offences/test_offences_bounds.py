"""What a case remembers fits into its leaves, however it comes about."""

from dataclasses import replace

import pytest
from offences_world import ACCOUNTS, HOUR_MS, Court, settled

from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import Epoch
from consensus.relay.offences.convicting import convict
from consensus.relay.offences.records import MAX_ALLOCATION_FAULTS, CutsRecord, case_cut_key
from consensus.relay.offences.table import TABLE, OffenceKind
from consensus.relay.offences.veto import find_case, keep_cuts, open_cases, veto
from consensus.relay.receipts import Code
from consensus.relay.stake.bonding import change_validator
from consensus.relay.stake.delegating import delegate
from consensus.relay.stake.holdings import Cut
from consensus.relay.stake.records import MAX_LEAVING, MAX_MOVES, Standing
from consensus.relay.stake.transactions import BondMore, Delegate, Unjail


def test_an_edge_whose_pools_are_emptied_and_filled_again_between_convictions_is_remembered_whole() -> None:
    """One case takes what a validator owes for all its chains and verdicts of an epoch. Each time a pool
    that is cut to nothing, and filled again by whoever wants to, counts as another one."""
    court = Court(settled())
    convict(court.run, ACCOUNTS[1], Epoch(2), OffenceKind.FALSE_ACCUSATION)
    case = find_case(court.ledger, 1)
    assert case is not None
    times = MAX_ALLOCATION_FAULTS + sum(row.vetoable for row in TABLE.values())
    pools = 1 + MAX_LEAVING + 2 * MAX_MOVES
    before = case.amount
    for generation in range(1, times + 1):
        cuts = [
            Cut(pool=hash_tagged(b"test", bytes([number])), generation=generation, amount=1)
            for number in range(pools)
        ]
        case = keep_cuts(court.run, case, 0, cuts)
    assert case.amount == before + times * pools
    record = court.ledger.record(CutsRecord, case_cut_key(1, 0))
    assert record is not None
    assert len(record.cuts) >= times * pools


def test_what_is_cut_last_can_be_vetoed_as_long_as_what_was_cut_first() -> None:
    """A case takes up what else the validator is convicted of for that epoch. If its window stayed, a verdict
    held back until the last moment of a lesser one's would leave nobody the time to vote on it."""
    court = Court(settled())
    convict(court.run, ACCOUNTS[1], Epoch(2), OffenceKind.FALSE_ACCUSATION)
    court.wait(9 * HOUR_MS)
    first, stake = court.contested(), court.run.stakes.total_bonded()
    convict(court.run, ACCOUNTS[1], Epoch(2), OffenceKind.ATTESTED_INVALID)
    court.wait(2 * HOUR_MS)  # the window of the first is over
    assert court.contested() > first > 0
    assert [each.number for each in open_cases(court.ledger, 9)] == [1]
    assert veto(court.run, 1) is Code.OK
    assert court.run.stakes.total_bonded() == stake + first
    court.drain()
    court.check()


def test_a_window_that_was_prolonged_ends_too() -> None:
    court = Court(settled())
    convict(court.run, ACCOUNTS[1], Epoch(2), OffenceKind.FALSE_ACCUSATION)
    court.wait(9 * HOUR_MS)
    convict(court.run, ACCOUNTS[1], Epoch(2), OffenceKind.ATTESTED_INVALID)
    court.wait(10 * HOUR_MS)
    assert veto(court.run, 1) is Code.NO_SUCH_CASE
    assert court.contested() == 0
    court.drain()
    court.check()


@pytest.mark.parametrize("first", [True, False])
def test_a_veto_does_not_shorten_a_jail_that_rests_on_signatures(first: bool) -> None:
    """Two contradictory votes jail, whatever is vetoed of what else the validator did in another epoch."""
    court = Court(settled())
    account, stakes = ACCOUNTS[1], court.run.stakes
    convictions = [(Epoch(2), OffenceKind.NOTARIZE_AND_SKIP), (Epoch(3), OffenceKind.ATTESTED_INVALID)]
    for epoch, kind in convictions if first else reversed(convictions):
        convict(court.run, account, epoch, kind)
    assert stakes.existing(account).standing == Standing.TOMBSTONED
    assert veto(court.run, 1) is Code.OK
    record = stakes.existing(account)
    until = court.run.context.epoch + court.run.parameters.jail_epochs
    assert (record.standing, record.jailed_until) == (Standing.JAILED, until)


def test_nobody_joins_a_pool_that_may_get_back_what_was_cut() -> None:
    """Or an operator that is wrongly convicted buys in cheaply, and takes what comes back to others."""
    court = Court(settled())
    account, run = ACCOUNTS[1], court.run
    convict(run, account, Epoch(2), OffenceKind.FALSE_ACCUSATION)
    assert court.contested() > 0

    def joins() -> list[Code]:
        return [
            change_validator(run, account, BondMore(amount=10**4))[0],
            delegate(run, account, Delegate(validators=(account,), amount=10**4))[0],
        ]

    record = run.stakes.existing(account)
    run.stakes.put(replace(record, jailed_until=Epoch(0)))
    assert change_validator(run, account, Unjail())[0] is Code.NOT_YET
    assert joins() == [Code.NOT_YET, Code.NOT_ACTIVE]
    assert veto(run, 1) is Code.OK
    court.drain()
    assert court.contested() == 0
    assert change_validator(run, account, Unjail())[0] is Code.OK
    assert joins() == [Code.OK, Code.OK]
    court.check()
