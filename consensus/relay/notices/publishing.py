"""What a block did to validators, published: slashes as they happen, the next set at an epoch's boundary.

Slashes of a block come before the set that begins after it. A notice has what was cut and is in no notice
before, so that the notices of a validator and epoch add up to what was taken from it: a graver offence,
accomplices convicted later, the rest of a cut that took more than a block, and a veto each have one of their
own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from consensus.agreement.evidence import Evidence
from consensus.light.slashing_proof import fault_bytes, fault_hash
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, PublicKey
from consensus.relay.epochs import current_set, find_epoch_members, is_boundary
from consensus.relay.notices.feeding import feed_some, read_notices
from consensus.relay.notices.records import (
    MAX_KEPT,
    NOTICES_KEY,
    SET_NOTICE_KEY,
    NoticeKind,
    NoticesRecord,
    SetNotice,
    SlashNotice,
    next_digest,
    slash_notice_key,
)
from consensus.relay.offences.records import Convicted, OffenceRecord, offence_key
from consensus.relay.run import Run


@dataclass(frozen=True, slots=True)
class _News:
    """One change of what was taken from a validator for an epoch."""

    kind: NoticeKind
    account: PublicKey
    epoch: Epoch
    offence: int
    amount: int
    evidence: Evidence | None


def publish(run: Run) -> None:
    """At a block's end: publish what happened in it, and feed chains that have not got all yet."""
    before = notices = read_notices(run.ledger)
    for each in _news(run):
        notices = _publish_slash(run, notices, each)
    if is_boundary(run.context.height, run.parameters.epoch_blocks):
        _publish_set(run, notices)
        notices = replace(notices, left=_chains(run))
    elif notices != before:
        notices = replace(notices, left=_chains(run))
    if notices.left:
        notices = feed_some(run, notices)
    if notices != before:
        run.ledger.put(NOTICES_KEY, notices)


def _chains(run: Run) -> int:
    return run.registry.counts().chains


def _news(run: Run) -> Iterator[_News]:
    for each in (*run.offences, *run.raised):
        yield _slash(each)
    for account, epoch, amount in run.lifted:
        yield _News(NoticeKind.LIFTED, account, epoch, 0, amount, None)


def _slash(each: Convicted) -> _News:
    return _News(NoticeKind.SLASH, each.account, each.epoch, int(each.offence), each.slashed, each.evidence)


def _publish_slash(run: Run, notices: NoticesRecord, news: _News) -> NoticesRecord:
    record = run.ledger.record(OffenceRecord, offence_key(news.account, news.epoch))
    key = _key_of(run, news.account, news.epoch)
    fault = ZERO_HASH
    if news.evidence is not None:
        fault = fault_hash(fault_bytes(news.evidence, key, run.context.chain_id_hash))
    notice = SlashNotice(
        kind=int(news.kind),
        number=notices.slashes,
        account=news.account,
        key=key,
        epoch=news.epoch,
        offence=news.offence,
        fraction_ppb=0 if record is None else record.fraction_ppb,
        amount=news.amount,
        height=run.context.height,
        fault=fault,
        digest=ZERO_HASH,
    )
    digest = next_digest(notices.digest, notice.body())
    run.ledger.put(slash_notice_key(notices.slashes), replace(notice, digest=digest))
    oldest = notices.oldest
    if notices.slashes - oldest == MAX_KEPT:
        run.ledger.write(slash_notice_key(oldest), None)
        oldest += 1
    return replace(notices, slashes=notices.slashes + 1, oldest=oldest, digest=digest)


def _key_of(run: Run, account: PublicKey, epoch: Epoch) -> PublicKey:
    """The key that a validator signed with in an epoch; zero if the state has forgotten the epoch."""
    found = find_epoch_members(run.ledger, epoch)
    members = () if found is None else found.members
    return next((each.consensus_key for each in members if each.account == account), PublicKey(ZERO_HASH))


def _publish_set(run: Run, notices: NoticesRecord) -> None:
    """The set of the epoch that begins above this block, leader seed and all: it replaces the one before."""
    coming = Epoch(run.context.epoch + 1)
    validators = current_set(run.ledger, chain_id_hash=run.context.chain_id_hash, epoch=coming)
    run.ledger.put(
        SET_NOTICE_KEY,
        SetNotice(
            epoch=coming,
            height=run.context.height,
            slashes=notices.slashes,
            digest=Hash(notices.digest),
            validators=validators.record,
        ),
    )
