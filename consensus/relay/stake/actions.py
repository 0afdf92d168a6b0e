"""What accounts may do with stake (DESIGN.md section 8). Each checks everything, then mutates.

`bonding` is what a validator does, which answers NO_SUCH_VALIDATOR to whoever is none; `delegating` is what
any holder of stake does.
"""

from consensus.primitives.ids import PublicKey
from consensus.relay.receipts import Code
from consensus.relay.run import Run
from consensus.relay.stake.bonding import bond, change_validator
from consensus.relay.stake.delegating import claim, delegate, redelegate, undelegate, withdraw
from consensus.relay.stake.transactions import (
    Bond,
    Claim,
    Delegate,
    Redelegate,
    StakingAction,
    Undelegate,
    Withdraw,
)


def apply_staking(run: Run, sender: PublicKey, action: StakingAction) -> tuple[Code, bytes]:
    """Carry out one action of `sender`; the code, and what it answers."""
    match action:
        case Bond():
            return bond(run, sender, action), b""
        case Delegate():
            return delegate(run, sender, action)
        case Undelegate():
            return undelegate(run, sender, action.nomination, action.amount)
        case Redelegate():
            return redelegate(run, sender, action)
        case Withdraw():
            return withdraw(run, sender)
        case Claim():
            return claim(run, sender, action.pool)
        case _:  # mypy: a ValidatorAction
            return change_validator(run, sender, action)
