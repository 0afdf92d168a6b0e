"""What nodes hand out to light clients and for blame, over epochs: all of it verifies from genesis alone."""

from dataclasses import replace

import pytest
import trio
from node_world import World
from relay_fakes import USERS

from consensus.agreement.blame import blame
from consensus.agreement.messages import CertificateType, block_hash
from consensus.light.answers import leaf_of
from consensus.light.client import Checkpoint, LightParameters, advance, begin, verify_light_proof
from consensus.light.proofs import LightProof, RelayKey, TreeKey, decode_proven_answer
from consensus.primitives import crypto
from consensus.primitives.errors import UserError
from consensus.primitives.ids import Epoch, Height, View
from consensus.relay.receipts import decode_receipt, receipt_id
from node.cli.trust import now_ms
from node.proofs import Prover
from node.store_certificates import certificate_key
from node.validator_set import genesis_start

EPOCH_BLOCKS = 4
TOP = 3 * EPOCH_BLOCKS + 1


def prover_of(world: World, index: int) -> Prover:
    node = world.node(index)
    return Prover(node.executor.nodes, node.final_chain, node.store, world.genesis)


def parameters_of(world: World) -> LightParameters:
    """Whatever the genesis time of a test is, its chain is young."""
    now = now_ms()
    return LightParameters(chain=world.hash, trusting_ms=now, unbonding_ms=now + 1)


def check_everything(world: World, index: int) -> None:
    node, prover, parameters = world.node(index), prover_of(world, index), parameters_of(world)
    start = genesis_start(world.genesis)
    checkpoint = Checkpoint(height=Height(0), hash=block_hash(start.header))
    hops = prover.hops(Epoch(1)).hops
    assert len(hops) >= 3
    for height in range(1, TOP + 1):
        head = prover.head(Height(height))
        epoch = (height - 1) // EPOCH_BLOCKS + 1
        state = advance(begin(start, checkpoint, parameters), hops[: epoch - 1], head, parameters, now_ms())
        assert (state.height, state.epoch) == (height, epoch)
        later = prover.start(Height(height))
        again = begin(later, Checkpoint(height=Height(height), hash=state.hash), parameters)
        assert again.validators == state.validators
    tip = prover.head(None)
    for name in (USERS[0].public, b"\x01" * 32):
        question = RelayKey(namespace=b"account", key=name)
        leaf = node.final_chain.proven_view().prove(leaf_of(question))
        proven = decode_proven_answer(prover.answer(question, leaf, None))
        bundle = LightProof(chain=world.hash, start=start, hops=hops[: tip.header.epoch - 1], proven=proven)
        _, value = verify_light_proof(bundle, question, checkpoint, parameters, now_ms())
        assert (value is None) == (name == b"\x01" * 32)
    check_receipts(world, index, parameters)


def check_receipts(world: World, index: int, parameters: LightParameters) -> None:
    node, prover = world.node(index), prover_of(world, index)
    start = genesis_start(world.genesis)
    checkpoint = Checkpoint(height=Height(0), hash=block_hash(start.header))
    shown = 0
    for height in range(1, node.height):
        held, block = node.final_chain.receipts(height), node.final_chain.block(height)
        for receipt in held.receipts:
            data = prover.receipt(Height(height), block_hash(block.header), receipt, held.receipts)
            proven = decode_proven_answer(data)
            hops = prover.hops(Epoch(1)).hops[: proven.head.header.epoch - 1]
            bundle = LightProof(chain=world.hash, start=start, hops=hops, proven=proven)
            question = proven.answer.question
            _, value = verify_light_proof(bundle, question, checkpoint, parameters, now_ms())
            assert decode_receipt(value) == receipt
            assert question.receipt == receipt_id(receipt)
            shown += 1
    assert shown


