"""The life of a candidate, and when it may move on (DESIGN.md section 6).

The stages are a table. What a candidate must satisfy to take effect is `header_refusal`, used alike by the
collator that builds it, the validators that attest it and the transition that enacts it, each against the
relay state that it has.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from consensus.candidates.receipts import CandidateHeader
from consensus.messaging.lanes import lane_order
from consensus.primitives.guest import ChainEndpoint, Endpoint, InboxSource, InstanceEndpoint, Policy
from consensus.primitives.ids import (
    RELAY_CHAIN,
    Amount,
    ChainId,
    Fuel,
    Hash,
    Height,
    Milliseconds,
    ModuleId,
)


class Stage(enum.Enum):
    """Where a candidate is in its life."""

    COLLATED = "collated"
    BACKED = "backed"
    AVAILABLE = "available"
    APPROVED = "approved"
    ENACTED = "enacted"
    REJECTED = "rejected"
    TIMED_OUT = "timed out"


TRANSITIONS: Final[Mapping[Stage, frozenset[Stage]]] = {
    # a first validator re-executed it, found it valid and said so
    Stage.COLLATED: frozenset({Stage.BACKED, Stage.REJECTED, Stage.TIMED_OUT}),
    # an attestation is a promise to serve the whole PoV: what is approved is available
    # back to COLLATED: an epoch began, in whose set nobody attested it yet
    Stage.BACKED: frozenset({Stage.AVAILABLE, Stage.COLLATED, Stage.REJECTED, Stage.TIMED_OUT}),
    Stage.AVAILABLE: frozenset({Stage.APPROVED}),
    # attested by more than 2/3 of those who are asked (`attesters`); a relay block may include it
    Stage.APPROVED: frozenset({Stage.ENACTED, Stage.COLLATED, Stage.TIMED_OUT}),
    Stage.ENACTED: frozenset(),
    Stage.REJECTED: frozenset(),
    Stage.TIMED_OUT: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tip:
    """What the next candidate of a chain builds on: the enacted head, or a candidate in flight."""

    height: Height
    head: Hash
    state_root: Hash
    relay_parent_height: Height
    consumed: Mapping[InboxSource, int] = field(default_factory=dict)  # past the enacted cursors


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainView:
    """What an executed relay state says about one chain, as far as its candidates go."""

    chain: ChainId
    policy: Policy
    code_hash: Hash
    fuel_limit: Fuel
    max_pov_bytes: int
    balance: Amount
    opt_in: frozenset[ModuleId]
    tip: Tip
    rejected: tuple[Hash, ...]  # the latest few
    lanes: Mapping[InboxSource, tuple[int, int]]  # to the chain: (delivered, sent)


def tip_after(tip: Tip, header: CandidateHeader, candidate: Hash) -> Tip:
    """The tip that a candidate on `tip` makes."""
    consumed = dict(tip.consumed)
    for cursor in header.inbox:
        consumed[cursor.source] = cursor.next
    return Tip(
        height=header.height,
        head=candidate,
        state_root=header.post_root,
        relay_parent_height=header.relay_parent_height,
        consumed=consumed,
    )


def may_send(source: ChainId, destination: Endpoint, opt_in: frozenset[ModuleId]) -> bool:
    """Whether a chain may message `destination`: its own or the shared instance of an opted-in module."""
    return (
        isinstance(destination, InstanceEndpoint)
        and destination.module in opt_in
        and destination.chain in (source, RELAY_CHAIN)
    )


def position_refusal(header: CandidateHeader, tip: Tip) -> str | None:
    """Why a candidate does not stand on `tip`; None if it does."""
    if header.parent_head != tip.head or header.height != tip.height + 1:
        return "it does not build on the head"
    if header.pre_root != tip.state_root:
        return "its pre-state is not the head's state"
    if header.relay_parent_height < tip.relay_parent_height:
        return "its relay parent is older than its parent's"
    return None


def header_refusal(
    header: CandidateHeader, chain: ChainView, tip: Tip, relay_parent_time_ms: Milliseconds | None
) -> str | None:
    """Why a candidate on `tip` breaks the rules of its chain; None if it keeps them.

    `relay_parent_time_ms` is the time of the final relay block that the header names, None if it is not
    among the recent ones. Messages are checked by `inbox_refusal`, because they may only be late.
    """
    if (refusal := position_refusal(header, tip)) is not None:
        return refusal
    if relay_parent_time_ms is None:
        return "its relay parent is not a recent final block"
    if header.time_ms != relay_parent_time_ms:
        return "its time is not its relay parent's"
    if header.code_hash != chain.code_hash:
        return "it names another validation code than the chain's"
    if header.pov_bytes > chain.max_pov_bytes:
        return f"its PoV has {header.pov_bytes} bytes, the chain's limit is {chain.max_pov_bytes}"
    if header.fuel_used > chain.fuel_limit:
        return "it used more fuel than the chain's limit"
    for each in header.outgoing:
        if isinstance(each.destination, ChainEndpoint):
            return "it messages a chain; messages between chains go through an enclave"
        if not may_send(header.chain, each.destination, chain.opt_in):
            return (
                f"it messages enclave {each.destination.module.hex()[:16]}, which the chain did not opt in to"
            )
    order = [lane_order(cursor.source) for cursor in header.inbox]
    if order != sorted(set(order)):
        return "its inbox cursors are not sorted and distinct"
    for cursor in header.inbox:
        delivered, _ = chain.lanes.get(cursor.source, (0, 0))
        if cursor.first != tip.consumed.get(cursor.source, delivered):
            return "an inbox cursor does not start where the last candidate's ended"
    return None


def inbox_refusal(header: CandidateHeader, chain: ChainView) -> str | None:
    """Why the messages that a candidate consumed are not all in the lanes (yet)."""
    for cursor in header.inbox:
        _, sent = chain.lanes.get(cursor.source, (0, 0))
        if cursor.next > sent:
            return "it consumed a message that is not in its lane yet"
    return None
