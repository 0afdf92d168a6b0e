"""What accounts may ask for with rewards (DESIGN.md section 8); wire tags 35 to 39. A position's rewards are
claimed by `stake.transactions.Claim`."""

from dataclasses import dataclass
from typing import ClassVar

from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import Amount, ChainId, Epoch, Fuel, Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimCommission:
    """Have the commission that the sender has earned as an operator. Answers with the units, 16 bytes
    big-endian."""

    WIRE_TAG: ClassVar[int] = 35


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePayment:
    """Pay out what a chain put into its holding account of an epoch that is over, in units of its own asset:
    up to `amount` of `asset` on `instance`, to those who attested its candidates in that epoch (`holding`).

    Anybody may ask for it and pays the fuel, as for a call. Answers with what the instance answered.
    """

    WIRE_TAG: ClassVar[int] = 36
    chain: ChainId
    epoch: Epoch
    instance: InstanceEndpoint
    asset: Hash
    amount: Amount
    fuel_limit: Fuel


RewardAction = ClaimCommission | ReleasePayment
