"""How many transactions a collator puts into its next candidate.

A candidate must fit its chain's fuel and PoV limits, and a transaction may make the whole block fail: the
guest is not ours. What the last block took predicts the next; what fails is halved until the transaction
that no block can carry stands alone.
"""

from typing import Final

from consensus.candidates.lifecycle import ChainView

FIRST: Final = 256
PERCENT_USED: Final = 80  # of a limit: the next transactions may be dearer than the last


class BatchSize:
    """Grows twofold with each block that succeeds, shrinks by half with each that fails."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ceiling = min(FIRST, most)
        self._fuel_each = 0
        self._pov_bytes_each = 0

    def count(self, chain: ChainView) -> int:
        """At most so many; 0 only after `shrink_to_messages`."""
        count = self._ceiling
        if count > 1 and self._fuel_each:
            count = min(count, max(1, chain.fuel_limit * PERCENT_USED // 100 // self._fuel_each))
        if count > 1 and self._pov_bytes_each:
            count = min(count, max(1, chain.max_pov_bytes * PERCENT_USED // 100 // self._pov_bytes_each))
        return count

    def succeeded(self, count: int, fuel: int, pov_bytes: int) -> None:
        """A block of `count` transactions ran and was as large as that."""
        if count:
            self._fuel_each = -(-fuel // count)
            self._pov_bytes_each = -(-pov_bytes // count)
        self._ceiling = max(1, min(self._most, max(2 * count, 2 * self._ceiling)))

    def failed(self, count: int) -> None:
        """A block of `count` > 1 transactions failed."""
        self._ceiling = max(1, count // 2)

    def shrink_to_messages(self) -> None:
        """A block of one transaction and some messages failed: find out whose fault that was."""
        self._ceiling = 0
