"""A cut that takes more than a block takes what one block would: nobody gets away meanwhile."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offences_world import ACCOUNTS, HOUR_MS, Court, settled
from relay_fakes import ALL_ACCOUNTS, OPERATORS, USERS, Network, total_supply
from staking_world import accounts, bench, code, evidence, quick, to_epoch

from consensus.agreement.evidence import Evidence
from consensus.primitives.ids import Amount, ChainId, Epoch, Hash
from consensus.relay.elections.electing import elect
from consensus.relay.elections.records import exposure
from consensus.relay.epochs import epoch_members
from consensus.relay.genesis import issuance
from consensus.relay.ledger import Pot
from consensus.relay.notices.records import NOTICES_KEY, NoticesRecord, SlashNotice, slash_notice_key
from consensus.relay.offences import collecting
from consensus.relay.offences import veto as veto_module
from consensus.relay.offences.collecting import MAX_POOLS, go_on, has_room
from consensus.relay.offences.convicting import convict, convict_allocation, stands_against
from consensus.relay.offences.judging import choose_evidence, evidence_hash
from consensus.relay.offences.records import owed
from consensus.relay.offences.table import TABLE, OffenceKind
from consensus.relay.offences.transactions import SubmitEvidence
from consensus.relay.offences.veto import open_cases, record_of, veto
from consensus.relay.receipts import Code, TransactionReceipt
from consensus.relay.stake.actions import apply_staking
from consensus.relay.stake.leaving import is_frozen
from consensus.relay.stake.records import MAX_LEAVING, MAX_MOVES, main_pool, nomination_name
from consensus.relay.stake.transactions import (
    BondMore,
    Delegate,
    Redelegate,
    StakingAction,
    Undelegate,
    Withdraw,
)

WORLD = settled(correlation_factor=0, slash_downtime_ppb=10_000_000)
MEMBER = st.integers(0, 3)
KIND = st.sampled_from(list(OffenceKind))
EPOCH = st.integers(1, 3)
ROOM = st.integers(1, 9)
LEAVERS = USERS[1:4]
OFFENCE = st.one_of(
    st.tuples(st.just("whole"), MEMBER, KIND, EPOCH),
    st.tuples(st.just("part"), MEMBER, st.integers(1, 3), EPOCH),
)


def give_room(court: Court, pools: int) -> None:
    """From here on the running block may look at so many pools."""
    court.run.pools_cut = MAX_POOLS - pools


def offend(court: Court, offence) -> int:
    """Convict somebody; the units that the running block cuts."""
    way, index, what, epoch = offence
    if way == "part":
        terms = {"chain": ChainId(what), "allocated": 1_000 * what}
        kind = OffenceKind.ATTESTED_INVALID
        return convict_allocation(court.run, ACCOUNTS[index], Epoch(epoch), kind, **terms) or 0
    if stands_against(record_of(court.ledger, ACCOUNTS[index], Epoch(epoch)), what):
        return 0
    return convict(court.run, ACCOUNTS[index], Epoch(epoch), what)


def finish(court: Court, room: int) -> int:
    """Later blocks with so much room each, until nothing is left to cut; the units."""
    before = court.run.stakes.total_bonded()
    for _ in range(100):
        if not is_frozen(court.ledger):
            return before - court.run.stakes.total_bonded()
        give_room(court, room)
        go_on(court.run)
        assert court.run.pools_cut < MAX_POOLS + 1 + MAX_LEAVING + 2 * MAX_MOVES
        court.check()
    raise AssertionError("a cut that does not end")


def all_there_is(court: Court) -> object:
    """Where every unit is, and what everybody was convicted of."""
    stakes, records = court.run.stakes, []
    for index in range(4):
        for epoch in (1, 2, 3):
            record = record_of(court.ledger, ACCOUNTS[index], Epoch(epoch))
            records.append(None if record is None else (record.taken, record.offences, record.case))
    held = [(each, own.pool) for each in ALL_ACCOUNTS for own in stakes.held_by(each)]
    return (
        [stakes.value(pool, account) for account, pool in held],
        records,
        (court.contested(), court.waiting(), court.ledger.pot(Pot.SLASHED)),
        [(each.number, each.amount) for each in open_cases(court.ledger, 100)],
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(OFFENCE, ROOM), min_size=1, max_size=8))
def test_a_cut_over_many_blocks_takes_from_everybody_what_one_block_would(offences) -> None:
    whole, parts = Court(WORLD), Court(WORLD)
    for offence, room in offences:
        give_room(parts, room)
        first = offend(parts, offence)
        parts.check()
        rest = finish(parts, room)
        assert first + rest == offend(whole, offence)
        assert sum(each.slashed for each in parts.run.raised) == rest
        parts.run.raised.clear()
    assert all_there_is(parts) == all_there_is(whole)
    for court in (whole, parts):
        court.run.pools_cut = -(10**9)
        court.drain()
        court.check()
    assert all_there_is(parts) == all_there_is(whole)


def moves(court: Court, who: int, what: int, to: int) -> StakingAction | None:
    """What somebody tries amid a cut, about the first pool that it has a position in."""
    stakes, sender = court.run.stakes, ALL_ACCOUNTS[who]
    mains = [each.pool for each in stakes.held_by(sender) if not each.last_epoch]
    amount = Amount(stakes.value(mains[0], sender) if mains else 0)
    found = None if not mains else stakes.pool(mains[0])
    name = nomination_name(ACCOUNTS[to : to + 1]) if found is None else found.nomination
    match what:
        case 0:
            return Undelegate(nomination=name, amount=amount)
        case 1:
            return Redelegate(nomination=name, validators=(ACCOUNTS[to],), amount=amount)
        case 2:
            return Delegate(validators=(ACCOUNTS[to],), amount=Amount(1_000))
        case 3:
            return BondMore(amount=Amount(500)) if sender in ACCOUNTS else None
    return Withdraw()


@settings(max_examples=80, deadline=None)
@given(
    MEMBER,
    st.sampled_from(
        [OffenceKind.DOUBLE_NOTARIZE, OffenceKind.ATTESTED_INVALID, OffenceKind.FALSE_ACCUSATION]
    ),
    EPOCH,
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4), MEMBER), max_size=12),
)
def test_whatever_holders_do_amid_a_cut_all_that_is_owed_is_taken(index, kind, epoch, acts) -> None:
    """From who leaves or moves in time, as from who stays; each unit once."""
    court = Court(WORLD)
    give_room(court, 1)
    convict(court.run, ACCOUNTS[index], Epoch(epoch), kind)
    left = list(acts)
    for _ in range(20):
        for act in left[:3]:
            action = moves(court, *act)
            if action is not None:
                apply_staking(court.run, ALL_ACCOUNTS[act[0]], action)
            court.check()
        del left[:3]
        if not is_frozen(court.ledger):
            break
        give_room(court, 1)
        go_on(court.run)
        court.check()
    assert not is_frozen(court.ledger)
    exposed, fraction = court.exposure(index, epoch), TABLE[kind].fraction_ppb(court.run.parameters)
    record = record_of(court.ledger, ACCOUNTS[index], Epoch(epoch))
    assert record is not None
    assert record.taken == sum(owed(each.amount, exposed.total, fraction, ()) for each in exposed.edges)


@settings(max_examples=80, deadline=None)
@given(MEMBER, EPOCH, st.integers(0, 5), st.booleans(), st.sampled_from([1, veto_module.MAX_SWEPT]))
def test_a_veto_amid_a_cut_undoes_what_it_may_and_signatures_are_paid_for(
    index, epoch, blocks, verdict, most_swept
) -> None:
    """Whether the cut that goes on is for the verdict, or for signatures after it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(veto_module, "MAX_SWEPT", most_swept)
        veto_amid_a_cut(index, epoch, blocks, verdict=verdict)


