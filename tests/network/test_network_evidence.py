"""A validator that signs twice, shown to one node alone: all know, a block convicts it, and it is out.

Real processes. The offender is a peer of our own, with a validator's identity and its key.
"""

from contextlib import asynccontextmanager

import trio
from network_world import genesis_of, kill

from bench.cluster import Cluster, start_cluster
from bench.directory import NodeHome, lay_out, new_plan_name
from bench.plan import Plan
from consensus.agreement.messages import Kind, Vote, encode_message, sign_bytes
from consensus.primitives.crypto import SigningKey
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, ValidatorIndex, View
from net.identity import PeerId
from net.lanes import Lane
from net.transport import Transport
from node.api import EvidenceReport
from node.config import load_config
from node.keys import open_node_keys

TIMEOUT_S = 60.0
OFFENDER = 4


@asynccontextmanager
async def impostor(cluster: Cluster, offender: NodeHome, victim: NodeHome):
    """A connection to one node under the offender's identity."""
    keys = open_node_keys(load_config(offender.directory).keys_path, None, validator=True)
    target = PeerId(
        open_node_keys(load_config(victim.directory).keys_path, None, validator=True).identity.header.public
    )
    up = trio.Event()

    async def ignore(peer: PeerId, lane: Lane, frame: bytes) -> None:
        pass

    transport = Transport(
        identity_seed=keys.identity.seed,
        network_id=genesis_of(cluster.directory).hash,
        listen=("127.0.0.1", offender.peer_port),
        peers={target: ("127.0.0.1", victim.peer_port)},
        authorised=lambda peer: peer == target,
        receive=ignore,
        on_peer_up=lambda peer: up.set(),
        on_peer_down=lambda peer, reason: None,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        await up.wait()
        yield lambda frame: transport.send(target, Lane.CONSENSUS, frame)
        nursery.cancel_scope.cancel()


def finalize(key: SigningKey, chain: Hash, epoch: int, view: int, block: bytes) -> bytes:
    """An encoded FINALIZE vote of the offender."""
    name = Hash(block * 32)
    return encode_message(
        Vote(
            kind=int(Kind.FINALIZE),
            epoch=Epoch(epoch),
            view=View(view),
            block=name,
            aux=ZERO_HASH,
            signer=ValidatorIndex(OFFENDER),
            sig=key.sign(sign_bytes(chain, Kind.FINALIZE, epoch, view, name, ZERO_HASH)),
            leader_sig=None,
            justification=None,
        )
    )


async def convicted(cluster: Cluster, index: int) -> EvidenceReport:
    """What a node knows of the offence, once a final block carries it."""
    while True:
        known = await cluster.clients[index].evidence()
        assert len(known) <= 1
        if known and known[0].height is not None:
            return known[0]
        await trio.sleep(0.02)


async def scene(cluster: Cluster) -> None:
    genesis = genesis_of(cluster.directory)
    homes = cluster.directory.validators
    await kill(cluster, OFFENDER)
    key = open_node_keys(load_config(homes[OFFENDER].directory).keys_path, None, validator=True).consensus[0]
    async with impostor(cluster, homes[OFFENDER], homes[0]) as send:
        while not await cluster.clients[0].evidence():
            status = await cluster.clients[0].status()
            for block in (b"a", b"b"):  # again and again: the view moves on
                assert send(finalize(key.signing_key, genesis.hash, status.epoch, status.view + 1, block))
            await trio.sleep(0.02)

    others = [index for index in cluster.validators if index != OFFENDER]
    reports = [await convicted(cluster, index) for index in others]
    assert len(set(reports)) == 1
    assert (reports[0].signer, reports[0].offence) == (OFFENDER, "double_finalize")
    logs = {index: cluster.nodes[index].log_file.read_text() for index in others}
    assert [logs[index].count('"evidence.found"') for index in others] == [1, 0, 0, 0]
    assert [logs[index].count('"evidence.received"') for index in others] == [0, 1, 1, 1]

    out = Epoch(reports[0].epoch + 2)  # the next set may have been elected before the conviction
    for index in others:
        status = await cluster.wait_for(
            index, lambda status: status.epoch >= out, timeout_s=TIMEOUT_S, what=f"epoch {out}"
        )
        assert status.validators == len(others)
    names = [each.name for each in await cluster.clients[0].validators(out)]
    assert homes[OFFENDER].name not in names
    assert homes[OFFENDER].name in [each.name for each in await cluster.clients[0].validators(1)]

    await kill(cluster, 1)  # what it knows is durable
    cluster.nodes[1].start()
    await cluster.wait_for(1, lambda status: status.epoch >= out, timeout_s=TIMEOUT_S, what="its place again")
    assert await convicted(cluster, 1) == reports[0]

    cluster.nodes[OFFENDER].start()  # its own node follows from here on, as an observer, and is told why
    await cluster.wait_for(
        OFFENDER,
        lambda status: status.epoch >= out and status.validator_index is None,
        timeout_s=TIMEOUT_S,
        what="the chain without it",
    )
    assert await convicted(cluster, OFFENDER) == reports[0]


def test_whoever_signs_twice_is_known_to_all_convicted_by_a_block_and_out_of_the_next_set(tmp_path) -> None:
    plan = Plan(
        network=new_plan_name(),
        validators=5,
        collator=False,
        idle_interval_ms=20,
        bench_accounts=1,
        epoch_blocks=8,
    )

    async def main() -> None:
        with trio.fail_after(TIMEOUT_S):
            async with start_cluster(lay_out(tmp_path / "net", plan)) as cluster:
                await scene(cluster)

    trio.run(main)
