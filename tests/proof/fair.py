"""Fair terminal states: everything honest is delivered everywhere, every timer has fired, nothing moves.

If the view is then unresolved, the protocol is stuck. The Byzantine validator is silent from here on, but
each honest node may have counted another first vote of it, may or may not have been shown the bodies that
nobody honest voted for, and the leader's fault is known to all or to none: whoever knows it gossips it.
"""

from collections.abc import Iterator, Mapping
from itertools import product

from consensus.agreement.certificates import SignatureChecker, verify_justification
from consensus.agreement.engine import Engine
from consensus.agreement.events import Broadcast, Effect
from consensus.agreement.messages import CertificateType, FaultNotice, Justification, Kind, Message
from consensus.agreement.thresholds import Mode
from consensus.primitives.errors import PeerFault
from consensus.primitives.ids import View
from tests.proof.moves import State
from tests.proof.scope import EPOCH, MUCH_LATER, NF_TIMER, SKIP_MARK, SKIP_TIMER, Scope, Signed, verify

Shown = tuple[int, Message]


class Fair:
    """Whether honest nodes of one scope can be left stuck."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.turns = 0
        self._check = SignatureChecker(
            chain_id_hash=scope.chain_id_hash, epoch=EPOCH, keys=scope.validators.keys, verify=verify
        )
        self._known: dict[tuple[object, ...], frozenset[bool]] = {}

    def stuck(self, view: int, states: Mapping[int, State], earlier: int) -> str | None:
        """A sentence if the honest nodes, having signed `states`, can all rest with `view` unresolved.

        It is the highest view that any of them voted in. `earlier` are the certificates of views below.
        """
        votes = {signer: frozenset(e for e in signed if e.view == view) for signer, signed in states.items()}
        if any(each.kind == Kind.FINALIZE for signed in votes.values() for each in signed):
            return None  # whoever signs that holds, and keeps in its journal, a Notarization
        entry = self._entry(view, votes, earlier)
        ways = {False, True}
        for index in self.scope.honest:
            ways &= self._resting(view, index, states[index], votes, entry)
        if not ways:
            return None
        told = ", ".join(
            f"{index}: {[(Kind(e.kind).name, self.scope.blocks[e.block].name) for e in sorted(signed)]}"
            for index, signed in sorted(states.items())
        )
        return f"stuck in view {view}: {told}"

    def _resting(
        self, view: int, index: int, own: State, votes: Mapping[int, State], entry: list[tuple[int, Shown]]
    ) -> frozenset[bool]:
        """With which knowledge of the leader's fault (none, all) this node can rest unresolved."""
        others = tuple(votes[each] for each in self.scope.honest)
        key = (view, index, own, others, tuple(fact for fact, _ in entry))
        known = self._known.get(key)
        if known is None:
            begin = [shown for _, shown in entry]
            guilty = self.scope.leader(view) == self.scope.byzantine
            known = self._known[key] = frozenset(
                fault
                for fault in ((False, True) if guilty else (False,))
                if self._can_rest(view, index, own, votes, begin, fault=fault)
            )
        return known

    def _can_rest(
        self,
        view: int,
        index: int,
        own: State,
        votes: Mapping[int, State],
        entry: list[Shown],
        *,
        fault: bool,
    ) -> bool:
        scope, begin = self.scope, list(entry)
        if fault:
            begin.append((scope.byzantine, scope.fault_notice(view)))
        after = list(self._honest_messages(view, index, votes))
        return any(
            self._rests(view, index, own, [*begin, *hidden, *first, *after], told=fault)
            for hidden, first in product(self._bodies(view, votes), self._slots(view, votes))
        )

    def _rests(self, view: int, index: int, own: State, messages: list[Shown], *, told: bool) -> bool:
        """Whether the node signs nothing new, does not leave the view, and has no fault to tell of."""
        engine, outcome = self.scope.boot(index, self.scope.journal_of(index, own))
        if outcome.signed:
            return False
        asked = outcome.building
        for source, message in messages:
            if source == index:
                continue
            self.turns += 1
            outcome = self.scope.give(engine, source, message)
            asked = outcome.building or asked
            if outcome.signed or (not told and any(map(_tells_of_fault, outcome.effects))):
                return False
        if engine.cur_view > view:
            return False
        if asked is not None and self.scope.build(engine, asked).signed:
            return False
        return not self._timers_move(engine)

    def _timers_move(self, engine: Engine) -> bool:
        self.turns += 3
        return any(self.scope.tick(engine, now).signed for now in (SKIP_TIMER, NF_TIMER, MUCH_LATER))

    # --- what is delivered

    def _entry(self, view: int, votes: Mapping[int, State], earlier: int) -> list[tuple[int, Shown]]:
        """Certificates that honest nodes surely hold: those below the blocks that they voted for, with the
        bodies there; if that does not lead into the view, one that does. Each with a number that names it."""
        scope = self.scope
        plain = CertificateType.NOTARIZATION if scope.mode is Mode.OFF else CertificateType.FALLBACK
        wanted: set[tuple[int, CertificateType, int]] = set()
        for block in {each.block for signed in votes.values() for each in signed if each.block}:
            at, below = view, scope.blocks[block].parent
            while below:
                wanted |= {(u, CertificateType.SKIP, SKIP_MARK) for u in range(scope.view_of(below) + 1, at)}
                wanted.add((scope.view_of(below), plain, below))
                at, below = scope.view_of(below), scope.blocks[below].parent
            wanted |= {(u, CertificateType.SKIP, SKIP_MARK) for u in range(1, at)}
        if view > 1 and not any(v == view - 1 for v, _, _ in wanted):
            below_view = [(view - 1, plain, block) for block in scope.in_view[view - 1]]
            below_view.append((view - 1, CertificateType.SKIP, SKIP_MARK))
            held = [(v, t, b) for v, t, b in below_view if earlier & scope.fact("certificate", int(t), v, b)]
            wanted |= set(held[:1])
        entry: list[tuple[int, Shown]] = []
        for v, ctype, block in sorted(wanted):
            fact = scope.fact("certificate", int(ctype), v, block)
            if block:
                entry.append((0, (scope.byzantine, scope.proposal(block))))
            entry.append((fact, (scope.byzantine, self._certificate(ctype, v, block))))
        return entry

    def _certificate(self, ctype: CertificateType, view: int, block: int) -> Message:
        kind = Kind.SKIP if ctype is CertificateType.SKIP else Kind.NOTARIZE
        group = self.scope.group(range(len(self.scope.validators)), Signed(view, kind, block))
        return self.scope.certificate(ctype, view, block, [group])

    def _bodies(self, view: int, votes: Mapping[int, State]) -> Iterator[list[Shown]]:
        """Bodies of blocks that honest nodes voted for, and of the others none or all."""
        scope, leader = self.scope, self.scope.leader(view)
        relied = {
            each.block
            for signed in votes.values()
            for each in signed
            if each.kind in (Kind.PROPOSE, Kind.NOTARIZE, Kind.NFALL)
        }
        yield [(leader, scope.proposal(block)) for block in sorted(relied)]
        if leader == scope.byzantine and len(relied) < len(scope.in_view[view]):
            yield [(leader, scope.proposal(block)) for block in scope.in_view[view]]

    def _slots(self, view: int, votes: Mapping[int, State]) -> Iterator[list[Shown]]:
        """The Byzantine validator's first vote that this node counted."""
        scope, byzantine = self.scope, self.scope.byzantine
        yield []
        yield [(byzantine, scope.vote(byzantine, Signed(view, Kind.SKIP, SKIP_MARK)))]
        proposed = {e.block for signed in votes.values() for e in signed if e.kind == Kind.PROPOSE}
        for block in scope.in_view[view]:
            if scope.leader(view) == byzantine or block in proposed:
                yield [(byzantine, scope.vote(byzantine, Signed(view, Kind.NOTARIZE, block)))]

    def _honest_messages(self, view: int, index: int, votes: Mapping[int, State]) -> Iterator[Shown]:
        """All votes of the others, first votes first, each with what makes it valid."""
        firsts = (Kind.NOTARIZE, Kind.SKIP)
        pairs = [(signer, each) for signer, signed in sorted(votes.items()) for each in sorted(signed)]
        for signer, each in sorted(pairs, key=lambda pair: pair[1].kind not in firsts):
            if signer != index and each.kind != Kind.PROPOSE:
                yield signer, self.scope.vote(signer, each, self._reason(view, each, votes))

    def _reason(self, view: int, each: Signed, votes: Mapping[int, State]) -> Justification | None:
        """A valid justification with as little of the Byzantine validator's as will do."""
        declares = each.kind == Kind.SFALL or (each.kind == Kind.NFALL and each.aux)
        if self.scope.mode is Mode.OFF or not declares:
            return None
        scope = self.scope
        guilty = scope.leader(view) == scope.byzantine
        for fault in (False, True) if guilty else (False,):
            for extra in (None, SKIP_MARK, *scope.in_view[view]):
                reason = self._justification(view, votes, extra, fault=fault)
                try:
                    verify_justification(
                        reason,
                        kind=each.kind,
                        view=View(view),
                        block=scope.hash_of(each.block),
                        validators=scope.validators,
                        check=self._check,
                    )
                except PeerFault:
                    continue
                return reason
        raise AssertionError(f"{each} was signed without a reason")

    def _justification(
        self, view: int, votes: Mapping[int, State], extra: int | None, *, fault: bool
    ) -> Justification:
        scope = self.scope
        groups: dict[Signed, set[int]] = {}
        for signer, signed in votes.items():
            for each in signed:
                if each.kind in (Kind.NOTARIZE, Kind.SKIP):
                    groups.setdefault(each, set()).add(signer)
        if extra is not None:
            kind = Kind.NOTARIZE if extra else Kind.SKIP
            groups.setdefault(Signed(view, kind, extra), set()).add(scope.byzantine)
        packed = [scope.group(signers, each) for each, signers in groups.items()]
        return Justification(
            groups=tuple(sorted(packed, key=lambda group: (group.kind, group.block, group.aux))),
            fault=scope.fault(view) if fault else None,
            leader_sigs=scope.leader_signatures({each.block for each in groups if each.block}),
        )


def _tells_of_fault(effect: Effect) -> bool:
    return isinstance(effect, Broadcast) and isinstance(effect.message, FaultNotice)
