"""Convictions: a leaf for each validator and epoch, there for ever (CONSENSUS.md section 17)."""

from dataclasses import dataclass
from typing import ClassVar

from consensus.primitives.codec import U8
from consensus.primitives.ids import Epoch, Hash, Height, PublicKey
from consensus.primitives.tree import tree_key


@dataclass(frozen=True, slots=True, kw_only=True)
class OffenceRecord:
    """A conviction: there for ever, under the validator's account and the epoch it offended in."""

    WIRE_VERSION: ClassVar[int] = 1
    account: PublicKey
    epoch: Epoch
    offence: U8  # of evidence.Offence, by the piece that came first
    height: Height  # of the block that convicted


def offence_key(account: PublicKey, epoch: Epoch) -> Hash:
    """Where a conviction is in the relay tree."""
    return tree_key(b"offence", account + epoch.to_bytes(8, "big"))
