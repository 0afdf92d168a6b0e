"""Whatever accounts ask for, executing it returns, is the same twice, and loses no unit.

Every action there is, with every field drawn from what its type allows: numbers at the edges of their width,
names of pools, nominations and of leaves that are neither, parameters that votes set to anything. A block
that raises could be executed by no validator: one transaction would stop the network for good.
"""

import types
from collections import Counter
from dataclasses import fields, is_dataclass
from random import Random
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
from relay_fakes import ALL_ACCOUNTS, CHAIN_CODE, OPERATORS, USERS, Network, total_supply
from staking_world import CONTRADICTION, DOUBLE, bond, evidence, quick, rotation

from consensus.primitives import ids
from consensus.primitives.codec import ExactLength, UnsignedBits
from consensus.primitives.crypto import SigningKey
from consensus.primitives.errors import InvalidBlock
from consensus.relay.governance.proposals import proposal_count
from consensus.relay.governance.records import AGENDA_KEY
from consensus.relay.governance.transactions import Change, GovernanceAction, VoteAsMember
from consensus.relay.governance.windows import FIXED
from consensus.relay.ledger import COUNTS_KEY, PARAMETERS_KEY, account_key
from consensus.relay.parameters import Parameters
from consensus.relay.receipts import Code
from consensus.relay.stake.records import ROSTER_KEY, main_pool
from consensus.relay.stake.transactions import Bond, RotateKey, StakingAction, Withdraw
from consensus.relay.transactions import Action

PEOPLE = [*USERS, *OPERATORS]
WIDTHS = {
    ids.View: 64,
    ids.Height: 64,
    ids.Epoch: 64,
    ids.ValidatorIndex: 16,
    ids.Stake: 64,
    ids.Amount: 128,
    ids.Nonce: 64,
    ids.Fuel: 64,
    ids.Milliseconds: 64,
}
LEAVES = (PARAMETERS_KEY, COUNTS_KEY, AGENDA_KEY, ROSTER_KEY, account_key(USERS[0].public), bytes(32))
GOVERNED = [
    each.name
    for each in fields(Parameters)
    if each.name not in FIXED and not each.name.endswith("_fee")  # nobody could pay for anything any more
]
TERMS = {
    "gov_quorum_ppb": 1,
    "gov_deposit": 10,
    "gov_vote_ms": 30,
    "gov_timelock_ms": 5,
    "gov_security_timelock_ms": 10,
    "council_pause_ms": 100,
    "council_window_ms": 300,
    "unbonding_ms": 400,
    "veto_ms": 60,
    "evidence_epochs": 3,
    "unbonding_epochs": 3,
    "evidence_bond": 100,
}


def members_of(kind: Any) -> list[Any]:
    """The types of a union, of unions of unions too; any other type by itself."""
    if get_origin(kind) in (Union, types.UnionType):
        return [each for part in get_args(kind) for each in members_of(part)]
    return [kind]


KINDS = [members_of(each) for each in (StakingAction, StakingAction, GovernanceAction, Action)]  # as often


