"""Taking up where a journal ends (CONSENSUS.md section 13.3).

What is read back is our own and not verified again.
"""

from collections.abc import Sequence

from consensus.agreement.certificates import signers_of
from consensus.agreement.certifying import learn_fault
from consensus.agreement.intake import count, note_leader_sig
from consensus.agreement.journal_records import (
    BlockRecord,
    CertificateRecord,
    FaultRecord,
    JournalRecord,
    ReasonRecord,
)
from consensus.agreement.messages import (
    Certificate,
    CertificateType,
    FaultNotice,
    Justification,
    Kind,
    Proposal,
    Vote,
    block_hash,
)
from consensus.agreement.replica import Block, Replica, is_finality
from consensus.agreement.signing_rules import SKIPPED
from consensus.agreement.thresholds import Mode
from consensus.primitives.ids import Hash, ValidatorIndex, View


def load(r: Replica, records: Sequence[JournalRecord]) -> None:
    """Blocks, certificates, faults and reasons; then the own votes that are in the gate already.

    Idempotent, and right after any whole prefix of records. Records of other epochs and of final views are
    passed over.
    """
    for record in records:
        if isinstance(record, CertificateRecord) and is_finality(record.certificate):
            _load_final(r, record.certificate)
    reasons: dict[tuple[View, int, Hash], Justification] = {}
    for record in records:
        _look_through(r, record)
        if isinstance(record, BlockRecord):
            _load_block(r, record)
        elif isinstance(record, CertificateRecord):
            _load_certificate(r, record.certificate)
        elif isinstance(record, FaultRecord) and _is_open(r, record.epoch, record.view):
            state = r.view(record.view)
            state.fault_journaled = True
            learn_fault(r, state, record.fault)
        elif isinstance(record, ReasonRecord) and _is_open(r, record.epoch, record.view):
            _load_reason(r, record)
            reasons[record.view, record.kind, record.block] = record.reason
    _load_own_votes(r, reasons)


def first_view(r: Replica) -> View:
    """cur_view after a restart: the highest view voted in, or the one after the highest certificate."""
    voted = View(0) if r.gate is None else r.gate.highest_view()
    return View(max(voted, r.highest_certified_view() + 1))


def _look_through(r: Replica, record: JournalRecord) -> None:
    """What others signed in it may meet what they sign from now on."""
    watch, final, highest = r.watch, r.final_view, View(1 << 64)  # our own records: all of them
    match record:
        case CertificateRecord(certificate=certificate):
            r.accuse(watch.message(certificate, final, highest))
        case ReasonRecord(epoch=epoch, view=view, reason=reason) if epoch == r.config.epoch:
            r.accuse(watch.justification(view, reason, final, highest))
        case FaultRecord(epoch=epoch, view=view, fault=fault):
            r.accuse(watch.message(FaultNotice(epoch=epoch, view=view, fault=fault), final, highest))
        case BlockRecord(header=header, leader_sig=sig) if header.epoch == r.config.epoch:
            proposal = Proposal(header=header, leader_sig=sig, payload=None, support=(), vote=None)
            r.accuse(watch.message(proposal, final, highest))


def _is_open(r: Replica, epoch: int, view: View) -> bool:
    return epoch == r.config.epoch and view > r.final_view


def _load_final(r: Replica, certificate: Certificate) -> None:
    if _is_open(r, certificate.epoch, certificate.view):
        r.final_view, r.final_hash = certificate.view, certificate.block
        r.final_certificate = certificate


def _load_block(r: Replica, record: BlockRecord) -> None:
    header = record.header
    if header.epoch != r.config.epoch or header.height <= r.tip.height:
        return
    block = block_hash(header)
    r.blocks[block] = Block(block, header, record.leader_sig, record.payload, journaled=True)
    if header.view > r.final_view:
        state = r.view(header.view)
        note_leader_sig(r, state, block, record.leader_sig, needed=True)
        if block not in state.proposals:
            state.proposals.append(block)


def _load_certificate(r: Replica, certificate: Certificate) -> None:
    if not _is_open(r, certificate.epoch, certificate.view):
        return
    state = r.view(certificate.view)
    if certificate.ctype == CertificateType.NOTARIZATION:
        state.notarization = certificate
    elif certificate.ctype == CertificateType.FALLBACK:
        state.fallbacks[certificate.block] = certificate
    elif certificate.ctype == CertificateType.SKIP:
        state.skip = certificate
    for each in certificate.leader_sigs:
        note_leader_sig(r, state, each.block, each.sig)
    if certificate.fault is not None:
        learn_fault(r, state, certificate.fault)


def _load_reason(r: Replica, record: ReasonRecord) -> None:
    state = r.view(record.view)
    for each in record.reason.leader_sigs:
        note_leader_sig(r, state, each.block, each.sig, needed=True)
    for group in record.reason.groups:
        for signer, sig in signers_of(group, len(r.validators)).items():
            count(r, state, ValidatorIndex(signer), (group.kind, group.block, group.aux), sig)
    if record.reason.fault is not None:
        learn_fault(r, state, record.reason.fault)


def _load_own_votes(r: Replica, reasons: dict[tuple[View, int, Hash], Justification]) -> None:
    """Count the own votes; put them into the outbox, with the attachments that they need to be valid."""
    gate = r.gate
    if gate is None:
        return
    for view in gate.views():
        if view <= r.final_view:
            continue
        state = r.view(view)
        if gate.votes(view).first == SKIPPED:
            state.skipped_us = r.now.mono_us
        own = r.own_votes[view] = []
        for (kind, block, aux), sig in gate.votes(view).signed.items():
            r.check.learn(gate.index, kind, view, block, aux, sig)
            if kind == Kind.PROPOSE:
                continue
            count(r, state, gate.index, (kind, block, aux), sig)
            vote = Vote(
                kind=kind,
                epoch=r.config.epoch,
                view=view,
                block=block,
                aux=aux,
                signer=gate.index,
                sig=sig,
                leader_sig=state.tally.leader_sigs.get(block) if kind == Kind.NOTARIZE else None,
                justification=reasons.get((view, kind, block)) if r.config.mode is Mode.STRICT else None,
            )
            own.append(vote)
