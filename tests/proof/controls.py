"""Negative controls of the exhaustive search: engines with one rule broken, which it must find.

They are changed in memory. The suite of mutants (`mutation`) changes the text and asks the tests.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from unittest.mock import patch

from consensus.agreement import certificates, signing_rules, tally, validators, voting
from consensus.agreement.messages import Kind
from consensus.agreement.replica import Replica, ViewState
from consensus.agreement.tally import Tally
from consensus.agreement.thresholds import Mode, StakeThresholds, ViewThresholds, view_thresholds
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.ids import Hash, View


@dataclass(frozen=True, slots=True)
class Control:
    """A broken rule, and the searches that are to notice."""

    name: str
    searches: tuple[str, ...]
    apply: Callable[[], AbstractContextManager[None]]


def _thresholds(change: Callable[[ViewThresholds], ViewThresholds]) -> Iterator[None]:
    def changed(stake: StakeThresholds, leader_stake: int, mode: Mode) -> ViewThresholds:
        return change(view_thresholds(stake, leader_stake, mode))

    with patch.object(validators, "view_thresholds", changed):
        yield


@contextmanager
def fallback_too_low() -> Iterator[None]:
    """T and TE one lower: fallback votes are justified too early."""
    yield from _thresholds(
        lambda each: replace(
            each, fallback=each.fallback - 1, fallback_equivocated=max(1, each.fallback_equivocated - 1)
        )
    )


@contextmanager
def fallback_too_high() -> Iterator[None]:
    """T and TE one higher, as if the fast path could miss more: views get stuck."""
    yield from _thresholds(
        lambda each: replace(
            each, fallback=each.fallback + 1, fallback_equivocated=each.fallback_equivocated + 1
        )
    )


@contextmanager
def fast_quorum_too_low() -> Iterator[None]:
    """FAST one lower."""
    yield from _thresholds(lambda each: replace(each, fast=each.fast - 1))


@contextmanager
def equivocating_leader_counted() -> Iterator[None]:
    """A leader that is proven faulty still counts."""

    def support(self: Tally, block: Hash) -> int:
        return self.support_stake.get(block, 0)

    def conflict(self: Tally, block: Hash) -> int:
        return self.first_stake - self.support_stake.get(block, 0)

    def enough(stake_of: set[int], view: View, members: ValidatorSet, *, faulted: bool) -> bool:
        limits = members.thresholds(view)
        needed = limits.fallback_equivocated if faulted else limits.fallback
        return members.weight(stake_of) >= needed

    with (
        patch.object(Tally, "support", support),
        patch.object(Tally, "conflict", conflict),
        patch.object(tally, "enough", enough),
        patch.object(certificates, "enough", enough),
    ):
        yield


@contextmanager
def finalize_after_fallback() -> Iterator[None]:
    """FINALIZE although SFALL or NFALL was cast."""
    second_round = voting.second_round

    def changed(r: Replica, state: ViewState) -> None:
        second_round(r, state)
        if r.gate is None or state.notarization is None:
            return
        votes = r.gate.votes(state.tally.view)
        if votes.first == state.notarization.block and votes.fin is None:
            voting.cast(r, state, Kind.FINALIZE, votes.first)

    def may_finalize(votes: signing_rules.ViewVotes, block: Hash, aux: Hash) -> str | None:
        return None if votes.first == block and votes.fin in (None, block) else "not the first vote"

    rules = {**signing_rules._RULES, Kind.FINALIZE: may_finalize}
    with (
        patch("consensus.agreement.engine.voting.second_round", changed),
        patch.object(signing_rules, "_RULES", rules),
    ):
        yield


@contextmanager
def skip_after_notarize() -> Iterator[None]:
    """SKIP on the timer although another first vote was cast."""
    first_vote = voting.first_vote

    def changed(r: Replica, state: ViewState) -> None:
        first_vote(r, state)
        view = state.tally.view
        if r.gate is None or view != r.cur_view or r.gate.votes(view).first in (None, signing_rules.SKIPPED):
            return
        if voting._should_skip(r, state):
            voting.cast(r, state, Kind.SKIP, signing_rules.SKIPPED)

    rules = {**signing_rules._RULES, Kind.SKIP: lambda votes, block, aux: None}
    with (
        patch("consensus.agreement.engine.voting.first_vote", changed),
        patch.object(signing_rules, "_RULES", rules),
    ):
        yield


@contextmanager
def no_fallback_after_skip() -> Iterator[None]:
    """Without R-NF1."""
    with patch.object(voting, "_may_follow", lambda r, state, first, stake: False):
        yield


@contextmanager
def no_skip_fallback() -> Iterator[None]:
    """Without R-SF."""

    def conflict(self: Tally, block: Hash) -> int:
        return -1

    with patch.object(Tally, "conflict", conflict):
        yield


_BYZANTINE_LEADER = "1 view, STRICT, Byzantine leader"
_HONEST_LEADER = "1 view, STRICT, honest leader"

ALL = (
    Control("T and TE one too low", (_BYZANTINE_LEADER,), fallback_too_low),
    Control("T and TE one too high", (_HONEST_LEADER, _BYZANTINE_LEADER), fallback_too_high),
    Control("FAST one too low", (_HONEST_LEADER,), fast_quorum_too_low),
    Control("an equivocating leader counted", (_BYZANTINE_LEADER,), equivocating_leader_counted),
    Control("FINALIZE after a fallback vote", (_HONEST_LEADER, _BYZANTINE_LEADER), finalize_after_fallback),
    Control("SKIP after NOTARIZE", (_HONEST_LEADER,), skip_after_notarize),
    Control("no R-NF1", (_HONEST_LEADER,), no_fallback_after_skip),
    Control("no R-SF", (_BYZANTINE_LEADER,), no_skip_fallback),
)
