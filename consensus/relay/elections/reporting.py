"""The concentration report on an epoch's set, read from a state; see `concentration`."""

from consensus.primitives.codec import decode
from consensus.primitives.ids import Epoch
from consensus.relay.elections.concentration import Concentration, Holder, concentration
from consensus.relay.epochs import Reads, epoch_members
from consensus.relay.ledger import RECORD_LIMIT
from consensus.relay.stake.records import ValidatorRecord, validator_key


def concentration_of(state: Reads, epoch: Epoch) -> Concentration:
    """The report on the set of `epoch`, by voting power, with the labels that its members declare now.

    Raises LookupError if the state does not know the set.
    """
    holders = []
    for member in epoch_members(state, epoch).members:
        raw = state.read(validator_key(member.account))
        if raw is None:
            raise AssertionError("the state has a member that never bonded")
        record = decode(ValidatorRecord, raw, limit=RECORD_LIMIT)
        holders.append(
            Holder(power=member.stake, operator=record.operator, region=record.region, client=record.client)
        )
    return concentration(holders)
