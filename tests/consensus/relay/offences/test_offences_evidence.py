"""Evidence in blocks: what convicts, what is void, what makes the block invalid."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_fakes import ALL_ACCOUNTS, OPERATORS, USERS, VALIDATORS, Network, total_supply
from staking_world import (
    BLOCK_A,
    BLOCK_B,
    CONTRADICTION,
    DOUBLE,
    accounts,
    bench,
    bond,
    code,
    do,
    evidence,
    quick,
    rotation,
    to_epoch,
)

from consensus.agreement.evidence import Evidence, Offence
from consensus.agreement.messages import Kind
from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import InvalidBlock
from consensus.primitives.ids import ZERO_HASH, Epoch
from consensus.relay.blocks import MAX_BLOCK_EVIDENCE, Payload, check_payload, encode_payload
from consensus.relay.genesis import issuance
from consensus.relay.offences import collecting
from consensus.relay.offences.judging import (
    Void,
    choose_evidence,
    evidence_hash,
    judge_evidence,
)
from consensus.relay.offences.records import Conviction, OffenceRecord, offence_key
from consensus.relay.offences.table import TABLE, OffenceKind
from consensus.relay.offences.transactions import SubmitEvidence
from consensus.relay.receipts import Code
from consensus.relay.stake.records import Standing
from consensus.relay.stake.transactions import BondMore, Unbond, Unjail, Withdraw

FINALIZE_AND_SKIP = ((Kind.FINALIZE, BLOCK_A), (Kind.SKIP, ZERO_HASH))


def standing(network: Network, index: int) -> Standing:
    return Standing(network.view.validator(OPERATORS[index].public).standing)


def void_reason(network: Network, piece: Evidence) -> str:
    """Why a piece has no effect; the state is the same as without it."""
    result = network.execute(evidence=[piece])
    assert not result.offences
    assert result.post_root == network.execute().post_root
    return result.void[evidence_hash(piece)]


def test_a_conviction_is_recorded_under_the_account_and_tombstones() -> None:
    network = quick()
    result = network.block(evidence=[evidence(network, 2)])
    account = OPERATORS[2].public
    (convicted,) = result.offences
    assert (convicted.account, convicted.epoch, convicted.height) == (account, 1, 1)
    assert convicted.offence is OffenceKind.DOUBLE_NOTARIZE
    proof = network.view.prove(offence_key(account, Epoch(1)))
    assert proof.holds_under(network.root)
    record = decode(OffenceRecord, proof.value, limit=1_000)
    assert record == OffenceRecord(
        account=account,
        epoch=Epoch(1),
        firm=Conviction(
            offence=int(OffenceKind.DOUBLE_NOTARIZE),
            fraction_ppb=562_500_000,  # (3 / 4)^2: a quarter of all votes offended
            height=1,
            reporter=OPERATORS[1].public,  # the proposer of that block
        ),
        pending=None,
        allocations=(),
        case=0,
        taken=convicted.slashed,
    )
    assert convicted.slashed == 56
    assert standing(network, 2) is Standing.TOMBSTONED
    assert account in accounts(network)  # the running set does not change
    to_epoch(network, 2)
    assert account not in accounts(network)
    for action, refusal in ((Unjail(), Code.TOMBSTONED), (BondMore(amount=100), Code.TOMBSTONED)):
        assert code(network, OPERATORS[2], action) == refusal
    assert total_supply(network.view, ALL_ACCOUNTS) == issuance(network.genesis)


@pytest.mark.parametrize("votes", [CONTRADICTION, FINALIZE_AND_SKIP], ids=["notarize-skip", "finalize-skip"])
def test_who_contradicts_itself_is_jailed_and_may_come_back_after_its_epochs(votes) -> None:
    network = quick(jail_epochs=2)
    network.block(evidence=[evidence(network, 0, votes=votes)])
    assert standing(network, 0) is Standing.JAILED
    assert code(network, OPERATORS[1], Unjail()) == Code.NOT_JAILED
    while network.epoch < 3:
        assert code(network, OPERATORS[0], Unjail()) == Code.NOT_YET
    assert OPERATORS[0].public not in accounts(network)
    assert code(network, OPERATORS[0], Unjail()) == Code.OK
    to_epoch(network, 4)
    assert accounts(network)[-1] == OPERATORS[0].public  # behind those who stayed


def test_evidence_comes_before_the_offenders_own_transactions() -> None:
    network = quick()
    piece = evidence(network, 0)
    raw = network.raw(OPERATORS[0], BondMore(amount=5))
    result = network.block([raw], evidence=[piece])
    assert result.receipts[0].code == Code.TOMBSTONED


def test_who_is_convicted_may_still_take_its_stake_through_the_window() -> None:
    network = quick()
    network.block(evidence=[evidence(network, 0)])
    left = network.view.self_stake(OPERATORS[0].public)
    assert left == 100 - 56
    assert code(network, OPERATORS[0], Unbond(amount=left)) == Code.OK
    while (receipt := do(network, OPERATORS[0], Withdraw())).code == Code.NOT_YET:
        assert network.epoch <= 4
    assert receipt.output == left.to_bytes(16, "big")
    assert network.view.self_stake(OPERATORS[0].public) == 0
    assert total_supply(network.view, ALL_ACCOUNTS) == issuance(network.genesis)


def test_once_for_each_validator_and_epoch_however_many_pairs_there_are() -> None:
    network = quick()
    first = evidence(network, 1, votes=CONTRADICTION)
    network.block(evidence=[first])
    jailed_until = network.view.validator(OPERATORS[1].public).jailed_until
    for view in (3, 4):
        again = evidence(network, 1, view=view, votes=FINALIZE_AND_SKIP)
        assert "no less grave" in void_reason(network, again)
    to_epoch(network, 2)
    assert network.view.validator(OPERATORS[1].public).jailed_until == jailed_until
    network.block(evidence=[evidence(network, 1)])
    for votes in (DOUBLE, CONTRADICTION):
        assert "no less grave" in void_reason(network, evidence(network, 1, view=4, votes=votes))


def test_a_graver_offence_of_the_same_epoch_replaces_a_lesser_and_costs_the_difference() -> None:
    """Reporting a mild fault of one's own shields no grave one (as decision 022 found it did)."""
    terms = {"correlation_factor": 0, "slash_contradiction_ppb": 100_000_000, "slash_double_ppb": 500_000_000}
    network, straight = quick(**terms), quick(**terms)
    account = OPERATORS[1].public
    (mild,) = network.block(evidence=[evidence(network, 1, votes=CONTRADICTION)]).offences
    assert (mild.slashed, standing(network, 1)) == (10, Standing.JAILED)
    (grave,) = network.block(evidence=[evidence(network, 1)]).offences
    assert (grave.slashed, standing(network, 1)) == (40, Standing.TOMBSTONED)
    (alone,) = straight.block(evidence=[evidence(straight, 1)]).offences
    assert alone.slashed == mild.slashed + grave.slashed
    assert network.view.self_stake(account) == straight.view.self_stake(account) == 50
    assert not network.block(evidence=[evidence(network, 1, votes=CONTRADICTION)]).offences


