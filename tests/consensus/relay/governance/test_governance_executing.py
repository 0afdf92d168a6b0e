"""What passed takes effect whole and when it was said to, or leaves the reason and nothing else."""

from dataclasses import fields, replace

import pytest
from governing_world import (
    PROPOSER,
    decided,
    governed,
    ledger_of,
    proposal,
    propose,
    refusal,
    setting,
    stage,
    supply_is_whole,
    until,
    vote,
)
from hypothesis import given
from hypothesis import strategies as st
from relay_fakes import CHAIN_CODE, OPERATORS, USERS, Network, ScriptedGuests, key
from staking_world import code, do, to_epoch

from consensus.agreement.thresholds import Mode
from consensus.primitives.ids import Amount, ChainId, Epoch
from consensus.relay.epochs import current_set
from consensus.relay.governance.council import council
from consensus.relay.governance.executing import pace_of, vote_ms, wait_ms
from consensus.relay.governance.proposals import find_measure
from consensus.relay.governance.records import MAX_AGENDA, URGENT_PLACES, Pace, ProposalStage
from consensus.relay.governance.transactions import (
    Change,
    Choice,
    CouncilPause,
    OnboardChain,
    PauseChain,
    Propose,
    ResumeChain,
    SetCouncil,
    SetParameters,
    SetTerms,
    Spend,
    StopChain,
    SwitchVersion,
    VetoSlash,
)
from consensus.relay.governance.versions import version_of
from consensus.relay.governance.windows import FIXED, ORDINARY, changed, pace_of_changes
from consensus.relay.ledger import Ledger, Pot
from consensus.relay.offences.convicting import convict
from consensus.relay.offences.table import OffenceKind
from consensus.relay.parameters import ChainTerms, Parameters
from consensus.relay.receipts import Code
from consensus.relay.registry import Registry
from consensus.relay.run import Run
from consensus.relay.stake.stakes import Stakes

NAMES = tuple(each.public for each in OPERATORS)
SEATS = tuple(sorted(each.public for each in USERS[:3]))
NAMED = {each.name for each in fields(Parameters)}


# --- which parameters


def test_what_is_filed_is_a_parameter_and_filed_once() -> None:
    assert set(FIXED) | ORDINARY <= NAMED
    assert not set(FIXED) & ORDINARY


@given(data=st.data())
def test_a_change_is_refused_or_makes_parameters_that_could_be_a_genesis(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(NAMED)), min_size=1, max_size=4))
    values = st.one_of(
        st.integers(0, 40), st.sampled_from([10**9, 5 * 10**8, 2**32, 2**64, 2**128 - 1, 86_400_000])
    )
    changes = [Change(name=name, value=data.draw(values)) for name in names]
    before = Parameters()
    try:
        after = changed(before, changes)
    except ValueError:
        return  # which names what is wrong: the examples below
    assert len(set(names)) == len(names)
    assert not set(names) & set(FIXED)
    ends_ms = {name: 2**63 + getattr(after, name) for name in NAMED if name.endswith("_ms")}
    del ends_ms["issuance_max_ms"]  # which nothing adds to a time
    assert max(ends_ms.values()) < 2**64, "a block that enters such a time can not be executed"
    assert replace(before, **{each.name: each.value for each in changes}) == after


@pytest.mark.parametrize("name", sorted(FIXED))
def test_what_belongs_to_the_genesis_is_not_governed(name: str) -> None:
    value = getattr(Parameters(), name)
    with pytest.raises(ValueError, match=f"{name} is not governed"):
        changed(Parameters(), [Change(name=name, value=value)])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"unbonding_ms": 50}, "trusting_ms must be below unbonding_ms"),
        ({"evidence_epochs": 9}, "evidence_epochs is at most unbonding_epochs"),
        ({"unbonding_epochs": 7}, "evidence_epochs is at most unbonding_epochs"),
        ({"veto_ms": 400}, "veto_ms must be below unbonding_ms"),
        ({"gov_vote_ms": 400}, "gov_vote_ms is above 0 and below unbonding_ms"),
        ({"gov_timelock_ms": 120}, "gov_timelock_ms must be below gov_security_timelock_ms"),
        ({"gov_security_timelock_ms": 40}, "gov_timelock_ms must be below gov_security_timelock_ms"),
        ({"council_pause_ms": 300}, "council_pause_ms is above 0 and below council_window_ms"),
        ({"slash_burn_ppb": 499_999_999}, "slash_burn_ppb is at least 500000000"),
        ({"max_validators": 201}, "max_validators is at most 200"),
        ({"gov_quorum_ppb": 0}, "gov_quorum_ppb is a fraction"),
        ({"base_fee": 1, "nothing": 1}, "there is no parameter 'nothing'"),
        ({"unbonding_ms": 2**63}, "unbonding_ms is at most 3153600000000, a hundred years"),
        ({"veto_ms": 400, "gov_vote_ms": 500, "unbonding_ms": 450}, "gov_vote_ms is above 0 and below"),
        ({"jail_epochs": 2**32}, "32-bit"),
        ({"unbonding_ms": 2**64 - 1, "veto_ms": 2**64 - 2}, "unbonding_ms is at most"),
        ({"gov_security_timelock_ms": 2**64 - 1}, "gov_security_timelock_ms is at most"),
        ({"council_window_ms": 2**64 - 1}, "council_window_ms is at most"),
    ],
)
def test_windows_that_contradict_each_other_are_refused_when_proposed(
    values: dict[str, int], reason: str
) -> None:
    assert reason in refusal(governed(), setting(**values))


