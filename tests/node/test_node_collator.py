"""The collator with real workers and a real replica: pipelining, rollback, restart, nothing lost or twice."""

from dataclasses import replace

import pytest
import trio
from candidate_world import COLLATOR, DOMAIN, OWN, SECOND, World, make_network, until
from node_world import RecordingLog
from relay_fakes import USERS

from consensus.agreement.statements import Verdict
from consensus.candidates.receipts import Attestation, CandidateOffer
from consensus.primitives.errors import UserError
from consensus.primitives.ids import Epoch, Hash, Nonce, Signature, ValidatorIndex
from consensus.relay.parameters import ChainTerms
from enclaves.guests import agora, assets
from enclaves.pool import WorkerPool
from node.api import ChainStage
from node.chain_mempool import chain_transaction


@pytest.fixture(scope="module")
def pool():
    pool = WorkerPool(2)
    yield pool
    pool.close()


@pytest.fixture
def network(pool):
    return make_network(pool)


def stages(world: World, raws) -> set[ChainStage]:
    return {each.stage for each in world.collator.receipts([chain_transaction(raw).name for raw in raws])}


async def enact_all(world: World) -> None:
    """Blocks until nothing is left to do."""
    idle = 0
    while idle < 3:
        await trio.sleep(0.01)
        figures = world.collator.statistics()
        work = ("chain_transactions_waiting", "candidates_building", "candidates_in_flight")
        busy = any(figures[each] for each in work)
        if busy and not world.includable():
            continue
        idle = 0 if busy else idle + 1
        world.block()


def test_three_candidates_are_in_flight_each_on_the_one_before(network, pool, tmp_path) -> None:
    world = World(network, pool, tmp_path)

    async def main() -> None:
        async with world.running():
            raws = world.transfers(4)
            for index, raw in enumerate(raws):
                await world.collator.submit([raw])
                await until(lambda index=index: world.collator.built >= min(index + 1, 3))
            await until(lambda: len(world.includable()) == 3)
            assert world.collator.statistics()["candidates_in_flight"] == 3
            assert stages(world, raws[:3]) == {ChainStage.COLLATED}
            assert stages(world, raws[3:]) == {ChainStage.ACCEPTED}
            headers = [each.header for each in world.includable()]
            assert [each.height for each in headers] == [1, 2, 3]
            assert [each.parent_head for each in headers[1:]] == [each.hash for each in headers[:2]]
            assert len(world.block().enacted) == 3
            await until(lambda: stages(world, raws[:3]) == {ChainStage.ENACTED})
            await until(lambda: len(world.includable()) == 1)
            world.block()
            await until(lambda: stages(world, raws[:3]) == {ChainStage.FINAL})
            await until(lambda: world.account(1).balance == 10**9 + 4)

    trio.run(main)


def test_who_calls_a_candidate_invalid_is_told_of_once_and_not_at_all_of_others(
    network, pool, tmp_path
) -> None:
    world, log = World(network, pool, tmp_path), RecordingLog()
    world.collator._log = log

    async def main() -> None:
        async with world.running():
            await world.collator.submit(world.transfers(1))
            await until(lambda: len(world.includable()) == 1)
            header = world.includable()[0].header
            said = Attestation(
                epoch=Epoch(1),
                chain=header.chain,
                relay_parent=header.relay_parent,
                candidate=header.hash,
                verdict=int(Verdict.INVALID),
                validator=ValidatorIndex(0),
                signature=Signature(bytes(64)),
            )
            for each in (said, said, replace(said, candidate=Hash(bytes(32)))):
                for peer in (1, 2):
                    world.collator.receive(peer, each)
            assert log.count("candidate.called_invalid") == 2

    trio.run(main)


