"""The validator set of each epoch, as the state keeps it (CONSENSUS.md section 14).

Epoch e covers the heights (h_e, h_{e+1}] with h_1 = 0 and h_{e+1} = h_e + epoch_blocks; its last block is its
boundary block. The set of e+1 is written by executing the block *before* that (`elections.turning`), so
that the boundary header can name it; the boundary block itself then stamps what only it knows, the leader
seed, which is its parent's hash, and the time. Tail blocks never reach the state.

A set stays for as long as evidence about its epoch counts, which is until the later of `evidence_epochs`
epochs and `unbonding_ms` after it: for as long as a light client may trust its headers, and the stake that
vouched for them is there to be taken.

What the node asks, each of any state that has the leaf, `Ledger` and `StateView` alike:

    epoch_members     who is in an epoch: names, accounts, keys, addresses, stakes, in the order of indices
    current_set       the `ValidatorSet` of a begun epoch
    next_set          that of the epoch which the block above this state is the boundary to
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, Final, Protocol

from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import Validator, ValidatorSet
from consensus.primitives.codec import U8, MaxLength, decode
from consensus.primitives.ids import Epoch, Hash, Height, Milliseconds, PublicKey, Stake
from consensus.primitives.tree import tree_key
from consensus.relay.ledger import PARAMETERS_KEY, decode_parameters
from consensus.relay.parameters import MAX_SET, Parameters

FIRST_EPOCH: Final = Epoch(1)
MAX_NAME_BYTES: Final = 64
MAX_ADDRESS_BYTES: Final = 128
MAX_SET_BYTES: Final = 128 * 1024
_MODES: Final = {0: Mode.OFF, 1: Mode.STRICT}  # `fast_mode`, whose numbers are not the mode's


class Reads(Protocol):
    """Anything that reads leaves of one relay state."""

    def read(self, key: Hash) -> bytes | None:
        """The value under a tree key."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMember:
    """One validator of one epoch. The consensus key is the one that signs *in this epoch*."""

    name: Annotated[str, MaxLength(MAX_NAME_BYTES)]
    account: PublicKey
    consensus_key: PublicKey
    identity_key: PublicKey
    address: Annotated[str, MaxLength(MAX_ADDRESS_BYTES)]  # HOST:PORT, or empty
    stake: Stake  # voting power: what stands behind it, up to the cap (`elections.caps`)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSetRecord:
    """The set of one epoch; a member's place is its validator index."""

    WIRE_VERSION: ClassVar[int] = 1
    members: Annotated[tuple[EpochMember, ...], MaxLength(MAX_SET)]
    leader_seed: Hash  # zero until the boundary block that begins the epoch has executed, and in epoch 1
    began_ms: Milliseconds  # the time of that block, or of genesis; 0 until then
    fast_mode: U8 = 1  # these two as the parameters were at its election: a change of them is the next
    window: U8 = 1  # set's, and an old set's votes are judged by the rules that they were cast under


@dataclass(frozen=True, slots=True, kw_only=True)
class OldestEpoch:
    """The oldest epoch whose set the state has: every one from it on is there."""

    epoch: Epoch


OLDEST_EPOCH_KEY: Final = tree_key(b"relay", b"oldest-epoch")


def epoch_set_key(epoch: Epoch) -> Hash:
    """Where the set of an epoch is in the relay tree."""
    return tree_key(b"epoch-set", epoch.to_bytes(8, "big"))


# --- heights


