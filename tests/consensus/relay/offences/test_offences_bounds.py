"""What a case remembers fits into its leaves, however it comes about."""

from offences_world import ACCOUNTS, Court, settled

from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import Epoch
from consensus.relay.offences.convicting import convict
from consensus.relay.offences.records import MAX_ALLOCATION_FAULTS, CutsRecord, case_cut_key
from consensus.relay.offences.table import TABLE, OffenceKind
from consensus.relay.offences.veto import find_case, keep_cuts
from consensus.relay.stake.holdings import Cut
from consensus.relay.stake.records import MAX_LEAVING, MAX_MOVES


def test_an_edge_whose_pools_are_emptied_and_filled_again_between_convictions_is_remembered_whole() -> None:
    """One case takes what a validator owes for all its chains and verdicts of an epoch. Each time a pool
    that is cut to nothing, and filled again by whoever wants to, counts as another one."""
    court = Court(settled())
    convict(court.run, ACCOUNTS[1], Epoch(2), OffenceKind.FALSE_ACCUSATION)
    case = find_case(court.ledger, 1)
    assert case is not None
    times = MAX_ALLOCATION_FAULTS + sum(row.vetoable for row in TABLE.values())
    pools = 1 + MAX_LEAVING + 2 * MAX_MOVES
    before = case.amount
    for generation in range(1, times + 1):
        cuts = [
            Cut(pool=hash_tagged(b"test", bytes([number])), generation=generation, amount=1)
            for number in range(pools)
        ]
        case = keep_cuts(court.run, case, 0, cuts)
    assert case.amount == before + times * pools
    record = court.ledger.record(CutsRecord, case_cut_key(1, 0))
    assert record is not None
    assert len(record.cuts) >= times * pools
