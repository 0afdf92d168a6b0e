"""Bonding, unbonding, keys: each rule with its refusal, and money to the unit."""

from dataclasses import replace

import pytest
from relay_fakes import ALL_ACCOUNTS, OPERATORS, USERS, VALIDATORS, Network, key, total_supply
from staking_world import accounts, bond, code, do, quick, rotation, to_epoch

from consensus.primitives.crypto import SigningKey
from consensus.primitives.errors import InvalidTransaction
from consensus.primitives.ids import Epoch
from consensus.relay.genesis import issuance
from consensus.relay.receipts import Code
from consensus.relay.stake.records import Standing
from consensus.relay.stake.transactions import BondMore, SetAddress, Unbond, Unjail, Withdraw
from consensus.relay.transactions import Transfer

ALICE, BOB = USERS[0], USERS[1]
NOBODY = USERS[5]


def leaving(network: Network, holder: SigningKey) -> list[tuple[int, int]]:
    """What an account has on its way out: the last epoch, and the units."""
    stakes = network.view.stakes
    held = [each for each in stakes.held_by(holder.public) if each.last_epoch]
    return [(each.last_epoch, stakes.value(each.pool, holder.public)) for each in held]


def conserved(network: Network) -> bool:
    return total_supply(network.view, ALL_ACCOUNTS) == issuance(network.genesis)


def test_genesis_validators_are_bonded_and_count_as_issued() -> None:
    network = quick()
    for index, operator in enumerate(OPERATORS):
        record = network.view.validator(operator.public)
        assert (record.name, record.standing) == (f"v{index}", Standing.ACTIVE)
        assert network.view.self_stake(operator.public) == 100
        assert record.consensus_key == VALIDATORS[index].public
    assert network.view.supply().issued == issuance(network.genesis)
    assert conserved(network)
    assert [each.account for each in network.view.roster()] == sorted(accounts(network))


def test_a_bond_locks_stake_and_seats_its_validator_in_the_next_epoch() -> None:
    network = quick()
    receipt = do(network, ALICE, bond(network, ALICE, "alice", 150, "192.0.2.7:7700"))
    assert receipt.code == Code.OK
    assert network.view.account(ALICE.public).balance == 10**9 - 150 - receipt.fee
    record = network.view.validator(ALICE.public)
    assert (record.joined_height, record.address) == (1, "192.0.2.7:7700")
    assert network.view.self_stake(ALICE.public) == 150
    assert ALICE.public not in accounts(network)
    to_epoch(network, 2)
    member = network.view.epoch_set(Epoch(2)).members[-1]
    assert (member.account, member.stake, member.address) == (ALICE.public, 150, "192.0.2.7:7700")
    assert network.validators.stakes == (100, 100, 100, 100, 150)
    assert conserved(network)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"amount": 9}, Code.BELOW_MINIMUM),
        ({"amount": 0}, Code.BELOW_MINIMUM),
        ({"amount": 10**9}, Code.INSUFFICIENT_BALANCE),
        ({"amount": 1 << 64}, Code.OVER_LIMIT),
        ({"address": "a.example:7700"}, Code.BAD_ADDRESS),
        ({"name": "v0"}, Code.NAME_IN_USE),
        ({"consensus_key": VALIDATORS[0].public}, Code.KEY_IN_USE),
        ({"identity_key": key("identity 0").public}, Code.KEY_IN_USE),
        ({"identity_key": key("alice consensus").public}, Code.KEY_IN_USE),
        ({"consensus_key": key("other").public}, Code.BAD_PROOF),
        ({"identity_key": key("other").public}, Code.BAD_PROOF),
        ({"consensus_key": bytes(32)}, Code.BAD_PROOF),
        ({"consensus_proof": bytes(64)}, Code.BAD_PROOF),
        ({"identity_proof": bytes(64)}, Code.BAD_PROOF),
    ],
    ids=lambda each: each.name if isinstance(each, Code) else "-".join(f"{name}" for name in each),
)
def test_a_bond_that_breaks_a_rule_costs_its_fee_alone(change, expected: Code) -> None:
    network = quick()
    receipt = do(network, ALICE, replace(bond(network, ALICE, "alice", 100), **change))
    assert receipt.code == expected
    assert network.view.validator(ALICE.public) is None
    assert network.view.account(ALICE.public).balance == 10**9 - receipt.fee
    assert len(network.view.roster()) == 4


