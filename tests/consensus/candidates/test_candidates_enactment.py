"""Candidates in relay blocks: enacted in order, rejected, void, paid for, and their messages."""

from dataclasses import replace

import pytest
from candidate_fakes import Collator, validate
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_fakes import (
    ALL_ACCOUNTS,
    BANK_ID,
    USERS,
    Network,
    block_hash,
    make_genesis,
    send_to_chain,
    total_supply,
)

from consensus.agreement.statements import Verdict
from consensus.candidates.execution import CandidateTask
from consensus.candidates.receipts import (
    MAX_HEADER_BYTES,
    MAX_MESSAGES_CONSUMED,
    CandidateHeader,
    CandidateInclusion,
    InboxCursor,
)
from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import DecodeError, InvalidBlock
from consensus.primitives.guest import InstanceEndpoint, Outgoing
from consensus.relay.blocks import check_payload, encode_payload
from consensus.relay.genesis import issuance
from consensus.relay.receipts import CandidateReceipt, DeliveryReceipt
from consensus.relay.transactions import CallEnclave

OWN = InstanceEndpoint(module=BANK_ID, chain=1)
SHARED = InstanceEndpoint(module=BANK_ID, chain=0)


@pytest.fixture
def network() -> Network:
    network = Network()
    network.block()
    return network


def test_an_attested_candidate_moves_the_head_and_pays(network: Network) -> None:
    collator = Collator(network)
    header = collator.offer([b"hello"])
    balance = network.view.chain_record(1).balance
    result = network.block(inclusions=[network.attest(header)])
    assert result.enacted == (header.hash,)
    head = network.view.head(1)
    assert (head.head, head.height, head.state_root) == (header.hash, 1, header.post_root)
    (receipt,) = result.receipts
    assert isinstance(receipt, CandidateReceipt)
    assert network.view.chain_record(1).balance == balance - receipt.fee
    assert receipt.fee >= 1_000
    assert collator.advance().enacted == (header.hash,)
    assert collator.log() == b"hello"
    assert total_supply(network.view, ALL_ACCOUNTS) == issuance(network.genesis)


def test_a_pipeline_is_enacted_in_order_even_in_one_block(network: Network) -> None:
    collator = Collator(network)
    headers = [collator.offer([b"%d" % index]) for index in range(3)]
    assert collator.pipeline.full
    early = network.block(inclusions=[network.attest(headers[1])])
    assert not early.enacted
    assert "does not build on the head" in early.void[headers[1].hash]
    result = network.block(inclusions=[network.attest(each) for each in reversed(headers)])
    assert result.enacted == tuple(each.hash for each in headers)
    assert collator.advance().enacted == result.enacted
    assert collator.log() == b"012"


def bad_signature(inclusion: CandidateInclusion) -> CandidateInclusion:
    return replace(inclusion, signatures=(bytes(64), *inclusion.signatures[1:]))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda n, h: n.attest(h, who=(0, 1)), "2/3"),
        (lambda n, h: bad_signature(n.attest(h)), "signature is bad"),
        (lambda n, h: replace(n.attest(h), epoch=2), "another epoch"),
        (lambda n, h: replace(n.attest(h), signers=bytes([0b10000011])), "validator set"),
        (lambda n, h: n.attest(replace(h, relay_parent=bytes(32))), "recent final block"),
        (lambda n, h: n.attest(replace(h, time_ms=h.time_ms + 1)), "time"),
        (lambda n, h: n.attest(replace(h, code_hash=bytes(32))), "validation code"),
        (lambda n, h: n.attest(replace(h, pre_root=bytes(32))), "pre-state"),
        (lambda n, h: n.attest(replace(h, height=9)), "head"),
        (lambda n, h: n.attest(replace(h, chain=7)), "no such chain"),
        (
            lambda n, h: n.attest(replace(h, inbox=(InboxCursor(source=OWN, first=0, next=1),))),
            "not in its lane",
        ),
        (lambda n, h: n.attest(replace(h, inbox=(InboxCursor(source=OWN, first=1, next=2),))), "start where"),
        (
            lambda n, h: n.attest(
                replace(
                    h,
                    outgoing=(
                        Outgoing(destination=InstanceEndpoint(module=bytes(32), chain=1), payload=b""),
                    ),
                )
            ),
            "did not opt in",
        ),
    ],
)
def test_an_inclusion_that_does_not_hold_is_void_and_changes_nothing(network: Network, spoil, reason) -> None:
    header = Collator(network).offer([b"x"])
    before = (network.view.head(1), network.view.chain_record(1))
    inclusion = spoil(network, header)
    result = network.block(inclusions=[inclusion])
    assert reason in result.void[inclusion.header.hash]
    assert not result.receipts
    assert (network.view.head(1), network.view.chain_record(1)) == before


def test_a_candidate_of_any_collator_consumes_no_more_than_a_block_has_time_for(network: Network) -> None:
    """Over all lanes: the block that enacts it takes each message that it consumed out of the state."""
    header = Collator(network).offer([b"x"])
    cursors = [InboxCursor(source=OWN, first=7, next=7 + MAX_MESSAGES_CONSUMED)]
    full = replace(header, inbox=tuple(cursors))
    assert decode(CandidateHeader, encode(full), limit=MAX_HEADER_BYTES) == full
    with pytest.raises(ValueError, match="256 messages"):
        replace(header, inbox=(*cursors, InboxCursor(source=SHARED, first=0, next=1)))
    too_much = encode(full).replace(encode(cursors[0]), encode(replace(cursors[0], first=6)))
    with pytest.raises(DecodeError, match="256 messages"):
        decode(CandidateHeader, too_much, limit=MAX_HEADER_BYTES)


