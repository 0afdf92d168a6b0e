"""A validator's side of candidates, with real workers: attested, refused, fetched, abstained, bounded."""

from dataclasses import replace

import pytest
import trio
from candidate_world import COLLATOR, OWN, BrokenWorkers, World, make_network, until

from consensus.agreement.statements import Verdict
from consensus.candidates.receipts import (
    CandidateOffer,
    PovRequest,
    decode_candidate_message,
    encode_candidate_message,
    pov_hash,
)
from consensus.primitives.errors import LocalFault
from consensus.primitives.guest import GuestOutcome, Outgoing, Status
from consensus.primitives.ids import Hash
from enclaves.pool import StatelessOutcome, WorkerPool
from node import validation
from node.store import Store
from node.validation import MAX_REQUESTS


@pytest.fixture(scope="module")
def pool():
    pool = WorkerPool(2)
    yield pool
    pool.close()


@pytest.fixture
def network(pool):
    return make_network(pool)


def includable_by_all(world: World, count: int = 1) -> bool:
    return all(len(world.includable(index)) == count for index in range(4))


def test_an_honest_candidate_is_attested_by_all_and_enacted(network, pool, tmp_path) -> None:
    world = World(network, pool, tmp_path)

    async def main() -> None:
        async with world.running():
            await world.collator.submit(world.transfers(3))
            await until(
                lambda: all(
                    world.includable(index) and len(world.includable(index)[0].signatures) == 4
                    for index in range(4)
                )
            )
            (inclusion,) = world.includable(2)
            assert inclusion.verdict == Verdict.VALID
            # what was attested was durable before: each serves it, also long after
            offers = [decode_candidate_message(each.pov(inclusion.header.hash)) for each in world.stores]
            assert all(each.header == inclusion.header for each in offers)
            assert world.block(leader=3).enacted == (inclusion.header.hash,)
            assert world.head.head == inclusion.header.hash
            assert not world.includable()
            assert not world.blamed

    trio.run(main)


@pytest.mark.parametrize("lie", ["post_root", "outgoing", "fuel_used", "pov"])
def test_a_lie_is_found_invalid_by_all_and_rejected(network, pool, tmp_path, lie: str) -> None:
    world = World(network, pool, tmp_path)

    def tampered(sender: int, receiver: int, message):
        if sender != COLLATOR or not isinstance(message, CandidateOffer):
            return message
        header, pov = message.header, message.pov
        if lie == "post_root":
            header = replace(header, post_root=bytes(32))
        elif lie == "outgoing":
            header = replace(header, outgoing=(Outgoing(destination=OWN, payload=b"mint"),))
        elif lie == "fuel_used":
            header = replace(header, fuel_used=header.fuel_used - 1)
        elif pov:
            pov = pov[:-1] + bytes([pov[-1] ^ 1])
            header = replace(header, pov_hash=pov_hash(pov))
        return CandidateOffer(header=header, pov=pov)

    async def main() -> None:
        world.change = tampered
        async with world.running():
            await world.collator.submit(world.transfers(1))
            await until(lambda: includable_by_all(world))
            (inclusion,) = world.includable()
            assert inclusion.verdict == Verdict.INVALID
            assert world.block().rejected == (inclusion.header.hash,)
            assert world.head.height == 0
            assert not any(store.held for store in world.stores)  # nobody promised to serve it
            assert sum(each.found_invalid for each in world.validators) >= 3

    trio.run(main)


def test_a_missing_pov_is_fetched(network, pool, tmp_path) -> None:
    """The collator offers headers alone; validator 3 hears of the candidate from attestations only."""
    world = World(network, pool, tmp_path)
    offered: set[int] = set()

    def headers_first(sender: int, receiver: int, message):
        if sender == COLLATOR and isinstance(message, CandidateOffer) and receiver not in offered:
            offered.add(receiver)
            return CandidateOffer(header=message.header, pov=b"")
        return message

    async def main() -> None:
        world.change = headers_first
        world.lose = lambda sender, receiver, _: (sender, receiver) == (COLLATOR, 3)
        async with world.running():
            await world.collator.submit(world.transfers(1))
            await until(lambda: includable_by_all(world))
            await until(lambda: world.validators[3].executed == 1)
            assert any(isinstance(message, PovRequest) for sender, _, message in world.sent if sender == 3)

    trio.run(main)


