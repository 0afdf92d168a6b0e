"""The exposure ledger: what validators have at risk on which chain, and what each chain's security is worth.

Read from one state and the epoch that it runs in; nothing is kept for it. Allocations share a validator's
stake, so sums over chains count the same units more than once: the report says how often (`overlap_ppb`),
what could be lost of them at most (`worst_loss`), and for each chain how much of what its attackers would
lose is at risk elsewhere too (`shared`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from consensus.agreement.thresholds import stake_thresholds
from consensus.light.leaves import LastBlock
from consensus.primitives.guest import Policy
from consensus.primitives.ids import Amount, ChainId, Epoch, Height, Milliseconds, PublicKey
from consensus.relay.elections.records import exposure
from consensus.relay.epochs import EpochSetRecord, Reads, epoch_members
from consensus.relay.parameters import BILLION, Parameters
from consensus.relay.registry import ChainRecord
from consensus.relay.security.attesters import attested_chains, attesters_record
from consensus.relay.security.caps import is_capped, stake_cap, value_cap
from consensus.relay.security.corruption import Coalition, Signer, cheapest, lost
from consensus.relay.security.rails import rail
from consensus.relay.security.records import AttestersRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class AtRisk:
    """What one validator has at risk on one `subset` chain, in units, and what its statement weighs there."""

    chain: ChainId
    units: Amount
    weight: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorExposure:
    """One member of the epoch's set. Under `replicated` all of `stake` is at risk, on every such chain."""

    index: int
    name: str
    account: PublicKey
    stake: Amount  # units that stand behind it in the epoch
    allocations: tuple[AtRisk, ...]  # by chain
    allocated: Amount  # all of them together
    overlap_ppb: int  # allocated in parts of stake: above 10^9, some units are at risk more than once
    worst_loss: Amount  # if it lied on all `subset` chains: never more than its stake


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSecurity:
    """What stands behind one chain in the epoch, and what it could lose. Amounts in units."""

    chain: ChainId
    name: str
    policy: str
    attesters: int
    at_risk: Amount  # of all who attest it
    stake_cap: Amount | None  # of a `subset` chain of this age; None: none
    coalition: int  # members of the cheapest coalition that can have a lie enacted
    cost_to_corrupt: Amount  # units that it would lose, at least; 0 where nobody attests: nothing is enacted
    shared: (
        Amount  # of what the coalition has at risk, at most so much is at risk on other `subset` chains too
    )
    convictable: bool  # others hold more than 2/3 of all stake: it would be convicted on this network
    value: Amount  # its relay balance; what its enclaves hold is theirs, and the relay chain can not tell
    value_cap: Amount | None  # that can be paid in at this age; None: no cap
    covered: bool  # cost_to_corrupt is above value
    window_units: Amount | None  # that may leave its balance within a window; None: no limit
    window_messages: int | None
    window_ms: int | None
    left_units: Amount  # in the running window
    left_messages: int
    held_until_ms: Milliseconds | None  # by its circuit breaker


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureReport:
    """Of one epoch and state."""

    epoch: Epoch
    height: Height
    validators: tuple[ValidatorExposure, ...]
    chains: tuple[ChainSecurity, ...]


def exposure_report(
    state: Reads,
    parameters: Parameters,
    chains: Iterable[ChainRecord],
    *,
    epoch: Epoch,
    last: LastBlock,
) -> ExposureReport:
    """What validators have at risk in `epoch`, and the security of these chains, after block `last`.

    Raises LookupError if the state does not know the epoch's set.
    """
    members = epoch_members(state, epoch)
    records = {each: attesters_record(state, each, epoch) for each in attested_chains(state, epoch)}
    found = {chain: record for chain, record in records.items() if record is not None}
    validators = tuple(
        _validator(state, epoch, index, members, found) for index in range(len(members.members))
    )
    return ExposureReport(
        epoch=epoch,
        height=last.height,
        validators=validators,
        chains=tuple(
            _chain(state, parameters, record, members, validators, found, last.time_ms) for record in chains
        ),
    )


