"""Whether two final blocks can be on one chain, as far as the headers that were shown tell.

A proof shows a line of headers: the final block's and those up to the certified one, all of them final. Two
lines of one epoch exclude each other if

    they have a height in common, and another block on it;
    one goes on right above the other, from another block than its last;
    one begins higher, but its parent's view leaves no room for the blocks between, which take one each.

What is not seen is a fork between the lines: a head above the trusted block whose ancestors were not shown
may descend from another block of that height. More than F of stake is guilty of it, and no client that skips
headers can tell. Who asks a second node for the very block that is trusted does (`light sync --witness`).
"""

from collections.abc import Sequence

from consensus.agreement.messages import Header, block_hash


def exclude_each_other(one: Sequence[Header], two: Sequence[Header]) -> bool:
    """Whether no chain holds both lines. Each has a header at least, links, and rises by one in height."""
    low, high = sorted((one, two), key=lambda line: line[0].height)
    last, first = low[-1], high[0]
    if first.height > last.height + 1:
        between = first.height - 1 - last.height
        return first.epoch == last.epoch and first.parent_view < last.view + between
    if first.height == last.height + 1:
        return first.parent_hash != block_hash(last)
    common = low[first.height - low[0].height :]
    return any(block_hash(a) != block_hash(b) for a, b in zip(common, high, strict=False))
