"""Proposals, votes and leader faults as they come from peers: checked whole, then counted.

CONSENSUS.md sections 3, 4, 7 and 21. Everything that a peer could get wrong raises PeerFault before anything
is changed. Duplicates are dropped before any signature is checked.
"""

from consensus.agreement import pulling, recovery
from consensus.agreement.certificates import (
    CheckedReason,
    check_leader_fault,
    verify_certificate,
    verify_justification,
)
from consensus.agreement.certifying import fault_found, holds, learn_fault, observe_proposal, on_certificate
from consensus.agreement.config import VIEWS_AHEAD
from consensus.agreement.events import Peer
from consensus.agreement.messages import (
    FaultNotice,
    Header,
    Kind,
    Proposal,
    Vote,
    block_hash,
    payload_root,
)
from consensus.agreement.replica import Block, Replica, ViewState
from consensus.agreement.tally import VoteKey
from consensus.agreement.thresholds import Mode
from consensus.primitives.errors import PeerFault
from consensus.primitives.ids import ZERO_HASH, Hash, Signature, ValidatorIndex, View

MAX_PROPOSALS = 2  # headers kept a view: two prove a fault


def on_proposal(r: Replica, peer: Peer, proposal: Proposal) -> None:
    """Support first (it may move the view), then header and body, then the vote that rides along.

    Everything is checked before anything is taken. Raises PeerFault on what no honest node sends.
    """
    header = proposal.header
    block = block_hash(header)
    support = [each for each in proposal.support if not holds(r, each)]
    ahead = max((each.view for each in support), default=View(0)) + VIEWS_AHEAD
    takes_block = _is_news(r, block, proposal) and (header.view > r.final_view or pulling.wanted(r, block))
    if takes_block:
        _check_block(r, block, proposal)
    for certificate in support:
        if certificate.epoch != r.config.epoch:
            raise PeerFault("support of another epoch")
        verify_certificate(certificate, r.validators, r.check)
    vote = proposal.vote
    if (
        vote is not None
        and int(peer) == header.proposer
        and vote.view <= max(ahead, r.cur_view + VIEWS_AHEAD)
    ):
        _check_own_vote(r, header, vote)
    for certificate in support:
        on_certificate(r, certificate)
    if takes_block and (r.tracked(header.view) or pulling.wanted(r, block)):
        _take_block(r, block, proposal)
    if vote is not None:
        on_vote(r, peer, vote)


def _is_news(r: Replica, block: Hash, proposal: Proposal) -> bool:
    held = r.blocks.get(block)
    return held is None or (held.payload is None and proposal.payload is not None)


def _check_block(r: Replica, block: Hash, proposal: Proposal) -> None:
    header, payload = proposal.header, proposal.payload
    _check_header(r, header)
    if payload is not None and (
        len(payload) != header.payload_len or payload_root(payload) != header.payload_root
    ):
        raise PeerFault("a body that is not the one its header commits to")
    leader = r.validators.leader(header.view)
    if not r.check(leader, Kind.PROPOSE, header.view, block, ZERO_HASH, proposal.leader_sig):
        raise PeerFault("a proposal with a bad leader signature")


def _check_own_vote(r: Replica, header: Header, vote: Vote) -> None:
    """The vote that rides along is the leader's NOTARIZE of this very block."""
    if vote.kind != Kind.NOTARIZE or vote.signer != header.proposer or vote.epoch != header.epoch:
        raise PeerFault("a proposal with a vote that is not its leader's own")
    if vote.view != header.view:
        raise PeerFault("a proposal with a vote of another view")
    check_vote(r, vote)


def _take_block(r: Replica, block: Hash, proposal: Proposal) -> None:
    """Store a checked header and body; a third block of a view only if it is wanted."""
    header, sig = proposal.header, proposal.leader_sig
    if r.tracked(header.view):
        state = r.view(header.view)
        note_leader_sig(r, state, block, sig)
        if block not in state.proposals:
            if len(state.proposals) >= MAX_PROPOSALS and not pulling.wanted(r, block):
                return
            state.proposals.append(block)
            if header.view == r.cur_view and len(state.proposals) == 1:
                observe_proposal(r)
        r.dirty.update(view for view in r.views if view >= header.view)
    held = r.blocks.setdefault(block, Block(block, header))
    held.leader_sig = sig
    if proposal.payload is not None:
        held.payload = proposal.payload


def _check_header(r: Replica, header: Header) -> None:
    if header.view < 1 or header.parent_view >= header.view or header.height < 1:
        raise PeerFault("a header whose views or height are impossible")
    if header.proposer != r.validators.leader(header.view):
        raise PeerFault("a header by somebody who does not lead its view")
    if header.payload_len > r.config.parameters.max_block_bytes:
        raise PeerFault("a block over the size limit")


# --- votes


