"""can_sign, evidence, sign bytes: what the gate permits never convicts (CONSENSUS.md 2, 13, 17)."""

import itertools

import pytest
from agreement_loopback import CHAIN, fake_sign, fake_verify, make_validators
from hypothesis import given
from hypothesis import strategies as st

from consensus.agreement.evidence import (
    Offence,
    SignedStatement,
    evidence_from,
    offence,
    verify_evidence,
)
from consensus.agreement.messages import SIGN_BYTES_LENGTH, VOTE_DOMAIN, Kind, sign_bytes
from consensus.agreement.signing_rules import SigningGate, SigningRefused
from consensus.agreement.statements import STATEMENT_BYTES_LENGTH, Statement, statement_sign_bytes
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH

A, B, C, D = (hash_tagged(b"test/block", bytes([i])) for i in range(4))
STATEMENTS = [
    *((Kind.PROPOSE, block, ZERO_HASH) for block in (A, B)),
    *((Kind.NOTARIZE, block, ZERO_HASH) for block in (A, B)),
    (Kind.SKIP, ZERO_HASH, ZERO_HASH),
    *((Kind.SFALL, block, ZERO_HASH) for block in (A, B)),
    *((Kind.FINALIZE, block, ZERO_HASH) for block in (A, B)),
    *((Kind.NFALL, block, aux) for block in (A, B, C, D) for aux in (ZERO_HASH, A, B) if block != aux),
]


def make_gate():
    return SigningGate(index=0, chain_id_hash=CHAIN, epoch=1, sign=fake_sign(0))


def reachable():
    """Every set of statements that the gate signs, over all orders: a search over its states."""
    seen, todo = {frozenset()}, [(frozenset(), make_gate())]
    while todo:
        signed, gate = todo.pop()
        for statement in STATEMENTS:
            if statement in signed or gate.refusal(statement[0], 1, statement[1], statement[2]) is not None:
                continue
            after = signed | {statement}
            if after not in seen:
                seen.add(after)
                twin = gate.fork()
                twin.sign_vote(statement[0], 1, statement[1], statement[2])
                todo.append((after, twin))
    return seen


def test_no_history_that_the_gate_permits_holds_a_convicting_pair():
    histories = reachable()
    assert len(histories) > 50
    for history in histories:
        for pair in itertools.combinations(sorted(history), 2):
            assert offence(*pair) is None, pair


