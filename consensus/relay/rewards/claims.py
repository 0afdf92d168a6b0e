"""Having what was earned: one leaf read and written, however many earned it (DESIGN.md section 8)."""

from consensus.primitives.ids import PublicKey
from consensus.relay.ledger import Pot, PotRecord
from consensus.relay.receipts import Code
from consensus.relay.rewards.records import commission_key
from consensus.relay.run import Run


def claim_commission(run: Run, sender: PublicKey) -> tuple[Code, bytes]:
    """Credit an operator with its commission. Answers with the units."""
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
