"""What accounts may ask for with rewards (DESIGN.md section 8); wire tags 35 to 39. A position's rewards are
claimed by `stake.transactions.Claim`."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimCommission:
    """Have the commission that the sender has earned as an operator. Answers with the units, 16 bytes
    big-endian."""

    WIRE_TAG: ClassVar[int] = 35


RewardAction = ClaimCommission