def test_unsorted_or_repeated_candidates_make_the_block_invalid(network: Network) -> None:
    inclusion = network.attest(Collator(network).offer([b"x"]))
    payload = encode_payload([], [inclusion, inclusion])
    with pytest.raises(InvalidBlock, match="sorted and distinct"):
        check_payload(payload, network.limits, lambda _: None)


def test_a_rejected_candidate_is_recorded_and_the_head_stays(network: Network) -> None:
    collator = Collator(network)
    header = collator.offer([b"x"])
    before = network.view.head(1)
    result = network.block(inclusions=[network.attest(header, verdict=Verdict.INVALID)])
    assert result.rejected == (header.hash,)
    assert replace(network.view.head(1), rejected=()) == before
    again = network.block(inclusions=[network.attest(header)])
    assert again.void[header.hash] == "it was rejected before"
    assert collator.advance().lost == (header.hash,)
    other = collator.offer([b"y"])
    assert network.block(inclusions=[network.attest(other)]).enacted == (other.hash,)


def test_a_chain_without_money_waits() -> None:
    genesis = make_genesis()
    network = Network(replace(genesis, chains=(replace(genesis.chains[0], balance=999),)))
    network.block()
    header = Collator(network).offer([b"x"])
    result = network.block(inclusions=[network.attest(header)])
    assert "balance does not cover" in result.void[header.hash]


def test_an_old_relay_parent_times_a_candidate_out() -> None:
    network = Network(make_genesis(relay_parent_window=4, participation_interval=4))
    network.block()
    collator = Collator(network)
    header = collator.offer([b"x"])
    for _ in range(4):
        network.block()
    assert "recent" in network.block(inclusions=[network.attest(header)]).void[header.hash]
    assert collator.advance().lost == (header.hash,)


def test_a_message_goes_to_the_instance_and_its_answer_comes_back_once(network: Network) -> None:
    collator = Collator(network)
    first = collator.offer([b"!Eping"])
    network.block(inclusions=[network.attest(first)])
    result = network.block()
    assert [type(each) for each in result.receipts] == [DeliveryReceipt]
    collator.advance()
    second = collator.offer([])
    third = collator.offer([b"."])
    assert [(each.first, each.next) for each in second.inbox] == [(0, 1)]
    assert not third.inbox
    network.block(inclusions=[network.attest(second), network.attest(third)])
    assert collator.log() == b"!Eping<echo ping>."
    assert network.view.chain(1).lanes == {OWN: (1, 1)}
    assert total_supply(network.view, ALL_ACCOUNTS) == issuance(network.genesis)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_whatever_happens_messages_arrive_once_and_in_order(data) -> None:
    """Users make an instance message the chain while candidates are built, enacted, lost and rebuilt."""
    network = Network(make_genesis(lane_messages=4))
    network.block()
    collator = Collator(network)
    sent = 0
    flying = []
    for _ in range(data.draw(st.integers(5, 15))):
        raws = []
        wanted = data.draw(st.integers(0, 2))
        for index in range(wanted):
            text = b"%d;" % (sent + index)
            action = CallEnclave(instance=OWN, input=send_to_chain(1, text), fuel_limit=5_000)
            raws.append(network.raw(USERS[index], action))
        if data.draw(st.booleans()) and not collator.pipeline.full:
            flying.append(collator.offer([]))
        included = []
        if data.draw(st.booleans()):
            verdict = data.draw(st.sampled_from([Verdict.VALID, Verdict.VALID, Verdict.INVALID]))
            chosen = flying[: 3 if verdict is Verdict.VALID else 1]
            included = [network.attest(each, verdict=verdict) for each in chosen]
        result = network.block(raws, included)
        # a call whose lane was full failed: nothing of it was lost, and none of it was sent
        codes = [each.code for each in result.receipts if hasattr(each, "transaction")]
        if 9 in codes:
            assert codes == sorted(codes)
        sent += codes.count(0)
        progress = collator.advance()
        flying = [each for each in flying if each.hash not in progress.enacted + progress.lost]
    while network.view.chain(1).lanes.get(OWN, (0, 0)) != (sent, sent):
        if not flying:
            flying = [collator.offer([])]
        network.block(inclusions=[network.attest(each) for each in flying])
        progress = collator.advance()
        flying = [each for each in flying if each.hash not in progress.enacted + progress.lost]
    assert collator.log() == b"".join(b"<%d;>" % index for index in range(sent))


def task_of(network: Network, collator: Collator, header, pov: bytes | None = None) -> CandidateTask:
    chain = network.view.chain(1)
    return CandidateTask(
        header=header,
        pov=collator.povs[header.hash] if pov is None else pov,
        code=network.view.code(chain.code_hash),
        fuel_limit=chain.fuel_limit,
        max_pov_bytes=chain.max_pov_bytes,
        messages=(),
    )


def test_a_validator_finds_an_honest_candidate_valid_and_lies_invalid(network: Network) -> None:
    collator = Collator(network)
    header = collator.offer([b"abc"])
    pov = collator.povs[header.hash]
    assert validate(task_of(network, collator, header)) == (Verdict.VALID, "")
    lies = {
        "another state": replace(header, post_root=bytes(32)),
        "other messages": replace(header, outgoing=(Outgoing(destination=OWN, payload=b"mint me"),)),
        "amount of fuel": replace(header, fuel_used=1),
        "another body": replace(header, body_hash=bytes(32)),
        "witness": replace(header, pre_root=block_hash(99)),
    }
    for reason, lie in lies.items():
        verdict, said = validate(task_of(network, collator, lie, pov))
        assert verdict is Verdict.INVALID
        assert reason in said
    assert validate(task_of(network, collator, header, b"garbage"))[0] is Verdict.INVALID
