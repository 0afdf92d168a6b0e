"""What a chain's terms say of its security: part of `ChainTerms` (DESIGN.md sections 6 and 8).

The shape is that of partial-set security (Cosmos ADR 015): opt in, power cap, lists, minimum, and "top N",
members that must attest whether they opted in or not. Weights are allocated stake here, not voting power.
"""

# ruff: noqa: RUF009  (the NewTypes called in defaults are the identity function)

from dataclasses import dataclass
from typing import Annotated, Final

from consensus.primitives.codec import U16, U32, MaxLength
from consensus.primitives.ids import Amount, PublicKey

MAX_LISTED: Final = 64  # accounts of an allow or deny list
MAX_ATTESTERS: Final = 200  # as many as a set has members
_WHOLE_PPB: Final = 1_000_000_000

Accounts = Annotated[tuple[PublicKey, ...], MaxLength(MAX_LISTED)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetTerms:
    """Who attests a `subset` chain. An epoch for which they can not be met has no attesters."""

    min_members: U16 = 1
    max_members: U16 = MAX_ATTESTERS  # those with the most allocated
    min_allocation: Amount = Amount(1)  # of one member
    min_total: Amount = Amount(1)  # of all members together
    power_cap_ppb: U32 = _WHOLE_PPB  # the most of all weight that one member has
    allow: Accounts = ()  # where any is named, nobody else attests
    deny: Accounts = ()
    top_ppb: U32 = 0  # the largest members of the epoch's set, up to this part of voting power, must attest
    top_allocation_ppb: U32 = 0  # of their exposure, which counts as allocated unless they allocated more

    def __post_init__(self) -> None:
        if not 1 <= self.min_members <= self.max_members <= MAX_ATTESTERS:
            raise ValueError(
                f"min_members is at least 1 and at most max_members, and that at most {MAX_ATTESTERS}"
            )
        if not self.min_allocation or not self.min_total:
            raise ValueError("min_allocation and min_total are at least 1")
        if not 0 < self.power_cap_ppb <= _WHOLE_PPB:
            raise ValueError("power_cap_ppb is a fraction: above 0 and at most 1000000000")
        if self.power_cap_ppb * self.min_members < _WHOLE_PPB:
            raise ValueError("power_cap_ppb can not hold with min_members: together they have not all weight")
        if self.top_ppb > _WHOLE_PPB or self.top_allocation_ppb > _WHOLE_PPB:
            raise ValueError("top_ppb and top_allocation_ppb are fractions: at most 1000000000")
        if bool(self.top_ppb) != bool(self.top_allocation_ppb):
            raise ValueError("top_ppb and top_allocation_ppb go together: both or neither are above 0")
        if len(set(self.allow)) < len(self.allow) or len(set(self.deny)) < len(self.deny):
            raise ValueError("allow and deny name each account once")
        if set(self.allow) & set(self.deny):
            raise ValueError("no account is both allowed and denied")

    def admits(self, account: PublicKey) -> bool:
        """Whether the lists let a validator attest."""
        return account not in self.deny and (not self.allow or account in self.allow)


@dataclass(frozen=True, slots=True, kw_only=True)
class RailTerms:
    """The most that leaves a chain within one window (`rails`)."""

    messages: U32  # that its candidates send
    units: Amount  # that leave its relay balance, as fees
    window_ms: U32

    def __post_init__(self) -> None:
        if not self.window_ms or not self.messages or not self.units:
            raise ValueError(
                "messages, units and window_ms are above 0: to stop a chain is not a limit's work"
            )
