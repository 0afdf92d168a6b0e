"""Evidence by transaction: what it earns, what a false piece costs, and how often one may try."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from candidate_fakes import Collator
from relay_fakes import ALL_ACCOUNTS, OPERATORS, USERS, Network, total_supply
from staking_world import CONTRADICTION, code, do, evidence, quick, to_epoch

from consensus.agreement.statements import Verdict
from consensus.primitives.ids import ZERO_HASH, ChainId, Epoch, ValidatorIndex
from consensus.relay.genesis import issuance
from consensus.relay.ledger import Pot
from consensus.relay.offences.records import verdict_key
from consensus.relay.offences.table import OffenceKind
from consensus.relay.offences.transactions import ReportContradiction, ReportStatement, SubmitEvidence
from consensus.relay.offences.verdicts import find_verdict
from consensus.relay.offences.veto import record_of
from consensus.relay.receipts import Code
from consensus.relay.ring import Ring
from consensus.relay.stake.records import Standing

REPORTER = USERS[4]


def conserved(network: Network) -> bool:
    return total_supply(network.view, ALL_ACCOUNTS) == issuance(network.genesis)


def balance(network: Network) -> int:
    return network.view.account(REPORTER.public).balance


def judged(verdict: Verdict, who: Sequence[int] = (0, 1, 2), **parameters: object):
    """A network in whose last block these members decided on a candidate."""
    network = quick(epoch_blocks=10, **parameters)
    network.block()
    header = Collator(network).offer([b"x"])
    result = network.block(inclusions=[network.attest(header, who, verdict)])
    assert header.hash in (result.enacted if verdict is Verdict.VALID else result.rejected)
    return network, header


# --- bond and reward


def test_whoever_submits_what_convicts_is_its_reporter_and_risked_nothing() -> None:
    network = quick(epoch_blocks=20, correlation_factor=0, slash_double_ppb=10**9, slash_meter_ppb=10**9)
    before = balance(network)
    receipt = do(network, REPORTER, SubmitEvidence(evidence=evidence(network, 2)))
    assert (receipt.code, receipt.output) == (Code.OK, (100).to_bytes(16, "big"))
    assert balance(network) == before - receipt.fee
    for _ in range(4):
        network.block()
        network.halted_ms += 3_600_000
    network.block()
    assert balance(network) == before - receipt.fee + 10  # slash_reporter_ppb, when the meter let it through
    assert network.view.stakes.ledger.pot(Pot.SLASHED) == 0
    assert network.view.stakes.ledger.pot(Pot.TREASURY) == 20
    assert conserved(network)


def test_a_false_piece_loses_the_bond_and_at_least_half_of_it_is_burnt() -> None:
    network = quick(evidence_bond=999)
    good = evidence(network, 2)
    false = replace(good, second=replace(good.second, sig=bytes(64)))
    before, burnt = balance(network), network.view.supply().burnt
    receipt = do(network, REPORTER, SubmitEvidence(evidence=false))
    assert receipt.code == Code.PROVES_NOTHING
    assert balance(network) == before - receipt.fee - 999
    assert network.view.supply().burnt - burnt == receipt.fee // 2 + 700
    assert network.view.stakes.ledger.pot(Pot.TREASURY) == 299
    assert network.view.validator(OPERATORS[2].public).standing == Standing.ACTIVE
    assert conserved(network)


def test_the_second_to_submit_and_who_is_too_late_pay_their_fee_alone() -> None:
    network = quick()
    piece = evidence(network, 2)
    assert code(network, USERS[0], SubmitEvidence(evidence=piece)) == Code.OK
    before = balance(network)
    receipt = do(network, REPORTER, SubmitEvidence(evidence=piece))
    assert receipt.code == Code.WITHOUT_EFFECT
    assert balance(network) == before - receipt.fee
    mild = evidence(network, 2, view=9, votes=CONTRADICTION)
    assert code(network, REPORTER, SubmitEvidence(evidence=mild)) == Code.WITHOUT_EFFECT
    late = evidence(network, 1)
    to_epoch(network, 15)
    assert code(network, REPORTER, SubmitEvidence(evidence=late)) == Code.WITHOUT_EFFECT


def test_an_account_may_try_so_often_an_epoch_and_must_have_the_bond() -> None:
    network = quick(epoch_blocks=20, submissions_per_epoch=2, evidence_bond=10)
    false = replace(evidence(network, 1), view=77)
    codes = [code(network, REPORTER, SubmitEvidence(evidence=false)) for _ in range(3)]
    assert codes == [Code.PROVES_NOTHING, Code.PROVES_NOTHING, Code.OVER_LIMIT]
    good = evidence(network, 1)
    assert code(network, REPORTER, SubmitEvidence(evidence=good)) == Code.OVER_LIMIT
    to_epoch(network, 2)
    assert code(network, REPORTER, SubmitEvidence(evidence=good)) == Code.OK
    poor = quick(evidence_bond=10**12)
    assert code(poor, REPORTER, SubmitEvidence(evidence=evidence(poor, 1))) == Code.INSUFFICIENT_BALANCE
    assert poor.view.validator(OPERATORS[1].public).standing == Standing.ACTIVE


# --- one judge


def test_who_attested_what_was_judged_invalid_loses_everything() -> None:
    network, header = judged(Verdict.INVALID)
    lie = network.statement(header, 3, Verdict.VALID)
    receipt = do(network, REPORTER, ReportStatement(statement=lie))
    assert (receipt.code, receipt.output) == (Code.OK, (100).to_bytes(16, "big"))
    record = record_of(network.view.stakes.ledger, OPERATORS[3].public, Epoch(1))
    assert record is not None
    assert record.offences == (OffenceKind.ATTESTED_INVALID,)
    assert network.view.self_stake(OPERATORS[3].public) == 0
    assert network.view.validator(OPERATORS[3].public).standing == Standing.TOMBSTONED
    assert conserved(network)


def test_who_accused_what_was_judged_valid_pays_for_it() -> None:
    network, header = judged(Verdict.VALID, slash_accusation_ppb=20_000_000)
    lie = network.statement(header, 3, Verdict.INVALID)
    receipt = do(network, REPORTER, ReportStatement(statement=lie))
    assert (receipt.code, receipt.output) == (Code.OK, (2).to_bytes(16, "big"))
    assert network.view.validator(OPERATORS[3].public).standing == Standing.JAILED


@pytest.mark.parametrize("verdict", list(Verdict))
def test_who_agrees_with_the_verdict_can_not_be_reported(verdict: Verdict) -> None:
    network, header = judged(verdict)
    truth = network.statement(header, 1, verdict)
    assert code(network, REPORTER, ReportStatement(statement=truth)) == Code.PROVES_NOTHING
    forged = replace(network.statement(header, 3, Verdict(1 - verdict)), signature=bytes(64))
    assert code(network, REPORTER, ReportStatement(statement=forged)) == Code.PROVES_NOTHING
    assert all(network.view.self_stake(each.public) == 100 for each in OPERATORS)


def test_without_a_verdict_nothing_takes_effect_and_nobody_is_slashed() -> None:
    """Half says valid, half invalid: neither is more than 2/3; after the deadline it can not be enacted."""
    network = quick(epoch_blocks=50, relay_parent_window=8, participation_interval=4)
    network.block()
    header = Collator(network).offer([b"x"])
    halves = ((0, 1), Verdict.VALID), ((2, 3), Verdict.INVALID)
    for who, verdict in halves:
        result = network.block(inclusions=[network.attest(header, who, verdict)])
        assert "2/3" in result.void[header.hash]
    for who, verdict in halves:
        said = network.statement(header, who[0], verdict)
        assert code(network, REPORTER, ReportStatement(statement=said)) == Code.WITHOUT_EFFECT
    while network.height < header.relay_parent_height + 8:
        network.block()
    result = network.block(inclusions=[network.attest(header)])
    assert "recent final block" in result.void[header.hash]
    assert all(network.view.self_stake(each.public) == 100 for each in OPERATORS)
    assert network.view.head(1).height == 0


def test_two_contrary_statements_of_one_validator_need_no_verdict() -> None:
    network = quick(correlation_factor=0, slash_double_ppb=500_000_000)
    network.block()
    header = Collator(network).offer([b"x"])
    valid, invalid = (network.statement(header, 2, each) for each in (Verdict.VALID, Verdict.INVALID))
    other = network.statement(header, 1, Verdict.INVALID)
    for wrong in ((valid, other), (invalid, valid), (valid, replace(invalid, signature=bytes(64)))):
        action = ReportContradiction(valid=wrong[0], invalid=wrong[1])
        assert code(network, REPORTER, action) == Code.PROVES_NOTHING
    receipt = do(network, REPORTER, ReportContradiction(valid=valid, invalid=invalid))
    assert (receipt.code, receipt.output) == (Code.OK, (50).to_bytes(16, "big"))
    assert network.view.validator(OPERATORS[2].public).standing == Standing.TOMBSTONED


def test_verdicts_are_kept_for_their_epochs_and_leave_nothing_behind() -> None:
    network, header = judged(Verdict.INVALID, verdict_epochs=1)
    lie = network.statement(header, 3, Verdict.VALID)
    to_epoch(network, 2)
    ledger = network.view.stakes.ledger
    assert find_verdict(ledger, header.hash) is not None
    assert len(Ring(ledger, b"verdicts")) == 1
    again = network.block(inclusions=[network.attest(header, verdict=Verdict.VALID)])
    assert "rejected before" in again.void[header.hash]
    to_epoch(network, 3)
    network.block()
    assert len(Ring(network.view.stakes.ledger, b"verdicts")) == 0
    assert network.view.read(verdict_key(header.hash)) is None
    assert code(network, REPORTER, ReportStatement(statement=lie)) == Code.WITHOUT_EFFECT


def test_a_chain_says_nothing_that_slashes() -> None:
    """Whatever chain a report names and whatever relay parent: what counts is a validator's signature."""
    network, header = judged(Verdict.INVALID)
    lie = network.statement(header, 3, Verdict.VALID)
    for changed in (replace(lie, relay_parent=ZERO_HASH), replace(lie, validator=ValidatorIndex(2))):
        assert code(network, REPORTER, ReportStatement(statement=changed)) == Code.PROVES_NOTHING
    assert code(network, REPORTER, ReportStatement(statement=replace(lie, chain=ChainId(9)))) == Code.OK
