"""From what was published into each chain's lane, in order, as far as its credit goes.

A lane holds what a chain can consume next; what is beyond its credit stays published, for all chains at once.
A chain is fed when something new is published (MAX_FED chains a block, in a ring) and whenever a candidate
of it is enacted, which is when its lane has room again. So a notice reaches every chain that consumes, once
and in order: slashes by number, and a set before all slashes that were published after it.
"""

from dataclasses import replace

from consensus.primitives.guest import ChainEndpoint, Outgoing, RelayEndpoint
from consensus.primitives.ids import ChainId, Epoch
from consensus.relay.ledger import Ledger
from consensus.relay.notices.records import (
    MAX_FED,
    MAX_WAITING,
    NOTICES_KEY,
    SET_NOTICE_KEY,
    FeedRecord,
    NoticesRecord,
    SetNotice,
    SlashNotice,
    feed_key,
    slash_notice_key,
)
from consensus.relay.registry import ChainStanding
from consensus.relay.run import Run


def read_notices(ledger: Ledger) -> NoticesRecord:
    """Where publishing stands."""
    return ledger.record(NoticesRecord, NOTICES_KEY) or NoticesRecord()


def feed_some(run: Run, notices: NoticesRecord) -> NoticesRecord:
    """Feed the next chains of the ring, a bounded number; what is left to do."""
    count = run.registry.counts().chains
    turns = min(notices.left, MAX_FED)
    for turn in range(turns):
        _feed(run, notices, ChainId((notices.next_chain + turn) % count + 1))
    following = (notices.next_chain + turns) % count if count else 0
    return replace(notices, next_chain=following, left=notices.left - turns)


def feed_consumer(run: Run, chain: ChainId) -> None:
    """Feed a chain whose candidate was just enacted."""
    _feed(run, read_notices(run.ledger), chain)


def _feed(run: Run, notices: NoticesRecord, chain: ChainId) -> None:
    record = run.registry.existing_chain(chain)
    held = run.ledger.record(FeedRecord, feed_key(chain))
    if record.stage == ChainStanding.STOPPED or (held is None and not notices.slashes and not _newest(run)):
        return
    feed = before = held or _first(run, notices, record.registered_height)
    delivered, sent = run.registry.lanes.cursors(RelayEndpoint(), ChainEndpoint(chain=chain))
    for _ in range(MAX_WAITING - (sent - delivered)):
        step = _next(run, notices, feed)
        if step is None or not _send(run, chain, step[0]):
            break
        feed = step[1]
    if feed != before or held is None:
        run.ledger.put(feed_key(chain), feed)


def _first(run: Run, notices: NoticesRecord, registered: int) -> FeedRecord:
    """Of a chain that was never fed: it gets what was published since it is there."""
    number = notices.slashes
    while number > notices.oldest and _slash(run, number - 1).height > registered:
        number -= 1
    return FeedRecord(slashes=number, set_epoch=Epoch(0))


def _next(run: Run, notices: NoticesRecord, feed: FeedRecord) -> tuple[bytes, FeedRecord] | None:
    """The payload that comes next for a chain, and its feed after it; None where it has all."""
    number = max(feed.slashes, notices.oldest)
    newest = _newest(run)
    if newest is not None and newest.epoch > feed.set_epoch and number >= newest.slashes:
        return newest.payload(), replace(feed, set_epoch=newest.epoch)
    if number == notices.slashes:
        return None
    return _slash(run, number).payload(), replace(feed, slashes=number + 1)


def _send(run: Run, chain: ChainId, payload: bytes) -> bool:
    """Put a notice into a chain's lane; False where the lane has no credit."""
    outgoing = (Outgoing(destination=ChainEndpoint(chain=chain), payload=payload),)
    if not run.registry.lanes.has_credit(RelayEndpoint(), outgoing):
        return False
    run.registry.lanes.send(RelayEndpoint(), outgoing, 0)
    run.messages += 1
    return True


def _newest(run: Run) -> SetNotice | None:
    return run.ledger.record(SetNotice, SET_NOTICE_KEY)


def _slash(run: Run, number: int) -> SlashNotice:
    return run.ledger.existing(SlashNotice, slash_notice_key(number))
