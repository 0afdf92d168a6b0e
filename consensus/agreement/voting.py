"""Casting votes: the first vote of a view, and the second round (CONSENSUS.md sections 7 and 8)."""

from consensus.agreement.certifying import skip_us
from consensus.agreement.events import Broadcast, Peer
from consensus.agreement.journal_records import BlockRecord, FaultRecord, JournalRecord, ReasonRecord
from consensus.agreement.judging import usable
from consensus.agreement.messages import Justification, Kind, Vote
from consensus.agreement.replica import Block, Replica, ViewState
from consensus.agreement.signing_rules import MAX_NFALL, SKIPPED
from consensus.agreement.tally import SKIP_BLOCK
from consensus.agreement.thresholds import Mode
from consensus.primitives.ids import ZERO_HASH, Hash, View


def cast(
    r: Replica, state: ViewState, kind: Kind, block: Hash, aux: Hash = ZERO_HASH, *, alone: bool = True
) -> Vote | None:
    """Sign, journal, count and broadcast a vote; None if this node may not sign (observer, amnesia bar).

    Everything that the vote relies on is journaled before it, in the same append (section 13.1 a–c).
    `alone` False leaves the sending to the caller.
    """
    gate, tally = r.gate, state.tally
    if gate is None or gate.refusal(kind, tally.view, block, aux) is not None:
        return None
    records: list[JournalRecord] = []
    if tally.fault is not None and not state.fault_journaled:
        state.fault_journaled = True
        records.append(FaultRecord(epoch=r.config.epoch, view=tally.view, fault=tally.fault))
    if kind in (Kind.NOTARIZE, Kind.NFALL):
        records.extend(block_records(r.blocks[block]))
    reason: Justification | None = None
    if kind in (Kind.SFALL, Kind.NFALL) and r.config.mode is Mode.STRICT:
        reason = tally.justification()
        records.append(
            ReasonRecord(epoch=r.config.epoch, view=tally.view, kind=int(kind), block=block, reason=reason)
        )
    record = gate.sign_vote(kind, tally.view, block, aux)
    r.flush_journal(*records, record)
    vote = Vote(
        kind=int(kind),
        epoch=r.config.epoch,
        view=tally.view,
        block=block,
        aux=aux,
        signer=gate.index,
        sig=record.sig,
        leader_sig=tally.leader_sigs[block] if kind is Kind.NOTARIZE else None,
        justification=reason,
    )
    r.check.learn(gate.index, vote.kind, vote.view, block, aux, vote.sig)
    tally.add(gate.index, (vote.kind, block, aux), vote.sig)
    r.own_votes.setdefault(tally.view, []).append(vote)
    r.dirty.add(tally.view)
    if alone:
        r.effects.append(Broadcast(vote))
    return vote


def block_records(block: Block) -> list[JournalRecord]:
    """The record of a block that a signature is about to rely on, unless it was written before."""
    if block.journaled or block.payload is None or block.leader_sig is None:
        return []
    block.journaled = True
    return [BlockRecord(header=block.header, leader_sig=block.leader_sig, payload=block.payload)]


# --- section 7


def first_vote(r: Replica, state: ViewState) -> None:
    """NOTARIZE the first usable, timely proposal, also of a view already left; or SKIP the current view."""
    view = state.tally.view
    if r.gate is None or view > r.cur_view or r.gate.votes(view).first is not None:
        return
    if state.tally.fault is None:
        for block in tuple(state.proposals):
            parent = usable(r, state, block)
            if parent is not None and r.timely(r.blocks[block].header, parent):
                cast(r, state, Kind.NOTARIZE, block)
                return
    if view == r.cur_view and _should_skip(r, state) and cast(r, state, Kind.SKIP, ZERO_HASH) is not None:
        state.skipped_us = r.now.mono_us


def _should_skip(r: Replica, state: ViewState) -> bool:
    tally = state.tally
    if tally.fault is not None or tally.first.get(tally.leader) == SKIP_BLOCK:
        return True
    waited = r.now.mono_us - r.entry_us
    if waited >= skip_us(r) or (waited >= r.pacemaker.floor_us and suspected(r, tally.leader)):
        return True
    return any(r.blocks[block].valid is False for block in state.proposals)


def suspected(r: Replica, leader: int) -> bool:
    """Section 11.3: the leader's link is down, or it has been silent; never more than F stake at once."""
    if leader == r.index or not _silent(r, leader):
        return False
    spare = r.validators.stake.faulty
    silent = [index for index in range(len(r.validators)) if index != r.index and _silent(r, index)]
    for index in sorted(silent, key=lambda i: (r.pacemaker.last_seen[i], i)):
        spare -= r.validators.stakes[index]
        if spare < 0:
            return False
        if index == leader:
            return True
    return False


