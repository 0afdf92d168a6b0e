"""What candidates need to know of an executed relay state; `relay.views.StateView` provides it."""

from typing import Protocol

from consensus.agreement.validators import ValidatorSet
from consensus.candidates.attesters import Attesters
from consensus.candidates.lifecycle import ChainView
from consensus.candidates.receipts import CandidateHeader
from consensus.primitives.guest import InboxSource
from consensus.primitives.ids import ChainId, Epoch, Hash, Height, Milliseconds


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

    def attesters(self, chain: ChainId, epoch: Epoch, validators: ValidatorSet) -> Attesters | None:
        """Who attests a chain's candidates in the epoch of `validators`; None if nobody does, or this state
        does not know yet."""
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
