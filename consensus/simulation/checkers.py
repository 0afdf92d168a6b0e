"""The invariants I1 to I6 and I8 of CONSENSUS.md section 22, watched from outside the engines.

The world reports what honest nodes put on the wire, what they finalise and what they hold; nothing here asks
an engine. I7, that everybody reaches the target in good time once the network is stable, is `liveness`; how
long that may be is the world's to say.
A violation is recorded, never raised: the run goes on, so that one sees all that a fault breaks.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from consensus.agreement.blame import convict
from consensus.agreement.events import Finalized
from consensus.agreement.messages import (
    FLAG_BOUNDARY,
    FLAG_TAIL,
    AmnesiaReply,
    Certificate,
    CertificateType,
    Chain,
    FinalityProof,
    Group,
    Header,
    Kind,
    Message,
    Proposal,
    Vote,
    block_hash,
    payload_root,
)
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Signature, View
from consensus.simulation.application import VALID_MARK, state_after
from consensus.simulation.disk import Journal
from consensus.simulation.membership import Membership, epoch_on
from consensus.simulation.reference import Rulebook, SignedVote, Verify, offence_of, signers

MAX_REPORTED: Final = 20  # violations of one run
FINALITY: Final = (CertificateType.FINAL, CertificateType.FAST_FINAL)


@dataclass(frozen=True, slots=True)
class Violation:
    """One invariant broken: which, when (virtual microseconds), by whom, and how."""

    invariant: str
    time_us: int
    node: int
    text: str


@dataclass(slots=True)
class ViewRecord:
    """What honest nodes hold certificates for in one view."""

    certified: set[Hash] = field(default_factory=set)
    final: set[Hash] = field(default_factory=set)
    skipped: bool = False
    valid: list[Certificate] = field(default_factory=list)


class Checkers:
    """Collects what the world reports and notes each broken invariant once."""

    def __init__(
        self,
        *,
        membership: Membership,
        verify: Verify,
        genesis: Header,
        epoch_blocks: int,
        honest: frozenset[int],
        journals: Mapping[int, Journal],
        now_us: Callable[[], int],
    ) -> None:
        self.violations: list[Violation] = []
        self.chain: list[Hash] = [block_hash(genesis)]  # final blocks by height, as the first node had them
        self._headers: dict[Hash, Header] = {self.chain[0]: genesis}
        self._states: dict[Hash, Hash] = {self.chain[0]: state_after(genesis, b"")}
        self._membership = membership
        self._verify = verify
        self._epoch_blocks = epoch_blocks
        self._rules: dict[
            Epoch, Rulebook
        ] = {}  # of every epoch whose boundary is final somewhere, and the first
        self._begin_epoch(genesis)
        self._honest = honest
        self._journals = journals
        self._now_us = now_us
        self._reached: dict[int, int] = {}
        self._wire: dict[tuple[int, Epoch, View], set[SignedVote]] = {}
        self._views: dict[tuple[Epoch, View], ViewRecord] = {}
        self._seen: dict[int, object] = {}  # by id, and kept, so that no id comes twice
        self._reported: set[tuple[str, int, str]] = set()

    # --- what the world reports

    def sent(self, node: int, message: Message) -> None:
        """An honest node puts a message on the wire."""
        if isinstance(message, Vote):
            self._vote_sent(node, message)
        elif isinstance(message, Proposal):
            header = message.header
            if self.node_at(header.epoch, header.proposer) == node and not self._was_seen(message):
                vote = (Kind.PROPOSE, block_hash(header), ZERO_HASH)
                self._signed(node, header.epoch, header.view, vote, message.leader_sig)
            if message.vote is not None:
                self._vote_sent(node, message.vote)
            for certificate in message.support:
                self._certificate_sent(node, certificate)
        elif isinstance(message, Certificate):
            self._certificate_sent(node, message)
        elif isinstance(message, AmnesiaReply) and message.certificate is not None:
            self._certificate_sent(node, message.certificate)
        elif isinstance(message, Chain) and message.proof is not None:
            self._certificate_sent(node, message.proof.certificate)
            if {each.header.epoch for each in message.blocks} != {message.proof.certificate.epoch}:
                self._violated("I5", node, f"served a chain across a boundary from height {message.first}")

    def held(self, node: int, certificate: Certificate) -> None:
        """An honest node holds a certificate and acts on it: I5, and through it I3."""
        if self._was_seen(certificate):
            return
        rules = self._rules.get(certificate.epoch)
        fault = "of an epoch that has not begun" if rules is None else rules.certificate_fault(certificate)
        if fault is not None:  # the holder acts on it all the same, so it counts below
            self._violated("I5", node, f"an invalid certificate of view {certificate.view}: {fault}")
        else:
            for group in certificate.groups:
                self._check_signers(node, certificate.epoch, certificate.view, group, leaves=False)
        record = self._views.setdefault((certificate.epoch, certificate.view), ViewRecord())
        if fault is None:
            record.valid.append(certificate)
        if certificate.ctype == CertificateType.SKIP:
            record.skipped = True
        else:
            record.certified.add(certificate.block)
            if certificate.ctype in (CertificateType.FINAL, CertificateType.FAST_FINAL):
                record.final.add(certificate.block)
        if record.final and (record.skipped or len(record.certified) > 1):
            certified = sorted(block.hex()[:8] for block in record.certified)
            skip = " and a SkipCert" if record.skipped else ""
            self._violated("I3", node, f"view {certificate.view}: final beside {certified}{skip}")
            if rules is not None:
                self._blame(node, record, rules)

    def finalized(self, node: int, block: Finalized) -> None:
        """An honest node hands a final block to its application: I1, I2, I5."""
        header, name = block.header, block.block_hash
        expected = self._reached.get(node, 0) + 1
        if header.height != expected:
            self._violated("I1", node, f"finalised height {header.height} where {expected} was next")
        self._reached[node] = header.height
        if header.height < len(self.chain):
            if self.chain[header.height] != name:
                other = self.chain[header.height].hex()[:8]
                self._violated("I1", node, f"height {header.height}: {name.hex()[:8]} and {other} are final")
                return
        elif header.height == len(self.chain):
            self._check_block(node, block)
            self.chain.append(name)
            if header.flags == FLAG_BOUNDARY:
                self._begin_epoch(header)
        fault = None if self._was_seen(block.proof) else self._proof_fault(header, block.proof)
        if fault is not None:
            self._violated("I5", node, f"the proof of height {header.height} is not valid: {fault}")
            return
        self.held(node, block.proof.certificate)

    def restarted(self, node: int, final_height: int) -> None:
        """A process starts with a store that ends at `final_height`."""
        self._reached[node] = final_height

    def accused(self, node: int, signer: int, how: str) -> None:
        """An honest node accuses `signer` wrongly (the second half of I8)."""
        self._violated("I8", node, f"accuses {signer} {how}")

    def raised(self, node: int, what: str) -> None:
        """An honest node's engine raised, though `handle` is total."""
        self._violated("TOTAL", node, what)

    def liveness(self, heights: Iterable[tuple[int, int]], target: int, why: str) -> None:
        """The run is over: every (node, final height) given must have reached the target."""
        for node, height in heights:
            if height < target:
                self._violated("LIVENESS", node, f"final height {height} of {target}: {why}")

    # --- the invariants

    def _blame(self, node: int, record: ViewRecord, rules: Rulebook) -> None:
        """I8, its first half: what excludes finality convicts more than F of stake, and nobody honest."""
        final = [each for each in record.valid if each.ctype in FINALITY]
        for one in final:
            for other in record.valid:
                if other.block == one.block:
                    continue
                evidence = convict((one, other), rules.validators)
                if rules.weight(each.signer for each in evidence) <= rules.faulty:
                    self._violated("I8", node, f"a fork in view {one.view} convicts no more than F")
                for each in evidence:
                    if self.node_at(one.epoch, each.signer) in self._honest:
                        self._violated(
                            "I8", node, f"a fork in view {one.view} convicts {each.signer}, honest"
                        )

    def _vote_sent(self, node: int, vote: Vote) -> None:
        if self._was_seen(vote):
            return
        if self.node_at(vote.epoch, vote.signer) != node:
            self._violated("I4", node, f"sent a vote in epoch {vote.epoch} that is not its own to cast")
            return
        self._signed(node, vote.epoch, vote.view, (vote.kind, vote.block, vote.aux), vote.sig)
        if vote.justification is not None:
            for group in vote.justification.groups:
                self._check_signers(node, vote.epoch, vote.view, group, leaves=True)

    def _signed(self, node: int, epoch: Epoch, view: View, vote: SignedVote, sig: Signature) -> None:
        """A signature of an honest node leaves it: I4 and I6, once for each."""
        known = self._wire.setdefault((node, epoch, view), set())
        if vote in known:
            return
        kind, block, aux = vote
        label = f"{Kind(kind).name} {block.hex()[:8]} in view {view} of epoch {epoch}"
        rules, signer = self._rules.get(epoch), self._membership.index_of(node, epoch)
        if rules is None or signer is None or not rules.signed(signer, kind, view, block, aux, sig):
            self._violated("I4", node, f"sent {label} with a signature that is not its own")
        for other in sorted(known):
            offence = offence_of(vote, other)
            if offence is not None:
                earlier = f"{Kind(other[0]).name} {other[1].hex()[:8]}"
                self._violated("I4", node, f"{offence}: {label} after {earlier}")
        journal = self._journals[node]
        if not journal.holds_vote((epoch, kind, view, block, aux)):
            self._violated("I6", node, f"{label} left before its record was durable")
        if kind in (Kind.PROPOSE, Kind.NOTARIZE, Kind.NFALL) and not journal.holds_block(block, epoch, view):
            self._violated("I6", node, f"{label} left before the block's body was durable")
        known.add(vote)

    def _certificate_sent(self, node: int, certificate: Certificate) -> None:
        self.held(node, certificate)
        for group in certificate.groups:
            self._check_signers(node, certificate.epoch, certificate.view, group, leaves=True)

    def _check_signers(self, node: int, epoch: Epoch, view: View, group: Group, *, leaves: bool) -> None:
        """Every honest signature in a group must have left its signer (I5), or `leaves` it right now (I6)."""
        vote = (group.kind, group.block, group.aux)
        members = self._membership.members(epoch)
        for index, sig in zip(signers(group), group.sigs, strict=False):
            signer = members[index].node if index < len(members) else -1
            if signer not in self._honest or vote in self._wire.get((signer, epoch, view), ()):
                continue
            if signer != node:
                text = f"a signature of {signer} in view {view} of epoch {epoch} that never left it"
                self._violated("I5", node, text)
            elif leaves:
                self._signed(node, epoch, view, vote, sig)

    def _check_block(self, node: int, block: Finalized) -> None:
        """I2 for a block that is final for the first time anywhere."""
        header, parent_hash = block.header, self.chain[-1]
        parent = self._headers[parent_hash]
        epoch, end = epoch_on(parent), header.height % self._epoch_blocks == 0
        validators = self._rules[epoch].validators
        follows = View(0) if parent.epoch != epoch else parent.view
        next_hash = ZERO_HASH
        if end:
            next_hash = self._membership.validators(Epoch(epoch + 1), parent_hash).validators_hash
        faults = {
            "its hash is another": block_hash(header) != block.block_hash,
            "its parent is not the final block below": header.parent_hash != parent_hash,
            "it is of another epoch": header.epoch != epoch,
            "its view does not follow its parent's": not header.parent_view == follows < header.view,
            "its proposer does not lead its view": header.proposer != validators.leader(header.view),
            "its time precedes its parent's": header.time_ms < parent.time_ms,
            "its payload is another": header.payload_root != payload_root(block.payload),
            "its payload is invalid": not block.payload.startswith(VALID_MARK),
            "its state root is not its parent's post-state": header.state_root != self._states[parent_hash],
            "it names another validator set": header.validators_hash != validators.validators_hash,
            "it names other next validators": header.next_validators_hash != next_hash,
            "a tail is no part of the ledger": bool(header.flags & FLAG_TAIL),
            "its flags are others": header.flags != (FLAG_BOUNDARY if end else 0),
        }
        for text, broken in faults.items():
            if broken:
                self._violated("I2", node, f"final block of height {header.height}: {text}")
        self._headers[block.block_hash] = header
        self._states[block.block_hash] = state_after(header, block.payload)

    def _proof_fault(self, header: Header, proof: FinalityProof) -> str | None:
        rules = self._rules.get(header.epoch)
        return "of an epoch that has not begun" if rules is None else rules.proof_fault(header, proof)

    # --- epochs

    def node_at(self, epoch: Epoch, signer: int) -> int | None:
        """The node at a validator index of an epoch."""
        members = self._membership.members(epoch)
        return members[signer].node if signer < len(members) else None

    def rules_of(self, epoch: Epoch) -> Rulebook | None:
        """The rules of an epoch that has begun somewhere."""
        return self._rules.get(epoch)

    def _begin_epoch(self, start: Header) -> None:
        epoch, chain_id_hash = epoch_on(start), self._membership.chain_id_hash
        validators = self._membership.validators_on(start)
        self._rules[epoch] = Rulebook(validators, chain_id_hash, epoch, self._verify)

    # --- bookkeeping

    def _was_seen(self, item: object) -> bool:
        """Whether this very object was looked at: messages are immutable and travel by reference."""
        if id(item) in self._seen:
            return True
        self._seen[id(item)] = item
        return False

    def _violated(self, invariant: str, node: int, text: str) -> None:
        if len(self.violations) < MAX_REPORTED and (invariant, node, text) not in self._reported:
            self._reported.add((invariant, node, text))
            self.violations.append(Violation(invariant, self._now_us(), node, text))
