"""Outflow limit and circuit breaker of one chain (DESIGN.md section 8).

    a candidate is enacted     its messages and its fee count as the chain's outflow of the running window
    that crosses the limit     the breaker trips: the messages that crossed it, and all others of the chain
                               that are not delivered yet, wait in their lanes; no candidate that sends any
                               is enacted
    who attested an invalid    the breaker trips
    candidate is convicted
    `breaker_ms` later         it is over by itself, and a new window begins

So before a chain is held at most `messages` of its messages get out within a window, and its fees exceed
`units` by one candidate's at most. Only its own enacted candidates count and only verdicts about them trip
it: nothing that users, other chains or enclaves send does.

What this sees: how many messages a chain sends, and the units that leave its relay balance for its
candidates. What it does not see: what a message is worth, because assets live in enclaves, whose state means
nothing to the relay chain; the fees of messages that an instance sends on for the chain, which others may
cause; and what an instance does with messages that it has already got.
"""

from dataclasses import dataclass, replace

from consensus.primitives.codec import U32, U64, U128, decode
from consensus.primitives.ids import Hash, Milliseconds
from consensus.primitives.tree import tree_key
from consensus.relay.epochs import Reads
from consensus.relay.ledger import Ledger
from consensus.relay.registry import ChainRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class RailRecord:
    """What left a chain in the running window, and until when it is held."""

    since_ms: Milliseconds = Milliseconds(0)  # noqa: RUF009  (a NewType)
    messages: U64 = 0
    units: U128 = 0
    held_until_ms: Milliseconds = Milliseconds(0)  # noqa: RUF009
    trips: U32 = 0  # ever


def rail_key(chain: int) -> Hash:
    """Where a chain's outflow is counted."""
    return tree_key(b"rail", chain.to_bytes(4, "big"))


def rail(state: Reads, chain: int) -> RailRecord:
    """What left a chain; all zero for one that never had a limit or was held."""
    raw = state.read(rail_key(chain))
    return RailRecord() if raw is None else decode(RailRecord, raw, limit=128)


def is_held(state: Reads, chain: int, now_ms: int) -> bool:
    """Whether a chain's messages wait in a block of this time."""
    return now_ms < rail(state, chain).held_until_ms


def held_refusal(state: Reads, chain: int, messages: int, now_ms: int) -> str | None:
    """Why a candidate that sends so many messages is not enacted now; None if it may be."""
    if not messages or not is_held(state, chain, now_ms):
        return None
    return f"the chain's circuit breaker holds its messages until {rail(state, chain).held_until_ms} ms"


def note_outflow(ledger: Ledger, chain: ChainRecord, messages: int, units: int, now_ms: int) -> None:
    """Count what an enacted candidate sent and paid; trip the breaker if the limit is crossed."""
    terms = chain.terms.rails
    if terms is None:
        return
    held = rail(ledger, chain.chain)
    if now_ms >= max(held.since_ms + terms.window_ms, held.held_until_ms):
        held = replace(held, since_ms=Milliseconds(now_ms), messages=0, units=0)
    held = replace(held, messages=held.messages + messages, units=held.units + units)
    ledger.put(rail_key(chain.chain), held)
    if held.messages > terms.messages or held.units > terms.units:
        trip(ledger, chain.chain, now_ms)


def trip(ledger: Ledger, chain: int, now_ms: int) -> None:
    """Hold a chain's messages for `breaker_ms`; one that is held already is not held longer."""
    held = rail(ledger, chain)
    if now_ms < held.held_until_ms:
        return
    until = Milliseconds(now_ms + ledger.parameters.breaker_ms)
    ledger.put(rail_key(chain), replace(held, held_until_ms=until, trips=held.trips + 1))
