"""Rewards of real processes: votes are counted, an absent validator's part is burnt, claims are paid."""

from pathlib import Path

import pytest
import trio
from network_world import epoch, genesis_of, kill, now, play

from bench.cluster import Cluster
from bench.operators import Operator, Sender
from consensus.primitives.codec import decode
from consensus.primitives.ids import Amount, Epoch
from consensus.relay.ledger import RECORD_LIMIT
from consensus.relay.rewards.records import EpochRewards, ParticipationRecord, participation_key
from consensus.relay.stake.records import main_pool
from consensus.relay.stake.stakes import Stakes
from consensus.relay.stake.transactions import Claim
from consensus.relay.transactions import Transfer

EPOCH_BLOCKS = 40


async def report(cluster: Cluster, index: int, wanted: int) -> EpochRewards:
    """What came of an epoch that is over, as a node has it."""
    await epoch(cluster, index, wanted + 1)
    with trio.fail_after(10):
        while True:
            for each in (await cluster.clients[index].economy()).epochs:
                if each.epoch == wanted:
                    return each
            await trio.sleep(0.05)


async def samples(cluster: Cluster, index: int, wanted: int) -> int:
    raw = (await cluster.clients[index].state(participation_key(Epoch(wanted)))).value
    assert raw is not None
    return decode(ParticipationRecord, raw, limit=RECORD_LIMIT).samples


@pytest.mark.slow
def test_all_earn_while_they_vote_and_nobody_what_an_absent_one_would_have(tmp_path: Path) -> None:
    async def scene(cluster: Cluster) -> None:
        together = await report(cluster, 0, 2)
        assert await samples(cluster, 0, 2) >= 1
        await kill(cluster, 3)
        alone = await now(cluster, 0) + 1
        without = await report(cluster, 0, alone)
        for each in (together, without):
            assert each.issued > 0
            assert each.issued + each.fees + each.attesters == each.treasury + each.validators + each.burnt
        assert await report(cluster, 1, alone) == without
        share = without.burnt * 100 // (without.issued + without.fees)
        assert 15 <= share <= 25  # a quarter of what the treasury left
        assert together.burnt * 4 < together.issued + together.fees
        genesis_hash = genesis_of(cluster.directory).hash
        account = Operator(cluster.directory.validators[0], genesis_hash, lambda: cluster.clients[:3]).account
        rich = Sender(cluster.directory.plan.bench_key(0), genesis_hash, lambda: cluster.clients[:3])
        await rich.send(Transfer(to=account.public, amount=Amount(10**6)))
        claim = Claim(pool=main_pool(Stakes.own(account.public)))
        await Sender(account, genesis_hash, lambda: cluster.clients[:3]).send(claim)
        assert (await cluster.clients[0].account(account.public)).balance > 10**6
        cluster.nodes[3].start()
        await epoch(cluster, 3, await now(cluster, 0))

    play(tmp_path, scene, idle_interval_ms=50, epoch_blocks=EPOCH_BLOCKS)
