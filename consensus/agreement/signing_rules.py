"""The single choke point in front of the consensus key (CONSENSUS.md section 13.2).

Whatever a validator signs passes `SigningGate`: votes, proposals, candidate statements, probes. The gate
holds the durable vote state, refuses what would be a fault, and yields the record that must be on disk before
the signature leaves. That the engine never asks for a forbidden signature is the engine's business; that it
never gets one is the gate's.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from consensus.agreement.journal_records import (
    AmnesiaMark,
    AmnesiaRecord,
    BarRecord,
    FloorRecord,
    JournalRecord,
    SignedRecord,
    StatementRecord,
    record_epoch,
)
from consensus.agreement.messages import Kind, sign_bytes
from consensus.agreement.statements import STATEMENT_WINDOW, Statement, statement_sign_bytes
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Height, Signature, ValidatorIndex, View

MAX_NFALL: Final = 3  # 1 by R-NF1 and 2 by R-NF2
SKIPPED: Final = ZERO_HASH  # `first` of a view whose first vote was SKIP; no block has this hash

Sign = Callable[[bytes], Signature]


class SigningRefused(Exception):
    """The engine asked for a signature that the rules forbid: a bug of ours, never a peer's doing."""


@dataclass(slots=True)
class ViewVotes:
    """What this validator signed in one view. Hashes; `first` is SKIPPED for SKIP, None for nothing yet."""

    proposed: Hash | None = None
    first: Hash | None = None
    nfall: frozenset[Hash] = frozenset()
    sfall: bool = False
    fin: Hash | None = None
    signed: dict[tuple[int, Hash, Hash], Signature] = field(default_factory=dict)

    def copy(self) -> "ViewVotes":
        """An independent copy."""
        return replace(self, signed=dict(self.signed))


NOTHING_SIGNED: Final = ViewVotes()


