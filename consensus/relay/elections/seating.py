"""Who stands for election, and who is kept if too few do (docs/decisions/025).

Four is the least number that tolerates a fault. A network that has as many does not fall below it because
operators rest, lose stake, or are away at once: an election of fewer keeps the previous set instead. But not
all of it:

1. Kept first is every previous member that was convicted of nothing and still has stake behind it, though it
   wanted to rest or has too little. Who has taken all its stake away has left: nobody votes with nothing to
   lose.
2. If these and the elected are still fewer than four, members are kept that are jailed for being away and
   nothing else, in the order of their indices, just enough of them. Many are away at once when something
   common breaks; and fewer than four would hand the network to whoever keeps the others from being heard.
3. Only if nobody at all would be left, the others are kept: those without stake, then the jailed, then the
   tombstoned. Fewer than four validators, who tolerate no fault, are better than four with one whose fault is
   proved.

A network of one to three keeps its set only if nobody at all is electable, by the same ladder.
"""

import enum
from collections.abc import Callable, Container, Sequence

from consensus.primitives.ids import PublicKey
from consensus.relay.elections.caps import MIN_TOLERANT


class Blame(enum.IntEnum):
    """What bars a member of the previous set from being kept; the least is kept first."""

    NONE = 0
    AWAY = 1  # jailed for downtime alone
    JAILED = 2
    TOMBSTONED = 3


def kept_members(
    electable: Sequence[PublicKey],
    previous: Sequence[PublicKey],
    *,
    backed: Container[PublicKey],
    blame: Callable[[PublicKey], Blame],
    seats: int,
) -> tuple[PublicKey, ...]:
    """The members of the previous set, by index, that are kept beside the `electable`, who are then all
    seated; none if these are enough. `backed` are those with any stake behind them. At most `seats` in all.
    """
    tolerant = len(previous) >= MIN_TOLERANT <= seats
    needed = MIN_TOLERANT if tolerant else 1
    if len(electable) >= needed:
        return ()
    room = seats - len(electable)
    others = [each for each in previous if each not in electable]
    barred = {each: blame(each) for each in others}
    kept = [each for each in others if barred[each] is Blame.NONE and each in backed][:room]
    missing = max(0, needed - len(electable) - len(kept))
    kept += [each for each in others if barred[each] is Blame.AWAY and each in backed][:missing]
    if not electable and not kept:
        least = min(barred.values(), default=Blame.NONE)
        kept = [each for each in others if barred[each] is least][:room]
    return tuple(each for each in others if each in kept)
