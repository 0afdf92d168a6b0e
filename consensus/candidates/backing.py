"""What a validator does with candidates, as a machine without I/O (DESIGN.md section 6).

    upon a CandidateOffer(header, pov) from a collator or validator:
        check the header against the latest executed relay state; what can not stand there waits or goes;
        not asked to attest its chain, and no dispute → only keep it, to include it when leading;
        no PoV with it → ask for it; a PoV → ExecuteCandidate, in a worker
    upon Executed(candidate, VALID or INVALID):
        SignStatement: the signing gate journals the verdict, then signs
    upon StatementSigned:
        broadcast the attestation; a VALID one is a promise to serve the PoV
    upon an Attestation of another validator:
        verify, collect; more than 2/3 of those who are asked on one verdict → the candidate can be included;
        two of them say the contrary of each other → a dispute: all validators execute and decide;
        of a candidate never seen → ask its sender for it;
        of the next epoch → keep it until that begins
    upon RelayAdvanced(view of the executed final state):
        forget what was enacted, rejected or superseded; look again at what waited
    upon PovRequest: serve
    upon PeerConnected: say again what was attested of candidates in flight
    upon EpochBegan: forget all attestations, which bind their epoch; sign anew what was found before

`includable` is what a leader puts into its block: per chain in order, from the head that its parent's state
has on. A header that breaks a rule costs its sender the candidate, not a statement: only re-execution is
worth a signature. Bounds: MAX_PER_CHAIN candidates a chain, shared out fairly between senders, at most
MAX_PER_SENDER of them from one peer, EARLY attestations of unknown candidates and as many of the next epoch
a peer, SERVED_BYTES of settled PoVs.
"""

from collections.abc import Callable, Iterator
from typing import Final

from consensus.agreement.events import SignStatement, StatementRefused, StatementSigned
from consensus.agreement.statements import Verdict
from consensus.agreement.validators import ValidatorSet
from consensus.candidates.attesters import Attesters
from consensus.candidates.backing_events import (
    BackingEffect,
    BackingEvent,
    BroadcastAttestation,
    CandidateMisbehaviour,
    CandidateReceived,
    CandidateStage,
    EpochBegan,
    ExecuteCandidate,
    Executed,
    PeerConnected,
    RelayAdvanced,
    SendCandidateMessage,
    Sender,
)
from consensus.candidates.contrary import ContraryStatements
from consensus.candidates.execution import CandidateTask, InboxMessage
from consensus.candidates.including import includable
from consensus.candidates.lifecycle import (
    TRANSITIONS,
    ChainView,
    Stage,
    Tip,
    header_refusal,
    inbox_refusal,
    tip_after,
)
from consensus.candidates.receipts import (
    MAX_PIPELINE_DEPTH,
    Attestation,
    CandidateHeader,
    CandidateInclusion,
    CandidateOffer,
    PovRequest,
    pov_hash,
    statement_of,
)
from consensus.candidates.tracking import EarlyAttestations, ServedPovs, Tracked, who_makes_room
from consensus.candidates.view import RelayView
from consensus.primitives.ids import ChainId, Epoch, Hash, PublicKey, Signature, ValidatorIndex

MAX_PER_CHAIN: Final = 16
MAX_AHEAD: Final = 2 * MAX_PIPELINE_DEPTH  # of the executed head: this machine may be a little behind
MAX_RELAY_AHEAD: Final = 64  # relay blocks that a relay parent may be ahead of what is executed here
MAX_PER_SENDER: Final = MAX_AHEAD

VerifySignature = Callable[[PublicKey, bytes, Signature], bool]


