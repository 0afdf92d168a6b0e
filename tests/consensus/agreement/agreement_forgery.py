"""Messages that a test signs in anybody's name, and networks in which it plays some of the validators."""

import heapq
from dataclasses import replace

from agreement_loopback import CHAIN, GENESIS_MS, Net, fake_sign, make_genesis

from consensus.agreement.certificates import leader_fault, pack_group, pack_leader_sigs
from consensus.agreement.events import PeerUp
from consensus.agreement.messages import (
    Certificate,
    Header,
    Justification,
    Kind,
    LeaderSignature,
    Proposal,
    Vote,
    block_hash,
    payload_root,
    sign_bytes,
)
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH


def signature(signer, kind, view, block=ZERO_HASH, aux=ZERO_HASH):
    return fake_sign(signer)(sign_bytes(CHAIN, kind, 1, view, block, aux))


def vote_of(net, signer, kind, view, block=ZERO_HASH, aux=ZERO_HASH, reason=None):
    leader = net.config.validators.leader(view)
    return Vote(
        kind=int(kind),
        epoch=1,
        view=view,
        block=block,
        aux=aux,
        signer=signer,
        sig=signature(signer, kind, view, block, aux),
        leader_sig=signature(leader, Kind.PROPOSE, view, block) if kind is Kind.NOTARIZE else None,
        justification=reason,
    )


def reason_of(net, view, votes):
    """A Justification of (signer, kind, block) first votes, in canonical order."""
    count = len(net.config.validators)
    keys = sorted({(int(kind), block) for _, kind, block in votes})
    groups = []
    for kind, block in keys:
        sigs = {i: signature(i, kind, view, block) for i, k, b in votes if (int(k), b) == (kind, block)}
        groups.append(pack_group(kind, block, ZERO_HASH, sigs, count))
    leader = net.config.validators.leader(view)
    blocks = sorted({block for _, kind, block in votes if kind is Kind.NOTARIZE})
    leader_sigs = tuple(
        LeaderSignature(block=b, sig=signature(leader, Kind.PROPOSE, view, b)) for b in blocks
    )
    return Justification(groups=tuple(groups), fault=None, leader_sigs=leader_sigs)


def proposal_of(net, view, payload, **changes):
    genesis = make_genesis(net.config)
    header = Header(
        epoch=1,
        view=view,
        height=1,
        parent_hash=block_hash(genesis),
        parent_view=0,
        proposer=net.config.validators.leader(view),
        time_ms=GENESIS_MS + net.now_us // 1000,
        payload_root=payload_root(payload),
        payload_len=len(payload),
        tx_count=0,
        state_root=hash_tagged(b"test/state", block_hash(genesis)),
        validators_hash=net.config.validators.validators_hash,
        next_validators_hash=ZERO_HASH,
        flags=0,
    )
    header = replace(header, **changes)
    sig = signature(header.proposer, Kind.PROPOSE, view, block_hash(header))
    return Proposal(header=header, leader_sig=sig, payload=payload, support=(), vote=None)


def without_the_leader(stakes):
    """A started network whose first leader is in the hands of the test."""
    net = Net(stakes)
    leader = int(net.config.validators.leader(1))
    honest = [i for i in range(len(stakes)) if i != leader]
    net.start(*honest)
    for index in honest:
        net.nodes[index].give(PeerUp(leader))
    return net, leader, honest


def certificate_of(validators, ctype, view, block, votes, equivocated=()):
    """A certificate of (signer, kind, block, aux) votes, in canonical order, valid or not.

    `equivocated`: two blocks that the leader proposed, to be shown as its fault.
    """
    keys = sorted({(int(kind), voted, aux) for _, kind, voted, aux in votes})
    groups = []
    for kind, voted, aux in keys:
        signers = [i for i, k, b, x in votes if (int(k), b, x) == (kind, voted, aux)]
        sigs = {i: signature(i, kind, view, voted, aux) for i in signers}
        groups.append(pack_group(kind, voted, aux, sigs, len(validators)))
    leader = validators.leader(view)
    proposed = {b: signature(leader, Kind.PROPOSE, view, b) for _, k, b, _ in votes if k is Kind.NOTARIZE}
    shown = {b: signature(leader, Kind.PROPOSE, view, b) for b in equivocated}
    return Certificate(
        ctype=int(ctype),
        epoch=1,
        view=view,
        block=block,
        groups=tuple(groups),
        fault=leader_fault(shown) if shown else None,
        leader_sigs=pack_leader_sigs(proposed, groups),
    )


def alone(stakes, at_us=1_000_000):
    """A network with one engine up, of a validator that leads neither of the first two views; the test plays
    the rest."""
    net = Net(stakes)
    net.now_us = at_us
    leaders = {net.config.validators.leader(view) for view in (1, 2)}
    me = next(i for i in range(len(stakes)) if i not in leaders)
    net.start(me)
    for other in range(len(stakes)):
        if other != me:
            net.nodes[me].give(PeerUp(other))
    return net, net.nodes[me]


def wait(net, duration_us):
    """Let exactly so much virtual time pass."""
    end = net.now_us + duration_us
    nobody = object()  # an event for a process that is gone, so that the clock stops there
    heapq.heappush(net.queue, (end, next(net.order), 0, nobody, None))
    net.run(lambda: net.now_us >= end)
