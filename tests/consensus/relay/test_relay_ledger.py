"""Pots and supply: units that belong to nobody's account are counted all the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relay_fakes import make_genesis

from consensus.primitives.tree import MemoryStore
from consensus.relay.genesis import genesis_state
from consensus.relay.ledger import SUPPLY_KEY, Ledger, Pot, Supply


@given(st.lists(st.tuples(st.sampled_from(Pot), st.integers(-50, 100)), max_size=40))
def test_pots_are_apart_and_outlive_a_commit(moves) -> None:
    root, nodes = genesis_state(make_genesis())
    store = MemoryStore(dict(nodes))
    ledger = Ledger(store, root)
    held = dict.fromkeys(Pot, 0)
    for pot, amount in moves:
        if amount >= 0:
            ledger.pay_into(pot, amount)
            held[pot] += amount
        elif held[pot] + amount < 0:
            with pytest.raises(AssertionError, match="units taken from pot"):
                ledger.take_from(pot, -amount)
        else:
            ledger.take_from(pot, -amount)
            held[pot] += amount
    root = ledger.commit()
    store = MemoryStore({**nodes, **ledger.added})
    assert {pot: Ledger(store, root).pot(pot) for pot in Pot} == held


def test_what_is_minted_is_issued_and_what_is_burnt_was_issued() -> None:
    root, nodes = genesis_state(make_genesis())
    ledger = Ledger(MemoryStore(dict(nodes)), root)
    before = ledger.existing(Supply, SUPPLY_KEY)
    ledger.mint(70)
    ledger.burn(30)
    ledger.burn(0)
    assert ledger.existing(Supply, SUPPLY_KEY) == Supply(issued=before.issued + 70, burnt=before.burnt + 30)
