"""Offences: evidence in blocks, and what it does to whom it convicts (CONSENSUS.md section 17).

A piece of evidence in a block that is malformed, out of order or over the quota makes the block invalid:
the leader had all of that in its hands (`blocks`). One that convicts nobody *in the state it meets* is void
and costs only its place in the quota: its epoch is unknown or too old, a signature is bad, or the offender
is convicted already, perhaps by the parent. An honest leader can therefore never lose its block over
evidence, and nobody can keep evidence out by sending a leader bad pieces: each names its epoch and signer,
takes effect or not on its own, and can come again in any later block.

A validator is convicted once for each epoch, however many pairs exist. `punish` is where the conviction
meets the validator: it is out of the next election at once, and here its stake will be slashed (bonded, and
every unbonding entry with `last_epoch` not before the offence's: it is all still in the record).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from consensus.agreement.evidence import Evidence, Offence, verify_pair
from consensus.primitives.codec import encode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import Epoch, Hash, Milliseconds, PublicKey, Signature
from consensus.relay.convictions import OffenceRecord, offence_key
from consensus.relay.epochs import Reads, current_set, find_epoch_members, is_answerable
from consensus.relay.run import Run
from consensus.relay.stake.records import Standing
from consensus.relay.stake.stakes import Stakes

DOUBLE_SIGNING: Final = frozenset(
    {
        Offence.DOUBLE_PROPOSAL,
        Offence.DOUBLE_NOTARIZE,
        Offence.DOUBLE_FINALIZE,
        Offence.FINALIZE_AND_NOTARIZE_OTHER,
    }
)
"""Signatures for two blocks of one view: tombstoned. The other rows, contradictory votes about one block or
none, jail."""


@dataclass(frozen=True, slots=True)
class Conviction:
    """Whom a piece of evidence convicts, and of what."""

    account: PublicKey
    offence: Offence


def evidence_hash(evidence: Evidence) -> Hash:
    """Names a piece of evidence."""
    return hash_tagged(b"PHALANX/evidence/1", encode(evidence))


def judge_evidence(
    state: Reads,
    evidence: Evidence,
    *,
    chain_id_hash: Hash,
    epoch: Epoch,
    time_ms: Milliseconds,
    verify: Callable[[PublicKey, bytes, Signature], bool],
) -> Conviction | str:
    """Whom `evidence` would convict in a block of this epoch and time on this state, or why nobody.

    Shared by the transition and by a leader that chooses what to include.
    """
    record = find_epoch_members(state, evidence.epoch)
    if record is None or not is_answerable(state, evidence.epoch, now=epoch, now_ms=time_ms):
        return "it is about an epoch that has not begun, or for which nobody answers any more"
    if evidence.signer >= len(record.members):
        return "its signer is not in the set of its epoch"
    member = record.members[evidence.signer]
    if state.read(offence_key(member.account, evidence.epoch)) is not None:
        return "its signer is convicted for that epoch"
    found = verify_pair(evidence, member.consensus_key, chain_id_hash, verify)
    if found is None:
        return "it proves nothing"
    if found is Offence.DOUBLE_PROPOSAL:  # only now: an epoch's table of leaders is dear
        validators = current_set(state, chain_id_hash=chain_id_hash, epoch=evidence.epoch)
        if validators.leader(evidence.view) != evidence.signer:
            return "its signer did not lead that view"
    return Conviction(member.account, found)


def choose_evidence(
    state: Reads,
    pieces: Iterable[Evidence],
    limit: int,
    *,
    chain_id_hash: Hash,
    epoch: Epoch,
    time_ms: Milliseconds,
    verify: Callable[[PublicKey, bytes, Signature], bool],
) -> list[Evidence]:
    """What a leader puts into a block on this state: at most `limit` pieces, and none that would be void."""
    chosen: list[Evidence] = []
    for each in pieces:
        if len(chosen) >= limit:
            break
        verdict = judge_evidence(
            state, each, chain_id_hash=chain_id_hash, epoch=epoch, time_ms=time_ms, verify=verify
        )
        if isinstance(verdict, Conviction):
            chosen.append(each)
    return chosen


def apply_evidence(run: Run, evidence: Evidence) -> None:
    """Convict, or note why the piece is void."""
    context = run.context
    verdict = judge_evidence(
        run.ledger,
        evidence,
        chain_id_hash=context.chain_id_hash,
        epoch=context.epoch,
        time_ms=context.time_ms,
        verify=context.verify,
    )
    if isinstance(verdict, str):
        run.void[evidence_hash(evidence)] = verdict
        return
    record = OffenceRecord(
        account=verdict.account,
        epoch=evidence.epoch,
        offence=int(verdict.offence),
        height=context.height,
    )
    run.ledger.put(offence_key(record.account, record.epoch), record)
    run.offences.append(record)
    run.convicting.append(evidence)
    punish(run.stakes, record, Epoch(context.epoch + run.parameters.jail_epochs))


def punish(stakes: Stakes, conviction: OffenceRecord, jailed_until: Epoch) -> None:
    """What a conviction does to the validator, in the block that convicts it."""
    record = stakes.existing(conviction.account)
    if Offence(conviction.offence) in DOUBLE_SIGNING or record.standing == Standing.TOMBSTONED:
        stakes.put(replace(record, standing=int(Standing.TOMBSTONED), jailed_until=Epoch(0)))
    else:  # one that sits already sits longer: epochs only grow
        stakes.put(replace(record, standing=int(Standing.JAILED), jailed_until=jailed_until))
