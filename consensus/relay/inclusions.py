"""Candidates in a relay block: enacted, rejected, or without effect (DESIGN.md section 6).

An inclusion takes effect only if everything about it holds in the state of the block that carries it. One
that does not hold is void: its chain's head, lanes and balance stay, and it may be included again.
"""

from dataclasses import replace

from consensus.agreement.statements import Role, Verdict, statement_sign_bytes
from consensus.candidates.attesters import Attesters, everyone
from consensus.candidates.lifecycle import ChainView, header_refusal, inbox_refusal
from consensus.candidates.receipts import CandidateHeader, CandidateInclusion
from consensus.light.leaves import MAX_REJECTED
from consensus.primitives.guest import ChainEndpoint
from consensus.primitives.ids import Amount, Hash
from consensus.relay.fees import candidate_fee
from consensus.relay.notices.feeding import feed_consumer
from consensus.relay.offences.verdicts import find_verdict, note_verdict
from consensus.relay.receipts import CandidateReceipt
from consensus.relay.rewards.attesting import charge_candidate, note_attestations
from consensus.relay.run import Run
from consensus.relay.security.attesters import attesters
from consensus.relay.security.rails import held_refusal, note_outflow


def apply_inclusion(run: Run, inclusion: CandidateInclusion) -> None:
    """Enact or reject the candidate, or note why the inclusion is void."""
    header = inclusion.header
    candidate = header.hash
    chain = run.registry.chain_view(header.chain)
    refusal = "there is no such chain" if chain is None else _refusal(run, inclusion, candidate, chain)
    if refusal is not None:
        run.void[candidate] = refusal
    elif inclusion.verdict == Verdict.VALID:
        _enact(run, inclusion, candidate)
    else:
        _reject(run, inclusion, candidate)


def _refusal(run: Run, inclusion: CandidateInclusion, candidate: Hash, chain: ChainView) -> str | None:
    """Cheap checks first: signatures are verified only for what could take effect."""
    header = inclusion.header
    if inclusion.epoch != run.context.epoch:
        return "its attestations are of another epoch"
    if candidate in chain.rejected:
        return "it was rejected before"
    judged = find_verdict(run.ledger, candidate)
    if judged is not None and judged.verdict != inclusion.verdict:
        return "it was judged otherwise before"
    recent = run.registry.recent_block(header.relay_parent_height, header.relay_parent)
    refusal = header_refusal(header, chain, chain.tip, None if recent is None else recent.time_ms)
    if refusal is None:
        refusal = inbox_refusal(header, chain)
    if refusal is None and inclusion.verdict == Verdict.VALID:
        closed = run.registry.existing_chain(header.chain).closed(run.context.time_ms)
        refusal = closed or _payment_refusal(run, header, chain)
    return refusal or _attestation_refusal(run, inclusion, candidate)


def _payment_refusal(run: Run, header: CandidateHeader, chain: ChainView) -> str | None:
    if candidate_fee(run.parameters, header) > chain.balance:
        return "the chain's relay balance does not cover it"
    if not run.registry.lanes.has_credit(ChainEndpoint(chain=header.chain), header.outgoing):
        return "a lane that it sends to is full"
    return held_refusal(run.ledger, header.chain, len(header.outgoing), run.context.time_ms)


def _counting(run: Run, inclusion: CandidateInclusion) -> Attesters | None:
    """By whose weight an inclusion decides: all validators', where more than 2/3 of all stake signed, else
    that of those who attest the chain; None where nobody does. Its signers are in the set."""
    validators = run.context.validators
    whole = everyone(validators)
    if whole.weight(index for index, _ in inclusion.signed()) >= whole.quorum:
        return whole
    record = run.registry.existing_chain(inclusion.header.chain)
    return attesters(run.ledger, record, run.context.epoch, validators)


