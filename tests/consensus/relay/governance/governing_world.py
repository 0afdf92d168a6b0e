"""A network whose votes take three blocks and whose windows fit: epochs of four blocks, 10 ms each."""

from collections.abc import Sequence

from relay_fakes import ALL_ACCOUNTS, OPERATORS, USERS, Network, total_supply
from staking_world import do, quick

from consensus.primitives.crypto import SigningKey
from consensus.relay.governance.proposals import find_proposal
from consensus.relay.governance.records import ProposalRecord, ProposalStage
from consensus.relay.governance.transactions import (
    Change,
    Choice,
    Measure,
    Propose,
    SetParameters,
    VoteAsMember,
)
from consensus.relay.ledger import Ledger
from consensus.relay.receipts import Code

TERMS: dict[str, object] = {
    "evidence_epochs": 8,
    "unbonding_epochs": 8,
    "unbonding_ms": 400,
    "veto_ms": 200,
    "gov_deposit": 5_000,
    "gov_vote_ms": 100,
    "gov_timelock_ms": 40,
    "gov_security_timelock_ms": 120,
    "council_pause_ms": 100,
    "council_window_ms": 300,
}
PROPOSER = USERS[5]


def governed(**parameters: object) -> Network:
    """Four validators with a stake of 100 each; users with money."""
    return quick(**(TERMS | parameters))


def ledger_of(network: Network) -> Ledger:
    return network.view.stakes.ledger


def proposal(network: Network, number: int) -> ProposalRecord:
    found = find_proposal(ledger_of(network), number)
    assert found is not None
    return found


def stage(network: Network, number: int) -> ProposalStage:
    return ProposalStage(proposal(network, number).stage)


def propose(network: Network, measure: Measure, sender: SigningKey = PROPOSER) -> int:
    """Put a measure to the vote; the number of the proposal."""
    receipt = do(network, sender, Propose(title="a title", measure=measure))
    assert receipt.code == Code.OK, receipt.output
    return int.from_bytes(receipt.output, "big")


def refusal(network: Network, measure: Measure) -> str:
    """Why a measure can not be put to the vote."""
    receipt = do(network, PROPOSER, Propose(title="a title", measure=measure))
    assert receipt.code == Code.MEASURE_REFUSED
    return receipt.output.decode()


def vote(network: Network, number: int, choice: Choice = Choice.YES, who: Sequence[int] = (0, 1, 2)) -> None:
    """Members of the set, by their place among the operators, say something."""
    action = VoteAsMember(proposal=number, choice=int(choice))
    results = network.block([network.raw(OPERATORS[each], action) for each in who])
    assert [each.code for each in results.receipts] == [Code.OK] * len(who)


def until(network: Network, number: int, *stages: ProposalStage) -> ProposalStage:
    """Execute empty blocks until a proposal is in one of these stages."""
    for _ in range(100):
        if stage(network, number) in stages:
            return stage(network, number)
        network.block()
    raise AssertionError(f"proposal {number} stays {stage(network, number).name}")


def decided(network: Network, measure: Measure) -> ProposalRecord:
    """A measure that passed, when it was carried out or could not be."""
    number = propose(network, measure)
    vote(network, number)
    until(network, number, ProposalStage.DONE, ProposalStage.FAILED)
    return proposal(network, number)


def setting(**values: int) -> SetParameters:
    return SetParameters(changes=tuple(Change(name=name, value=value) for name, value in values.items()))


def supply_is_whole(network: Network) -> bool:
    return total_supply(network.view, ALL_ACCOUNTS) == network.view.supply().issued
