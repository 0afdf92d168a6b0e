"""What the backing machine remembers, each thing with its bound."""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from consensus.agreement.statements import Verdict
from consensus.agreement.validators import ValidatorSet
from consensus.candidates.attesters import Attesters, everyone
from consensus.candidates.backing_events import Sender
from consensus.candidates.lifecycle import Stage
from consensus.candidates.receipts import (
    Attestation,
    CandidateHeader,
    CandidateInclusion,
    CandidateOffer,
    bitmap_of,
)
from consensus.primitives.ids import Epoch, Hash, Signature, ValidatorIndex

EARLY: Final = 64
SERVED_BYTES: Final = 16 * 1024 * 1024
ASK_AGAIN_BLOCKS: Final = 64  # final relay blocks to wait for an answer before asking again
MAX_HOLDERS: Final = 16


@dataclass(slots=True)
class Tracked:
    """A candidate in flight."""

    name: Hash
    header: CandidateHeader
    sender: Sender
    pov: bytes | None = None
    stage: Stage = Stage.COLLATED
    executing: bool = False  # stays set after a local fault: this machine abstains
    verdict: Verdict | None = None  # our own
    own: Attestation | None = None
    asked_to_sign: bool = False  # in this epoch
    votes: dict[Verdict, dict[ValidatorIndex, Signature]] = field(
        default_factory=lambda: {verdict: {} for verdict in Verdict}
    )
    second: dict[Verdict, dict[ValidatorIndex, Signature]] = field(  # of who had said the other: not counted
        default_factory=lambda: {verdict: {} for verdict in Verdict}
    )
    _holders: list[Sender] = field(default_factory=list)
    _asked_height: int | None = None

    def note_holder(self, sender: Sender) -> None:
        """`sender` has, or promised to serve, the PoV."""
        if sender not in self._holders and len(self._holders) < MAX_HOLDERS:
            self._holders.append(sender)

    def holder_to_ask(self, height: int) -> Sender | None:
        """Whom to ask for the PoV now, in turn; None while an answer may still come."""
        waiting = self._asked_height is not None and height < self._asked_height + ASK_AGAIN_BLOCKS
        if waiting or not self._holders:
            return None
        self._asked_height = height
        self._holders.append(self._holders.pop(0))
        return self._holders[-1]

    def forget_attestations(self) -> None:
        """Another epoch began: nobody's signature counts any more; verdict, PoV and holders stay."""
        self.own = None
        self.asked_to_sign = False
        for votes in (*self.votes.values(), *self.second.values()):
            votes.clear()

    def is_worth_keeping(self) -> bool:
        """Whether work of this validator or the word of another would be lost with it."""
        if self.verdict is None:
            return self.executing or bool(self.votes[Verdict.VALID])
        return self.verdict is Verdict.VALID

    def disputed(self, asked: Attesters) -> bool:
        """Whether those who are asked disagree: then all validators are to execute it."""
        return all(any(index in asked for index in votes) for votes in self.votes.values())

    def decided(self, asked: Attesters, validators: ValidatorSet) -> Verdict | None:
        """The verdict that more than 2/3 of all stake signed or, where those who are asked do not disagree,
        more than 2/3 of their weight."""
        whole = everyone(validators)
        for verdict, votes in self.votes.items():
            if whole.weight(votes) >= whole.quorum:
                return verdict
        if self.disputed(asked):
            return None
        return next((v for v, votes in self.votes.items() if asked.weight(votes) >= asked.quorum), None)

    def inclusion(
        self, verdict: Verdict, epoch: Epoch, asked: Attesters, validators: ValidatorSet
    ) -> CandidateInclusion:
        """The inclusion with every signature known that counts for `verdict`."""
        votes = self.votes[verdict]
        counting = asked
        if self.disputed(asked) or asked.weight(votes) < asked.quorum:
            counting = everyone(validators)
        signed = sorted((index, each) for index, each in votes.items() if index in counting)
        return CandidateInclusion(
            header=self.header,
            verdict=int(verdict),
            epoch=epoch,
            signers=bitmap_of([index for index, _ in signed]),
            signatures=tuple(signature for _, signature in signed),
        )


def who_makes_room(sender: Sender, crowd: list[Tracked]) -> Tracked | None:
    """Which of a chain's candidates goes for one more of `sender`'s; None if its own share is as large.

    Anybody may offer candidates, so that whoever offers most gives way; not what is being executed or what
    anybody attested as valid.
    """
    shares = Counter(each.sender for each in crowd)
    idle = [each for each in crowd if not each.is_worth_keeping()]
    last = max(idle, key=lambda each: (shares[each.sender], each.header.height, each.name), default=None)
    return last if last is not None and shares[last.sender] > shares[sender] + 1 else None


class EarlyAttestations:
    """Attestations of candidates not seen yet, at most EARLY from each sender, unverified."""

    def __init__(self) -> None:
        self._by_sender: dict[Sender, OrderedDict[Hash, tuple[Attestation, int]]] = {}

    def __len__(self) -> int:
        return sum(len(each) for each in self._by_sender.values())

    def keep(self, sender: Sender, attestation: Attestation, height: int) -> bool:
        """Keep it, dropping the sender's oldest. Whether its candidate should be asked for."""
        held = self._by_sender.setdefault(sender, OrderedDict())
        known = attestation.candidate in held
        if not known:
            held[attestation.candidate] = (attestation, height)
            if len(held) > EARLY:
                held.popitem(last=False)
        return not known

    def take(self, candidate: Hash) -> list[tuple[Sender, Attestation]]:
        """Those of one candidate, by sender; no longer kept."""
        taken = []
        for sender in sorted(self._by_sender):
            held = self._by_sender[sender]
            if candidate in held:
                taken.append((sender, held.pop(candidate)[0]))
            if not held:
                del self._by_sender[sender]
        return taken

    def take_all(self) -> list[tuple[Sender, Attestation]]:
        """All of them, by sender, in the order of coming."""
        return [
            (sender, each)
            for sender in sorted(self._by_sender)
            for each, _ in self._by_sender[sender].values()
        ]

    def overdue(self, height: int) -> Iterator[tuple[Sender, Hash]]:
        """Candidates to ask for again, with whom to ask; each is due once in ASK_AGAIN_BLOCKS blocks.

        One that was asked for twice in vain is forgotten: it was settled, or never was.
        """
        for sender in sorted(self._by_sender):
            held = self._by_sender[sender]
            for candidate, (attestation, since) in list(held.items()):
                if height >= since + 2 * ASK_AGAIN_BLOCKS:
                    del held[candidate]
                elif height >= since + ASK_AGAIN_BLOCKS and (height - since) % ASK_AGAIN_BLOCKS == 0:
                    yield sender, attestation.candidate
            if not held:
                del self._by_sender[sender]


class ServedPovs:
    """PoVs of settled candidates that this validator attested, the latest SERVED_BYTES of them."""

    def __init__(self) -> None:
        self._offers: OrderedDict[Hash, CandidateOffer] = OrderedDict()
        self._bytes = 0

    def __contains__(self, candidate: Hash) -> bool:
        return candidate in self._offers

    def keep(self, candidate: Hash, offer: CandidateOffer) -> None:
        """Serve `offer` from now on, dropping the oldest."""
        self._offers[candidate] = offer
        self._bytes += len(offer.pov)
        while self._bytes > SERVED_BYTES:
            _, oldest = self._offers.popitem(last=False)
            self._bytes -= len(oldest.pov)

    def get(self, candidate: Hash) -> CandidateOffer | None:
        """The offer to answer a request with."""
        return self._offers.get(candidate)
