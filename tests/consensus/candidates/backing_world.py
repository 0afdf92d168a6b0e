"""Four backing machines and a network that does as it likes."""

import random
from collections.abc import Sequence

from candidate_fakes import validate
from relay_fakes import VALIDATORS, Network

from consensus.agreement.events import SignStatement, StatementSigned
from consensus.agreement.statements import Role, Verdict, statement_sign_bytes
from consensus.candidates.backing import Backing
from consensus.candidates.backing_events import (
    BroadcastAttestation,
    CandidateMisbehaviour,
    CandidateReceived,
    CandidateStage,
    EpochBegan,
    ExecuteCandidate,
    Executed,
    RelayAdvanced,
    SendCandidateMessage,
)
from consensus.candidates.lifecycle import Stage
from consensus.candidates.receipts import (
    CandidateOffer,
    PovRequest,
    decode_candidate_message,
    encode_candidate_message,
)
from consensus.primitives import crypto
from consensus.primitives.ids import ValidatorIndex

COLLATOR = 9


class Validators:
    """Four backing machines whose effects travel over a heap of messages in random order."""

    def __init__(self, network: Network, seed: int = 0, byzantine: frozenset[int] = frozenset()) -> None:
        self.network = network
        self.random = random.Random(seed)
        self.byzantine = byzantine
        self.machines = [self._machine(index) for index in range(4)]
        self.queue: list[tuple[int, object]] = []
        self.stages: list[tuple[int, CandidateStage]] = []
        self.reachable = set(range(4))
        self.blamed: list[CandidateMisbehaviour] = []
        self.povs: dict[bytes, CandidateOffer] = {}
        self.epoch = network.epoch
        self.advance()
        self.run()

    def _machine(self, index: int) -> Backing:
        return Backing(
            own=ValidatorIndex(index),
            chain_id_hash=self.network.hash,
            epoch=self.network.epoch,
            validators=self.network.validators,
            verify=crypto.verify,
        )

    def begin_epoch(self, who: Sequence[int] = range(4)) -> None:
        """The next block's epoch begins for these machines; the others are late."""
        self.epoch = self.network.epoch
        keys = self.network.validators.keys
        for index in who:
            public = VALIDATORS[index].public
            own = ValidatorIndex(keys.index(public)) if public in keys else None
            event = EpochBegan(epoch=self.epoch, own=own, validators=self.network.validators)
            for effect in self.machines[index].handle(event):
                self.perform(index, effect)

    def advance(self) -> None:
        for index in range(4):
            self.post(index, RelayAdvanced(view=self.network.view))

    def post(self, receiver: int, event: object) -> None:
        if receiver not in self.reachable:
            return
        self.queue.append((receiver, event))

    def offer(self, header, pov: bytes, to=range(4)) -> None:
        self.povs[header.hash] = CandidateOffer(header=header, pov=pov)
        for index in to:
            self.post(index, CandidateReceived(sender=COLLATOR, message=self.povs[header.hash]))

    def run(self, *, duplicate: float = 0.0) -> None:
        while self.queue:
            index = self.random.randrange(len(self.queue))
            receiver, event = self.queue.pop(index)
            if isinstance(event, CandidateReceived) and self.random.random() < duplicate:
                self.queue.append((receiver, event))
            for effect in self.machines[receiver].handle(event):
                self.perform(receiver, effect)

    def sign(self, index: int, statement) -> bytes:
        message = statement_sign_bytes(
            self.network.hash,
            self.epoch,
            Role.ATTEST,
            statement.relay_parent,
            statement.candidate,
            statement.verdict,
        )
        return VALIDATORS[index].sign(message)

    def perform(self, own: int, effect: object) -> None:
        match effect:
            case ExecuteCandidate():
                verdict, reason = validate(effect.task)
                if own in self.byzantine:
                    verdict = Verdict(1 - verdict)
                self.post(own, Executed(candidate=effect.candidate, verdict=verdict, reason=reason))
            case SignStatement():
                signature = self.sign(own, effect.statement)
                self.post(own, StatementSigned(statement=effect.statement, signature=signature))
            case BroadcastAttestation():
                wire = decode_candidate_message(encode_candidate_message(effect.attestation))
                for other in range(4):
                    if other != own:
                        self.post(other, CandidateReceived(sender=own, message=wire))
            case SendCandidateMessage(receiver=receiver, message=message):
                if receiver < 4:
                    self.post(receiver, CandidateReceived(sender=own, message=message))
                elif isinstance(message, PovRequest):
                    answer = self.povs[message.candidate]
                    self.post(own, CandidateReceived(sender=COLLATOR, message=answer))
            case CandidateStage():
                self.stages.append((own, effect))
            case CandidateMisbehaviour():
                self.blamed.append(effect)

    def reached(self, index: int) -> list[Stage]:
        return [stage.stage for own, stage in self.stages if own == index]
