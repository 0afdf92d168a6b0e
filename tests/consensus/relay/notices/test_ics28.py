"""The properties that interchain security promises between a provider and its consumer chains, here.

ICS-28 (cosmos/ibc, spec/app/ics-028-cross-chain-validation, "System Model and Properties"): the relay chain
is the provider, the example chain the consumer, its inbox the CCV channel. Each test quotes what it is about.
"""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from notices_world import CHAIN, Set, Slash, World, world
from relay_fakes import OPERATORS, USERS
from staking_world import DOUBLE, bond, code, evidence, rotation

from consensus.agreement.statements import Verdict
from consensus.light.slashing_proof import (
    AgainstVerdict,
    Fault,
    SetSignature,
    SlashingProof,
    verify_slashing_proof,
)
from consensus.primitives.ids import Epoch, ValidatorIndex
from consensus.relay.elections.records import exposure
from consensus.relay.epochs import is_answerable
from consensus.relay.offences.transactions import ReportStatement, SubmitEvidence
from consensus.relay.receipts import Code
from consensus.relay.stake.stakes import Stakes
from consensus.relay.stake.transactions import BondMore, Unbond, Withdraw
from enclaves.guests import agora

OPEN = {"correlation_factor": 0, "evidence_epochs": 3, "unbonding_epochs": 3}


def act(found: World, move: tuple[str, int]) -> None:
    """One thing that changes who validates, or nothing."""
    what, index = move
    network = found.network
    operator = OPERATORS[index]
    match what:
        case "bond":
            code(network, USERS[index], bond(network, USERS[index], f"new {index}", 60 + index))
        case "more":
            code(network, operator, BondMore(amount=30))
        case "unbond":
            code(network, operator, Unbond(amount=35))
        case "withdraw":
            code(network, operator, Withdraw())
        case "rotate":
            code(network, operator, rotation(network, operator, f"fresh {network.height}"))
        case "slash":
            index %= len(network.validators)
            piece = evidence(network, index, epoch=network.epoch, votes=DOUBLE)
            network.block(evidence=[piece])
        case "consume":
            found.consume()
        case _:
            network.block()


MOVES = st.lists(
    st.tuples(
        st.sampled_from(
            ["bond", "more", "unbond", "withdraw", "rotate", "slash", "consume", "consume", "block"]
        ),
        st.integers(0, 3),
    ),
    min_size=8,
    max_size=30,
)
RANDOM = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@RANDOM
@given(MOVES)
def test_validator_set_replication(moves) -> None:
    """ "Every validator set on any consumer chain MUST either be or have been a validator set on the provider
    chain."

    Keys and stakes too, under the very root that the headers of that epoch name; never before it is one.
    """
    found = world(**OPEN)
    been = {1: (found.set_root(1), found.network.view.epoch_set(1))}
    for move in moves:
        act(found, move)
        now = found.network.epoch
        if now not in been:
            been[now] = (found.set_root(now), found.network.view.epoch_set(now))
        for each in found.received.get(CHAIN, ()):
            if isinstance(each, Set):
                root, members = been[each.epoch]
                assert each.root == root
                assert each.members == tuple((m.consensus_key, m.stake) for m in members.members)
        held = found.state(agora.relay_key())
        if held is not None and (told := agora.decode_relay(held)).epoch:
            assert told.set_root == been[told.epoch][0]


@RANDOM
@given(MOVES)
def test_bond_based_consumer_voting_power(moves) -> None:
    """ "for all heights h on the provider chain, hp <= h < hp': Power(cc,hc,val) <= VP( pBonded(h,val) +
    sumUnbonding(hp, h, val) + sumSlash(hp, h, val) )"

    What is behind a member of a set that a consumer was told of, bonded or leaving, and what was slashed of
    it for that epoch or another, is never less than its power there, until nobody answers for the epoch.
    """
    found = world(**OPEN)
    for move in moves:
        act(found, move)
        view, network = found.network.view, found.network
        for told in found.received.get(CHAIN, ()):
            if not isinstance(told, Set):
                continue
            epoch = Epoch(told.epoch)
            if not is_answerable(view, epoch, now=network.epoch, now_ms=view.time_ms):
                continue
            powers = dict(told.members)
            for member in view.epoch_set(epoch).members:
                behind = view.stakes.electoral_stake(Stakes.own(member.account), epoch)
                slashed = sum(found.taken(member.account, each) for each in range(1, network.epoch + 1))
                assert powers[member.consensus_key] <= behind + slashed


