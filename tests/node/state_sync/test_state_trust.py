"""From what a node trusts to a snapshot epochs later: by every hop, in order, or not at all."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "consensus" / "light"))

from light_chain import CHAIN, EPOCH_BLOCKS, LightChain

from consensus.agreement.messages import FinalityProof
from consensus.light.client import begin
from consensus.primitives.errors import PeerFault, UserError
from consensus.relay.parameters import Parameters
from node.state_sync import trust as trust_module
from node.state_sync.messages import Snapshot
from node.state_sync.trust import Trust

GENESIS = SimpleNamespace(hash=CHAIN, parameters=Parameters())  # all that trust asks of it
TARGET = 2 * EPOCH_BLOCKS + 1  # the first block of epoch 3


@pytest.fixture(scope="module")
def chain() -> LightChain:
    return LightChain([[1, 1, 1, 1], [1, 1, 1, 1, 2], [0, 1, 1, 2, 2]], real=True)


@pytest.fixture(autouse=True)
def clock(chain, monkeypatch) -> None:
    monkeypatch.setattr(trust_module, "_now_ms", lambda: chain.now_ms)


def from_genesis(chain: LightChain) -> Trust:
    return Trust(GENESIS, begin(chain.start(0), chain.checkpoint(0), chain.parameters))


def snapshot(chain: LightChain, height: int) -> Snapshot:
    above = chain.head(height + 1)
    proof = FinalityProof(path=(above.header, *above.finality.path), certificate=above.finality.certificate)
    return Snapshot(header=chain.headers[height], payload=b"", proof=proof)


def test_every_hop_leads_on_and_is_kept_for_others(chain) -> None:
    trust = from_genesis(chain)
    assert trust.next_hop == 1
    trust.take_hops([chain.hop(1)])
    trust.take_hops([chain.hop(2, through=1)])
    assert (trust.next_hop, trust.height) == (3, 2 * EPOCH_BLOCKS)
    trust.check(snapshot(chain, TARGET))
    assert trust.hops == [chain.hop(1), chain.hop(2, through=1)]


def test_without_the_hops_nothing_of_a_later_epoch_is_believed(chain) -> None:
    trust = from_genesis(chain)
    with pytest.raises(PeerFault):
        trust.check(snapshot(chain, TARGET))
    with pytest.raises(PeerFault):
        trust.take_hops([chain.hop(2)])
    forged = replace(chain.hop(1), validators=chain.hop(2).validators)
    with pytest.raises(PeerFault):
        trust.take_hops([forged])
    assert (trust.next_hop, trust.hops) == (1, [])


def test_the_end_of_an_epoch_is_no_snapshot(chain) -> None:
    trust = from_genesis(chain)
    trust.take_hops([chain.hop(1)])
    with pytest.raises(PeerFault, match="root"):
        trust.check(snapshot(chain, 2 * EPOCH_BLOCKS))


def test_a_checkpoint_must_be_of_an_epoch_that_is_over(chain) -> None:
    trust = Trust(GENESIS, None)
    assert trust.next_hop is None
    trust.take_start(chain.start(TARGET), chain.checkpoint(TARGET))
    with pytest.raises(UserError, match="earlier epoch"):
        trust.check(snapshot(chain, TARGET + 1))
    earlier = Trust(GENESIS, None)
    earlier.take_start(chain.start(EPOCH_BLOCKS + 2), chain.checkpoint(EPOCH_BLOCKS + 2))
    earlier.take_hops([chain.hop(2)])
    earlier.check(snapshot(chain, TARGET + 1))


def test_a_start_that_is_not_the_checkpoint_is_a_lie(chain) -> None:
    with pytest.raises(PeerFault):
        Trust(GENESIS, None).take_start(chain.start(3), chain.checkpoint(2))
