"""Having what was earned: one leaf read and written, however many earned it (DESIGN.md section 8)."""

from consensus.primitives.ids import PublicKey
from consensus.relay.ledger import Pot, PotRecord
from consensus.relay.receipts import Code
from consensus.relay.rewards.records import commission_key
from consensus.relay.rewards.transactions import ClaimCommission, RewardAction
from consensus.relay.run import Run


def apply_reward(run: Run, sender: PublicKey, action: RewardAction) -> tuple[Code, bytes]:
    """Do what `sender` asks for; the code, and the output of its receipt."""
    match action:
        case ClaimCommission():
            return _claim_commission(run, sender)


def _claim_commission(run: Run, sender: PublicKey) -> tuple[Code, bytes]:
    if run.stakes.validator(sender) is None:
        return Code.NO_SUCH_VALIDATOR, b""
    key = commission_key(sender)
    held = run.ledger.record(PotRecord, key)
    units = 0 if held is None else held.amount
    if units:
        run.ledger.take_from(Pot.REWARDS, units)
        run.ledger.write(key, None)
        run.ledger.credit(sender, units)
    return Code.OK, units.to_bytes(16, "big")
