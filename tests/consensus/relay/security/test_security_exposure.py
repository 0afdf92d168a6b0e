"""The exposure ledger and the cost to corrupt: lower bounds that no coalition undercuts."""

from dataclasses import replace
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from relay_fakes import OPERATORS, USERS, Network
from security_world import CHAIN, STAKE, allocate, opted_in, subset_network
from staking_world import code, do, to_epoch

from consensus.agreement.thresholds import stake_thresholds
from consensus.primitives.guest import Policy
from consensus.primitives.ids import Amount
from consensus.relay.parameters import BILLION, ChainTerms
from consensus.relay.receipts import Code
from consensus.relay.registry import ChainRecord
from consensus.relay.security.caps import stake_cap, value_cap
from consensus.relay.security.corruption import Signer, cheapest, lost
from consensus.relay.security.exposure import ExposureReport
from consensus.relay.security.terms import SubsetTerms
from consensus.relay.transactions import RegisterChain, TopUpChain

SIGNERS = st.lists(
    st.builds(Signer, weight=st.integers(1, 40), risk=st.integers(0, 60), power=st.integers(1, 9)),
    min_size=1,
    max_size=8,
)


def report(network: Network) -> ExposureReport:
    return network.view.exposure_report(network.epoch, list(network.view.chains()))


@given(SIGNERS)
def test_no_coalition_costs_less_than_the_bound(signers: list[Signer]) -> None:
    quorum = stake_thresholds(sum(each.weight for each in signers)).quorum
    bound = cheapest(signers, quorum)
    costs = [
        sum(each.risk for each in chosen)
        for size in range(1, len(signers) + 1)
        for chosen in combinations(signers, size)
        if sum(each.weight for each in chosen) >= quorum
    ]
    assert bound.risk <= min(costs)
    assert min(costs) - bound.risk <= max(each.risk for each in signers)
    assert cheapest(signers[::-1], quorum).risk == bound.risk


@given(st.integers(0, 10**12), st.integers(0, BILLION), st.integers(0, BILLION // 2))
def test_what_is_lost_is_never_more_than_what_a_reporter_leaves(risk: int, ppb: int, reporter: int) -> None:
    gone = lost(risk, ppb, reporter)
    slashed = risk * ppb // BILLION
    assert 0 <= gone <= slashed <= risk
    assert 0 <= slashed * (BILLION - reporter) - gone * BILLION < BILLION


def test_a_replicated_chain_costs_two_thirds_of_all_stake_and_a_subset_two_thirds_of_what_is_allocated() -> (
    None
):
    network = subset_network()
    terms = ChainTerms()
    other = RegisterChain(name="r", code=b"\0asm-chain", entries=(), terms=terms, balance=Amount(5))
    assert code(network, USERS[0], other) is Code.OK
    opted_in(network, {0: 300, 1: 300, 2: 300})
    subset, replicated = report(network).chains
    keep = BILLION - network.view.parameters.slash_reporter_ppb
    assert (subset.policy, subset.attesters, subset.at_risk) == ("subset", 3, 900)
    assert subset.cost_to_corrupt == 601 * keep // BILLION
    assert not subset.covered
    assert not subset.convictable  # three of four validators: those who remain are no 2/3 of all stake
    assert replicated.attesters == 4
    assert replicated.cost_to_corrupt == 2_667 * keep // BILLION
    assert replicated.covered
    assert not replicated.convictable
    assert (subset.stake_cap, replicated.stake_cap) == (None, None)


def test_who_remains_can_convict_where_the_coalition_is_small() -> None:
    network = opted_in(subset_network(), {0: 900, 1: 100})
    (chain,) = report(network).chains
    assert (chain.coalition, chain.convictable) == (1, True)


def test_overlap_is_reported_and_a_loss_is_counted_once() -> None:
    network = subset_network()
    second = RegisterChain(
        name="two",
        code=b"\0asm-chain",
        entries=(),
        terms=ChainTerms(policy=int(Policy.SUBSET), subset=SubsetTerms()),
        balance=Amount(0),
    )
    assert code(network, USERS[0], second) is Code.OK
    assert allocate(network, 0, 800) is Code.OK
    assert allocate(network, 0, 600, chain=2) is Code.OK
    to_epoch(network, 3)
    found = report(network)
    first = found.validators[0]
    assert [(each.chain, each.units) for each in first.allocations] == [(1, 800), (2, 600)]
    assert (first.stake, first.allocated, first.worst_loss) == (STAKE, 1_400, STAKE)
    assert first.overlap_ppb == 1_400_000_000
    assert found.validators[1].allocated == 0
    assert [each.shared for each in found.chains] == [534, 401]  # all but of what the bound takes


def test_a_chain_that_nobody_attests_is_worth_nothing_and_enacts_nothing() -> None:
    network = subset_network()
    network.block()
    (chain,) = report(network).chains
    assert (chain.attesters, chain.cost_to_corrupt, chain.convictable, chain.covered) == (0, 0, False, False)


def young(network: Network, age_ms: int) -> ChainRecord:
    record = network.view.chain_record(CHAIN)
    return replace(record, registered_height=7, registered_ms=network.view.time_ms - age_ms)


def test_caps_grow_with_age_and_bind_no_chain_of_the_genesis() -> None:
    network = subset_network(
        chain_stake_start=100, chain_stake_daily=240, chain_value_start=5, chain_value_daily=0
    )
    now, hour = network.view.time_ms, 3_600_000
    caps = [stake_cap(network.view.parameters, young(network, hours * hour), now) for hours in (0, 1, 5, 240)]
    assert caps == [100, 110, 150, 2_500]
    assert value_cap(network.view.parameters, young(network, hour), now) == 5
    assert stake_cap(network.view.parameters, network.view.chain_record(CHAIN), now) > 1 << 120


def test_a_young_chain_puts_no_more_at_risk_and_takes_no_more_in() -> None:
    network = subset_network(
        chain_stake_start=500, chain_stake_daily=0, chain_value_start=50, chain_value_daily=0
    )
    second = RegisterChain(
        name="two",
        code=b"\0asm-chain",
        entries=(),
        terms=ChainTerms(policy=int(Policy.SUBSET), subset=SubsetTerms()),
        balance=Amount(51),
    )
    assert code(network, USERS[0], second) is Code.OVER_LIMIT
    receipt = do(network, USERS[0], replace(second, balance=Amount(50)))
    chain = int.from_bytes(receipt.output, "big")
    assert code(network, USERS[1], TopUpChain(chain=chain, amount=Amount(1))) is Code.OVER_LIMIT
    assert code(network, USERS[1], TopUpChain(chain=CHAIN, amount=Amount(10**6))) is Code.OK
    for who, amount in ((0, 900), (1, 600)):
        assert allocate(network, who, amount, chain=chain) is Code.OK
    to_epoch(network, 4)
    found = report(network)
    assert [each.allocations[0].units for each in found.validators[:2]] == [300, 200]
    assert found.chains[1].stake_cap == 500
    assert OPERATORS[0].public == found.validators[0].account
