"""What one honest engine can be brought to sign next, and what must exist for that.

`Moves.after(signed, view)` takes an engine that has signed `signed` and remembers nothing else, shows it
every selection of what concerns `view`, and notes each selection after which it signs something new. The
engine is the real one; a selection is shown in one order, least permissive first: certificates of earlier
views, the leader's fault, proposals, certificates of the view itself, first votes, then timers.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from consensus.agreement.engine import Engine
from consensus.agreement.events import BuildPayload, Instant
from consensus.agreement.messages import Certificate, CertificateType, Kind, Message
from consensus.agreement.thresholds import Mode
from tests.proof.scope import MUCH_LATER, NF_TIMER, SKIP_MARK, SKIP_TIMER, Outcome, Scope, Signed

CHECKED: Final = 20

State = frozenset[Signed]


class Show(NamedTuple):
    """One thing that an engine can be shown, and the fact that this needs.

    A message from `source`; or, from -1, a timer, or the view for whose proposal it asked a payload."""

    source: int
    what: object
    fact: int = 0


class Move(NamedTuple):
    """`needs` (facts) and then `state` is what is signed; None: the engine raised."""

    needs: int
    state: State | None


class Moves:
    """All moves of one honest validator in one scope; of `earlier`, if given, are the certificates of the
    earlier views that it can be shown."""

    def __init__(self, scope: Scope, index: int, earlier: int | None = None) -> None:
        self.scope = scope
        self.index = index
        self.steps = 0  # turns of the engine
        self._allowed = earlier
        self._shared: dict[tuple[object, ...], set[tuple[int, State | None]]] = {}
        self._uses = 0
        self._others = [other for other in scope.honest if other != index]
        self._cross: dict[int, list[tuple[Show, ...]]] = {}

    def after(self, signed: State, view: int) -> list[Move]:
        """The moves by which something of `view` is signed next, each with the least that it needs.

        In mode STRICT states that differ only in *what* was signed in other views, not in whether a first
        vote or anything was, have equal moves: a view is told of others by certificates and by `cur_view`.
        They share one exploration; at every `CHECKED`-th use the shared result is compared with one's own.
        """
        if self.scope.mode is Mode.OFF:
            return self._explore(signed, view)
        key = self._kind_of(signed, view)
        shared = self._shared.get(key)
        if shared is None:
            moves = self._explore(signed, view)
            self._shared[key] = {(m.needs, None if m.state is None else m.state - signed) for m in moves}
            return moves
        self._uses += 1
        if self._uses % CHECKED == 0:
            own = {
                (m.needs, None if m.state is None else m.state - signed) for m in self._explore(signed, view)
            }
            if own != shared:
                raise AssertionError(f"{sorted(signed)} does not move in view {view} as those like it do")
        return [Move(needs, None if new is None else signed | new) for needs, new in shared]

    def _kind_of(self, signed: State, view: int) -> tuple[object, ...]:
        """What decides the moves in a view: the votes there, and of each other view how far one is."""
        firsts = {each.view for each in signed if each.kind in (Kind.NOTARIZE, Kind.SKIP)}
        votes = {each.view for each in signed if each.kind != Kind.PROPOSE}
        others = tuple(
            (other in firsts, other in votes) for other in range(1, self.scope.views + 1) if other != view
        )
        return view, frozenset(each for each in signed if each.view == view), others

    def _explore(self, signed: State, view: int) -> list[Move]:
        found: dict[State | None, list[int]] = {}
        engine, outcome = self.scope.boot(self.index, self.scope.journal_of(self.index, signed))
        if outcome.signed:
            self._keep(found, signed | set(outcome.signed), 0)
        for star in self._stars(signed, view):
            levels = list(self._levels(view, star))
            self._grow(found, signed, engine, outcome.building, 0, levels)
        return [Move(needs, state) for state, masks in found.items() for needs in masks]

    # --- what can be shown

    def _stars(self, signed: State, view: int) -> list[tuple[int, ...]]:
        """Which blocks of `view` exist together: both of a Byzantine leader's, one of an honest one's."""
        scope, blocks = self.scope, self.scope.in_view[view]
        if scope.leader(view) == scope.byzantine:
            return [blocks]
        known = {each.block for each in signed if each.view == view and each.block}
        if scope.leader(view) == self.index:
            return [tuple(known)]
        return [(block,) for block in blocks if not known or block in known]

    def _levels(self, view: int, star: tuple[int, ...]) -> Iterator[tuple[bool, list[tuple[Show, ...]]]]:
        """One level after another: its alternatives, and whether nothing is shown after one of them."""
        scope, byzantine = self.scope, self.scope.byzantine
        guilty = scope.leader(view) == byzantine
        yield False, self._earlier(view)
        if guilty:
            yield False, [(), (Show(byzantine, scope.fault_notice(view)),)]
        if scope.leader(view) == self.index:
            yield False, [(), (Show(-1, view),)]
        else:
            yield False, self._proposals(star)
        yield True, [(), *((each,) for each in self.certificates(view, star))]
        votes = [(), (self.first(byzantine, view, SKIP_MARK),)]
        votes += [(self.first(byzantine, view, block),) for block in star]
        yield False, votes
        for other in self._others:
            yield False, [(), *((self.first(other, view, block),) for block in (*star, SKIP_MARK))]
        timers = [SKIP_TIMER, NF_TIMER]
        if any(scope.blocks[block].header.time_ms > NF_TIMER.unix_ms for block in star):
            timers.append(MUCH_LATER)
        yield True, [(), *((Show(-1, timer),) for timer in timers)]

    def _proposals(self, star: tuple[int, ...]) -> list[tuple[Show, ...]]:
        shows = [self.proposal(block) for block in star]
        if len(shows) == 2:
            return [(), (shows[0],), (shows[1],), (shows[0], shows[1]), (shows[1], shows[0])]
        return [(), *((each,) for each in shows)]

    def proposal(self, block: int) -> Show:
        leader = self.scope.leader(self.scope.view_of(block))
        fact = 0 if leader == self.scope.byzantine else self.scope.fact("proposed", block)
        return Show(leader, self.scope.proposal(block), fact)

    def first(self, signer: int, view: int, block: int) -> Show:
        """A first vote. The Byzantine validator's exists as soon as the sigL that it carries does."""
        scope = self.scope
        kind = Kind.NOTARIZE if block else Kind.SKIP
        if signer != scope.byzantine:
            fact = scope.fact("first", signer, view, block)
        elif block and scope.leader(view) != scope.byzantine:
            fact = scope.fact("proposed", block)
        else:
            fact = 0
        return Show(signer, scope.vote(signer, Signed(view, kind, block)), fact)

    def certificates(self, view: int, star: Iterable[int]) -> list[Show]:
        shows = [self._certificate(CertificateType.SKIP, view, SKIP_MARK)]
        for block in star:
            shows += [self._certificate(ctype, view, block) for ctype in self.block_certificates()]
        return shows

    def block_certificates(self) -> list[CertificateType]:
        """The certificates that name a block, in this mode."""
        if self.scope.mode is Mode.OFF:
            return [CertificateType.NOTARIZATION, CertificateType.FINAL]
        return [
            CertificateType.NOTARIZATION,
            CertificateType.FALLBACK,
            CertificateType.FAST_FINAL,
            CertificateType.FINAL,
        ]

    def _certificate(self, ctype: CertificateType, view: int, block: int) -> Show:
        """A certificate signed by all: who signed is read by nothing but the check that it is enough."""
        scope = self.scope
        kind = Kind.NOTARIZE
        if ctype is CertificateType.SKIP:
            kind = Kind.SKIP
        elif ctype is CertificateType.FINAL:
            kind = Kind.FINALIZE
        group = scope.group(range(len(scope.validators)), Signed(view, kind, block))
        message: Message = scope.certificate(ctype, view, block, [group])
        return Show(scope.byzantine, message, scope.fact("certificate", int(ctype), view, block))

    def _earlier(self, view: int) -> list[tuple[Show, ...]]:
        """Certificates of earlier views: of each view none, one, or two of which one is a SkipCert; that of
        a block without its body, or before it: where one is, the block was proposed."""
        known = self._cross.get(view)
        if known is not None:
            return known
        plain = CertificateType.NOTARIZATION if self.scope.mode is Mode.OFF else CertificateType.FALLBACK
        chains: list[tuple[Show, ...]] = [()]
        for earlier in range(1, view):
            skip = self._certificate(CertificateType.SKIP, earlier, SKIP_MARK)
            some: list[tuple[Show, ...]] = [(), (skip,)]
            for block in self.scope.in_view[earlier]:
                certified = self._certificate(plain, earlier, block)
                final = self._certificate(CertificateType.FINAL, earlier, block)
                body = self.proposal(block)._replace(fact=0)
                some += [(certified,), (certified, body), (certified, skip, body), (final, body)]
                if self.scope.mode is Mode.STRICT:
                    fast = self._certificate(CertificateType.FAST_FINAL, earlier, block)
                    some.append((fast, body))
            if self._allowed is not None:
                some = [each for each in some if not self._needs(each) & ~self._allowed]
            chains = [(*chain, *each) for chain in chains for each in some]
        self._cross[view] = chains
        return chains

    def _needs(self, shows: tuple[Show, ...]) -> int:
        """The certificates among what is needed."""
        mask = 0
        for show in shows:
            mask |= show.fact if isinstance(show.what, Certificate) else 0
        return mask

    # --- showing it

    def _grow(
        self,
        found: dict[State | None, list[int]],
        signed: State,
        engine: Engine,
        building: BuildPayload | None,
        needs: int,
        levels: list[tuple[bool, list[tuple[Show, ...]]]],
    ) -> None:
        if not levels:
            return
        last, alternatives = levels[0]
        for shows in alternatives:
            if not shows:
                self._grow(found, signed, engine, building, needs, levels[1:])
                continue
            twin, asked, mask = engine.fork(), building, needs
            outcome: Outcome | None = None
            for show in shows:
                try:
                    outcome = self._show(twin, show, asked)
                except RuntimeError:  # "two final blocks are not on one chain", when shown what can not be
                    self._keep(found, None, mask | show.fact)
                    outcome = None
                if outcome is None:
                    break
                mask |= show.fact
                asked = outcome.building or asked
                if outcome.signed:
                    self._keep(found, signed | set(outcome.signed), mask)
                    outcome = None
                    break
            if outcome is not None and not last:
                self._grow(found, signed, twin, asked, mask, levels[1:])

    def _show(self, engine: Engine, show: Show, asked: BuildPayload | None) -> Outcome | None:
        """None if there is nothing to show."""
        self.steps += 1
        if show.source >= 0:
            return self.scope.give(engine, show.source, show.what)
        if isinstance(show.what, Instant):
            return self.scope.tick(engine, show.what)
        if asked is None or asked.view != show.what:
            return None
        return self.scope.build(engine, asked)

    @staticmethod
    def _keep(found: dict[State | None, list[int]], state: State | None, needs: int) -> None:
        """Keep the least sets of facts only."""
        masks = found.setdefault(state, [])
        if not any(other & needs == other for other in masks):
            masks[:] = [other for other in masks if needs & other != needs]
            masks.append(needs)
