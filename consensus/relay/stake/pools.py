"""The arithmetic of one pool of stake (DESIGN.md section 8): no operation knows how many holders there are.

A pool has tokens (units) and shares; a share is worth tokens / shares, which begins at one unit.

    join     mints floor(amount * shares / tokens): the newcomer may lose less than the worth of a share to
             the others, which is at most a unit; into an empty pool one share for each unit
    leave    pays floor(shares * tokens / all shares): who leaves may lose less than a unit to the others;
             the last shares take all the rest
    cut      takes tokens and touches no position: all holders bear it in proportion
    pay      raises `reward_per_share`; what does not divide stays in `residue` and is paid with the next

Invariants: tokens <= shares <= tokens * 2^32, and both are zero together. The left one is kept by rounding
and by `grant`; the right one by `cut`, which takes all when less than that would be left. So a join always
mints, and no rounding costs anybody a unit.

Rewards are counted in 2^-64 units, and none is lost (see `PoolRecord`): however often and in whatever order
holders claim, each gets the floor of what its shares were credited with; less than a unit of all that was
paid in, for each holder, waits to be credited with the next payment. The scheme is that of "Scalable Reward
Distribution on the Ethereum Blockchain" (Batog, Boca, Johnson, 2018), with the remainders carried.
"""

from dataclasses import replace
from typing import Final

from consensus.relay.stake.records import GenerationRecord, PoolRecord, PositionRecord

MAX_DEPTH_BITS: Final = 32  # shares of a token: deeper cuts take all
SCALE_BITS: Final = 64  # a unit of reward is 2^64 of what is counted
_FRACTION: Final = (1 << SCALE_BITS) - 1


def worth(pool: PoolRecord, shares: int) -> int:
    """The whole units that shares of a pool's running generation would be paid."""
    return shares * pool.tokens // pool.shares if pool.shares else 0


def shares_of(pool: PoolRecord, amount: int) -> int:
    """The least shares that are worth `amount` units, which is at most all tokens; they are worth no more."""
    return -(-amount * pool.shares // pool.tokens) if pool.tokens else 0


def join(pool: PoolRecord, amount: int) -> tuple[PoolRecord, int]:
    """Add `amount` units, at least one; the shares that they are worth."""
    shares = amount * pool.shares // pool.tokens if pool.tokens else amount
    return replace(pool, tokens=pool.tokens + amount, shares=pool.shares + shares), shares


def leave(pool: PoolRecord, shares: int) -> tuple[PoolRecord, int]:
    """Take out shares that are there; the units that they were worth."""
    units = worth(pool, shares)
    return replace(pool, tokens=pool.tokens - units, shares=pool.shares - shares), units


def cut(pool: PoolRecord, amount: int) -> tuple[PoolRecord, int]:
    """Take at most `amount` units from all holders; the pool after it, and the units taken.

    Takes all where less than 2^-32 units for a share would be left: at most shares / 2^32 units more than
    `amount`. A pool cut to nothing begins a new generation, in which nobody has a share.
    """
    left = pool.tokens - min(amount, pool.tokens)
    if pool.shares > left << MAX_DEPTH_BITS:
        ended = replace(pool, tokens=0, shares=0, generation=pool.generation + 1)
        return ended, pool.tokens
    return replace(pool, tokens=left), pool.tokens - left


def end_of(pool: PoolRecord) -> GenerationRecord:
    """What remains of a generation that is cut to nothing."""
    return GenerationRecord(
        reward_per_share=pool.reward_per_share, ended_shares=pool.shares, shares=pool.shares
    )


def grant(pool: PoolRecord, amount: int) -> tuple[PoolRecord, int]:
    """Give back units to all holders, so far as no share becomes worth more than a unit; those taken."""
    given = min(amount, pool.shares - pool.tokens)
    return replace(pool, tokens=pool.tokens + given), given


def revive(pool: PoolRecord, ended: GenerationRecord, amount: int) -> tuple[PoolRecord, int]:
    """Give back units to those who are left of the generation before, of a pool in which nobody has a share:
    the part that is theirs. The pool, and the units taken."""
    given = min(amount * ended.shares // ended.ended_shares, ended.shares)
    if not given or ended.shares > given << MAX_DEPTH_BITS:
        return pool, 0
    alive = replace(
        pool,
        tokens=given,
        shares=ended.shares,
        generation=pool.generation - 1,
        reward_per_share=ended.reward_per_share,
    )
    return alive, given


def pay(pool: PoolRecord, amount: int) -> PoolRecord:
    """Pay rewards to all holders of a pool that has any, in proportion to their shares."""
    each, residue = divmod((amount << SCALE_BITS) + pool.residue, pool.shares)
    return replace(
        pool,
        reward_per_share=pool.reward_per_share + each,
        residue=residue,
        rewards=pool.rewards + amount,
    )


def collect(
    pool: PoolRecord, position: PositionRecord, ended: GenerationRecord | None
) -> tuple[PoolRecord, PositionRecord, int]:
    """What a position has earned: pool and position without it, and the units.

    `ended` is of the position's generation where that is over: its shares are gone, and it is of the running
    one afterwards, with none.
    """
    upto = pool.reward_per_share if ended is None else ended.reward_per_share
    earned = position.shares * (upto - position.paid) + position.carry
    units = earned >> SCALE_BITS
    after = PositionRecord(
        shares=position.shares if ended is None else 0,
        generation=pool.generation,
        paid=pool.reward_per_share,
        carry=earned & _FRACTION,
        since=position.since,
    )
    return replace(pool, rewards=pool.rewards - units), after, units


def close(pool: PoolRecord, position: PositionRecord) -> PoolRecord:
    """The pool when a position without shares is forgotten: its fraction of a unit goes to the others."""
    return replace(pool, residue=pool.residue + position.carry)


def shared_out(amount: int, weights: list[int]) -> list[int]:
    """`amount` in proportion to `weights`, to the unit: the i-th part is the difference of two rounded-down
    running sums. No part exceeds its weight where `amount` does not exceed their sum."""
    total, before, seen, parts = sum(weights), 0, 0, []
    for each in weights:
        seen += each
        upto = amount * seen // total if total else 0
        parts.append(upto - before)
        before = upto
    return parts
