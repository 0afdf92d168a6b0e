"""Thresholds and leader table against CONSENSUS.md sections 1 and 14.1, and against the reference model."""

import importlib.util
from pathlib import Path

import pytest
from agreement_loopback import CHAIN, make_validators
from hypothesis import given
from hypothesis import strategies as st

from consensus.agreement.leaders import leader_table, slot_counts
from consensus.agreement.tally import Tally
from consensus.agreement.thresholds import Mode, stake_thresholds, view_thresholds
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH

MODEL = Path(__file__).parents[2] / "models" / "check_view.py"


def load_model():
    spec = importlib.util.spec_from_file_location("check_view", MODEL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


stake_lists = st.lists(st.integers(1, 2**40), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("n", "f", "q", "p", "fast", "t", "te"),
    [
        (4, 1, 3, 1, 3, 3, 2),
        (5, 1, 4, 1, 4, 3, 2),
        (6, 1, 5, 1, 5, 3, 2),
        (7, 2, 5, 1, 6, 4, 3),
        (10, 3, 7, 1, 9, 5, 4),
        (16, 5, 11, 1, 15, 7, 6),
        (50, 16, 34, 1, 49, 18, 17),
        (100, 33, 67, 1, 99, 35, 34),
        (200, 66, 134, 1, 199, 68, 67),
    ],
)
def test_the_table_of_section_one(n, f, q, p, fast, t, te):
    stake = stake_thresholds(n)
    view = view_thresholds(stake, 1, Mode.STRICT)
    assert (stake.faulty, stake.quorum) == (f, q)
    found = (view.missing, view.fast, view.fallback, view.fallback_equivocated)
    # Section 1 gives P = min(wL + s, N - Q); with s = 1, as at n = 6, the table's P is that of its formula.
    p_formula = min(1 + stake.rounding, n - q)
    assert found == (p_formula, n - p_formula, f + p_formula + 1, max(1, f + p_formula))
    assert found == (p, fast, t, te)


@given(stake_lists, st.data())
def test_facts_a1_to_a5(stakes, data):
    total = sum(stakes)
    s = stake_thresholds(total)
    leader = data.draw(st.sampled_from(stakes))
    v = view_thresholds(s, leader, Mode.STRICT)
    assert 2 * s.quorum - total >= s.faulty + 1
    assert s.quorum == total - s.faulty
    assert v.missing <= s.faulty
    assert v.fast >= s.quorum
    assert s.quorum - v.missing >= s.faulty + 1
    if leader <= s.faulty:
        assert total - s.faulty >= 2 * v.fallback_equivocated - 1


@given(stake_lists, st.data())
def test_the_reference_model_computes_the_same(stakes, data):
    leader = data.draw(st.integers(0, len(stakes) - 1))
    n, f, q, s, p, fast, t, te = load_model().params(stakes, leader)
    stake = stake_thresholds(n)
    view = view_thresholds(stake, stakes[leader], Mode.STRICT)
    assert (stake.faulty, stake.quorum, stake.rounding) == (f, q, s)
    assert (view.missing, view.fast, view.fallback, view.fallback_equivocated) == (p, fast, t, te)


def test_the_fast_path_is_out_of_reach_in_mode_off():
    stake = stake_thresholds(10)
    assert view_thresholds(stake, 1, Mode.OFF).fast > stake.total


@given(st.lists(st.integers(1, 2**40), min_size=1, max_size=60))
def test_slots_are_within_one_of_the_share_of_stake_unless_lifted_to_one(stakes):
    counts = slot_counts(stakes)
    slots = min(max(4 * len(stakes), 64), 4096)
    for stake, count in zip(stakes, counts, strict=True):
        exact = stake * slots / sum(stakes)
        assert count >= 1
        assert count <= max(1, exact) + 1
        assert count >= int(exact)


def test_equal_stakes_rotate_plainly():
    table = leader_table([1] * 4, chain_id_hash=CHAIN, epoch=1, seed=ZERO_HASH)
    assert len(table) == 64
    assert all(len(set(table[i : i + 4])) == 4 for i in range(60))


def test_the_table_depends_on_chain_epoch_and_seed():
    tables = {
        leader_table([3, 1, 2, 2], chain_id_hash=chain, epoch=epoch, seed=seed)
        for chain in (CHAIN, ZERO_HASH)
        for epoch in (1, 2)
        for seed in (CHAIN, ZERO_HASH)
    }
    assert len(tables) > 1


BLOCKS = [hash_tagged(b"test/block", bytes([i])) for i in range(3)]


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=8),
    st.lists(st.integers(-1, 3), min_size=8, max_size=8),
    st.booleans(),
)
def test_the_tally_agrees_with_the_definitions_of_section_five(stakes, votes, equivocates):
    validators = make_validators(stakes)
    tally = Tally(validators, 1, 1)
    first = {}
    for signer, vote in enumerate(votes[: len(stakes)]):
        if vote == 3:
            continue
        block = ZERO_HASH if vote == -1 else BLOCKS[vote]
        first[signer] = block
        tally.add(signer, (3 if vote == -1 else 2, block, ZERO_HASH), bytes(64))
    if equivocates:
        tally.add_leader_sig(BLOCKS[0], bytes(64))
        assert tally.add_leader_sig(BLOCKS[1], bytes(64))
    counted = {i: b for i, b in first.items() if not (equivocates and i == tally.leader)}
    for block in BLOCKS:
        assert tally.support(block) == sum(stakes[i] for i, b in counted.items() if b == block)
        assert tally.conflict(block) == sum(stakes[i] for i, b in counted.items() if b != block)
    limits = validators.thresholds(1)
    assert tally.threshold == (limits.fallback_equivocated if equivocates else limits.fallback)
