"""A `subset` chain through the nodes' own validation, workers and real guests: its attesters alone work."""

from dataclasses import replace

import pytest
import trio
from candidate_world import World, make_network, until

from consensus.agreement.statements import Verdict
from consensus.candidates.receipts import Attestation, CandidateOffer
from consensus.primitives.guest import Policy
from consensus.relay.parameters import ChainTerms
from consensus.relay.security.terms import SubsetTerms
from enclaves.pool import WorkerPool

TERMS = ChainTerms(  # of four equal validators the first three, from the genesis on
    policy=int(Policy.SUBSET), subset=SubsetTerms(top_ppb=600_000_000, top_allocation_ppb=10**9)
)


@pytest.fixture(scope="module")
def pool():
    pool = WorkerPool(2)
    yield pool
    pool.close()


def test_its_members_alone_attest_and_any_leader_has_it_enacted(pool, tmp_path) -> None:
    network = make_network(pool, TERMS)
    world = World(network, pool, tmp_path)

    async def main() -> None:
        async with world.running():
            await world.collator.submit(world.transfers(3))
            await until(
                lambda: all(
                    world.includable(index) and len(world.includable(index)[0].signatures) == 3
                    for index in range(4)
                )
            )
            (inclusion,) = world.includable(3)
            assert [index for index, _ in inclusion.signed()] == [0, 1, 2]
            said = {sender for sender, _, message in world.sent if isinstance(message, Attestation)}
            assert said == {0, 1, 2}
            assert not world.stores[3].held  # it promised nobody to serve what it did not execute
            # a stranger's signature beside those of members: the transition refuses it
            stranger = network.attest(inclusion.header, who=(0, 3))
            assert "not asked to attest" in network.execute(inclusions=[stranger]).void[inclusion.header.hash]
            assert world.block(leader=3).enacted == (inclusion.header.hash,)
            assert world.head.head == inclusion.header.hash
            assert not world.blamed

    trio.run(main)


def test_a_stranger_that_signs_unasked_moves_nothing(pool, tmp_path) -> None:
    """Two of three members are silent; the fourth validator's attestation does not make up for them."""
    network = make_network(pool, TERMS)
    world = World(network, pool, tmp_path)
    world.lose = lambda sender, receiver, message: sender in (1, 2)

    async def main() -> None:
        async with world.running():
            await world.collator.submit(world.transfers(1))

            def offer() -> CandidateOffer | None:
                held = [m for _, receiver, m in world.sent if receiver == 0 and isinstance(m, CandidateOffer)]
                return held[0] if held else None

            await until(offer)
            header = offer().header
            unasked = network.statement(header, 3, Verdict.VALID)
            world.send(3, 0, unasked)
            await until(
                lambda: any(
                    sender == 0 and m == replace(unasked, validator=0, signature=m.signature)
                    for sender, _, m in world.sent
                    if isinstance(m, Attestation)
                )
            )
            for _ in range(50):
                await trio.lowlevel.checkpoint()
            assert not world.includable(0)
            world.lose = lambda sender, receiver, message: False
            for index in (1, 2):
                world.validators[index].peer_up(0)
            await until(lambda: world.includable(0))
            (inclusion,) = world.includable(0)
            assert 3 not in [index for index, _ in inclusion.signed()]

    trio.run(main)
