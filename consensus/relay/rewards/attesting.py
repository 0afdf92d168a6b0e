"""Who attested the candidates of an epoch, and what their chains pay for it (DESIGN.md sections 6 and 8).

An inclusion takes effect once, so whom its leader left out has no second chance. Leaders take turns by stake:
those that are Byzantine, holding less than a third, can withhold less than a third of anybody's attestations,
and whoever is in two of three earns all there is for it (`points`).

Every chain pays its candidates' fees from its relay balance (`fees.candidate_fee`). A chain whose terms say
so gives a share of each fee to those who attested the candidate, by their weight as its attesters. Of that
share the same part is burnt as of every fee: a chain of its own attesters' can not pay itself.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from consensus.primitives.codec import decode
from consensus.primitives.ids import ChainId, Epoch, ValidatorIndex
from consensus.relay.epochs import Reads
from consensus.relay.ledger import RECORD_LIMIT, Pot
from consensus.relay.parameters import BILLION
from consensus.relay.rewards.records import (
    ATTESTING_BYTES,
    AttestingRecord,
    ChainAttestingRecord,
    attesting_key,
    chain_attesting_key,
)
from consensus.relay.rewards.sharing import split
from consensus.relay.run import Run

_MEMBER: Final = struct.Struct(">II16s")
_COUNT: Final = struct.Struct(">I")
_FULL: Final = (1 << 32) - 1  # a counter that is full stays so: epochs may be of any length


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberAttesting:
    """What one member of an epoch attested, so far if it is the running one."""

    asked: int  # candidates that were decided and that it was to attest
    attested: int  # of these, how many inclusions have its signature
    earned: int  # units of the fees that chains share, which are in Pot.REWARDS


def attesting(state: Reads, epoch: Epoch) -> tuple[MemberAttesting, ...] | None:
    """What the members of an epoch attested, by validator index; None if no candidate was decided in it, or
    the state does not tell any more."""
    raw = state.read(attesting_key(epoch))
    if raw is None:
        return None
    return tuple(_unpack(decode(AttestingRecord, raw, limit=RECORD_LIMIT).members))


def chain_attesting(state: Reads, chain: int, epoch: Epoch) -> tuple[int, ...] | None:
    """How many of a chain's candidates each member of an epoch attested, by validator index; None if none was
    decided in it, or the state does not tell any more."""
    raw = state.read(chain_attesting_key(chain, epoch))
    record = None if raw is None else decode(ChainAttestingRecord, raw, limit=RECORD_LIMIT)
    if record is None or record.epoch != epoch:
        return None
    return tuple(count for (count,) in _COUNT.iter_unpack(record.members))


def note_attestations(
    run: Run,
    chain: ChainId,
    asked: Iterable[ValidatorIndex],
    signers: Sequence[ValidatorIndex],
    paid: int,
    *,
    weights: Sequence[int],
) -> None:
    """A candidate of `chain` was decided that all of `asked` were to attest and `signers` did. `paid` units,
    which the caller took from the chain, are theirs when the epoch ends, by `weights` (of each index)."""
    _note_for_chain(run, chain, signers)
    key = attesting_key(run.context.epoch)
    validators = run.context.validators
    record = run.ledger.record(AttestingRecord, key)
    members = list(_unpack(bytes(ATTESTING_BYTES * len(validators)) if record is None else record.members))
    shares = dict(zip(signers, split(paid, [weights[each] for each in signers]), strict=True))
    for index in {*asked, *signers}:
        had = members[index]
        members[index] = MemberAttesting(
            asked=min(had.asked + 1, _FULL),
            attested=min(had.attested + (index in shares), _FULL),
            earned=had.earned + shares.get(index, 0),
        )
    run.ledger.pay_into(Pot.REWARDS, paid)
    packed = b"".join(
        _MEMBER.pack(each.asked, each.attested, each.earned.to_bytes(16, "big")) for each in members
    )
    run.ledger.put(key, AttestingRecord(members=packed))


def _note_for_chain(run: Run, chain: ChainId, signers: Sequence[ValidatorIndex]) -> None:
    epoch = run.context.epoch
    counts = list(chain_attesting(run.ledger, chain, epoch) or (0,) * len(run.context.validators))
    for index in signers:
        counts[index] = min(counts[index] + 1, _FULL)
    run.ledger.put(
        chain_attesting_key(chain, epoch),
        ChainAttestingRecord(epoch=epoch, members=b"".join(map(_COUNT.pack, counts))),
    )


def charge_candidate(run: Run, fee: int, fee_share_ppb: int) -> int:
    """Put a candidate's fee, which the caller took from its chain, where it goes at once; the units of it
    that are its attesters'."""
    shared = fee * fee_share_ppb // BILLION
    burnt = shared * run.parameters.burn_share_ppb // BILLION
    run.ledger.fees += fee - shared
    run.ledger.burn(burnt)
    return shared - burnt


def _unpack(members: bytes) -> Iterable[MemberAttesting]:
    for asked, attested, earned in _MEMBER.iter_unpack(members):
        yield MemberAttesting(asked=asked, attested=attested, earned=int.from_bytes(earned, "big"))
