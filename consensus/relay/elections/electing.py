"""One election: from the stake in the state to the next epoch's set, its exposures, and who stands by.

    eligible validators, kept ones if too few   →  candidates
    nominations, what stands behind each and    →  ballots
      is not about to be cut
    sequential Phragmén, balanced, thinned      →  who is elected, and whose stake answers for whom
    the cap                                     →  voting power

Members of the running set that stay keep their order, newcomers follow in the order of their election: so
that an index means the same validator for as long as it can.
"""

from typing import Final

from consensus.primitives.ids import ZERO_HASH, Epoch, Milliseconds, PublicKey, Stake
from consensus.relay.elections.balancing import balance
from consensus.relay.elections.caps import voting_powers
from consensus.relay.elections.phragmen import Backing, Ballot, Candidate
from consensus.relay.elections.phragmen import elect as count
from consensus.relay.elections.records import (
    ELECTION_KEY,
    MAX_STANDBY,
    ElectionRecord,
    Exposure,
    ExposureRecord,
    exposure_key,
)
from consensus.relay.elections.seating import Blame, kept_members
from consensus.relay.elections.thinning import thin
from consensus.relay.epochs import (
    EpochMember,
    EpochSetRecord,
    epoch_members,
    epoch_set_key,
    oldest_epoch,
)
from consensus.relay.ledger import Ledger
from consensus.relay.offences.collecting import outstanding
from consensus.relay.offences.records import OffenceRecord, offence_key
from consensus.relay.offences.table import OffenceKind
from consensus.relay.stake.records import Standing
from consensus.relay.stake.stakes import Stakes

NOTHING: Final = ExposureRecord(total=0, edges=())


def elect(stakes: Stakes, epoch: Epoch) -> ElectionRecord:
    """Elect the set of `epoch`, which follows the running one, and write what the election leaves."""
    ledger = stakes.ledger
    seats = ledger.parameters.max_validators
    previous = [each.account for each in epoch_members(ledger, Epoch(epoch - 1)).members]
    eligible = _eligible(stakes, epoch, previous)
    ballots = _ballots(stakes, epoch, previous)
    backed = {account for ballot in ballots if ballot.stake for account in ballot.approved}
    electable = [each for each in eligible if each.account in backed]  # not if all of it is about to be cut
    kept = kept_members(
        [each.account for each in electable],
        previous,
        backed=backed,
        blame=lambda account: _blame(stakes, account, epoch),
        seats=seats,
    )
    candidates = [*electable, *(_candidate(stakes, each) for each in kept)]
    outcome = count(ballots, candidates, seats=seats, standby=MAX_STANDBY)
    exposures = exposures_of(thin(balance(outcome.backing, outcome.elected)))
    elected = [*outcome.elected, *(each for each in kept if each not in outcome.elected)]
    places = {account: place for place, account in enumerate(previous)}
    elected.sort(key=lambda account: places.get(account, len(places)))  # stable: newcomers stay in order
    members = _members(stakes, elected, exposures)
    ledger.put(
        epoch_set_key(epoch),
        EpochSetRecord(
            members=members,
            leader_seed=ZERO_HASH,
            began_ms=Milliseconds(0),
            fast_mode=ledger.parameters.fast_mode,
            window=ledger.parameters.window,
        ),
    )
    for account in elected:
        ledger.put(exposure_key(epoch, account), exposures.get(account, NOTHING))
    record = ElectionRecord(epoch=epoch, electable=len(electable), kept=kept, standby=outcome.standby)
    ledger.put(ELECTION_KEY, record)
    return record


def exposures_of(backing: Backing) -> dict[PublicKey, ExposureRecord]:
    """The records of all who have any stake behind them."""
    edges: dict[PublicKey, list[Exposure]] = {}
    for name in sorted(backing):
        for account, amount in backing[name].items():
            edges.setdefault(account, []).append(Exposure(nomination=name, amount=amount))
    return {
        account: ExposureRecord(total=sum(each.amount for each in found), edges=tuple(found))
        for account, found in edges.items()
    }


def _eligible(stakes: Stakes, epoch: Epoch, previous: list[PublicKey]) -> list[Candidate]:
    """Who may be elected: the roster, and members who may be and fell off it. It ranks by what is in each
    one's own pool; many with a little more of that could else unseat members with any stake behind them."""
    found = [Candidate(each.account, each.joined_height) for each in stakes.candidates(epoch)]
    listed = {each.account for each in found}
    fallen = (each for each in previous if each not in listed and stakes.is_eligible(each, epoch))
    return [*found, *(_candidate(stakes, each) for each in fallen)]


def _candidate(stakes: Stakes, account: PublicKey) -> Candidate:
    return Candidate(account, stakes.existing(account).joined_height)


def _ballots(stakes: Stakes, epoch: Epoch, previous: list[PublicKey]) -> list[Ballot]:
    """Of all nominations that may matter: shared ones, and those of single validators that are electable or
    may be kept."""
    approved = {name: record.validators for name, record in stakes.nominations()}
    approved |= {stakes.own(account): (account,) for account in previous}
    due = outstanding(stakes.ledger)
    return [
        Ballot(name, max(0, stakes.electoral_stake(name, epoch) - due.get(name, 0)), validators)
        for name, validators in approved.items()
    ]


def _members(
    stakes: Stakes, elected: list[PublicKey], exposures: dict[PublicKey, ExposureRecord]
) -> tuple[EpochMember, ...]:
    powers = voting_powers([exposures.get(account, NOTHING).total for account in elected])
    records = [stakes.existing(account) for account in elected]
    return tuple(
        EpochMember(
            name=record.name,
            account=record.account,
            consensus_key=record.consensus_key,
            identity_key=record.identity_key,
            address=record.address,
            stake=Stake(power),
        )
        for record, power in zip(records, powers, strict=True)
    )


def _blame(stakes: Stakes, account: PublicKey, epoch: Epoch) -> Blame:
    match Standing(stakes.existing(account).standing):
        case Standing.ACTIVE:
            return Blame.NONE
        case Standing.JAILED:
            return Blame.JAILED if _is_convicted(stakes.ledger, account, epoch) else Blame.AWAY
        case Standing.TOMBSTONED:
            return Blame.TOMBSTONED


def _is_convicted(ledger: Ledger, account: PublicKey, before: Epoch) -> bool:
    """Whether anything but downtime stands against a validator, for an epoch whose set is still there."""
    for epoch in map(Epoch, range(oldest_epoch(ledger), before)):
        record = ledger.record(OffenceRecord, offence_key(account, epoch))
        if record is not None and any(each is not OffenceKind.DOWNTIME for each in record.offences):
            return True
    return False
