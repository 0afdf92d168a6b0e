"""Four nodes over several epochs, without a network: real drivers, journals, stores and states."""

import random

import trio
from node_world import OPERATOR, World, stored_key
from relay_fakes import OPERATORS

from consensus.primitives.ids import Amount
from consensus.relay.stake.records import possession_bytes
from consensus.relay.stake.transactions import BondMore, RotateKey, Unbond

EPOCH_BLOCKS = 5


async def in_epoch(world: World, epoch: int, *indices: int) -> None:
    """Wait until these nodes, or all that are up, are in an epoch."""
    for index, node in enumerate(world.nodes):
        if node is not None and (not indices or index in indices):
            while node.epochs.current.epoch < epoch:  # noqa: ASYNC110  the driver brings it about
                await trio.sleep(0.005)


def test_epochs_follow_each_other_and_transactions_go_on_across_them(tmp_path) -> None:
    world = World(tmp_path, epoch_blocks=EPOCH_BLOCKS)

    async def run() -> None:
        async with world.running():
            for turn in range(4):
                raws = world.transfers(3)
                world.node(turn).submit(raws)
                await world.final(raws)
                await in_epoch(world, turn + 2)
            assert world.check_agreement() >= 4 * EPOCH_BLOCKS
            for index in range(4):
                node = world.node(index)
                assert node.log.count("epoch.began") >= 4
                for epoch in range(1, 5):
                    hop = node.store.boundary(epoch)
                    assert hop is not None
                    assert hop.boundary.header.height == epoch * EPOCH_BLOCKS
                    assert node.links.places[epoch] == index
            assert (world.blamed, world.evidence) == ([], [])

    trio.run(run)


def test_kills_at_any_moment_of_an_epoch_neither_fork_nor_stick_nor_convict(tmp_path) -> None:
    """Also of all at once: then nobody has a message of the old epoch left but in its journal."""
    world = World(tmp_path, epoch_blocks=3)
    chance = random.Random(11)

    async def run() -> None:
        async with world.running(60.0):
            for turn in range(24):
                await trio.sleep(chance.uniform(0.0, 0.12))
                down = range(4) if turn % 4 == 3 else [chance.randrange(4)]
                for index in down:
                    await world.kill(index)
                await trio.sleep(chance.uniform(0.0, 0.05))
                for index in down:
                    world.begin(index)
            highest = max(world.node(index).epochs.current.epoch for index in range(4))
            await in_epoch(world, highest + 2)
            assert world.check_agreement() > 3 * highest
            assert (world.blamed, world.evidence) == ([], [])

    trio.run(run)


def test_a_node_that_was_away_for_epochs_walks_through_them_and_votes(tmp_path) -> None:
    world = World(tmp_path, epoch_blocks=EPOCH_BLOCKS)

    async def run() -> None:
        async with world.running(60.0):
            await in_epoch(world, 2)
            await world.kill(3)
            await in_epoch(world, world.node(0).epochs.current.epoch + 3)
            back = world.begin(3)
            began = back.epochs.current.epoch
            await in_epoch(world, world.node(0).epochs.current.epoch, 3)
            assert back.log.count("epoch.began") == back.epochs.current.epoch - began >= 3
            await world.kill(0)  # without its vote nothing is final from here on
            await in_epoch(world, back.epochs.current.epoch + 2, 3)
            world.check_agreement()

    trio.run(run)


def test_a_member_leaves_follows_comes_back_and_votes_with_another_key_without_a_restart(tmp_path) -> None:
    world = World(tmp_path, epoch_blocks=EPOCH_BLOCKS)
    fresh = stored_key("fresh", "consensus")
    world.fresh_keys[3] = [fresh]

    async def run() -> None:
        async with world.running(60.0):
            node = world.node(3)
            leave = world.raw(OPERATOR + 3, Unbond(amount=Amount(100)))
            world.node(0).submit([leave])
            await world.final([leave])
            while node.epochs.current.own is not None:  # noqa: ASYNC110
                await trio.sleep(0.005)
            assert len(node.epochs.current.validators) == 3
            proof = fresh.signing_key.sign(possession_bytes(world.hash, OPERATORS[3].public))
            comes = [
                world.raw(OPERATOR + 3, BondMore(amount=Amount(300))),
                world.raw(OPERATOR + 3, RotateKey(consensus_key=fresh.header.public, proof=proof)),
            ]
            world.node(0).submit(comes)
            await world.final(comes)
            while node.epochs.current.own is None:  # noqa: ASYNC110
                await trio.sleep(0.005)
            term = node.epochs.current
            assert term.key == fresh
            assert term.validators.stakes == (100, 100, 100, 149)  # 300, capped
            await world.kill(0)
            await world.kill(1)  # 249 of 449 are not enough: more than 2/3 is
            height = world.node(3).height
            await trio.sleep(0.5)
            assert world.node(3).height <= height + 1
            world.begin(1)
            await in_epoch(world, term.epoch + 2, 1, 2, 3)
            world.check_agreement()
            assert (world.blamed, world.evidence) == ([], [])

    trio.run(run)