def test_no_change_and_one_change_twice_are_refused() -> None:
    assert "at least one parameter" in refusal(governed(), SetParameters(changes=()))
    twice = SetParameters(changes=(Change(name="base_fee", value=1), Change(name="base_fee", value=2)))
    assert "each of them once" in refusal(governed(), twice)


def test_windows_that_came_to_contradict_each_other_are_refused_when_due() -> None:
    network = governed()
    first = propose(network, setting(veto_ms=300))
    second = propose(network, setting(unbonding_ms=250), USERS[4])
    vote(network, first)
    vote(network, second)
    until(network, second, ProposalStage.DONE, ProposalStage.FAILED)
    assert stage(network, first) is ProposalStage.DONE
    assert stage(network, second) is ProposalStage.FAILED
    assert "veto_ms must be below unbonding_ms" in proposal(network, second).reason
    to_epoch(network, network.epoch + 1)
    assert (network.view.parameters.veto_ms, network.view.parameters.unbonding_ms) == (300, 400)


# --- how long it takes


@pytest.mark.parametrize("name", sorted(NAMED - set(FIXED)))
def test_the_security_models_own_rules_wait_longer(name: str) -> None:
    parameters = Parameters()
    pace = pace_of_changes([Change(name=name, value=0)])
    assert pace is (Pace.ORDINARY if name in ORDINARY else Pace.SECURITY)
    assert wait_ms(parameters, Pace.SECURITY) > wait_ms(parameters, Pace.ORDINARY) > 0
    assert (
        pace_of_changes([Change(name=name, value=0), Change(name="gov_quorum_ppb", value=1)]) is Pace.SECURITY
    )


def test_windows_fractions_quorum_and_timelocks_are_of_the_security_model() -> None:
    for name in NAMED:
        rules = name.startswith(("slash_", "evidence_e", "unbonding", "veto", "jail", "verdict", "downtime"))
        rules = rules or (name.startswith(("gov_", "council_")) and name != "gov_deposit")
        if rules or name in (
            "max_validators",
            "min_stake",
            "exit_cap_ppb",
            "correlation_factor",
            "fast_mode",
        ):
            assert name not in ORDINARY, name


def test_only_what_holds_back_or_gives_back_is_urgent_and_leaves_time_for_a_veto() -> None:
    assert pace_of(PauseChain(chain=ChainId(1), span_ms=1)) is Pace.URGENT
    assert pace_of(StopChain(chain=ChainId(1))) is Pace.ORDINARY
    assert pace_of(SwitchVersion(version=2, epoch=Epoch(3))) is Pace.SECURITY
    assert 0 < vote_ms(Parameters(), Pace.URGENT) < Parameters().veto_ms


def test_a_change_waits_its_time_and_then_for_the_epochs_end() -> None:
    network = governed()
    number = propose(network, setting(max_validators=3, base_fee=7))
    vote(network, number)
    until(network, number, ProposalStage.WAITING)
    record = proposal(network, number)
    assert record.pace == Pace.SECURITY
    assert record.due_ms >= record.closes_ms + 120
    until(network, number, ProposalStage.DONE)
    assert network.view.time_ms >= record.due_ms > network.view.time_ms - 10
    seen = []
    while network.epoch == (network.height - 1) // 4 + 1 and network.height % 4:
        seen.append(network.view.parameters.base_fee)
        network.block()
    assert set(seen) <= {100}
    assert network.view.parameters.base_fee == 7
    begun = network.epoch
    assert len(network.validators) == 4
    to_epoch(network, begun + 1)
    assert len(network.validators) == 3