class Backing:
    """One validator's view of all candidates in flight. `own` None: an observer that only collects."""

    def __init__(
        self,
        *,
        own: ValidatorIndex | None,
        chain_id_hash: Hash,
        epoch: Epoch,
        validators: ValidatorSet,
        verify: VerifySignature,
    ) -> None:
        self._own = own
        self._chain_id_hash = chain_id_hash
        self._epoch = epoch
        self._validators = validators
        self._verify = verify
        self._view: RelayView | None = None
        self._attesters: dict[ChainId, Attesters | None] = {}
        self._candidates: dict[Hash, Tracked] = {}
        self._early = EarlyAttestations()
        self._next = EarlyAttestations()  # of the epoch after this
        self._served = ServedPovs()
        self._contrary = ContraryStatements()

    def __len__(self) -> int:
        return len(self._candidates)

    def handle(self, event: BackingEvent) -> list[BackingEffect]:
        """The one entry. Total: whatever a peer sends, it returns."""
        match event:
            case CandidateReceived(sender=sender, message=CandidateOffer() as offer):
                return list(self._on_offer(sender, offer))
            case CandidateReceived(sender=sender, message=PovRequest() as request):
                return list(self._on_request(sender, request))
            case CandidateReceived(sender=sender, message=Attestation() as attestation):
                return list(self._on_attestation(sender, attestation))
            case Executed():
                return list(self._on_executed(event))
            case StatementSigned():
                return list(self._on_signed(event))
            case StatementRefused():
                return []  # the machine keeps what it was told of others; it says nothing itself
            case RelayAdvanced():
                return list(self._on_advanced(event.view))
            case EpochBegan():
                return list(self._on_epoch(event))
            case PeerConnected():
                return list(self._on_connected(event.sender))
            case CandidateReceived():
                raise AssertionError("a message about candidates of an unknown kind")

    def includable(self, view: RelayView, limit: int) -> list[CandidateInclusion]:
        """At most `limit` inclusions for a block on the state that `view` reads, sorted."""
        return includable(
            self._candidates.values(), view, limit, validators=self._validators, epoch=self._epoch
        )

    def contrary(self) -> tuple[Attestation, ...]:
        """What validators signed against a verdict that a block carries."""
        return self._contrary.all()

    # --- messages

    def _on_offer(self, sender: Sender, offer: CandidateOffer) -> Iterator[BackingEffect]:
        header = offer.header
        name = header.hash
        if offer.pov and (len(offer.pov) != header.pov_bytes or pov_hash(offer.pov) != header.pov_hash):
            yield CandidateMisbehaviour(sender=sender, reason="a PoV that is not the one its header names")
            return
        found = self._candidates.get(name)
        if found is None:
            state = None if self._view is None else self._view.chain(header.chain)
            if state is None or not self._may_wait(header, name, state):
                return
            same = [each for each in self._candidates.values() if each.header.chain == header.chain]
            if sum(each.sender == sender for each in same) >= MAX_PER_SENDER:
                return
            if len(same) >= MAX_PER_CHAIN:
                victim = who_makes_room(sender, same)
                if victim is None:
                    return
                yield from self._forget(victim, Stage.TIMED_OUT, "its sender offers more than its share")
            found = self._candidates[name] = Tracked(name, header, sender)
            yield CandidateStage(candidate=name, header=header, stage=Stage.COLLATED)
            for early_sender, attestation in self._early.take(name):
                yield from self._count(found, attestation, early_sender)
        found.note_holder(sender)
        if offer.pov and found.pov is None:
            found.pov = offer.pov
        yield from self._proceed(found)
        yield from self._proceed_chain(header.chain)

    def _may_wait(self, header: CandidateHeader, name: Hash, state: ChainView) -> bool:
        height = header.height - state.tip.height
        near = header.relay_parent_height <= self._height + MAX_RELAY_AHEAD
        settled = name in state.rejected or name in self._served
        return 1 <= height <= MAX_AHEAD and near and not settled

    def _on_request(self, sender: Sender, request: PovRequest) -> Iterator[BackingEffect]:
        found = self._candidates.get(request.candidate)
        if found is not None and found.pov is not None:
            offer = CandidateOffer(header=found.header, pov=found.pov)
            yield SendCandidateMessage(receiver=sender, message=offer)
        elif (settled := self._served.get(request.candidate)) is not None:
            yield SendCandidateMessage(receiver=sender, message=settled)

    def _on_attestation(self, sender: Sender, attestation: Attestation) -> Iterator[BackingEffect]:
        if attestation.epoch == self._epoch + 1:  # its validator is a little ahead
            self._next.keep(sender, attestation, self._height)
            return
        if attestation.epoch != self._epoch or attestation.validator >= len(self._validators):
            return
        found = self._candidates.get(attestation.candidate)
        if self._contrary.is_late(attestation):
            key = self._validators.keys[attestation.validator]
            if self._verify(key, attestation.sign_bytes(self._chain_id_hash), attestation.signature):
                self._contrary.keep_late(attestation)
            else:
                yield CandidateMisbehaviour(
                    sender=sender, reason="an attestation that its validator did not sign"
                )
        elif found is None:
            yield from self._keep_early(sender, attestation)
        else:
            yield from self._count(found, attestation, sender)

    def _keep_early(self, sender: Sender, attestation: Attestation) -> Iterator[BackingEffect]:
        if attestation.candidate in self._served:
            return
        if self._early.keep(sender, attestation, self._height):
            request = PovRequest(candidate=attestation.candidate)
            yield SendCandidateMessage(receiver=sender, message=request)

    def _count(self, found: Tracked, attestation: Attestation, sender: Sender) -> Iterator[BackingEffect]:
        """Count another validator's first verdict. A second, other one is an offence and is not counted."""
        verdict = Verdict(attestation.verdict)
        validator = attestation.validator
        if validator in found.votes[verdict]:
            return
        key = self._validators.keys[validator]
        bound = (attestation.chain, attestation.relay_parent) == (
            found.header.chain,
            found.header.relay_parent,
        )
        if not bound or not self._verify(
            key, attestation.sign_bytes(self._chain_id_hash), attestation.signature
        ):
            yield CandidateMisbehaviour(
                sender=sender, reason="an attestation that its validator did not sign"
            )
            return
        if any(validator in votes for votes in found.votes.values()):
            found.second[verdict][validator] = attestation.signature
            yield CandidateMisbehaviour(
                sender=sender, reason=f"validator {validator} says valid and invalid of one candidate"
            )
            return
        if verdict is Verdict.VALID:
            found.note_holder(sender)
        yield from self._counted(found, attestation)

    def _counted(self, found: Tracked, attestation: Attestation) -> Iterator[BackingEffect]:
        verdict = Verdict(attestation.verdict)
        found.votes[verdict][attestation.validator] = attestation.signature
        asked = self._asked(found)
        if asked is None:
            return
        if verdict is Verdict.VALID and attestation.validator in asked:
            yield from self._move(found, Stage.BACKED)
        if found.decided(asked, self._validators) is Verdict.VALID:
            yield from self._move(found, Stage.AVAILABLE)
            yield from self._move(found, Stage.APPROVED)
        if not self._takes_part(found):
            return
        if found.pov is None:
            yield from self._ask(found)
        elif found.disputed(asked):
            yield from self._proceed(found)

    def _asked(self, found: Tracked) -> Attesters | None:
        """Who attests its chain; looked up once for each view and epoch."""
        view, chain = self._view, found.header.chain
        if view is not None and chain not in self._attesters:
            self._attesters[chain] = view.attesters(chain, self._epoch, self._validators)
        return self._attesters.get(chain)

    def _takes_part(self, found: Tracked) -> bool:
        """Whether this validator is to execute a candidate: it attests the chain, or there is a dispute."""
        asked = self._asked(found)
        return self._own is not None and asked is not None and (self._own in asked or found.disputed(asked))

    # --- execution and statements

    def _proceed(self, found: Tracked) -> Iterator[BackingEffect]:
        """Take a candidate as far as it goes now: it waits, is asked for, is dropped or executed."""
        view = self._view
        if view is None or self._own is None or found.executing:
            return
        if self._candidates.get(found.name) is not found:  # forgotten while its siblings were looked at
            return
        if found.verdict is not None:
            yield from self._say(found)
            return
        state = view.chain(found.header.chain)
        tip = None if state is None else self._tip_under(found, state)
        if state is None or tip is None:
            return
        header = found.header
        time_ms = view.relay_parent_time_ms(header.relay_parent_height, header.relay_parent)
        if time_ms is None and header.relay_parent_height > view.height:
            return  # this machine is behind
        refusal = header_refusal(header, state, tip, time_ms)
        if refusal is not None:
            yield from self._forget(found, Stage.TIMED_OUT, refusal)
            return
        if inbox_refusal(header, state) is not None:
            return  # a message that this machine has not executed yet
        if not self._takes_part(found):
            return
        if found.pov is None:
            yield from self._ask(found)
            return
        found.executing = True
        yield ExecuteCandidate(candidate=found.name, task=self._task(found, state, found.pov, view))

    def _task(self, found: Tracked, state: ChainView, pov: bytes, view: RelayView) -> CandidateTask:
        header = found.header
        messages = tuple(
            InboxMessage(source=cursor.source, payload=payload)
            for cursor in header.inbox
            for payload in view.messages(header.chain, cursor.source, cursor.first, cursor.next)
        )
        return CandidateTask(
            header=header,
            pov=pov,
            code=view.code(state.code_hash),
            fuel_limit=state.fuel_limit,
            max_pov_bytes=state.max_pov_bytes,
            messages=messages,
        )

    def _tip_under(self, found: Tracked, state: ChainView) -> Tip | None:
        """What `found` builds on: the enacted head or a known candidate chain up from it; None if neither."""
        path: list[Tracked] = []
        parent = found.header.parent_head
        while parent != state.tip.head:
            below = self._candidates.get(parent)
            if below is None or below.verdict is Verdict.INVALID or len(path) >= MAX_AHEAD:
                return None
            path.append(below)
            parent = below.header.parent_head
        tip = state.tip
        for each in reversed(path):
            tip = tip_after(tip, each.header, each.name)
        return tip

    def _ask(self, found: Tracked) -> Iterator[BackingEffect]:
        holder = found.holder_to_ask(self._height)
        if holder is not None:
            yield SendCandidateMessage(receiver=holder, message=PovRequest(candidate=found.name))

    @property
    def _height(self) -> int:
        return 0 if self._view is None else self._view.height

    def _on_executed(self, event: Executed) -> Iterator[BackingEffect]:
        found = self._candidates.get(event.candidate)
        if found is None or found.verdict is not None or event.verdict is None:
            return  # settled meanwhile, or a local fault: this machine abstains
        found.verdict, found.executing = event.verdict, False
        yield from self._say(found)

    def _say(self, found: Tracked) -> Iterator[BackingEffect]:
        """Have our verdict signed, once an epoch, if it is asked for: the set may have left us behind."""
        if found.verdict is not None and not found.asked_to_sign and self._takes_part(found):
            found.asked_to_sign = True
            yield SignStatement(statement_of(found.header, found.name, found.verdict))

    def _on_signed(self, event: StatementSigned) -> Iterator[BackingEffect]:
        found = self._candidates.get(event.statement.candidate)
        if found is None or self._own is None:
            return
        own = Attestation(
            epoch=self._epoch,
            chain=found.header.chain,
            relay_parent=found.header.relay_parent,
            candidate=found.name,
            verdict=event.statement.verdict,
            validator=self._own,
            signature=event.signature,
        )
        key = self._validators.keys[self._own]
        if not self._verify(key, own.sign_bytes(self._chain_id_hash), own.signature):
            return  # asked for in the epoch before, and signed for it; it was asked for again since
        found.own = own
        yield BroadcastAttestation(attestation=own)
        yield from self._counted(found, own)

    def _on_connected(self, sender: Sender) -> Iterator[BackingEffect]:
        for found in self._candidates.values():
            if found.own is not None:
                yield SendCandidateMessage(receiver=sender, message=found.own)

    # --- decisions

    def _on_epoch(self, event: EpochBegan) -> Iterator[BackingEffect]:
        """Nothing that was signed in the epoch before counts any more: what is in flight is attested anew."""
        self._own, self._epoch, self._validators = event.own, event.epoch, event.validators
        self._attesters.clear()
        for found in list(self._candidates.values()):
            found.forget_attestations()
            yield from self._move(found, Stage.COLLATED)
            yield from self._say(found)
        early, self._next = self._next, EarlyAttestations()
        for sender, attestation in early.take_all():
            yield from self._on_attestation(sender, attestation)
        for chain in sorted({each.header.chain for each in self._candidates.values()}):
            yield from self._proceed_chain(chain)

    def _on_advanced(self, view: RelayView) -> Iterator[BackingEffect]:
        self._view = view
        self._attesters.clear()
        for sender, candidate in self._early.overdue(view.height):
            yield SendCandidateMessage(receiver=sender, message=PovRequest(candidate=candidate))
        chains = sorted({each.header.chain for each in self._candidates.values()})
        for chain in chains:
            state = view.chain(chain)
            if state is not None:
                yield from self._settle(view, state)
            yield from self._proceed_chain(chain)

    def _proceed_chain(self, chain: ChainId) -> Iterator[BackingEffect]:
        waiting = [each for each in self._candidates.values() if each.header.chain == chain]
        for found in sorted(waiting, key=lambda each: each.header.height):
            yield from self._proceed(found)

    def _settle(self, view: RelayView, state: ChainView) -> Iterator[BackingEffect]:
        """Forget what the relay state has decided, and what can not be enacted any more."""
        live = [each for each in self._candidates.values() if each.header.chain == state.chain]
        enacted = self._ancestry(state.tip.head)
        for found in sorted(live, key=lambda each: each.header.height):
            header = found.header
            if found.name in enacted:
                yield from self._forget(found, Stage.ENACTED, "")
            elif found.name in state.rejected:
                yield from self._forget(found, Stage.REJECTED, "it was found invalid")
            elif header.height <= state.tip.height:
                yield from self._forget(found, Stage.TIMED_OUT, "another candidate was enacted")
            elif (
                header.relay_parent_height <= view.height
                and view.relay_parent_time_ms(header.relay_parent_height, header.relay_parent) is None
            ):
                yield from self._forget(found, Stage.TIMED_OUT, "its relay parent is not recent any more")
            elif header.parent_head != state.tip.head and header.height == state.tip.height + 1:
                yield from self._forget(found, Stage.TIMED_OUT, "it builds on a head that was not enacted")

    def _ancestry(self, head: Hash) -> set[Hash]:
        """The candidates we hold that `head` is, or builds on."""
        names: set[Hash] = set()
        found = self._candidates.get(head)
        while found is not None:
            names.add(found.name)
            found = self._candidates.get(found.header.parent_head)
        return names

    def _move(self, found: Tracked, stage: Stage) -> Iterator[BackingEffect]:
        if stage in TRANSITIONS[found.stage]:
            found.stage = stage
            yield CandidateStage(candidate=found.name, header=found.header, stage=stage)

    def _forget(self, found: Tracked, stage: Stage, reason: str) -> Iterator[BackingEffect]:
        """The candidate is settled. What we attested stays served for a while, within SERVED_BYTES."""
        del self._candidates[found.name]
        if stage in (Stage.ENACTED, Stage.REJECTED):
            verdict = Verdict.VALID if stage is Stage.ENACTED else Verdict.INVALID
            said = found.votes, found.second
            self._contrary.settle(found.name, found.header, verdict, self._epoch, *said)
        if found.pov is not None and found.own is not None:
            self._served.keep(found.name, CandidateOffer(header=found.header, pov=found.pov))
        yield CandidateStage(candidate=found.name, header=found.header, stage=stage, reason=reason)
