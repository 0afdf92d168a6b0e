"""Where an account's stake is, fetched leaf by leaf."""

from dataclasses import dataclass
from typing import TypeVar

from consensus.primitives.codec import decode
from consensus.primitives.ids import Epoch, Hash, PublicKey
from consensus.relay.epochs import EpochSetRecord, epoch_set_key
from consensus.relay.ledger import RECORD_LIMIT
from consensus.relay.parameters import Parameters
from consensus.relay.stake import pools
from consensus.relay.stake.records import (
    GenerationRecord,
    HoldingsRecord,
    NominationRecord,
    PoolKind,
    PoolRecord,
    PositionRecord,
    generation_key,
    holdings_key,
    main_pool,
    nomination_key,
    position_key,
)
from node.client import RpcClient

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldingReport:
    """One position. `ended_ms` is when its last epoch ended: 0 if that is to come or does not matter."""

    pool: Hash
    kind: PoolKind
    nomination: Hash
    validators: tuple[PublicKey, ...]
    to: Hash
    last_epoch: Epoch
    units: int
    earned: int
    ended_ms: int

    def from_epoch(self, parameters: Parameters) -> int:
        """The first epoch in which it may be withdrawn."""
        return self.last_epoch + parameters.unbonding_epochs + 1

    def from_ms(self, parameters: Parameters) -> int | None:
        """From when on it may be withdrawn, as far as that is known."""
        return self.ended_ms + parameters.unbonding_ms if self.ended_ms else None


async def fetch_holdings(client: RpcClient, account: PublicKey) -> list[HoldingReport]:
    """All positions of an account, in the order in which it took them."""
    record = await leaf(client, holdings_key(account), HoldingsRecord) or HoldingsRecord()
    found = [await _holding(client, account, each.pool) for each in record.holdings]
    return [each for each in found if each is not None]


async def leaf(client: RpcClient, key: Hash, kind: type[T]) -> T | None:
    """The record at a key of the relay tree; None if there is none."""
    raw = (await client.state(key)).value
    return None if raw is None else decode(kind, raw, limit=RECORD_LIMIT)


async def _holding(client: RpcClient, account: PublicKey, name: Hash) -> HoldingReport | None:
    pool = await leaf(client, name, PoolRecord)
    position = await leaf(client, position_key(name, account), PositionRecord)
    if pool is None or position is None:  # it went while we asked
        return None
    nomination = await leaf(client, nomination_key(pool.nomination), NominationRecord)
    ended = None
    if position.generation != pool.generation:
        ended = await leaf(client, generation_key(name, position.generation), GenerationRecord)
    after = None
    if pool.kind != PoolKind.MAIN:
        after = await leaf(client, epoch_set_key(Epoch(pool.epoch + 1)), EpochSetRecord)
    return HoldingReport(
        pool=name,
        kind=PoolKind(pool.kind),
        nomination=pool.nomination,
        validators=() if nomination is None else nomination.validators,
        to=pool.to,
        last_epoch=pool.epoch,
        units=await _worth(client, name, pool, position),
        earned=pools.collect(pool, position, ended)[2],
        ended_ms=0 if after is None else after.began_ms,
    )


async def _worth(client: RpcClient, name: Hash, pool: PoolRecord, position: PositionRecord) -> int:
    if position.generation != pool.generation:
        return 0
    if not pool.merged:
        return pools.worth(pool, position.shares)
    main = await leaf(client, main_pool(pool.to), PoolRecord)
    whole = await leaf(client, position_key(main_pool(pool.to), name), PositionRecord)
    if main is None or whole is None or whole.generation != main.generation:
        return 0
    return pools.worth(main, position.shares * whole.shares // pool.shares)
