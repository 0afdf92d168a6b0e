"""Who stands for election, and who is kept if too few do (docs/decisions/025).

Four is the least number that tolerates a fault. A network that has as many does not fall below it because
stake leaves, operators rest, or many are jailed at once: an election of fewer keeps the previous set instead.
But not all of it, if there is a way around whom an offence removed:

1. Kept first is every previous member that was convicted of nothing, whether it wanted to rest, left, or lost
   too much of its stake.
2. If these and the elected are still fewer than four, jailed members are kept, in the order of their indices,
   just enough of them. They may come back by themselves in a while; and fewer than four would hand the
   network to whoever gets the others jailed.
3. A tombstoned member is kept only if otherwise nobody at all would be left: fewer than four validators that
   tolerate no fault are better than four with one whose fault is proved.

A network of one to three follows the same ladder to its first step: it keeps its set only if nobody at all
is electable.
"""

import enum
from collections.abc import Callable, Sequence

from consensus.primitives.ids import PublicKey
from consensus.relay.elections.caps import MIN_TOLERANT


class Blame(enum.IntEnum):
    """What bars a member of the previous set from being kept; the least is kept first."""

    NONE = 0
    JAILED = 1
    TOMBSTONED = 2


def kept_members(
    electable: Sequence[PublicKey],
    previous: Sequence[PublicKey],
    blame: Callable[[PublicKey], Blame],
    *,
    seats: int,
) -> tuple[PublicKey, ...]:
    """The members of the previous set, by index, that are kept beside the `electable`, who are then all
    seated; none if these are enough. At most `seats` in all."""
    tolerant = len(previous) >= MIN_TOLERANT <= seats
    needed = MIN_TOLERANT if tolerant else 1
    if len(electable) >= needed:
        return ()
    candidates = [each for each in previous if each not in electable]
    kept = [each for each in candidates if blame(each) is Blame.NONE][: seats - len(electable)]
    if (missing := needed - len(electable) - len(kept)) > 0:
        kept += [each for each in candidates if blame(each) is Blame.JAILED][:missing]
    if not electable and not kept:
        kept = candidates[:seats]
    return tuple(each for each in previous if each in kept)
