"""What things cost, in units of the ledger: for the transition, and for whoever sets a `max_fee`."""

from collections.abc import Sequence

from consensus.candidates.receipts import CandidateHeader
from consensus.primitives.guest import InstanceEndpoint, Outgoing
from consensus.primitives.ids import Amount
from consensus.relay.parameters import BILLION, Parameters
from consensus.relay.rewards.transactions import ReleasePayment
from consensus.relay.transactions import Action, CallEnclave


def flat_fee(parameters: Parameters, size_bytes: int) -> Amount:
    """What any transaction of this encoded length costs, whatever it does."""
    return Amount(parameters.base_fee + parameters.byte_fee * size_bytes)


def fuel_fee(parameters: Parameters, fuel: int) -> Amount:
    """What `fuel` costs, rounded up to a whole unit."""
    return Amount(-(-fuel * parameters.fuel_price_ppb // BILLION))


def reserve_fee(parameters: Parameters, action: Action, size_bytes: int) -> Amount:
    """What must be covered by `max_fee` and by the balance, or the transaction is void.

    A call that also sends messages to instances is charged `message_fee` for each on top, within `max_fee`.
    """
    flat = flat_fee(parameters, size_bytes)
    if isinstance(action, CallEnclave | ReleasePayment):
        return Amount(flat + fuel_fee(parameters, action.fuel_limit))
    return flat


def message_fees(parameters: Parameters, outgoing: Sequence[Outgoing]) -> Amount:
    """What sending costs: each message to an instance pays for its own delivery, those to chains nothing."""
    count = sum(isinstance(each.destination, InstanceEndpoint) for each in outgoing)
    return Amount(count * parameters.message_fee)


def candidate_fee(parameters: Parameters, header: CandidateHeader) -> Amount:
    """What enacting a candidate costs its chain: a flat part, its PoV, its fuel, the messages it sends."""
    pov = parameters.pov_kib_fee * -(-header.pov_bytes // 1024)
    fuel = fuel_fee(parameters, header.fuel_used)
    return Amount(parameters.candidate_fee + pov + fuel + message_fees(parameters, header.outgoing))
