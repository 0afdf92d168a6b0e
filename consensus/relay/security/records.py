"""What the state keeps of shared security, and where each leaf is.

allocations       validator → AllocationsRecord: what it allocated to which chain, from which epoch on
attesters         chain and epoch → AttestersRecord, as long as the epoch's set
attested-chains   epoch → AttestedRecord: which chains have one of it
rail              chain → RailRecord (`rails`): what left it in the running window
top-chains        TopChainsRecord: the chains that ask members to attest who did not opt in
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from consensus.primitives.codec import U16, U128, MaxLength
from consensus.primitives.ids import ChainId, Epoch, Hash, PublicKey
from consensus.primitives.tree import tree_key
from consensus.relay.security.terms import MAX_ATTESTERS

MAX_ALLOCATIONS: Final = 16  # chains of one validator: each of them can convict it in one epoch
MAX_TOP_CHAINS: Final = 64
MAX_ATTESTED_CHAINS: Final = MAX_ATTESTERS * MAX_ALLOCATIONS + MAX_TOP_CHAINS

TOP_CHAINS_KEY: Final = tree_key(b"relay", b"top-chains")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What one validator has at risk on one chain, in units: `amount`, and `coming` from an epoch on."""

    chain: ChainId
    amount: U128
    coming: U128
    from_epoch: Epoch  # the first of which `coming` counts
    barred_until: Epoch  # convicted on the chain: nothing can be allocated to it before that epoch

    def at(self, epoch: int) -> int:
        """Units in an epoch, which is not over."""
        return self.coming if epoch >= self.from_epoch else self.amount


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationsRecord:
    """All allocations of one validator, by chain. They share its stake: their sum may exceed it."""

    WIRE_VERSION: ClassVar[int] = 1
    entries: Annotated[tuple[Allocation, ...], MaxLength(MAX_ALLOCATIONS)]

    def of(self, chain: int) -> Allocation | None:
        """The allocation to one chain."""
        return next((each for each in self.entries if each.chain == chain), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttesterEntry:
    """One attester: `allocated` is what a fault on the chain can cost it, `weight` its say: 0 once it was
    convicted there."""

    index: U16  # in the epoch's set
    allocated: U128
    weight: U128


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestersRecord:
    """Who attests a chain in one epoch, by index; at least one, as the epoch begins."""

    WIRE_VERSION: ClassVar[int] = 1
    members: Annotated[tuple[AttesterEntry, ...], MaxLength(MAX_ATTESTERS)]

    @property
    def allocated(self) -> int:
        """Units of all of them together."""
        return sum(each.allocated for each in self.members)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestedRecord:
    """The chains that have attesters in one epoch, ascending."""

    chains: Annotated[tuple[ChainId, ...], MaxLength(MAX_ATTESTED_CHAINS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopChainsRecord:
    """Chains whose terms have `top_ppb`, ascending. Governance and the genesis alone make them."""

    chains: Annotated[tuple[ChainId, ...], MaxLength(MAX_TOP_CHAINS)]


def allocations_key(account: PublicKey) -> Hash:
    """Where a validator's allocations are."""
    return tree_key(b"allocations", account)


def attesters_key(chain: int, epoch: int) -> Hash:
    """Where a chain's attesters of an epoch are."""
    return tree_key(b"attesters", chain.to_bytes(4, "big") + epoch.to_bytes(8, "big"))


def attested_key(epoch: int) -> Hash:
    """Where it is kept which chains have attesters in an epoch."""
    return tree_key(b"attested-chains", epoch.to_bytes(8, "big"))
