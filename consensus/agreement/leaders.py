"""Who leads which view: CONSENSUS.md section 14.1."""

from collections.abc import Sequence
from typing import Final

from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import Epoch, Hash, ValidatorIndex

MIN_SLOTS: Final = 64
MAX_SLOTS: Final = 4096


def slot_counts(stakes: Sequence[int]) -> list[int]:
    """Slots of each validator in the table: its share of stake, at least one, within one of exact."""
    slots = min(max(4 * len(stakes), MIN_SLOTS), MAX_SLOTS)
    total = sum(stakes)
    counts = [max(1, stake * slots // total) for stake in stakes]
    spare = slots - sum(counts)
    if spare > 0:
        by_remainder = sorted(range(len(stakes)), key=lambda i: (-(stakes[i] * slots % total), i))
        for index in by_remainder[:spare]:
            counts[index] += 1
    return counts


def leader_table(
    stakes: Sequence[int], *, chain_id_hash: Hash, epoch: Epoch, seed: Hash
) -> tuple[ValidatorIndex, ...]:
    """The epoch's rotation: smooth weighted round robin over the slots, rotated by a hash.

    Smooth means that a validator's slots are spread evenly: with equal stakes nobody leads twice in a row.
    `seed` is the hash of the boundary block's parent, zero in epoch 1.
    """
    counts = slot_counts(stakes)
    total = sum(counts)
    credit = [0] * len(counts)
    table: list[ValidatorIndex] = []
    for _ in range(total):
        for index, count in enumerate(counts):
            credit[index] += count
        pick = max(range(len(counts)), key=lambda i: (credit[i], -i))
        credit[pick] -= total
        table.append(ValidatorIndex(pick))
    digest = hash_tagged(b"leader", chain_id_hash, epoch.to_bytes(8, "big"), seed)
    turn = int.from_bytes(digest, "big") % total
    return tuple(table[turn:] + table[:turn])
