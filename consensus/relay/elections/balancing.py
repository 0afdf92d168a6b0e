"""Evening out the support of the elected: no one else could stand in for the weakest more cheaply.

Who attacks a proportionally elected set buys its weakest seat. So a ballot's stake is moved, among the
elected that it approves, to where there is least: one ballot after the other, in order of their names, each
time as far as its stake reaches (A. Cevallos and A. Stewart, 2020: the balancing of their section on
computing a committee's supports; the maximin support objective). No pass makes the least support smaller, or
the sum of the squares larger; a few passes get most of it, and their number bounds the cost.
Who is elected does not change.
"""

from collections.abc import Sequence
from typing import Final

from consensus.primitives.ids import Hash, PublicKey
from consensus.relay.elections.phragmen import Backing

PASSES: Final = 2


def balance(backing: Backing, elected: Sequence[PublicKey], passes: int = PASSES) -> Backing:
    """`backing` with every ballot's stake spread anew over the elected that it names; exact to the unit."""
    support = dict.fromkeys(elected, 0)
    spread: dict[Hash, dict[PublicKey, int]] = {}
    for name in sorted(backing):
        spread[name] = dict(backing[name])
        for account, amount in backing[name].items():
            support[account] += amount
    places = {account: place for place, account in enumerate(elected)}
    movable = [(sum(parts.values()), parts) for parts in spread.values() if len(parts) > 1]
    for _ in range(passes):
        moved = False
        for stake, parts in movable:
            moved = _respread(stake, parts, support, places) or moved
        if not moved:
            break
    return spread


def _respread(
    stake: int, parts: dict[PublicKey, int], support: dict[PublicKey, int], places: dict[PublicKey, int]
) -> bool:
    """Take a ballot's stake back and fill up from the least support; whether anything moved.

    Those filled end level but for a unit, which goes to those elected first.
    """
    without = sorted((support[each] - amount, places[each], each) for each, amount in parts.items())
    filled, pool = 0, stake  # the stake, and the support of the first `filled`
    for level, _, _ in without:
        if filled * level >= pool:
            break
        filled, pool = filled + 1, pool + level
    height, left = divmod(pool, filled)
    moved = False
    lifted = sorted(without[:filled], key=lambda each: each[1])
    targets = {each: height + (rank < left) for rank, (_, _, each) in enumerate(lifted)}
    for before, _, each in without:
        after = targets.get(each, before)
        if after != support[each]:
            moved = True
            support[each] = after
            parts[each] = after - before
    return moved
