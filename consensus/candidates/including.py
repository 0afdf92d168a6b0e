"""Which candidates a leader may put into its block: per chain in order, from the enacted head on."""

from collections.abc import Iterable

from consensus.agreement.statements import Verdict
from consensus.agreement.validators import ValidatorSet
from consensus.candidates.attesters import Attesters
from consensus.candidates.lifecycle import ChainView, Tip, header_refusal, inbox_refusal, tip_after
from consensus.candidates.receipts import CandidateInclusion
from consensus.candidates.tracking import Tracked
from consensus.candidates.view import RelayView
from consensus.primitives.ids import Epoch


def includable(
    candidates: Iterable[Tracked], view: RelayView, limit: int, *, validators: ValidatorSet, epoch: Epoch
) -> list[CandidateInclusion]:
    """At most `limit` inclusions for a block of `epoch` on the state that `view` reads, sorted."""
    known = sorted(candidates, key=lambda each: each.name)
    chosen: list[CandidateInclusion] = []
    for chain in sorted({each.header.chain for each in known}):
        state = view.chain(chain)
        asked = None if state is None else view.attesters(chain, epoch, validators)
        if state is None or asked is None:
            continue
        tip: Tip | None = state.tip
        while tip is not None and len(chosen) < limit:
            inclusion = _next_inclusion(known, view, state, tip, asked, validators, epoch)
            if inclusion is None:
                break
            chosen.append(inclusion)
            rejected = inclusion.verdict == Verdict.INVALID
            tip = None if rejected else tip_after(tip, inclusion.header, inclusion.header.hash)
    return chosen


def _next_inclusion(
    known: Iterable[Tracked],
    view: RelayView,
    state: ChainView,
    tip: Tip,
    asked: Attesters,
    validators: ValidatorSet,
    epoch: Epoch,
) -> CandidateInclusion | None:
    """One that is enacted before one that is rejected: anybody can offer what is rejected."""
    rejection: CandidateInclusion | None = None
    for found in known:
        header = found.header
        if header.chain != state.chain or header.parent_head != tip.head or found.name in state.rejected:
            continue
        verdict = found.decided(asked, validators)
        time_ms = view.relay_parent_time_ms(header.relay_parent_height, header.relay_parent)
        if (
            verdict is not None
            and header_refusal(header, state, tip, time_ms) is None
            and inbox_refusal(header, state) is None
            and (verdict is Verdict.INVALID or view.can_pay(header))
        ):
            if verdict is Verdict.VALID:
                return found.inclusion(verdict, epoch, asked, validators)
            rejection = rejection or found.inclusion(verdict, epoch, asked, validators)
    return rejection
