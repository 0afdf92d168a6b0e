"""The emergency council: a few accounts that can pause one chain for a while, and nothing else.

Each member says which chain it wants paused and for how long; its latest word counts, and is forgotten after
`council_pause_ms`. Once `threshold` of them want the same chain, it is paused for the shortest of their
spans, at most `council_pause_ms`; the pause ends by itself. The next act is possible `council_window_ms`
after the last: a window is longer than a pause, so that the council can never hold a chain for good.
"""

from dataclasses import replace

from consensus.primitives.ids import Milliseconds, PublicKey
from consensus.relay.governance.records import COUNCIL_KEY, CouncilRecord, Wish
from consensus.relay.governance.transactions import CouncilPause, SetCouncil
from consensus.relay.ledger import Ledger
from consensus.relay.receipts import Code
from consensus.relay.registry import ChainStanding
from consensus.relay.run import Run


def council(ledger: Ledger) -> CouncilRecord:
    """Who sits on it, what they want, and when they may act."""
    return ledger.record(CouncilRecord, COUNCIL_KEY) or CouncilRecord()


def pause_refusal(run: Run, chain: int, span_ms: int) -> str | None:
    """Why a chain can not be paused for so long; None if it can."""
    record = run.registry.chain(chain)
    if record is None:
        return f"there is no chain {chain}"
    if record.stage == ChainStanding.STOPPED:
        return f"chain {chain} is stopped"
    longest = run.parameters.council_pause_ms
    return None if 0 < span_ms <= longest else f"a pause takes 1 to {longest} ms (council_pause_ms)"


def pause(run: Run, chain: int, span_ms: int) -> None:
    """Pause a chain from this block on; a pause that ends later stays."""
    record = run.registry.existing_chain(chain)
    until_ms = Milliseconds(max(record.paused_until_ms, run.context.time_ms + span_ms))
    run.registry.put_chain(replace(record, paused_until_ms=until_ms))


def wish(run: Run, sender: PublicKey, action: CouncilPause) -> tuple[Code, bytes]:
    """Note what a member wants; act if enough of them want it."""
    record, now_ms = council(run.ledger), run.context.time_ms
    if sender not in record.members:
        return Code.NOT_ON_COUNCIL, b""
    refusal = pause_refusal(run, action.chain, action.span_ms)
    if refusal is not None:
        return Code.MEASURE_REFUSED, refusal.encode()
    if now_ms < record.acts_from_ms:
        return Code.NOT_YET, b""
    oldest_ms = now_ms - run.parameters.council_pause_ms
    kept = [each for each in record.wishes if each.member != sender and each.at_ms > oldest_ms]
    wishes = (*kept, Wish(member=sender, chain=action.chain, span_ms=action.span_ms, at_ms=now_ms))
    agreed = [each.span_ms for each in wishes if each.chain == action.chain]
    if len(agreed) < record.threshold:
        run.ledger.put(COUNCIL_KEY, replace(record, wishes=wishes))
        return Code.OK, b"\x00"
    pause(run, action.chain, min(agreed))
    acts_from_ms = Milliseconds(now_ms + run.parameters.council_window_ms)
    run.ledger.put(COUNCIL_KEY, replace(record, wishes=(), acts_from_ms=acts_from_ms))
    return Code.OK, b"\x01"


def council_refusal(measure: SetCouncil) -> str | None:
    """Why there can be no such council; None if there can."""
    members = measure.members
    if list(members) != sorted(set(members)):
        return "the members of a council are sorted and distinct"
    if not members:
        return None if measure.threshold == 0 else "a council without members has threshold 0"
    if not len(members) < 2 * measure.threshold <= 2 * len(members):
        return "a council acts by more than half of its members, and by no more than all"
    return None


def seat(run: Run, measure: SetCouncil) -> None:
    """Let others sit on the council. When it may act next stays as it was."""
    acts_from_ms = council(run.ledger).acts_from_ms
    record = CouncilRecord(members=measure.members, threshold=measure.threshold, acts_from_ms=acts_from_ms)
    run.ledger.put(COUNCIL_KEY, record)