def epoch_of(height: int, epoch_blocks: int) -> Epoch:
    """The epoch that a block of the ledger belongs to; genesis counts to the first."""
    return Epoch(max(0, height - 1) // epoch_blocks + 1)


def boundary_height(epoch: int, epoch_blocks: int) -> Height:
    """h_{epoch+1}: the height of the epoch's last block."""
    return Height(epoch * epoch_blocks)


def is_boundary(height: int, epoch_blocks: int) -> bool:
    """Whether the block of this height is the last of its epoch; genesis is not."""
    return height > 0 and height % epoch_blocks == 0


# --- sets


def find_epoch_members(state: Reads, epoch: Epoch) -> EpochSetRecord | None:
    """Who is in an epoch; None if the state does not know."""
    raw = state.read(epoch_set_key(epoch))
    return None if raw is None else _decode_set(raw)


def epoch_members(state: Reads, epoch: Epoch) -> EpochSetRecord:
    """Who is in an epoch. Raises LookupError if the state does not know (yet, or any more)."""
    found = find_epoch_members(state, epoch)
    if found is None:
        raise LookupError(
            f"the state has no validator set of epoch {epoch}: it comes with the last block but one of the"
            " epoch before, and goes when evidence about it does not count any more"
        )
    return found


def oldest_epoch(state: Reads) -> Epoch:
    """The oldest epoch whose set the state has."""
    raw = state.read(OLDEST_EPOCH_KEY)
    if raw is None:
        raise AssertionError("the state has no oldest epoch")
    return decode(OldestEpoch, raw, limit=64).epoch


def is_answerable(state: Reads, epoch: Epoch, *, now: Epoch, now_ms: int) -> bool:
    """Whether evidence about `epoch` counts in a block of epoch `now` and time `now_ms`."""
    parameters = _parameters(state)
    if epoch > now or find_epoch_members(state, epoch) is None:
        return False
    if now <= epoch + parameters.evidence_epochs:
        return True
    return now_ms < epoch_members(state, Epoch(epoch + 1)).began_ms + parameters.unbonding_ms


def validator_set(
    record: EpochSetRecord,
    *,
    chain_id_hash: Hash,
    epoch: Epoch,
    leader_seed: Hash,
) -> ValidatorSet:
    """The set as agreement takes it: the one place where what the state keeps becomes agreement's terms."""
    return ValidatorSet(
        [Validator(key=each.consensus_key, stake=each.stake) for each in record.members],
        chain_id_hash=chain_id_hash,
        epoch=epoch,
        mode=_MODES[record.fast_mode],
        window=record.window,
        leader_seed=leader_seed,
    )


def current_set(state: Reads, *, chain_id_hash: Hash, epoch: Epoch) -> ValidatorSet:
    """The set of an epoch that has begun: `state` is that of its first boundary, or later.

    Raises LookupError where the state does not know the epoch.
    """
    record = epoch_members(state, epoch)
    return _validator_set(record, chain_id_hash, epoch)


@lru_cache(maxsize=32)
def _validator_set(record: EpochSetRecord, chain_id_hash: Hash, epoch: Epoch) -> ValidatorSet:
    """Remembered, because the table of leaders is dear and evidence may name an old epoch again and again."""
    return validator_set(record, chain_id_hash=chain_id_hash, epoch=epoch, leader_seed=record.leader_seed)


def next_set(state: Reads, *, chain_id_hash: Hash, epoch: Epoch, parent_hash: Hash) -> ValidatorSet:
    """The set of `epoch`, which is about to begin; its `validators_hash` is what the boundary header carries.

    `state` is the post-state of the boundary's parent, whose hash is `parent_hash`. Raises LookupError where
    the state does not know the epoch.
    """
    return validator_set(
        epoch_members(state, epoch),
        chain_id_hash=chain_id_hash,
        epoch=epoch,
        leader_seed=parent_hash,
    )


def _parameters(state: Reads) -> Parameters:
    raw = state.read(PARAMETERS_KEY)
    if raw is None:
        raise AssertionError("the state has no Parameters")
    return decode_parameters(raw)


@lru_cache(maxsize=64)
def _decode_set(raw: bytes) -> EpochSetRecord:
    """Read in every block, and the same for thousands of them."""
    return decode(EpochSetRecord, raw, limit=MAX_SET_BYTES)
