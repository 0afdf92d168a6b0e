"""Four drivers over a wire in memory: who votes is in the state, and who is away is seen to be away."""

import trio
from node_world import World

from consensus.primitives.ids import Epoch
from consensus.relay.rewards.participation import MemberParticipation, participation

BLOCKS = 40


def seen_by(world: World, index: int) -> tuple[MemberParticipation, ...]:
    found = participation(world.nodes[index].final_chain.view, Epoch(1))
    assert found is not None
    return found


def test_every_vote_reaches_the_state_by_whoever_leads(tmp_path) -> None:
    world = World(tmp_path, epoch_blocks=1_000, participation_interval=4)

    async def run() -> None:
        async with world.running(60):
            await world.reach(BLOCKS)
            found = seen_by(world, 0)
            assert found[0].expected >= BLOCKS // 4 - 3
            assert sum(each.seen for each in found) > 3 * found[0].expected
            assert sum(each.proposed for each in found) >= BLOCKS
            assert sum(each.included > 0 for each in found) >= 2  # a round of four opens in two places
            assert not world.blamed

    trio.run(run)


def test_a_validator_that_is_away_is_missed_and_the_others_are_not(tmp_path) -> None:
    world = World(tmp_path, alive=(0, 1, 2), epoch_blocks=1_000, participation_interval=4)

    async def run() -> None:
        async with world.running(60):
            await world.reach(BLOCKS)
            found = seen_by(world, 1)
            assert found[3].seen == found[3].proposed == 0
            assert found[3].missed_proposals >= BLOCKS // 4
            for each in found[:3]:
                assert each.seen == each.expected > 0
                assert each.missed_proposals <= BLOCKS // 8

    trio.run(run)
