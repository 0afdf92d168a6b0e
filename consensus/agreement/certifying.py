"""Certificates: made, taken in, passed on, and what they cause: entering views, finality.

CONSENSUS.md sections 3.1, 6 and 12 (second bullet).
"""

from typing import Final

from consensus.agreement.certificates import members, verify_certificate
from consensus.agreement.events import Broadcast, Certified, Peer
from consensus.agreement.journal_records import CertificateRecord
from consensus.agreement.messages import (
    FLAG_TAIL,
    Certificate,
    CertificateType,
    FaultNotice,
    LeaderFault,
)
from consensus.agreement.replica import Replica, ViewState, is_finality
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH, View

SMALL_NETWORK: Final = 16  # up to which certificates go to everybody


def on_certificate(r: Replica, certificate: Certificate) -> None:
    """Take in a certificate that a peer sent. Raises PeerFault if it is invalid."""
    if holds(r, certificate):
        return
    verify_certificate(certificate, r.validators, r.check)
    for group in certificate.groups:
        for signer in members(group.bitmap, len(r.validators)):
            r.pacemaker.heard(signer, certificate.view)
    accept(r, certificate)


def holds(r: Replica, certificate: Certificate) -> bool:
    """Whether nothing is to be learnt: of this type, view and block one is held, or the view is final."""
    if certificate.view <= r.final_view:
        return True
    state = r.views.get(certificate.view)
    if state is None:
        return False
    if certificate.ctype == CertificateType.NOTARIZATION:
        return state.notarization is not None and state.notarization.block == certificate.block
    if certificate.ctype == CertificateType.FALLBACK:
        return certificate.block in state.fallbacks
    return certificate.ctype == CertificateType.SKIP and state.skip is not None


def assemble(r: Replica, state: ViewState) -> None:
    """Make every certificate that the view's votes have become enough for; the strongest first."""
    tally = state.tally
    if tally.first_stake >= r.validators.stake.quorum:
        r.pacemaker.quorum_seen(tally.view)
    for block in tally.supported():
        made = tally.assemble_fast(block)
        if made is None and state.notarization is None:
            made = tally.assemble_notarization(block)
        if made is not None:
            accept(r, made)
            if is_finality(made):
                return
    for block in sorted(tally.fin):
        made = tally.assemble_final(block)
        if made is not None:
            accept(r, made)
            return
    for block in sorted(tally.nfall):
        made = None if state.certifies(block) else tally.assemble_fallback(block)
        if made is not None:
            accept(r, made)
    if state.skip is None:
        made = tally.assemble_skip()
        if made is not None:
            accept(r, made)


def accept(r: Replica, certificate: Certificate) -> None:
    """Store a valid certificate that is not held, and draw the consequences."""
    view = certificate.view
    news = certificate.block != ZERO_HASH and not r.certified(view, certificate.block)
    r.note(CertificateRecord(certificate=certificate))
    if view >= r.cur_view or is_finality(certificate):
        _forward(r, certificate)
    state = r.view(view)
    for each in certificate.leader_sigs:
        if state.tally.add_leader_sig(each.block, each.sig):
            fault_found(r, state)
    if certificate.fault is not None:
        learn_fault(r, state, certificate.fault)
    if certificate.ctype == CertificateType.NOTARIZATION:
        state.notarization = certificate
    elif certificate.ctype == CertificateType.FALLBACK:
        state.fallbacks[certificate.block] = certificate
    elif certificate.ctype == CertificateType.SKIP:
        state.skip = certificate
    else:
        _make_final(r, certificate)
    header = r.header_of(certificate.block) if news else None
    if news and (header is None or header.flags != FLAG_TAIL):
        r.effects.append(Certified(certificate.block, header, certificate))
    if view >= r.cur_view:
        enter(r, View(view + 1), certificate)
    r.dirty.update(other for other in r.views if other >= view)


def enter(r: Replica, view: View, *causes: Certificate) -> None:
    """enter(v) of section 6; proposing follows when the turn's rules have run."""
    r.cur_view = view
    r.entry_us = r.now.mono_us
    r.entry_certificates = causes
    r.building = None
    r.stalls = 0
    schedule_resend(r)
    r.view(view)
    r.dirty.add(view)


def schedule_resend(r: Replica) -> None:
    """Set when this view counts as stalled: t_resend from now."""
    salt = b"%d %d %d" % (-1 if r.index is None else r.index, r.cur_view, r.stalls)
    r.resend_us = r.now.mono_us + r.pacemaker.resend_us(skip_us(r), salt)


def skip_us(r: Replica) -> int:
    """t_skip of the current view."""
    idle_us = r.config.parameters.idle_interval_ms * 1000
    return r.pacemaker.skip_us(r.cur_view, r.final_view, idle_us)


def observe_proposal(r: Replica) -> None:
    """The current view's proposal is here: let the timers learn from how long it took."""
    idle_us = r.config.parameters.idle_interval_ms * 1000
    r.pacemaker.observe_proposal(max(0, r.now.mono_us - r.entry_us - idle_us))


def learn_fault(r: Replica, state: ViewState, fault: LeaderFault) -> None:
    """Take in a verified LeaderFault; the first of a view counts."""
    if state.tally.fault is None:
        state.tally.fault = fault
        state.tally.leader_sigs.setdefault(fault.block_a, fault.sig_a)
        state.tally.leader_sigs.setdefault(fault.block_b, fault.sig_b)
        fault_found(r, state)


def fault_found(r: Replica, state: ViewState) -> None:
    """lf[v] was set: gossip it once, run the view's rules again; the watch has reported it."""
    tally, fault = state.tally, state.tally.fault
    if fault is None or state.gossiped_fault:
        return
    state.gossiped_fault = True
    r.effects.append(Broadcast(FaultNotice(epoch=r.config.epoch, view=tally.view, fault=fault)))
    r.dirty.add(tally.view)


def _make_final(r: Replica, certificate: Certificate) -> None:
    """final_view advances with the certificate; blocks follow in `finality.advance` as bodies are there."""
    r.final_view = certificate.view
    r.final_hash = certificate.block
    r.final_certificate = certificate
    for table in (r.views, r.own_votes):
        for view in [view for view in table if view <= r.final_view]:
            del table[view]


def _forward(r: Replica, certificate: Certificate) -> None:
    if r.gate is None:
        return  # observers listen
    count = len(r.validators)
    if count <= SMALL_NETWORK:
        r.effects.append(Broadcast(certificate))
        return
    view = View(max(r.cur_view, certificate.view + 1))
    chosen = {int(r.validators.leader(view)), int(r.validators.leader(View(view + 1)))}
    draw = hash_tagged(b"TALLY/spread/1", b"%d %d" % (-1 if r.index is None else r.index, certificate.view))
    for step in range((count - 1).bit_length()):
        chosen.add(int.from_bytes(draw[2 * step : 2 * step + 2], "big") % count)
    for index in sorted(chosen):
        if index != r.index:
            r.send(Peer(index), certificate)
