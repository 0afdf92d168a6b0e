"""From one epoch into the next (CONSENSUS.md section 14): what a node does, and in what order.

    EpochEnding ─► the boundary block durable ─► next set read, executor ready ─► EpochBegins posted
                                                                                        │
    everybody else: peers, candidates, evidence, answers ◄─ agreement has handled it ◄──┘

Everybody else moves on last, in the place that EpochBegins has among what agreement lets out: what was signed
before it is of the old epoch, what comes after it of the new one.
"""

from collections.abc import Callable
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from consensus.agreement.epochs import EpochBegins, EpochSetup
from consensus.agreement.events import EpochEnding, Peer
from net.identity import PeerId
from node.epochs import Epochs, Term
from node.executor import Executor
from node.final_chain import FinalChain


class EpochTurn:
    """Turns epochs of one node. Synchronous; all in the loop."""

    def __init__(
        self,
        *,
        epochs: Epochs,
        executor: Executor,
        final_chain: FinalChain,
        number: Callable[[PeerId], Peer],
        post: Callable[[EpochBegins], None],
        log: FilteringBoundLogger | None = None,
    ) -> None:
        """`number` is a peer's own number; `post` hands agreement its answer."""
        self.listeners: Final[list[Callable[[Term], None]]] = []
        self._epochs = epochs
        self._executor = executor
        self._final_chain = final_chain
        self._number = number
        self._post = post
        self._log: FilteringBoundLogger = log if log is not None else structlog.get_logger("node")
        self._ending: EpochEnding | None = None  # waits for its boundary block to be durable
        self._coming: Term | None = None  # while agreement is being told of it

    def ends(self, ending: EpochEnding) -> None:
        """Agreement: the epoch's last block is final, and nothing more is signed."""
        self._ending = ending
        self.persisted()

    def persisted(self) -> None:
        """The final chain: more of it is durable."""
        ending = self._ending
        if ending is None or self._final_chain.persisted_height < ending.boundary.height:
            return
        self._ending = None
        term = self._coming = self._epochs.begin(ending.next_epoch)
        self._executor.enter(term.epoch, term.validators)
        self._post(EpochBegins(self._epochs.setup(term, ending.boundary, self._number)))

    def began(self, setup: EpochSetup) -> None:
        """Agreement: it is in the next epoch. So is everybody else from here on."""
        term, self._coming = self._coming, None
        if term is None or term.epoch != setup.epoch:
            raise RuntimeError("an epoch began that nobody had prepared")
        self._epochs.enter(term)
        self._log.info(
            "epoch.began",
            epoch=term.epoch,
            height=setup.start.height,
            validators=len(term.validators),
            index=term.own,
        )
        for listener in self.listeners:
            listener(term)
