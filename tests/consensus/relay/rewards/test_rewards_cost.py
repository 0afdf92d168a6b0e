"""What a claim costs, and the end of an epoch: the same with ten delegators as with ten thousand."""

from collections import Counter
from collections.abc import Iterator

import pytest
from earning_world import earning, to_next_epoch, vote
from relay_fakes import OPERATORS, USERS, Network

import consensus.relay.ledger
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import Hash, PublicKey
from consensus.primitives.tree import get as tree_get
from consensus.relay.ledger import Ledger
from consensus.relay.receipts import Code
from consensus.relay.rewards.transactions import ClaimCommission
from consensus.relay.stake.holdings import Place
from consensus.relay.stake.records import PoolKind, main_pool
from consensus.relay.stake.stakes import Stakes
from consensus.relay.stake.transactions import Claim

NAME = Stakes.own(OPERATORS[0].public)


def crowded(delegators: int) -> Network:
    """A network in which so many accounts stand behind the first validator, one of them a user, with the same
    stake all together; after two epochs, so that all have earned."""
    network = earning(commission_min_ppb=10_000_000)
    amount = 10**7 // delegators
    ledger = Ledger(network.store, network.root)
    stakes = Stakes(ledger)
    for index in range(delegators):
        name = hash_tagged(b"test-delegator", index.to_bytes(8, "big"))
        account = PublicKey(name) if index else USERS[0].public
        ledger.mint(amount)
        stakes.holdings.put_in(Place(kind=PoolKind.MAIN, nomination=NAME), account, amount)
    stakes.settle()
    network.root = ledger.commit()
    network.store.apply(ledger.added)
    network.references.update(ledger.reference_changes())
    to_next_epoch(network)
    to_next_epoch(network)
    return network


def cost(network: Network, raws: list[bytes], monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Leaves read and nodes of the tree read and written by a block of these transactions."""
    found: Counter[str] = Counter()

    class Reads:
        def __init__(self, nodes) -> None:
            self._nodes = nodes

        def get(self, node: Hash) -> bytes:
            found["nodes read"] += 1
            return self._nodes.get(node)

    def read(nodes, root: Hash, key: Hash) -> bytes | None:
        found["leaves read"] += 1
        return tree_get(Reads(nodes), root, key)

    with monkeypatch.context() as patch:
        patch.setattr(consensus.relay.ledger, "tree_get", read)
        result = network.execute(raws)
    assert all(each.code == Code.OK for each in result.receipts)
    assert all(int.from_bytes(each.output, "big") for each in result.receipts)
    found["nodes written"] = len(result.new_nodes)
    return found


def test_cost_does_not_depend_on_how_many_delegators_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = ([*costs(crowded(delegators), monkeypatch)] for delegators in (10, 10_000))
    depth = 10  # doublings from ten to ten thousand
    for small, large in zip(few, many, strict=True):
        assert large["leaves read"] == small["leaves read"]
        assert large["nodes read"] <= small["nodes read"] + depth * small["leaves read"]
        assert large["nodes written"] <= small["nodes written"] + depth * small["leaves read"]


def costs(network: Network, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Of claiming rewards, of claiming commission, of an epoch's end."""
    yield cost(network, [network.raw(USERS[0], Claim(pool=main_pool(NAME)))], monkeypatch)
    yield cost(network, [network.raw(OPERATORS[0], ClaimCommission())], monkeypatch)
    while (network.height + 1) % 8:
        vote(network)
    yield cost(network, [], monkeypatch)
