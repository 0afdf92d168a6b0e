"""The end of an epoch in the executor: who is next, what the boundary must say, tails that change nothing."""

import sys
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay"))

from relay_fakes import Network, make_genesis
from test_node_executor import Chain, drained

from consensus.agreement.events import BuildPayload, PayloadBuilt
from consensus.agreement.messages import (
    FLAG_BOUNDARY,
    FLAG_TAIL,
    Header,
    block_hash,
    genesis_header,
    payload_root,
)
from consensus.primitives.ids import (
    ZERO_HASH,
    Epoch,
    Hash,
    Height,
    Milliseconds,
    ValidatorIndex,
    View,
)
from consensus.relay.blocks import EMPTY_PAYLOAD
from consensus.relay.epochs import current_set
from consensus.relay.ledger import Ledger
from node.builder import PayloadBuilder
from node.executor import Executed, Executor
from node.mempool import Mempool
from node.vote_book import VoteBook

EPOCH_BLOCKS = 2


class Turning(Chain):
    """Epochs of two blocks: the first elects, the second is the boundary."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network(genesis=make_genesis(epoch_blocks=EPOCH_BLOCKS))
        genesis = genesis_header(
            chain_id_hash=self.network.hash, epoch=Epoch(1), time_ms=1_000, validators_hash=ZERO_HASH
        )
        self.start = Executed(
            hash=block_hash(genesis), header=genesis, post_root=self.network.root, calls_waiting=0
        )
        self.executor = Executor(
            chain_id_hash=self.network.hash,
            limits=self.network.limits,
            epoch=Epoch(1),
            epoch_blocks=EPOCH_BLOCKS,
            validators=self.network.validators,
            store=self.network.store,
            guests=self.network.guests,
            known=lambda name: None,
            remember=lambda checked: None,
            start=self.start,
        )

    def header(
        self, parent: Executed, *, flags: int = 0, next_hash: Hash = ZERO_HASH, epoch: int = 1
    ) -> Header:
        payload = b"" if flags == FLAG_TAIL else EMPTY_PAYLOAD
        height = parent.header.height + 1
        return Header(
            epoch=Epoch(epoch),
            view=View(height),
            height=Height(height),
            parent_hash=parent.hash,
            parent_view=View(0),
            proposer=ValidatorIndex(0),
            time_ms=Milliseconds(1_000 + height),
            payload_root=payload_root(payload),
            payload_len=len(payload),
            tx_count=0,
            state_root=parent.post_root,
            validators_hash=ZERO_HASH,
            next_validators_hash=next_hash,
            flags=flags,
        )

    def run(self, header: Header) -> Executed | None:
        """Validate and execute; None if it was found invalid."""
        block = block_hash(header)
        self.validate((block, header, b"" if header.flags == FLAG_TAIL else EMPTY_PAYLOAD))
        trio.run(drained, self)
        self.executor.work(4)
        assert self.answers[block] == (self.executor.executed(block) is not None)
        return self.executor.executed(block)

    def must(self, header: Header) -> Executed:
        done = self.run(header)
        assert done is not None
        return done


def ended(chain: Turning) -> tuple[Executed, Executed]:
    """The block that elects, and the boundary block on it."""
    first = chain.must(chain.header(chain.start))
    assert first.next_set is not None
    boundary = chain.header(first, flags=FLAG_BOUNDARY, next_hash=first.next_set.validators_hash)
    return first, chain.must(boundary)


def test_the_boundary_block_must_name_the_set_that_the_state_elected() -> None:
    chain = Turning()
    first = chain.must(chain.header(chain.start))
    assert chain.run(chain.header(first, flags=FLAG_BOUNDARY, next_hash=Hash(b"w" * 32))) is None
    first, boundary = ended(chain)
    assert first.next_set is not None
    assert boundary.next_set is not None
    assert first.next_set.record == boundary.next_set.record  # before it, and as the state keeps it
    assert first.next_set.record.leader_seed == first.hash
    kept = current_set(
        Ledger(chain.executor.nodes, boundary.post_root), chain_id_hash=chain.network.hash, epoch=Epoch(2)
    )
    assert kept.validators_hash == boundary.header.next_validators_hash


def test_tails_change_nothing_and_the_next_epoch_builds_on_the_boundary() -> None:
    chain = Turning()
    _, boundary = ended(chain)
    at = boundary
    for _ in range(3):
        at = chain.must(chain.header(at, flags=FLAG_TAIL))
        assert (at.post_root, at.result, at.checked) == (boundary.post_root, None, None)
    wrong = Executed(hash=at.hash, header=at.header, post_root=Hash(b"w" * 32), calls_waiting=0)
    assert chain.run(chain.header(wrong, flags=FLAG_TAIL)) is None
    assert boundary.next_set is not None
    assert len(chain.executor) == 6
    chain.executor.enter(Epoch(2), boundary.next_set)
    assert len(chain.executor) == 3
    following = chain.must(chain.header(boundary, epoch=2))
    assert following.header.height == boundary.header.height + 1
    chain.finalise(boundary.hash)
    chain.finalise(following.hash)
    assert len(chain.executor) == 1


def test_what_a_leader_builds_at_the_end_of_an_epoch() -> None:
    """A boundary names the next set; a tail is empty, and never idles."""
    chain = Turning()
    built: list[PayloadBuilt] = []
    builder = PayloadBuilder(
        executor=chain.executor,
        mempool=Mempool(chain.network.hash, chain.network.genesis.parameters),
        limits=chain.network.limits,
        idle_interval_us=1_000_000,
        includable=lambda view, limit: (),
        evidence=tuple,
        statements=tuple,
        votes=VoteBook(),
        answer=built.append,
    )
    first, boundary = ended(chain)

    def asked(parent: Executed, **how: bool) -> BuildPayload:
        return BuildPayload(View(9), parent.header, parent.hash, Milliseconds(5_000), **how)

    builder.request(asked(first, boundary=True), now_us=0)
    assert built == []  # nothing to say, and nothing that hurries
    builder.poll(1_000_000)
    assert built[-1].payload == EMPTY_PAYLOAD
    assert built[-1].next_validators_hash == boundary.header.next_validators_hash
    builder.request(asked(boundary, tail=True), now_us=0)
    assert (built[-1].payload, built[-1].tx_count) == (b"", 0)
    assert (built[-1].state_root, built[-1].next_validators_hash) == (boundary.post_root, ZERO_HASH)
