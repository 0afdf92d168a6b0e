"""A `subset` chain that four validators of one stake may opt in to."""

from dataclasses import replace

from relay_fakes import OPERATORS, Network, make_genesis
from staking_world import QUICK, code, to_epoch

from consensus.primitives.guest import Policy
from consensus.primitives.ids import Amount, ChainId
from consensus.relay.parameters import ChainTerms
from consensus.relay.receipts import Code
from consensus.relay.security.terms import RailTerms, SubsetTerms
from consensus.relay.security.transactions import Allocate

CHAIN = ChainId(1)
STAKE = 1_000


def subset_network(terms: SubsetTerms | None = None, rails: RailTerms | None = None, **parameters) -> Network:
    """Chain 1 is `subset`; epochs of four blocks."""
    genesis = make_genesis(stake=STAKE, **(QUICK | parameters))
    chain_terms = ChainTerms(policy=int(Policy.SUBSET), subset=terms or SubsetTerms(), rails=rails)
    return Network(replace(genesis, chains=(replace(genesis.chains[0], terms=chain_terms),)))


def allocate(network: Network, who: int, amount: int, chain: int = CHAIN) -> Code:
    """What becomes of a validator's allocation."""
    return code(network, OPERATORS[who], Allocate(chain=ChainId(chain), amount=Amount(amount)))


def opted_in(network: Network, amounts: dict[int, int]) -> Network:
    """These validators allocate so much, and the first epoch of it has begun."""
    epoch = network.epoch
    for who, amount in amounts.items():
        assert allocate(network, who, amount) is Code.OK
    to_epoch(network, epoch + 2)
    return network
