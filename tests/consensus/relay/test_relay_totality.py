"""Whatever a block can contain after `check_payload`, executing it returns."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from relay_fakes import (
    ALL_ACCOUNTS,
    BANK_ID,
    USERS,
    Network,
    block_hash,
    make_genesis,
    send_to_instance,
    total_supply,
)

from consensus.candidates.receipts import (
    MAX_MESSAGES_CONSUMED,
    CandidateHeader,
    CandidateInclusion,
    InboxCursor,
    bitmap_of,
)
from consensus.primitives.guest import ChainEndpoint, InstanceEndpoint, Outgoing
from consensus.relay.genesis import issuance
from consensus.relay.registry import chain_genesis_state
from consensus.relay.transactions import CallEnclave, TopUpChain

GENESIS = make_genesis()
HEAD = Network(GENESIS).view.head(1)
ROOT = chain_genesis_state(GENESIS.chains[0].entries).root
CODE = Network(GENESIS).view.chain_record(1).code_hash

U64 = st.sampled_from([0, 1, 2, 255, 2**32, 2**64 - 1])
U32 = st.sampled_from([0, 1, 2, 2**32 - 1])
HASH = st.sampled_from([bytes(32), block_hash(0), block_hash(1), HEAD.head, ROOT, CODE])
INSTANCE = st.builds(
    InstanceEndpoint,
    module=st.sampled_from([BANK_ID, bytes(32)]),
    chain=st.sampled_from([0, 1, 2, 2**32 - 1]),
)
CURSOR = st.builds(
    lambda source, first, count: InboxCursor(
        source=source, first=min(first, 2**64 - 1 - count), next=min(first + count, 2**64 - 1)
    ),
    INSTANCE,
    U64,
    st.sampled_from([1, 2, MAX_MESSAGES_CONSUMED // 3]),  # of one of three lanes
)
HEADER = st.builds(
    CandidateHeader,
    chain=U32,
    height=U64,
    parent_head=HASH,
    relay_parent=HASH,
    relay_parent_height=U64,
    time_ms=st.sampled_from([0, 1_000, 1_010, 2**64 - 1]),
    code_hash=HASH,
    body_hash=HASH,
    pov_hash=HASH,
    pov_bytes=U32,
    pre_root=HASH,
    post_root=HASH,
    inbox=st.lists(CURSOR, max_size=3).map(tuple),
    outgoing=st.lists(
        st.builds(
            Outgoing,
            destination=INSTANCE | st.builds(ChainEndpoint, chain=U32),
            payload=st.sampled_from([b"", b"x" * 100]),
        ),
        max_size=3,
    ).map(tuple),
    fuel_used=U64,
)
"""Mostly nonsense; now and then every field fits."""

FITTING = HEADER.map(
    lambda header: replace(
        header,
        chain=1,
        height=1,
        parent_head=HEAD.head,
        relay_parent=block_hash(0),
        relay_parent_height=0,
        time_ms=1_000,
        code_hash=CODE,
        pre_root=ROOT,
    )
)


def inclusion(network: Network, header: CandidateHeader, data) -> CandidateInclusion:
    if data.draw(st.booleans()):
        return network.attest(header, verdict=data.draw(st.sampled_from([0, 1])))
    members = sorted(data.draw(st.sets(st.integers(0, 199), max_size=5)))
    return CandidateInclusion(
        header=header,
        verdict=data.draw(st.integers(0, 1)),
        epoch=data.draw(U64),
        signers=bitmap_of(members),
        signatures=(bytes(64),) * len(members),
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_candidates_can_be_executed(data) -> None:
    network = Network(GENESIS)
    network.block()
    for _ in range(2):
        headers = data.draw(st.lists(HEADER | FITTING, max_size=4, unique_by=lambda each: each.hash))
        result = network.block(inclusions=[inclusion(network, each, data) for each in headers])
        assert len(result.void) + len(result.enacted) + len(result.rejected) == len(headers)
        assert total_supply(network.view, ALL_ACCOUNTS) == issuance(GENESIS)


def test_a_chain_without_funds_makes_its_instances_deliveries_wait_and_loses_nothing() -> None:
    """A delivery whose own message nobody can pay for is tried again, ever more rarely, until it is paid."""

    poor = replace(GENESIS, chains=(replace(GENESIS.chains[0], balance=0),))
    network = Network(poor)
    own = InstanceEndpoint(module=BANK_ID, chain=1)
    nested = send_to_instance(BANK_ID, 1, send_to_instance(BANK_ID, 0, b"Sfinally=here"))
    shared = InstanceEndpoint(module=BANK_ID, chain=0)
    network.block([network.raw(USERS[0], CallEnclave(instance=shared, input=nested, fuel_limit=9_000))])
    tries = sum(network.block().counters.enclave_calls for _ in range(20))
    assert tries == 5
    assert network.view.instance(own).root == bytes(32)
    network.block([network.raw(USERS[1], TopUpChain(chain=1, amount=1_000))])
    for _ in range(40):
        network.block()
    assert network.view.instance_state(shared, b"finally") == b"here"
    assert network.view.chain_record(1).balance == 900
    assert total_supply(network.view, ALL_ACCOUNTS) == issuance(poor)


def test_a_block_delivers_no_more_than_its_quota() -> None:
    network = Network(make_genesis(deliveries_per_block=3))
    shared = InstanceEndpoint(module=BANK_ID, chain=0)
    call = CallEnclave(instance=shared, input=send_to_instance(BANK_ID, 1, b"S"), fuel_limit=9_000)
    network.block([network.raw(USERS[0], call) for _ in range(7)])
    assert [network.block().counters.enclave_calls for _ in range(4)] == [3, 3, 1, 0]