def veto_amid_a_cut(index: int, epoch: int, blocks: int, *, verdict: bool) -> None:
    court = Court(WORLD)
    account, run = ACCOUNTS[index], court.run
    worth = all_there_is(court)[0]
    kinds = [OffenceKind.ATTESTED_INVALID, OffenceKind.DOUBLE_NOTARIZE]
    if not verdict:
        convict(run, account, Epoch(epoch), kinds[0])
    give_room(court, 2)
    convict(run, account, Epoch(epoch), kinds[0] if verdict else kinds[1])
    for _ in range(blocks):
        give_room(court, 2)
        go_on(run)
    assert veto(run, 1) is Code.OK
    court.check()
    for _ in range(20):
        run.pools_cut = MAX_POOLS - 2
        court.wait(0)
        court.check()
    assert not is_frozen(court.ledger)
    exposed = court.exposure(index, epoch)
    fraction = 0 if verdict else TABLE[kinds[1]].fraction_ppb(run.parameters)
    record = record_of(court.ledger, account, Epoch(epoch))
    assert (0 if record is None else record.taken) == sum(
        owed(each.amount, exposed.total, fraction, ()) for each in exposed.edges
    )
    if verdict:
        assert record is None
        assert all_there_is(court)[0] == worth
    run.pools_cut = -(10**9)
    convict(run, account, Epoch(epoch), kinds[0])
    record = record_of(court.ledger, account, Epoch(epoch))
    assert record is not None
    assert record.taken == exposed.total, "all of it is there to be taken for the next verdict"
    court.drain()
    court.check()


