"""The state transition: money, nonces, fees, deployment, calls, opt-in."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_fakes import (
    ALL_ACCOUNTS,
    BANK,
    BANK_ID,
    CHAIN_CODE,
    OPERATORS,
    USERS,
    Network,
    key,
    make_genesis,
    send_to_instance,
    total_supply,
)
from staking_world import bond

from consensus.primitives.errors import InvalidBlock, InvalidTransaction
from consensus.primitives.guest import InstanceEndpoint, module_id
from consensus.relay.blocks import check_payload, encode_payload
from consensus.relay.genesis import issuance
from consensus.relay.ledger import Pot
from consensus.relay.parameters import ChainTerms, Entry
from consensus.relay.receipts import Code
from consensus.relay.stake.transactions import BondMore, Unbond, Withdraw
from consensus.relay.transactions import (
    CallEnclave,
    CheckedTransaction,
    DeployEnclave,
    OptIn,
    RegisterChain,
    TopUpChain,
    Transfer,
    check_transaction,
)

SHARED = InstanceEndpoint(module=BANK_ID, chain=0)
OWN = InstanceEndpoint(module=BANK_ID, chain=1)
ISSUED = issuance(make_genesis())


def call(data: bytes, instance: InstanceEndpoint = OWN, fuel: int = 10_000) -> CallEnclave:
    return CallEnclave(instance=instance, input=data, fuel_limit=fuel)


def one(network: Network, user, action, **more):
    """Execute one transaction in a block of its own; its receipt, or None if it was void."""
    result = network.block([network.raw(user, action, **more)])
    return result.receipts[-1] if result.counters.transactions else None


def test_a_transfer_moves_money_and_leaves_a_receipt() -> None:
    network = Network()
    receipt = one(network, USERS[0], Transfer(to=USERS[1].public, amount=500))
    assert receipt.code == Code.OK
    assert network.view.account(USERS[1].public).balance == 10**9 + 500
    sender = network.view.account(USERS[0].public)
    assert (sender.balance, sender.nonce) == (10**9 - 500 - receipt.fee, 1)
    assert network.view.last_block().receipts == 1


def test_fees_are_burnt_paid_to_the_proposer_and_kept_for_all_in_their_parts() -> None:
    network = Network()
    receipt = one(network, USERS[0], Transfer(to=USERS[1].public, amount=1))
    burnt = network.view.supply().burnt
    assert burnt == receipt.fee // 2
    paid = network.view.account(OPERATORS[1].public).balance - 10**9
    assert paid == receipt.fee // 5
    assert network.view.stakes.ledger.pot(Pot.FEES) == receipt.fee - burnt - paid


def test_a_transfer_beyond_the_balance_fails_and_pays() -> None:
    network = Network()
    receipt = one(network, USERS[0], Transfer(to=USERS[1].public, amount=10**9))
    assert receipt.code == Code.INSUFFICIENT_BALANCE
    assert network.view.account(USERS[1].public).balance == 10**9
    assert network.view.account(USERS[0].public).balance == 10**9 - receipt.fee


@pytest.mark.parametrize(
    ("nonce", "max_fee", "reason"), [(1, 10**6, "nonce"), (0, 10, "max_fee")], ids=["nonce", "fee"]
)
def test_a_void_transaction_leaves_no_trace(nonce: int, max_fee: int, reason: str) -> None:
    network = Network()
    transfer = Transfer(to=USERS[1].public, amount=5)
    result = network.block([network.raw(USERS[0], transfer, nonce=nonce, max_fee=max_fee)])
    assert [reason in each for each in result.void.values()] == [True]
    assert not result.receipts
    assert network.view.account(USERS[0].public).nonce == 0
    assert network.view.account(USERS[0].public).balance == 10**9


def test_an_account_without_money_is_void() -> None:
    network = Network()
    result = network.block([network.raw(key("pauper"), Transfer(to=USERS[1].public, amount=0))])
    assert "does not cover" in next(iter(result.void.values()))


def test_a_transaction_takes_effect_once() -> None:
    network = Network()
    raw = network.raw(USERS[0], Transfer(to=USERS[1].public, amount=5))
    assert network.block([raw]).counters.transactions == 1
    assert network.block([raw]).counters.void == 1
    with pytest.raises(InvalidBlock, match="twice"):
        network.execute([raw, raw])


def test_a_checked_transaction_comes_from_checking_alone() -> None:
    network = Network()
    raw = network.raw(USERS[0], Transfer(to=USERS[1].public, amount=5))
    body = network.checked(raw).body
    with pytest.raises(TypeError):
        CheckedTransaction(bytes(32), raw, body, witness=None)
    with pytest.raises(InvalidTransaction, match="signature"):
        check_transaction(raw[:-1] + bytes([raw[-1] ^ 1]), network.hash)
    with pytest.raises(InvalidTransaction, match="another network"):
        check_transaction(raw, bytes(32))
    with pytest.raises(InvalidTransaction, match="malformed"):
        check_transaction(raw[:-1], network.hash)


def test_a_payload_over_its_limits_is_invalid() -> None:
    network = Network(make_genesis(max_block_weight=100, max_transactions=3))
    raws = [network.raw(USERS[0], Transfer(to=USERS[1].public, amount=5)) for _ in range(4)]
    for payload, reason in (
        (encode_payload(raws), "limit is 3"),
        (encode_payload(raws[:3]), "weighs"),
        (b"\xc1", "payload"),
        (encode_payload([b"junk"]), "malformed"),
    ):
        with pytest.raises(InvalidBlock, match=reason):
            check_payload(payload, network.limits, lambda _: None)


def test_a_module_is_deployed_once_and_for_ever() -> None:
    network = Network()
    wasm = b"\0asm-new"
    receipt = one(network, USERS[2], DeployEnclave(code=wasm))
    assert (receipt.code, receipt.output) == (Code.OK, module_id(wasm))
    before = network.view.module(module_id(wasm))
    assert before.deposit == 10 * len(wasm)
    assert one(network, USERS[3], DeployEnclave(code=wasm)).code == Code.ALREADY_EXISTS
    assert network.view.module(module_id(wasm)) == before
    assert network.view.code(before.code_hash) == wasm
    refused = one(network, USERS[2], DeployEnclave(code=b"ELF"))
    assert (refused.code, refused.output) == (Code.NOT_ADMITTED, b"not a WebAssembly module")
    assert [each.module for each in network.view.modules()] == [BANK_ID, module_id(wasm)]


def test_calls_write_their_instance_alone() -> None:
    network = Network()
    receipt = one(network, USERS[1], call(b"Scolour=red"))
    assert (receipt.code, receipt.output) == (Code.OK, b"done")
    assert receipt.call.pre_root != receipt.call.post_root
    assert network.view.instance(OWN).root == receipt.call.post_root
    assert network.view.instance_state(OWN, b"colour") == b"red"
    assert network.view.instance_state(SHARED, b"colour") is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"F", Code.GUEST_FAILED),
        (b"T", Code.GUEST_TRAPPED),
        (b"B", Code.GUEST_OUT_OF_FUEL),
        (send_to_instance(bytes(32), 0, b""), Code.NO_SUCH_DESTINATION),
        (b"C" + bytes([9, 0, 0, 0]), Code.NO_SUCH_DESTINATION),
    ],
    ids=["fails", "traps", "burns", "to no instance", "to another chain"],
)
def test_a_call_that_fails_rolls_back_pays_and_leaves_a_receipt(data: bytes, code: Code) -> None:
    network = Network()
    receipt = one(network, USERS[1], call(data))
    assert receipt.code == code
    assert receipt.call.pre_root == receipt.call.post_root == network.view.instance(OWN).root
    assert receipt.fuel_used > 0
    assert network.view.account(USERS[1].public).balance == 10**9 - receipt.fee


def test_a_message_needs_its_fee() -> None:
    network = Network()
    raw = network.raw(USERS[1], call(send_to_instance(BANK_ID, 0, b"S")), nonce=0)
    flat = 100 + len(raw)
    receipt = one(network, USERS[1], call(send_to_instance(BANK_ID, 0, b"S")), max_fee=flat + 60)
    assert receipt.code == Code.FEE_TOO_LOW
    assert network.view.instance(OWN).root == bytes(32)


def test_a_chain_is_registered_topped_up_and_opts_in() -> None:
    network = Network()
    register = RegisterChain(
        name="two", code=CHAIN_CODE, entries=(Entry(key=b"a", value=b"b"),), terms=ChainTerms(), balance=77
    )
    receipt = one(network, USERS[2], register)
    assert (receipt.code, receipt.output) == (Code.OK, bytes([0, 0, 0, 2]))
    record = network.view.chain_record(2)
    assert (record.owner, record.balance) == (USERS[2].public, 77)
    assert record.deposit == 100_000 + 10 * (len(CHAIN_CODE) + 2)
    assert one(network, USERS[3], TopUpChain(chain=2, amount=23)).code == Code.OK
    assert network.view.chain_record(2).balance == 100
    two = InstanceEndpoint(module=BANK_ID, chain=2)
    assert one(network, USERS[2], call(b"S", two)).code == Code.NO_SUCH_INSTANCE
    assert one(network, USERS[3], OptIn(chain=2, module=BANK_ID)).code == Code.NOT_OWNER
    assert one(network, USERS[2], OptIn(chain=2, module=bytes(32))).code == Code.NO_SUCH_MODULE
    assert one(network, USERS[2], OptIn(chain=2, module=BANK_ID)).code == Code.OK
    assert one(network, USERS[2], OptIn(chain=2, module=BANK_ID)).code == Code.ALREADY_EXISTS
    assert one(network, USERS[2], call(b"S", two)).code == Code.OK
    assert one(network, USERS[2], TopUpChain(chain=9, amount=1)).code == Code.NO_SUCH_CHAIN
    assert total_supply(network.view, ALL_ACCOUNTS) == ISSUED


def test_a_message_between_instances_arrives_in_the_next_block_once() -> None:
    network = Network()
    one(network, USERS[1], call(send_to_instance(BANK_ID, 0, b"Sgot=it")))
    assert network.view.instance_state(SHARED, b"got") is None
    result = network.block()
    assert result.counters.enclave_calls == 1
    assert network.view.instance_state(SHARED, b"got") == b"it"
    assert network.block().counters.enclave_calls == 0
    assert network.view.instance_state(SHARED, b"calls") == (1).to_bytes(8, "big")


def test_a_message_with_a_poisoned_payload_is_consumed() -> None:
    network = Network()
    one(network, USERS[1], call(send_to_instance(BANK_ID, 0, b"T")))
    one(network, USERS[1], call(send_to_instance(BANK_ID, 0, b"Safter=ok")))
    network.block()
    assert network.view.instance_state(SHARED, b"after") == b"ok"


def test_two_instances_with_equal_trees_are_pruned_apart() -> None:
    network = Network()
    for instance in (OWN, SHARED):
        one(network, USERS[1], call(b"Sx=1", instance))
    assert network.view.instance(OWN).root == network.view.instance(SHARED).root
    one(network, USERS[1], call(b"Sx=2", OWN))
    assert network.view.instance_state(SHARED, b"x") == b"1"
    assert network.view.instance_state(OWN, b"x") == b"2"


BONDS = [bond(Network(), user, f"bond {index}", 10**8) for index, user in enumerate(USERS[:3])]
ACTIONS = st.one_of(
    st.sampled_from(BONDS),
    st.builds(BondMore, amount=st.sampled_from([1, 10**8, 10**9])),
    st.builds(Unbond, amount=st.sampled_from([1, 10**8])),
    st.just(Withdraw()),
    st.builds(
        Transfer,
        to=st.sampled_from([user.public for user in USERS]),
        amount=st.sampled_from([0, 1, 10**8, 2**128 - 1]),
    ),
    st.builds(TopUpChain, chain=st.integers(1, 3), amount=st.sampled_from([0, 5, 10**9])),
    st.builds(DeployEnclave, code=st.sampled_from([BANK, b"\0asm-b", b"nonsense"])),
    st.builds(OptIn, chain=st.integers(1, 3), module=st.sampled_from([BANK_ID, module_id(b"\0asm-b")])),
    st.builds(
        RegisterChain,
        name=st.just("more"),
        code=st.sampled_from([CHAIN_CODE, b"bad"]),
        entries=st.just(()),
        terms=st.just(ChainTerms()),
        balance=st.sampled_from([0, 1_000, 10**9]),
    ),
    st.builds(
        CallEnclave,
        instance=st.sampled_from([OWN, SHARED, InstanceEndpoint(module=bytes(32), chain=0)]),
        input=st.sampled_from(
            [b"S", b"Sa=b", b"F", b"T", b"B"]
            + [send_to_instance(BANK_ID, chain, data) for chain, data in ((0, b"Sm=1"), (1, b"F"))]
        ),
        fuel_limit=st.sampled_from([0, 1_000, 10**7, 10**9]),
    ),
)
HISTORIES = st.lists(
    st.lists(
        st.tuples(
            st.integers(0, 5), ACTIONS, st.sampled_from([0, 0, 0, 1, -1]), st.sampled_from([10**6, 10])
        ),
        max_size=5,
    ),
    max_size=5,
)


def play(history) -> Network:
    network = Network()
    for block in history:
        raws = []
        for who, action, slip, max_fee in block:
            user = USERS[who]
            nonce = max(0, network.view.account(user.public).nonce + slip + sum(user is u for u, _ in raws))
            raws.append((user, network.raw(user, action, nonce=nonce, max_fee=max_fee)))
        before = {user.public: network.view.account(user.public).nonce for user in USERS}
        unique = list(dict.fromkeys(raw for _, raw in raws))
        result = network.block(unique)
        for user in USERS:
            checked = [network.checked(raw) for raw in unique]
            taken = sum(each.body.sender == user.public and each.hash not in result.void for each in checked)
            assert network.view.account(user.public).nonce == before[user.public] + taken
        assert result.counters.transactions + result.counters.void == len(unique)
        assert total_supply(network.view, ALL_ACCOUNTS) == ISSUED
    return network


@settings(max_examples=80, deadline=None)
@given(HISTORIES)
def test_money_is_conserved_and_nonces_count_effects(history) -> None:
    play(history)


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(6)))
def test_transfers_of_different_senders_commute(order) -> None:
    results = set()
    for sequence in (range(6), order):
        network = Network()
        raws = [network.raw(USERS[i], Transfer(to=USERS[(i + 1) % 6].public, amount=i)) for i in range(6)]
        network.block([raws[i] for i in sequence])
        results.add(tuple(network.view.account(user.public) for user in USERS))
    assert len(results) == 1


SCRIPT = """
from relay_fakes import *
from consensus.relay.transactions import *
network = Network()
raws = [network.raw(u, Transfer(to=USERS[0].public, amount=3)) for u in USERS]
raws += [network.raw(USERS[1], CallEnclave(instance=InstanceEndpoint(module=BANK_ID, chain=c),
         input=send_to_instance(BANK_ID, 1 - c, b"Sk=v"), fuel_limit=5000)) for c in (0, 1)]
network.block(raws); network.block()
print(network.root.hex())
from staking_world import *
network = quick()
network.block([network.raw(u, bond(network, u, f"n{i}", 10 * i + 10)) for i, u in enumerate(USERS)],
              evidence=[evidence(network, i) for i in (2, 0)])
to_epoch(network, 4)
print(network.root.hex())
"""


def test_the_post_root_does_not_depend_on_the_hash_seed() -> None:
    here = Path(__file__).parent
    roots = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=here.parents[2],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": f"{here}:{here.parents[2]}"},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(roots) == 1
