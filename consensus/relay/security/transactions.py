"""What validators may ask for about shared security; wire tag 50."""

from dataclasses import dataclass
from typing import ClassVar

from consensus.primitives.ids import Amount, ChainId


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocate:
    """A validator puts `amount` units of what stands behind it at risk on a `subset` chain, in all: it
    attests the chain's candidates from a later epoch on. 0 opts out, later still.

    Allocations share the validator's stake. What they cost is borne by all who stand behind it.
    """

    WIRE_TAG: ClassVar[int] = 50
    chain: ChainId
    amount: Amount


SecurityAction = Allocate