def test_a_local_fault_abstains_and_accuses_nobody(network, pool, tmp_path) -> None:
    world = World(network, pool, tmp_path, broken=(1,))

    async def main() -> None:
        async with world.running():
            await world.collator.submit(world.transfers(1))
            await until(lambda: includable_by_all(world))
            await until(lambda: world.validators[1].abstained == 1)
            (inclusion,) = world.includable(1)
            assert 1 not in [index for index, _ in inclusion.signed()]
            assert inclusion.verdict == Verdict.VALID
            assert not world.blamed

    trio.run(main)


def test_workers_that_die_accuse_nobody(network, pool, tmp_path, monkeypatch) -> None:
    """Three deaths may be this machine's memory and not the guest: an attestation would be an accusation."""
    dead = StatelessOutcome(
        outcome=GuestOutcome(status=Status.ENGINE_FAULT, fuel_used=1, reason="killed three times"),
        post_root=bytes(32),
    )
    monkeypatch.setattr(BrokenWorkers, "execute_stateless", lambda *_: dead)
    world = World(network, pool, tmp_path, broken=(1,))

    async def main() -> None:
        async with world.running():
            await world.collator.submit(world.transfers(1))
            await until(lambda: world.validators[1].abstained == 1)
            assert world.validators[1].found_invalid == 0

    trio.run(main)


def test_a_full_disk_abstains_before_it_promises(network, pool, tmp_path) -> None:
    world = World(network, pool, tmp_path)

    async def refuse(povs) -> None:
        await trio.lowlevel.checkpoint()
        raise LocalFault("the disk is full")

    async def main() -> None:
        world.stores[0].put_povs = refuse
        async with world.running():
            await world.collator.submit(world.transfers(1))
            await until(lambda: includable_by_all(world) and world.validators[0].abstained == 1)
            assert 0 not in [index for index, _ in world.includable()[0].signed()]

    trio.run(main)


def test_what_memory_forgot_the_store_serves(network, pool, tmp_path) -> None:
    stores = [Store(tmp_path / f"store-{index}", sync=False) for index in range(4)]
    world = World(network, pool, tmp_path, stores=stores)

    async def main() -> None:
        async with world.running():
            await world.collator.submit(world.transfers(1))
            await until(lambda: includable_by_all(world))
            candidate = world.includable()[0].header.hash
            world.block()
            restarted = world._validator(0, broken=False)
            world.validators[0] = restarted
            async with trio.open_nursery() as nursery:
                nursery.start_soon(restarted.run)
                world.sent.clear()
                for _ in range(2 * MAX_REQUESTS):  # one that asks all the time keeps nobody out
                    restarted.receive(1, PovRequest(candidate=Hash(bytes(32))))
                restarted.receive(2, PovRequest(candidate=candidate))
                await until(lambda: world.sent)
                sender, receiver, offer = world.sent[0]
                assert (sender, receiver) == (0, 2)
                assert offer.header.hash == candidate
                assert pov_hash(offer.pov) == offer.header.pov_hash
                nursery.cancel_scope.cancel()

    trio.run(main)
    for each in stores:
        each.close()


def test_a_pov_of_another_candidate_is_blamed_on_its_sender(network, pool, tmp_path) -> None:
    world = World(network, pool, tmp_path)

    async def main() -> None:
        async with world.running():
            world.lose = lambda *_: True
            await world.collator.submit(world.transfers(1))
            await until(lambda: world.collator.built == 1)
            flight = world.collator._flights.line[0]
            bad = CandidateOffer(header=flight.header, pov=b"x" + flight.pov[1:])
            world.validators[0].receive(COLLATOR, decode_candidate_message(encode_candidate_message(bad)))
            assert [each[:2] for each in world.blamed] == [(0, COLLATOR)]

    trio.run(main)


def test_the_queue_is_bounded(network, pool, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(validation, "MAX_QUEUED", 1)
    world = World(network, pool, tmp_path)

    async def main() -> None:
        async with world.running():
            world.lose = lambda *_: True
            await world.collator.submit(world.transfers(1))
            await until(lambda: world.collator.built == 1)
        idle = world._validator(0, broken=False)  # nobody runs it: its queue only fills
        flight = world.collator._flights.line[0]
        idle.receive(COLLATOR, flight.offer)
        other = replace(flight.header, post_root=bytes(32))
        idle.receive(COLLATOR, CandidateOffer(header=other, pov=flight.pov))
        assert idle.statistics()["candidates_queued"] == 1
        assert idle.abstained == 1

    trio.run(main)
