"""Candidates of our chain that somebody else built: a collator takes them over to stay on the enacted head.

A relay block that enacts one says which messages it consumed; they are read from the state before that block,
because after it they are gone. Its body comes with its PoV, from a validator that attested it. Executed again
on the replica it must lead to the root that was enacted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from consensus.agreement.events import Peer
from consensus.candidates.execution import InboxMessage
from consensus.candidates.receipts import CandidateHeader, CandidateInclusion, CandidateOffer, pov_hash
from consensus.candidates.view import RelayView
from consensus.primitives.ids import Hash, Height

MAX_FOREIGN: Final = 4_096  # enacted candidates remembered; further behind, a copy must be restored
AHEAD: Final = 4  # PoVs asked for at a time
ASK_AGAIN_S: Final = 1.0


@dataclass(slots=True)
class Foreign:
    """An enacted candidate that was not built here."""

    header: CandidateHeader
    candidate: Hash
    messages: tuple[InboxMessage, ...]
    holders: list[Peer]  # attested it, and so promised to serve it
    pov: bytes | None = None
    asked_s: float | None = field(default=None)


class Adoption:
    """What is known of such candidates, by chain height; bounded."""

    def __init__(self) -> None:
        self._foreign: dict[Height, Foreign] = {}

    def __len__(self) -> int:
        return len(self._foreign)

    def enacted(self, inclusion: CandidateInclusion, before: RelayView, validators: Sequence[Peer]) -> None:
        """A relay block on the state of `before` enacted a candidate; `validators` are those of its epoch, by
        index."""
        header = inclusion.header
        messages = tuple(
            InboxMessage(source=cursor.source, payload=payload)
            for cursor in header.inbox
            for payload in before.messages(header.chain, cursor.source, cursor.first, cursor.next)
        )
        holders = [validators[index] for index, _ in inclusion.signed()]
        self._foreign[header.height] = Foreign(header, header.hash, messages, holders)
        if len(self._foreign) > MAX_FOREIGN:
            del self._foreign[min(self._foreign)]

    def offered(self, offer: CandidateOffer) -> bool:
        """Whether this is a PoV that is waited for."""
        found = self._foreign.get(offer.header.height)
        if found is None or found.pov is not None or offer.header != found.header:
            return False
        if len(offer.pov) != found.header.pov_bytes or pov_hash(offer.pov) != found.header.pov_hash:
            return False
        found.pov = offer.pov
        return True

    def after(self, height: Height, head: Hash) -> Iterator[Foreign]:
        """The candidates that lead on from an enacted head, as far as known."""
        while (found := self._foreign.get(Height(height + 1))) is not None:
            if found.header.parent_head != head:
                return
            yield found
            height, head = found.header.height, found.candidate

    def ask(self, height: Height, head: Hash, now_s: float, send: Callable[[Peer, Hash], bool]) -> bool:
        """Ask for the PoVs that lead on from a head; False if not even the first candidate is known."""
        known = False
        for _, found in zip(range(AHEAD), self.after(height, head), strict=False):
            known = True
            late = found.asked_s is None or found.asked_s + ASK_AGAIN_S <= now_s
            if found.pov is None and late and found.holders:
                found.asked_s = now_s
                found.holders.append(found.holders.pop(0))
                send(found.holders[-1], found.candidate)
        return known

    def forget(self, height: Height) -> None:
        """The replica stands at `height`."""
        for each in [each for each in self._foreign if each <= height]:
            del self._foreign[each]