class SigningGate:
    """One validator's key in one epoch, and its memory of what it signed.

    `sign` makes an Ed25519 signature over exact bytes (the simulator passes an oracle). Restore the memory
    with `restore` before the first signature. `fresh`: the key was made after the journal was, so it signed
    nothing that the journal does not know, whatever that says about lost memory.
    """

    __slots__ = (
        "_chain_id_hash",
        "_judged_height",
        "_sign",
        "_statements",
        "_views",
        "amnesic",
        "bar",
        "closed",
        "epoch",
        "floor",
        "fresh",
        "index",
        "marks",
    )

    def __init__(
        self,
        *,
        index: ValidatorIndex,
        chain_id_hash: Hash,
        epoch: Epoch,
        sign: Sign,
        fresh: bool = False,
    ) -> None:
        self.index: Final = index
        self.epoch: Final = epoch
        self.fresh: Final = fresh
        self.floor = FloorRecord(epoch=epoch, view=View(0), height=Height(0), block=ZERO_HASH)
        self.bar = View(0)  # nothing is signed in views up to it
        self.amnesic = False  # the journal is lost and no bar is known yet: nothing is signed at all
        self.closed = False  # the epoch is over, or the journal tells of a later one: nothing is signed again
        self.marks: tuple[AmnesiaMark, ...] = ()  # lost memory, as later epochs must hear of it
        self._chain_id_hash = chain_id_hash
        self._sign = sign
        self._views: dict[View, ViewVotes] = {}
        self._statements: dict[tuple[int, Hash], StatementRecord] = {}
        # Under a bar: candidates on final blocks up to here may be judged already; None: on any block.
        self._judged_height: Height | None = None

    # --- the rules

    def refusal(self, kind: int, view: View, block: Hash, aux: Hash = ZERO_HASH) -> str | None:
        """can_sign: None if the vote or proposal may be signed, else the rule that forbids it."""
        if self.closed:
            return "the epoch is over"
        if self.amnesic:
            return "what was signed before is not known"
        if view <= self.floor.view:
            return "the view is at or below the floor"
        if view <= self.bar:
            return "the view is at or below the amnesia bar"
        votes = self._views.get(view, NOTHING_SIGNED)
        permitted = _RULES.get(kind)
        if permitted is None:
            return "not a vote"
        return permitted(votes, block, aux)

    def sign_vote(self, kind: int, view: View, block: Hash, aux: Hash = ZERO_HASH) -> SignedRecord:
        """Sign a vote or proposal and remember it. Its record must be durable before the signature leaves.

        Raises SigningRefused if `refusal` gives a reason. Signing the same message twice is allowed.
        """
        refused = self.refusal(kind, view, block, aux)
        if refused is not None:
            raise SigningRefused(f"{Kind(kind).name} in view {view}: {refused}")
        sig = self._sign(sign_bytes(self._chain_id_hash, kind, self.epoch, view, block, aux))
        record = SignedRecord(kind=int(kind), epoch=self.epoch, view=view, block=block, aux=aux, sig=sig)
        self._remember(record)
        return record

    def sign_exempt(self, kind: Kind, view: View, block: Hash, aux: Hash) -> Signature:
        """Sign a probe or a reply: exempt from floor and bar, and never to be mistaken for a vote."""
        if kind not in (Kind.AMNESIA_PROBE, Kind.AMNESIA_REPLY, Kind.STATUS):
            raise SigningRefused(f"{kind.name} is not exempt from the rules of votes")
        return self._sign(sign_bytes(self._chain_id_hash, kind, self.epoch, view, block, aux))

    def statement_refusal(self, statement: Statement) -> str | None:
        """None if the verdict may be signed: one verdict per (role, candidate) in an epoch."""
        if self.closed:
            return "the epoch is over"
        if self.amnesic:
            return "what was signed before is not known"
        held = self._statements.get((statement.role, statement.candidate))
        if held is not None and held.statement != statement:
            return "another statement on this candidate was signed"
        if held is None and statement.relay_parent_height + STATEMENT_WINDOW <= self.floor.height:
            return "the candidate is older than this signer's memory"
        if held is None and self.bar and not self._is_after_the_loss(statement):
            return "what was said of this candidate before the memory was lost is not known"
        return None

    def sign_statement(self, statement: Statement) -> StatementRecord:
        """Sign a verdict on a candidate. Raises SigningRefused if `statement_refusal` gives a reason."""
        refused = self.statement_refusal(statement)
        if refused is not None:
            raise SigningRefused(refused)
        sig = self._sign(
            statement_sign_bytes(
                self._chain_id_hash,
                self.epoch,
                statement.role,
                statement.relay_parent,
                statement.candidate,
                statement.verdict,
            )
        )
        record = StatementRecord(epoch=self.epoch, statement=statement, sig=sig)
        self._remember(record)
        return record

    def _is_after_the_loss(self, statement: Statement) -> bool:
        """Whether the candidate builds on a block that became final above the bar. Whatever was judged before
        the memory was lost built on one that was final then, of a view at or below the bar."""
        return self._judged_height is not None and statement.relay_parent_height > self._judged_height

    # --- memory

    def votes(self, view: View) -> ViewVotes:
        """What was signed in `view`; read only."""
        return self._views.get(view, NOTHING_SIGNED)

    def views(self) -> list[View]:
        """The views above the floor in which anything was signed, ascending."""
        return sorted(self._views)

    def highest_view(self) -> View:
        """The highest view in which anything was signed, or the floor."""
        return max(self._views, default=self.floor.view)

    def restore(self, records: Iterable[JournalRecord]) -> None:
        """Load what earlier incarnations signed in this epoch; idempotent, order as written.

        A record of a later epoch closes the gate: what was signed in this one may be forgotten by then.
        """
        for record in records:
            self.closed = self.closed or record_epoch(record) > self.epoch
            self._remember(record)

    def lose_memory(self, nonce: Hash) -> AmnesiaRecord:
        """Sign nothing from here on until a bar is set, unless the key is newer than the loss.

        The record must open the new journal: other keys, of other epochs, are still to hear of the loss.
        """
        self.amnesic = not self.fresh
        record = AmnesiaRecord(epoch=self.epoch, nonce=nonce)
        self.marks = (record,)
        return record

    def set_bar(self, view: View, *, beyond: bool = True) -> BarRecord:
        """Raise the amnesia bar: nothing is signed in views up to `view`. The record must be durable.

        `beyond` as in `BarRecord`.
        """
        record = BarRecord(epoch=self.epoch, view=max(self.bar, view), beyond=beyond)
        self._remember(record)
        return record

    def close(self) -> None:
        """Sign nothing more in this epoch: its boundary block is final."""
        self.closed = True

    def raise_floor(self, *, view: View, height: Height, block: Hash) -> FloorRecord:
        """Forget views up to `view`, whose final block is durable in the store."""
        record = FloorRecord(epoch=self.epoch, view=view, height=height, block=block)
        self._remember(record)
        return record

    def records(self) -> Iterator[JournalRecord]:
        """Everything that is still needed, for a rewritten journal."""
        if self.floor.view or self.floor.height:
            yield self.floor
        yield from self.marks
        yield from self._statements.values()
        for view in sorted(self._views):
            for (kind, block, aux), sig in self._views[view].signed.items():
                yield SignedRecord(kind=kind, epoch=self.epoch, view=view, block=block, aux=aux, sig=sig)

    def fork(self) -> "SigningGate":
        """An independent copy that signs with the same key; for searches over histories."""
        twin = SigningGate(
            index=self.index,
            chain_id_hash=self._chain_id_hash,
            epoch=self.epoch,
            sign=self._sign,
            fresh=self.fresh,
        )
        twin.floor = self.floor
        twin.bar = self.bar
        twin.amnesic = self.amnesic
        twin.closed = self.closed
        twin.marks = self.marks
        twin._judged_height = self._judged_height
        twin._views = {view: votes.copy() for view, votes in self._views.items()}
        twin._statements = dict(self._statements)
        return twin

    def _remember(self, record: JournalRecord) -> None:
        if isinstance(record, SignedRecord):
            if record.epoch == self.epoch and record.view > self.floor.view:
                self._remember_vote(record)
        elif isinstance(record, FloorRecord):
            if record.epoch == self.epoch and record.view >= self.floor.view:
                self._forget_below(record)
        elif isinstance(record, BarRecord):
            self._remember_bar(record)
        elif isinstance(record, AmnesiaRecord):
            if record.epoch <= self.epoch:
                self.amnesic = not self.fresh
                self.marks = (record,)
        elif isinstance(record, StatementRecord) and record.epoch == self.epoch:
            self._statements[record.statement.role, record.statement.candidate] = record
        if not self.bar or self.floor.view < self.bar:
            self._judged_height = None
        elif self._judged_height is None:
            self._judged_height = self.floor.height

    def _remember_bar(self, record: BarRecord) -> None:
        if record.epoch > self.epoch:
            return
        if record.epoch == self.epoch:
            self.bar = max(self.bar, record.view)
        if record.epoch == self.epoch or not record.beyond:
            self.amnesic = False
        lost = self.marks[:1]
        self.marks = () if record.epoch < self.epoch and not record.beyond else (*lost, record)

    def _remember_vote(self, record: SignedRecord) -> None:
        votes = self._views.setdefault(record.view, ViewVotes())
        votes.signed[record.kind, record.block, record.aux] = record.sig
        if record.kind == Kind.PROPOSE:
            votes.proposed = record.block
        elif record.kind == Kind.NOTARIZE:
            votes.first = record.block
        elif record.kind == Kind.SKIP:
            votes.first = SKIPPED
        elif record.kind == Kind.NFALL:
            votes.nfall |= {record.block}
        elif record.kind == Kind.SFALL:
            votes.sfall = True
        elif record.kind == Kind.FINALIZE:
            votes.fin = record.block

    def _forget_below(self, floor: FloorRecord) -> None:
        self.floor = floor
        for view in [view for view in self._views if view <= floor.view]:
            del self._views[view]
        oldest = floor.height - STATEMENT_WINDOW
        for key, held in list(self._statements.items()):
            if held.statement.relay_parent_height <= oldest:
                del self._statements[key]


