"""Which part of an epoch's income the treasury takes, and what an operator keeps (DESIGN.md section 8).

The treasury's take is governed and dynamic. Governance sets its two ends and a target for the treasury, in
parts of all units; in between the rate follows the treasury:

    take = max                                              with nothing in it
    take = max - (max - min) * treasury / target            below the target, rounded up
    take = min                                              from the target on

It is proportional control: an empty treasury, which could pay for nothing that keeps the network safe, fills
first, and one that is full takes no more from those who secure the network than governance insists on.
Nobody can be harmed beyond `max` by it, and it can not oscillate: a unit more in the treasury never raises
the rate. Polkadot has the same end in mind and burns a part of what its treasury did not spend; a rate that
falls leaves the units with those who earned them instead.

What is left is the validators'. Of each one's part the operator keeps its commission, which it announces and
may change by a bounded step; governance sets the least commission, so that operators can not be forced to
compete at nothing (Cosmos `MinCommissionRate`, Polkadot `MinCommission`). The rest goes to who backs it.
"""

from consensus.relay.parameters import BILLION, Parameters


def take_rate_ppb(parameters: Parameters, treasury: int, circulating: int) -> int:
    """The treasury's part of an epoch's income, in parts per billion."""
    least, most = parameters.take_min_ppb, parameters.take_max_ppb
    target = circulating * parameters.treasury_target_ppb // BILLION
    if treasury >= target:
        return least
    return most - (most - least) * treasury // target


def commission_of(amount: int, commission_ppb: int, parameters: Parameters) -> int:
    """What an operator keeps of `amount`, rounded down."""
    return amount * min(BILLION, max(commission_ppb, parameters.commission_min_ppb)) // BILLION
