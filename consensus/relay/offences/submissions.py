"""Evidence that anybody submits by transaction, with a bond (DESIGN.md section 8).

    proves an offence            the sender is its reporter; the bond was never taken
    false: no state could have   the bond is lost: at least half of it burnt, the rest to the treasury
      made it convict anybody
    true or may be, but without  costs the fee alone: another was first, it is too early or too late
      effect in this state

A block convicts no more once it has cut enough (`collecting.has_room`): OVER_LIMIT, to be sent again.
An account may submit `submissions_per_epoch` times an epoch, whatever comes of it. So whoever sends what is
false pays a bond each time, and whoever repeats what is known is soon refused, for a fee each time.
"""

from consensus.primitives.ids import PublicKey
from consensus.relay.ledger import Pot
from consensus.relay.offences.burning import shares_of
from consensus.relay.offences.collecting import has_room
from consensus.relay.offences.convicting import convict
from consensus.relay.offences.judging import Bench, Guilty, Void, bench_of, judge_evidence
from consensus.relay.offences.records import SubmitterRecord, submitter_key
from consensus.relay.offences.transactions import (
    OffenceAction,
    ReportContradiction,
    ReportStatement,
    SubmitEvidence,
)
from consensus.relay.offences.verdicts import convict_signer, judge_contradiction, judge_statement
from consensus.relay.receipts import Code
from consensus.relay.run import Run


def apply_offence_action(run: Run, sender: PublicKey, action: OffenceAction) -> tuple[Code, bytes]:
    """Judge what an account submits. Answers with the units slashed by this block, 16 bytes big-endian, or
    with why nobody was."""
    if run.ledger.account(sender).balance < run.parameters.evidence_bond:
        return Code.INSUFFICIENT_BALANCE, b""
    if not has_room(run) or not _count(run, sender):
        return Code.OVER_LIMIT, b""
    found = _judge(bench_of(run), action)
    if isinstance(found, Guilty) and isinstance(action, ReportStatement):
        return Code.OK, convict_signer(run, found, sender).to_bytes(16, "big")
    if isinstance(found, Guilty):
        evidence = action.evidence if isinstance(action, SubmitEvidence) else None
        slashed = convict(run, found.account, found.epoch, found.offence, reporter=sender, evidence=evidence)
        return Code.OK, slashed.to_bytes(16, "big")
    if found.false:
        _forfeit(run, sender)
        return Code.PROVES_NOTHING, found.reason.encode()
    return Code.WITHOUT_EFFECT, found.reason.encode()


def _judge(bench: Bench, action: OffenceAction) -> Guilty | Void:
    match action:
        case SubmitEvidence():
            return judge_evidence(bench, action.evidence)
        case ReportStatement():
            return judge_statement(bench, action.statement)
        case ReportContradiction():
            return judge_contradiction(bench, action.valid, action.invalid)


def _count(run: Run, sender: PublicKey) -> bool:
    """Whether the sender may submit in this epoch still; if so, one less from now on."""
    key = submitter_key(sender)
    held = run.ledger.record(SubmitterRecord, key)
    used = held.count if held is not None and held.epoch == run.context.epoch else 0
    if used >= run.parameters.submissions_per_epoch:
        return False
    run.ledger.put(key, SubmitterRecord(epoch=run.context.epoch, count=used + 1))
    return True


def _forfeit(run: Run, sender: PublicKey) -> None:
    bond = run.parameters.evidence_bond
    burnt, _ = shares_of(run.parameters, bond, reported=False)
    run.ledger.debit(sender, bond)
    run.ledger.burn(burnt)
    run.ledger.pay_into(Pot.TREASURY, bond - burnt)
