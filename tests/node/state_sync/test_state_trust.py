"""From what a node trusts to a snapshot epochs later: by every hop, in order, or not at all."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "consensus" / "light"))

from light_chain import CHAIN, EPOCH_BLOCKS, LightChain

from consensus.agreement.messages import FinalityProof
from consensus.light.client import advance, begin
from consensus.light.proofs import FinalHead
from consensus.primitives.codec import decode
from consensus.primitives.errors import PeerFault, UserError
from consensus.primitives.ids import Hash
from consensus.relay.parameters import Parameters
from node.state_sync import trust as trust_module
from node.state_sync.messages import Snapshot
from node.state_sync.trust import Trust, _known_hops

GENESIS = SimpleNamespace(hash=CHAIN, parameters=Parameters())  # all that trust asks of it
TARGET = 2 * EPOCH_BLOCKS + 1  # the first block of epoch 3


@pytest.fixture(scope="module")
def chain() -> LightChain:
    return LightChain([[1, 1, 1, 1], [1, 1, 1, 1, 2], [0, 1, 1, 2, 2]], real=True)


@pytest.fixture(autouse=True)
def clock(chain, monkeypatch) -> None:
    monkeypatch.setattr(trust_module, "_now_ms", lambda: chain.now_ms)


@pytest.fixture
def origin(chain, tmp_path) -> Trust:
    return Trust(GENESIS, begin(chain.start(0), chain.checkpoint(0), chain.parameters), forks=tmp_path)


def snapshot(chain: LightChain, height: int) -> Snapshot:
    above = chain.head(height + 1)
    proof = FinalityProof(path=(above.header, *above.finality.path), certificate=above.finality.certificate)
    return Snapshot(header=chain.headers[height], payload=b"", proof=proof)


def test_every_hop_leads_on_and_is_kept_for_others(chain, origin) -> None:
    trust = origin
    assert trust.next_hop == 1
    trust.take_hops([chain.hop(1)])
    trust.take_hops([chain.hop(2, through=1)])
    assert (trust.next_hop, trust.height) == (3, 2 * EPOCH_BLOCKS)
    trust.check(snapshot(chain, TARGET))
    assert trust.hops == [chain.hop(1), chain.hop(2, through=1)]


def test_no_more_hops_are_read_than_are_asked_for(chain) -> None:
    """A node that runs looks at every offer, and years of epochs may be behind it."""
    ends, read = {epoch: chain.hop(epoch) for epoch in (1, 2)}, []
    store = SimpleNamespace(boundary=lambda epoch: read.append(epoch) or ends.get(epoch))
    assert _known_hops(store, 3, None) == [ends[1], ends[2]]
    read.clear()
    assert _known_hops(store, 3, 1) == [ends[2]]
    assert read == [2]


def test_without_the_hops_nothing_of_a_later_epoch_is_believed(chain, origin) -> None:
    trust = origin
    with pytest.raises(PeerFault):
        trust.check(snapshot(chain, TARGET))
    with pytest.raises(PeerFault):
        trust.take_hops([chain.hop(2)])
    forged = replace(chain.hop(1), validators=chain.hop(2).validators)
    with pytest.raises(PeerFault):
        trust.take_hops([forged])
    assert (trust.next_hop, trust.hops) == (1, [])


def test_the_end_of_an_epoch_is_no_snapshot(chain, origin) -> None:
    trust = origin
    trust.take_hops([chain.hop(1)])
    with pytest.raises(PeerFault, match="root"):
        trust.check(snapshot(chain, 2 * EPOCH_BLOCKS))


def test_a_checkpoint_must_be_of_an_epoch_that_is_over(chain, tmp_path) -> None:
    trust = Trust(GENESIS, None, forks=tmp_path)
    assert trust.next_hop is None
    trust.take_start(chain.start(TARGET), chain.checkpoint(TARGET))
    with pytest.raises(UserError, match="earlier epoch"):
        trust.check(snapshot(chain, TARGET + 1))
    earlier = Trust(GENESIS, None, forks=tmp_path)
    earlier.take_start(chain.start(EPOCH_BLOCKS + 2), chain.checkpoint(EPOCH_BLOCKS + 2))
    earlier.take_hops([chain.hop(2)])
    earlier.check(snapshot(chain, TARGET + 1))


def test_a_start_that_is_not_the_checkpoint_is_a_lie(chain, tmp_path) -> None:
    with pytest.raises(PeerFault):
        Trust(GENESIS, None, forks=tmp_path).take_start(chain.start(3), chain.checkpoint(2))


def test_a_snapshot_of_a_fork_is_kept_as_proof_and_nobody_is_blamed_for_showing_it(chain, tmp_path) -> None:
    other = LightChain(chain.stakes, real=True, state_root=Hash(b"o" * 32))
    state = begin(chain.start(0), chain.checkpoint(0), chain.parameters)
    ours = advance(state, (), chain.head(3), chain.parameters, chain.now_ms)
    trust = Trust(GENESIS, ours, forks=tmp_path / "data")
    with pytest.raises(UserError, match="evidence blame"):
        trust.check(snapshot(other, 3))
    kept = sorted((tmp_path / "data").iterdir())
    assert [each.name for each in kept] == ["conflict-3-known.final", "conflict-3-other.final"]
    assert {decode(FinalHead, each.read_bytes(), limit=1 << 20).header for each in kept} == {
        chain.headers[3],
        other.headers[3],
    }