def test_another_epochs_offence_counts_again_and_lengthens_the_jail() -> None:
    network = quick(jail_epochs=2)
    to_epoch(network, 2)
    network.block(evidence=[evidence(network, 1, epoch=1, votes=CONTRADICTION)])
    to_epoch(network, 3)
    result = network.block(evidence=[evidence(network, 1, epoch=2, votes=CONTRADICTION)])
    assert [each.epoch for each in result.offences] == [2]
    assert network.view.validator(OPERATORS[1].public).jailed_until == 5


def test_a_lesser_offence_does_not_lift_a_tombstone() -> None:
    network = quick()
    to_epoch(network, 2)
    network.block(evidence=[evidence(network, 1, epoch=1)])
    network.block(evidence=[evidence(network, 1, epoch=2, votes=CONTRADICTION)])
    assert standing(network, 1) is Standing.TOMBSTONED


@pytest.mark.parametrize(("epochs", "span_ms"), [(1, 2), (2, 2), (2, 150), (1, 400)])
def test_evidence_counts_until_the_later_of_epochs_and_time_after_its_own(epochs: int, span_ms: int) -> None:
    """Epoch 1 ends with the block of height 4 and time 1040; blocks are 10 ms apart."""
    network = quick(evidence_epochs=epochs, unbonding_ms=span_ms, trusting_ms=1)
    piece = evidence(network, 3, epoch=1)
    while network.execute(evidence=[piece]).offences:
        network.block()
    last_by_epochs = 4 * (1 + epochs)
    last_by_time = (1_040 + span_ms - 1 - 1_000) // 10
    assert network.height == max(last_by_epochs, last_by_time)
    assert "nobody answers" in void_reason(network, piece)


