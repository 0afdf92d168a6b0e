"""How long stake answers, and the queue that it leaves by (DESIGN.md section 8, docs/decisions/022).

Stake that leaves stands behind its validators up to a *last epoch*: the newest whose set is written, or a
later one if more stake leaves than `exit_cap_ppb` allows. The queue is that of Ethereum's EIP-7251
(`compute_exit_epoch_and_update_churn`): each epoch lets a share of all stake go, who asks for more than is
left of it waits for as many further epochs as that takes, and stays electoral and answerable until then.

It is paid out once `unbonding_epochs` whole epochs *and* `unbonding_ms` have passed since its last epoch
ended: evidence about that epoch does not count any longer then, and no light client trusts a header of it.
Nor does any wait end while a conviction is being cut, or what its accomplices owe for it, which may take many
blocks.
"""

from dataclasses import replace

from consensus.light.leaves import LAST_BLOCK_KEY, LastBlock
from consensus.primitives.ids import Epoch
from consensus.relay.epochs import Reads, epoch_of, epoch_set_key, find_epoch_members, oldest_epoch
from consensus.relay.ledger import Ledger
from consensus.relay.parameters import BILLION, Parameters
from consensus.relay.ring import is_waiting
from consensus.relay.stake.records import RAISES, UNFINISHED_CUT_KEY, TotalsRecord


def newest_epoch(ledger: Ledger) -> Epoch:
    """The newest epoch whose set is written, of a block under way or after one: no stake can leave it."""
    last = ledger.existing(LastBlock, LAST_BLOCK_KEY)
    running = epoch_of(last.height + 1, ledger.parameters.epoch_blocks)
    coming = Epoch(running + 1)
    return running if ledger.read(epoch_set_key(coming)) is None else coming


def queue(totals: TotalsRecord, amount: int, earliest: Epoch, exit_cap_ppb: int) -> TotalsRecord:
    """Let `amount` units leave after `earliest` or later; `exit_epoch` of the result is their last epoch."""
    room_of_epoch = max(1, totals.bonded * exit_cap_ppb // BILLION)
    epoch, room = totals.exit_epoch, totals.exit_room
    if epoch < earliest:
        epoch, room = earliest, room_of_epoch
    if amount > room:
        further = -(-(amount - room) // room_of_epoch)
        epoch, room = Epoch(epoch + further), room + further * room_of_epoch
    return replace(totals, exit_epoch=epoch, exit_room=room - amount)


def wait_is_over(state: Reads, last_epoch: Epoch, parameters: Parameters, *, now: Epoch, now_ms: int) -> bool:
    """Whether stake with this last epoch answers for nothing any more, in a block of this epoch and time."""
    if now <= last_epoch + parameters.unbonding_epochs:
        return False
    if is_owing(state):
        return False
    after = Epoch(last_epoch + 1)
    began = find_epoch_members(state, after)
    if began is None:  # forgotten, as its own evidence counts no more, nor does that about the one before
        return oldest_epoch(state) > after
    return now_ms >= began.began_ms + parameters.unbonding_ms


def is_frozen(state: Reads) -> bool:
    """Whether a conviction is being cut."""
    return state.read(UNFINISHED_CUT_KEY) is not None


def is_owing(state: Reads) -> bool:
    """Whether a conviction is being cut, or who was convicted before owes more for it and waits to be cut for
    that: what answers may not get away before its turn."""
    return is_frozen(state) or is_waiting(state, RAISES)


def stride(waiting: int) -> int:
    """How many epochs apart the last epochs of a nomination's next pools are, when so many wait already.

    It doubles with every third: then 32 pools are enough for waits of up to 3,000 epochs, and nobody keeps
    others from leaving by leaving in small pieces, epoch after epoch. It delays a last epoch by less than
    half of the wait that follows.
    """
    return 1 << (waiting // 3)
