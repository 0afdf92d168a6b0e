"""One judge: the verdict on a candidate, and who signed the contrary (DESIGN.md section 6).

Under `replicated` every validator re-executes every candidate, so that every candidate is judged without
anybody having to ask, and a validator's "invalid" *is* the bonded negative statement that opens a dispute:

    verdict valid      more than 2/3 of all stake signed so: enacted (`inclusions`)
    verdict invalid    more than 2/3 of all stake signed so: rejected, for good while the verdict is kept
    no verdict         neither by the deadline, `relay_parent_window` blocks after its relay parent: no block
                       can enact it any more (`lifecycle.header_refusal`), nobody is slashed

Once there is a verdict, whoever signed the contrary can be convicted by that signature: "valid" of what was
judged invalid, "invalid" of what was judged valid. A signature alone, without a verdict, convicts nobody,
nor does anything that a consumer chain says. Two contrary statements of one validator in one epoch need no
verdict.

Verdicts are kept for `verdict_epochs`, less than the evidence window: a statement that was shown to nobody
while its candidate was in question has decided nothing, and every block of every chain would leave a leaf
for weeks.

Under `subset` those who opted in decide what is enacted, but only more than 2/3 of *all* stake convict: where
two attesters contradict each other all validators execute the candidate (`candidates.backing`). A majority of
a small subset can so not take anything from an honest minority of it. What a signer owes then is the fraction
of what it had allocated, and its seat is not at risk.
"""

from collections.abc import Iterable
from typing import Final

from consensus.agreement.statements import Verdict
from consensus.candidates.receipts import Attestation, CandidateHeader
from consensus.primitives.codec import decode, encode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.guest import Policy
from consensus.primitives.ids import Epoch, Hash, PublicKey
from consensus.relay.epochs import Reads
from consensus.relay.ledger import Ledger
from consensus.relay.offences.collecting import has_room
from consensus.relay.offences.convicting import convict, convict_allocation, stands_against
from consensus.relay.offences.judging import (
    CUT_ENOUGH,
    Bench,
    Guilty,
    Void,
    bench_of,
    find_member,
    is_signed,
)
from consensus.relay.offences.records import MAX_ALLOCATION_FAULTS, VerdictRecord, verdict_key
from consensus.relay.offences.table import OffenceKind
from consensus.relay.offences.veto import record_of
from consensus.relay.ring import Ring
from consensus.relay.run import Run
from consensus.relay.security.attesters import allocated
from consensus.relay.security.rails import trip
from consensus.relay.stake.leaving import is_frozen

LAPSES_PER_INCLUSION: Final = 2  # verdicts that a block forgets, for each candidate that it may include
_CONTRARY: Final = {
    Verdict.INVALID: (Verdict.VALID, OffenceKind.ATTESTED_INVALID),
    Verdict.VALID: (Verdict.INVALID, OffenceKind.FALSE_ACCUSATION),
}


def note_verdict(
    run: Run, header: CandidateHeader, candidate: Hash, verdict: Verdict, *, whole: bool
) -> None:
    """The block that runs carries the verdict on a candidate; `whole`: of more than 2/3 of all stake."""
    record = VerdictRecord(
        chain=header.chain,
        policy=run.registry.existing_chain(header.chain).terms.policy,
        verdict=int(verdict),
        whole=whole,
        epoch=run.context.epoch,
        height=run.context.height,
    )
    run.ledger.put(verdict_key(candidate), record)
    _kept(run.ledger).push(candidate + run.context.epoch.to_bytes(8, "big"))


def find_verdict(state: Reads, candidate: Hash) -> VerdictRecord | None:
    """What was judged of a candidate, while that is kept."""
    raw = state.read(verdict_key(candidate))
    return None if raw is None else decode(VerdictRecord, raw, limit=64)


def forget_verdicts(run: Run) -> None:
    """Verdicts that are too old to convict by."""
    kept = _kept(run.ledger)
    for _ in range(LAPSES_PER_INCLUSION * run.parameters.max_candidates):
        entry = kept.first()
        if entry is None:
            return
        epoch = int.from_bytes(entry[32:], "big")
        if run.context.epoch <= epoch + run.parameters.verdict_epochs:
            return
        kept.pop()
        run.ledger.write(verdict_key(Hash(entry[:32])), None)


