"""What the exhaustive search leaves out, looked at on one validator: memory, order, restarts.

`explore` takes the real engine of one validator through one view literally. It gets what exists in every
order, one thing at a time, also the conflicting first votes of the Byzantine validator; timers fire at any
time; it remembers everything; and once, anywhere, it may crash and start again from its journal. States are
told apart by `state_digest` and the journal. At every signature it is checked that `Moves`, which the search
uses, has it too, and needs no more than what this validator was shown.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from consensus.agreement.engine import Engine
from consensus.agreement.events import BuildPayload, Instant
from consensus.agreement.evidence import offence
from consensus.agreement.journal_records import JournalRecord, encode_record
from consensus.agreement.messages import Kind
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import Hash
from tests.proof.certified import Certified
from tests.proof.moves import Moves, Show, State
from tests.proof.scope import NF_TIMER, NOW, SKIP_MARK, SKIP_TIMER, Outcome, Scope, Signed

VIEW = 1
FAR_US = 1 << 60


@dataclass(slots=True)
class Node:
    """One literal state of the validator. `payload` is what its application was asked for."""

    engine: Engine
    journal: tuple[JournalRecord, ...]
    payload: BuildPayload | None
    signed: State
    crashes_left: int
    after: dict[int, "Edge | None"] = field(default_factory=dict)  # by input


@dataclass(frozen=True, slots=True)
class Edge:
    """Where an input leads, and what was signed on the way. `target` None: out of the view's scope."""

    target: bytes | None
    signed: frozenset[Signed]


@dataclass(slots=True)
class Explored:
    """What was covered and found."""

    states: int = 0
    turns: int = 0
    signatures: int = 0  # moves that sign, each with every least set of what it needs
    restarts: int = 0
    violations: list[str] = field(default_factory=list)


