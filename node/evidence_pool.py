"""Evidence on its way into a block: judged, kept, passed on (CONSENSUS.md section 17).

Evidence convicts by itself, so it may come from anybody: the own engine, a peer's flood, or an operator.
What is kept of an offender of an epoch is one piece, and a graver one that came after it (`evidence.GRAVE`):
the gravest is what is punished. Every further piece costs one look-up and is passed on to nobody, so an
offender who makes a million of them floods no network. What is not yet in a final block is offered to every
payload that this node builds, and survives a restart in a file. A peer is handed all of it when it connects:
it may have been away.

Whoever sends something that convicts nobody is banned, as for any other signature that does not check.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from consensus.agreement.evidence import Evidence, Offence, VerifySignature, is_grave, verify_evidence
from consensus.agreement.validators import ValidatorSet
from consensus.primitives import crypto
from consensus.primitives.codec import MaxLength, decode, encode
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.errors import DecodeError, LocalFault, PeerFault, UserError
from consensus.primitives.ids import Epoch, Hash, Height, ValidatorIndex
from net.identity import PeerId
from node.files import keep_file

MAX_KEPT: Final = 1_024  # pieces
MAX_EARLY: Final = 64  # pieces of epochs that this node has not reached
MAX_EVIDENCE_BYTES: Final = 1_024
_FILE_LIMIT: Final = MAX_KEPT * MAX_EVIDENCE_BYTES
FILE_TAG: Final = b"phalanx/evidence/1"
_NOT_YET: Final = Height(0)

Place = tuple[Epoch, ValidatorIndex, bool]  # the offender, and whether the piece is grave


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEvidence:
    """One piece and the height of the final block that carries it; 0 while none does."""

    evidence: Evidence
    included: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceFile:
    """What the file holds."""

    kept: Annotated[tuple[KeptEvidence, ...], MaxLength(MAX_KEPT)]


class EvidencePool:
    """What this node knows of every offender. All methods but `run` are called in the loop, never block."""

    def __init__(
        self,
        *,
        path: Path,
        chain_id_hash: Hash,
        validators: Callable[[Epoch], ValidatorSet | None],
        current: Callable[[], Epoch],
        verify: VerifySignature = crypto.verify,
        log: FilteringBoundLogger | None = None,
    ) -> None:
        """`validators` says an epoch's set while its evidence counts, else None; `current` this node's epoch.

        Raises LocalFault if the file is there and can not be read.
        """
        self.publish: Callable[[Evidence], None] = lambda evidence: None  # to all peers; set by the node
        self.ban: Callable[[PeerId, str], None] = lambda peer, reason: None  # so late; set by the node
        self.on_change: Callable[[], None] = lambda: None  # something more may be included
        self._path = path
        self._chain_id_hash = chain_id_hash
        self._validators = validators
        self._current = current
        self._verify = verify
        self._log: FilteringBoundLogger = log if log is not None else structlog.get_logger("node")
        self._early: dict[Evidence, PeerId] = {}  # with who sent it first
        self._kept: dict[Place, KeptEvidence] = {}
        self._changed = trio.Event()
        for each in self._read():
            self._kept[_place(each.evidence)] = each

    # --- evidence comes in

    def found(self, evidence: Evidence) -> None:
        """Two signatures that met in the own engine, which has checked them."""
        if self._keep(evidence):
            self._log.error("evidence.found", **_fields(evidence))
            self.publish(evidence)

    def receive(self, evidence: Evidence, sender: PeerId) -> bool:
        """From a peer; whether it is new, true, and to be passed on.

        Raises PeerFault if it convicts nobody.
        """
        if self._best(evidence) is not None:
            return False
        if evidence.epoch > self._current():
            self._wait(evidence, sender)
            return False
        validators = self._validators(evidence.epoch)
        if validators is None:  # too old to matter
            return False
        if self._judge(evidence, validators) is None:
            raise PeerFault("evidence that convicts nobody")
        return self._take(evidence)

    def submit(self, raw: bytes) -> KeptEvidence:
        """From an operator: keep it and flood it; what is kept against the offender, which may be older.

        Raises UserError if it convicts nobody here, or if nothing more can be kept.
        """
        try:
            evidence = decode(Evidence, raw, limit=MAX_EVIDENCE_BYTES)
        except DecodeError as error:
            raise UserError(f"this is no evidence ({error}): give the bytes that `evidence` shows") from None
        validators = self._validators(evidence.epoch)
        if validators is None:
            raise UserError(
                f"this node knows no validator set of epoch {evidence.epoch}: it is too old, or not here yet"
            )
        if self._judge(evidence, validators) is None:
            raise UserError("this evidence convicts nobody: its signatures or its pair do not hold here")
        if self._take(evidence):
            self.publish(evidence)
        kept = self._best(evidence)
        if kept is None:
            raise UserError("this node knows too many offenders already: submit it elsewhere, or later")
        return kept

    def advance(self) -> None:
        """An epoch began: judge what came early and ban who lied; forget what is too old to count."""
        early, self._early = self._early, {}
        for evidence, sender in early.items():
            try:
                if self.receive(evidence, sender):
                    self.publish(evidence)
            except PeerFault as fault:  # its sender passed on what it can not have found true
                self.ban(sender, str(fault))
        counting = self._counting(epoch for epoch, _, _ in self._kept)
        for place in list(self._kept):
            if place[0] not in counting:
                del self._kept[place]
                self._changed.set()

    def included(self, evidence: Evidence, height: Height) -> None:
        """A final block carries a piece against this offender: only a graver one still matters."""
        kept = self._kept.get(_place(evidence))
        if kept is not None and kept.included:
            return
        self._put(KeptEvidence(evidence=evidence if kept is None else kept.evidence, included=height))

    # --- questions

    def waiting(self) -> tuple[Evidence, ...]:
        """What no final block carries yet, by epoch and signer; of each the gravest alone."""
        return tuple(each.evidence for each in self.all() if not each.included)

    def all(self) -> tuple[KeptEvidence, ...]:
        """The gravest piece against every offender, by epoch and signer."""
        gravest = {place[:2]: self._kept[place] for place in sorted(self._kept)}
        return tuple(gravest.values())

    def __len__(self) -> int:
        """How many offenders."""
        return len({place[:2] for place in self._kept})

    # --- inside

    def _best(self, evidence: Evidence) -> KeptEvidence | None:
        """What is kept against the same offender that is no less grave than this piece."""
        epoch, signer, grave = _place(evidence)
        kept = self._kept.get((epoch, signer, True))
        return kept if kept is not None or grave else self._kept.get((epoch, signer, False))

    def _judge(self, evidence: Evidence, validators: ValidatorSet) -> Offence | None:
        return verify_evidence(evidence, validators, self._chain_id_hash, self._verify)

    def _counting(self, epochs: Iterable[Epoch]) -> set[Epoch]:
        """Those about which evidence counts; each is looked up once: a set is dear."""
        return {epoch for epoch in set(epochs) if self._validators(epoch) is not None}

    def _wait(self, evidence: Evidence, sender: PeerId) -> None:
        """Keep it until its epoch. Where that is too much, the oldest piece goes of whoever sent the most: a
        peer that makes up evidence by the thousand keeps nobody else's out."""
        if evidence in self._early:
            return
        self._early[evidence] = sender
        if len(self._early) > MAX_EARLY:
            ((most, _),) = Counter(self._early.values()).most_common(1)
            del self._early[next(each for each, peer in self._early.items() if peer == most)]

    def _take(self, evidence: Evidence) -> bool:
        new = self._keep(evidence)
        if new:
            self._log.warning("evidence.received", **_fields(evidence))
        return new

    def _keep(self, evidence: Evidence) -> bool:
        if self._best(evidence) is not None:
            return False
        new = self._put(KeptEvidence(evidence=evidence, included=_NOT_YET))
        if new:
            self.on_change()
        return new

    def _put(self, kept: KeptEvidence) -> bool:
        place = _place(kept.evidence)
        if len(self._kept) >= MAX_KEPT and place not in self._kept:
            done = next((each for each, held in self._kept.items() if held.included), None)
            if done is None:
                return False  # all of it waits for a block, and whoever offends now is offered again
            del self._kept[done]
        self._kept[place] = kept
        self._changed.set()
        return True

    # --- the file

    async def run(self) -> None:
        """Write the file after each change, until cancelled. Raises LocalFault if the disk refuses."""
        limiter = trio.CapacityLimiter(1)
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            raw = encode(EvidenceFile(kept=tuple(self._kept[each] for each in sorted(self._kept))))
            raw = hash_tagged(FILE_TAG, raw) + raw
            await trio.to_thread.run_sync(keep_file, self._path, raw, limiter=limiter)

    def _read(self) -> list[KeptEvidence]:
        """What the file holds and still counts. What is lost is handed over again by a peer."""
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise LocalFault(f"{self._path} can not be read ({error.strerror}): is the disk whole?") from None
        try:
            if raw[:32] != hash_tagged(FILE_TAG, raw[32:]):
                raise DecodeError("its checksum is wrong")
            held = decode(EvidenceFile, raw[32:], limit=_FILE_LIMIT).kept
        except DecodeError as error:
            self._log.warning("evidence.file_damaged", path=str(self._path), reason=str(error))
            return []
        counting = self._counting(each.evidence.epoch for each in held)
        return [each for each in held if each.evidence.epoch in counting]


def _place(evidence: Evidence) -> Place:
    return evidence.epoch, evidence.signer, is_grave(evidence)


def _fields(evidence: Evidence) -> dict[str, Any]:
    """What a log line says of it; the bytes as `submit_evidence` takes them."""
    return {
        "epoch": evidence.epoch,
        "view": evidence.view,
        "signer": evidence.signer,
        "evidence": encode(evidence).hex(),
    }