def _may_propose(votes: ViewVotes, block: Hash, aux: Hash) -> str | None:
    if aux != ZERO_HASH or block == ZERO_HASH:
        return "malformed"
    return None if votes.proposed in (None, block) else "another block was proposed in this view"


def _may_notarize(votes: ViewVotes, block: Hash, aux: Hash) -> str | None:
    if aux != ZERO_HASH or block == ZERO_HASH:
        return "malformed"
    return None if votes.first in (None, block) else "another first vote was cast in this view"


def _may_skip(votes: ViewVotes, block: Hash, aux: Hash) -> str | None:
    if aux != ZERO_HASH or block != ZERO_HASH:
        return "malformed"
    return None if votes.first in (None, SKIPPED) else "another first vote was cast in this view"


def _may_finalize(votes: ViewVotes, block: Hash, aux: Hash) -> str | None:
    if aux != ZERO_HASH or block == ZERO_HASH:
        return "malformed"
    if votes.first != block:
        return "the block did not get this validator's first vote"
    if votes.sfall or votes.nfall:
        return "a fallback vote was cast in this view"
    return None if votes.fin in (None, block) else "another block was finalised in this view"


def _may_sfall(votes: ViewVotes, block: Hash, aux: Hash) -> str | None:
    if aux != ZERO_HASH or block == ZERO_HASH:
        return "malformed"
    if votes.first != block:
        return "the named block did not get this validator's first vote"
    return None if votes.fin is None else "FINALIZE was cast in this view"


def _may_nfall(votes: ViewVotes, block: Hash, aux: Hash) -> str | None:
    if block == ZERO_HASH:
        return "malformed"
    if votes.first in (None, block):
        return "no first vote, or one for this very block"
    if votes.fin is not None:
        return "FINALIZE was cast in this view"
    if aux != votes.first:  # SKIPPED is the zero hash, which is what aux is after a SKIP
        return "aux does not name this validator's first vote"
    return None if len(votes.nfall | {block}) <= MAX_NFALL else "three fallback votes were cast"


_RULES: Final[dict[int, Callable[[ViewVotes, Hash, Hash], str | None]]] = {
    Kind.PROPOSE: _may_propose,
    Kind.NOTARIZE: _may_notarize,
    Kind.SKIP: _may_skip,
    Kind.FINALIZE: _may_finalize,
    Kind.SFALL: _may_sfall,
    Kind.NFALL: _may_nfall,
}
