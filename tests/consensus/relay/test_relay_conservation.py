"""Random histories of whole blocks: stake, fees, rewards, convictions and slashes together lose no unit.

What is issued is what is held, to the unit, after every block; nobody's stake is more than all of it; who
may leave gets out, in the end, all that was not slashed.
"""

import random
from collections import Counter

import pytest
from relay_fakes import ALL_ACCOUNTS, OPERATORS, USERS, Network, total_supply
from staking_world import CONTRADICTION, DOUBLE, bond, evidence, quick, to_epoch

from consensus.agreement.evidence import Evidence
from consensus.primitives.crypto import SigningKey
from consensus.primitives.ids import PublicKey
from consensus.relay.ledger import Pot
from consensus.relay.receipts import Code
from consensus.relay.stake.records import main_pool, nomination_name
from consensus.relay.stake.transactions import (
    BondMore,
    Chill,
    Claim,
    Delegate,
    Redelegate,
    SetCommission,
    Unbond,
    Unchill,
    Undelegate,
    Unjail,
    Withdraw,
)
from consensus.relay.transactions import Action, Transfer

EVERYBODY = [*USERS, *OPERATORS]


class History:
    """One network, and chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.network: Network = quick(
            exit_cap_ppb=self.chance.choice((10**9, 2 * 10**8)),
            unbonding_ms=self.chance.choice((60, 150)),
        )
        self.codes: Counter[Code] = Counter()
        self.convicted = 0

    def play(self, blocks: int, actions: int) -> None:
        for _ in range(blocks):
            chosen = [self.chance.choice(EVERYBODY) for _ in range(self.chance.randint(0, actions))]
            raws = [self.network.raw(each, self.action(each)) for each in chosen]
            result = self.network.block(raws, evidence=self.pieces())
            self.codes.update(Code(each.code) for each in result.receipts)
            self.convicted += len(result.offences)
            self.check()

    def check(self) -> None:
        view = self.network.view
        supply, totals = view.supply(), view.stakes.totals()
        assert supply.issued == total_supply(view, ALL_ACCOUNTS)
        assert min(view.account(each).balance for each in ALL_ACCOUNTS) >= 0
        pools = {each.pool for who in ALL_ACCOUNTS for each in view.stakes.held_by(PublicKey(who))}
        records = [record for record in map(view.stakes.pool, pools) if record is not None]
        mains = {main_pool(each.to): each for each in records if each.merged}
        merged = [view.stakes.pool(each) for each in mains if each not in pools]
        found = [*records, *(each for each in merged if each is not None)]
        assert sum(each.tokens for each in found) == totals.bonded
        held = sum(
            view.stakes.value(each.pool, PublicKey(who))
            for who in ALL_ACCOUNTS
            for each in view.stakes.held_by(PublicKey(who))
        )
        assert 0 <= totals.bonded - held <= sum(len(view.stakes.held_by(PublicKey(w))) for w in ALL_ACCOUNTS)

    def action(self, sender: SigningKey) -> Action:
        chance, stakes = self.chance, self.network.view.stakes
        validators = [each.public for each in EVERYBODY if stakes.validator(each.public) is not None]
        some = tuple(chance.sample(validators, min(len(validators), chance.choice((1, 1, 2, 3)))))
        held = [stakes.pool(each.pool) for each in stakes.held_by(sender.public)]
        behind = [each.nomination for each in held if each is not None] or [nomination_name(some)]
        name = chance.choice(behind)
        worth = stakes.value(main_pool(name), sender.public)
        part = chance.choice((worth, worth // 2, worth // 7, worth + 1))
        amount = chance.choice((chance.randint(0, 30), chance.randint(20, 10**6)))
        number = chance.randrange(10**6)
        choices: list[tuple[int, Action]] = [
            (6, Delegate(validators=some, amount=amount)),
            (4, Undelegate(nomination=name, amount=part)),
            (4, Redelegate(nomination=name, validators=some, amount=part)),
            (4, Withdraw()),
            (2, Claim(pool=main_pool(name))),
            (2, Transfer(to=chance.choice(EVERYBODY).public, amount=amount)),
            (1, bond(self.network, sender, f"n{number}", amount)),
            (1, BondMore(amount=amount)),
            (1, Unbond(amount=part)),
            (1, Chill()),
            (2, Unchill()),
            (2, Unjail()),
            (1, SetCommission(commission_ppb=chance.randint(0, 2 * 10**7))),
        ]
        return chance.choices([each for _, each in choices], [weight for weight, _ in choices])[0]

    def pieces(self) -> list[Evidence]:
        """Now and then somebody is caught, of an epoch that may count or not."""
        chance, network = self.chance, self.network
        if chance.random() > 0.08:
            return []
        epoch = chance.randint(max(network.view.oldest_epoch(), network.epoch - 3), network.epoch)
        members = network.view.epoch_set(epoch).members
        votes = DOUBLE if chance.random() < 0.3 else CONTRADICTION
        return [evidence(network, chance.randrange(len(members)), epoch=epoch, votes=votes)]

    def leave(self) -> None:
        """Everybody takes out what may leave; what is left is what may not."""
        for who in EVERYBODY:
            for each in self.network.view.stakes.held_by(who.public):
                worth = self.network.view.stakes.value(each.pool, who.public)
                record = self.network.view.stakes.pool(each.pool)
                if record is not None and not each.last_epoch and worth:
                    self.network.block(
                        [self.network.raw(who, Undelegate(nomination=record.nomination, amount=worth))]
                    )
        self.network.halted_ms += 10_000
        to_epoch(self.network, self.network.epoch + 12)
        for who in EVERYBODY:
            for _ in range(9):
                self.network.block([self.network.raw(who, Withdraw())])
            assert not any(each.last_epoch for each in self.network.view.stakes.held_by(who.public))
        self.check()


@pytest.mark.parametrize("seed", range(2))
def test_no_unit_is_lost_in_a_short_history(seed: int) -> None:
    history = History(seed)
    history.play(blocks=50, actions=4)
    assert history.codes[Code.OK] > 20
    history.leave()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 108))
def test_no_unit_is_lost_in_a_long_history(seed: int) -> None:
    history = History(seed)
    history.play(blocks=300, actions=6)
    assert history.codes.total() > 500
    assert history.convicted
    assert history.network.view.stakes.ledger.pot(Pot.SLASHED) >= 0
    history.leave()
