"""What becomes of blocks that wait for a parent, and of forks that finality leaves (node/executor.py)."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay"))

from relay_fakes import BANK_ID, USERS, Network

from consensus.agreement.messages import Header, block_hash, genesis_header, payload_root
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import ZERO_HASH, ChainId, Epoch, Hash, Height, ValidatorIndex, View
from consensus.primitives.tree import MissingNode
from consensus.relay.blocks import encode_payload
from consensus.relay.transactions import CallEnclave, CheckedTransaction, Transfer
from node.executor import MAX_WAITING, Executed, Executor


class Chain:
    """An executor on a genesis in memory, and blocks for it."""

    def __init__(self) -> None:
        self.network = Network()
        self.in_check: Callable[[], None] = lambda: None
        genesis = genesis_header(
            chain_id_hash=self.network.hash,
            epoch=Epoch(1),
            time_ms=1_000,
            validators_hash=self.network.validators.validators_hash,
        )
        self.start = Executed(
            hash=block_hash(genesis), header=genesis, post_root=self.network.root, calls_waiting=0
        )
        self.executor = Executor(
            chain_id_hash=self.network.hash,
            limits=self.network.limits,
            epoch=Epoch(1),
            epoch_blocks=10_000,
            validators=self.network.validators,
            store=self.network.store,
            guests=self.network.guests,
            known=self._known,
            remember=lambda checked: None,
            start=self.start,
        )
        self.answers: dict[Hash, bool] = {}

    def _known(self, name: Hash) -> CheckedTransaction | None:
        self.in_check()
        return None

    def block(
        self, height: int, parent: Hash, state_root: Hash, payload: bytes, count: int, *, view: int = 1
    ) -> tuple[Hash, Header, bytes]:
        header = Header(
            epoch=Epoch(1),
            view=View(10 * height + view),
            height=Height(height),
            parent_hash=parent,
            parent_view=View(0 if height == 1 else 1),
            proposer=ValidatorIndex(0),
            time_ms=1_000 + height,
            payload_root=payload_root(payload),
            payload_len=len(payload),
            tx_count=count,
            state_root=state_root,
            validators_hash=ZERO_HASH,
            next_validators_hash=ZERO_HASH,
            flags=0,
        )
        return block_hash(header), header, payload

    def transfers(self, *, amount: int) -> tuple[bytes, int]:
        return encode_payload(
            [self.network.raw(USERS[0], Transfer(to=USERS[1].public, amount=amount), nonce=0)]
        ), 1

    def heavy(self) -> tuple[bytes, int]:
        call = CallEnclave(
            instance=InstanceEndpoint(module=BANK_ID, chain=ChainId(0)), input=b"", fuel_limit=1_000
        )
        return encode_payload([self.network.raw(USERS[2], call, nonce=0)]), 1

    def validate(self, block: tuple[Hash, Header, bytes]) -> None:
        def answer(valid: bool, reason: str) -> None:
            self.answers[block[0]] = valid

        self.executor.validate(*block, answer)

    def done(self, block: Hash) -> Executed:
        found = self.executor.executed(block)
        assert found is not None
        return found

    def finalise(self, block: Hash) -> None:
        """The block is final and durable: its state is the store's, other forks lose theirs."""
        done = self.done(block)
        assert done.result is not None
        self.network.store.nodes.update(done.result.new_nodes)
        self.executor.tip = done
        self.executor.discard_below(done.header.height, keep=lambda name: False)


async def drained(chain: Chain) -> None:
    """Run the executor until nothing heavy is left; whatever ends it ends the test."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chain.executor.run)
        for _ in range(200):
            await trio.sleep(0.005)
            if not chain.executor._heavy:
                break
        nursery.cancel_scope.cancel()


def two_forks(chain: Chain) -> tuple[Hash, Executed]:
    """A block that becomes final and an executed one beside it, both at height 1."""
    root = chain.start.post_root
    final = chain.block(1, chain.start.hash, root, *chain.transfers(amount=1))
    other = chain.block(1, chain.start.hash, root, *chain.transfers(amount=2), view=2)
    for each in (final, other):
        chain.validate(each)
    chain.executor.work(2)
    return final[0], chain.done(other[0])


def test_a_block_whose_fork_is_left_while_it_is_executed_is_dropped() -> None:
    chain = Chain()
    final, other = two_forks(chain)
    child = chain.block(2, other.hash, other.post_root, *chain.heavy())
    left = []

    def leave() -> None:
        if not left:
            left.append(True)
            chain.finalise(final)

    chain.in_check = leave
    chain.validate(child)
    trio.run(drained, chain)
    assert left
    assert chain.executor.executed(child[0]) is None
    assert not chain.executor._jobs


def test_a_block_on_a_fork_that_was_left_is_not_begun() -> None:
    chain = Chain()
    final, other = two_forks(chain)
    heavy = chain.block(2, other.hash, other.post_root, *chain.heavy())
    light = chain.block(2, other.hash, other.post_root, encode_payload([]), 0)
    chain.validate(light)
    chain.validate(heavy)
    chain.finalise(final)
    assert not chain.executor.work(4)
    trio.run(drained, chain)
    assert not chain.executor._jobs
    assert chain.executor.inline == 2
    assert chain.executor.threaded == 0


def test_lost_state_under_the_final_chain_stops_the_node() -> None:
    chain = Chain()
    final, _ = two_forks(chain)
    chain.finalise(final)
    tip = chain.done(final)
    chain.network.store.nodes.clear()
    chain.validate(chain.block(2, final, tip.post_root, *chain.heavy()))
    with pytest.raises(BaseExceptionGroup) as raised:
        trio.run(drained, chain)
    assert raised.group_contains(MissingNode)


def test_blocks_under_a_parent_that_never_executes_are_bounded_and_go_with_finality() -> None:
    chain = Chain()
    absent = Hash(bytes([7]) * 32)
    empty = encode_payload([])
    for view in range(MAX_WAITING + 50):
        chain.validate(chain.block(1, absent, chain.start.post_root, empty, 0, view=100 + view))
    assert len(chain.executor._jobs) == MAX_WAITING
    final, _ = two_forks_beside(chain)
    chain.finalise(final)
    assert not chain.executor._jobs
    assert not chain.executor._children
    assert len(chain.executor) == 1  # the tip


def two_forks_beside(chain: Chain) -> tuple[Hash, None]:
    """A final block, while the queue of waiting ones is full: blocks on executed parents still pass."""
    final = chain.block(1, chain.start.hash, chain.start.post_root, *chain.transfers(amount=1))
    chain.validate(final)
    chain.executor.work(1)
    return final[0], None


def test_what_waits_for_an_invalid_block_is_invalid() -> None:
    chain = Chain()
    wrong_root = Hash(bytes([9]) * 32)
    empty = encode_payload([])
    bad = chain.block(1, chain.start.hash, wrong_root, empty, 0)
    child = chain.block(2, bad[0], wrong_root, empty, 0)
    grandchild = chain.block(3, child[0], wrong_root, empty, 0)
    for each in (grandchild, child, bad):
        chain.validate(each)
    assert chain.answers == {bad[0]: False, child[0]: False, grandchild[0]: False}
    assert not chain.executor._jobs
