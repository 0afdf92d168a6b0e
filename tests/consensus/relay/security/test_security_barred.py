"""A conviction on a chain bars a validator from it, however many others it is bound to."""

from relay_fakes import OPERATORS
from security_world import CHAIN, subset_network

from consensus.primitives.ids import ChainId, Epoch
from consensus.relay.ledger import Ledger
from consensus.relay.security.allocations import allocations, end_allocation
from consensus.relay.security.records import (
    MAX_ALLOCATIONS,
    Allocation,
    AllocationsRecord,
    allocations_key,
)

ACCOUNT = OPERATORS[0].public


def ledger_with(*entries: Allocation) -> Ledger:
    network = subset_network()
    ledger = Ledger(network.store, network.root)
    ledger.put(allocations_key(ACCOUNT), AllocationsRecord(entries=entries))
    return ledger


def active(chain: int) -> Allocation:
    return Allocation(chain=ChainId(chain), amount=10, coming=10, from_epoch=Epoch(1), barred_until=Epoch(0))


def barred(chain: int, until: int) -> Allocation:
    return Allocation(
        chain=ChainId(chain), amount=0, coming=0, from_epoch=Epoch(1), barred_until=Epoch(until)
    )


def test_who_is_convicted_on_a_chain_that_it_left_keeps_all_that_it_has_at_others() -> None:
    """It attested chain 1 once, left it, and is bound to as many others as it may be. Its record has no room
    for one more, and a block that wrote one could not be executed by anybody."""
    others = tuple(active(chain) for chain in range(2, MAX_ALLOCATIONS + 2))
    ledger = ledger_with(*others)
    end_allocation(ledger, ACCOUNT, CHAIN)
    assert allocations(ledger, ACCOUNT).entries == others


def test_where_there_is_no_room_the_bar_gives_way_that_ends_first() -> None:
    bars = tuple(barred(chain, 100 + chain % 7) for chain in range(3, MAX_ALLOCATIONS + 2))
    ledger = ledger_with(active(2), *bars)
    end_allocation(ledger, ACCOUNT, ChainId(99))
    kept = allocations(ledger, ACCOUNT)
    assert len(kept.entries) == MAX_ALLOCATIONS
    assert kept.of(2) == active(2)
    assert kept.of(99) is None  # barred for two epochs only: that ends first

    ledger = ledger_with(active(2), *bars[:-1], barred(50, 2))
    end_allocation(ledger, ACCOUNT, ChainId(99))
    kept = allocations(ledger, ACCOUNT)
    assert kept.of(50) is None
    assert kept.of(99) is not None
    assert [each.chain for each in kept.entries] == sorted(each.chain for each in kept.entries)


def test_a_chain_that_it_attests_ends_whatever_else_there_is() -> None:
    ledger = ledger_with(*(active(chain) for chain in range(1, MAX_ALLOCATIONS + 1)))
    end_allocation(ledger, ACCOUNT, CHAIN)
    found = allocations(ledger, ACCOUNT).of(CHAIN)
    assert found is not None
    assert (found.amount, found.coming) == (10, 0)
    assert found.barred_until > 1
