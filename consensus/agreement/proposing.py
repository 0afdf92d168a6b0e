"""Leading a view: parent choice, the one proposal, its re-sending (CONSENSUS.md section 9)."""

from typing import Final

from consensus.agreement import pulling
from consensus.agreement.certifying import observe_proposal
from consensus.agreement.config import EMPTY_ONLY_AFTER, MAX_UNPERSISTED
from consensus.agreement.events import Broadcast, BuildPayload, PayloadBuilt, Peer
from consensus.agreement.judging import introduce
from consensus.agreement.messages import (
    FLAG_BOUNDARY,
    FLAG_TAIL,
    MAX_SUPPORT,
    Certificate,
    CertificateType,
    Header,
    Kind,
    Proposal,
    block_hash,
    payload_root,
)
from consensus.agreement.replica import Block, Replica
from consensus.agreement.voting import block_records, cast
from consensus.primitives.ids import ZERO_HASH, Hash, Height, Milliseconds, View

SUPPORT_INLINE_MAX: Final = 256 * 1024  # bytes of certificates, sent to all, above which they are left out


def select_parent(r: Replica, view: View) -> tuple[View, Hash] | View:
    """The certified block to build on, and its view; or the view whose certificate is missing."""
    below = View(view - 1)
    while below > r.final_view:
        state = r.views.get(below)
        block = None if state is None else state.certified()
        if block is not None:
            return below, block
        if state is None or state.skip is None:
            return below
        below = View(below - 1)
    return r.final_view, r.final_hash


def try_propose(r: Replica) -> None:
    """Ask the application for a payload, once, if this node leads the current view and may propose."""
    gate, view = r.gate, r.cur_view
    if gate is None or r.validators.leader(view) != gate.index or r.building is not None or r.ended:
        return
    if r.tip.height - r.persisted_height >= MAX_UNPERSISTED:
        return  # the store lags: what would become final next could not be handed out; Persisted looks again
    votes = gate.votes(view)
    if votes.proposed is not None or gate.refusal(Kind.PROPOSE, view, r.tip_hash) is not None:
        return
    chosen = select_parent(r, view)
    if not isinstance(chosen, tuple):
        pulling.need_certificate(r, chosen, ZERO_HASH)
        return
    parent_view, parent_hash = chosen
    if not introduce(r, parent_hash):
        pulling.need_block(r, parent_hash, parent_view, final=parent_view == r.final_view)
        return
    parent = r.header_of(parent_hash)
    if parent is None or propose_wait_ms(r, parent) > 0:
        return
    r.building = (view, parent_hash)
    time_ms = Milliseconds(max(r.now.unix_ms, parent.time_ms))
    flags = r.flags_at(Height(parent.height + 1))
    tail = flags == FLAG_TAIL
    empty = tail or view - r.final_view > EMPTY_ONLY_AFTER
    r.effects.append(
        BuildPayload(view, parent, parent_hash, time_ms, empty, boundary=flags == FLAG_BOUNDARY, tail=tail)
    )


def propose_wait_ms(r: Replica, parent: Header) -> int:
    """How long `min_block_interval` still forbids to propose on `parent`; not above 0: not any more."""
    interval_ms = r.config.parameters.min_block_interval_ms
    return parent.time_ms + interval_ms - r.now.unix_ms if interval_ms and parent.height else 0


def proposal_due_us(r: Replica) -> int | None:
    """When `min_block_interval` next lets this node propose; None if it is not what it waits for."""
    if not r.config.parameters.min_block_interval_ms or r.gate is None or r.building is not None or r.ended:
        return None
    if r.validators.leader(r.cur_view) != r.gate.index or r.gate.votes(r.cur_view).proposed is not None:
        return None
    chosen = select_parent(r, r.cur_view)
    parent = r.header_of(chosen[1]) if isinstance(chosen, tuple) else None
    wait_ms = 0 if parent is None else propose_wait_ms(r, parent)
    return r.now.mono_us + wait_ms * 1000 if wait_ms > 0 else None