def _silent(r: Replica, validator: int) -> bool:
    if r.pacemaker.last_seen[validator] >= r.cur_view - 1:
        return False
    peer = r.peers.get(Peer(validator))
    down_us = None if peer is None else peer.down_since_us
    lost = down_us is not None and r.now.mono_us - down_us >= r.pacemaker.suspect_us
    return lost or r.pacemaker.is_quiet(validator)


# --- section 8


def second_round(r: Replica, state: ViewState) -> None:
    """R-FIN, R-SF, R-NF1 and R-NF2; in mode OFF, R-FIN and the timed R-SF alone."""
    gate = r.gate
    if gate is None or r.final_view >= state.tally.view:
        return
    votes = gate.votes(state.tally.view)
    if votes.first is None:
        return
    if state.notarization is not None and votes.first == state.notarization.block:
        if votes.fin is None and not votes.sfall and not votes.nfall:
            cast(r, state, Kind.FINALIZE, votes.first)
        return
    if votes.fin is not None or state.resolved:
        return
    if r.config.mode is Mode.OFF:
        _skip_after_notarize(r, state, votes.first)
        return
    against = state.tally.conflict(votes.first)
    if votes.first != SKIPPED and not votes.sfall and against >= state.tally.threshold:
        cast(r, state, Kind.SFALL, votes.first)
    _fall_back(r, state, votes.first)


def _skip_after_notarize(r: Replica, state: ViewState, first: Hash) -> None:
    """Mode OFF (section 18): SFALL fires on SKIP_TIMER alone."""
    timed_out = state.tally.view < r.cur_view or r.now.mono_us - r.entry_us >= skip_us(r)
    if first != SKIPPED and timed_out and r.gate is not None and not r.gate.votes(state.tally.view).sfall:
        cast(r, state, Kind.SFALL, first)


def _fall_back(r: Replica, state: ViewState, first: Hash) -> None:
    """R-NF1 and R-NF2, for each block that some first vote supports."""
    tally, gate = state.tally, r.gate
    if gate is None:
        return
    for block in tally.supported():
        fallen = gate.votes(tally.view).nfall
        if block == first or block in fallen or len(fallen) >= MAX_NFALL:
            continue
        stake = tally.support(block)
        if stake < tally.threshold and not _may_follow(r, state, first, stake):
            continue
        parent = usable(r, state, block)
        if parent is not None and r.not_future(r.blocks[block].header, parent):
            cast(r, state, Kind.NFALL, block, first)  # SKIPPED is zero, which is what aux is after a SKIP


def _may_follow(r: Replica, state: ViewState, first: Hash, stake: int) -> bool:
    """R-NF1: after a SKIP, no fault known, some support: at once if more than F, else by timer."""
    if first != SKIPPED or state.tally.fault is not None or stake == 0:
        return False
    due_us = fallback_due_us(r, state)
    return stake > r.validators.stake.faulty or (due_us is not None and r.now.mono_us >= due_us)


def fallback_due_us(r: Replica, state: ViewState) -> int | None:
    """NF_TIMER of a view that this node skipped."""
    return None if state.skipped_us is None else state.skipped_us + r.pacemaker.fallback_us


def waits_until_us(r: Replica, view: View, state: ViewState) -> int | None:
    """When time alone may next change what the rules of this view do; None if it can not."""
    if r.gate is None:
        return None
    votes = r.gate.votes(view)
    due: list[int] = []
    if votes.first is None and view == r.cur_view:
        due.append(r.entry_us + skip_us(r))
        if suspected(r, state.tally.leader):
            due.append(r.entry_us + r.pacemaker.floor_us)
        peer = r.peers.get(Peer(state.tally.leader))
        if peer is not None and peer.down_since_us is not None:
            due.append(max(peer.down_since_us + r.pacemaker.suspect_us, r.entry_us + r.pacemaker.floor_us))
    if r.config.mode is Mode.OFF and view == r.cur_view and votes.first not in (None, SKIPPED):
        due.append(r.entry_us + skip_us(r))
    if votes.first == SKIPPED and not state.resolved:
        fallback_us = fallback_due_us(r, state)
        if fallback_us is not None:
            due.append(fallback_us)
    if not state.resolved or votes.first is None:
        due.extend(_future_waits_us(r, state))
    return min((each for each in due if each > r.now.mono_us), default=None)


def _future_waits_us(r: Replica, state: ViewState) -> list[int]:
    """When the clock reaches the times of proposals that are ahead of it."""
    waits = []
    for block in state.proposals:
        ahead_ms = r.blocks[block].header.time_ms - r.config.parameters.precision_ms - r.now.unix_ms
        if ahead_ms > 0:
            waits.append(r.now.mono_us + ahead_ms * 1000)
    return waits