def test_a_key_that_was_rotated_away_is_answerable_for_its_epochs() -> None:
    network = quick()
    assert code(network, OPERATORS[0], rotation(network, OPERATORS[0], "fresh")) == Code.OK
    to_epoch(network, 3)
    assert VALIDATORS[0].public not in network.validators.keys
    result = network.block(evidence=[evidence(network, 0, epoch=1)])
    assert [each.account for each in result.offences] == [OPERATORS[0].public]


def test_a_leaver_is_answerable_while_its_stake_waits() -> None:
    """No block pays it out in which evidence about its last epoch still counts, and the next one does."""
    for epochs, span_ms in ((2, 2), (2, 150), (3, 150)):
        network = quick(evidence_epochs=epochs, unbonding_epochs=epochs, unbonding_ms=span_ms, trusting_ms=1)
        assert code(network, OPERATORS[0], Unbond(amount=100)) == Code.OK
        piece = evidence(network, 0, epoch=1)
        withdraw = network.raw(OPERATORS[0], Withdraw())
        while network.execute(evidence=[piece]).offences:
            assert network.execute([withdraw]).receipts[0].code == Code.NOT_YET
            network.block()
        assert network.execute([withdraw]).receipts[0].code == Code.OK


def test_an_index_means_whoever_had_it_in_that_epoch() -> None:
    network = quick()
    for index in (0, 1):
        assert code(network, OPERATORS[index], Unbond(amount=100)) == Code.OK
    assert code(network, USERS[0], bond(network, USERS[0], "new", 100)) == Code.OK
    to_epoch(network, 2)
    assert len(accounts(network)) == 3
    for epoch, expected in ((1, OPERATORS[2].public), (2, USERS[0].public)):
        result = network.block(evidence=[evidence(network, 2, epoch=epoch)])
        assert [each.account for each in result.offences] == [expected]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"epoch": 2}, "not begun"),
        ({"epoch": 0}, "not begun"),
        ({"signer": 4}, "not in the set"),
        ({"signer": 1}, "proves nothing"),
        ({"view": 4}, "proves nothing"),
    ],
)
def test_what_convicts_nobody_is_void_and_the_block_is_valid(change, reason: str) -> None:
    network = quick()
    assert reason in void_reason(network, replace(evidence(network, 0), **change))


def test_innocent_and_malformed_pairs_are_void() -> None:
    network = quick()
    good = evidence(network, 0)
    swapped = replace(good, first=good.second, second=good.first)
    same = replace(good, second=good.first)
    innocent = replace(good, second=replace(good.second, kind=int(Kind.STATUS)))
    for piece in (swapped, same, innocent):
        assert void_reason(network, piece) == "it proves nothing"


def test_two_proposals_convict_their_views_leader_alone() -> None:
    network = quick()
    to_epoch(network, 2)
    validators = network.validators
    votes = ((Kind.PROPOSE, BLOCK_A), (Kind.PROPOSE, BLOCK_B))
    leader = validators.leader(3)
    to_epoch(network, 3)  # another seed, another rotation
    other = (leader + 1) % 4
    assert "did not lead" in void_reason(network, evidence(network, other, epoch=2, votes=votes))
    result = network.block(evidence=[evidence(network, leader, epoch=2, votes=votes)])
    assert [each.offence for each in result.offences] == [Offence.DOUBLE_PROPOSAL]


def test_a_leader_can_tell_beforehand_what_will_convict() -> None:
    network = quick()

    def judged(piece: Evidence) -> object:
        return judge_evidence(bench(network), piece)

    piece = evidence(network, 0)
    verdict = judged(piece)
    assert (verdict.account, verdict.offence) == (OPERATORS[0].public, Offence.DOUBLE_NOTARIZE)
    network.block(evidence=[piece])
    again = judged(piece)
    assert isinstance(again, Void)
    assert "no less grave" in again.reason
    assert not again.false


def test_a_leader_chooses_what_convicts_in_its_parents_state_and_no_more_than_the_quota() -> None:
    network = quick()

    def chosen(limit: int) -> list[Evidence]:
        return choose_evidence(bench(network), [forged, *good], limit)

    good = [evidence(network, index) for index in range(4)]
    forged = replace(good[0], first=replace(good[0].first, sig=bytes(64)))
    assert chosen(9) == good
    assert chosen(2) == good[:2]
    network.block(evidence=chosen(2))  # notarised, not final: the next leader builds on it all the same
    assert chosen(2) == good[2:]


