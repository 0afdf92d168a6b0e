"""Who validates in which epoch of a run, and with which key: the simulator's stand-in for staking state.

A scenario plans the sets; `Membership` makes them into validator sets. A node is an identity for the whole
run; its place in a set (the validator index) and its key change with the epoch.
"""

from collections.abc import Callable
from dataclasses import dataclass

from consensus.agreement.messages import FLAG_BOUNDARY, Header
from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import Validator, ValidatorSet
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, PublicKey, Signature, Stake, ValidatorIndex
from consensus.simulation.signatures import SignatureOracle


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node's place in one epoch's set; `key` counts its keys, from 0, as it changes them."""

    node: int
    stake: int
    key: int = 0


Sets = tuple[tuple[Member, ...], ...]
"""By epoch, from epoch 1 on; the last one stays."""


def key_of(node: int, version: int) -> PublicKey:
    """A node's consensus key of a version."""
    return PublicKey(
        hash_tagged(b"PHALANX/simulation/key", node.to_bytes(2, "big"), version.to_bytes(4, "big"))
    )


class Membership:
    """The sets of a run, as every honest application reads them from the state."""

    def __init__(self, sets: Sets, *, chain_id_hash: Hash, mode: Mode, oracle: SignatureOracle) -> None:
        self.chain_id_hash = chain_id_hash
        self._sets = sets
        self._mode = mode
        self._oracle = oracle
        self._made: dict[tuple[Epoch, Hash], ValidatorSet] = {}
        self._places = [{member.node: index for index, member in enumerate(each)} for each in sets]

    def members(self, epoch: Epoch) -> tuple[Member, ...]:
        """The planned set of an epoch, by validator index."""
        return self._sets[min(epoch, len(self._sets)) - 1]

    def index_of(self, node: int, epoch: Epoch) -> ValidatorIndex | None:
        """A node's place in an epoch; None if it has none."""
        index = self._places[min(epoch, len(self._sets)) - 1].get(node)
        return None if index is None else ValidatorIndex(index)

    def validators(self, epoch: Epoch, seed: Hash) -> ValidatorSet:
        """The set of an epoch; `seed` is the hash of the parent of the boundary block below it."""
        made = self._made.get((epoch, seed))
        if made is None:
            made = self._made[epoch, seed] = ValidatorSet(
                [Validator(key=key_of(m.node, m.key), stake=Stake(m.stake)) for m in self.members(epoch)],
                chain_id_hash=self.chain_id_hash,
                epoch=epoch,
                mode=self._mode,
                leader_seed=seed,
            )
        return made

    def validators_on(self, start: Header) -> ValidatorSet:
        """The set of the epoch that begins on `start`, a boundary or genesis header."""
        return self.validators(epoch_on(start), start.parent_hash if start.height else ZERO_HASH)

    def signer(self, member: Member) -> Callable[[bytes], Signature]:
        """The capability to sign with a member's key."""
        return self._oracle.signer(key_of(member.node, member.key))

    def newest_key(self, node: int, epoch: Epoch) -> int:
        """The highest version of a node's key that any epoch up to `epoch` gave a place; -1 for none."""
        upto = self._sets[: min(epoch, len(self._sets))]
        return max((m.key for members in upto for m in members if m.node == node), default=-1)


def epoch_on(newest: Header) -> Epoch:
    """The epoch of a block on top of `newest`, a final one."""
    return Epoch(newest.epoch + 1) if newest.flags & FLAG_BOUNDARY else newest.epoch
