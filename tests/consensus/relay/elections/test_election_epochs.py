"""Elections by real blocks over many epochs: the set, its power, and whose stake answers for whom."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from relay_fakes import OPERATORS, USERS, Network
from staking_world import CONTRADICTION, DOUBLE, accounts, bond, code, evidence, quick, to_epoch

from consensus.agreement.evidence import Evidence
from consensus.agreement.thresholds import stake_thresholds
from consensus.primitives.crypto import SigningKey
from consensus.primitives.ids import Epoch, Height, PublicKey
from consensus.relay.elections.caps import voting_powers
from consensus.relay.elections.phragmen import Ballot, Candidate, elect
from consensus.relay.elections.records import (
    ELECTION_KEY,
    MAX_STANDBY,
    ElectionRecord,
    ExposureRecord,
    exposure,
    latest_election,
)
from consensus.relay.elections.reporting import concentration_of
from consensus.relay.epochs import epoch_set_key
from consensus.relay.ledger import Ledger
from consensus.relay.offences.records import Conviction, OffenceRecord, offence_key
from consensus.relay.offences.table import OffenceKind
from consensus.relay.receipts import Code, TransactionReceipt
from consensus.relay.stake.records import Standing, nomination_name
from consensus.relay.stake.stakes import Stakes
from consensus.relay.stake.transactions import (
    BondMore,
    Chill,
    Delegate,
    Redelegate,
    SetLabels,
    Unbond,
    Unchill,
    Undelegate,
    Unjail,
)

NAMES = ("one", "two", "three")  # of users 0 to 2, who become validators


def names(*who: SigningKey) -> tuple[PublicKey, ...]:
    return tuple(sorted(each.public for each in who))


def exposures(network: Network, epoch: int) -> dict[bytes, ExposureRecord]:
    """Of all members of an epoch."""
    found = {each: exposure(network.view, Epoch(epoch), each) for each in accounts(network, epoch)}
    assert all(each is not None for each in found.values())
    return found


def run_to_election(network: Network) -> ElectionRecord:
    """Execute blocks until one elects."""
    while True:
        result = network.block()
        if result.election is not None:
            assert (network.height + 1) % network.genesis.parameters.epoch_blocks == 0
            return result.election


def supported() -> Network:
    """Three more validators, and users 3 to 5 behind two, three and four of the seven."""
    network = quick()
    for name, user, amount in zip(NAMES, USERS, (40, 30, 20), strict=False):
        assert code(network, user, bond(network, user, name, amount)) == Code.OK
    for user, approved, amount in (
        (USERS[3], names(OPERATORS[0], USERS[0]), 90),
        (USERS[4], names(USERS[0], USERS[1], USERS[2]), 200),
        (USERS[5], names(*OPERATORS), 1_000),
    ):
        assert code(network, user, Delegate(validators=approved, amount=amount)) == Code.OK
    to_epoch(network, network.epoch + 2)
    return network


def test_nominations_stand_behind_their_validators_to_the_unit() -> None:
    network = supported()
    epoch = network.epoch
    found = exposures(network, epoch)
    behind: dict[bytes, int] = {}
    for record in found.values():
        assert record.total == sum(each.amount for each in record.edges)
        assert [each.nomination for each in record.edges] == sorted({e.nomination for e in record.edges})
        for edge in record.edges:
            behind[edge.nomination] = behind.get(edge.nomination, 0) + edge.amount
    shared = {nomination_name(names(OPERATORS[0], USERS[0])): 90, nomination_name(names(*OPERATORS)): 1_000}
    assert shared.items() <= behind.items()
    assert sum(behind.values()) == network.view.stakes.total_bonded() == 400 + 90 + 1_290
    assert sum(each.total for each in found.values()) == sum(behind.values())
    assert network.validators.stakes == voting_powers([found[each].total for each in accounts(network)])
    assert max(each.total for each in found.values()) - min(each.total for each in found.values()) < 300


def test_an_approved_newcomer_takes_the_seat_of_who_has_more_of_its_own() -> None:
    """Most stake first would seat the four operators; nominations say otherwise."""
    network = quick(max_validators=4)
    assert code(network, USERS[0], bond(network, USERS[0], "one", 10)) == Code.OK
    assert code(network, USERS[1], bond(network, USERS[1], "two", 10)) == Code.OK
    backers = names(USERS[0], USERS[1])
    assert code(network, USERS[3], Delegate(validators=backers, amount=250)) == Code.OK
    election = run_to_election(network)
    assert (election.electable, election.kept) == (6, ())
    to_epoch(network, election.epoch)
    assert set(backers) <= set(accounts(network))
    assert latest_election(network.view) == election
    assert len(accounts(network)) == 4
    assert set(election.standby) == {each.public for each in OPERATORS} - set(accounts(network))


def test_a_full_roster_does_not_unseat_whom_the_most_stake_is_behind(monkeypatch) -> None:
    """The roster ranks by what is in a validator's own pool. Whoever fills it with many that have a little
    more there than each member would else take every seat, against any stake of shared nominations."""
    monkeypatch.setattr("consensus.relay.stake.validators.MAX_ROSTER", 4)
    network = quick(max_validators=4)
    assert code(network, USERS[5], Delegate(validators=names(*OPERATORS), amount=100_000)) == Code.OK
    to_epoch(network, 2)
    for index, user in enumerate(USERS[:4]):
        assert code(network, user, bond(network, user, f"crowd {index}", 101)) == Code.OK
    election = run_to_election(network)
    assert {each.account for each in network.view.stakes.roster()} == {each.public for each in USERS[:4]}
    to_epoch(network, election.epoch)
    assert set(accounts(network)) == {each.public for each in OPERATORS}
    assert (election.electable, election.kept) == (8, ())


def test_no_power_is_above_what_may_be_faulty_and_support_above_it_answers_all_the_same() -> None:
    network = quick()
    assert code(network, OPERATORS[2], BondMore(amount=10_000)) == Code.OK
    to_epoch(network, 2)
    assert network.validators.stakes == (100, 100, 149, 100)
    assert stake_thresholds(449).faulty == 149
    assert exposure(network.view, Epoch(2), OPERATORS[2].public).total == 10_100


def test_the_genesis_set_is_capped_and_exposed_too() -> None:
    network = quick()
    for operator in OPERATORS:
        record = exposure(network.view, Epoch(1), operator.public)
        assert (record.total, len(record.edges)) == (100, 1)
        assert record.edges[0].nomination == nomination_name((operator.public,))


@pytest.mark.parametrize("stranger", [USERS[3], OPERATORS[0]])
def test_exposures_are_there_for_members_of_sets_that_are(stranger: SigningKey) -> None:
    network = quick()
    assert code(network, OPERATORS[0], Unbond(amount=100)) == Code.OK
    assert code(network, USERS[0], bond(network, USERS[0], "one", 100)) == Code.OK
    for _ in range(60):
        network.block()
        view = network.view
        for epoch in range(1, network.epoch + 2):
            record = view.epoch_set(Epoch(epoch))
            members = [] if record is None else [each.account for each in record.members]
            for each in {*names(*OPERATORS, *USERS), *members}:
                assert (exposure(view, Epoch(epoch), each) is not None) == (each in members)
    assert exposure(network.view, network.epoch, stranger.public) is None


def test_below_four_who_wants_to_rest_is_kept_and_the_block_says_so() -> None:
    network = quick()
    for operator in OPERATORS[:2]:
        assert code(network, operator, Chill()) == Code.OK
    election = run_to_election(network)
    assert election.electable == 2
    assert set(election.kept) == {each.public for each in OPERATORS[:2]}
    to_epoch(network, 2)
    assert network.validators.stakes == (100, 100, 100, 100)
    for name, user in zip(NAMES[:2], USERS[:2], strict=True):
        assert code(network, user, bond(network, user, name, 100)) == Code.OK
    election = run_to_election(network)
    assert (election.electable, election.kept) == (4, ())
    to_epoch(network, 3)
    assert not set(accounts(network)) & {each.public for each in OPERATORS[:2]}


def test_below_four_who_left_with_all_stake_is_not_kept() -> None:
    network = quick()
    assert code(network, OPERATORS[0], Unbond(amount=100)) == Code.OK
    election = run_to_election(network)
    assert (election.electable, election.kept) == (3, ())
    to_epoch(network, 2)
    assert network.validators.stakes == (100, 100, 100)


def test_below_four_whom_signatures_convict_is_not_kept() -> None:
    network = quick(slash_contradiction_ppb=1_000_000)
    network.block(evidence=[evidence(network, 0, votes=CONTRADICTION)])
    assert network.view.validator(OPERATORS[0].public).standing == Standing.JAILED
    assert code(network, OPERATORS[1], Chill()) == Code.OK
    election = run_to_election(network)
    assert (election.electable, election.kept) == (2, (OPERATORS[1].public,))
    to_epoch(network, 2)
    assert OPERATORS[0].public not in accounts(network)


def jail_by_hand(network: Network, account: PublicKey, kind: OffenceKind) -> None:
    """Write a conviction of epoch 1 that takes no stake, for what would take epochs of silence."""
    ledger = Ledger(network.store, network.root)
    conviction = Conviction(offence=int(kind), fraction_ppb=0, height=Height(1), reporter=None)
    ledger.put(
        offence_key(account, Epoch(1)),
        OffenceRecord(
            account=account, epoch=Epoch(1), firm=conviction, pending=None, allocations=(), case=0, taken=0
        ),
    )
    stakes = Stakes(ledger)
    stakes.put(replace(stakes.existing(account), standing=int(Standing.JAILED), jailed_until=Epoch(9)))
    stakes.settle()
    network.root = ledger.commit()
    network.store.apply(ledger.added)
    network.references = dict.fromkeys(network.store.nodes, 1_000)  # both states stay


def test_below_four_who_was_away_is_kept_and_whom_a_verdict_convicts_is_not() -> None:
    network = quick()
    jail_by_hand(network, OPERATORS[0].public, OffenceKind.FALSE_ACCUSATION)
    jail_by_hand(network, OPERATORS[1].public, OffenceKind.DOWNTIME)
    election = run_to_election(network)
    assert (election.electable, election.kept) == (2, (OPERATORS[1].public,))
    to_epoch(network, 2)
    assert accounts(network) == [each.public for each in OPERATORS[1:]]


def test_a_network_that_was_below_four_goes_on_uncapped() -> None:
    network = quick()
    for operator in OPERATORS[:2]:
        assert code(network, operator, Unbond(amount=100)) == Code.OK
    to_epoch(network, 2)
    assert len(accounts(network)) == 2
    assert code(network, OPERATORS[3], BondMore(amount=900)) == Code.OK
    assert run_to_election(network).kept == ()
    to_epoch(network, 3)
    assert network.validators.stakes == (100, 1_000)


def test_labels_are_reported_as_declared_now() -> None:
    network = quick()
    report = concentration_of(network.view, Epoch(1))
    assert (report.validators.nakamoto_halt, report.regions.undeclared_ppb) == (2, 10**9)
    for operator, region in zip(OPERATORS, ("eu", "eu", "us", "asia"), strict=True):
        labels = SetLabels(operator="", region=region, client="phalanx")
        assert code(network, operator, labels) == Code.OK
    report = concentration_of(network.view, Epoch(1))
    assert (report.regions.groups, report.regions.nakamoto_halt, report.regions.nakamoto_rule) == (3, 1, 2)
    assert (report.clients.largest_ppb, report.clients.undeclared_ppb) == (10**9, 0)
    with pytest.raises(LookupError):
        concentration_of(network.view, Epoch(9))


# --- many epochs


def acts(network: Network, chance: random.Random) -> Iterator[bytes]:
    """A few actions that some of the accounts might take, sensible or not."""
    everybody = [*OPERATORS, *USERS]
    for actor in chance.sample(everybody, chance.randrange(5)):
        known = [each.public for each in everybody if network.view.validator(each.public)]
        some = tuple(sorted(chance.sample(known, chance.randint(1, min(4, len(known))))))
        others = tuple(sorted(chance.sample(known, chance.randint(1, min(4, len(known))))))
        amount = chance.choice([1, 15, 60, 120, 800])
        yield network.raw(
            actor,
            chance.choice(
                [
                    bond(network, actor, f"v{actor.public.hex()[:8]}", amount),
                    BondMore(amount=amount),
                    Unbond(amount=amount),
                    Delegate(validators=some, amount=amount),
                    Delegate(validators=some, amount=amount),
                    Undelegate(nomination=nomination_name(some), amount=amount),
                    Redelegate(nomination=nomination_name(some), validators=others, amount=amount),
                    Chill(),
                    Unchill(),
                    Unjail(),
                ]
            ),
        )


def faults(network: Network, chance: random.Random) -> list[Evidence]:
    """Now and then, what convicts a member of the running epoch."""
    if chance.random() > 0.04:
        return []
    index = chance.randrange(len(network.validators))
    votes = chance.choice([DOUBLE, CONTRADICTION])
    return [evidence(network, index, epoch=network.epoch, votes=votes)]


def check_election(network: Network, election: ElectionRecord) -> None:
    """The state after an election says what counting its own stake anew says."""
    view, epoch = network.view, election.epoch
    stakes, seats = view.stakes, view.parameters.max_validators
    members = view.epoch_set(epoch).members
    seated = [each.account for each in members]
    electable = {each.account: each.joined_height for each in stakes.roster()}
    assert election.electable == len(electable)
    assert set(seated) - set(electable) == set(election.kept)
    assert len(seated) <= seats
    assert latest_election(view) == election
    ballots = [
        Ballot(name, stakes.electoral_stake(name, epoch), record.validators)
        for name, record in stakes.nominations()
    ]
    outcome = elect(
        ballots, [Candidate(*each) for each in electable.items()], seats=seats, standby=MAX_STANDBY
    )
    assert set(outcome.elected) == set(seated) - set(election.kept)
    assert election.standby == outcome.standby
    found = [exposure(view, epoch, each) for each in seated]
    assert [each.stake for each in members] == list(voting_powers([each.total for each in found]))
    if len(seated) >= 4:
        powers = [each.stake for each in members]
        assert max(powers) <= stake_thresholds(sum(powers)).faulty
    given: dict[bytes, int] = {}
    for record in found:
        for edge in record.edges:
            given[edge.nomination] = given.get(edge.nomination, 0) + edge.amount
    for name, amount in given.items():
        assert amount == stakes.electoral_stake(name, epoch)
    unheard = {each.name for each in ballots if each.stake} - set(given)
    assert all(not set(each.approved) & set(seated) for each in ballots if each.name in unheard)
    if any(view.validator(each).standing != Standing.ACTIVE for each in seated):
        assert not electable  # nobody convicted sits while anybody else could


@pytest.mark.parametrize("seed", [0, 6, 9, 12])
def test_over_many_epochs_every_set_is_what_its_stake_elects(seed: int) -> None:
    chance = random.Random(seed)
    network = quick(max_validators=chance.choice([3, 5, 8]), exit_cap_ppb=chance.choice([10**8, 10**9]))
    before: list[bytes] = accounts(network)
    elections = done = 0
    while elections < 25:
        result = network.block(list(acts(network, chance)), evidence=faults(network, chance))
        done += sum(isinstance(each, TransactionReceipt) and each.code == Code.OK for each in result.receipts)
        if result.election is None:
            continue
        elections += 1
        check_election(network, result.election)
        after = accounts(network, result.election.epoch)
        stayed = [each for each in before if each in after]
        assert after[: len(stayed)] == stayed  # those who stay keep their order, newcomers follow
        before = after
    assert done > 25  # of some 200; enough to move somebody in most epochs


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_independent_transactions_elects_nobody_else(seed: int) -> None:
    """Who acts first in a block has no influence on the set, the exposures or who stands by."""
    outcomes = set()
    for order in range(4):
        network = quick(max_validators=5)
        for name, user in zip(NAMES, USERS, strict=False):
            assert code(network, user, bond(network, user, name, 50)) == Code.OK
        chance = random.Random(seed)
        known = [each.public for each in (*OPERATORS, *USERS[:3])]
        raws = [
            network.raw(
                user,
                Delegate(
                    validators=tuple(sorted(chance.sample(known, chance.randint(2, 4)))),
                    amount=chance.randint(20, 900),
                ),
            )
            for user in (*USERS, *OPERATORS)
        ]
        network.block(random.Random(order).sample(raws, len(raws)))
        to_epoch(network, 3)
        view = network.view
        leaves = [view.read(epoch_set_key(Epoch(2))), view.read(ELECTION_KEY)]
        outcomes.add((*leaves, *exposures(network, 2).values()))
    assert len(outcomes) == 1
