"""Who attests each `subset` chain in an epoch: frozen when its set is elected (DESIGN.md section 6).

What a member has at risk is what it allocated, at most its exposure of that epoch. The record stays as long
as the epoch's set, so that whoever opts out answers for the epochs that it attested in, with what it had
allocated then; the stake itself answers as for any offence of that epoch (`stake.leaving`).

An epoch's turn looks at each member's allocations and at the terms of each chain that any of them names:
at most 200 times 16 of the one and as many of the other, never at accounts or delegators.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from consensus.agreement.validators import ValidatorSet
from consensus.candidates.attesters import Attesters, everyone, weighed
from consensus.light.leaves import LAST_BLOCK_KEY, LastBlock
from consensus.primitives.codec import decode
from consensus.primitives.guest import Policy
from consensus.primitives.ids import ChainId, Epoch, PublicKey
from consensus.relay.elections.records import exposure
from consensus.relay.epochs import EpochSetRecord, Reads, epoch_members
from consensus.relay.ledger import RECORD_LIMIT, Ledger
from consensus.relay.parameters import BILLION
from consensus.relay.registry import ChainRecord, chain_key
from consensus.relay.security.caps import stake_cap
from consensus.relay.security.records import (
    TOP_CHAINS_KEY,
    AllocationsRecord,
    AttestedRecord,
    AttesterEntry,
    AttestersRecord,
    TopChainsRecord,
    allocations_key,
    attested_key,
    attesters_key,
)
from consensus.relay.security.terms import SubsetTerms
from consensus.relay.security.weights import Applicant, choose, top_members


def attesters(state: Reads, record: ChainRecord, epoch: Epoch, validators: ValidatorSet) -> Attesters | None:
    """Who attests a chain's candidates in the epoch of `validators`, by weight; None if nobody does, or the
    state does not know (yet, or any more). What leaders, validators and the transition go by."""
    if record.terms.policy == Policy.REPLICATED:
        return everyone(validators)
    raw = state.read(attesters_key(record.chain, epoch))
    return None if raw is None else _attesters(raw, len(validators))


def attesters_record(state: Reads, chain: int, epoch: int) -> AttestersRecord | None:
    """The same as it is kept, with what each has at risk."""
    raw = state.read(attesters_key(chain, epoch))
    return None if raw is None else _decode(raw)


def attested_chains(state: Reads, epoch: int) -> tuple[ChainId, ...]:
    """The `subset` chains that have attesters in an epoch, ascending."""
    raw = state.read(attested_key(epoch))
    return () if raw is None else decode(AttestedRecord, raw, limit=RECORD_LIMIT).chains


def allocated(state: Reads, chain: int, epoch: int, index: int) -> int:
    """Units that member `index` of an epoch has at risk on a `subset` chain; 0 for who does not attest it."""
    record = attesters_record(state, chain, epoch)
    found = (each.allocated for each in record.members if each.index == index) if record else ()
    return next(iter(found), 0)


def freeze(ledger: Ledger, epoch: Epoch) -> None:
    """Write the attesters of `epoch`, whose set and exposures have just been written."""
    members = epoch_members(ledger, epoch)
    named = _allocations(ledger, epoch, members)
    top = ledger.record(TopChainsRecord, TOP_CHAINS_KEY)
    asked = (
        range(len(members.members))
        if top and top.chains
        else sorted({each for found in named.values() for each in found})
    )
    supports = {index: _exposed(ledger, epoch, members.members[index].account) for index in asked}
    now_ms = ledger.existing(LastBlock, LAST_BLOCK_KEY).time_ms
    frozen: list[ChainId] = []
    for chain in sorted({*named, *(top.chains if top else ())}):
        record = ledger.existing(ChainRecord, chain_key(chain))
        terms = record.terms.subset
        if record.terms.policy != Policy.SUBSET or terms is None:
            continue
        amounts = _at_risk(terms, members, supports, named.get(chain, {}))
        applicants = [
            Applicant(index=index, account=members.members[index].account, allocated=amount)
            for index, amount in sorted(amounts.items())
        ]
        chosen = choose(terms, applicants, stake_cap(ledger.parameters, record, now_ms))
        if chosen:
            entries = (
                AttesterEntry(index=each.index, allocated=each.allocated, weight=each.weight)
                for each in chosen
            )
            ledger.put(attesters_key(chain, epoch), AttestersRecord(members=tuple(entries)))
            frozen.append(chain)
    if frozen:
        ledger.put(attested_key(epoch), AttestedRecord(chains=tuple(frozen)))


def silence(ledger: Ledger, chain: int, account: PublicKey, epoch: Epoch) -> None:
    """A validator was convicted on a chain: it has no say in an epoch whose attesters are frozen already. The
    others' weights stay, and so does what it had at risk."""
    record = attesters_record(ledger, chain, epoch)
    if record is None:
        return
    members = epoch_members(ledger, epoch).members
    entries = tuple(
        replace(each, weight=0) if members[each.index].account == account else each for each in record.members
    )
    ledger.put(attesters_key(chain, epoch), AttestersRecord(members=entries))


def forget(ledger: Ledger, epoch: Epoch) -> None:
    """Remove what is kept of an epoch for which nobody answers any more."""
    for chain in attested_chains(ledger, epoch):
        ledger.write(attesters_key(chain, epoch), None)
    ledger.write(attested_key(epoch), None)


# --- inside


def _exposed(ledger: Ledger, epoch: Epoch, account: PublicKey) -> int:
    found = exposure(ledger, epoch, account)
    return 0 if found is None else found.total


def _allocations(ledger: Ledger, epoch: Epoch, members: EpochSetRecord) -> dict[ChainId, dict[int, int]]:
    """By chain and member: units that are allocated for the epoch."""
    named: dict[ChainId, dict[int, int]] = {}
    for index, member in enumerate(members.members):
        record = ledger.record(AllocationsRecord, allocations_key(member.account))
        for each in record.entries if record else ():
            if each.at(epoch):
                named.setdefault(each.chain, {})[index] = each.at(epoch)
    return named


def _at_risk(
    terms: SubsetTerms, members: EpochSetRecord, supports: Mapping[int, int], opted_in: dict[int, int]
) -> dict[int, int]:
    """By member: what it has at risk on a chain, at most its exposure."""
    amounts = {index: min(amount, supports[index]) for index, amount in opted_in.items()}
    for index in top_members([each.stake for each in members.members], terms.top_ppb):
        forced = supports[index] * terms.top_allocation_ppb // BILLION
        amounts[index] = max(forced, amounts.get(index, 0))
    return {index: amount for index, amount in amounts.items() if amount}


@lru_cache(maxsize=256)
def _decode(raw: bytes) -> AttestersRecord:
    return decode(AttestersRecord, raw, limit=RECORD_LIMIT)


@lru_cache(maxsize=256)
def _attesters(raw: bytes, size: int) -> Attesters | None:
    weights = [0] * size
    for each in _decode(raw).members:
        weights[each.index] = each.weight
    return weighed(weights) if any(weights) else None