def on_vote(r: Replica, peer: Peer, vote: Vote) -> None:
    """Count a vote, after everything it carries is verified. Raises PeerFault if its own signer sent rubbish;
    a relayed vote that is wrong is ignored."""
    if vote.epoch != r.config.epoch or vote.signer >= len(r.validators):
        return
    direct = vote.signer == int(peer)
    state = r.views.get(vote.view)
    if vote.view <= r.final_view:
        if direct:
            r.pacemaker.heard(vote.signer, vote.view)
            if vote.view + 1 < r.final_view:
                recovery.help_laggard(r, peer)
        return
    if not r.tracked(vote.view) or (state is not None and _is_moot(r, state, vote)):
        return
    try:
        reason = check_vote(r, vote)
    except PeerFault:
        if direct:
            raise
        return
    r.pacemaker.heard(vote.signer, vote.view)
    _count_checked(r, r.view(vote.view), vote, reason)


def _is_moot(r: Replica, state: ViewState, vote: Vote) -> bool:
    """Whether a vote is held, or can change nothing that matters, so that its check is saved."""
    if state.tally.holds(vote) or state.tally.is_full(vote.signer):
        return True
    return r.config.mode is Mode.OFF and vote.kind == Kind.NOTARIZE and state.notarization is not None


def _check_shape(vote: Vote) -> None:
    kind, block, aux = vote.kind, vote.block, vote.aux
    if kind not in (Kind.NOTARIZE, Kind.SKIP, Kind.NFALL, Kind.SFALL, Kind.FINALIZE):
        raise PeerFault("a vote of unknown kind")
    if (kind == Kind.SKIP) != (block == ZERO_HASH):
        raise PeerFault("a vote that names a block where it must not, or none where it must")
    if aux != ZERO_HASH and (kind != Kind.NFALL or aux == block):
        raise PeerFault("a vote with an impossible first vote declared")
    if (vote.leader_sig is not None) != (kind == Kind.NOTARIZE):
        raise PeerFault("a leader signature belongs to NOTARIZE, and to nothing else")
    if vote.justification is not None and kind not in (Kind.SFALL, Kind.NFALL):
        raise PeerFault("a justification on a vote that needs none")


def check_vote(r: Replica, vote: Vote) -> CheckedReason | None:
    """What a vote's justification holds, after shape and every signature are verified. Raises PeerFault."""
    _check_shape(vote)
    view, block = vote.view, vote.block
    strict = r.config.mode is Mode.STRICT
    reason = vote.justification if strict else None
    declares = vote.kind == Kind.SFALL or (vote.kind == Kind.NFALL and vote.aux != ZERO_HASH)
    if strict and declares and reason is None:
        raise PeerFault("a fallback vote without its justification")
    if vote.leader_sig is not None:
        leader = r.validators.leader(view)
        if not r.check(leader, Kind.PROPOSE, view, block, ZERO_HASH, vote.leader_sig):
            raise PeerFault("a NOTARIZE with a bad leader signature")
    if not r.check(vote.signer, vote.kind, view, block, vote.aux, vote.sig):
        raise PeerFault("a vote with a bad signature")
    if reason is None:
        return None
    return verify_justification(
        reason,
        kind=vote.kind,
        view=view,
        block=block,
        validators=r.validators,
        check=r.check,
        required=declares,
    )


def _count_checked(r: Replica, state: ViewState, vote: Vote, reason: CheckedReason | None) -> None:
    if vote.leader_sig is not None:
        note_leader_sig(r, state, vote.block, vote.leader_sig, needed=True)
    if reason is not None:
        groups, leader_sigs = reason
        for key, sigs in groups.items():
            for signer, sig in sigs.items():
                count(r, state, ValidatorIndex(signer), key, sig)
            if key[0] == Kind.NOTARIZE:
                held = any(key in state.tally.held[signer] for signer in sigs)
                note_leader_sig(r, state, key[1], leader_sigs[key[1]], needed=held)
        if vote.justification is not None and vote.justification.fault is not None:
            learn_fault(r, state, vote.justification.fault)
    count(r, state, vote.signer, (vote.kind, vote.block, vote.aux), vote.sig)
    proposed = vote.block in state.tally.leader_sigs  # whoever invents a block has nothing fetched
    if proposed and state.tally.fault is None and vote.block not in r.blocks:
        pulling.need_block(r, vote.block, vote.view)


def note_leader_sig(
    r: Replica, state: ViewState, block: Hash, sig: Signature, *, needed: bool = False
) -> None:
    """Keep a verified sigL; two of a view are a LeaderFault."""
    if state.tally.add_leader_sig(block, sig, needed=needed):
        fault_found(r, state)


def count(r: Replica, state: ViewState, signer: ValidatorIndex, key: VoteKey, sig: Signature) -> None:
    """Add a verified vote to the tally; what convicts its signer was found by the watch."""
    if state.tally.add(signer, key, sig):
        r.dirty.add(state.tally.view)


def on_fault_notice(r: Replica, notice: FaultNotice) -> None:
    """Take in a gossiped LeaderFault. Raises PeerFault if it proves nothing."""
    if not r.tracked(notice.view):
        return
    state = r.views.get(notice.view)
    if state is None or state.tally.fault is None:
        check_leader_fault(notice.fault, notice.view, r.validators, r.check)
        learn_fault(r, r.view(notice.view), notice.fault)
