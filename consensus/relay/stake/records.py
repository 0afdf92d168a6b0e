"""The leaves of stake, and where each is in the relay tree (DESIGN.md section 8).

validator         account → ValidatorRecord, for ever: whoever bonded once stays answerable
validator-name    name → account, for ever
consensus-key     key → account, for ever: a key belongs to one validator, and is never taken up again
identity-key      key → account, for ever
nomination        name → NominationRecord, while any pool answers for it
nomination-index  number → name, of those that several validators share
pool              kind and nominations → PoolRecord, while anybody has a position in it
generation        pool and generation → GenerationRecord: how a generation that was cut to nothing ended
position          pool and holder → PositionRecord, while it holds anything
holdings          holder → HoldingsRecord: the pools that it has positions in
roster, stake     singletons: who may be elected; the totals
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.agreement.messages import Kind, sign_bytes
from consensus.primitives.codec import U8, U32, U64, U128, U256, MaxLength
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Height, PublicKey, Stake
from consensus.primitives.tree import tree_key
from consensus.relay.epochs import MAX_ADDRESS_BYTES, MAX_NAME_BYTES
from consensus.relay.stake.transactions import MAX_APPROVALS, MAX_LABEL_BYTES

MAX_LEAVING: Final = 32  # pools of one nomination that wait to be paid out
MAX_MOVES: Final = 16  # pools on their way out of one nomination to others; as many on their way into one
MAX_NOMINATIONS: Final = 2_048  # that several validators share; validators' own are not counted
MAX_HOLDINGS: Final = 64  # pools that one account has positions in
MAX_ROSTER: Final = 1_024
MAX_STAKE: Final = (1 << 64) - 1  # of all together, so that every sum of voting power is below 2^64

ROSTER_KEY: Final = tree_key(b"relay", b"roster")
TOTALS_KEY: Final = tree_key(b"relay", b"stake")
UNFINISHED_CUT_KEY: Final = tree_key(b"relay", b"unfinished-cut")  # a record of `offences`
RAISES: Final = b"raises"  # a queue of `offences`: epochs whose first offenders owe more by now


class Standing(enum.IntEnum):
    """What a validator may do."""

    ACTIVE = 1  # elected if its stake suffices and it is not chilled
    JAILED = 2  # not elected until it asks to come back, which it may from `jailed_until` on
    TOMBSTONED = 3  # never elected again; its stake can only leave


class PoolKind(enum.IntEnum):
    """What a pool's stake is about to do."""

    MAIN = 1  # stay
    LEAVING = 2  # be paid out
    MOVING = 3  # stand behind other validators


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorRecord:
    """A validator, found by the account that operates it. What it has at stake is in its own nomination.

    Name, keys and address are those of the next election; an epoch's own are in its `EpochSetRecord`, so
    that a key which was rotated away is still answerable for the epochs it signed in.
    """

    WIRE_VERSION: ClassVar[int] = 2
    name: Annotated[str, MaxLength(MAX_NAME_BYTES)]
    account: PublicKey
    consensus_key: PublicKey
    identity_key: PublicKey
    address: Annotated[str, MaxLength(MAX_ADDRESS_BYTES)]
    operator: Annotated[str, MaxLength(MAX_LABEL_BYTES)]  # these three as declared, for the
    region: Annotated[str, MaxLength(MAX_LABEL_BYTES)]  # concentration report; empty if not
    client: Annotated[str, MaxLength(MAX_LABEL_BYTES)]
    standing: U8
    jailed_until: Epoch  # the first epoch in which one that was jailed may come back; else 0
    joined_height: Height
    chilled: bool  # by its own wish: not elected while it is
    commission_ppb: U32  # of what its delegators earn
    commission_max_ppb: U32  # fixed when it bonded
    commission_step_ppb: U32  # the most that it may change in one epoch; fixed when it bonded
    commission_epoch: Epoch  # in which it was changed last; 0 if never
    contested: U32  # cases against it that governance may still undo, or is giving stake back for


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One MOVING pool, as a nomination at either end of it lists it."""

    other: Hash  # the nomination at the other end
    epoch: Epoch  # the last in which the stake stands behind the nomination that it comes from


@dataclass(frozen=True, slots=True, kw_only=True)
class NominationRecord:
    """A set of validators, and the pools beside its main one that answer for it: a voter in elections.

    The tuples are in order of their epochs.
    """

    validators: Annotated[tuple[PublicKey, ...], MaxLength(MAX_APPROVALS)]  # sorted, distinct
    number: U32  # its place in the index, from 1; 0 of a validator's own, which is not in it
    leaving: Annotated[tuple[Epoch, ...], MaxLength(MAX_LEAVING)]
    outgoing: Annotated[tuple[Move, ...], MaxLength(MAX_MOVES)]
    incoming: Annotated[tuple[Move, ...], MaxLength(MAX_MOVES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRecord:
    """Stake of any number of holders that shares one fate; `pools` has its arithmetic.

    A share is worth tokens / shares, at most one unit, at least 2^-32. For each unit of 2^-64:
    rewards * 2^64 = sum over positions (shares * (reward_per_share - paid) + carry) + residue.
    """

    kind: U8
    nomination: Hash
    to: Hash  # of a MOVING pool, where it goes; else zero
    epoch: Epoch  # the last that it answers for with `nomination`; 0 of a MAIN pool, which always does
    tokens: U128
    shares: U128
    generation: U32  # how often it was cut to nothing: positions of an earlier generation are worth nothing
    reward_per_share: U256  # ever paid in for one share, in 2^-64 units
    residue: U128  # 2^-64 units that no share was credited with yet
    rewards: U128  # units paid in and not claimed
    merged: bool  # a MOVING pool whose stake joined its target's main pool, as one position of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRecord:
    """How one generation of a pool ended: what its positions have earned, and what a veto gives back to."""

    reward_per_share: U256
    ended_shares: U128  # all, when it ended
    shares: U128  # of positions that have not been touched since


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRecord:
    """What one holder has in one pool: an account, or a MOVING pool that merged."""

    shares: U128
    generation: U32
    paid: U256  # the pool's reward_per_share up to which this was claimed
    carry: U64  # 2^-64 units earned below a whole one
    since: Epoch = Epoch(0)  # noqa: RUF009  the first epoch in which all that came into it stands


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A pool that an account has a position in."""

    pool: Hash
    last_epoch: Epoch  # after which its wait began: of a LEAVING or MOVING pool; else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldingsRecord:
    """Where an account's stake is, in the order in which it came there."""

    holdings: Annotated[tuple[Holding, ...], MaxLength(MAX_HOLDINGS)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterEntry:
    """A validator that may be elected; `stake` is all that is in its own nomination's main pool."""

    account: PublicKey
    stake: Stake
    joined_height: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterRecord:
    """Who may be elected, in order of `rank`. Beyond MAX_ROSTER the least falls off; the next change of its
    stake brings it back if it then ranks high enough."""

    entries: Annotated[tuple[RosterEntry, ...], MaxLength(MAX_ROSTER)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalsRecord:
    """All stake, how many nominations are in the index, how far the queue of those who leave is filled."""

    bonded: U128 = 0  # units in all pools, leaving ones included
    rewards: U128 = 0  # units of rewards in all pools
    nominations: U32 = 0
    exit_epoch: Epoch = Epoch(0)  # noqa: RUF009  (a NewType)
    exit_room: U128 = 0  # units that may still leave after that epoch


def validator_key(account: PublicKey) -> Hash:
    """Where a validator's record is in the relay tree."""
    return tree_key(b"validator", account)


def validator_name_key(name: str) -> Hash:
    """Where the account is found that has a validator's name."""
    return tree_key(b"validator-name", name.encode())


def consensus_key_key(key: PublicKey) -> Hash:
    """Where the account is found that a consensus key belongs to."""
    return tree_key(b"consensus-key", key)


def identity_key_key(key: PublicKey) -> Hash:
    """Where the account is found that an identity key belongs to."""
    return tree_key(b"identity-key", key)


def nomination_name(validators: Iterable[PublicKey]) -> Hash:
    """Names the nomination of these validators, in whatever order."""
    return hash_tagged(b"PHALANX/nomination/1", *sorted(validators))


def nomination_key(name: Hash) -> Hash:
    """Where a nomination is in the relay tree."""
    return tree_key(b"nomination", name)


def nomination_index_key(number: int) -> Hash:
    """Where the name of the nomination is that has this number, from 1."""
    return tree_key(b"nomination-index", number.to_bytes(4, "big"))


def main_pool(nomination: Hash) -> Hash:
    """Where a nomination's main pool is in the relay tree: a pool is called by its tree key."""
    return tree_key(b"pool", nomination)


def leaving_pool(nomination: Hash, epoch: Epoch) -> Hash:
    """Where the stake is that stands behind a nomination up to `epoch`, and is paid out later."""
    return tree_key(b"pool", nomination + epoch.to_bytes(8, "big"))


def moving_pool(nomination: Hash, to: Hash, epoch: Epoch) -> Hash:
    """Where the stake is that stands behind a nomination up to `epoch`, and behind `to` from then on."""
    return tree_key(b"pool", nomination + to + epoch.to_bytes(8, "big"))


def generation_key(pool: Hash, generation: int) -> Hash:
    """Where the end of a pool's generation is in the relay tree."""
    return tree_key(b"generation", pool + generation.to_bytes(4, "big"))


def position_key(pool: Hash, holder: bytes) -> Hash:
    """Where a position is in the relay tree; its holder is an account, or a pool."""
    return tree_key(b"position", pool + holder)


def holdings_key(account: PublicKey) -> Hash:
    """Where the pools are listed that an account has positions in."""
    return tree_key(b"holdings", account)


def possession_bytes(chain_id_hash: Hash, account: PublicKey) -> bytes:
    """What a key signs to show that whoever bonds `account` holds it: KEY_POP of CONSENSUS.md section 2,
    epoch and view zero, the account in the place of the block. Nobody can use it for another account."""
    return sign_bytes(chain_id_hash, Kind.KEY_POP, 0, 0, account, ZERO_HASH)


def rank(entry: RosterEntry) -> tuple[int, int, bytes]:
    """The order of the roster: the most stake, then who joined first, then the account."""
    return -entry.stake, entry.joined_height, entry.account
