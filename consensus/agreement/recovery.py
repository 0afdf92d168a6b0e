"""Getting a stalled or returning network going again: Status and its answers (CONSENSUS.md section 12)."""

from collections.abc import Sequence

from consensus.agreement import amnesia, proposing
from consensus.agreement.certificates import members, pack_bitmap
from consensus.agreement.certifying import schedule_resend
from consensus.agreement.events import Broadcast, Peer
from consensus.agreement.messages import (
    MAX_STATUS_VIEWS,
    Certificate,
    FaultNotice,
    Message,
    Seen,
    Status,
    Vote,
)
from consensus.agreement.replica import PeerState, Replica
from consensus.primitives.errors import PeerFault
from consensus.primitives.ids import Epoch, View


def status(r: Replica) -> Status:
    """Where this node stands, and whose first votes it holds."""
    count = len(r.validators)
    views = [view for view in sorted(r.views) if view <= r.cur_view][:MAX_STATUS_VIEWS]
    seen = tuple(Seen(view=view, bitmap=pack_bitmap(r.views[view].tally.first, count)) for view in views)
    return Status(
        epoch=r.config.epoch,
        cur_view=r.cur_view,
        final_view=r.final_view,
        final_height=r.tip.height,
        final_hash=r.tip_hash,
        seen=seen,
    )


def on_stall(r: Replica) -> None:
    """The view has not changed for t_resend: say where we are, and say again what we said."""
    r.effects.append(Broadcast(status(r)))
    for message in (*r.entry_certificates, *_faults(r), *_own_votes(r)):
        r.effects.append(Broadcast(message))
    proposing.resend_proposals(r)
    r.stalls += 1
    schedule_resend(r)
    r.dirty.update(r.views)


def on_peer_up(r: Replica, peer: Peer) -> None:
    """A session stands again: what was broadcast meanwhile was lost to it."""
    state = r.peers.setdefault(peer, PeerState())
    state.up, state.down_since_us = True, None
    if not r.started:
        return
    r.send(peer, status(r))
    for message in (*r.entry_certificates, *_faults(r), *_own_votes(r)):
        r.send(peer, message)
    if r.probe is not None:
        r.send(peer, amnesia.probe_message(r, r.probe))


def on_peer_down(r: Replica, peer: Peer) -> None:
    """A session is gone; a leader that stays away is suspected."""
    state = r.peer(peer)
    if state.up or state.down_since_us is None:
        state.down_since_us = r.now.mono_us
    state.up = False
    if peer >= len(r.validators):
        r.peers.pop(peer, None)  # strangers come and go, each under a number of its own


def on_status(r: Replica, peer: Peer, theirs: Status) -> None:
    """Note how far the peer is, give it what it lacks. Raises PeerFault on a malformed bitmap."""
    seen = {each.view: members(each.bitmap, len(r.validators)) for each in theirs.seen}
    if theirs.final_view > theirs.cur_view:
        raise PeerFault("a status whose final view lies ahead of its current one")
    state = r.peer(peer)
    state.final_height = max(state.final_height, theirs.final_height)
    missed = [
        vote
        for view, votes in sorted(r.own_votes.items())
        for vote in votes
        if theirs.cur_view >= view > theirs.final_view and r.index not in seen.get(view, ())
    ]
    if theirs.cur_view < r.cur_view or theirs.final_view < r.final_view:
        help_laggard(r, peer, missed)
    elif missed and _may_answer(r, peer):
        for vote in missed:
            r.send(peer, vote)


def on_other_epoch(r: Replica, peer: Peer, message: Message, epoch: Epoch) -> None:
    """Who is in an older epoch learns where we are, and asks for the chain; who is ahead has it for us."""
    state = r.peer(peer)
    if epoch < r.config.epoch:
        if _may_answer(r, peer):
            r.send(peer, status(r))
    elif isinstance(message, Status):
        state.final_height = max(state.final_height, message.final_height)


def help_laggard(r: Replica, peer: Peer, missed: Sequence[Vote] = ()) -> None:
    """The finality proof of our highest final block, the support bundle, and own votes that it missed."""
    if not _may_answer(r, peer):
        return
    r.send(peer, status(r))
    bundle: list[Certificate] = [] if r.final_certificate is None else [r.final_certificate]
    for view in sorted(r.views)[:MAX_STATUS_VIEWS]:
        bundle.extend(r.views[view].certificates())
    messages: list[Message] = [*bundle, *missed]
    for message in messages:
        r.send(peer, message)


def _may_answer(r: Replica, peer: Peer) -> bool:
    """At most one answer a peer per t_resend (section 21); none to a stranger whose session is gone."""
    state = r.peer(peer)
    if peer not in r.peers:
        return False
    pause_us = max(r.config.timers.resend_min_us, 3 * r.pacemaker.rtt_p90_us)
    if state.answered_us is not None and r.now.mono_us - state.answered_us < pause_us:
        return False
    state.answered_us = r.now.mono_us
    return True


def _own_votes(r: Replica) -> list[Message]:
    return [vote for view in sorted(r.own_votes) for vote in r.own_votes[view] if view <= r.cur_view]


def _faults(r: Replica) -> list[Message]:
    faults: list[Message] = []
    for view in sorted(r.views):
        fault = r.views[view].tally.fault
        if fault is not None:
            faults.append(FaultNotice(epoch=r.config.epoch, view=View(view), fault=fault))
    return faults