class Memory:
    """The literal states of one validator in view 1."""

    def __init__(
        self,
        scope: Scope,
        index: int,
        *,
        crashes: int = 0,
        twice: bool = False,
        certificates: bool = False,
        fallback: bool = False,
    ) -> None:
        """What is shown beside proposals, faults and first votes. `twice`: conflicting first votes of the
        Byzantine validator; `certificates`: those of the view; `fallback`: NFALL and FINALIZE votes."""
        self.scope = scope
        self.index = index
        self.found = Explored()
        self._twice = twice
        self._crashes = crashes
        self._moves = Moves(scope, index)
        self._certified = Certified(scope)
        self._known_moves: dict[State, list[tuple[int, State]]] = {}
        self._nodes: dict[bytes, Node] = {}
        self._inputs = list(self._all_inputs(certificates=certificates, fallback=fallback))
        self._exclusive = self._exclusions()

    def explore(self) -> Explored:
        """Everything that can happen."""
        engine, outcome = self.scope.boot(self.index, ())
        root = Node(engine, tuple(outcome.records), outcome.building, frozenset(), self._crashes)
        start = self._add(root)
        todo = [(start, 0)]
        least: dict[bytes, list[int]] = {start: [0]}
        while todo and len(self.found.violations) < 5:
            name, shown = todo.pop()
            node = self._nodes[name]
            for number, what in enumerate([*self._inputs, None]):
                if what is not None and self._contradicts(number, shown):
                    continue
                edge = self._edge(node, number, what)
                if edge is None:
                    continue
                after = shown if what is None else shown | 1 << number
                if edge.signed:
                    self._check(node.signed, edge.signed, after)
                if edge.target is None:
                    continue
                masks = least.setdefault(edge.target, [])
                if not any(mask & after == mask for mask in masks):
                    masks[:] = [mask for mask in masks if mask & after != after]
                    masks.append(after)
                    todo.append((edge.target, after))
        self.found.states = len(self._nodes)
        return self.found

    # --- inputs

    def _all_inputs(self, *, certificates: bool, fallback: bool) -> Iterator[Show]:
        scope, moves = self.scope, self._moves
        byzantine, blocks = scope.byzantine, scope.in_view[VIEW]
        others = [each for each in scope.honest if each != self.index]
        if scope.leader(VIEW) == self.index:
            yield Show(-1, VIEW)
        else:
            yield from (moves.proposal(block) for block in blocks)
        if scope.leader(VIEW) == byzantine:
            yield Show(byzantine, scope.fault_notice(VIEW))
        for signer in (*others, byzantine):
            yield from (moves.first(signer, VIEW, block) for block in (*blocks, SKIP_MARK))
        if certificates:
            yield from moves.certificates(VIEW, blocks)
        if fallback:
            for signer in (*others, byzantine):
                for block in blocks:
                    for kind in (Kind.NFALL, Kind.FINALIZE):
                        yield Show(signer, scope.vote(signer, Signed(VIEW, kind, block)))
        yield from (Show(-1, timer) for timer in (SKIP_TIMER, NF_TIMER))

    def _exclusions(self) -> list[int]:
        """For every input the mask of those that can not exist beside it: votes of one signer."""
        votes = [self._vote_of(show) for show in self._inputs]
        masks = []
        for one in votes:
            mask = 0
            for number, other in enumerate(votes):
                if one is None or other is None or one[0] != other[0] or one == other:
                    continue
                byzantine = one[0] == self.scope.byzantine
                firsts = {one[1].kind, other[1].kind} <= {Kind.NOTARIZE, Kind.SKIP}
                if (byzantine and firsts and not self._twice) or (
                    not byzantine and self._offends(one[1], other[1])
                ):
                    mask |= 1 << number
            masks.append(mask)
        return masks

    def _vote_of(self, show: Show) -> tuple[int, Signed] | None:
        vote = show.what
        kind, signer = getattr(vote, "kind", None), getattr(vote, "signer", None)
        if kind is None or signer is None:
            return None
        block = self.scope.by_hash[vote.block]  # type: ignore[attr-defined]
        return signer, Signed(VIEW, kind, block)

    def _offends(self, one: Signed, other: Signed) -> bool:
        def key(each: Signed) -> tuple[int, Hash, Hash]:
            return each.kind, self.scope.hash_of(each.block), self.scope.hash_of(each.aux)

        return offence(key(one), key(other)) is not None

    def _contradicts(self, number: int, shown: int) -> bool:
        return bool(self._exclusive[number] & shown)

    # --- states

    def _edge(self, node: Node, number: int, what: Show | None) -> Edge | None:
        """Where an input leads, or a crash if it is None; None if it is not possible or changes nothing."""
        if number in node.after:
            return node.after[number]
        edge = self._crash(node) if what is None else self._step(node, what)
        node.after[number] = edge
        return edge

    def _step(self, node: Node, show: Show) -> Edge | None:
        twin = node.engine.fork()
        outcome: Outcome
        self.found.turns += 1
        if show.source >= 0:
            outcome = self.scope.give(twin, show.source, show.what)
        elif isinstance(show.what, Instant):
            outcome = self.scope.tick(twin, show.what)
        elif node.payload is not None and node.payload.view == VIEW:
            outcome = self.scope.build(twin, node.payload)
        else:
            return None
        signed = frozenset(outcome.signed)
        if any(each.view != VIEW for each in signed):
            return Edge(None, frozenset(each for each in signed if each.view == VIEW))
        built = not isinstance(show.what, Instant) and show.source < 0
        payload = outcome.building or (None if built else node.payload)
        journal = node.journal + tuple(outcome.records)
        after = Node(twin, journal, payload, node.signed | signed, node.crashes_left)
        return Edge(self._add(after), signed)

    def _crash(self, node: Node) -> Edge | None:
        if not node.crashes_left:
            return None
        self.found.restarts += 1
        engine, outcome = self.scope.boot(self.index, node.journal)
        signed = frozenset(outcome.signed)
        journal = node.journal + tuple(outcome.records)
        after = Node(engine, journal, outcome.building, node.signed | signed, node.crashes_left - 1)
        return Edge(self._add(after), signed)

    def _add(self, node: Node) -> bytes:
        """The name of a state; its clocks are set back first, so that equal states are equal."""
        set_back(node.engine)
        journal = sorted(encode_record(record) for record in node.journal) if node.crashes_left else []
        asked = b"" if node.payload is None else b"%d" % node.payload.view
        name = hash_tagged(
            b"proof/node", node.engine.state_digest(), bytes([node.crashes_left]), asked, *journal
        )
        self._nodes.setdefault(name, node)
        return name

    # --- the check

    def _check(self, before: State, signed: frozenset[Signed], shown: int) -> None:
        """Whether a chain of moves leads to the same signatures, with no other needs than what is shown."""
        self.found.signatures += 1
        goal = before | signed
        facts = self._facts(shown, goal)
        reached, todo = {before}, [before]
        while todo and goal not in reached:
            for needs, state in self._moves_after(todo.pop()):
                if needs & facts == needs and state <= goal and state not in reached:
                    reached.add(state)
                    todo.append(state)
        if goal not in reached:
            told = [show.what for number, show in enumerate(self._inputs) if shown >> number & 1]
            self.found.violations.append(
                f"validator {self.index} signed {sorted(signed)} after {sorted(before)}, "
                f"which the search has not; it was shown {told}"
            )

    def _facts(self, shown: int, own: State) -> int:
        mask = 0
        votes: dict[int, set[Signed]] = {self.index: set(own)}
        for number, show in enumerate(self._inputs):
            if shown >> number & 1:
                mask |= show.fact
                vote = self._vote_of(show)
                if vote is not None and vote[0] != self.scope.byzantine:
                    votes.setdefault(vote[0], set()).add(vote[1])
        return mask | self._certified.facts(VIEW, votes)

    def _moves_after(self, state: State) -> list[tuple[int, State]]:
        known = self._known_moves.get(state)
        if known is None:
            moves = self._moves.after(state, VIEW)
            known = self._known_moves[state] = [(m.needs, m.state) for m in moves if m.state is not None]
        return known


def set_back(engine: Engine) -> None:
    """Set an engine's clocks to `NOW`, and forget what only saves messages: when to ask again for what."""
    r = engine._replica
    r.entry_us = NOW.mono_us
    r.resend_us = FAR_US
    r.stalls = 0
    r.pulls.clear()
    for state in r.views.values():
        if state.skipped_us is not None:
            state.skipped_us = NOW.mono_us
