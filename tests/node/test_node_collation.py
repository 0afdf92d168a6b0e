"""Where a chain's first state is found, however the chain came to be."""

import sys
from pathlib import Path
from types import SimpleNamespace

import structlog

sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay"))
sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay" / "governance"))

from governing_world import decided, governed
from relay_fakes import CHAIN_CODE, USERS, Network
from staking_world import do

from consensus.primitives.ids import Amount, ChainId, Height
from consensus.relay.blocks import EMPTY_PAYLOAD, encode_payload
from consensus.relay.governance.records import ProposalStage
from consensus.relay.governance.transactions import OnboardChain
from consensus.relay.parameters import ChainTerms, Entry
from consensus.relay.receipts import Code
from consensus.relay.transactions import RegisterChain
from node.chain_replica import Beginning
from node.collation import Collation

LOG = structlog.get_logger("test")
MISSING = "not looked for"


class KeptChain:
    """The final chain as a collation sees it, over a relay chain in memory; blocks may be pruned."""

    def __init__(self, network: Network) -> None:
        self.kept: dict[int, tuple[bytes, tuple]] = {}
        self._network, self._execute = network, network.block
        network.block = self._block  # type: ignore[method-assign]

    def _block(self, raws=()):
        result = self._execute(raws)
        payload = encode_payload(raws) if raws else EMPTY_PAYLOAD
        self.kept[self._network.height] = payload, result.receipts
        return result

    @property
    def view(self):
        return self._network.view

    def block(self, height: int):
        return SimpleNamespace(payload=self.kept[height][0]) if height in self.kept else None

    def receipts(self, height: int):
        return SimpleNamespace(receipts=self.kept[height][1]) if height in self.kept else None


def beginning(network: Network, chain: KeptChain, number: int) -> Beginning | str | None:
    """With what a collator of the chain begins; MISSING if there is no such chain yet."""
    made: list[Beginning | None] = []
    Collation(ChainId(number), network.genesis, chain, lambda _, each: made.append(each), LOG)  # type: ignore[arg-type, func-returns-value]
    return made[0] if made else MISSING


def entries(value: bytes) -> tuple[Entry, ...]:
    return (Entry(key=b"key", value=value),)


def onboard(value: bytes) -> OnboardChain:
    return OnboardChain(
        name="two",
        owner=USERS[2].public,
        code=CHAIN_CODE,
        entries=entries(value),
        terms=ChainTerms(),
        balance=Amount(0),
    )


def test_a_chain_begins_with_what_it_was_registered_with() -> None:
    network = governed()
    chain = KeptChain(network)
    assert isinstance(beginning(network, chain, 1), Beginning)
    assert beginning(network, chain, 2) == MISSING
    action = RegisterChain(
        name="two", code=CHAIN_CODE, entries=entries(b"2"), terms=ChainTerms(), balance=Amount(0)
    )
    assert do(network, USERS[1], action).code == Code.OK
    begun = beginning(network, chain, 2)
    assert begun.version.head == network.view.head(ChainId(2)).head
    chain.kept.clear()
    assert beginning(network, chain, 2) is None


def test_a_chain_that_a_vote_brought_begins_with_what_was_proposed() -> None:
    network = governed()
    chain = KeptChain(network)
    for value in (b"2", b"3"):  # of one name and owner, and not the same
        assert decided(network, onboard(value)).stage == ProposalStage.DONE
    heads = [network.view.head(ChainId(number)).head for number in (2, 3)]
    assert [beginning(network, chain, number).version.head for number in (2, 3)] == heads
    assert heads[0] != heads[1]
    registered = network.view.chain_record(ChainId(3)).registered_height
    chain.kept = {height: kept for height, kept in chain.kept.items() if height >= registered}
    assert beginning(network, chain, 3) is None, "the block that proposed it is pruned"


def test_where_it_is_not_sure_which_vote_brought_a_chain_nothing_is_assumed() -> None:
    """A chain that has moved on does not show its first head any more."""
    network = governed()
    chain = KeptChain(network)
    assert decided(network, onboard(b"2")).stage == ProposalStage.DONE
    head = network.view.head(ChainId(2))
    moved = SimpleNamespace(height=Height(5), head=head.state_root)

    class Later(KeptChain):
        @property
        def view(self):
            view = network.view
            view.head = lambda _: moved
            return view

    chain.__class__ = Later
    assert beginning(network, chain, 2).version.head == head.head
    assert decided(network, onboard(b"3")).stage == ProposalStage.DONE
    assert beginning(network, chain, 2) is None
