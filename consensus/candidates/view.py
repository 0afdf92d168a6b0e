"""What candidates need to know of an executed relay state; `relay.views.StateView` provides it."""

from typing import Protocol

from consensus.candidates.lifecycle import ChainView
from consensus.candidates.receipts import CandidateHeader
from consensus.primitives.guest import InboxSource
from consensus.primitives.ids import ChainId, Hash, Height, Milliseconds


class RelayView(Protocol):
    """The relay state after one final block. Reads may raise LocalFault, when the store has lost a node."""

    @property
    def height(self) -> Height:
        """Of that block."""
        ...

    def chain(self, chain: ChainId) -> ChainView | None:
        """A chain as its candidates meet it; None if there is no such chain."""
        ...

    def relay_parent_time_ms(self, height: Height, block: Hash) -> Milliseconds | None:
        """The time of a recent final block, this one's ancestors included; None if it is not one."""
        ...

    def can_pay(self, header: CandidateHeader) -> bool:
        """Whether the chain's relay balance and the lanes that the candidate sends to would bear it now."""
        ...

    def code(self, code_hash: Hash) -> bytes:
        """Validation code that a chain's record names."""
        ...

    def messages(self, chain: ChainId, source: InboxSource, first: int, next: int) -> list[bytes]:
        """The payloads numbered `first` up to `next` in the lane from `source` to `chain`."""
        ...
