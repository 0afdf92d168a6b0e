"""The validator set of one epoch: keys, stakes, thresholds, leaders (CONSENSUS.md sections 1, 3, 14.1)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.agreement.leaders import leader_table
from consensus.agreement.thresholds import (
    Mode,
    StakeThresholds,
    ViewThresholds,
    stake_thresholds,
    view_thresholds,
)
from consensus.primitives.codec import U8, U16, MaxLength, encode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, PublicKey, Stake, ValidatorIndex, View

MAX_VALIDATORS: Final = 256  # bitmaps on the wire are bounded by it; full mesh ends near 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Validator:
    """One member: its consensus key and its stake, at least 1."""

    key: PublicKey
    stake: Stake


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorSetRecord:
    """What `validators_hash` commits to; a light client checks a list of keys against it."""

    WIRE_VERSION: ClassVar[int] = 1
    validators: Annotated[tuple[Validator, ...], MaxLength(MAX_VALIDATORS)]
    mode: U8
    window: U16
    leader_seed: Hash


def root_of(record: ValidatorSetRecord) -> Hash:
    """What commits to a set: the `validators_hash` of its headers."""
    return hash_tagged(b"TALLY/validators/1", encode(record))


class ValidatorSet:
    """An epoch's validators, immutable, with everything derived from them precomputed.

    `window` is the number of consecutive views that one leader holds (section 9.4). Raises ValueError on an
    empty or over-long list, a stake below 1, or a repeated key.
    """

    __slots__ = (
        "_by_leader",
        "_table",
        "keys",
        "mode",
        "record",
        "stake",
        "stakes",
        "validators_hash",
        "window",
    )

    def __init__(
        self,
        validators: Sequence[Validator],
        *,
        chain_id_hash: Hash,
        epoch: Epoch,
        mode: Mode = Mode.STRICT,
        window: int = 1,
        leader_seed: Hash = ZERO_HASH,
    ) -> None:
        if not 1 <= len(validators) <= MAX_VALIDATORS:
            raise ValueError(f"a validator set has 1 to {MAX_VALIDATORS} members, not {len(validators)}")
        if any(each.stake < 1 for each in validators):
            raise ValueError("every validator needs a stake of at least 1")
        if window < 1:
            raise ValueError("a leader window has at least one view")
        self.keys: Final = tuple(each.key for each in validators)
        if len(set(self.keys)) != len(self.keys):
            raise ValueError("two validators have the same key")
        self.stakes: Final = tuple(int(each.stake) for each in validators)
        self.mode: Final = mode
        self.window: Final = window
        self.stake: Final[StakeThresholds] = stake_thresholds(sum(self.stakes))
        self.record: Final = ValidatorSetRecord(
            validators=tuple(validators), mode=int(mode), window=window, leader_seed=leader_seed
        )
        self.validators_hash: Final = root_of(self.record)
        self._table = leader_table(self.stakes, chain_id_hash=chain_id_hash, epoch=epoch, seed=leader_seed)
        self._by_leader = tuple(view_thresholds(self.stake, stake, mode) for stake in self.stakes)

    def __len__(self) -> int:
        return len(self.keys)

    def leader(self, view: View) -> ValidatorIndex:
        """L(view), for a view of at least 1."""
        return self._table[((view - 1) // self.window) % len(self._table)]

    def thresholds(self, view: View) -> ViewThresholds:
        """P, FAST, T and TE of a view."""
        return self._by_leader[self.leader(view)]

    def weight(self, members: Iterable[int]) -> int:
        """The stake of a set of indices; each must be named once."""
        stakes = self.stakes
        return sum(stakes[index] for index in members)

    @property
    def leader_slots(self) -> tuple[ValidatorIndex, ...]:
        """The whole rotation, for display and for tests."""
        return self._table