class Asking:
    """Draws actions for the next block of a network."""

    def __init__(self, network: Network, random: Random) -> None:
        self.network = network
        self.random = random

    def action(self, sender: SigningKey) -> Any:
        """Any action; keys are the sender's to prove."""
        kind = self.random.choice(self.random.choice(KINDS))
        name = f"name {self.random.randrange(10**6)}"
        if kind is Bond:
            return bond(self.network, sender, name, self.random.choice([10, 50, 300]))
        if kind is RotateKey:
            return rotation(self.network, sender, name)
        for _ in range(20):
            try:
                return self.record(kind)
            except ValueError:  # fields that contradict each other have no encoding
                continue
        return Withdraw()

    def record(self, kind: Any) -> Any:
        if kind is Change:
            name = self.random.choice(GOVERNED)
            held = getattr(self.network.view.parameters, name)
            return Change(name=name, value=self.random.choice([held + 1, held // 2, 0, 1, self.number(128)]))
        hints = get_type_hints(kind, include_extras=True)
        return kind(**{each.name: self.value(hints[each.name]) for each in fields(kind)})

    def value(self, kind: Any) -> Any:
        if is_dataclass(kind):
            return self.record(kind)
        if get_origin(kind) is Annotated:
            return self.marked(*get_args(kind))
        if len(members_of(kind)) > 1:
            chosen = self.random.choice(members_of(kind))
            return None if chosen is type(None) else self.value(chosen)
        if kind in WIDTHS:
            return self.number(WIDTHS[kind])
        if kind is ids.ChainId:
            return self.random.choice([0, 1, 1, 2, 2**32 - 1])
        if kind is ids.PublicKey:
            return self.random.choice(PEOPLE).public
        if kind is ids.Signature:
            return bytes(64)
        return self.random.random() < 0.5 if kind is bool else self.leaf()

    def marked(self, base: Any, mark: Any) -> Any:
        if isinstance(mark, UnsignedBits):
            return self.number(mark.bits)
        if isinstance(mark, ExactLength):
            return bytes(mark.length)
        if base is str:
            return self.random.choice(["", "a"])
        if base is bytes:
            return self.random.choice([b"", CHAIN_CODE[: mark.length]])
        item, length = get_args(base)[0], self.random.choice([0, 1, 1, 2, 2, 3])
        found = [self.value(item) for _ in range(min(length, mark.length))]
        return tuple(sorted(set(found)) if item is ids.PublicKey else found)

    def number(self, bits: int) -> int:
        epoch = self.network.epoch
        edge = self.random.choice([0, 1, 2, epoch, epoch - 1, 10, 77, 100, 100, 1_000, (1 << bits) - 1])
        return min(edge, (1 << bits) - 1)

    def leaf(self) -> bytes:
        """A nomination, a pool, or any other leaf of the state."""
        stakes, random = self.network.view.stakes, self.random
        names = [name for name, _ in stakes.nominations()]
        held = [each.pool for each in stakes.held_by(random.choice(PEOPLE).public)]
        chosen = random.choice([names, held, [main_pool(each) for each in names], LEAVES])
        return random.choice(chosen or LEAVES)


def ask(network: Network, random: Random) -> Counter[int]:
    """One block of whatever; how often each code was answered."""
    asking, raws = Asking(network, random), []
    voters = {each.public for each in random.sample(OPERATORS, 3)}
    for sender in random.sample(PEOPLE, 6):
        if sender.public not in voters:
            raws.append(network.raw(sender, asking.action(sender)))
    latest = proposal_count(network.view.stakes.ledger)
    if latest:
        vote = VoteAsMember(proposal=random.randrange(max(1, latest - 2), latest + 1), choice=1)
        raws += [network.raw(each, vote) for each in OPERATORS if each.public in voters]
    pieces = []
    if random.random() < 0.05:
        epoch = max(1, network.epoch - random.randrange(3))
        members = network.view.epoch_set(epoch)
        index = random.randrange(len(members.members))
        pieces.append(evidence(network, index, epoch=epoch, votes=random.choice([DOUBLE, CONTRADICTION])))
    try:
        result = network.block(raws, evidence=pieces)
    except InvalidBlock:  # too heavy: no leader would have made it
        return Counter()
    return Counter(int(each.code) for each in result.receipts)


@pytest.mark.parametrize("seed", [0, *(pytest.param(each, marks=pytest.mark.slow) for each in range(1, 8))])
def test_whatever_accounts_ask_for_can_be_executed_and_loses_no_unit(seed: int) -> None:
    random, answers = Random(seed), Counter[int]()
    for _ in range(3):
        network = quick(**TERMS)
        for _ in range(100):
            answers += ask(network, random)
            assert total_supply(network.view, ALL_ACCOUNTS) == network.view.supply().issued
    assert answers[Code.OK] > 100
    assert len(answers) > 15
