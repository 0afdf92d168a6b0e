"""How `phalanx light sync` follows nodes, honest and not; nodes are chains made by hand."""

import pytest
import trio
from click.testing import CliRunner
from light_chain import CHAIN, EPOCH_BLOCKS, LightChain

from consensus.light.client import Conflict, TrustExpired, begin
from consensus.light.proofs import FinalHead
from consensus.primitives.codec import decode
from consensus.primitives.errors import UserError
from consensus.primitives.ids import Milliseconds
from node.cli import light
from node.cli.trust import Trust, TrustOptions, read_state, write_state

STAKES = [[5, 3, 4, 3], [5, 0, 4, 3, 6], [1, 2, 4, 3, 6, 1, 1]]
OTHER = [[5, 3, 4, 3], [5, 2, 4, 3, 6], [1, 2, 4, 3, 6, 1, 1]]
TOP = len(STAKES) * EPOCH_BLOCKS


class FakeNode:
    """A node's answers; `ends` may hide boundaries."""

    def __init__(self, chain, height=TOP, ends=99, start=None):
        self.chain, self.height, self.ends = chain, height, ends
        self.begin = start or chain
        self.url = "http://fake"

    async def light_head(self, height=None):
        return self.chain.head(self.height if height is None else height)

    async def light_start(self, height):
        return self.begin.start(height)

    async def light_hops(self, epoch):
        last = min(self.chain.headers[self.height].epoch, self.ends)
        return self.chain.hops(epoch, min(last, epoch + 1))


def trust_of(chain, height=0):
    return Trust(
        parameters=chain.parameters, checkpoint=chain.checkpoint(height), genesis=None, named="a test"
    )


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    now = [LightChain(STAKES).now_ms]
    monkeypatch.setattr(light, "now_ms", lambda: Milliseconds(now[0]))
    monkeypatch.setattr(light, "ask", lambda node, question: trio.run(question, node))
    return now


def follow(node, trust, kept=None):
    return trio.run(light._follow, node, trust, kept)


def test_a_node_is_followed_from_every_block_and_again() -> None:
    chain = LightChain(STAKES)
    for height in range(TOP + 1):
        state, hops = follow(FakeNode(chain), trust_of(chain, height))
        assert (state.height, state.epoch) == (TOP, 3)
        assert hops == 3 - chain.headers[height].epoch
        assert follow(FakeNode(chain), trust_of(chain), state) == (state, 0)
    state, _ = follow(FakeNode(chain, height=EPOCH_BLOCKS), trust_of(chain))
    assert state.height == EPOCH_BLOCKS
    assert follow(FakeNode(chain), trust_of(chain), state)[0].height == TOP


def test_what_can_not_be_followed_says_why(clock) -> None:
    chain, fork = LightChain(STAKES), LightChain(OTHER, fork=b"another")
    state, _ = follow(FakeNode(chain), trust_of(chain))
    for node, kept, reason in (
        (FakeNode(chain, height=5), state, "below 12, which is trusted"),
        (FakeNode(chain, ends=2), None, "does not have the end of epoch 2"),
        (FakeNode(fork, start=chain), state, "says is wrong"),
        (FakeNode(chain, start=fork), None, "says is wrong"),
    ):
        with pytest.raises(UserError, match=reason):
            follow(node, trust_of(chain, 1 if node.begin is fork else 0), kept)
    clock[0] += chain.parameters.trusting_ms
    with pytest.raises(TrustExpired, match="--trusted HEIGHT:HASH"):
        follow(FakeNode(chain), trust_of(chain), state)


def test_a_witness_agrees_or_shows_a_fork_or_lies(tmp_path) -> None:
    chain = LightChain(STAKES)
    trust, path = trust_of(chain), tmp_path / "state"
    state, _ = follow(FakeNode(chain), trust)

    def witness(node):
        return light._cross_check(node, state, trust, path, None)

    assert "agrees" in witness(FakeNode(chain))
    early = LightChain(OTHER, fork=b"other sets")
    with pytest.raises(UserError, match="another history from the same trusted block"):
        witness(FakeNode(early))
    assert begin(early.start(0), chain.checkpoint(0), chain.parameters).chain == CHAIN
    liar = LightChain([[9, 9, 9]], fork=b"lies")
    liar.headers[TOP] = liar.headers[3]
    assert "do not believe" in witness(FakeNode(liar, height=3))


def test_a_fork_within_the_epoch_leaves_both_proofs(tmp_path) -> None:
    chain, fork = LightChain(STAKES[:1]), LightChain(STAKES[:1], fork=b"another")
    trust, path = trust_of(chain), tmp_path / "state"
    state, _ = follow(FakeNode(chain, height=3), trust)
    with pytest.raises(UserError, match=r"two blocks are final that no chain holds.*evidence dossier"):
        light._cross_check(FakeNode(fork, height=4), state, trust, path, None)
    _leaves_both(tmp_path, chain, fork)


def test_a_node_that_is_followed_may_be_on_the_other_side_of_a_fork(tmp_path, monkeypatch) -> None:
    chain, fork = LightChain(STAKES[:1]), LightChain(STAKES[:1], fork=b"another")
    trust, path = trust_of(chain), tmp_path / "state"
    state, _ = follow(FakeNode(chain, height=3), trust)
    write_state(path, state)
    monkeypatch.setattr(light, "rpc_url", lambda rpc: FakeNode(fork, height=3))
    monkeypatch.setattr(TrustOptions, "resolve", lambda self: trust)
    result = CliRunner().invoke(light.sync, ["--state", str(path)], obj=None)
    assert isinstance(result.exception, UserError)
    assert "two blocks are final that no chain holds both of" in str(result.exception)
    assert read_state(path, CHAIN) == state
    _leaves_both(tmp_path, chain, fork)


def test_what_a_witness_contradicts_is_not_kept(tmp_path, monkeypatch) -> None:
    chain, fork = LightChain(STAKES[:1]), LightChain(STAKES[:1], fork=b"another")
    trust, path = trust_of(chain), tmp_path / "state"
    monkeypatch.setattr(light, "rpc_url", lambda rpc: FakeNode(chain, height=3))
    monkeypatch.setattr(TrustOptions, "resolve", lambda self: trust)
    check = light._cross_check
    for node, kept in ((FakeNode(fork, height=4), False), (FakeNode(chain), True)):
        monkeypatch.setattr(light, "_cross_check", lambda url, *rest, node=node: check(node, *rest))
        result = CliRunner().invoke(light.sync, ["--state", str(path), "--witness", "http://it"], obj=None)
        assert (result.exception is None) == kept, result.output
        assert (read_state(path, CHAIN) is not None) == kept


def test_a_node_that_lags_on_the_other_side_of_a_fork_shows_it_too() -> None:
    chain, fork = LightChain(STAKES[:1]), LightChain(STAKES[:1], fork=b"another")
    state, _ = follow(FakeNode(chain, height=4), trust_of(chain))
    with pytest.raises(Conflict):
        follow(FakeNode(fork, height=3), trust_of(chain), state)
    with pytest.raises(UserError, match="below 4, which is trusted"):
        follow(FakeNode(chain, height=3), trust_of(chain), state)


def _leaves_both(path, chain, fork) -> None:
    files = sorted(path.glob("conflict-3-*.final"))
    heads = [decode(FinalHead, each.read_bytes(), limit=1 << 20) for each in files]
    assert [each.header for each in heads] == [chain.headers[3], fork.headers[3]]
