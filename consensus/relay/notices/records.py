"""What the state keeps of notices, and the bytes that guests get of them (docs/guest-abi.md section 9).

    relay, "notices"     NoticesRecord: how many slashes were published, which are kept, who is to be fed
    slash-notice         number → SlashNotice, the newest MAX_KEPT of them
    relay, "set-notice"  SetNotice: the newest alone
    notice-feed          chain → FeedRecord: what was put into its lane

One copy serves all chains. A chain that does not consume has at most MAX_WAITING notices in its lane and
falls behind in here: of sets it gets the newest, of slashes those that are kept. Each slash has a number
and a digest of all before it, and each set says how many slashes came before, so that what a chain missed
shows, and can be handed in later against the digest.
"""

import enum
from dataclasses import dataclass
from typing import ClassVar, Final

from consensus.agreement.validators import ValidatorSetRecord, root_of
from consensus.primitives.codec import U8, U32, U64, U128
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH, ChainId, Epoch, Hash, Height, PublicKey
from consensus.primitives.tree import tree_key

MAX_KEPT: Final = 1024  # slash notices in the state
MAX_WAITING: Final = 16  # notices in one chain's lane; a lane's own credit may be less
MAX_FED: Final = 16  # chains that one block feeds; a chain that consumes is fed besides

NOTICES_KEY: Final = tree_key(b"relay", b"notices")
SET_NOTICE_KEY: Final = tree_key(b"relay", b"set-notice")


class NoticeKind(enum.IntEnum):
    """The first byte of a notice."""

    SLASH = 1
    SET = 2
    LIFTED = 3  # a slash that governance undid, by as many units


@dataclass(frozen=True, slots=True, kw_only=True)
class SlashNotice:
    """Stake of a validator was cut, or given back."""

    WIRE_VERSION: ClassVar[int] = 1
    kind: U8  # SLASH or LIFTED
    number: U64  # from 0, without gaps
    account: PublicKey
    key: PublicKey  # that signed in `epoch`
    epoch: Epoch  # of the offence
    offence: U8  # of `offences.table.OffenceKind`; 0 where a slash is lifted
    fraction_ppb: U32  # of its exposure, that it owes for that epoch by now
    amount: U128  # units that this block cut or gave back: no other notice counts them
    height: Height  # of that block
    fault: Hash  # of the two votes that convict (`slashing_proof.fault_hash`); zero where it rests on others
    digest: Hash  # of all slash notices up to this one

    def body(self) -> bytes:
        """What a guest gets, but for the digest."""
        return b"".join(
            (
                bytes([self.kind]),
                self.number.to_bytes(8, "little"),
                self.account,
                self.key,
                self.epoch.to_bytes(8, "little"),
                bytes([self.offence]),
                self.fraction_ppb.to_bytes(4, "little"),
                self.amount.to_bytes(16, "little"),
                self.height.to_bytes(8, "little"),
                self.fault,
            )
        )

    def payload(self) -> bytes:
        """What a guest gets: 174 bytes."""
        return self.body() + self.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class SetNotice:
    """The validators of an epoch that begins, and where the numbering of slashes stood."""

    WIRE_VERSION: ClassVar[int] = 1
    epoch: Epoch
    height: Height  # of the boundary block before it
    slashes: U64  # that were published before
    digest: Hash  # of them
    validators: ValidatorSetRecord

    def payload(self) -> bytes:
        """What a guest gets: 126 bytes and 40 for each validator, of whom there are at most 200."""
        record = self.validators
        members = (each.key + each.stake.to_bytes(8, "little") for each in record.validators)
        return b"".join(
            (
                bytes([NoticeKind.SET]),
                self.epoch.to_bytes(8, "little"),
                self.height.to_bytes(8, "little"),
                root_of(record),
                self.slashes.to_bytes(8, "little"),
                self.digest,
                bytes([record.mode]),
                record.window.to_bytes(2, "little"),
                record.leader_seed,
                len(record.validators).to_bytes(2, "little"),
                *members,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticesRecord:
    """Where publishing stands. Chains `next_chain` and on, `left` of them in a ring, are to be fed."""

    slashes: U64 = 0  # published
    oldest: U64 = 0  # the number of the oldest that is kept
    digest: Hash = ZERO_HASH  # of all
    next_chain: U32 = 0
    left: U32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRecord:
    """What is in a chain's lane, or was: slashes below `slashes`, and the set of `set_epoch`."""

    slashes: U64
    set_epoch: Epoch


def slash_notice_key(number: int) -> Hash:
    """Where a slash notice is in the relay tree."""
    return tree_key(b"slash-notice", number.to_bytes(8, "big"))


def feed_key(chain: ChainId) -> Hash:
    """Where it is kept which notices a chain was sent."""
    return tree_key(b"notice-feed", chain.to_bytes(4, "big"))


def next_digest(digest: Hash, body: bytes) -> Hash:
    """The digest of all slash notices, with one more."""
    return hash_tagged(b"PHALANX/slash-notices/1", digest, body)