def test_another_mode_is_that_of_the_next_elected_set_and_of_no_set_before() -> None:
    network = governed()
    assert decided(network, setting(fast_mode=0, window=2)).stage == ProposalStage.DONE
    to_epoch(network, network.epoch + 1)
    begun = network.epoch
    assert (network.validators.mode, network.validators.window) == (Mode.STRICT, 1)
    to_epoch(network, begun + 1)
    assert (network.validators.mode, network.validators.window) == (Mode.OFF, 2)
    old = current_set(network.view, chain_id_hash=network.hash, epoch=Epoch(begun))
    assert (old.mode, old.window) == (Mode.STRICT, 1)


def test_security_takes_more_than_a_majority() -> None:
    for measure, ends in (
        (setting(jail_epochs=3), ProposalStage.REJECTED),
        (setting(base_fee=3), ProposalStage.WAITING),
    ):
        network = governed(gov_veto_ppb=500_000_000, gov_vote_ms=200)
        number = propose(network, measure)
        vote(network, number, Choice.YES, (0, 1))
        vote(network, number, Choice.NO, (2,))
        assert until(network, number, ProposalStage.REJECTED, ProposalStage.WAITING) is ends


# --- money


def rich(**parameters: object) -> Network:
    """With units in the treasury: the fees of its first epochs."""
    network = governed(**parameters)
    do(network, USERS[1], Propose(title="", measure=setting(base_fee=1)))
    to_epoch(network, 2)
    assert ledger_of(network).pot(Pot.TREASURY)
    return network


def test_the_treasury_is_spent_to_the_unit_or_not_at_all() -> None:
    network = rich()
    held = ledger_of(network).pot(Pot.TREASURY)
    to = key("somebody new").public
    record = decided(network, Spend(to=to, amount=Amount(held)))
    assert record.stage == ProposalStage.DONE
    assert network.view.account(to).balance == held
    record = decided(network, Spend(to=to, amount=Amount(10**30)))
    assert record.stage == ProposalStage.FAILED
    assert "the treasury has" in record.reason
    assert network.view.account(to).balance == held
    assert "nothing is to be spent" in refusal(network, Spend(to=to, amount=Amount(0)))


def test_a_chain_comes_without_a_deposit_and_with_what_the_treasury_gives() -> None:
    network = rich()
    measure = OnboardChain(
        name="two", owner=USERS[2].public, code=CHAIN_CODE, entries=(), terms=ChainTerms(), balance=Amount(5)
    )
    assert decided(network, measure).stage == ProposalStage.DONE
    (record,) = [each for each in network.view.chains() if each.name == "two"]
    assert (record.owner, record.deposit, record.balance) == (USERS[2].public, 0, 5)
    assert supply_is_whole(network)
    too_much = replace(measure, terms=ChainTerms(fuel_limit=2**60))
    assert "chain_fuel_limit" in refusal(network, too_much)


# --- chains


def test_terms_change_and_a_stop_is_for_good() -> None:
    network = governed()
    terms = ChainTerms(fuel_limit=1, max_pov_bytes=2)
    assert decided(network, SetTerms(chain=ChainId(1), terms=terms)).stage == ProposalStage.DONE
    record = network.view.chain_record(ChainId(1))
    assert record is not None
    assert record.terms == terms
    held = (record.balance, record.deposit)
    assert decided(network, StopChain(chain=ChainId(1))).stage == ProposalStage.DONE
    record = network.view.chain_record(ChainId(1))
    assert record is not None
    assert (record.balance, record.deposit) == held
    assert record.closed(2**60) == "the chain is stopped"
    for measure in (StopChain(chain=ChainId(1)), PauseChain(chain=ChainId(1), span_ms=1)):
        assert "chain 1 is stopped" in refusal(network, measure)
    assert "there is no chain 9" in refusal(network, StopChain(chain=ChainId(9)))


def test_a_pause_ends_by_itself_or_by_a_vote() -> None:
    network = governed()
    assert decided(network, PauseChain(chain=ChainId(1), span_ms=100)).stage == ProposalStage.DONE
    record = network.view.chain_record(ChainId(1))
    assert record is not None
    assert record.paused_until_ms == network.view.time_ms + 100
    assert (
        record.closed(record.paused_until_ms - 1) == f"the chain is paused until {record.paused_until_ms} ms"
    )
    assert record.closed(record.paused_until_ms) is None
    assert "a pause takes 1 to 100 ms" in refusal(network, PauseChain(chain=ChainId(1), span_ms=101))
    network = governed(council_pause_ms=250, gov_vote_ms=50)
    assert decided(network, PauseChain(chain=ChainId(1), span_ms=250)).stage == ProposalStage.DONE
    assert decided(network, ResumeChain(chain=ChainId(1))).stage == ProposalStage.DONE
    record = network.view.chain_record(ChainId(1))
    assert record is not None
    assert record.closed(network.view.time_ms) is None
    assert "is not paused" in refusal(network, ResumeChain(chain=ChainId(1)))