def test_a_rejected_candidate_is_rolled_back_and_nothing_is_lost(network, pool, tmp_path) -> None:
    """Validators see a lie in the first of three; all three go, their transactions come back in order."""
    world = World(network, pool, tmp_path)
    liars: list[bytes] = []

    def lying(sender: int, receiver: int, message):
        if sender == COLLATOR and isinstance(message, CandidateOffer) and message.header.height == 1:
            lie = replace(message.header, fuel_used=message.header.fuel_used + 1)
            liars.append(lie.hash)
            return CandidateOffer(header=lie, pov=message.pov)
        return message

    async def main() -> None:
        async with world.running():
            world.change = lying
            raws = world.transfers(3)
            for index, raw in enumerate(raws):
                await world.collator.submit([raw])
                await until(lambda index=index: world.collator.built == index + 1)
            await until(lambda: len(world.includable()) == 1)
            assert world.block().rejected == (liars[0],)
            assert world.head.height == 0
            # the collator's own candidate has another hash: it is lost once its relay parent is too old
            world.change = lambda sender, receiver, message: message
            first = world.collator._flights.line[0].header
            view = network.view
            chain = replace(view.chain(1), rejected=(first.hash,))
            assert await world.collator._follow(view, chain)
            assert world.collator.lost == 3
            world.collator._wake.set()
            await until(lambda: stages(world, raws) == {ChainStage.COLLATED})
            await enact_all(world)
            assert stages(world, raws) == {ChainStage.FINAL}
            assert world.account(0).nonce == 3
            assert world.account(1).balance == 10**9 + 3

    trio.run(main)


def test_candidates_that_nobody_hears_of_time_out_and_are_rebuilt(pool, tmp_path) -> None:
    network = make_network(pool)
    world = World(network, pool, tmp_path)
    window = network.genesis.parameters.relay_parent_window

    async def main() -> None:
        async with world.running():
            world.lose = lambda *_: True
            raws = world.transfers(2)
            await world.collator.submit(raws)
            await until(lambda: world.collator.built == 1)
            view = network.view
            lost = world.collator._pipeline.advance(view.chain(1), view.height + window, window)
            assert len(lost.lost) == 1
            await world.collator._drop(lost.lost)
            world.lose = lambda *_: False
            await enact_all(world)
            assert stages(world, raws) == {ChainStage.FINAL}

    trio.run(main)


def test_a_restart_goes_on_with_what_is_in_flight(network, pool, tmp_path) -> None:
    """One candidate is enacted while the collator is down, one is still in flight when it returns."""
    world = World(network, pool, tmp_path)
    raws = world.transfers(3)

    async def before() -> None:
        async with world.running():
            for index in range(2):
                await world.collator.submit([raws[index]])
                await until(lambda index=index: world.collator.built == index + 1)
            await until(lambda: len(world.includable()) == 2)

    async def after() -> None:
        async with world.running():
            assert stages(world, raws[:2]) == {ChainStage.COLLATED}
            await world.collator.submit(raws)  # the client resends all of it
            await enact_all(world)
            assert stages(world, raws) == {ChainStage.FINAL}
            assert world.account(0).nonce == 3
            assert world.account(1).balance == 10**9 + 3

    trio.run(before)
    world.collator.close()
    network.block(inclusions=world.includable()[:1])
    for each in world.validators:
        each.advance(network.view)
    assert world.head.height == 1
    world.collator = world.make_collator()
    trio.run(after)
    world.collator.close()
    # once more, with everything enacted: the stages of the last heads are known again
    world.collator = world.make_collator()
    assert stages(world, raws) == {ChainStage.FINAL}


