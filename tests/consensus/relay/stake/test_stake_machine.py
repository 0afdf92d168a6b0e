"""Random histories of stake, keys and convictions: the ledger against the plain model, to the unit."""

from collections import Counter
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from relay_fakes import OPERATORS, USERS, total_supply
from staking_model import Model, Offender, Operation
from staking_world import CONTRADICTION, DOUBLE, bond, evidence, quick, rotation

from consensus.primitives.ids import Epoch
from consensus.relay.fees import flat_fee
from consensus.relay.genesis import issuance
from consensus.relay.receipts import Code
from consensus.relay.stake.records import Standing, leaving_key
from consensus.relay.stake.transactions import BondMore, Unbond, Unjail, Withdraw
from consensus.relay.transactions import Transfer

PEOPLE = [*USERS, *OPERATORS]
EVERYBODY = [each.public for each in PEOPLE]
PERSON = st.integers(0, len(PEOPLE) - 1)
AMOUNT = st.sampled_from([0, 1, 9, 10, 40, 90, 100, 101, 150, 10**9, 2**64])
NAME = st.sampled_from([f"key {index}" for index in range(12)])
GOOD = st.sampled_from([True, True, True, True, False])
KINDS = (
    ("bond", st.tuples(NAME, AMOUNT, GOOD)),
    ("more", AMOUNT),
    ("unbond", AMOUNT),
    ("withdraw", st.none()),
    ("rotate", st.tuples(NAME, GOOD)),
    ("unjail", st.none()),
    ("transfer", st.tuples(PERSON, st.sampled_from([0, 5, 999_999_000, 10**9]))),
)
ACTION = st.one_of(*(st.tuples(st.just(kind), values) for kind, values in KINDS))
OPERATIONS = st.lists(st.tuples(PERSON, ACTION, st.sampled_from([0] * 9 + [1])), min_size=4, max_size=24)
POSSIBLE = {
    None,
    Code.OK,
    Code.INSUFFICIENT_BALANCE,
    Code.ALREADY_EXISTS,
    Code.OVER_LIMIT,
    Code.NO_SUCH_VALIDATOR,
    Code.KEY_IN_USE,
    Code.BAD_PROOF,
    Code.BELOW_MINIMUM,
    Code.NOT_YET,
    Code.TOMBSTONED,
    Code.NOT_JAILED,
}
OFFENDERS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.booleans()), max_size=2)