# --- the council


def seated(**parameters: object) -> Network:
    network = governed(**parameters)
    assert decided(network, SetCouncil(members=SEATS, threshold=2)).stage == ProposalStage.DONE
    return network


def test_the_council_pauses_one_chain_for_the_shortest_span_and_then_has_to_wait() -> None:
    network = seated()
    first, second = (next(each for each in USERS if each.public == seat) for seat in SEATS[:2])
    wish = CouncilPause(chain=ChainId(1), span_ms=90)
    assert do(network, first, wish).output == b"\x00"
    assert do(network, first, wish).output == b"\x00"  # one voice, however often
    assert do(network, second, replace(wish, span_ms=60)).output == b"\x01"
    record = network.view.chain_record(ChainId(1))
    acted_ms = network.view.time_ms
    assert record is not None
    assert record.paused_until_ms == acted_ms + 60
    while network.view.time_ms + 10 < acted_ms + 300:
        assert code(network, first, wish) == Code.NOT_YET
    assert record.closed(network.view.time_ms) is None, "it ended by itself, and could not be renewed"
    assert do(network, first, wish).output == b"\x00"
    assert do(network, second, wish).output == b"\x01"


def test_what_a_member_wanted_is_forgotten_and_wishes_for_other_chains_do_not_add_up() -> None:
    network = seated()
    first, second = (next(each for each in USERS if each.public == seat) for seat in SEATS[:2])
    wish = CouncilPause(chain=ChainId(1), span_ms=90)
    assert do(network, first, wish).output == b"\x00"
    for _ in range(10):
        network.block()
    assert do(network, second, wish).output == b"\x00"
    assert [each.member for each in council(ledger_of(network)).wishes] == [second.public]
    outsider = next(each for each in USERS if each.public not in SEATS)
    assert code(network, outsider, wish) == Code.NOT_ON_COUNCIL
    for bad in (replace(wish, span_ms=0), replace(wish, span_ms=101), replace(wish, chain=ChainId(7))):
        assert code(network, first, bad) == Code.MEASURE_REFUSED


def test_a_new_council_does_not_get_a_new_act() -> None:
    network = seated(council_window_ms=2_000)
    first, second = (next(each for each in USERS if each.public == seat) for seat in SEATS[:2])
    for each in (first, second):
        do(network, each, CouncilPause(chain=ChainId(1), span_ms=10))
    assert decided(network, SetCouncil(members=SEATS[:1], threshold=1)).stage == ProposalStage.DONE
    assert code(network, first, CouncilPause(chain=ChainId(1), span_ms=10)) == Code.NOT_YET
    assert code(network, second, CouncilPause(chain=ChainId(1), span_ms=10)) == Code.NOT_ON_COUNCIL


@pytest.mark.parametrize(
    ("members", "threshold"),
    [(SEATS, 1), (SEATS, 4), (SEATS[::-1], 2), (SEATS[:1] * 2, 2), ((), 1), (SEATS, 0)],
)
def test_a_council_acts_by_more_than_half(members: tuple[bytes, ...], threshold: int) -> None:
    assert "council" in refusal(governed(), SetCouncil(members=members, threshold=threshold))


# --- versions and vetoes


def test_a_version_switches_at_an_epoch_and_can_be_called_off_before() -> None:
    network = governed()
    assert decided(network, SwitchVersion(version=2, epoch=Epoch(90))).stage == ProposalStage.DONE
    view = network.view
    assert [version_of(view, Epoch(each)) for each in (1, 89, 90, 91)] == [1, 1, 2, 2]
    assert "call that off first" in refusal(network, SwitchVersion(version=3, epoch=Epoch(99)))
    assert decided(network, SwitchVersion(version=1, epoch=Epoch(0))).stage == ProposalStage.DONE
    assert version_of(network.view, Epoch(90)) == 1
    assert decided(network, SwitchVersion(version=3, epoch=Epoch(0))).stage == ProposalStage.DONE
    epoch = network.epoch if network.height % 4 else network.epoch - 1
    assert [version_of(network.view, Epoch(epoch + each)) for each in (0, 1)] == [1, 3]
    to_epoch(network, network.epoch + 1)
    assert "a switch is to a later one" in refusal(network, SwitchVersion(version=2, epoch=Epoch(99)))