def judge_statement(bench: Bench, statement: Attestation) -> Guilty | Void:
    """Whom a signed statement convicts that is contrary to its candidate's verdict."""
    member = find_member(bench, statement.epoch, statement.validator)
    if isinstance(member, Void):
        return member
    judged = find_verdict(bench.state, statement.candidate)
    if judged is None:
        return Void("its candidate has no verdict, or one too old to convict by")
    contrary, kind = _CONTRARY[Verdict(judged.verdict)]
    if statement.verdict != contrary:
        return Void("it says what the verdict says", false=True)
    if not judged.whole:
        return Void("only its chain's attesters judged its candidate: that convicts nobody")
    risk = None
    if judged.policy == Policy.SUBSET:
        risk = allocated(bench.state, judged.chain, statement.epoch, statement.validator)
        if not risk:
            return Void("its signer had nothing at risk on that chain")
    guilty = Guilty(member.account, statement.epoch, kind, judged.chain, risk)
    found = _unless_convicted(bench, guilty)
    if isinstance(found, Guilty) and not is_signed(bench, statement, member):
        return Void("its signer did not sign it", false=True)
    return found


def statement_hash(statement: Attestation) -> Hash:
    """Names a statement in a block that may be void."""
    return hash_tagged(b"PHALANX/statement/1", encode(statement))


def apply_statement(run: Run, statement: Attestation) -> None:
    """Convict who signed against a verdict, or note why the statement is void; the proposer reports it."""
    found = judge_statement(bench_of(run), statement) if has_room(run) else CUT_ENOUGH
    if isinstance(found, Void):
        run.void[statement_hash(statement)] = found.reason
        return
    convict_signer(run, found, run.proposer)


def convict_signer(run: Run, found: Guilty, reporter: PublicKey) -> int:
    """Convict who signed against a verdict, of its whole exposure or of what it allocated to the chain; the
    units that this block cuts. A chain of which a false candidate was attested is held by its circuit
    breaker."""
    if found.offence is OffenceKind.ATTESTED_INVALID:
        trip(run.ledger, found.chain, run.context.time_ms)
    if found.risk is None:
        return convict(run, found.account, found.epoch, found.offence, reporter=reporter)
    cut = convict_allocation(
        run,
        found.account,
        found.epoch,
        found.offence,
        chain=found.chain,
        allocated=found.risk,
        reporter=reporter,
    )
    return cut or 0


def choose_statements(bench: Bench, statements: Iterable[Attestation], limit: int) -> list[Attestation]:
    """What a leader puts into a block on this state: at most `limit`, one for each epoch and validator, none
    that would be void by itself; none at all while a cut is unfinished."""
    chosen: dict[tuple[Epoch, int], Attestation] = {}
    if is_frozen(bench.state):
        return []
    for each in statements:
        if len(chosen) >= limit:
            break
        place = (each.epoch, each.validator)
        if place not in chosen and isinstance(judge_statement(bench, each), Guilty):
            chosen[place] = each
    return list(chosen.values())


def judge_contradiction(bench: Bench, valid: Attestation, invalid: Attestation) -> Guilty | Void:
    """Whom two contrary statements on one candidate convict."""
    same = (valid.epoch, valid.validator, valid.candidate) == (
        invalid.epoch,
        invalid.validator,
        invalid.candidate,
    )
    if not same or (valid.verdict, invalid.verdict) != (Verdict.VALID, Verdict.INVALID):
        return Void(
            "they are no two contrary statements of one validator and epoch on one candidate", false=True
        )
    member = find_member(bench, valid.epoch, valid.validator)
    if isinstance(member, Void):
        return member
    found = _unless_convicted(
        bench, Guilty(member.account, valid.epoch, OffenceKind.CONTRADICTORY_STATEMENTS)
    )
    if isinstance(found, Guilty) and not all(is_signed(bench, each, member) for each in (valid, invalid)):
        return Void("its signer did not sign both", false=True)
    return found


def _unless_convicted(bench: Bench, found: Guilty) -> Guilty | Void:
    """Before signatures are checked, which are dear."""
    record = record_of(bench.state, found.account, found.epoch)
    if found.risk is not None:
        faults = () if record is None else record.allocations
        if len(faults) == MAX_ALLOCATION_FAULTS or any(each.chain == found.chain for each in faults):
            return Void("its signer is convicted on that chain for that epoch")
    elif stands_against(record, found.offence):
        return Void("its signer is convicted for that epoch, of something no less grave")
    return found


def _kept(ledger: Ledger) -> Ring:
    return Ring(ledger, b"verdicts")
