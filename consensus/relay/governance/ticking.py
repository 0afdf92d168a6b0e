"""What governance does in every block by itself: a bounded number of things that fell due, in the order of
their times."""

from dataclasses import replace
from typing import Final

from consensus.primitives.ids import PublicKey
from consensus.relay.governance.council import wish
from consensus.relay.governance.proposals import agenda, fall_due, propose
from consensus.relay.governance.records import AGENDA_KEY
from consensus.relay.governance.transactions import (
    CouncilPause,
    GovernanceAction,
    Propose,
    VoteAsMember,
    VoteStake,
)
from consensus.relay.governance.votes import sweep, vote, vote_stake
from consensus.relay.receipts import Code
from consensus.relay.run import Run

MAX_DUE: Final = 1  # vote counted, or measure carried out, in one block
MAX_SWEPT: Final = 128  # nominations of votes that are over


def tick(run: Run) -> None:
    """After the block's transactions: sweep what is over, then do what fell due."""
    waiting = agenda(run.ledger)
    if waiting.swept:
        number, *later = waiting.swept
        if sweep(run.ledger, number, MAX_SWEPT) < MAX_SWEPT:
            run.ledger.put(AGENDA_KEY, replace(waiting, swept=tuple(later)))
    for _ in range(MAX_DUE):
        waiting = agenda(run.ledger)
        if not waiting.entries or waiting.entries[0].due_ms > run.context.time_ms:
            return
        first, *rest = waiting.entries
        run.ledger.put(AGENDA_KEY, replace(waiting, entries=tuple(rest)))
        fall_due(run, first.number)


def apply_governance(run: Run, sender: PublicKey, action: GovernanceAction) -> tuple[Code, bytes]:
    """Carry out one action of `sender`; the code, and what it answers."""
    match action:
        case Propose():
            return propose(run, sender, action)
        case VoteAsMember():
            return vote(run, sender, action), b""
        case VoteStake():
            return vote_stake(run, sender, action)
        case CouncilPause():
            return wish(run, sender, action)