def test_offers_that_were_lost_are_repeated(network, pool, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("node.flights.REOFFER_S", 0.05)
    monkeypatch.setattr("node.collator.RETRY_S", 0.02)
    world = World(network, pool, tmp_path)

    async def main() -> None:
        async with world.running():
            world.lose = lambda sender, receiver, message: sender == COLLATOR
            await world.collator.submit(world.transfers(1))
            await until(lambda: world.collator.built == 1)
            world.lose = lambda sender, receiver, message: False
            await until(lambda: all(world.includable(index) for index in range(4)))

    trio.run(main)


def test_a_validator_that_returns_is_offered_what_is_in_flight(network, pool, tmp_path) -> None:
    world = World(network, pool, tmp_path)

    async def main() -> None:
        async with world.running():
            world.lose = lambda sender, receiver, message: True
            await world.collator.submit(world.transfers(1))
            await until(lambda: world.collator.built == 1)
            world.lose = lambda sender, receiver, message: False
            for index in range(4):
                world.collator.peer_up(index)
            await until(lambda: all(world.includable(index) for index in range(4)))

    trio.run(main)


def test_messages_are_consumed_exactly_once(network, pool, tmp_path) -> None:
    """Exports go to the enclave, answers come back through the inbox; a dropped candidate repeats none."""
    world = World(network, pool, tmp_path)
    holder = USERS[3].public

    async def main() -> None:
        async with world.running():
            raws = [world.signed(0, agora.Export(holder=holder, amount=7)) for _ in range(5)]
            await world.collator.submit(raws)
            await until(world.includable)
            world.block()
            world.block(empty=True)  # the enclave takes the exports, its answers wait for the chain
            flights = world.collator._flights.line
            await until(lambda: flights and flights[0].header.inbox)
            # drop that candidate: the messages must come again, once
            view = network.view
            chain = replace(view.chain(1), rejected=(flights[0].progress.candidate,))
            assert await world.collator._follow(view, chain)
            assert world.collator.lost == 1
            world.validators = [world._validator(index, broken=False) for index in range(4)]
            async with trio.open_nursery() as nursery:
                for each in world.validators:
                    nursery.start_soon(each.run)
                network.block()  # another relay parent: the rebuilt candidate is a new one
                for each in world.validators:
                    each.advance(network.view)
                world.collator.advance(network.view)
                await enact_all(world)
                nursery.cancel_scope.cancel()
            assert network.view.chain(1).lanes[OWN] == (5, 5)
            done = []
            for index in range(5):
                value, _, _ = world.collator.state(agora.export_key(index))
                done.append(agora.decode_export(value).state)
            assert done == [agora.ExportState.DONE] * 5
            key = assets.balance_key(assets.chain_asset_id(1, agora.NATIVE_SALT), holder)
            assert assets.decode_amount(network.view.instance_state(OWN, key)) == 35
            assert world.account(0).balance == 10**9 - 35

    trio.run(main)


def test_what_the_chain_says_of_each_transaction_is_told(network, pool, tmp_path) -> None:
    """Also after a restart, and by a collator that took the candidate over; what took effect stays done."""
    world = World(network, pool, tmp_path)
    good = world.signed(0, agora.Transfer(to=USERS[1].public, amount=1))
    poor = world.signed(0, agora.Transfer(to=USERS[1].public, amount=10**12))
    early = agora.sign_transaction(USERS[0], DOMAIN, Nonce(9), agora.Transfer(to=USERS[1].public, amount=1))
    names = [chain_transaction(raw).name for raw in (good, poor, early, b"rubbish")]
    told = [agora.Code.OK, agora.Code.NO_FUNDS, agora.Code.BAD_NONCE, agora.Code.MALFORMED]

    def codes(collator) -> list[int | None]:
        return [each.code for each in collator.receipts(names)]

    async def main() -> None:
        world.second = world.make_collator(SECOND)
        async with world.running() as nursery:
            nursery.start_soon(world.second.run)
            await world.collator.submit([good, poor, early])
            assert codes(world.collator)[0] is None
            await world.collator.submit([b"rubbish"])
            await enact_all(world)
            await until(lambda: world.second.adopted)
            assert codes(world.collator) == codes(world.second) == told
            await world.collator.submit([good])  # a used nonce now
            await enact_all(world)
            assert codes(world.collator) == told
            assert world.account(1).balance == 10**9 + 1

    trio.run(main)
    world.collator.close()
    world.collator = world.make_collator()
    assert codes(world.collator) == told


def test_blocks_stay_within_fuel_and_pov_limits(pool, tmp_path) -> None:
    """With tight terms a batch that is too dear is halved until it fits; nothing is lost."""
    network = make_network(pool, ChainTerms(fuel_limit=3_000_000, max_pov_bytes=12_000))
    world = World(network, pool, tmp_path)

    async def main() -> None:
        async with world.running():
            raws = world.transfers(120)
            await world.collator.submit(raws)
            await enact_all(world)
            assert stages(world, raws) == {ChainStage.FINAL}
            assert world.account(1).balance == 10**9 + 120
            assert world.collator.enacted > 1

    trio.run(main)


def test_a_transaction_that_no_block_can_carry_is_refused_alone(pool, tmp_path) -> None:
    network = make_network(pool, ChainTerms(max_pov_bytes=3_000))
    world = World(network, pool, tmp_path)

    async def main() -> None:
        async with world.running():
            large = bytes(4_000)  # its PoV can never fit
            raws = world.transfers(4)
            results = await world.collator.submit([*raws[:2], large, *raws[2:]])
            assert all(each.accepted for each in results)
            await until(lambda: world.collator.receipts([results[2].hash])[0].error)
            await enact_all(world)
            assert stages(world, raws) == {ChainStage.FINAL}
            (report,) = world.collator.receipts([results[2].hash])
            assert "PoV" in report.error

    trio.run(main)


def test_submission_sizes_repeats_and_bounds(network, pool, tmp_path) -> None:
    world = World(network, pool, tmp_path)
    world.collator._mempool._most = 2

    async def main() -> None:
        one, two, three = world.transfers(3)
        results = await world.collator.submit([one, one, b"", bytes(70_000), two, three])
        assert [each.accepted for each in results] == [True, True, False, False, True, False]
        assert "full" in results[-1].error
        assert len(world.collator._mempool) == 2

    trio.run(main)


def test_a_copy_of_another_chain_or_an_unknown_head_stops_collation(network, pool, tmp_path) -> None:
    world = World(network, pool, tmp_path)

    async def enact() -> None:
        async with world.running():
            await world.collator.submit(world.transfers(1))
            await enact_all(world)

    async def stopped() -> None:
        async with world.running():
            await world.collator.submit(world.transfers(1))
            await until(lambda: world.collator.problem)
            assert "was not built here" in world.collator.problem
            assert not world.collator.built

    trio.run(enact)
    world.collator.close()
    world.path = tmp_path / "lost"
    world.collator = world.make_collator()
    trio.run(stopped)
    world.collator.close()
    network.genesis = replace(network.genesis, chains=(replace(network.genesis.chains[0], entries=()),))
    with pytest.raises(UserError, match="another chain"):
        world.make_collator()


def test_a_second_collator_follows_and_takes_over(network, pool, tmp_path) -> None:
    """It takes over what the first had enacted, its inbox included, then builds on it; the first follows."""
    world = World(network, pool, tmp_path)
    holder = USERS[3].public

    async def main() -> None:
        world.second = world.make_collator(SECOND)
        async with world.running() as nursery:
            nursery.start_soon(world.second.run)
            first = [world.signed(0, agora.Export(holder=holder, amount=7)), *world.transfers(2)]
            await world.collator.submit(first)
            await enact_all(world)
            # of the enclave's answer, both may have made the very same candidate
            await until(lambda: world.second.adopted + world.second.enacted == 2)
            await until(lambda: not world.second.problem and world.collator.enacted >= 1)
            assert world.second.state(agora.export_key(0)) == world.collator.state(agora.export_key(0))
            second = world.transfers(2)
            await world.second.submit(second)
            await until(world.includable)
            world.block()
            await until(lambda: world.collator.state(b"") == world.second.state(b""))
            await world.collator.submit(world.transfers(1))
            await enact_all(world)
            assert stages(world, [*first, *second]) == {ChainStage.FINAL}
            assert world.account(1).balance == 10**9 + 5

    trio.run(main)


def test_of_two_that_build_on_one_head_the_loser_rebuilds(network, pool, tmp_path) -> None:
    world = World(network, pool, tmp_path)

    async def main() -> None:
        world.second = world.make_collator(SECOND)
        async with world.running() as nursery:
            nursery.start_soon(world.second.run)
            mine = world.transfers(1)
            other = [world.signed(2, agora.Transfer(to=USERS[1].public, amount=1))]
            await world.collator.submit(mine)
            await world.second.submit(other)
            await until(lambda: all(each.executed == 2 for each in world.validators))
            for _ in range(8):
                world.block()
                await trio.sleep(0.05)
            await until(lambda: world.account(1).balance == 10**9 + 2)
            assert world.collator.lost + world.second.lost == 1
            assert world.collator.adopted == world.second.adopted == 1

    trio.run(main)
