"""Evidence through the real nodes: into a block once, its validator out of the next set, the others go on."""

from dataclasses import replace

import trio
from node_world import World
from relay_fakes import OPERATORS, VALIDATORS
from test_node_epoch_world import in_epoch

from consensus.agreement.evidence import Evidence, SignedStatement, evidence_from
from consensus.agreement.messages import Kind, sign_bytes
from consensus.primitives.codec import decode
from consensus.primitives.ids import ZERO_HASH, Epoch, ValidatorIndex, View
from consensus.relay.blocks import Payload
from consensus.relay.stake.records import Standing

EPOCH_BLOCKS = 5


def double_vote(world: World, index: int) -> Evidence:
    """What convicts a validator of epoch 1; it never happened on the wire."""

    def vote(block: bytes) -> SignedStatement:
        signed = sign_bytes(world.hash, Kind.NOTARIZE, 1, 999, block, ZERO_HASH)
        return SignedStatement(
            kind=int(Kind.NOTARIZE), block=block, aux=ZERO_HASH, sig=VALIDATORS[index].sign(signed)
        )

    return evidence_from(
        epoch=Epoch(1), view=View(999), signer=ValidatorIndex(index), a=vote(b"\1" * 32), b=vote(b"\2" * 32)
    )


def evidence_in_blocks(world: World, index: int) -> list[Evidence]:
    """All that the final blocks of a node carry."""
    node, found = world.node(index), []
    for height in range(1, node.height + 1):
        block = node.final_chain.block(height)
        assert block is not None
        found += decode(Payload, block.payload, limit=1 << 22).evidence
    return found


def test_a_convicted_validator_is_out_of_the_next_set_and_its_evidence_is_in_one_block(tmp_path) -> None:
    """Leaders go on being told of it, and of a forgery, which they leave out."""
    world = World(tmp_path, epoch_blocks=EPOCH_BLOCKS)
    good = double_vote(world, 3)
    other = double_vote(world, 1)
    forged = replace(other, first=replace(other.first, sig=bytes(64)))
    world.accusations = [forged, good]

    async def run() -> None:
        async with world.running():
            await in_epoch(world, 3)
            for index in range(4):
                node = world.node(index)
                record = node.final_chain.view.validator(OPERATORS[3].public)
                assert record.standing == Standing.TOMBSTONED
                innocent = node.final_chain.view.validator(OPERATORS[1].public)
                assert innocent.standing == Standing.ACTIVE
                assert node.epochs.current.own == (None if index == 3 else index)
                assert len(node.epochs.current.validators) == 3
            raws = world.transfers(3)
            world.node(3).submit(raws)  # an observer by now, and still of use
            world.node(0).submit(raws)
            await world.final(raws)
            await in_epoch(world, 4)
            assert evidence_in_blocks(world, 0) == [good]
            assert world.check_agreement() >= 3 * EPOCH_BLOCKS
            assert world.blamed == []

    trio.run(run)