@pytest.mark.parametrize("most_swept", [1, 3, veto_module.MAX_SWEPT])
def test_what_a_veto_is_still_giving_back_pays_for_the_next_offence(most_swept, monkeypatch) -> None:
    """A verdict took everything. Who shows its own signatures before all that is back would else pay with
    what there is by then."""
    monkeypatch.setattr(veto_module, "MAX_SWEPT", most_swept)
    court = Court(WORLD)
    run, kind = court.run, OffenceKind.DOUBLE_NOTARIZE
    convict(run, ACCOUNTS[1], Epoch(2), OffenceKind.ATTESTED_INVALID)
    assert veto(run, 1) is Code.OK
    first = convict(run, ACCOUNTS[1], Epoch(2), kind)
    for _ in range(30):
        court.wait(0)
        court.check()
    assert not is_frozen(court.ledger)
    exposed, fraction = court.exposure(1, 2), TABLE[kind].fraction_ppb(run.parameters)
    record = record_of(court.ledger, ACCOUNTS[1], Epoch(2))
    assert record is not None
    assert record.taken == sum(owed(each.amount, exposed.total, fraction, ()) for each in exposed.edges) > 0
    assert first + sum(each.slashed for each in run.raised) == record.taken


STEP = st.one_of(
    OFFENCE, st.tuples(st.just("veto"), st.integers(1, 8)), st.tuples(st.just("wait"), st.integers(0, 6))
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(STEP, ROOM), max_size=25), st.sampled_from([2, veto_module.MAX_SWEPT]))
def test_any_history_of_blocks_with_little_room_conserves_every_unit_and_drains(steps, most_swept) -> None:
    court = Court(WORLD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(veto_module, "MAX_SWEPT", most_swept)
        for step, room in steps:
            give_room(court, room)
            match step:
                case ("veto", number):
                    veto(court.run, number)
                case ("wait", hours):
                    court.wait(hours * HOUR_MS)
                case _ if has_room(court.run):
                    offend(court, step)
            court.check()
        for _ in range(60):
            give_room(court, 3)
            court.wait(HOUR_MS)
        court.check()
    assert not is_frozen(court.ledger)
    court.drain()
    court.check()
    assert court.ledger.pot(Pot.SLASHED) == court.contested() == 0
    for index in range(4):
        for epoch in (1, 2, 3):
            record = record_of(court.ledger, ACCOUNTS[index], Epoch(epoch))
            assert record is None or record.taken <= court.exposure(index, epoch).total


def test_what_is_cut_last_can_be_vetoed_as_long_as_if_it_were_cut_first() -> None:
    """Its window begins when all is cut, and none ends before."""
    court = Court(WORLD)
    give_room(court, 1)
    convict(court.run, ACCOUNTS[1], Epoch(2), OffenceKind.FALSE_ACCUSATION)
    for _ in range(3):
        court.run.pools_cut = MAX_POOLS
        court.wait(4 * HOUR_MS)
    assert is_frozen(court.ledger)
    (case,) = open_cases(court.ledger, 9)
    assert case.until_ms < court.now_ms, "it is over, and its end waits"
    finish(court, 9)
    (case,) = open_cases(court.ledger, 9)
    assert case.until_ms == court.now_ms + court.run.parameters.veto_ms
    court.run.pools_cut = -(10**9)
    court.drain()
    court.check()


# --- by blocks


def behind(**parameters: object) -> tuple[Network, tuple[bytes, ...]]:
    """Users have stake behind member 0 together with each of the others, so that all of it has parts of it;
    and the nominations, its own the last one."""
    network = quick(epoch_blocks=2, **parameters)
    names = [each.public for each in OPERATORS]
    for index in (1, 2, 3):
        pair = tuple(sorted((names[0], names[index])))
        assert code(network, USERS[index], Delegate(validators=pair, amount=Amount(300))) is Code.OK
    to_epoch(network, 4)
    edges = exposure(network.view, Epoch(4), names[0])
    assert edges is not None
    assert len(edges.edges) == 4
    return network, (*(each.nomination for each in edges.edges),)


def leave(network: Network, names: Sequence[Hash]) -> tuple[Epoch, set[Hash]]:
    """All who share a nomination with another ask for it back: the last epoch that they answer for, and the
    nominations."""
    by_pool = {main_pool(each): each for each in names}
    left = [by_pool[network.view.stakes.held_by(each.public)[0].pool] for each in LEAVERS]
    asked = [Undelegate(nomination=each, amount=Amount(300)) for each in left]
    receipts = network.block([network.raw(*each) for each in zip(LEAVERS, asked, strict=True)]).receipts
    assert [each.code for each in receipts] == [Code.OK] * 3
    return Epoch(int.from_bytes(receipts[0].output, "big")), set(left)


def offender(network: Network, epoch: int, name: bytes) -> Evidence:
    """Evidence against a member."""
    return evidence(network, accounts(network, epoch).index(name), epoch=epoch)


@pytest.mark.parametrize("most", [1, MAX_POOLS])
def test_nobody_is_paid_out_and_no_set_goes_before_its_part_is_cut(most: int, monkeypatch) -> None:
    """Evidence in the last block that may carry any. In the next one the wait of who left would be over, and
    the epoch's set and exposures go."""
    monkeypatch.setattr(collecting, "MAX_POOLS", most)
    network, names = behind(slash_double_ppb=500_000_000, correlation_factor=0)
    last, left = leave(network, names)
    record = exposure(network.view, last, OPERATORS[0].public)
    assert record is not None
    exposed = {each.nomination: each.amount for each in record.edges if each.nomination in left}
    convicted, paid = 0, []
    while network.height < 2 * last + 24:
        pieces = []
        if network.height + 1 == 2 * last + 9:
            pieces = [offender(network, last, OPERATORS[0].public)]
        raws = [network.raw(each, Withdraw()) for each in LEAVERS]
        result = network.block(raws, evidence=pieces)
        convicted += len(result.offences)
        for receipt in result.receipts:
            assert isinstance(receipt, TransactionReceipt)
            if receipt.code == Code.OK:
                assert not is_frozen(network.view)
                paid.append(int.from_bytes(receipt.output, "big"))
        assert total_supply(network.view, ALL_ACCOUNTS) == issuance(network.genesis) + minted(network)
    assert convicted == 1
    assert len(paid) == 3
    assert sorted(paid) == sorted(300 - part // 2 for part in exposed.values()), "half of what answers is cut"


@pytest.mark.parametrize("most", [1, MAX_POOLS])
@pytest.mark.parametrize("reported", [False, True])
def test_nobody_gets_away_before_who_was_convicted_first_owes_what_all_do(
    most: int, reported: bool, monkeypatch
) -> None:
    """The second of two offenders is convicted in the last block that may carry evidence about them. What the
    first owes more for it is still there when its turn comes."""
    monkeypatch.setattr(collecting, "MAX_POOLS", most)
    network, names = behind(slash_double_ppb=10_000_000, correlation_factor=1)
    last, _ = leave(network, names)
    exposed = exposure(network.view, last, OPERATORS[0].public)
    assert exposed is not None
    convicted = 0
    while network.height < 2 * last + 24:
        pieces, raws = [], []
        if network.height + 1 == 2 * last + 3:
            pieces = [offender(network, last, OPERATORS[0].public)]
        if network.height + 1 == 2 * last + 9:
            pieces = [offender(network, last, OPERATORS[1].public)]
            if reported:
                raws, pieces = [network.raw(USERS[0], SubmitEvidence(evidence=pieces[0]))], []
        raws += [network.raw(each, Withdraw()) for each in LEAVERS]
        convicted += len(network.block(raws, evidence=pieces).offences)
    assert convicted == 2
    record = record_of(network.view, OPERATORS[0].public, last)
    assert record is not None
    assert record.taken == sum(
        owed(each.amount, exposed.total, record.fraction_ppb, ()) for each in exposed.edges
    )
    assert record.fraction_ppb > 240_000_000, "two of four: (2 / 4)^2"


def minted(network: Network) -> int:
    return network.view.supply().issued - issuance(network.genesis)


def test_amid_a_cut_nobody_else_is_convicted_and_afterwards_they_are(monkeypatch) -> None:
    monkeypatch.setattr(collecting, "MAX_POOLS", 1)
    network, _ = behind()
    first = offender(network, 4, OPERATORS[0].public)
    second = offender(network, 4, OPERATORS[1].public)
    network.block(evidence=[first])
    while is_frozen(network.view):
        assert choose_evidence(bench(network), [second], 9) == []
        report = network.raw(USERS[0], SubmitEvidence(evidence=second))
        result = network.block([report], evidence=[second])
        assert result.offences == ()
        assert evidence_hash(second) in result.void
        assert result.receipts[0].code == Code.OVER_LIMIT
    assert choose_evidence(bench(network), [second], 9) == [second]
    assert len(network.block(evidence=[second]).offences) == 1


def test_notices_add_up_to_what_was_taken(monkeypatch) -> None:
    """One when somebody is convicted, and one when all is cut."""
    monkeypatch.setattr(collecting, "MAX_POOLS", 1)
    network, _ = behind()
    network.block(evidence=[offender(network, 4, OPERATORS[0].public)])
    while is_frozen(network.view):
        network.block()
    ledger = network.view.stakes.ledger
    notices = ledger.existing(NoticesRecord, NOTICES_KEY)
    found = [ledger.existing(SlashNotice, slash_notice_key(number)) for number in range(notices.slashes)]
    record = record_of(ledger, OPERATORS[0].public, Epoch(4))
    assert record is not None
    assert [each.amount > 0 for each in found] == [True, True]
    assert sum(each.amount for each in found) == record.taken


def test_an_election_amid_a_cut_finds_no_more_stake_than_after_it(monkeypatch) -> None:
    found = []
    for most in (1, MAX_POOLS):
        monkeypatch.setattr(collecting, "MAX_POOLS", most)
        network, _ = behind(slash_double_ppb=900_000_000, correlation_factor=0)
        assert network.height % 2 == 0, "the next block elects"
        network.block(evidence=[offender(network, 4, OPERATORS[0].public)])
        assert is_frozen(network.view) == (most == 1)
        found.append([exposure(network.view, Epoch(5), each) for each in accounts(network, 5)])
    assert found[0] == found[1]
    assert OPERATORS[0].public not in accounts(network, 5)


def test_whoever_is_about_to_lose_all_does_not_count_as_electable() -> None:
    """A fault on one chain costs no seat, so the validator is eligible; but with all behind it due to be cut
    nobody elects it. Counted as electable it kept others from being kept, and with all others jailed the next
    epoch had no validator: no block could follow."""
    court = Court(quick())
    epoch = court.run.context.epoch
    for account in ACCOUNTS[1:]:
        convict(court.run, account, epoch, OffenceKind.NOTARIZE_AND_SKIP)
    give_room(court, 0)
    whole = court.exposure(0, epoch).total
    kind, chain = OffenceKind.ATTESTED_INVALID, ChainId(1)
    convict_allocation(court.run, ACCOUNTS[0], epoch, kind, chain=chain, allocated=whole)
    assert is_frozen(court.ledger)
    assert court.run.stakes.is_eligible(ACCOUNTS[0])
    election = elect(court.run.stakes, Epoch(epoch + 1))
    assert (election.electable, election.kept) == (0, (ACCOUNTS[0],))
    members = epoch_members(court.ledger, Epoch(epoch + 1)).members
    assert [(each.account, each.stake) for each in members] == [(ACCOUNTS[0], 1)]
