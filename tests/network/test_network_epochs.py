"""Epochs of real processes: sets that change, nodes that come late, a key for one without memory."""

import pytest
import trio
from network_world import TIMEOUT_S, epoch, genesis_of, kill, now, play

from bench.chaos_epochs import Turnover, broken_promises, run
from bench.cluster import Cluster
from bench.operators import Operator, Sender
from bench.plan import AGORA_CHAIN
from bench.workload import AgoraAccount, agora_transfers
from consensus.primitives.ids import Amount
from consensus.relay.transactions import Transfer


async def is_needed(cluster: Cluster, index: int) -> None:
    """Kill another: from here on nothing is final without the vote of `index`, and it goes on."""
    other = 0 if index else 1
    await kill(cluster, other)
    await epoch(cluster, index, await now(cluster, index) + 2)
    cluster.nodes[other].start()
    await epoch(cluster, other, await now(cluster, index))


def test_a_set_changes_under_kills_and_nothing_forks() -> None:
    turnover = Turnover(validators=4, epochs=4, epoch_blocks=10, joins=1, leaves=1)
    report = trio.run(run, turnover, None)
    assert broken_promises(report, turnover) == [], report


def test_a_node_comes_epochs_late_and_all_come_back_at_a_boundary(tmp_path) -> None:
    async def scene(cluster: Cluster) -> None:
        await kill(cluster, 3)
        await epoch(cluster, 0, await now(cluster, 0) + 3)
        cluster.nodes[3].start()
        await epoch(cluster, 3, await now(cluster, 0))
        await is_needed(cluster, 3)
        before = await now(cluster, 0)
        while (await cluster.clients[0].status()).final_height % 6 < 5:  # noqa: ASYNC110
            await trio.sleep(0.001)
        await kill(cluster, *cluster.validators)
        for node in cluster.nodes:
            node.start()
        for index in cluster.validators:
            await epoch(cluster, index, before + 1)

    play(tmp_path, scene, idle_interval_ms=30, epoch_blocks=6)


@pytest.mark.slow
def test_after_losing_its_journal_a_validator_follows_and_votes_again_with_a_fresh_key(tmp_path) -> None:
    async def scene(cluster: Cluster) -> None:
        home = cluster.directory.validators[3]
        genesis_hash = genesis_of(cluster.directory).hash
        operator = Operator(home, genesis_hash, lambda: cluster.clients[:3])
        rich = Sender(cluster.directory.plan.bench_key(0), genesis_hash, lambda: cluster.clients[:3])
        await rich.send(Transfer(to=operator.account.public, amount=Amount(10**9)))
        await kill(cluster, 3)
        (home.directory / "data" / "journal").unlink()
        cluster.nodes[3].start()
        await epoch(cluster, 3, await now(cluster, 0) + 2)
        assert (await cluster.clients[3].status()).amnesic  # in every epoch, until the key is another
        key = operator.make_key("fresh")
        await kill(cluster, 3)
        cluster.nodes[3].start()
        await operator.rotate(key)
        await cluster.wait_for(
            3, lambda status: not status.amnesic, timeout_s=TIMEOUT_S, what="its vote back"
        )
        members = await cluster.clients[0].validators(await now(cluster, 3))
        assert members[3].consensus_key == key.public
        await is_needed(cluster, 3)
        assert [await client.evidence() for client in cluster.clients] == [[], [], [], []]

    play(tmp_path, scene, idle_interval_ms=50, epoch_blocks=20, amnesia="next_epoch")


@pytest.mark.slow
def test_a_consumer_chain_is_enacted_in_every_epoch(tmp_path) -> None:
    """Attestations bind their epoch: what is in flight over a boundary is attested anew; nothing is lost."""

    async def scene(cluster: Cluster) -> None:
        assert cluster.collator is not None
        plan, collator = cluster.directory.plan, cluster.clients[cluster.collator]
        source = agora_transfers([AgoraAccount(plan.bench_key(0), plan.agora_domain())])
        began, head = await now(cluster, 0), 0
        while head < 8 or await now(cluster, 0) < began + 3:
            head += 1
            answers = await collator.chain_submit(AGORA_CHAIN, [next(source)])
            assert all(answer.accepted for answer in answers)
            while (await cluster.clients[0].chain(AGORA_CHAIN)).head_height < head:  # noqa: ASYNC110
                await trio.sleep(0.02)
        logs = [node.log_file.read_text() for node in cluster.nodes]
        for trouble in ("candidate.lost", "candidate.invalid", "candidate.abstained", "peer.banned"):
            assert not any(f'"{trouble}"' in log for log in logs)

    play(tmp_path, scene, idle_interval_ms=50, epoch_blocks=6, collator=True)


@pytest.mark.slow
def test_ten_epochs_of_joining_leaving_weighing_and_rotating_under_kills_do_not_fork() -> None:
    turnover = Turnover(validators=7, epochs=10, joins=3, leaves=2)
    report = trio.run(run, turnover, None)
    assert broken_promises(report, turnover) == [], report
    assert report["kills"] >= 10
