"""What a pause and a stop do to a chain's candidates and to what it has sent."""

from candidate_fakes import Collator
from governing_world import decided, governed, proposal, propose, stage, vote
from relay_fakes import BANK_ID, Network

from consensus.agreement.statements import Verdict
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import ChainId
from consensus.relay.governance.records import ProposalStage
from consensus.relay.governance.transactions import Measure, PauseChain, ResumeChain, StopChain
from consensus.relay.receipts import DeliveryReceipt
from consensus.relay.registry import ChainRecord

CHAIN = ChainId(1)
OWN = InstanceEndpoint(module=BANK_ID, chain=CHAIN)


def test_a_paused_chain_enacts_nothing_and_goes_on_where_it_was() -> None:
    network = governed(council_pause_ms=290)
    collator = Collator(network)
    assert decided(network, PauseChain(chain=CHAIN, span_ms=290)).stage == ProposalStage.DONE
    header = collator.build([b"one"])
    assert not network.view.can_pay(header)
    result = network.block(inclusions=[network.attest(header)])
    assert next(iter(result.void.values())).startswith("the chain is paused until")
    assert decided(network, ResumeChain(chain=CHAIN)).stage == ProposalStage.DONE
    header = collator.build([b"two"])
    assert network.view.can_pay(header)
    assert network.block(inclusions=[network.attest(header)]).enacted == (header.hash,)


def test_a_paused_chain_still_rejects_what_is_invalid() -> None:
    network = governed()
    collator = Collator(network)
    assert decided(network, PauseChain(chain=CHAIN, span_ms=100)).stage == ProposalStage.DONE
    header = collator.build([b"one"])
    result = network.block(inclusions=[network.attest(header, verdict=Verdict.INVALID)])
    assert result.rejected == (header.hash,)


def sent_as_it_closes(network: Network, measure: Measure) -> ChainRecord:
    """Enact a candidate that sends a message in the very block that carries a measure out."""
    collator = Collator(network)
    number = propose(network, measure)
    vote(network, number)
    while network.view.time_ms + 10 < proposal(network, number).closes_ms:
        network.block()
    header = collator.build([b"!Skey=value"])
    assert network.block(inclusions=[network.attest(header)]).enacted == (header.hash,)
    assert stage(network, number) is ProposalStage.DONE
    record = network.view.chain_record(CHAIN)
    assert record is not None
    return record


def deliveries(network: Network, blocks: int) -> int:
    """How many messages so many blocks deliver."""
    receipts = [each for _ in range(blocks) for each in network.block().receipts]
    return sum(isinstance(each, DeliveryReceipt) for each in receipts)


def test_what_a_paused_chain_sent_waits_in_its_lane_and_arrives_once() -> None:
    network = governed(gov_vote_ms=40)
    record = sent_as_it_closes(network, PauseChain(chain=CHAIN, span_ms=100))
    assert record.closed(network.view.time_ms) is not None
    assert deliveries(network, 9) == 0
    assert deliveries(network, 40) == 1  # a lane that rested is tried again a while after
    assert network.view.instance_state(OWN, b"key") == b"value"


def test_a_stopped_chain_never_enacts_again_but_what_it_sent_arrives() -> None:
    network = governed(gov_vote_ms=40, gov_timelock_ms=0)
    record = sent_as_it_closes(network, StopChain(chain=CHAIN))
    assert record.closed(2**60) == "the chain is stopped"
    assert deliveries(network, 1) == 1
    assert network.view.chain_record(CHAIN) == record


def test_a_candidate_of_a_stopped_chain_is_void() -> None:
    network = governed(gov_timelock_ms=0)
    collator = Collator(network)
    assert decided(network, StopChain(chain=CHAIN)).stage == ProposalStage.DONE
    header = collator.build([b"one"])
    assert not network.view.can_pay(header)
    result = network.block(inclusions=[network.attest(header)])
    assert list(result.void.values()) == ["the chain is stopped"]
