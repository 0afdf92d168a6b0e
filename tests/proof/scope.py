"""A small world to search: four validators, one of them Byzantine, a few views, and every block in play.

Signatures are keyed hashes that this package can make for anybody; the search decides which of them exist.
The one clock of an engine is the search's: ordinary events come at `NOW`, a timer fires by a `Tick` from
beyond it, so that every timer may fire at any time or never.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from consensus.agreement.certificates import pack_group
from consensus.agreement.config import EngineConfig, Restored, TimerSettings
from consensus.agreement.engine import Engine
from consensus.agreement.events import (
    Append,
    BlockValidated,
    BuildPayload,
    Effect,
    Event,
    Instant,
    PayloadBuilt,
    Peer,
    Received,
    Start,
    Tick,
    ValidateBlock,
)
from consensus.agreement.journal_records import BlockRecord, JournalRecord, SignedRecord
from consensus.agreement.messages import (
    Certificate,
    FaultNotice,
    Group,
    Header,
    Justification,
    Kind,
    LeaderFault,
    LeaderSignature,
    Proposal,
    Vote,
    block_hash,
    genesis_header,
    payload_root,
    sign_bytes,
)
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import Validator, ValidatorSet
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import (
    ZERO_HASH,
    Epoch,
    Hash,
    Height,
    Milliseconds,
    PublicKey,
    Signature,
    Stake,
    ValidatorIndex,
    View,
)

EPOCH: Final = Epoch(1)
GENESIS_MS: Final = Milliseconds(1_700_000_000_000)
STATE_ROOT: Final = hash_tagged(b"proof/state")
SKIP_MARK: Final = 0  # as a block: none, which is what SKIP names

TIMERS: Final = TimerSettings(start_us=1_000_000, fallback_min_us=10_000)
_START_US: Final = 1_000_000_000
NOW: Final = Instant(_START_US, GENESIS_MS)
NF_TIMER: Final = Instant(_START_US + 20_000, GENESIS_MS)  # t_nf has passed since everything that was
SKIP_TIMER: Final = Instant(_START_US + 10_000_000, GENESIS_MS)  # t_skip has
MUCH_LATER: Final = Instant(_START_US + 10_000_000, GENESIS_MS + 30_000)  # a block of the future is due
FUTURE_MS: Final = 30_000  # how far ahead of the clocks a block from the future is dated


class Signed(NamedTuple):
    """One own signature, blocks by their number in the scope."""

    view: int
    kind: int
    block: int
    aux: int = 0


@dataclass(frozen=True, slots=True)
class BlockInPlay:
    """A block that somebody may propose. `number` 0 is genesis."""

    number: int
    name: str
    parent: int
    header: Header
    hash: Hash
    payload: bytes


def key_of(index: int) -> PublicKey:
    """The public key of a validator, which here also is its secret."""
    return PublicKey(hash_tagged(b"proof/key", index.to_bytes(2, "big")))


def sign_as(key: PublicKey, message: bytes) -> Signature:
    """The one signature of a key on a message."""
    return Signature(hash_tagged(b"proof/signature", key, message) * 2)


def verify(key: PublicKey, message: bytes, signature: Signature) -> bool:
    """Whether that is it."""
    return sign_as(key, message) == signature


class Scope:
    """`stakes` of all validators, `byzantine` the one that is free, `parents` of the blocks that it proposes.

    `parents[v]` names, for a view that the Byzantine validator leads, the parents of its two proposals, by
    block names: "g" is genesis, "A1" the first block of view 1. An honest leader has one block in play for
    every parent that it might choose, and signs at most one of them. `future` dates the second Byzantine
    proposal of every view ahead of all clocks.
    """

    def __init__(
        self,
        *,
        views: int,
        byzantine: int,
        stakes: Sequence[int] = (1, 1, 1, 1),
        mode: Mode = Mode.STRICT,
        parents: dict[int, tuple[str, str]] | None = None,
        future: bool = False,
        chain: bytes = b"a",
    ) -> None:
        self.views = views
        self.byzantine = byzantine
        self.mode = mode
        self.chain_id_hash = hash_tagged(b"proof/chain", chain)
        self.validators = ValidatorSet(
            [Validator(key=key_of(index), stake=Stake(stake)) for index, stake in enumerate(stakes)],
            chain_id_hash=self.chain_id_hash,
            epoch=EPOCH,
            mode=mode,
        )
        self.honest = tuple(index for index in range(len(stakes)) if index != byzantine)
        self.config = EngineConfig(
            chain_id_hash=self.chain_id_hash,
            epoch=EPOCH,
            validators=self.validators,
            verify=verify,
            timers=TIMERS,
        )
        genesis = genesis_header(
            chain_id_hash=self.chain_id_hash,
            epoch=EPOCH,
            time_ms=GENESIS_MS,
            validators_hash=self.validators.validators_hash,
        )
        self.blocks = [BlockInPlay(0, "g", 0, genesis, block_hash(genesis), b"")]
        self.by_hash = {self.blocks[0].hash: 0, ZERO_HASH: SKIP_MARK}
        self.in_view: dict[int, tuple[int, ...]] = {}
        self._facts: dict[tuple[object, ...], int] = {}
        self._signatures: dict[tuple[int, Signed], Signature] = {}
        for view in range(1, views + 1):
            self._add_blocks(view, (parents or {}).get(view), future=future)

    # --- blocks

    def leader(self, view: int) -> int:
        """L(view)."""
        return self.validators.leader(View(view))

    def _add_blocks(self, view: int, chosen: tuple[str, str] | None, *, future: bool) -> None:
        first = len(self.blocks)
        if self.leader(view) == self.byzantine:
            names = {block.name: block for block in self.blocks}
            pair = [names[name] for name in (chosen or ("g", "g"))]
            for letter, parent in zip("AB", pair, strict=True):
                self._add_block(view, letter, parent, ahead_ms=FUTURE_MS if future and letter == "B" else 0)
        else:
            for parent in list(self.blocks):
                letter = "A" if view == 1 else f"A({parent.name})"
                self._add_block(view, letter, parent, ahead_ms=0)
        self.in_view[view] = tuple(range(first, len(self.blocks)))

    def _add_block(self, view: int, letter: str, parent: BlockInPlay, *, ahead_ms: int) -> None:
        payload = letter[:1].encode()
        header = Header(
            epoch=EPOCH,
            view=View(view),
            height=Height(parent.header.height + 1),
            parent_hash=parent.hash,
            parent_view=parent.header.view,
            proposer=ValidatorIndex(self.leader(view)),
            time_ms=Milliseconds(max(GENESIS_MS, parent.header.time_ms) + ahead_ms),
            payload_root=payload_root(payload),
            payload_len=len(payload),
            tx_count=0,
            state_root=STATE_ROOT,
            validators_hash=self.validators.validators_hash,
            next_validators_hash=ZERO_HASH,
            flags=0,
        )
        number, name = len(self.blocks), block_hash(header)
        self.blocks.append(BlockInPlay(number, f"{letter}{view}", parent.number, header, name, payload))
        self.by_hash[name] = number

    def hash_of(self, block: int) -> Hash:
        """The hash that a vote names; zero for none."""
        return self.blocks[block].hash if block else ZERO_HASH

    def view_of(self, block: int) -> int:
        """The view that a block is of."""
        return self.blocks[block].header.view

    def extends(self, block: int, ancestor: int) -> bool:
        """Whether `ancestor` is `block` or below it."""
        while block and block != ancestor:
            block = self.blocks[block].parent
        return block == ancestor

    # --- facts: what exists in the world, as bits of a mask

    def fact(self, *what: object) -> int:
        """The bit of one fact: a first vote, a proposal, a certificate."""
        return self._facts.setdefault(what, 1 << len(self._facts))

    def name_facts(self, mask: int) -> frozenset[tuple[object, ...]]:
        """The facts of a mask as values, which other scopes with the same blocks understand."""
        return frozenset(what for what, bit in self._facts.items() if mask & bit)

    def mask_of(self, facts: Iterable[tuple[object, ...]]) -> int:
        """The mask of facts."""
        mask = 0
        for what in facts:
            mask |= self.fact(*what)
        return mask

    def facts_of(self, signer: int, signed: Iterable[Signed]) -> int:
        """What a validator's own signatures make known: its proposals and its first votes."""
        mask = 0
        for view, kind, block, _ in signed:
            if kind == Kind.PROPOSE:
                mask |= self.fact("proposed", block)
            elif kind in (Kind.NOTARIZE, Kind.SKIP):
                mask |= self.fact("first", signer, view, block)
        return mask

    def certificates_below(self, view: int) -> int:
        """The facts that are certificates of views below `view`."""
        return sum(
            bit
            for what, bit in self._facts.items()
            if what[0] == "certificate" and isinstance(what[2], int) and what[2] < view
        )

    # --- messages

    def signature(self, signer: int, signed: Signed) -> Signature:
        """`signer`'s signature; who may have it is the search's to know."""
        key = (signer, signed)
        sig = self._signatures.get(key)
        if sig is None:
            view, kind, block, aux = signed
            message = sign_bytes(
                self.chain_id_hash, kind, EPOCH, view, self.hash_of(block), self.hash_of(aux)
            )
            sig = self._signatures[key] = sign_as(key_of(signer), message)
        return sig

    def leader_sig(self, block: int) -> Signature:
        """sigL of a block."""
        view = self.blocks[block].header.view
        return self.signature(self.leader(view), Signed(view, Kind.PROPOSE, block))

    def vote(self, signer: int, signed: Signed, reason: Justification | None = None) -> Vote:
        """A vote as it goes over the wire."""
        view, kind, block, aux = signed
        return Vote(
            kind=int(kind),
            epoch=EPOCH,
            view=View(view),
            block=self.hash_of(block),
            aux=self.hash_of(aux),
            signer=ValidatorIndex(signer),
            sig=self.signature(signer, signed),
            leader_sig=self.leader_sig(block) if kind == Kind.NOTARIZE else None,
            justification=reason,
        )

    def proposal(self, block: int) -> Proposal:
        """Header and body; support and the leader's vote come as messages of their own."""
        held = self.blocks[block]
        return Proposal(
            header=held.header,
            leader_sig=self.leader_sig(block),
            payload=held.payload,
            support=(),
            vote=None,
        )

    def fault(self, view: int) -> LeaderFault:
        """The two proposals of a Byzantine leader."""
        low, high = sorted(self.in_view[view], key=self.hash_of)
        return LeaderFault(
            block_a=self.hash_of(low),
            sig_a=self.leader_sig(low),
            block_b=self.hash_of(high),
            sig_b=self.leader_sig(high),
        )

    def fault_notice(self, view: int) -> FaultNotice:
        """The same, gossiped."""
        return FaultNotice(epoch=EPOCH, view=View(view), fault=self.fault(view))

    def group(self, signers: Iterable[int], signed: Signed) -> Group:
        """Equal votes of several."""
        _, kind, block, aux = signed
        sigs = {signer: self.signature(signer, signed) for signer in signers}
        return pack_group(kind, self.hash_of(block), self.hash_of(aux), sigs, len(self.validators))

    def leader_signatures(self, blocks: Iterable[int]) -> tuple[LeaderSignature, ...]:
        """sigLs as a justification carries them."""
        ordered = sorted(blocks, key=self.hash_of)
        return tuple(LeaderSignature(block=self.hash_of(b), sig=self.leader_sig(b)) for b in ordered)

    def certificate(self, ctype: int, view: int, block: int, groups: Iterable[Group]) -> Certificate:
        """A certificate, valid or not; with the LeaderFault where a rule can make use of it."""
        ordered = tuple(sorted(groups, key=lambda group: (group.kind, group.block, group.aux)))
        fallen = any(group.kind in (Kind.NFALL, Kind.SFALL) for group in ordered)
        guilty = fallen and self.leader(view) == self.byzantine
        return Certificate(
            ctype=int(ctype),
            epoch=EPOCH,
            view=View(view),
            block=self.hash_of(block),
            groups=ordered,
            fault=self.fault(view) if guilty else None,
            leader_sigs=(),
        )

    # --- engines

    def gate(self, index: int) -> SigningGate:
        """An empty gate for a validator's key."""
        key = key_of(index)
        return SigningGate(
            index=ValidatorIndex(index),
            chain_id_hash=self.chain_id_hash,
            epoch=EPOCH,
            sign=lambda message: sign_as(key, message),
        )

    def boot(self, index: int, records: tuple[JournalRecord, ...]) -> tuple[Engine, "Outcome"]:
        """An engine that starts from a journal and an empty store."""
        restored = Restored(final=self.blocks[0].header, proof=None, records=records)
        engine = Engine(self.config, self.gate(index), restored)
        return engine, self.feed(engine, Start(hash_tagged(b"proof/nonce")))

    def journal_of(self, signer: int, signed: Iterable[Signed]) -> tuple[JournalRecord, ...]:
        """The least that a journal with these signatures holds: them, and the bodies that they rely on."""
        records: list[JournalRecord] = []
        bodied: set[int] = set()
        for each in sorted(signed):
            view, kind, block, aux = each
            if kind in (Kind.PROPOSE, Kind.NOTARIZE, Kind.NFALL) and block not in bodied:
                bodied.add(block)
                held = self.blocks[block]
                records.append(
                    BlockRecord(header=held.header, leader_sig=self.leader_sig(block), payload=held.payload)
                )
            records.append(
                SignedRecord(
                    kind=int(kind),
                    epoch=EPOCH,
                    view=View(view),
                    block=self.hash_of(block),
                    aux=self.hash_of(aux),
                    sig=self.signature(signer, each),
                )
            )
        return tuple(records)

    def feed(self, engine: Engine, event: Event, now: Instant = NOW) -> "Outcome":
        """One turn, with the application's answers to its questions about blocks; every block is valid."""
        effects = engine.handle(event, now)
        asked = [each for each in effects if isinstance(each, ValidateBlock)]
        while asked:
            question = asked.pop(0)
            more = engine.handle(BlockValidated(question.block_hash, valid=True), now)
            asked += [each for each in more if isinstance(each, ValidateBlock)]
            effects += more
        return self._outcome(effects)

    def give(self, engine: Engine, source: int, message: object, now: Instant = NOW) -> "Outcome":
        """A message arrives."""
        return self.feed(engine, Received(Peer(source), message), now)  # type: ignore[arg-type]

    def tick(self, engine: Engine, now: Instant) -> "Outcome":
        """Timers fire."""
        return self.feed(engine, Tick(), now)

    def build(self, engine: Engine, asked: BuildPayload) -> "Outcome":
        """The application has a payload."""
        return self.feed(engine, PayloadBuilt(asked.view, asked.parent_hash, b"A", 0, STATE_ROOT))

    def _outcome(self, effects: list[Effect]) -> "Outcome":
        signed: list[Signed] = []
        records: list[JournalRecord] = []
        building: BuildPayload | None = None
        for effect in effects:
            if isinstance(effect, Append):
                records += effect.records
                for record in effect.records:
                    if isinstance(record, SignedRecord):
                        block, aux = self.by_hash[record.block], self.by_hash[record.aux]
                        signed.append(Signed(record.view, record.kind, block, aux))
            elif isinstance(effect, BuildPayload):
                building = effect
        return Outcome(signed, building, records, effects)


class Outcome(NamedTuple):
    """What a turn brought: new signatures, a payload asked for, what is to be journaled, all effects."""

    signed: list[Signed]
    building: BuildPayload | None
    records: list[JournalRecord]
    effects: list[Effect]
