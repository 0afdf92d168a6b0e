"""The machine proof in its smallest form, and that its searches notice what is broken."""

import pytest

from consensus.agreement.messages import CertificateType, Kind
from tests.proof import controls, exhaustive
from tests.proof.certified import Certified
from tests.proof.differential import LITERAL, both_modes, explore
from tests.proof.exhaustive import Task, largest, search
from tests.proof.model_rules import compare
from tests.proof.moves import Moves
from tests.proof.scope import SKIP_MARK, Scope, Signed

HONEST_LEADER = exhaustive.one_view()[1]


def test_one_view_under_an_honest_leader_is_safe_and_never_stuck():
    found = search(HONEST_LEADER).found
    assert found.violations == []
    assert found.states > 50


@pytest.mark.slow
def test_one_view_under_a_byzantine_leader_is_safe_and_never_stuck():
    found = search(exhaustive.one_view()[0]).found
    assert found.violations == []
    assert found.states > 300


@pytest.mark.parametrize(
    "control",
    [each for each in controls.ALL if HONEST_LEADER.name in each.searches[:1] and len(each.searches) == 1],
    ids=lambda each: each.name,
)
def test_the_search_finds_what_a_broken_rule_allows(control):
    assert search(HONEST_LEADER, control.apply).found.violations


@pytest.mark.slow
@pytest.mark.parametrize("control", controls.ALL, ids=lambda each: each.name)
def test_every_control_is_found(control):
    assert exhaustive.control(control) == (control.name, True)


def test_a_third_view_is_searched_behind_what_two_leave():
    scope = Scope(views=2, byzantine=3)
    skips = frozenset(("certificate", int(CertificateType.SKIP), view, SKIP_MARK) for view in (1, 2))
    two = exhaustive.Report(Task(name="two", scope={"views": 2, "byzantine": 3}), None, [skips])
    (third,) = exhaustive.third_views(two)
    found = search(third).found
    assert found.violations == []
    assert found.states > 50
    assert scope.leader(3) == 2  # an honest leader, which proposes on genesis


def test_an_honest_leader_proposes_and_a_voter_needs_the_proposal():
    scope = Scope(views=1, byzantine=3)
    leader = Moves(scope, scope.leader(1)).after(frozenset(), 1)
    assert any({Signed(1, Kind.PROPOSE, 1), Signed(1, Kind.NOTARIZE, 1)} == each.state for each in leader)
    needs = {each.state: each.needs for each in Moves(scope, 1).after(frozenset(), 1)}
    assert needs[frozenset({Signed(1, Kind.NOTARIZE, 1)})] == scope.fact("proposed", 1)
    assert needs[frozenset({Signed(1, Kind.SKIP, SKIP_MARK)})] == 0


def test_certificates_exist_when_and_only_when_enough_is_signed():
    scope = Scope(views=1, byzantine=3)
    certified = Certified(scope)
    vote = Signed(1, Kind.NOTARIZE, 1)
    notarization = scope.fact("certificate", int(CertificateType.NOTARIZATION), 1, 1)
    assert not certified.facts(1, {0: [vote]}) & notarization
    both = certified.facts(1, {0: [vote], 1: [vote]})  # and the Byzantine one's
    assert both & notarization
    assert certified.final_blocks(1, both) == [1]
    skips = certified.facts(1, {2: [Signed(1, Kind.SKIP, 0)], 1: [Signed(1, Kind.SKIP, 0)]})
    assert "SkipCert" in certified.contradiction(1, both | skips)


def test_only_the_largest_sets_are_kept():
    a, b, c = frozenset({("a",)}), frozenset({("a",), ("b",)}), frozenset({("c",)})
    assert largest([a, b, c, b]) == [b, c]


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_the_engine_votes_and_certifies_as_the_model_does(first):
    assert [text for text in map(compare, range(first, first + 50)) if text] == []


def test_every_literal_signature_is_one_that_the_search_has():
    found = explore(LITERAL[0])
    assert found.violations == []
    assert found.restarts > 100
    assert found.signatures > 100


@pytest.mark.parametrize("seed", range(4))
def test_off_and_strict_agree_and_strict_is_no_later(seed):
    assert both_modes(seed) is None
