"""Governance among real processes: what is voted takes effect everywhere, and an older node stops in time."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from network_world import TIMEOUT_S, epoch, genesis_of, play

from bench.cluster import Cluster
from bench.operators import Operator, Sender
from consensus.primitives.ids import Amount, Epoch
from consensus.relay.governance.transactions import (
    Change,
    Choice,
    Measure,
    Propose,
    SetParameters,
    SwitchVersion,
    VoteAsMember,
)
from consensus.relay.ledger import PARAMETERS_KEY, decode_parameters
from consensus.relay.parameters import Parameters
from consensus.relay.transactions import Transfer

NEWER_NODE = Path(__file__).parent / "newer_node.py"
WINDOWS = {
    "gov_vote_ms": 4_000,
    "gov_timelock_ms": 200,
    "gov_security_timelock_ms": 400,
    "gov_deposit": 5_000,
}


class Polity:
    """Who proposes and who votes in a cluster of four."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.hash = genesis_of(cluster.directory).hash
        self.proposer = Sender(cluster.directory.plan.bench_key(0), self.hash, lambda: cluster.clients[:3])

    async def decide(self, measure: Measure) -> None:
        """Propose, have three of four vote for it, wait until it was carried out."""
        await self.proposer.send(Propose(title="a title", measure=measure))
        number = (await self.cluster.clients[0].governance()).proposals[0].number
        async with trio.open_nursery() as nursery:
            for home in self.cluster.directory.validators[:3]:
                nursery.start_soon(
                    self._vote, Operator(home, self.hash, lambda: self.cluster.clients[:3]), number
                )
        assert int((await self.cluster.clients[0].proposal(number)).yes) == 300
        while (found := await self.cluster.clients[0].proposal(number)).stage in ("voting", "waiting"):  # noqa: ASYNC110
            await trio.sleep(0.1)
        assert (found.stage, found.reason) == ("done", "")

    async def fund(self) -> None:
        """Give every operator what its votes cost."""
        for home in self.cluster.directory.validators:
            account = Operator(home, self.hash, lambda: self.cluster.clients[:3]).account.public
            await self.proposer.send(Transfer(to=account, amount=Amount(10**6)))

    async def _vote(self, operator: Operator, number: int) -> None:
        sender = Sender(operator.account, self.hash, lambda: self.cluster.clients[:3])
        await sender.send(VoteAsMember(proposal=number, choice=int(Choice.YES)))

    async def parameters(self, index: int) -> Parameters:
        """As one node's newest final state has them."""
        raw = (await self.cluster.clients[index].state(PARAMETERS_KEY)).value
        assert raw is not None
        return decode_parameters(raw)


def govern(path: Path, scene: Callable[[Polity], Awaitable[None]]) -> None:
    """Run a scene against four validators with quick votes, whose operators have money."""

    async def funded(cluster: Cluster) -> None:
        polity = Polity(cluster)
        await polity.fund()
        await scene(polity)

    play(path, funded, idle_interval_ms=50, epoch_blocks=20, parameters=WINDOWS)


@pytest.mark.slow
def test_a_parameter_is_voted_on_carried_out_and_the_same_everywhere(tmp_path: Path) -> None:
    async def scene(polity: Polity) -> None:
        changes = (Change(name="base_fee", value=7), Change(name="fast_mode", value=0))
        await polity.decide(SetParameters(changes=changes))
        decided = (await polity.cluster.clients[0].status()).epoch
        for index in range(4):
            await epoch(polity.cluster, index, decided + 3)  # the mode is that of the next elected set
            found = await polity.parameters(index)
            assert (found.base_fee, found.fast_mode) == (7, 0)
        before = (await polity.cluster.clients[0].account(polity.proposer.public)).balance
        await polity.proposer.send(Transfer(to=polity.proposer.public, amount=Amount(1)))
        after = (await polity.cluster.clients[0].account(polity.proposer.public)).balance
        assert 7 < before - after < 7 + 400  # a byte costs 1

    govern(tmp_path, scene)


@pytest.mark.slow
def test_an_older_node_stops_before_the_version_it_does_not_know_and_comes_back_with_a_newer_one(
    tmp_path: Path,
) -> None:
    async def scene(polity: Polity) -> None:
        cluster = polity.cluster
        for index in range(3):
            node = cluster.nodes[index]
            node.terminate()
            await node.wait(30.0)
            node.program = (str(NEWER_NODE),)
            node.start()
            await epoch(cluster, index, 1)
        await polity.decide(SwitchVersion(version=2, epoch=Epoch(0)))
        switch = (await cluster.clients[0].governance()).next_epoch
        older = cluster.nodes[3]
        assert await older.wait(TIMEOUT_S)
        assert older.exit_code == 1
        assert f"epoch {switch} runs version 2 of the protocol" in older.last_words()
        assert "install a release that knows version 2" in older.last_words()
        await epoch(cluster, 0, switch + 2)
        older.start()  # again without the release: it says so again, and loses nothing
        assert await older.wait(TIMEOUT_S)
        assert older.exit_code == 1
        older.program = (str(NEWER_NODE),)
        older.start()
        await epoch(cluster, 3, (await cluster.clients[0].status()).epoch)
        cluster.nodes[0].kill()  # from here on nothing is final without it
        await epoch(cluster, 3, (await cluster.clients[3].status()).epoch + 2)
        cluster.nodes[0].start()
        await epoch(cluster, 0, (await cluster.clients[3].status()).epoch)

    govern(tmp_path, scene)
