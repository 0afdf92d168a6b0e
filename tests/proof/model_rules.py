"""The rules of `tests/models/sim.py` as an oracle beside the real engine, for one validator in one view.

`rules` and `tal` of the model's node are taken out of its source as they stand and run on a node of ours: the
model was written and checked apart from the engine. What differs by design is written at `compare`.
"""

import ast
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Final

from consensus.agreement.engine import Engine
from consensus.agreement.messages import Justification, Kind
from tests.proof.memory import set_back
from tests.proof.scope import NF_TIMER, SKIP_MARK, SKIP_TIMER, Outcome, Scope, Signed

MODEL: Final = Path(__file__).resolve().parents[1] / "models" / "sim.py"
VIEW: Final = 1
LATE: Final = 1_000_000.0  # in the model's time: NF_TIMER has fired


def model_functions(names: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    """The methods `rules` and `tal` of the model's Node, in a world of `names`."""
    tree = ast.parse(MODEL.read_text())
    node = next(each for each in ast.walk(tree) if isinstance(each, ast.ClassDef) and each.name == "Node")
    wanted = [
        each for each in node.body if isinstance(each, ast.FunctionDef) and each.name in ("rules", "tal")
    ]
    module = ast.Module(body=list(wanted), type_ignores=[])
    namespace: dict[str, Any] = dict(names)
    exec(compile(module, str(MODEL), "exec"), namespace)
    return {each.name: namespace[each.name] for each in wanted}


class Modelled:
    """One honest node of the model: what it holds, and what its rules make it vote and certify."""

    def __init__(self, scope: Scope, index: int) -> None:
        stakes = scope.validators.stakes
        stake, limits = scope.validators.stake, scope.validators.thresholds(VIEW)  # type: ignore[arg-type]
        functions = model_functions(
            {
                "w": stakes,
                "N": stake.total,
                "F": stake.faulty,
                "Q": stake.quorum,
                "P": lambda view: limits.missing,
                "lead": scope.leader,
                "stats": {"fast": 0, "slow": 0, "nf": 0, "sf": 0, "skip": 0},
                "blocks": {block.number: block for block in scope.blocks},
                "t": LATE,
                "D": 1.0,
                "Z": set(),
            }
        )
        self._rules, tal = functions["rules"], functions["tal"]
        self.index = index
        self.votes: set[tuple[str, int | None]] = set()
        self.node = SimpleNamespace(
            T={}, eq=set(), props={VIEW: []}, certs=set(), first={}, skipt={}, nf={}, sf=set(), fin={},
            final={0}, fv=0, byz=False, i=index,
        )  # fmt: skip
        self.node.tal = lambda view: tal(self.node, view)
        self.node.okparent = lambda block: True
        self.node.addcert = self.node.certs.add
        self.node.vote = self._vote

    def _vote(self, kind: str, view: int, block: int | None = None) -> None:
        self.votes.add((kind, block))
        self.take(kind, self.index, block)

    def take(self, kind: str, signer: int, block: int | None) -> None:
        """Count a vote, as the model's `on` does."""
        tally = self.node.tal(VIEW)
        if kind in ("N", "S"):
            tally["first"].setdefault(signer, block if kind == "N" else None)
        elif kind == "NF":
            tally["nf"].setdefault(block, set()).add(signer)
        elif kind == "SF":
            tally["sf"].add(signer)
        else:
            tally["fin"].setdefault(block, set()).add(signer)

    def cast_first(self, block: int | None) -> None:
        """The node's own first vote, which the engine chose."""
        self.node.first[VIEW] = block
        if block is None:
            self.node.skipt[VIEW] = 0.0
        self._vote("N" if block else "S", VIEW, block)

    def settle(self) -> None:
        """Run the rules until they rest."""
        before: object = None
        while before != (before := (len(self.votes), len(self.node.certs), len(self.node.eq))):
            self._rules(self.node, VIEW)

    @property
    def resolved(self) -> bool:
        """Whether the node holds any certificate of the view."""
        return bool(self.node.certs)


LETTERS: Final = {Kind.NOTARIZE: "N", Kind.SKIP: "S", Kind.NFALL: "NF", Kind.SFALL: "SF", Kind.FINALIZE: "F"}


def compare(seed: int) -> str | None:
    """Show a random placement of one view's messages to both; a sentence if they differ.

    Until the view is resolved they cast the same votes, and it is resolved for both at the same step, by the
    same certificates or, in the model, more. Afterwards they part: the engine saves votes that a resolved
    view does not need. The model has R-NF1 by timer only, so the timer has always fired. It takes fallback
    votes on trust, so those that it is shown carry a justification.
    """
    random = Random(seed)
    count = random.choice((4, 4, 5, 6, 7))
    stakes = [1] * count if random.random() < 0.5 else [random.randint(1, 3) for _ in range(count)]
    leader_faulty = random.random() < 0.6
    chain = b"model %d" % random.randrange(1000)
    leader = Scope(views=1, byzantine=count, stakes=stakes, chain=chain).leader(VIEW)
    byzantine = leader if leader_faulty else (leader + 1) % count
    scope = Scope(views=1, byzantine=byzantine, stakes=stakes, chain=chain)
    index = random.choice([each for each in range(count) if each not in (leader, byzantine)])
    return _Comparison(scope, index, random).run()


class _Comparison:
    """Engine and model side by side."""

    def __init__(self, scope: Scope, index: int, random: Random) -> None:
        self.scope = scope
        self.index = index
        self.random = random
        self.engine, _ = scope.boot(index, ())
        self.model = Modelled(scope, index)
        self.signed: set[Signed] = set()
        self.cast: dict[int, Signed] = {}  # first votes that were shown, by signer

    def run(self) -> str | None:
        """Deliver in a random order, compare after each step."""
        for signer, what in self._placement():
            self._show(signer, what)
            set_back(self.engine)
            self._take(self.scope.tick(self.engine, NF_TIMER))
            self.model.settle()
            fault = self._difference()
            if fault is not None:
                return f"{self.scope.validators.stakes}, {self.index}: {fault} after {signer}, {what}"
            if self.model.resolved:
                return None
        return None

    def _placement(self) -> list[tuple[int, object]]:
        """Bodies, the own timer, first votes, and votes of the second round where they can be."""
        scope, random = self.scope, self.random
        blocks = scope.in_view[VIEW] if scope.leader(VIEW) == scope.byzantine else scope.in_view[VIEW][:1]
        shown: list[tuple[int, object]] = [(-1, block) for block in blocks if random.random() < 0.8]
        shown.append((-2, None))
        bias = random.random()
        for signer in range(len(scope.validators)):
            if signer == self.index or random.random() < 0.1:
                continue
            block = random.choice(blocks) if random.random() < bias else SKIP_MARK
            shown.append((signer, Signed(VIEW, Kind.NOTARIZE if block else Kind.SKIP, block)))
            if random.random() < 0.4:
                other = random.choice(blocks)
                second = Signed(VIEW, Kind.FINALIZE, block) if block else Signed(VIEW, Kind.NFALL, other)
                shown.append(
                    (signer, random.choice((second, second, Signed(VIEW, Kind.SFALL, block or other))))
                )
        random.shuffle(shown)
        return shown

    def _show(self, signer: int, what: object) -> None:
        scope, model = self.scope, self.model.node
        if signer == -1:
            assert isinstance(what, int)
            if what not in model.props[VIEW]:
                model.props[VIEW].append(what)
            self._take(scope.give(self.engine, scope.leader(VIEW), scope.proposal(what)))
        elif signer == -2:
            self._take(scope.tick(self.engine, SKIP_TIMER))
        else:
            assert isinstance(what, Signed)
            if what.kind == Kind.SFALL and self.cast.get(signer) != Signed(VIEW, Kind.NOTARIZE, what.block):
                return
            reason = self._reason(what)
            if what.kind == Kind.SFALL and reason is None:
                return
            if what.kind in (Kind.NOTARIZE, Kind.SKIP):
                self.cast[signer] = what
            self.model.take(LETTERS[Kind(what.kind)], signer, what.block or None)
            self._take(scope.give(self.engine, signer, scope.vote(signer, what, reason)))

    def _reason(self, what: Signed) -> Justification | None:
        """All first votes that both hold, if they justify SFALL(X)."""
        scope = self.scope
        if what.kind != Kind.SFALL:
            return None
        limits = scope.validators.thresholds(VIEW)  # type: ignore[arg-type]
        stakes = scope.validators.stakes
        against = sum(stakes[i] for i, each in self.cast.items() if each.block != what.block)
        if against < limits.fallback:
            return None
        groups: dict[Signed, set[int]] = {}
        for signer, each in self.cast.items():
            groups.setdefault(each, set()).add(signer)
        packed = [scope.group(signers, each) for each, signers in groups.items()]
        return Justification(
            groups=tuple(sorted(packed, key=lambda group: (group.kind, group.block, group.aux))),
            fault=None,
            leader_sigs=scope.leader_signatures({each.block for each in groups if each.block}),
        )

    def _take(self, outcome: Outcome) -> None:
        """What the engine did. Its own first vote is the model's too: which of two it is, is timing."""
        for each in outcome.signed:
            if each.view == VIEW:
                self.signed.add(each)
                if each.kind in (Kind.NOTARIZE, Kind.SKIP):
                    self.model.cast_first(each.block or None)

    def _difference(self) -> str | None:
        ours = {(LETTERS[Kind(each.kind)], each.block or None) for each in self.signed}
        theirs = {(kind, None if kind == "S" else block) for kind, block in self.model.votes}
        resolved = _resolved(self.engine)
        if resolved != self.model.resolved:
            return f"resolved here {resolved}, in the model {sorted(self.model.node.certs, key=repr)}"
        if not resolved and ours != theirs:
            return f"votes here {sorted(ours, key=repr)}, in the model {sorted(theirs, key=repr)}"
        if resolved and not ours <= theirs:
            return f"votes here {sorted(ours, key=repr)}, in the model only {sorted(theirs, key=repr)}"
        return None


def _resolved(engine: Engine) -> bool:
    return engine.cur_view > VIEW or engine.final_view >= VIEW
