"""The agreement engine: one method is the protocol of an epoch (CONSENSUS.md sections 1 to 15, 17, 21).

`epochs.Agreement` runs one after the other.

    upon Start: replay the journal; enter the view after the highest certificate or own vote; say Status.
        Without a journal: sign nothing, ask all for their highest certificates, stay silent two views beyond.
    upon entering view v: start SKIP_TIMER(v); if this node leads v, ask the application for a payload on the
        highest certified block below v that SkipCerts bridge.
    upon PayloadBuilt: sign one PROPOSE in v, ever; broadcast it with the certificates that a voter needs and
        the own NOTARIZE.
    upon a proposal whose body is here, whose parent is certified, whose gap is skipped, that the application
        finds valid, and that is timely: NOTARIZE it, if no first vote was cast in its view.
    upon SKIP_TIMER(v), a suspected or equivocating leader, an invalid proposal, or the leader's own SKIP:
        SKIP the current view, if no first vote was cast in it.
    upon FAST stake of NOTARIZE(B): FastFinal: B and its ancestors are final after one vote round.
    upon Q stake of NOTARIZE(B): Notarization: enter the next view; FINALIZE(B) if B got the first vote and no
        fallback vote was cast.
    upon Q stake of FINALIZE(B): Final: B and its ancestors are final.
    upon SKIP_TIMER + t_nf after an own SKIP, or once an honest node surely found B valid: NFALL(B) (R-NF1).
    upon thr(v) first votes for a B that is not the own first vote: NFALL(B) with the reason (R-NF2).
    upon thr(v) first votes against the own first vote: SFALL with the reason (R-SF).
    upon Q stake of NOTARIZE(B) ∪ NFALL(B): Fallback; of SKIP ∪ SFALL: SkipCert: enter the next view.
    upon two PROPOSE signatures in a view, wherever they come from: LeaderFault: gossip it once, report it,
        count the leader no more.
    upon anything that convicts a validator (E1 to E7): report the pair of signatures.
    upon a view that lasts t_resend: broadcast Status, the own votes, what let us enter, and faults; again.
    upon a Status from behind: answer with the finality proof and the certificates above it.
    upon a final block whose body or ancestors are missing: fetch it; from far behind, fetch the chain by
        pieces of 64 with one proof each.
    upon Persisted: raise the floor, below which nothing is signed and everything is forgotten.
    upon a certified block at the epoch's last height: it was flagged BOUNDARY and names the next validators;
        above it only empty TAIL blocks are proposed and voted for, until it is final by itself or by them.
    upon the boundary block being final: report it; sign nothing more, answer those who lag.
    upon a message of an older epoch: answer with Status, so that its sender asks for the chain.

Before every vote the journal gets what the vote relies on; the vote leaves after that is durable.

Deviations from CONSENSUS.md, all within what it permits:
 1. A certificate record is written with the next vote rather than when the certificate is formed: no vote
    relies on it earlier, and a view costs one sync.
 2. A record is canonical msgpack, not the fixed layout of section 13.1 (`journal_records` says why).
 3. Status carries `final_height`, so that a laggard knows what to ask for, and the first votes that its
    sender holds; a peer that sees itself missing sends its own votes again.
 4. A sigL that rides in a certificate is verified, and a wrong one makes the certificate invalid; section 3.1
    does not require it, and a certificate without it is valid.
 5. A late vote from a peer is answered with the finality proof only if it is two views or more behind: at
    n = 4 the slowest vote is always one behind.
 6. `propose_on = VOTED`, leader windows on the wire, payload pre-push and SLACK are not implemented. Epochs
    have a fixed length; a height that the state chooses (section 14) is not.
 7. A Justification names a validator once in all its groups, and one sigL a block: what honest nodes make.
    Section 3.1 forbids a repetition within a group only, which bounds nothing when a leader equivocates.
 8. Whether an amnesic key must probe in later epochs too is decided by what section 13.4 has replies say: not
    if a quorum answers that it voted for neither the boundary block nor a tail, or that finality overtook
    those votes (`amnesia` says why that suffices). Section 13.4 has it probe for ever; then validators that
    lost their memory one after another would all be silent together at the next boundary.
 9. A journal that tells of a later epoch closes the gate for this one: whoever lost its store and kept its
    journal follows in silence until it is back where it signed. Section 13.1 lets records of an epoch go once
    the next one began, so nothing else would stop it from signing twice.
"""

from collections.abc import Callable
from typing import Any, Final

from consensus.agreement import (
    amnesia,
    finality,
    intake,
    proposing,
    pulling,
    recovery,
    restart,
    snapshot,
    statements,
    voting,
)
from consensus.agreement.certifying import assemble, enter, on_certificate
from consensus.agreement.config import VIEWS_AHEAD, EngineConfig, Experience, Restored
from consensus.agreement.events import (
    Append,
    BlockValidated,
    Effect,
    Event,
    Instant,
    PayloadBuilt,
    Peer,
    PeerDown,
    PeerMisbehaved,
    PeerUp,
    Persisted,
    Received,
    RoundTrip,
    SignStatement,
    Start,
    StatementRefused,
    StatementSigned,
    Tick,
)
from consensus.agreement.journal_records import JournalRecord
from consensus.agreement.messages import (
    AmnesiaProbe,
    AmnesiaReply,
    Certificate,
    Chain,
    FaultNotice,
    GetBlock,
    GetCertificate,
    GetChain,
    Message,
    NotFound,
    Proposal,
    Status,
    Vote,
    epoch_of,
)
from consensus.agreement.replica import Replica
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.watch import RetiredWatch
from consensus.primitives.errors import PeerFault
from consensus.primitives.ids import Hash, Height, View


