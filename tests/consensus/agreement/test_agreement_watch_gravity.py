"""A mild fault hides no grave one: whatever else a validator signed, and in whatever order it came."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st
from test_agreement_watch import CHAIN, CONFIG, GUILTY, KEYS, VIEW, Bench, X, Y, as_vote, fake_verify

from consensus.agreement.evidence import GRAVE, is_grave, offence, verify_evidence
from consensus.agreement.messages import Kind
from consensus.agreement.watch import MAX_STATEMENTS
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH

BLOCKS = [X, Y] + [hash_tagged(b"test/more", bytes([number])) for number in range(8)]
MANY = KEYS + [
    (int(kind), block, ZERO_HASH)
    for kind in (Kind.NOTARIZE, Kind.SFALL, Kind.FINALIZE)
    for block in BLOCKS[2:]
]


def accused(keys) -> list:
    """The evidence against GUILTY once its votes came in this order."""
    bench = Bench()
    for key in keys:
        bench.give(as_vote(GUILTY, key))
    found = [each for each in bench.evidence if each.signer == GUILTY]
    for each in found:
        assert each.view == VIEW
        assert verify_evidence(each, CONFIG.validators, CHAIN, fake_verify) is not None
    return found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(MANY), max_size=2 * MAX_STATEMENTS, unique=True))
def test_the_gravest_pair_among_any_statements_is_found_and_at_most_one_lesser_before_it(keys) -> None:
    pairs = {offence(*pair) for pair in combinations(keys, 2)} - {None}
    found = accused(keys)
    assert len(found) <= 2
    assert bool(found) == bool(pairs)
    assert any(map(is_grave, found)) == bool(pairs & GRAVE)
    assert all(map(is_grave, found[1:])), "a second piece is there only because it is graver"


def test_skips_enough_to_fill_the_memory_shield_no_second_block() -> None:
    skips = [key for key in MANY if key[0] in (Kind.SKIP, Kind.SFALL, Kind.NFALL)]
    assert len(skips) > MAX_STATEMENTS
    votes = [(int(Kind.NOTARIZE), block, ZERO_HASH) for block in (X, Y)]
    mild, grave = accused([*skips, *votes])
    assert (is_grave(mild), is_grave(grave)) == (False, True)