def test_a_proof_of_possession_is_good_for_one_account_and_one_network() -> None:
    network = quick()
    stolen = bond(network, ALICE, "alice", 100)
    assert code(network, BOB, stolen) == Code.BAD_PROOF
    elsewhere = bond(quick(jail_epochs=9), BOB, "alice", 100)
    assert code(network, BOB, elsewhere) == Code.BAD_PROOF
    assert code(network, ALICE, stolen) == Code.OK
    assert code(network, ALICE, bond(network, ALICE, "again", 100)) == Code.ALREADY_EXISTS


def test_only_a_validator_has_stake_to_change() -> None:
    network = quick()
    for action in (
        BondMore(amount=5),
        Unbond(amount=5),
        rotation(network, NOBODY, "fresh"),
        SetAddress(address="192.0.2.7:1"),
        Unjail(),
    ):
        assert code(network, NOBODY, action) == Code.NO_SUCH_VALIDATOR


def test_an_over_long_name_or_address_is_no_transaction() -> None:
    network = quick()
    with pytest.raises(ValueError, match="bound"):
        network.raw(ALICE, SetAddress(address="x" * 129))
    raw = network.raw(ALICE, SetAddress(address="x" * 128))
    with pytest.raises(InvalidTransaction):
        network.checked(raw.replace(b"x" * 128, b"x" * 129))


def test_more_stake_counts_from_the_next_election() -> None:
    network = quick()
    assert code(network, OPERATORS[2], BondMore(amount=40)) == Code.OK
    assert code(network, OPERATORS[2], BondMore(amount=0)) == Code.BELOW_MINIMUM
    assert code(network, OPERATORS[2], BondMore(amount=10**10)) == Code.INSUFFICIENT_BALANCE
    assert network.validators.stakes == (100, 100, 100, 100)
    to_epoch(network, 2)
    assert network.validators.stakes == (100, 100, 140, 100)
    assert conserved(network)


def test_unbonded_stake_is_paid_out_exactly_when_both_windows_are_over() -> None:
    """Left in epoch 1, so it stood until the boundary at height 4 and time 1040. Two whole epochs pass by
    height 12, and 100 ms by 1140: height 14 is the first block that pays."""
    network = quick()
    operator = OPERATORS[1]
    assert code(network, operator, Unbond(amount=40)) == Code.OK
    assert network.view.self_stake(operator.public) == 60
    while network.height < 13:
        assert code(network, operator, Withdraw()) == Code.NOT_YET
        assert conserved(network)
    receipt = do(network, operator, Withdraw())
    assert (receipt.code, int.from_bytes(receipt.output, "big")) == (Code.OK, 40)
    assert leaving(network, operator) == []
    assert code(network, operator, Withdraw()) == Code.NOT_YET
    assert conserved(network)


