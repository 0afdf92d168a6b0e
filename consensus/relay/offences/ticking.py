"""What offences do in every block, whether or not it holds evidence: each step is bounded."""

from consensus.relay.offences.burning import burn_due
from consensus.relay.offences.collecting import go_on
from consensus.relay.offences.convicting import raise_correlated
from consensus.relay.offences.downtime import jail_absent
from consensus.relay.offences.verdicts import forget_verdicts
from consensus.relay.offences.veto import lapse_due, sweep
from consensus.relay.run import Run


def tick(run: Run) -> None:
    """After the block's evidence: windows that end, what is still to be cut, debts that grew, who was away,
    what may be burnt."""
    lapse_due(run)
    sweep(run)
    go_on(run)
    raise_correlated(run)
    jail_absent(run)
    burn_due(run)
    forget_verdicts(run)
