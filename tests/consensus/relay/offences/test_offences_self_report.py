"""Reporting oneself always loses, whoever is in it: offender, reporter, all who stand behind the offender."""

from hypothesis import given, settings
from hypothesis import strategies as st
from offences_world import ACCOUNTS, Court, settled
from relay_fakes import ALL_ACCOUNTS, USERS

from consensus.primitives.ids import Epoch, PublicKey
from consensus.relay.offences.burning import shares_of
from consensus.relay.offences.convicting import convict, stands_against
from consensus.relay.offences.table import OffenceKind
from consensus.relay.offences.veto import record_of
from consensus.relay.parameters import BILLION, Parameters
from consensus.relay.stake.holdings import Place
from consensus.relay.stake.records import NominationRecord, PoolKind

NETWORK = settled()
PPB = st.integers(0, BILLION)
BURNT = st.integers(BILLION // 2, BILLION)


def wealth(court: Court, who: set[PublicKey]) -> int:
    """Balances and the worth of all positions."""
    stakes = court.run.stakes
    return sum(
        court.ledger.account(each).balance
        + sum(stakes.value(holding.pool, each) for holding in stakes.held_by(each))
        for each in who
    )


def behind(court: Court, index: int, epoch: int) -> set[PublicKey]:
    """Every account with stake in a pool that answers for a member's exposure."""
    stakes, names = court.run.stakes, {each.nomination for each in court.exposure(index, epoch).edges}
    pools = set()
    for name in names:
        record = stakes.nomination(name)
        assert isinstance(record, NominationRecord)
        pools |= set(stakes.nominated.answering(name, Epoch(epoch)))
    return {
        account
        for account in ALL_ACCOUNTS
        if any(holding.pool in pools for holding in stakes.held_by(account))
    }


def prices(price: int) -> dict[str, int]:
    """The least fraction of every row of the table, all of them drawn by one number."""
    return {
        "slash_double_ppb": price,
        "slash_contradiction_ppb": price // 3,
        "slash_accusation_ppb": price // 2,
        "slash_downtime_ppb": price // 7,
        "slash_invalid_ppb": price,
    }


@settings(max_examples=150, deadline=None)
@given(
    index=st.integers(0, 3),
    epoch=st.integers(1, 3),
    kinds=st.lists(st.sampled_from(list(OffenceKind)), min_size=1, max_size=4),
    price=PPB,
    factor=st.integers(0, 9),
    burnt=BURNT,
    rewarded=PPB,
    reporter=st.sampled_from([*ACCOUNTS, USERS[5].public, USERS[0].public]),
)
def test_the_whole_coalition_loses_at_least_half_of_what_was_taken(
    index, epoch, kinds, price, factor, burnt, rewarded, reporter
) -> None:
    court = Court(
        NETWORK,
        **prices(price),
        correlation_factor=factor,
        slash_burn_ppb=burnt,
        slash_reporter_ppb=min(rewarded, BILLION - burnt),
    )
    coalition = behind(court, index, epoch) | {reporter, ACCOUNTS[index]}
    before, cut = wealth(court, coalition), 0
    for kind in kinds:
        if not stands_against(record_of(court.ledger, ACCOUNTS[index], Epoch(epoch)), kind):
            cut += convict(court.run, ACCOUNTS[index], Epoch(epoch), kind, reporter=reporter)
    court.drain()
    court.check()
    loss = before - wealth(court, coalition)
    assert 2 * loss >= cut
    assert (loss > 0) == (cut > 0)


@settings(max_examples=150, deadline=None)
@given(
    index=st.integers(0, 3),
    epoch=st.integers(1, 3),
    kinds=st.lists(st.sampled_from(list(OffenceKind)), min_size=1, max_size=4),
    price=PPB,
    factor=st.integers(0, 9),
    reporter=st.sampled_from([ACCOUNTS[0], ACCOUNTS[3], USERS[5].public]),
    delegated=st.sampled_from([0, 1, 100_000]),
)
def test_an_operator_gains_nothing_from_what_others_have_behind_it(
    index, epoch, kinds, price, factor, reporter, delegated
) -> None:
    """Who reports is paid out of the whole slash. An operator with little of its own and much of others'
    behind it would else sign two blocks, have a friend report it, and be paid from their stake."""
    court = Court(
        NETWORK,
        **prices(price),
        correlation_factor=factor,
        slash_burn_ppb=BILLION // 2,
        slash_reporter_ppb=BILLION // 2,
    )
    account = ACCOUNTS[index]
    if delegated:
        court.ledger.debit(USERS[4].public, delegated)
        place = Place(kind=PoolKind.MAIN, nomination=court.run.stakes.own(account))
        court.run.stakes.holdings.put_in(place, USERS[4].public, delegated)
    coalition = {account, reporter}
    before = wealth(court, coalition)
    for kind in kinds:
        if not stands_against(record_of(court.ledger, account, Epoch(epoch)), kind):
            convict(court.run, account, Epoch(epoch), kind, reporter=reporter)
    court.drain()
    court.check()
    assert wealth(court, coalition) <= before


def test_a_reporter_gets_its_part_of_the_slash_up_to_half_of_what_the_offender_lost() -> None:
    account = ACCOUNTS[2]
    for ppb, reported in ((1_000_000, 1_000_000), (BILLION // 2, None)):
        court = Court(NETWORK, slash_burn_ppb=BILLION // 2, slash_reporter_ppb=ppb, slash_double_ppb=BILLION)
        stranger, own = USERS[5].public, court.run.stakes.self_stake(account)
        assert own == 100
        cut = convict(court.run, account, Epoch(3), OffenceKind.DOUBLE_PROPOSAL, reporter=stranger)
        assert court.run.stakes.self_stake(account) == 0
        before = court.ledger.account(stranger).balance
        court.drain()
        paid = court.ledger.account(stranger).balance - before
        assert cut > 200
        assert 0 <= (own // 2 if reported is None else cut * reported // BILLION) - paid <= 20  # by rounding
        assert paid <= own // 2


@given(st.integers(0, 2**100), BURNT, PPB)
def test_of_any_amount_at_least_half_is_burnt_and_the_parts_are_the_whole(amount, burnt, rewarded) -> None:
    parameters = Parameters(slash_burn_ppb=burnt, slash_reporter_ppb=min(rewarded, BILLION - burnt))
    gone, paid = shares_of(parameters, amount, reported=True)
    assert 2 * gone >= amount
    assert gone + paid <= amount
    assert shares_of(parameters, amount, reported=False) == (gone, 0)