def _validator(
    state: Reads,
    epoch: Epoch,
    index: int,
    members: EpochSetRecord,
    records: dict[ChainId, AttestersRecord],
) -> ValidatorExposure:
    member = members.members[index]
    behind = exposure(state, epoch, member.account)
    stake = 0 if behind is None else behind.total
    held = tuple(
        AtRisk(chain=chain, units=Amount(each.allocated), weight=Amount(each.weight))
        for chain, record in sorted(records.items())
        for each in record.members
        if each.index == index
    )
    total = sum(each.units for each in held)
    return ValidatorExposure(
        index=index,
        name=member.name,
        account=member.account,
        stake=Amount(stake),
        allocations=held,
        allocated=Amount(total),
        overlap_ppb=total * BILLION // stake if stake else 0,
        worst_loss=Amount(min(stake, total)),
    )


def _chain(
    state: Reads,
    parameters: Parameters,
    record: ChainRecord,
    members: EpochSetRecord,
    validators: Sequence[ValidatorExposure],
    records: dict[ChainId, AttestersRecord],
    now_ms: int,
) -> ChainSecurity:
    chain, policy = ChainId(record.chain), Policy(record.terms.policy)
    powers = [each.stake for each in members.members]
    signers = _signers(policy, powers, validators, records.get(chain))
    coalition, cost = _corruption(parameters, list(signers.values()))
    whole = sum(powers)
    old = not is_capped(record)
    outflow, rails = rail(state, chain), record.terms.rails
    running = rails is not None and now_ms < outflow.since_ms + rails.window_ms
    return ChainSecurity(
        chain=chain,
        name=record.name,
        policy=policy.name.lower(),
        attesters=len(signers),
        at_risk=Amount(sum(each.risk for each in signers.values())),
        stake_cap=(
            None if old or policy is Policy.REPLICATED else Amount(stake_cap(parameters, record, now_ms))
        ),
        coalition=coalition.members,
        cost_to_corrupt=Amount(cost),
        shared=Amount(min(coalition.risk, _overlap(chain, signers, validators))),
        convictable=bool(signers) and whole - coalition.power >= stake_thresholds(whole).quorum,
        value=Amount(record.balance),
        value_cap=None if old else Amount(value_cap(parameters, record, now_ms)),
        covered=cost > record.balance,
        window_units=None if rails is None else rails.units,
        window_messages=None if rails is None else rails.messages,
        window_ms=None if rails is None else rails.window_ms,
        left_units=Amount(outflow.units if running else 0),
        left_messages=outflow.messages if running else 0,
        held_until_ms=outflow.held_until_ms if now_ms < outflow.held_until_ms else None,
    )


def _signers(
    policy: Policy,
    powers: Sequence[int],
    validators: Sequence[ValidatorExposure],
    record: AttestersRecord | None,
) -> dict[int, Signer]:
    """Who attests a chain, by index."""
    if policy is Policy.REPLICATED:
        return {
            index: Signer(weight=power, risk=validators[index].stake, power=power)
            for index, power in enumerate(powers)
        }
    return {
        each.index: Signer(weight=each.weight, risk=each.allocated, power=powers[each.index])
        for each in (record.members if record else ())
        if each.weight
    }


def _overlap(chain: ChainId, signers: Mapping[int, Signer], validators: Sequence[ValidatorExposure]) -> int:
    """Units of what they have at risk on a chain that are, at most, at risk on other `subset` chains too."""
    elsewhere = {
        index: sum(each.units for each in validators[index].allocations if each.chain != chain)
        for index in signers
    }
    return sum(min(each.risk, elsewhere[index]) for index, each in signers.items())


def _corruption(parameters: Parameters, signers: Sequence[Signer]) -> tuple[Coalition, int]:
    """The cheapest coalition, and what it would lose at least."""
    if not signers:
        return Coalition(members=0, risk=0, power=0), 0
    quorum = stake_thresholds(sum(each.weight for each in signers)).quorum
    found = cheapest(signers, quorum)
    return found, lost(found.risk, parameters.slash_invalid_ppb, parameters.slash_reporter_ppb)