def test_every_forbidden_pair_is_refused_in_both_orders():
    for first, second in itertools.permutations(STATEMENTS, 2):
        if offence(first, second) is None:
            continue
        gate = make_gate()
        for prelude in ((Kind.NOTARIZE, first[1], ZERO_HASH), (Kind.SKIP, ZERO_HASH, ZERO_HASH)):
            twin = gate.fork()
            if twin.refusal(prelude[0], 1, prelude[1], ZERO_HASH) is None:
                twin.sign_vote(prelude[0], 1, prelude[1], ZERO_HASH)
            if twin.refusal(first[0], 1, first[1], first[2]) is None:
                twin.sign_vote(first[0], 1, first[1], first[2])
                assert twin.refusal(second[0], 1, second[1], second[2]) is not None
                with pytest.raises(SigningRefused):
                    twin.sign_vote(second[0], 1, second[1], second[2])


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (((Kind.PROPOSE, A, ZERO_HASH), (Kind.PROPOSE, B, ZERO_HASH)), Offence.DOUBLE_PROPOSAL),
        (((Kind.NOTARIZE, A, ZERO_HASH), (Kind.NOTARIZE, B, ZERO_HASH)), Offence.DOUBLE_NOTARIZE),
        (((Kind.NOTARIZE, A, ZERO_HASH), (Kind.SKIP, ZERO_HASH, ZERO_HASH)), Offence.NOTARIZE_AND_SKIP),
        (((Kind.FINALIZE, A, ZERO_HASH), (Kind.FINALIZE, B, ZERO_HASH)), Offence.DOUBLE_FINALIZE),
        (((Kind.FINALIZE, A, ZERO_HASH), (Kind.SKIP, ZERO_HASH, ZERO_HASH)), Offence.FINALIZE_AND_FALLBACK),
        (((Kind.FINALIZE, A, ZERO_HASH), (Kind.SFALL, A, ZERO_HASH)), Offence.FINALIZE_AND_FALLBACK),
        (((Kind.FINALIZE, A, ZERO_HASH), (Kind.NFALL, B, A)), Offence.FINALIZE_AND_FALLBACK),
        (((Kind.FINALIZE, A, ZERO_HASH), (Kind.NOTARIZE, B, ZERO_HASH)), Offence.FINALIZE_AND_NOTARIZE_OTHER),
        (((Kind.SFALL, A, ZERO_HASH), (Kind.SKIP, ZERO_HASH, ZERO_HASH)), Offence.FALSE_FIRST_VOTE),
        (((Kind.NFALL, C, A), (Kind.NFALL, D, B)), Offence.FALSE_FIRST_VOTE),
        (((Kind.NFALL, C, A), (Kind.NFALL, D, ZERO_HASH)), Offence.FALSE_FIRST_VOTE),
        (((Kind.NFALL, C, ZERO_HASH), (Kind.NOTARIZE, A, ZERO_HASH)), Offence.FALSE_FIRST_VOTE),
        (((Kind.NFALL, A, ZERO_HASH), (Kind.NOTARIZE, A, ZERO_HASH)), Offence.FALSE_FIRST_VOTE),
        (((Kind.NFALL, B, A), (Kind.NFALL, C, A)), None),
        (((Kind.SFALL, A, ZERO_HASH), (Kind.NFALL, B, A)), None),
        (((Kind.NOTARIZE, A, ZERO_HASH), (Kind.FINALIZE, A, ZERO_HASH)), None),
        (((Kind.PROPOSE, A, ZERO_HASH), (Kind.NOTARIZE, B, ZERO_HASH)), None),
    ],
)
def test_the_table_of_offences(pair, expected):
    assert offence(*pair) is expected
    assert offence(*reversed(pair)) is expected


def signed(index, kind, block, aux=ZERO_HASH, view=1):
    sig = fake_sign(index)(sign_bytes(CHAIN, kind, 1, view, block, aux))
    return SignedStatement(kind=int(kind), block=block, aux=aux, sig=sig)


def test_evidence_verifies_by_itself_and_forged_evidence_does_not():
    validators = make_validators([1] * 4)
    good = evidence_from(
        epoch=1, view=1, signer=2, a=signed(2, Kind.NOTARIZE, A), b=signed(2, Kind.NOTARIZE, B)
    )
    assert verify_evidence(good, validators, CHAIN, fake_verify) is Offence.DOUBLE_NOTARIZE
    assert verify_evidence(good, validators, ZERO_HASH, fake_verify) is None
    other = evidence_from(
        epoch=1, view=1, signer=1, a=signed(2, Kind.NOTARIZE, A), b=signed(2, Kind.NOTARIZE, B)
    )
    assert verify_evidence(other, validators, CHAIN, fake_verify) is None
    with pytest.raises(ValueError, match="honest"):
        evidence_from(
            epoch=1, view=1, signer=1, a=signed(1, Kind.SKIP, ZERO_HASH), b=signed(1, Kind.PROPOSE, A)
        )


def test_only_the_leader_can_be_convicted_of_two_proposals():
    validators = make_validators([1] * 4)
    leader = validators.leader(1)
    for signer in range(4):
        pair = evidence_from(
            epoch=1,
            view=1,
            signer=signer,
            a=signed(signer, Kind.PROPOSE, A),
            b=signed(signer, Kind.PROPOSE, B),
        )
        found = verify_evidence(pair, validators, CHAIN, fake_verify)
        assert found is (Offence.DOUBLE_PROPOSAL if signer == leader else None)


