"""A collator's candidates in flight: offered to the validators, and neither enacted nor lost.

An offer may be missed by anybody, so it is made again: to a validator that connects, and to all when nothing
came of it for long. After the first time it goes without the PoV; who lacks that asks for it.
"""

import math
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from consensus.agreement.events import Peer
from consensus.candidates.receipts import CandidateHeader, CandidateMessage, CandidateOffer
from consensus.primitives.ids import Hash
from node.chain_mempool import CandidateProgress, ChainTransaction

REOFFER_S: Final = 2.0  # without enactment for so long, a candidate is offered again


class SendMessage(Protocol):
    """How messages reach one peer; `Router.send_candidate`."""

    def __call__(self, peer: Peer, message: CandidateMessage, /) -> bool:
        """False if the message could not be queued."""
        ...


@dataclass(slots=True)
class Flight:
    """One candidate in flight."""

    header: CandidateHeader
    pov: bytes
    transactions: list[ChainTransaction]
    progress: CandidateProgress
    offered_s: float = -math.inf  # trio's clock
    denied_by: set[Peer] = field(default_factory=set)  # who called it invalid

    @property
    def offer(self) -> CandidateOffer:
        """All of it."""
        return CandidateOffer(header=self.header, pov=self.pov)

    @property
    def notice(self) -> CandidateOffer:
        """That it is there."""
        return CandidateOffer(header=self.header, pov=b"")


class Flights:
    """The candidates in flight, each built on the one before."""

    def __init__(self, send: SendMessage, validators: Callable[[], Collection[Peer]]) -> None:
        """`validators` are those of the epoch."""
        self._send = send
        self._validators = validators
        self.line: Final[deque[Flight]] = deque()  # the oldest first

    def __len__(self) -> int:
        return len(self.line)

    @property
    def names(self) -> list[Hash]:
        """Of the candidates, the oldest first."""
        return [each.progress.candidate for each in self.line]

    def add(self, flight: Flight) -> None:
        """The newest one; not yet offered to anybody."""
        self.line.append(flight)

    def enacted(self) -> Flight:
        """Take out the oldest."""
        return self.line.popleft()

    def lost(self) -> Flight:
        """Take out the newest."""
        return self.line.pop()

    def find(self, candidate: Hash) -> Flight | None:
        """The one with this hash."""
        return next((each for each in self.line if each.progress.candidate == candidate), None)

    # --- offering

    def offer(self, flight: Flight) -> None:
        """To every validator, for the first time."""
        self._offer(flight, flight.offer)

    def offer_overdue(self) -> None:
        """Say again what is in flight for long."""
        now_s = trio.current_time()
        for flight in self.line:
            if flight.offered_s + REOFFER_S <= now_s:
                self._offer(flight, flight.notice)

    def peer_up(self, peer: Peer) -> None:
        """A validator (re)connected: it may have missed what is in flight."""
        if peer in self._validators():
            for flight in self.line:
                self._send(peer, flight.notice)

    def _offer(self, flight: Flight, offer: CandidateOffer) -> None:
        flight.offered_s = trio.current_time()
        for peer in self._validators():
            self._send(peer, offer)