def _attestation_refusal(run: Run, inclusion: CandidateInclusion, candidate: Hash) -> str | None:
    """Whether more than 2/3 of those who count signed this verdict (CONSENSUS.md section 1)."""
    validators = run.context.validators
    signed = list(inclusion.signed())
    if signed and signed[-1][0] >= len(validators):
        return "an attester is not in the validator set"
    counting = _counting(run, inclusion)
    if counting is None:
        return "nobody attests its chain in this epoch"
    if any(index not in counting for index, _ in signed):
        return "an attester is not asked to attest its chain"
    if counting.weight(index for index, _ in signed) < counting.quorum:
        return "its attesters hold no more than 2/3 of the stake"
    message = statement_sign_bytes(
        run.context.chain_id_hash,
        inclusion.epoch,
        Role.ATTEST,
        inclusion.header.relay_parent,
        candidate,
        inclusion.verdict,
    )
    if not all(run.context.verify(validators.keys[index], message, each) for index, each in signed):
        return "an attestation's signature is bad"
    return None


def _note_attesters(run: Run, inclusion: CandidateInclusion, paid: int) -> None:
    """Who attests the chain was asked to; where all validators decided, whoever signed did as well."""
    signers = [index for index, _ in inclusion.signed()]
    validators = run.context.validators
    record = run.registry.existing_chain(inclusion.header.chain)
    asked = attesters(run.ledger, record, run.context.epoch, validators)
    members = () if asked is None else asked.members
    among = asked is not None and all(each in asked for each in signers)
    weights = asked.weights if asked is not None and among else validators.stakes
    note_attestations(run, inclusion.header.chain, members, signers, paid, weights=weights)


def _enact(run: Run, inclusion: CandidateInclusion, candidate: Hash) -> None:
    registry, header = run.registry, inclusion.header
    end = ChainEndpoint(chain=header.chain)
    fee = candidate_fee(run.parameters, header)
    record = registry.existing_chain(header.chain)
    registry.put_chain(replace(record, balance=record.balance - fee))
    _note_attesters(run, inclusion, charge_candidate(run, fee, record.terms.fee_share_ppb))
    for cursor in header.inbox:
        registry.lanes.consume(cursor.source, end, cursor.next)
    registry.put_head(
        header.chain,
        replace(
            registry.head(header.chain),
            height=header.height,
            head=candidate,
            state_root=header.post_root,
            time_ms=header.time_ms,
            relay_parent_height=header.relay_parent_height,
            enacted_height=run.context.height,
        ),
    )
    registry.lanes.send(end, header.outgoing, header.chain)
    note_outflow(run.ledger, record, len(header.outgoing), fee, run.context.time_ms)
    run.messages += len(header.outgoing)
    run.enacted.append(candidate)
    feed_consumer(run, header.chain)
    _note_verdict(run, inclusion, candidate)
    _leave_receipt(run, header, candidate, Verdict.VALID, fee)


def _reject(run: Run, inclusion: CandidateInclusion, candidate: Hash) -> None:
    """Remember the rejection; the head stays. It costs the chain nothing: anybody can offer one."""
    header = inclusion.header
    head = run.registry.head(header.chain)
    run.registry.put_head(header.chain, replace(head, rejected=(*head.rejected, candidate)[-MAX_REJECTED:]))
    run.rejected.append(candidate)
    _note_verdict(run, inclusion, candidate)
    _leave_receipt(run, header, candidate, Verdict.INVALID, Amount(0))
    _note_attesters(run, inclusion, 0)


def _note_verdict(run: Run, inclusion: CandidateInclusion, candidate: Hash) -> None:
    validators = run.context.validators
    signed = validators.weight(index for index, _ in inclusion.signed())
    verdict = Verdict(inclusion.verdict)
    note_verdict(run, inclusion.header, candidate, verdict, whole=signed >= validators.stake.quorum)


def _leave_receipt(run: Run, header: CandidateHeader, candidate: Hash, verdict: Verdict, fee: Amount) -> None:
    run.receipts.append(
        CandidateReceipt(
            candidate=candidate,
            chain=header.chain,
            chain_height=header.height,
            height=run.context.height,
            verdict=int(verdict),
            fee=fee,
        )
    )