def test_the_layout_of_sign_bytes():
    data = sign_bytes(CHAIN, Kind.NFALL, 258, 3, A, B)
    assert len(data) == SIGN_BYTES_LENGTH == 126
    assert data[:13] == VOTE_DOMAIN == b"TALLY/vote/1\x00"
    assert data[13:45] == CHAIN
    assert data[45] == 4
    assert data[46:54] == bytes([0] * 6 + [1, 2])
    assert data[54:62] == bytes([0] * 7 + [3])
    assert data[62:94] == A
    assert data[94:] == B


def test_statements_have_a_domain_of_their_own():
    data = statement_sign_bytes(CHAIN, 1, 1, A, B, 1)
    assert len(data) == STATEMENT_BYTES_LENGTH
    assert not data.startswith(VOTE_DOMAIN)


def statement(verdict, candidate=A, height=5):
    return Statement(role=1, relay_parent=B, relay_parent_height=height, candidate=candidate, verdict=verdict)


def test_one_verdict_a_candidate():
    gate = make_gate()
    record = gate.sign_statement(statement(1))
    assert gate.sign_statement(statement(1)) == record
    with pytest.raises(SigningRefused):
        gate.sign_statement(statement(0))
    gate.raise_floor(view=3000, height=3000, block=C)
    assert gate.statement_refusal(statement(0)) is not None


@given(st.integers(1, 30), st.lists(st.integers(1, 12), max_size=12), st.integers(0, 12))
def test_a_key_that_lost_its_memory_judges_no_candidate_that_it_may_have_judged_before(bar, steps, cut):
    """Before: on any final block of a view up to the bar. After it, one block after the other is final."""
    gate = make_gate()
    records = [gate.lose_memory(ZERO_HASH)]
    records.append(gate.set_bar(bar))
    view, final = 0, {0: 0}  # view by height
    for step in steps:
        view, height = view + step, len(final)
        final[height] = view
        records.append(gate.raise_floor(view=view, height=height, block=A))
    restored, rewritten = make_gate(), make_gate()
    restored.restore(records)
    half = make_gate()
    half.restore(records[: 2 + cut])
    rewritten.restore([*half.records(), *records[2 + cut :]])
    for height, at in final.items():
        if at <= bar:
            for each in (gate, gate.fork(), restored, rewritten):
                assert each.statement_refusal(statement(1, height=height)) is not None
    refused = [
        each.statement_refusal(statement(1, height=len(final))) for each in (gate, restored, rewritten)
    ]
    assert [each is None for each in refused] == [view >= bar] * 3  # finality passed the bar: it judges again


def test_nothing_is_signed_at_or_below_floor_and_bar_nor_in_amnesia():
    gate = make_gate()
    gate.raise_floor(view=5, height=5, block=A)
    gate.set_bar(9)
    for view in (1, 5, 9):
        assert gate.refusal(Kind.SKIP, view, ZERO_HASH) is not None
    assert gate.refusal(Kind.SKIP, 10, ZERO_HASH) is None
    gate.amnesic = True
    assert gate.refusal(Kind.SKIP, 10, ZERO_HASH) is not None
    assert gate.statement_refusal(statement(1, height=6)) is not None


@given(st.lists(st.tuples(st.sampled_from(STATEMENTS), st.integers(1, 3)), max_size=25))
def test_a_restored_gate_refuses_what_the_first_refused(wishes):
    gate = make_gate()
    records = []
    for (kind, block, aux), view in wishes:
        if gate.refusal(kind, view, block, aux) is None:
            records.append(gate.sign_vote(kind, view, block, aux))
    for times in (1, 2):
        other = make_gate()
        for _ in range(times):
            other.restore(records)
        for kind, block, aux in STATEMENTS:
            for view in (1, 2, 3):
                assert other.refusal(kind, view, block, aux) == gate.refusal(kind, view, block, aux)
        assert list(other.records()) == list(gate.records())