def check_dossiers(world: World, *indices: int) -> None:
    """There was no fork; and together the nodes have what bridges every gap: whoever voted for a block keeps
    the certificate of its parent, and whoever only caught up has one where a proof of finality stands."""
    for height in range(1, TOP + 1):
        files = [prover_of(world, index).dossier(Height(height), View(0)) for index in indices]
        held = {(certificate.view, certificate.block) for each in files for certificate in each.support}
        first = (height - 1) // EPOCH_BLOCKS * EPOCH_BLOCKS + 1
        for each in files:
            assert each.headers[0].height == first
            for header in each.headers[1:]:
                if header.height <= height:
                    assert (header.parent_view, header.parent_hash) in held
        with pytest.raises(UserError, match="no fork to blame"):
            blame(*files[:2], crypto.verify)
        short = prover_of(world, indices[0]).dossier(Height(height), View(files[0].headers[-1].parent_view))
        assert len(short.headers) <= len(files[0].headers)


def test_what_nodes_hand_out_verifies_from_genesis(tmp_path) -> None:
    world = World(tmp_path, epoch_blocks=EPOCH_BLOCKS)

    async def run() -> None:
        async with world.running():
            transfers = world.transfers(3)
            world.node(0).submit(transfers)
            await world.final(transfers)
            await world.reach(TOP + 2)
            for index in (0, 3):
                check_everything(world, index)
            check_dossiers(world, 0, 1, 2, 3)
            await world.kill(0)
            world.begin(0)
            await world.reach(TOP + 4)
            check_dossiers(world, 0, 1, 2, 3)

    trio.run(run)


def test_what_is_not_there_is_refused_with_a_reason(tmp_path) -> None:
    world = World(tmp_path, epoch_blocks=EPOCH_BLOCKS)

    async def run() -> None:
        async with world.running():
            await world.reach(2)
            prover = prover_of(world, 0)
            with pytest.raises(UserError, match="no final block 900"):
                prover.head(Height(900))
            assert prover.hops(Epoch(9)).hops == ()
            question = TreeKey(key=bytes(32))
            leaf = world.node(0).final_chain.proven_view().prove(question.key)
            assert decode_proven_answer(prover.answer(question, leaf, None)).answer.leaf.value is None

    trio.run(run)


def test_a_certificate_is_kept_once_and_goes_with_its_epoch(tmp_path) -> None:
    world = World(tmp_path, epoch_blocks=EPOCH_BLOCKS)

    async def run() -> None:
        async with world.running():
            await world.reach(2 * EPOCH_BLOCKS + 2)
            store = world.node(0).store
            while store.height() <= 2 * EPOCH_BLOCKS:  # noqa: ASYNC110
                await trio.sleep(0.01)
            proofs = [store.certificate(height) for height in range(1, 2 * EPOCH_BLOCKS + 1)]
            standing = [each for each in proofs if each is not None]
            assert {each.epoch for each in standing} == {1, 2}
            relied_on = [replace(each, ctype=int(CertificateType.NOTARIZATION)) for each in standing]
            store.persist_blocking([], [*standing, *relied_on])
            for epoch in (1, 2):
                archived = store.certificates(epoch, 0, 10_000, 100)
                assert [each for each in relied_on if each.epoch == epoch] == [
                    each for each in archived if each.ctype == CertificateType.NOTARIZATION
                ]
                assert not [each for each in archived if each in standing]
            assert len(store.certificates(1, 0, 10_000, 2)) == 2
            views = [each.view for each in store.certificates(1, 2, 3, 100)]
            assert views == sorted(views)
            assert set(views) <= {2, 3}
            support = prover_of(world, 0).dossier(Height(EPOCH_BLOCKS), View(0)).support
            places = [certificate_key(each) for each in support]
            assert places == sorted(set(places))
            wanted = [each for each in (*standing, *relied_on) if each.epoch == 1]
            assert {certificate_key(each) for each in wanted} <= set(places)
            store.persist_blocking([], (), oldest_epoch=2)
            assert not store.certificates(1, 0, 10_000, 100)
            assert store.certificates(2, 0, 10_000, 100)

    trio.run(run)