@pytest.mark.parametrize(("epochs", "span_ms"), [(2, 1), (5, 1), (2, 150), (2, 1000)])
def test_a_window_ends_at_the_later_of_epochs_and_time(epochs: int, span_ms: int) -> None:
    network = quick(unbonding_epochs=epochs, unbonding_ms=max(2, span_ms), trusting_ms=1)
    assert code(network, OPERATORS[0], Unbond(amount=40)) == Code.OK
    while code(network, OPERATORS[0], Withdraw()) == Code.NOT_YET:
        pass
    by_epochs = 4 * (1 + epochs) + 1
    by_time = -(-(1040 + max(2, span_ms) - 1000) // 10)
    assert network.height == max(by_epochs, by_time)


def test_stake_that_leaves_in_the_boundary_block_still_stands_in_the_next_epoch() -> None:
    network = quick(unbonding_ms=2, trusting_ms=1)
    while network.height < 3:
        network.block()
    assert code(network, OPERATORS[0], Unbond(amount=100)) == Code.OK
    assert network.height == 4
    assert network.validators.stakes == (100, 100, 100, 100)  # of epoch 2: it was written one block before
    assert leaving(network, OPERATORS[0]) == [(2, 100)]
    to_epoch(network, 3)
    assert network.validators.stakes == (100, 100, 100)
    to_epoch(network, 4)
    assert code(network, OPERATORS[0], Withdraw()) == Code.NOT_YET
    to_epoch(network, 5)
    assert code(network, OPERATORS[0], Withdraw()) == Code.OK


def test_stake_that_leaves_in_one_epoch_is_one_pool_and_pools_get_scarcer() -> None:
    """Leaving in small pieces, epoch after epoch, keeps nobody in: pools come ever farther apart."""
    network = quick(unbonding_epochs=10_000, evidence_epochs=1)
    operator = OPERATORS[0]
    assert code(network, operator, BondMore(amount=10**6)) == Code.OK
    for epoch in range(1, 21):
        to_epoch(network, epoch)
        assert code(network, operator, Unbond(amount=1)) == Code.OK
        assert code(network, operator, Unbond(amount=2)) == Code.OK
    expected = [(1, 3), (2, 3), (3, 3), (4, 3), (6, 6), (8, 6), (12, 12), (16, 12), (20, 12)]
    assert leaving(network, operator) == expected
    own = network.view.stakes.own(operator.public)
    assert network.view.stakes.nomination(own).leaving == tuple(epoch for epoch, _ in expected)
    assert conserved(network)


def test_unbonding_leaves_the_minimum_or_nothing() -> None:
    network = quick()
    assert code(network, OPERATORS[0], Unbond(amount=91)) == Code.BELOW_MINIMUM
    assert code(network, OPERATORS[0], Unbond(amount=0)) == Code.BELOW_MINIMUM
    assert code(network, OPERATORS[0], Unbond(amount=101)) == Code.INSUFFICIENT_BALANCE
    assert code(network, OPERATORS[0], Unbond(amount=90)) == Code.OK
    assert code(network, OPERATORS[0], Unbond(amount=10)) == Code.OK
    assert network.view.self_stake(OPERATORS[0].public) == 0


def test_the_last_validator_can_not_leave() -> None:
    network = quick()
    for operator in OPERATORS[:3]:
        assert code(network, operator, Unbond(amount=100)) == Code.OK
    assert code(network, OPERATORS[3], Unbond(amount=100)) == Code.LAST_VALIDATOR
    assert code(network, OPERATORS[3], Unbond(amount=90)) == Code.OK
    to_epoch(network, 3)
    assert network.validators.stakes == (10,)
    assert code(network, OPERATORS[0], BondMore(amount=10)) == Code.OK
    assert code(network, OPERATORS[3], Unbond(amount=10)) == Code.OK


def test_a_key_is_rotated_at_the_epoch_and_never_taken_up_again() -> None:
    network = quick()
    old = VALIDATORS[0].public
    assert code(network, OPERATORS[0], rotation(network, OPERATORS[1], "fresh")) == Code.BAD_PROOF
    assert code(network, OPERATORS[0], rotation(network, OPERATORS[0], "fresh")) == Code.OK
    assert network.validators.keys[0] == old
    to_epoch(network, 2)
    assert network.validators.keys[0] == key("fresh consensus").public
    assert network.view.epoch_set(Epoch(1)).members[0].consensus_key == old
    network.keys[old] = VALIDATORS[0]
    back = replace(rotation(network, OPERATORS[0], "x"), consensus_key=old, proof=bytes(64))
    assert code(network, OPERATORS[0], back) == Code.KEY_IN_USE
    assert code(network, OPERATORS[1], rotation(network, OPERATORS[1], "fresh")) == Code.KEY_IN_USE


def test_an_address_changes_with_the_epoch() -> None:
    network = quick()
    assert code(network, OPERATORS[0], SetAddress(address="[::1]:7700")) == Code.OK
    assert code(network, OPERATORS[0], SetAddress(address="a.example:7700")) == Code.BAD_ADDRESS
    assert network.view.epoch_set(Epoch(1)).members[0].address == ""
    to_epoch(network, 2)
    assert network.view.epoch_set(Epoch(2)).members[0].address == "[::1]:7700"


def test_fees_go_to_the_account_of_whoever_proposed_in_that_epoch() -> None:
    """The proposer is found by its place in its own epoch, whatever its key is by now."""
    network = quick()
    do(network, OPERATORS[3], rotation(network, OPERATORS[3], "fresh"))
    network.block()
    before = network.view.account(OPERATORS[3].public).balance
    assert network.height + 1 == 3
    receipt = do(network, ALICE, Transfer(to=BOB.public, amount=1))
    assert network.view.account(OPERATORS[3].public).balance == before + receipt.fee // 5
