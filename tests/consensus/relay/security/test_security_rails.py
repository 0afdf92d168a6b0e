"""Outflow limit and circuit breaker: a chain's own doing, bounded, and over by itself."""

from candidate_fakes import Collator
from relay_fakes import BANK_ID, USERS, Network, send_to_chain, send_to_instance
from security_world import CHAIN, opted_in, subset_network

from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import Amount
from consensus.relay.receipts import DeliveryReceipt
from consensus.relay.security.rails import is_held, rail
from consensus.relay.security.terms import RailTerms
from consensus.relay.transactions import CallEnclave, TopUpChain

OWN = InstanceEndpoint(module=BANK_ID, chain=1)
LIMIT = RailTerms(messages=2, units=Amount(10**9), window_ms=1_000_000)


def railed(rails: RailTerms = LIMIT) -> Network:
    return opted_in(subset_network(rails=rails, breaker_ms=200), {0: 100})


def enact(network: Network, collator: Collator, transactions: list[bytes]):
    header = collator.offer(transactions)
    result = network.block(inclusions=[network.attest(header, who=(0,))])
    collator.advance()
    return header, result


def deliveries(result) -> int:
    return sum(isinstance(each, DeliveryReceipt) for each in result.receipts)


def test_what_crosses_the_limit_waits_and_goes_on_by_itself() -> None:
    network = railed()
    collator = Collator(network)
    enact(network, collator, [b"!Sa=1", b"!Sb=2"])
    assert deliveries(network.block()) == 2
    assert not is_held(network.view, CHAIN, network.view.time_ms)
    _, crossed = enact(network, collator, [b"!Sc=3"])
    assert crossed.enacted
    assert is_held(network.view, CHAIN, network.view.time_ms)
    assert deliveries(network.block()) == 0
    header, refused = enact(network, collator, [b"!Sd=4"])
    assert "circuit breaker" in refused.void[header.hash]
    assert not network.view.can_pay(header)
    quiet = collator.build([b"x"], tip=network.view.chain(CHAIN).tip)
    assert network.block(inclusions=[network.attest(quiet, who=(0,))]).enacted == (quiet.hash,)
    assert rail(network.view, CHAIN).trips == 1
    network.halted_ms += 200
    held = [deliveries(network.block()) for _ in range(40)]
    assert sum(held) == 1  # nothing was lost: it came once, as its lane's rest was over
    assert not is_held(network.view, CHAIN, network.view.time_ms)


def test_fees_count_as_well() -> None:
    network = railed(RailTerms(messages=100, units=Amount(1), window_ms=1_000))
    enact(network, Collator(network), [b"x"])
    assert is_held(network.view, CHAIN, network.view.time_ms)


def test_a_window_that_is_over_counts_no_more() -> None:
    network = railed(RailTerms(messages=2, units=Amount(10**9), window_ms=50))
    collator = Collator(network)
    for _ in range(4):
        enact(network, collator, [b"!Sa=1", b"!Sb=2"])
        network.halted_ms += 50
    assert rail(network.view, CHAIN).trips == 0


def test_what_others_send_trips_nothing() -> None:
    """Users call the chain's instance, make it message the chain and others, and pay into the chain."""
    network = railed(RailTerms(messages=1, units=Amount(1), window_ms=10**6))
    for index, data in enumerate(
        (send_to_chain(1, b"hello"), send_to_instance(BANK_ID, 0, b"Sk=v"), b"Sx=y") * 2
    ):
        user = USERS[index % len(USERS)]
        calls = [network.raw(user, CallEnclave(instance=OWN, input=data, fuel_limit=5_000))]
        calls.append(network.raw(user, TopUpChain(chain=CHAIN, amount=Amount(7))))
        network.block(calls)
    for _ in range(5):
        network.block()
    found = rail(network.view, CHAIN)
    assert (found.messages, found.units, found.trips) == (0, 0, 0)