@pytest.mark.parametrize("late", [0, 8])
def test_slashable_consumer_misbehavior(late: int) -> None:
    """ "any evidence of misbehavior that is received by cc at height he, such that ts(he) < ts(hi) +
    UnbondingPeriod, MUST results in exactly the amount of tokens sf*Token(Power(cc,hi,val)) to be slashed on
    the provider chain. Furthermore, val MUST NOT be slashed more than once for the same misbehavior."

    The infraction: to attest a block of the consumer chain that more than 2/3 of all stake found invalid.
    """
    terms = {"slash_invalid_ppb": 250_000_000, "verdict_epochs": 3}
    found = world(**(OPEN | terms), veto_ms=1)
    network = found.network
    header, _ = found.offer([b"junk"])
    lie = found.network.statement(header, 3, Verdict.VALID)
    account = network.view.epoch_set(network.epoch).members[3].account
    inclusion = network.attest(header, (0, 1, 2), Verdict.INVALID)
    root = found.set_root(1)
    network.block(inclusions=[inclusion])
    for _ in range(late):
        network.block()
    whole = exposure(network.view, Epoch(1), account).total
    before = network.view.self_stake(account)
    assert code(network, USERS[0], ReportStatement(statement=lie)) == Code.OK
    due = whole * terms["slash_invalid_ppb"] // 10**9
    assert before - network.view.self_stake(account) == due == found.taken(account, 1) == 25
    for again in (lie, lie):
        assert code(network, USERS[1], ReportStatement(statement=again)) == Code.WITHOUT_EFFECT
    assert found.taken(account, 1) == due
    slashes = [each for each in found.consume_all() if isinstance(each, Slash)]
    assert [(each.account, each.epoch, each.amount) for each in slashes] == [(account, 1, due)]
    proof = SlashingProof(
        chain=network.hash,
        epoch=Epoch(1),
        validators=found.set_record(1),
        signer=ValidatorIndex(3),
        fault=AgainstVerdict(
            relay_parent=header.relay_parent,
            candidate=header.hash,
            verdict=int(Verdict.INVALID),
            judges=tuple(SetSignature(validator=index, signature=each) for index, each in inclusion.signed()),
            contrary=lie.signature,
        ),
    )
    finding = verify_slashing_proof(root, proof)
    assert (finding.offence, finding.offence) == (Fault.ATTESTED_INVALID, slashes[0].offence)


@RANDOM
@given(MOVES)
def test_channel_order(moves) -> None:
    """ "If a packet P1 is sent over a CCV channel before a packet P2, then P2 MUST NOT be received by the
    other end of the channel before P1." And validity: "If a packet P is received by one end of a CCV channel,
    then P MUST have been sent by the other end of the channel."

    Notices are received in the order of the blocks that they are of, a block's slashes before the set that
    begins above it, none twice, and each of something that did happen in that block.
    """
    found = world(**OPEN)
    for move in moves:
        act(found, move)
    happened = found.convictions()
    received = found.consume_all()
    order = [(each.height, isinstance(each, Set)) for each in received]
    assert order == sorted(order)
    assert len(set(map(repr, received))) == len(received)
    assert happened == {(each.account, each.epoch) for each in received if isinstance(each, Slash)}


def test_evidence_of_the_same_misbehavior_by_another_way_slashes_once() -> None:
    """By a transaction and in a block: "val MUST NOT be slashed more than once for the same misbehavior"."""
    found = world(epoch_blocks=50, correlation_factor=0)
    network = found.network
    piece = evidence(network, 1)
    assert code(network, USERS[0], SubmitEvidence(evidence=piece)) == Code.OK
    once = found.taken(OPERATORS[1].public, 1)
    network.block(evidence=[piece])
    assert code(network, USERS[0], SubmitEvidence(evidence=replace(piece))) == Code.WITHOUT_EFFECT
    assert found.taken(OPERATORS[1].public, 1) == once > 0
    assert sum(isinstance(each, Slash) for each in found.consume_all()) == 1