class Engine:
    """One node's part in the agreement protocol of one epoch; sans I/O, deterministic.

    `gate` None makes an observer, which follows finality and signs nothing. A gate is handed over empty: the
    engine restores it from the journal before anything can be signed. Raises ValueError on a final block of
    another epoch.
    """

    __slots__ = ("_replica", "_restored", "_wait_us")

    def __init__(self, config: EngineConfig, gate: SigningGate | None, restored: Restored) -> None:
        final = restored.final
        if final.epoch != config.epoch and final.height != config.start_height:
            raise ValueError("an engine begins with a block of its epoch, or the boundary block before it")
        if final.height >= config.end_height:
            raise ValueError("an epoch that has ended needs no engine: begin with the next one")
        proof = restored.proof if final.epoch == config.epoch else None
        self._replica = Replica(config, gate, final, None if proof is None else proof.certificate)
        self._restored: Restored | None = restored
        self._wait_us: int | None = None
        self._replica.recall(restored.experience)
        if gate is None:
            return
        if restored.records is None:
            gate.amnesic = True
        else:
            gate.restore(restored.records)
        view = self._replica.final_view
        if (view, final.height) > (gate.floor.view, gate.floor.height):
            # The proof may hold an own vote that the store knows and the journal lost: see `_start`.
            self._replica.note(gate.raise_floor(view=view, height=final.height, block=self._replica.tip_hash))

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """One turn: take the event in, run the rules until they rest, return what the world must do.

        Total: whatever a peer sends, it never raises; what no honest node sends changes nothing and comes
        back as PeerMisbehaved. Raises only on bugs of ours or of the application's.
        """
        r = self._replica
        r.now, r.effects = now, []
        if isinstance(event, Received):
            if not r.started:
                return []
            r.accuse(r.watch.message(event.message, r.final_view, View(r.cur_view + VIEWS_AHEAD)))
            epoch = epoch_of(event.message)
            try:
                if epoch is None or epoch == r.config.epoch:
                    _RECEIVERS[type(event.message)](r, event.peer, event.message)
                else:
                    recovery.on_other_epoch(r, event.peer, event.message, epoch)
            except PeerFault as fault:
                if not r.effects and not r.dirty:
                    return [PeerMisbehaved(event.peer, str(fault))]
                r.effects.append(PeerMisbehaved(event.peer, str(fault)))
            if type(event.message) is Certificate and not r.dirty and not self._is_due(now):
                return r.effects  # the same certificate comes from every peer: most are dropped
        else:
            self._inform(event)
        if r.started:
            self._settle(due=isinstance(event, Tick))
        return r.effects

    @property
    def deadline_us(self) -> int | None:
        """When (monotonic) the driver must next call `handle(Tick(), …)`; None: never."""
        return self._wait_us

    # --- what a node may ask

    @property
    def cur_view(self) -> View:
        """The view this node is in."""
        return self._replica.cur_view

    @property
    def final_view(self) -> View:
        """The highest view with a finality certificate."""
        return self._replica.final_view

    @property
    def final_height(self) -> Height:
        """The highest height that was handed out as final."""
        return self._replica.tip.height

    @property
    def final_hash(self) -> Hash:
        """The block at that height."""
        return self._replica.tip_hash

    @property
    def amnesic(self) -> bool:
        """Whether this validator signs nothing because its journal was lost."""
        gate = self._replica.gate
        return gate is not None and (gate.amnesic or self._replica.cur_view <= gate.bar)

    @property
    def syncing(self) -> bool:
        """Whether blocks are known to be final that could not be handed out yet."""
        r = self._replica
        return r.chain_request is not None or (r.final_hash != r.tip_hash and not r.ended)

    @property
    def ended(self) -> bool:
        """Whether the boundary block is final: the engine answers those who lag, and does nothing else."""
        return self._replica.ended

    @property
    def experience(self) -> Experience:
        """What may serve the next epoch's engine."""
        r = self._replica
        return Experience(
            heights={peer: Height(state.final_height) for peer, state in sorted(r.peers.items())},
            delay_us=r.pacemaker.delay_us,
            deviation_us=r.pacemaker.deviation_us,
        )

    def retire(self) -> RetiredWatch:
        """What goes on when the epoch is over: its validators are still watched."""
        r = self._replica
        return RetiredWatch(r.watch, r.final_view, View(r.cur_view + VIEWS_AHEAD))

    def fork(self) -> "Engine":
        """An independent copy: what happens to one does not touch the other."""
        twin = Engine.__new__(Engine)
        twin._replica = snapshot.fork(self._replica)
        twin._restored = self._restored
        twin._wait_us = self._wait_us
        return twin

    def state_digest(self) -> Hash:
        """A hash of everything that decides how this engine behaves from here on."""
        return snapshot.digest(self._replica)

    def journal_snapshot(self) -> list[JournalRecord]:
        """Every record that is still needed, for a rewritten journal; before Start, what was restored."""
        if self._restored is not None and not self._replica.started:
            return list(self._restored.records or ())
        return list(snapshot.journal(self._replica))

    # --- one turn

    def _inform(self, event: Event) -> None:
        r = self._replica
        match event:
            case Start():
                self._start(event)
            case Tick():
                r.dirty.update(r.views)
            case PeerUp(peer):
                recovery.on_peer_up(r, peer)
            case PeerDown(peer):
                recovery.on_peer_down(r, peer)
            case RoundTrip(peer, rtt_us):
                r.peer(peer).rtt_us = rtt_us
                measured = [each.rtt_us for each in r.peers.values() if each.up and each.rtt_us is not None]
                r.pacemaker.observe_round_trips(measured)
            case PayloadBuilt():
                proposing.on_payload(r, event)
            case BlockValidated(block, valid, _):
                held = r.blocks.get(block)
                if held is not None and held.valid is None:
                    held.valid = valid
                    r.dirty.update(view for view in r.views if view >= held.header.view)
            case Persisted(height):
                finality.on_persisted(r, height)
            case SignStatement(statement):
                _sign_statement(r, statement)
            case _:
                raise TypeError(f"{event!r} is no event of the engine")

    def _start(self, event: Start) -> None:
        r, restored = self._replica, self._restored
        if r.started or restored is None:
            raise RuntimeError("an engine is started once")
        self._restored = None
        r.started = True
        if r.unjournaled and r.gate is not None and not r.gate.amnesic:
            r.flush_journal()  # the floor is durable before any certificate with an own vote leaves
        restart.load(r, restored.records or ())
        enter(r, restart.first_view(r))
        r.dirty.update(r.views)
        if r.gate is not None and r.gate.amnesic:
            amnesia.begin(r, event.nonce)
        for peer, state in sorted(r.peers.items()):
            if state.up:
                recovery.on_peer_up(r, peer)

    def _is_due(self, now: Instant) -> bool:
        return self._wait_us is not None and now.mono_us >= self._wait_us

    def _settle(self, *, due: bool) -> None:
        """Run the rules of every view that changed, lowest first, until nothing changes any more."""
        r = self._replica
        now_us = r.now.mono_us
        if due or self._is_due(r.now):
            r.dirty.update(r.views)
            if now_us >= r.resend_us:
                recovery.on_stall(r)
        while True:
            while r.dirty:
                view = min(r.dirty)
                r.dirty.discard(view)
                state = r.views.get(view)
                if state is None:
                    continue
                assemble(r, state)
                if view > r.final_view and not r.ended:
                    voting.first_vote(r, state)
                    voting.second_round(r, state)
            finality.advance(r)
            proposing.try_propose(r)
            if not r.dirty:
                break
        amnesia.answer_probes(r)
        amnesia.ask(r)
        finality.request_chain(r)
        if r.pulls:
            pulling.pump(r)
        self._wait_us = self._next_wait_us()

    def _next_wait_us(self) -> int:
        r = self._replica
        due = r.resend_us
        for request in r.pulls.values():
            due = min(due, request.due_us)
        if r.chain_request is not None:
            due = min(due, r.chain_request.due_us)
        if r.probe is not None:
            due = min(due, r.probe.again_us)
        for view, state in r.views.items():
            if view <= r.cur_view:
                wait = voting.waits_until_us(r, view, state)
                if wait is not None and wait < due:
                    due = wait
        proposal_us = proposing.proposal_due_us(r)
        return due if proposal_us is None else min(due, proposal_us)


def _sign_statement(r: Replica, statement: statements.Statement) -> None:
    refused = "an observer signs nothing" if r.gate is None else r.gate.statement_refusal(statement)
    if r.gate is None or refused is not None:
        r.effects.append(StatementRefused(statement, refused or ""))
        return
    record = r.gate.sign_statement(statement)
    r.effects.append(Append((record,)))
    r.effects.append(StatementSigned(statement, record.sig))


_RECEIVERS: Final[dict[type[Message], Callable[[Replica, Peer, Any], None]]] = {
    Vote: intake.on_vote,
    Proposal: intake.on_proposal,
    Certificate: lambda r, _, message: on_certificate(r, message),
    FaultNotice: lambda r, _, message: intake.on_fault_notice(r, message),
    GetCertificate: pulling.on_get_certificate,
    GetBlock: pulling.on_get_block,
    GetChain: pulling.on_get_chain,
    NotFound: pulling.on_not_found,
    Chain: finality.on_chain,
    Status: recovery.on_status,
    AmnesiaProbe: amnesia.on_probe,
    AmnesiaReply: amnesia.on_reply,
}
