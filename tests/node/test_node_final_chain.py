"""The final chain as readers see it: the same before and after a block is durable, told once, in order."""

import sys
from itertools import pairwise
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parent))

from node_world import Core, World

from consensus.agreement.certificates import SignatureChecker, verify_certificate
from consensus.agreement.messages import block_hash
from consensus.primitives import crypto
from consensus.primitives.ids import Hash
from consensus.relay.transactions import transaction_hash
from node.final_chain import FinalNotice


def seen(node: Core, names: list[Hash], height: int) -> list[object]:
    """Everything that a reader can ask about blocks and transactions."""
    chain = node.final_chain
    blocks = [(chain.block(each), chain.receipts(each), chain.proof(each)) for each in range(1, height + 1)]
    return [*blocks, *[chain.receipt(name) for name in names]]


def test_readers_see_one_chain_before_and_after_it_is_durable(tmp_path) -> None:
    world = World(tmp_path)

    async def run() -> None:
        async with world.running():
            raws = world.transfers(4)
            world.node(0).submit(raws)
            await world.final(raws)
            names = [transaction_hash(raw) for raw in raws]
            node = world.node(0)
            height = node.height
            before = seen(node, names, height)
            while node.final_chain.persisted_height < height:  # noqa: ASYNC110
                await trio.sleep(0.01)
            after = seen(node, names, height)
            for one, other in zip(before[:height], after[:height], strict=True):
                assert one[:2] == other[:2]  # type: ignore[index]
            assert before[height:] == after[height:]
            for name in names:
                place, receipt, reason = node.final_chain.receipt(name) or (0, None, "")
                assert receipt is not None
                assert place == node.final_chain.place(name)
                assert not reason

    trio.run(run)


def test_every_final_block_is_proved_by_a_certificate_that_its_headers_lead_to(tmp_path) -> None:
    world = World(tmp_path)

    async def run() -> None:
        async with world.running():
            await world.reach(5)
            for index in range(4):
                node = world.node(index)
                for height in range(1, node.final_chain.persisted_height + 1):
                    block, proof = node.final_chain.block(height), node.final_chain.proof(height)
                    assert block is not None
                    assert proof is not None
                    headers = [block.header, *proof.path]
                    assert all(above.parent_hash == block_hash(below) for below, above in pairwise(headers))
                    assert proof.certificate.block == block_hash(headers[-1])
                    check = SignatureChecker(
                        chain_id_hash=world.hash,
                        epoch=block.header.epoch,
                        keys=world.validators.keys,
                        verify=crypto.verify,
                    )
                    verify_certificate(proof.certificate, world.validators, check)

    trio.run(run)


def test_listeners_are_told_of_each_height_once_and_in_order(tmp_path) -> None:
    world = World(tmp_path)
    told: list[int] = []

    def listen(notice: FinalNotice) -> None:
        told.append(notice.executed.header.height)
        assert notice.view.height == told[-1]

    async def run() -> None:
        async with world.running():
            world.node(2).final_chain.listeners.append(listen)
            await world.reach(4)
            await trio.sleep(0.15)
            await world.kill(2)
            durable = len(told)
            back = world.begin(2)
            back.final_chain.listeners.append(listen)
            first = back.first_height + 1
            await world.reach(durable + 3)
            assert told[:durable] == list(range(1, durable + 1))
            assert told[durable:] == list(range(first, first + len(told) - durable))
            assert first <= durable + 1, "nothing is passed over"

    trio.run(run)


def test_the_proven_state_is_the_one_that_the_newest_header_names(tmp_path) -> None:
    world = World(tmp_path)

    async def run() -> None:
        async with world.running():
            assert world.node(0).final_chain.proven_view().height == 0
            for height in (1, 3):
                await world.reach(height)
                chain = world.node(0).final_chain
                proven, tip = chain.proven_view(), chain.block(chain.executed_height)
                assert tip is not None
                assert proven.height == chain.executed_height - 1
                assert proven.root == tip.header.state_root

    trio.run(run)


def test_memory_does_not_grow_with_the_chain(tmp_path) -> None:
    world = World(tmp_path)

    async def run() -> None:
        async with world.running():
            await world.reach(40)
            for index in range(4):
                node = world.node(index)
                assert len(node.executor._done) < 40
                assert len(node.executor._jobs) < 8
                assert len(node.final_chain._pending) < 40
                assert len(node.final_chain._proofs) < 8

    trio.run(run)