def on_payload(r: Replica, built: PayloadBuilt) -> None:
    """Sign, journal and broadcast the proposal, with the own first vote if it may be cast now.

    A payload for a view that was left meanwhile is dropped. Raises ValueError on one over the size limit, a
    boundary without the next set, or a tail with content: those are the application's bugs.
    """
    if r.gate is None or r.building != (built.view, built.parent_hash) or built.view != r.cur_view:
        return
    parent = r.header_of(built.parent_hash)
    if parent is None or r.ended:
        return
    height = Height(parent.height + 1)
    flags = r.flags_at(height)
    if len(built.payload) > r.config.parameters.max_block_bytes:
        raise ValueError("the application built a block over the size limit")
    if (built.next_validators_hash != ZERO_HASH) != (flags == FLAG_BOUNDARY):
        raise ValueError("the application must name the next validators in a boundary block, and there alone")
    if flags == FLAG_TAIL and (built.payload or built.tx_count):
        raise ValueError("the application put something into a tail block")
    header = Header(
        epoch=r.config.epoch,
        view=built.view,
        height=height,
        parent_hash=built.parent_hash,
        parent_view=r.view_of(parent),
        proposer=r.gate.index,
        time_ms=Milliseconds(max(r.now.unix_ms, parent.time_ms)),
        payload_root=payload_root(built.payload),
        payload_len=len(built.payload),
        tx_count=built.tx_count,
        state_root=built.state_root,
        validators_hash=r.validators.validators_hash,
        next_validators_hash=built.next_validators_hash,
        flags=flags,
    )
    block = block_hash(header)
    if r.gate.refusal(Kind.PROPOSE, built.view, block) is not None:
        return
    record = r.gate.sign_vote(Kind.PROPOSE, built.view, block)
    r.check.learn(r.gate.index, int(Kind.PROPOSE), built.view, block, ZERO_HASH, record.sig)
    held = Block(block, header, record.sig, built.payload, valid=True)
    r.blocks[block] = held
    state = r.view(built.view)
    state.proposals.insert(0, block)
    state.tally.add_leader_sig(block, record.sig, needed=True)
    if built.view == r.cur_view:
        observe_proposal(r)
    r.flush_journal(*block_records(held), record)
    vote = None
    if r.gate.votes(built.view).first is None and r.timely(header, parent) and r.gap_missing(header) is None:
        vote = cast(r, state, Kind.NOTARIZE, block, alone=False)
    r.effects.append(
        Broadcast(
            Proposal(
                header=header,
                leader_sig=record.sig,
                payload=built.payload,
                support=_support(r, header),
                vote=vote,
            )
        )
    )
    introduce(r, block)  # the application knows the payload, not yet the block that it became
    r.dirty.add(built.view)


def _support(r: Replica, header: Header) -> tuple[Certificate, ...]:
    """The certificates that a voter needs for gap_ok; none if all surely have them and they are large."""
    needed: list[Certificate] = []
    if header.parent_view == r.final_view:
        if r.final_certificate is not None:
            needed.append(r.final_certificate)
    else:
        state = r.views[header.parent_view]
        held = state.notarization
        if held is None or held.block != header.parent_hash:
            held = state.fallbacks[header.parent_hash]
        needed.append(held)
    skips = (r.views[View(view)].skip for view in range(header.parent_view + 1, header.view))
    needed.extend(each for each in skips if each is not None)
    direct = header.parent_view == header.view - 1
    if direct and needed and needed[0].ctype != CertificateType.FALLBACK:
        size = sum(64 * len(group.sigs) for each in needed for group in each.groups)
        if size * len(r.validators) > SUPPORT_INLINE_MAX:
            return ()
    return tuple(needed[:MAX_SUPPORT])


def resend_proposals(r: Replica) -> None:
    """Own unresolved proposals again, to those from whom no vote for them came (section 9.2, last line)."""
    if r.gate is None or r.ended:
        return
    for view in sorted(r.views):
        block = r.gate.votes(view).proposed
        state = r.views[view]
        held = None if block is None else r.blocks.get(block)
        if held is None or state.resolved or held.leader_sig is None or view > r.cur_view:
            continue
        if r.gap_missing(held.header) is not None:
            continue
        voters = set(state.tally.voters_for(held.hash))
        own = [vote for vote in r.own_votes.get(view, ()) if vote.kind == Kind.NOTARIZE]
        proposal = Proposal(
            header=held.header,
            leader_sig=held.leader_sig,
            payload=held.payload,
            support=_support(r, held.header),
            vote=own[0] if own else None,
        )
        for index in range(len(r.validators)):
            if index != r.gate.index and index not in voters:
                r.send(Peer(index), proposal)
