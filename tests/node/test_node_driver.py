"""Drivers with real journals, stores and execution: they agree, come back, and sign nothing undurable."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trio

sys.path.insert(0, str(Path(__file__).parent))

from node_world import USERS, VALIDATORS, World
from relay_fakes import BANK_ID

from consensus.agreement.events import Peer, Received
from consensus.agreement.messages import Certificate, Kind, Proposal, block_hash, payload_root, sign_bytes
from consensus.agreement.replica import is_finality
from consensus.primitives.errors import LocalFault
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import RELAY_CHAIN, ZERO_HASH, Fuel, Hash, Milliseconds, Signature
from consensus.relay.blocks import EMPTY_PAYLOAD
from consensus.relay.transactions import CallEnclave
from node.store import Store


def test_four_nodes_agree_and_let_nothing_out_that_is_not_durable(tmp_path) -> None:
    world = World(tmp_path)

    async def run() -> None:
        async with world.running():
            raws = world.transfers(3)
            world.node(1).submit(raws)
            await world.final(raws)
            await world.reach(world.node(0).height + 2)
            assert world.check_agreement() >= 3
            for index in range(4):
                node = world.node(index)
                assert node.links.checked >= 3, "votes were seen, and each was asserted to be durable"
                assert node.final_chain.view.account(USERS[0].public).nonce == 3
                assert len(node.mempool) == 0
            assert world.blamed == []

    trio.run(run)


def test_what_others_wait_for_leaves_before_final_blocks_are_worked_on(tmp_path, monkeypatch) -> None:
    """In every turn; and what a turn says to all, it says in one call."""
    monkeypatch.setattr("node.driver.COMPANY_US", 0)  # certificates leave in the turn that makes blocks final
    world = World(tmp_path)
    acts: list[tuple[int, str, int]] = []  # turn, what, how many

    async def run() -> None:
        async with world.running():
            node = world.node(0)
            driver, broadcast, finalized = node.driver, node.links.broadcast, node.final_chain.finalized

            def noting_broadcast(*messages) -> None:
                acts.append((driver.turns, "said", len(messages)))
                broadcast(*messages)

            def noting_final(block) -> None:
                acts.append((driver.turns, "final", 1))
                finalized(block)

            monkeypatch.setattr(node.links, "broadcast", noting_broadcast)
            monkeypatch.setattr(node.final_chain, "finalized", noting_final)
            await world.reach(node.height + 9)
            world.check_agreement()

    trio.run(run)
    both = 0
    for turn in {each[0] for each in acts}:
        did = [what for at, what, _ in acts if at == turn]
        assert did == sorted(did, key=["said", "final"].index)
        both += len(set(did)) == 2
    assert both >= 3
    assert max(count for _, what, count in acts if what == "said") >= 2, "a certificate and a proposal"


@pytest.mark.parametrize("company_us", [0, 10_000, 60_000_000])
def test_finality_certificates_wait_for_company_and_no_longer(tmp_path, monkeypatch, company_us) -> None:
    """They leave alone only when nothing else came in that time; all hear of finality whatever it is."""
    monkeypatch.setattr("node.driver.COMPANY_US", company_us)
    world = World(tmp_path)
    said: list[tuple[bool, int]] = []  # certificates alone; how many messages

    async def run() -> None:
        async with world.running():
            one = world.node(0)
            broadcast = one.links.broadcast

            def noting(*messages) -> None:
                final = [isinstance(each, Certificate) and is_finality(each) for each in messages]
                said.append((all(final), len(messages)))
                broadcast(*messages)

            monkeypatch.setattr(one.links, "broadcast", noting)
            await world.reach(one.height + 9)
            world.check_agreement()

    trio.run(run)
    alone = sum(bare for bare, _ in said)
    if company_us == 60_000_000:
        assert alone == 0
        assert any(count > 1 for _, count in said)
    else:
        assert alone >= 1, "leaders with nothing to say wait longer than that"


def test_heavy_blocks_are_executed_in_the_thread_and_light_ones_in_the_loop(tmp_path) -> None:
    world = World(tmp_path)

    async def run() -> None:
        async with world.running():
            light = world.transfers(1)
            world.node(0).submit(light)
            await world.final(light)
            assert all(world.node(index).executor.inline for index in range(4))
            before = [world.node(index).executor.threaded for index in range(4)]
            call = CallEnclave(
                instance=InstanceEndpoint(module=BANK_ID, chain=RELAY_CHAIN),
                input=b"Skey=value",
                fuel_limit=Fuel(10_000),
            )
            heavy = [*world.transfers(40, user=1), world.raw(2, call)]
            for index in range(4):
                world.node(index).submit(heavy)
            await world.final(heavy)
            assert all(world.node(index).executor.threaded > before[index] for index in range(4))
            world.check_agreement()

    trio.run(run)


def test_a_killed_node_catches_up_from_its_journal_and_store(tmp_path) -> None:
    world = World(tmp_path)

    async def run() -> None:
        async with world.running():
            raws = world.transfers(5)
            world.node(0).submit(raws)
            await world.final(raws)
            await trio.sleep(0.15)  # a batch becomes durable
            await world.kill(2)
            missed = world.transfers(5)
            world.node(1).submit(missed)
            await world.final(missed, 0, 1, 3)
            back = world.begin(2)
            assert back.first_height > 0, "it did not begin anew"
            await world.final(missed, 2)
            votes = back.links.checked
            await world.reach(back.height + 4)
            assert back.links.checked > votes, "it votes again"
            world.check_agreement()
            assert world.blamed == []

    trio.run(run)


def test_all_killed_at_once_go_on_from_what_was_durable(tmp_path) -> None:
    world = World(tmp_path)

    async def run() -> None:
        async with world.running():
            await world.reach(4)
            before = {index: world.node(index).hash_at(3) for index in range(4)}
            highest = max(world.node(index).height for index in range(4))
            for index in range(4):
                await world.kill(index)
            for index in range(4):
                world.begin(index)
            await world.reach(highest + 2)
            assert {world.node(index).hash_at(3) for index in range(4)} == set(before.values())
            world.check_agreement()

    trio.run(run)


@pytest.mark.parametrize("wrong", ["state root", "payload", "transaction count"])
def test_an_invalid_block_gets_no_vote_and_the_chain_goes_on(tmp_path, wrong) -> None:
    """The fourth validator's key proposes, by hand, what the other three must refuse."""
    world = World(tmp_path, alive=(0, 1, 2))
    offered: list[Hash] = []

    def propose(block: Hash) -> None:
        done = world.node(0).executor.executed(block)
        view = None if done is None else done.header.view + 1
        if done is None or view is None or offered or world.validators.leader(view) != 3:
            return
        header = replace(
            done.header,
            view=view,
            height=done.header.height + 1,
            parent_hash=block,
            parent_view=done.header.view,
            proposer=3,
            time_ms=Milliseconds(done.header.time_ms + 1),
            payload_root=payload_root(EMPTY_PAYLOAD),
            payload_len=len(EMPTY_PAYLOAD),
            tx_count=0,
            state_root=done.post_root,
        )
        payload = EMPTY_PAYLOAD
        if wrong == "state root":
            header = replace(header, state_root=Hash(b"w" * 32))
        elif wrong == "payload":
            payload = b"\xff garbage"
            header = replace(header, payload_root=payload_root(payload), payload_len=len(payload))
        else:
            header = replace(header, tx_count=7)
        name = block_hash(header)
        signature = VALIDATORS[3].sign(sign_bytes(world.hash, Kind.PROPOSE, 1, view, name, ZERO_HASH))
        proposal = Proposal(
            header=header, leader_sig=Signature(signature), payload=payload, support=(), vote=None
        )
        offered.append(name)
        for index in range(3):
            world.node(index).driver.post(Received(Peer(3), proposal))

    async def run() -> None:
        async with world.running():
            node = world.node(0)
            node.when_certified = lambda block: node.executor.when_executed(block, lambda: propose(block))
            while not offered:  # noqa: ASYNC110
                await trio.sleep(0.01)
            await world.reach(world.node(0).height + 3)
            for index in range(3):
                refusals = [
                    fields for name, fields in world.node(index).log.events if name == "block.invalid"
                ]
                assert [each["block"] for each in refusals] == [offered[0].hex()]
                assert all(
                    key != int(Kind.NOTARIZE) or block != offered[0]
                    for _, key, _, block, _ in world.node(index).journal.durable
                )
            world.check_agreement()

    trio.run(run)