def convicted(network: Network, index: int) -> int:
    """Convict a member by a verdict, between two blocks; the units that were cut."""
    ledger = Ledger(network.store, network.root)
    run = Run(
        context=network.context(),
        ledger=ledger,
        registry=Registry(ledger),
        stakes=Stakes(ledger),
        parameters=ledger.parameters,
        guests=ScriptedGuests(),
    )
    taken = convict(run, NAMES[index], Epoch(network.epoch), OffenceKind.FALSE_ACCUSATION)
    run.stakes.settle()
    network.root = ledger.commit()
    network.store.apply(ledger.added)
    for node, change in ledger.reference_changes().items():
        network.references[node] = network.references.get(node, 0) + change
    return taken


def test_a_vetoed_case_gives_back_what_it_took() -> None:
    network = governed(slash_accusation_ppb=200_000_000)
    to_epoch(network, 2)
    before = network.view.stakes.total_bonded()
    assert convicted(network, 3) == 20
    assert network.view.stakes.total_bonded() == before - 20
    assert decided(network, VetoSlash(case=1)).stage == ProposalStage.DONE
    network.block()
    assert network.view.stakes.total_bonded() == before
    assert "there is no open case 1" in refusal(network, VetoSlash(case=1))
    assert supply_is_whole(network)


def test_a_veto_that_would_come_too_late_is_not_put_to_the_vote() -> None:
    network = governed()
    to_epoch(network, 2)
    convicted(network, 3)
    for _ in range(10):
        network.block()
    assert "can be vetoed until" in refusal(network, VetoSlash(case=1))


# --- bounds


def test_places_are_bounded_and_some_are_kept_for_what_can_not_wait() -> None:
    network = governed(max_transactions=100, unbonding_ms=2_000)
    measure = setting(base_fee=1)
    actions = [Propose(title=str(each), measure=measure) for each in range(MAX_AGENDA)]
    result = network.block([network.raw(PROPOSER, each) for each in actions])
    codes = [each.code for each in result.receipts]
    ordinary = MAX_AGENDA - URGENT_PLACES
    assert codes == [Code.OK] * ordinary + [Code.OVER_LIMIT] * URGENT_PLACES
    urgent = Propose(title="", measure=PauseChain(chain=ChainId(1), span_ms=1))
    result = network.block([network.raw(PROPOSER, urgent) for _ in range(URGENT_PLACES + 1)])
    assert [each.code for each in result.receipts] == [Code.OK] * URGENT_PLACES + [Code.OVER_LIMIT]
    for _ in range(100):
        network.block()
    assert {stage(network, each) for each in range(1, MAX_AGENDA + 1)} == {ProposalStage.NO_QUORUM}
    assert ledger_of(network).pot(Pot.DEPOSITS) == 0
    assert find_measure(ledger_of(network), 1) is None
    assert supply_is_whole(network)


def test_a_proposal_that_can_not_pay_its_deposit_or_cannot_be_done_changes_nothing() -> None:
    network = governed(gov_deposit=10**12)
    assert (
        code(network, PROPOSER, Propose(title="", measure=setting(base_fee=1))) == Code.INSUFFICIENT_BALANCE
    )
    network = governed()
    refusal(network, setting(epoch_blocks=9))
    assert ledger_of(network).pot(Pot.DEPOSITS) == 0


def test_a_vote_whose_set_is_forgotten_before_it_is_counted_decides_nothing_and_costs_nothing() -> None:
    network = governed(evidence_epochs=1, unbonding_epochs=1, unbonding_ms=101, veto_ms=100)
    actions = [Propose(title=str(each), measure=setting(base_fee=1)) for each in range(30)]
    network.block([network.raw(PROPOSER, each) for each in actions])
    before = network.view.account(PROPOSER.public).balance
    for _ in range(50):
        network.block()
    stages = [stage(network, each) for each in range(1, 31)]
    lapsed = stages.count(ProposalStage.LAPSED)
    assert stages == [ProposalStage.NO_QUORUM] * (30 - lapsed) + [ProposalStage.LAPSED] * lapsed
    assert 0 < lapsed < 30
    assert network.view.account(PROPOSER.public).balance == before + 5_000 * lapsed
    assert supply_is_whole(network)
