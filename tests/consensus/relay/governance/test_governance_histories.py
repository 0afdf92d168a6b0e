"""Whatever is voted, with whatever else blocks hold: every block executes, and every unit is somewhere."""

from typing import Any

from governing_world import PROPOSER, governed, ledger_of, supply_is_whole
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_fakes import OPERATORS, USERS, Network
from staking_world import CONTRADICTION, evidence

from consensus.agreement.evidence import Evidence
from consensus.primitives.ids import Amount, ChainId, Epoch
from consensus.relay.governance.proposals import agenda, find_proposal, proposal_count
from consensus.relay.governance.records import AGENDA_KEY, COMING_KEY, AgendaRecord, ProposalStage
from consensus.relay.governance.report import governance_report, proposal_report
from consensus.relay.governance.transactions import (
    Change,
    CouncilPause,
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
    VoteAsMember,
    VoteStake,
)
from consensus.relay.governance.windows import FIXED, changed
from consensus.relay.ledger import Ledger, Pot
from consensus.relay.parameters import ChainTerms, Parameters
from consensus.relay.stake.records import main_pool, nomination_name
from consensus.relay.stake.transactions import Delegate, Redelegate, Undelegate, Withdraw
from consensus.relay.transactions import Transfer

NAMES = tuple(each.public for each in OPERATORS)
GOVERNED = sorted(set(Parameters.__slots__) - set(FIXED))
VALUES = st.one_of(st.integers(0, 12), st.sampled_from([20, 100, 10**6, 5 * 10**8, 10**9, 2**32 - 1, 10**12]))
CHANGES = st.lists(st.builds(Change, name=st.sampled_from(GOVERNED), value=VALUES), min_size=1, max_size=3)
CHAIN = st.sampled_from([ChainId(1), ChainId(2)])
ACCOUNT = st.sampled_from([each.public for each in USERS])
SEATS = st.sets(ACCOUNT, max_size=3).map(lambda found: tuple(sorted(found)))
MEASURE = st.one_of(
    CHANGES.map(lambda found: SetParameters(changes=tuple(found))),
    CHANGES.map(lambda found: SetParameters(changes=tuple(found))),
    st.builds(Spend, to=ACCOUNT, amount=st.sampled_from([Amount(0), Amount(1), Amount(500), Amount(2**127)])),
    st.builds(PauseChain, chain=CHAIN, span_ms=st.sampled_from([0, 50, 100, 2**64 - 1])),
    st.builds(ResumeChain, chain=CHAIN),
    st.builds(StopChain, chain=CHAIN),
    st.builds(SetTerms, chain=CHAIN, terms=st.just(ChainTerms(fuel_limit=7))),
    st.builds(SetCouncil, members=SEATS, threshold=st.integers(0, 3)),
    st.builds(SwitchVersion, version=st.integers(0, 3), epoch=st.sampled_from([Epoch(0), Epoch(2**64 - 1)])),
    st.builds(VetoSlash, case=st.integers(0, 2)),
)
NOMINATION = st.sampled_from([nomination_name(NAMES[:1]), nomination_name(NAMES[:2]), nomination_name(NAMES)])
BEHIND = st.sampled_from([NAMES[:1], NAMES[:2], NAMES])
NUMBER = st.integers(1, 6)
UNITS = st.integers(1, 400).map(Amount)
BY_USERS = st.one_of(
    st.builds(Propose, title=st.just("a title"), measure=MEASURE),
    st.builds(VoteStake, proposal=NUMBER, pool=NOMINATION.map(main_pool), choice=st.integers(0, 5)),
    st.builds(CouncilPause, chain=CHAIN, span_ms=st.sampled_from([1, 90])),
    st.builds(Delegate, validators=BEHIND, amount=UNITS),
    st.builds(Undelegate, nomination=NOMINATION, amount=UNITS),
    st.builds(Redelegate, nomination=NOMINATION, validators=BEHIND, amount=UNITS),
    st.just(Withdraw()),
    st.builds(Transfer, to=ACCOUNT, amount=UNITS),
)
MEMBERS_SAY = st.builds(VoteAsMember, proposal=NUMBER, choice=st.sampled_from([1, 1, 1, 2, 3, 4]))