class StakingMachine(RuleBasedStateMachine):
    """Blocks of random operations, over many short epochs."""

    codes: ClassVar[Counter[Code | None]] = Counter()

    @initialize(
        seats=st.sampled_from([4, 6]), span_ms=st.sampled_from([2, 100]), epoch_blocks=st.sampled_from([2, 4])
    )
    def start(self, seats: int, span_ms: int, epoch_blocks: int) -> None:
        """A network whose unbonding ends by epochs, or by time; with the shortest epochs, or not."""
        self.network = quick(
            max_validators=seats,
            max_evidence=8,
            unbonding_ms=span_ms,
            trusting_ms=1,
            epoch_blocks=epoch_blocks,
        )
        self.model = Model(self.network.genesis)

    @rule(operations=OPERATIONS, offenders=OFFENDERS)
    def block(self, operations, offenders) -> None:
        """One block, busy or not."""
        ahead: dict[bytes, int] = {}
        raws, expected = [], []
        for who, (kind, values), slip in operations:
            sender = PEOPLE[who]
            action, good = self._action(sender, kind, values)
            nonce = self.model.nonces[sender.public] + ahead.get(sender.public, 0) + slip
            ahead[sender.public] = ahead.get(sender.public, 0) + (not slip)
            raw = self.network.raw(sender, action, nonce=nonce)
            if raw in raws:
                continue
            raws.append(raw)
            fee = flat_fee(self.network.genesis.parameters, len(raw))
            expected.append(Operation(sender.public, nonce, action, fee, good))
        pieces, accused = self._evidence(offenders)
        height = self.network.height + 1
        codes, convictions = self.model.block(1_000 + 10 * height, expected, accused)
        self.codes.update(codes)
        result = self.network.block(raws, evidence=pieces)
        assert [receipt.code for receipt in result.receipts] == [each for each in codes if each is not None]
        assert len(result.offences) == sum(convictions)

    def _action(self, sender, kind, values):
        match kind:
            case "bond":
                name, amount, good = values
                action = bond(self.network, sender, name, min(amount, 2**128 - 1))
                return (action if good else replace(action, consensus_proof=bytes(64))), good
            case "more":
                return BondMore(amount=values), True
            case "unbond":
                return Unbond(amount=values), True
            case "withdraw":
                return Withdraw(), True
            case "rotate":
                name, good = values
                action = rotation(self.network, sender, name)
                return (action if good else replace(action, proof=bytes(64))), good
            case "unjail":
                return Unjail(), True
            case "transfer":
                to, amount = values
                return Transfer(to=PEOPLE[to].public, amount=amount), True

    def _evidence(self, offenders):
        """Good evidence about members of recent epochs, one piece for each."""
        pieces, accused = {}, {}
        for back, index, double in offenders:
            epoch = max(1, self.network.epoch - back)
            record = self.network.view.epoch_set(Epoch(epoch))
            if record is None:
                continue
            signer = index % len(record.members)
            votes = DOUBLE if double else CONTRADICTION
            pieces[epoch, signer] = evidence(self.network, signer, epoch=epoch, votes=votes)
            accused[epoch, signer] = Offender(epoch, signer, double)
        order = sorted(pieces)
        return [pieces[each] for each in order], [accused[each] for each in order]

    @rule(count=st.integers(1, 9))
    def quiet(self, count: int) -> None:
        """Time passes."""
        for _ in range(count):
            self.model.block(1_000 + 10 * (self.network.height + 1), ())
            self.network.block()

    @invariant()
    def money_is_conserved_to_the_unit(self) -> None:
        """And nothing is negative: a record could not even hold it."""
        network = self.network
        assert total_supply(network.view, EVERYBODY) == issuance(network.genesis)
        assert network.view.supply().burnt == self.model.burnt
        for account in EVERYBODY:
            assert network.view.account(account).balance == self.model.balances[account]

    @invariant()
    def every_validator_is_as_the_model_says(self) -> None:
        """Stake, standing, key and what is on its way out."""
        view, model = self.network.view, self.model
        for account in EVERYBODY:
            record, person = view.validator(account), model.people.get(account)
            if record is None or person is None:
                assert record is person is None
                continue
            assert (record.bonded, record.consensus_key) == (person.bonded, person.key)
            assert [[each.last_epoch, each.amount] for each in record.unbonding] == person.unbonding
            assert (record.standing == Standing.TOMBSTONED) == person.tombstoned
            jailed = person.jailed_until is not None
            assert (record.standing == Standing.ACTIVE) == (not jailed and not person.tombstoned)
        assert [each.account for each in view.roster()] == model.eligible()

    @invariant()
    def every_set_is_as_the_model_says_and_never_empty(self) -> None:
        """The sets that the state still has."""
        oldest = self.network.view.oldest_epoch()
        assert oldest <= max(1, self.network.epoch - self.network.genesis.parameters.evidence_epochs)
        for epoch in range(oldest, max(self.model.sets) + 1):
            record = self.network.view.epoch_set(Epoch(epoch))
            assert record is not None
            members = [(each.account, each.consensus_key, each.stake) for each in record.members]
            assert members == self.model.sets[epoch]
            assert members

    @invariant()
    def what_leaves_is_summed_up_and_forgotten_when_it_is_paid(self) -> None:
        """No leaf outlives the entries that it is for."""
        sums: dict[int, tuple[int, int]] = {}
        for person in self.model.people.values():
            for epoch, amount in person.unbonding:
                entries, total = sums.get(epoch, (0, 0))
                sums[epoch] = (entries + 1, total + amount)
        for epoch in range(1, self.network.epoch + 2):
            left = self.network.view.leaving(Epoch(epoch))
            assert (self.network.view.read(leaving_key(Epoch(epoch))) is None) == (epoch not in sums)
            if left is not None:
                assert (left.entries, left.amount) == sums[epoch]
                assert left.ended_ms == self.model.ended.get(epoch, 0)

    def teardown(self) -> None:
        """In the end all that was on its way comes out, to the unit: `block` compares the balances."""
        for _ in range(20):
            self.quiet(1)
        for index, person in enumerate(PEOPLE):
            model = self.model.people.get(person.public)
            if model is not None and self.model.balances[person.public] > 1_000:
                self.block([(index, ("withdraw", None), 0)], [])
                assert model.unbonding == []
        self.money_is_conserved_to_the_unit()
        self.every_validator_is_as_the_model_says()


def run(examples: int, steps: int) -> Counter[Code | None]:
    """What became of all operations: None of a void one."""
    StakingMachine.codes = Counter()
    run_state_machine_as_test(
        StakingMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking a history takes minutes
        ),
    )
    return StakingMachine.codes


def test_random_histories_agree_with_the_model() -> None:
    codes = run(examples=10, steps=25)
    assert codes[Code.OK] > 20


@pytest.mark.slow
def test_many_random_histories_agree_with_the_model() -> None:
    codes = run(examples=60, steps=80)
    assert codes.total() > 10_000
    assert set(codes) >= POSSIBLE
