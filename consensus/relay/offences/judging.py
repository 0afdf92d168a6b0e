"""Whom a piece of evidence convicts, in the state it meets (CONSENSUS.md section 17).

A piece in a block that is malformed, out of order or over the quota makes the block invalid: the leader had
all of that in its hands (`blocks`). One that convicts nobody *in this state* is void and costs only its
place in the quota: its epoch is unknown or too old, a signature is bad, or the offender is convicted of
something no less grave already, perhaps by the parent. An honest leader can therefore never lose its block
over evidence, and nobody can keep evidence out by sending a leader bad pieces: each names its epoch and
signer, takes effect or not on its own, and can come again in any later block.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from consensus.agreement.evidence import Evidence, Offence, offence, verify_pair
from consensus.agreement.statements import Role, statement_sign_bytes
from consensus.candidates.receipts import Attestation
from consensus.primitives.codec import encode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import RELAY_CHAIN, ChainId, Epoch, Hash, Milliseconds, PublicKey, Signature
from consensus.relay.epochs import (
    EpochMember,
    Reads,
    current_set,
    find_epoch_members,
    is_answerable,
)
from consensus.relay.offences.collecting import has_room
from consensus.relay.offences.convicting import convict, stands_against
from consensus.relay.offences.table import OffenceKind
from consensus.relay.offences.veto import record_of
from consensus.relay.run import Run
from consensus.relay.stake.leaving import is_frozen

Verify = Callable[[PublicKey, bytes, Signature], bool]


@dataclass(frozen=True, slots=True)
class Guilty:
    """Whom a piece of evidence convicts, and of what; with `risk`, of what it had allocated to one chain."""

    account: PublicKey
    epoch: Epoch
    offence: OffenceKind
    chain: ChainId = RELAY_CHAIN  # of the candidate, where it is about one that was judged
    risk: int | None = None  # units


@dataclass(frozen=True, slots=True)
class Void:
    """Why it convicts nobody. `false`: no state could make it, and whoever sent it knew or could have."""

    reason: str
    false: bool = False


CUT_ENOUGH: Final = Void("the block has cut as much as it may: it can come again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What judging takes beside the evidence: the state, and the block that it would be in."""

    state: Reads
    chain_id_hash: Hash
    epoch: Epoch
    time_ms: Milliseconds
    verify: Verify


def bench_of(run: Run) -> Bench:
    """Where a running block judges."""
    context = run.context
    return Bench(
        state=run.ledger,
        chain_id_hash=context.chain_id_hash,
        epoch=context.epoch,
        time_ms=context.time_ms,
        verify=context.verify,
    )


def evidence_hash(evidence: Evidence) -> Hash:
    """Names a piece of evidence."""
    return hash_tagged(b"PHALANX/evidence/1", encode(evidence))


def judge_evidence(bench: Bench, evidence: Evidence) -> Guilty | Void:
    """Whom two contradictory votes convict. Shared by the transition and by a leader that chooses what to
    include. Signatures are checked last: they are dear."""
    member = find_member(bench, evidence.epoch, evidence.signer)
    if isinstance(member, Void):
        return member
    first, second = ((each.kind, each.block, each.aux) for each in (evidence.first, evidence.second))
    claimed = offence(first, second)
    if claimed is not None and stands_against(
        record_of(bench.state, member.account, evidence.epoch), OffenceKind(claimed)
    ):
        return Void("its signer is convicted for that epoch, of something no less grave")
    found = verify_pair(evidence, member.consensus_key, bench.chain_id_hash, bench.verify)
    if found is None:
        return Void("it proves nothing", false=True)
    if found is Offence.DOUBLE_PROPOSAL:  # only now: an epoch's table of leaders is dear
        validators = current_set(bench.state, chain_id_hash=bench.chain_id_hash, epoch=evidence.epoch)
        if validators.leader(evidence.view) != evidence.signer:
            return Void("its signer did not lead that view", false=True)
    return Guilty(member.account, evidence.epoch, OffenceKind(found))


def find_member(bench: Bench, epoch: Epoch, signer: int) -> EpochMember | Void:
    """A member of an epoch that still answers for it."""
    record = find_epoch_members(bench.state, epoch)
    if record is None or not is_answerable(bench.state, epoch, now=bench.epoch, now_ms=bench.time_ms):
        return Void("it is about an epoch that has not begun, or for which nobody answers any more")
    if signer >= len(record.members):
        return Void("its signer is not in the set of its epoch", false=True)
    return record.members[signer]


def is_signed(bench: Bench, statement: Attestation, member: EpochMember) -> bool:
    """Whether a member signed a statement about a candidate."""
    return bench.verify(
        member.consensus_key,
        statement_sign_bytes(
            bench.chain_id_hash,
            statement.epoch,
            Role.ATTEST,
            statement.relay_parent,
            statement.candidate,
            statement.verdict,
        ),
        statement.signature,
    )


def choose_evidence(bench: Bench, pieces: Iterable[Evidence], limit: int) -> list[Evidence]:
    """What a leader puts into a block on this state: at most `limit` pieces, one for each epoch and signer,
    none that would be void by itself; none at all while a cut is unfinished."""
    chosen: dict[tuple[Epoch, int], Evidence] = {}
    if is_frozen(bench.state):
        return []
    for each in pieces:
        if len(chosen) >= limit:
            break
        place = (each.epoch, each.signer)
        if place not in chosen and isinstance(judge_evidence(bench, each), Guilty):
            chosen[place] = each
    return list(chosen.values())


def apply_evidence(run: Run, evidence: Evidence) -> None:
    """Convict, or note why the piece is void. The block's proposer is who reports it: leaders include what
    they know of anyway, and are paid for it as anybody else is."""
    found = judge_evidence(bench_of(run), evidence) if has_room(run) else CUT_ENOUGH
    if isinstance(found, Void):
        run.void[evidence_hash(evidence)] = found.reason
        return
    convict(
        run,
        found.account,
        found.epoch,
        found.offence,
        reporter=run.proposer,
        evidence=evidence,
    )