def test_the_journal_is_rewritten_when_it_has_grown(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("node.driver.REWRITE_BYTES", 8 * 1024)
    world = World(tmp_path)

    async def run() -> None:
        async with world.running():
            while not all(world.node(index).log.count("journal.rewritten") for index in range(4)):
                await world.reach(max(world.node(index).height for index in range(4)) + 3)
            await world.kill(1)
            world.begin(1)
            await world.reach(world.node(0).height + 3)
            world.check_agreement()

    trio.run(run)


def test_when_the_journal_fails_nothing_more_leaves_and_the_driver_ends(tmp_path) -> None:
    world = World(tmp_path)
    let_out: list[int] = []

    async def run() -> None:
        async with world.running():
            await world.reach(2)
            victim = world.node(3)
            victim.journal.inner._failure = LocalFault("the disk is full")
            let_out.append(victim.links.checked)
            await trio.sleep(20)

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(run)
    faults, others = caught.value.split(LocalFault)
    assert faults is not None
    assert others is None
    assert let_out == [world.node(3).links.checked]


def test_a_store_that_fails_ends_the_node_and_loses_nothing(tmp_path, monkeypatch) -> None:
    world = World(tmp_path)

    async def run() -> None:
        async with world.running():
            await world.reach(2)
            monkeypatch.setattr(Store, "persist_blocking", _no_room)
            await trio.sleep(5)

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(run)
    faults, others = caught.value.split(LocalFault)
    assert faults is not None
    assert others is None
    monkeypatch.undo()

    async def again() -> None:
        async with world.running():
            await world.reach(5)
            world.check_agreement()

    trio.run(again)


def _no_room(*_: object) -> None:
    raise LocalFault("the store can not be written (the disk is full): make room, then restart")