def send(network: Network, asked: list[tuple[Any, Any]], **more: Any) -> None:
    """A block with these transactions; who could not pay does not lose its place."""
    raws = []
    for sender, action in asked:
        network.nonces[sender.public] = network.nonces.get(sender.public, 0)
        raws.append(network.raw(sender, action, max_fee=10**8))
    network.block(raws, **more)
    for sender, _ in asked:
        network.nonces[sender.public] = network.view.account(sender.public).nonce


def found_out(network: Network, index: int) -> Evidence:
    """What convicts a member of the running set."""
    place = index % len(network.validators)
    return evidence(network, place, epoch=int(network.epoch), votes=CONTRADICTION)


def check(network: Network) -> None:
    """What holds after every block."""
    ledger = ledger_of(network)
    waiting = agenda(ledger)
    assert list(waiting.entries) == sorted(waiting.entries, key=lambda each: (each.due_ms, each.number))
    found = [find_proposal(ledger, each) for each in range(1, proposal_count(ledger) + 1)]
    open_ = [each for each in found if each.stage in (ProposalStage.VOTING, ProposalStage.WAITING)]
    assert {each.number for each in waiting.entries} == {each.number for each in open_}
    assert ledger.pot(Pot.DEPOSITS) == sum(each.deposit for each in found)
    assert supply_is_whole(network)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_every_block_executes_and_every_unit_is_somewhere(data: st.DataObject) -> None:
    network = governed(gov_deposit=50, gov_timelock_ms=10, gov_security_timelock_ms=20, gov_vote_ms=60)
    send(network, [(USERS[0], Delegate(validators=NAMES[:2], amount=Amount(300)))])
    for step in range(data.draw(st.integers(20, 45))):
        asked = []
        for _ in range(data.draw(st.integers(0, 3))):
            asked.append((data.draw(st.sampled_from(USERS)), data.draw(BY_USERS)))
        if step % 3 == 0:
            asked.append((PROPOSER, Propose(title="", measure=data.draw(MEASURE))))
        ballot = data.draw(MEMBERS_SAY)
        if data.draw(st.booleans()):
            asked += [(each, ballot) for each in OPERATORS]
        more = {}
        if data.draw(st.integers(0, 19)) == 0 and step > 4:
            more["evidence"] = [found_out(network, 1)]
        send(network, asked, **more)
        check(network)
    report = governance_report(ledger_of(network))
    for each in report.proposals:
        assert proposal_report(network.view.stakes, each.number) is not None


def in_force(network: Network, values: dict[str, int]) -> bool:
    """Decide that the next epoch has other parameters, if they may be; between two blocks."""
    ledger = Ledger(network.store, network.root)
    try:
        whole = changed(ledger.parameters, [Change(name=name, value=value) for name, value in values.items()])
    except ValueError:
        return False
    ledger.put(COMING_KEY, whole)
    network.root = ledger.commit()
    network.store.apply(ledger.added)
    for node, change in ledger.reference_changes().items():
        network.references[node] = network.references.get(node, 0) + change
    return True


EXTREMES = st.sampled_from(
    [0, 1, 2, 3, 40, 10**6, 10**9 - 1, 10**9, 2**16 - 1, 2**32 - 1, 2**63, 2**64 - 1, 2**127]
)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_parameters_that_can_be_voted_stop_the_chain(data: st.DataObject) -> None:
    network = governed()
    send(network, [(USERS[0], Delegate(validators=NAMES[:2], amount=Amount(300)))])
    for _ in range(3):
        for name in data.draw(st.sets(st.sampled_from(GOVERNED), min_size=1, max_size=12).map(sorted)):
            in_force(network, {name: data.draw(EXTREMES)})
        epoch = network.epoch
        pieces = [found_out(network, data.draw(st.integers(0, 1)))]
        while network.epoch == epoch:
            asked = [(data.draw(st.sampled_from(USERS)), data.draw(BY_USERS)) for _ in range(2)]
            send(network, asked, evidence=pieces)
            pieces = []
            check(network)


def test_the_agenda_is_one_leaf_and_is_not_written_where_nothing_falls_due() -> None:
    network = governed()
    network.block()
    assert ledger_of(network).read(AGENDA_KEY) is None
    send(network, [(PROPOSER, Propose(title="", measure=Spend(to=NAMES[0], amount=Amount(1))))])
    before = ledger_of(network).existing(AgendaRecord, AGENDA_KEY)
    network.block()
    assert ledger_of(network).existing(AgendaRecord, AGENDA_KEY) == before