def test_if_all_are_convicted_the_set_stays_and_the_chain_goes_on() -> None:
    network = quick()
    before = accounts(network)
    network.block(evidence=[evidence(network, index) for index in range(4)])
    assert network.view.roster() == ()
    to_epoch(network, 3)
    assert accounts(network) == before
    assert code(network, USERS[0], bond(network, USERS[0], "saviour", 100)) == Code.OK
    to_epoch(network, 4)
    assert accounts(network) == [USERS[0].public]


def test_a_forged_piece_keeps_no_good_one_out() -> None:
    """A leader can put a forged piece about itself into its block: that settles nothing about it."""
    network = quick()
    good = evidence(network, 1)
    forged = replace(good, second=replace(good.second, sig=bytes(64)))
    other = evidence(network, 2)
    result = network.block(evidence=[forged, other])
    assert [each.evidence for each in result.offences] == [other]
    assert set(result.void) == {evidence_hash(forged)}
    assert [each.evidence for each in network.block(evidence=[good]).offences] == [good]


def test_a_block_that_has_cut_enough_convicts_nobody_else_and_the_next_one_does(monkeypatch) -> None:
    monkeypatch.setattr(collecting, "MAX_POOLS", 1)
    network = quick()
    first, second = evidence(network, 0), evidence(network, 1)
    report = network.raw(USERS[0], SubmitEvidence(evidence=second))
    result = network.block([report], evidence=[first, second])
    assert [each.evidence for each in result.offences] == [first]
    assert "can come again" in result.void[evidence_hash(second)]
    assert result.receipts[0].code == Code.OVER_LIMIT
    result = network.block(evidence=[second])
    assert [each.evidence for each in result.offences] == [second]


# --- the payload


def test_form_is_the_leaders_own_doing_and_breaks_the_block() -> None:
    network = quick(max_evidence=3)
    one, two, three, four = (evidence(network, index) for index in range(4))
    again = evidence(network, 0, view=9)

    def check(*pieces: Evidence) -> None:
        raw = encode(Payload(evidence=pieces))
        check_payload(raw, network.limits, lambda _: None)

    check(one, two, three)
    for pieces, reason in (
        ((two, one), "not sorted"),
        ((one, one), "not sorted, one piece for each"),
        ((one, again), "not sorted, one piece for each"),
        ((one, two, three, four), "quota is 3"),
    ):
        with pytest.raises(InvalidBlock, match=reason):
            check(*pieces)
    assert encode_payload((), (), [three, one]) == encode(Payload(evidence=(one, three)))


def test_evidence_is_weighed() -> None:
    network = quick(max_block_weight=700)
    pieces = [evidence(network, index) for index in range(2)]
    check_payload(encode_payload((), (), pieces[:1]), network.limits, lambda _: None)
    with pytest.raises(InvalidBlock, match="weigh"):
        check_payload(encode_payload((), (), pieces), network.limits, lambda _: None)


PIECE = st.tuples(
    st.integers(0, 5), st.integers(0, 5), st.sampled_from([DOUBLE, CONTRADICTION]), st.booleans()
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(PIECE, max_size=4), max_size=10))
def test_whatever_evidence_a_block_holds_it_executes_and_convicts_each_epochs_offender_once(blocks) -> None:
    network = quick(max_evidence=MAX_BLOCK_EVIDENCE)
    convicted: dict[tuple[bytes, int], int] = {}
    for pieces in blocks:
        chosen = {}
        for epoch, signer, votes, forged in pieces:
            known = network.view.epoch_set(Epoch(epoch))
            good = known is not None and epoch <= network.epoch and signer < len(known.members)
            piece = evidence(
                network, signer if good else 0, epoch=epoch if good else network.epoch, votes=votes
            )
            if not good:
                piece = replace(piece, epoch=Epoch(epoch), signer=signer)
            if forged:
                piece = replace(piece, first=replace(piece.first, sig=bytes(64)))
            chosen[piece.epoch, piece.signer] = piece
        result = network.block(evidence=list(chosen.values()))
        assert len(result.offences) + len(result.void) == len(chosen)
        for each in result.offences:  # again only for something graver
            gravity = TABLE[each.offence].gravity
            assert convicted.get((each.account, each.epoch), 0) < gravity
            convicted[each.account, each.epoch] = gravity
        assert accounts(network)
    assert total_supply(network.view, ALL_ACCOUNTS) == issuance(network.genesis)
