"""Coming back without a journal (CONSENSUS.md section 13.4).

By `next_epoch` a key that lost its memory signs nothing ever again; a fresh one will. By `probe` the others'
highest certificates bound the views in which this key may have voted before: it signs nothing up to two
views above them, and judges no candidate on a block that may have been final in them. That clears one epoch.

Later epochs are clear too if a quorum answers that it voted for neither the boundary block nor a tail, or
that finality, whose blocks it has, overtook such votes. For Q of stake votes for what makes the boundary
final, so this node had not seen that when it lost its memory, and had entered no later epoch. Otherwise it
asks again in the next.
"""

from typing import Final

from consensus.agreement.certificates import verify_certificate
from consensus.agreement.certifying import on_certificate
from consensus.agreement.config import AmnesiaPolicy
from consensus.agreement.events import Broadcast, Peer
from consensus.agreement.messages import (
    AmnesiaProbe,
    AmnesiaReply,
    Certificate,
    Kind,
    amnesia_reply_hash,
)
from consensus.agreement.replica import Probe, Replica
from consensus.agreement.signing_rules import SigningGate
from consensus.primitives.errors import PeerFault
from consensus.primitives.ids import ZERO_HASH, Hash, View

VIEWS_BEYOND: Final = 2  # of the highest certificate among a quorum of replies
AGAIN_US: Final = 1_000_000  # how long answers to a probe are waited for


def begin(r: Replica, nonce: Hash) -> None:
    """Ask everybody, if that is the policy; nothing but the probe is signed until a quorum has answered."""
    if r.gate is None:
        return
    r.flush_journal(r.gate.lose_memory(nonce))
    if r.config.amnesia is not AmnesiaPolicy.PROBE or not r.gate.amnesic:
        return
    sig = r.gate.sign_exempt(Kind.AMNESIA_PROBE, View(0), nonce, ZERO_HASH)
    r.probe = Probe(nonce=nonce, signature=sig, again_us=0)
    ask(r)


def ask(r: Replica) -> None:
    """Send the probe, if there is one and it is time; a probe or its answer may be lost."""
    probe = r.probe
    if probe is not None and r.now.mono_us >= probe.again_us:
        probe.again_us = r.now.mono_us + AGAIN_US
        r.effects.append(Broadcast(probe_message(r, probe)))


def probe_message(r: Replica, probe: Probe) -> AmnesiaProbe:
    """The probe, which is sent again until it is answered. Raises ValueError in an observer."""
    if r.gate is None:
        raise ValueError("an observer has no key to have amnesia about")
    return AmnesiaProbe(epoch=r.config.epoch, nonce=probe.nonce, signer=r.gate.index, sig=probe.signature)


def on_probe(r: Replica, peer: Peer, probe: AmnesiaProbe) -> None:
    """Remember to answer, as soon as we hold a certificate high enough. Raises PeerFault if it is forged."""
    if r.gate is None or probe.signer >= len(r.validators):
        return
    if int(peer) != probe.signer:
        return  # an old probe that somebody repeats must not take the place of the signer's own
    if not r.check(probe.signer, Kind.AMNESIA_PROBE, 0, probe.nonce, ZERO_HASH, probe.sig):
        raise PeerFault("an amnesia probe with a bad signature")
    r.pending_probes[probe.signer] = (peer, probe.nonce)


def answer_probes(r: Replica) -> None:
    """Reply to whoever waits, if our memory is whole and our certificates reach our own votes."""
    gate = r.gate
    if gate is None or gate.amnesic or gate.closed or not r.pending_probes:
        return
    certificate: Certificate | None = r.final_certificate
    highest = r.highest_certified_view()
    if highest > r.final_view:
        certificate = r.views[highest].certificates()[0]
    view = View(0) if certificate is None else certificate.view
    if view < max(gate.highest_view(), gate.bar) - 1:
        return  # what is held counts for nothing if it can not be shown
    # What is final and not handed out yet, for want of a body, may be the boundary block itself. So may be
    # what the floor stands on, until finality is there again: votes below it are forgotten.
    unknown = max(gate.bar, gate.floor.view) > r.final_view or r.final_hash != r.tip_hash
    beyond = unknown or _voted_beyond(r, gate)
    for signer in sorted(r.pending_probes):
        peer, nonce = r.pending_probes[signer]
        sig = gate.sign_exempt(Kind.AMNESIA_REPLY, view, nonce, amnesia_reply_hash(certificate, beyond))
        reply = AmnesiaReply(
            epoch=r.config.epoch,
            nonce=nonce,
            certificate=certificate,
            beyond=beyond,
            signer=gate.index,
            sig=sig,
        )
        r.send(peer, reply)
    r.pending_probes.clear()


def _voted_beyond(r: Replica, gate: SigningGate) -> bool:
    """Whether an own vote above finality is for the boundary block or a tail."""
    for view in gate.views():
        for kind, block, _ in gate.votes(view).signed:
            if view > r.final_view and kind in (Kind.NOTARIZE, Kind.NFALL, Kind.FINALIZE):
                header = r.header_of(block)
                if header is None or header.height >= r.config.end_height:
                    return True
    return False


def on_reply(r: Replica, peer: Peer, reply: AmnesiaReply) -> None:
    """Count an answer to our own nonce; at a quorum of others, set the bar. Raises PeerFault if forged."""
    probe, gate = r.probe, r.gate
    if probe is None or gate is None or reply.nonce != probe.nonce:
        return
    if reply.signer != int(peer) or reply.signer >= len(r.validators) or reply.signer == gate.index:
        return
    certificate = reply.certificate
    view = View(0) if certificate is None else certificate.view
    signed = amnesia_reply_hash(certificate, reply.beyond)
    if not r.check(reply.signer, Kind.AMNESIA_REPLY, view, reply.nonce, signed, reply.sig):
        raise PeerFault("an amnesia reply with a bad signature")
    if certificate is not None:
        if certificate.epoch != r.config.epoch:
            raise PeerFault("an amnesia reply with a certificate of another epoch")
        verify_certificate(certificate, r.validators, r.check)
        on_certificate(r, certificate)
    probe.replies[reply.signer] = view
    if not reply.beyond:
        probe.within.add(reply.signer)
    quorum = r.validators.stake.quorum
    within = r.validators.weight(probe.within) >= quorum
    if gate.amnesic and r.validators.weight(probe.replies) >= quorum:
        bar = View(max(probe.replies.values()) + VIEWS_BEYOND)
        r.flush_journal(gate.set_bar(bar, beyond=not within))
        r.dirty.update(r.views)
    elif within and not gate.amnesic:
        r.flush_journal(gate.set_bar(gate.bar, beyond=False))
    if within:
        r.probe = None  # else a quorum may yet say so: at the latest when finality passes those votes
