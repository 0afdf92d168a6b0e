"""The search over one scope: every state that honest validators can be brought to, and the checks in each.

A state is what each honest validator has signed. From a state one of them makes one of its `Moves` whose
needs are met by what the others signed and by the certificates that exist.
"""

from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

from consensus.agreement.evidence import offence
from consensus.agreement.messages import Kind
from consensus.primitives.ids import Hash
from tests.proof.certified import Certified
from tests.proof.fair import Fair
from tests.proof.moves import Moves, State
from tests.proof.scope import SKIP_MARK, Scope, Signed

_BITS: Final = 12  # of a validator's state number in a packed state
_MASK: Final = (1 << _BITS) - 1
RAISED: Final = -1  # in place of a state's number: the engine raised
MAX_VIOLATIONS: Final = 5  # of one search; it ends there


@dataclass(slots=True)
class Found:
    """What a search covered and found. `profiles` are the certificates that exist, of all states reached."""

    states: int = 0
    transitions: int = 0
    alone: int = 0  # states of single validators
    turns: int = 0  # of the engine
    profiles: set[int] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)


class Search:
    """Every reachable state of `scope`, its `views` together.

    With `context`, only the last view is searched: everybody skipped the earlier ones, and of these no other
    certificates exist than those in `context`.
    """

    def __init__(self, scope: Scope, *, context: int | None = None) -> None:
        every = tuple(range(1, scope.views + 1))
        self.scope = scope
        self.views = every if context is None else every[-1:]
        self.earlier = context
        self.context = context or 0
        self.base = frozenset(Signed(view, Kind.SKIP, SKIP_MARK) for view in every if view not in self.views)
        self.found = Found()
        self._certified = Certified(scope)
        self._fair = Fair(scope)
        self._alone = [_Alone(self, index) for index in scope.honest]
        self._view_facts: list[dict[int, int]] = [{} for _ in self.views]

    def run(self) -> Found:
        """Search to the end, or to the first few violations."""
        found = self.found
        one, two, three = self._alone
        start = 0
        for each in self._alone:
            start = start << _BITS | each.number(self.base)
        seen = {start}
        todo = [start]
        while todo and len(found.violations) < MAX_VIOLATIONS:
            packed = todo.pop()
            a, b, c = packed >> 2 * _BITS, packed >> _BITS & _MASK, packed & _MASK
            certified = self._certificates(a, b, c)
            if certified not in found.profiles:
                found.profiles.add(certified)
                self.violated(self._certified.fork(certified))
            self._check_stuck(a, b, c, certified)
            mask = certified | one.facts[a] | two.facts[b] | three.facts[c]
            for alone, number, shift in ((one, a, 2 * _BITS), (two, b, _BITS), (three, c, 0)):
                rest = packed ^ number << shift
                moves = alone.moves[number]
                for needs, target in alone.compute(number) if moves is None else moves:
                    if needs & mask == needs:
                        if target == RAISED:
                            self.violated(
                                f"honest {alone.index} raised, having signed {alone.states[number]}"
                            )
                            continue
                        found.transitions += 1
                        after = rest | target << shift
                        if after not in seen:
                            seen.add(after)
                            todo.append(after)
        found.states = len(seen)
        found.alone = sum(len(alone.states) for alone in self._alone)
        found.turns = sum(alone.engine.steps for alone in self._alone) + self._fair.turns
        return found

    def violated(self, text: str | None) -> None:
        """Note what went wrong, once."""
        if text is not None and text not in self.found.violations:
            self.found.violations.append(text)

    def _certificates(self, a: int, b: int, c: int) -> int:
        """The certificates that exist in all views."""
        mask = self.context
        one, two, three = self._alone
        for position, known in enumerate(self._view_facts):
            parts = (one.parts[a][position], two.parts[b][position], three.parts[c][position])
            key = parts[0] << 2 * _BITS | parts[1] << _BITS | parts[2]
            facts = known.get(key)
            if facts is None:
                view = self.views[position]
                votes = {
                    alone.index: alone.part_states[part]
                    for alone, part in zip(self._alone, parts, strict=True)
                }
                facts = known[key] = self._certified.facts(view, votes)
                self.violated(self._certified.contradiction(view, facts))
            mask |= facts
        return mask

    def _check_stuck(self, a: int, b: int, c: int, certified: int) -> None:
        """All honest nodes have voted in the highest view that anybody reached: can they rest there?"""
        one, two, three = self._alone
        top = max(one.top[a], two.top[b], three.top[c])
        if not top or not one.top[a] == two.top[b] == three.top[c]:
            return  # whoever is behind is shown what let the others in, and its timer fires
        states = {
            alone.index: alone.states[number] for alone, number in zip(self._alone, (a, b, c), strict=True)
        }
        self.violated(self._fair.stuck(top, states, certified & self.scope.certificates_below(top)))


class _Alone:
    """The states of one honest validator, numbered, with what can come next."""

    def __init__(self, search: Search, index: int) -> None:
        self.index = index
        self.engine = Moves(search.scope, index, search.earlier)
        self.states: list[State] = []
        self.facts: list[int] = []
        self.top: list[int] = []  # the highest view with a first vote
        self.moves: list[list[tuple[int, int]] | None] = []
        self.parts: list[tuple[int, ...]] = []  # by searched view, the number of what was signed in it
        self.part_states: list[State] = []
        self._search = search
        self._numbers: dict[State, int] = {}
        self._part_numbers: dict[State, int] = {}

    def number(self, state: State) -> int:
        """The number of a state, checked when it is new."""
        known = self._numbers.get(state)
        if known is not None:
            return known
        number = self._numbers[state] = len(self.states)
        if number > _MASK:
            raise OverflowError("more states of one validator than a packed state has room for")
        self.states.append(state)
        self.facts.append(self._search.scope.facts_of(self.index, state))
        self.moves.append(None)
        firsts = [e.view for e in state - self._search.base if e.kind in (Kind.NOTARIZE, Kind.SKIP)]
        self.top.append(max(firsts, default=0))
        self.parts.append(
            tuple(self._part(frozenset(e for e in state if e.view == view)) for view in self._search.views)
        )
        for one, other in combinations(sorted(state), 2):
            if one.view == other.view and offence(self._key(one), self._key(other)) is not None:
                self._search.violated(f"honest {self.index} signed {one} and {other}")
        return number

    def compute(self, number: int) -> list[tuple[int, int]]:
        """What can come after a state, in all searched views; the cheapest needs first."""
        state = self.states[number]
        found: set[tuple[int, int]] = set()
        for view in self._search.views:
            for move in self.engine.after(state, view):
                if move.state is None:
                    found.add((move.needs, RAISED))
                elif all(e.view in self._search.views for e in move.state - self._search.base):
                    found.add((move.needs, self.number(move.state)))
        moves = self.moves[number] = sorted(found, key=lambda pair: (pair[0].bit_count(), pair))
        return moves

    def _part(self, state: State) -> int:
        number = self._part_numbers.setdefault(state, len(self.part_states))
        if number == len(self.part_states):
            self.part_states.append(state)
        return number

    def _key(self, signed: Signed) -> tuple[int, Hash, Hash]:
        scope = self._search.scope
        return signed.kind, scope.hash_of(signed.block), scope.hash_of(signed.aux)
